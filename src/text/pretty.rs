//! JSON with line breaks and indents, for reading.

/// Spaces for each level.
const INDENT: usize = 2;

/// The JSON text laid out over lines. Keys, numbers and strings stay as they were written; empty
/// objects and lists stay on their line. What is not JSON comes out somehow, and never fails.
pub fn pretty(json: &str) -> String {
    let mut layout = Layout { text: String::with_capacity(json.len() * 2), depth: 0 };
    let mut chars = json.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' => layout.string(&mut chars),
            '{' | '[' => {
                let close = if c == '{' { '}' } else { ']' };
                while chars.next_if(|c| c.is_ascii_whitespace()).is_some() {}
                layout.text.push(c);
                if chars.next_if_eq(&close).is_some() {
                    layout.text.push(close);
                } else {
                    layout.depth += 1;
                    layout.line();
                }
            }
            '}' | ']' => {
                layout.depth = layout.depth.saturating_sub(1);
                layout.line();
                layout.text.push(c);
            }
            ',' => {
                layout.text.push(c);
                layout.line();
            }
            ':' => layout.text.push_str(": "),
            c if c.is_ascii_whitespace() => {}
            c => layout.text.push(c),
        }
    }
    layout.text
}

struct Layout {
    text: String,
    depth: usize,
}

impl Layout {
    /// Begins a new line at the depth.
    fn line(&mut self) {
        self.text.push('\n');
        self.text.extend(std::iter::repeat_n(' ', INDENT * self.depth));
    }

    /// Copies a string whose first quote was read.
    fn string(&mut self, chars: &mut impl Iterator<Item = char>) {
        self.text.push('"');
        while let Some(c) = chars.next() {
            self.text.push(c);
            match c {
                '"' => return,
                '\\' => self.text.extend(chars.next()),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay_and_lines_come() {
        let json = r#"{"a":[1.50,{"b":"x, {\" y"}],"c":{ },"d":[],"e":null}"#;
        let expected = "{\n  \"a\": [\n    1.50,\n    {\n      \"b\": \"x, {\\\" y\"\n    }\n  ],\n\
                        \x20 \"c\": {},\n  \"d\": [],\n  \"e\": null\n}";
        assert_eq!(pretty(json), expected);
        assert_eq!(pretty(&pretty(json)), expected);
        assert_eq!(pretty("12"), "12");
    }

    #[test]
    fn no_text_fails() {
        for text in ["", "\"", "\"\\", "}}]]", "{", "[[[\"", ",:,"] {
            pretty(text);
        }
    }
}
