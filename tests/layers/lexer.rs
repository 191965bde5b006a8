//! Just enough of Rust's grammar to find names, paths and bodies.

/// A name or a sign of the code.
#[derive(Debug)]
pub(crate) struct Token<'a> {
    pub(crate) text: &'a str,
    pub(crate) line: usize,
}

pub(crate) fn is_name(token: Option<&Token<'_>>) -> bool {
    let first = token.and_then(|token| token.text.chars().next());
    first.is_some_and(|c| c.is_alphabetic() || c == '_')
}

/// Names, numbers, `::` and single signs.
pub(crate) fn tokens(code: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    for (at, text) in code.lines().enumerate() {
        let mut rest = text.trim_start();
        while let Some(first) = rest.chars().next() {
            let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
            let len = match word {
                Some(0) if rest.starts_with("::") => 2,
                Some(0) => first.len_utf8(),
                Some(len) => len,
                None => rest.len(),
            };
            let (text, after) = rest.split_at(len);
            found.push(Token { text, line: at + 1 });
            rest = after.trim_start();
        }
    }
    found
}

/// The line on which the body ends of the function that begins the tokens; `None` without a body.
pub(crate) fn body_end(tokens: &[Token<'_>]) -> Option<usize> {
    let mut depth = 0;
    let mut nested = 0;
    for token in tokens {
        match token.text {
            "(" | "[" => nested += 1,
            ")" | "]" => nested -= 1,
            ";" if depth == 0 && nested == 0 => return None,
            "{" => depth += 1,
            "}" if depth == 1 => return Some(token.line),
            "}" => depth -= 1,
            _ => {}
        }
    }
    None
}

/// Every path in the code with its line; the braces of a `use` are written out.
pub(crate) fn paths(tokens: &[Token<'_>]) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if is_name(tokens.get(at)) {
            at = tree(tokens, at, &mut Vec::new(), &mut found);
        } else {
            at += 1;
        }
    }
    found
}

/// Reads one path or `use` tree that begins at a name, and gives the place behind it.
fn tree(
    tokens: &[Token<'_>],
    mut at: usize,
    prefix: &mut Vec<String>,
    found: &mut Vec<(usize, Vec<String>)>,
) -> usize {
    let depth = prefix.len();
    let line = tokens[at].line;
    prefix.push(tokens[at].text.to_owned());
    at += 1;
    while tokens.get(at).is_some_and(|token| token.text == "::") {
        at += 1;
        match tokens.get(at) {
            Some(token) if token.text == "{" => {
                at += 1;
                while tokens.get(at).is_some_and(|token| token.text != "}") {
                    let named = is_name(tokens.get(at));
                    at = if named { tree(tokens, at, prefix, found) } else { at + 1 };
                }
                prefix.truncate(depth);
                return at + 1;
            }
            token if is_name(token) => prefix.push(tokens[at].text.to_owned()),
            _ => break,
        }
        at += 1;
    }
    found.push((line, prefix.clone()));
    prefix.truncate(depth);
    at
}

/// The text with comments, strings and characters turned into spaces, line for line.
pub(crate) fn blank(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = skipped(&chars, at);
        if end == at {
            code.push(chars[at]);
            at += 1;
        } else {
            code.extend(chars[at..end].iter().map(|&c| if c == '\n' { c } else { ' ' }));
            at = end;
        }
    }
    code
}

/// Where the comment, string or character that begins here ends; `at` itself when none does.
fn skipped(chars: &[char], at: usize) -> usize {
    let get = |at: usize| chars.get(at).copied().unwrap_or('\0');
    let in_word = at > 0 && (get(at - 1).is_alphanumeric() || get(at - 1) == '_');
    match (get(at), get(at + 1)) {
        ('/', '/') => until(chars, at, |at| get(at) == '\n'),
        ('/', '*') => block_comment(chars, at),
        ('"', _) => string(chars, at),
        ('b' | 'c', '"') if !in_word => string(chars, at + 1),
        ('b', '\'') if !in_word => character(chars, at + 1),
        ('r', '"' | '#') if !in_word => raw_string(chars, at, at + 1),
        ('b' | 'c', 'r') if !in_word => raw_string(chars, at, at + 2),
        ('\'', _) => character(chars, at),
        _ => at,
    }
}

fn until(chars: &[char], from: usize, done: impl Fn(usize) -> bool) -> usize {
    (from..chars.len()).find(|&at| done(at)).unwrap_or(chars.len())
}

fn block_comment(chars: &[char], from: usize) -> usize {
    let mut depth = 0;
    let mut at = from;
    while at + 1 < chars.len() {
        match (chars[at], chars[at + 1]) {
            ('/', '*') => (depth, at) = (depth + 1, at + 1),
            ('*', '/') if depth == 1 => return at + 2,
            ('*', '/') => (depth, at) = (depth - 1, at + 1),
            _ => {}
        }
        at += 1;
    }
    chars.len()
}

fn string(chars: &[char], quote: usize) -> usize {
    let mut at = quote + 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

/// A raw string whose hashes, if any, begin at `hashes`; `start` when it is none (a raw name).
fn raw_string(chars: &[char], start: usize, hashes: usize) -> usize {
    let quote = until(chars, hashes, |at| chars[at] != '#');
    if chars.get(quote) != Some(&'"') {
        return start;
    }
    let count = quote - hashes;
    let closes = |at: usize| {
        chars[at] == '"'
            && chars.get(at + 1..=at + count).is_some_and(|end| !end.contains(&'"'))
            && chars[at + 1..=at + count].iter().all(|&c| c == '#')
    };
    (until(chars, quote + 1, closes) + 1 + count).min(chars.len())
}

/// A character; `at` when the quote begins a lifetime.
fn character(chars: &[char], at: usize) -> usize {
    match (chars.get(at + 1), chars.get(at + 2)) {
        (Some('\\'), _) => (until(chars, at + 3, |at| chars[at] == '\'') + 1).min(chars.len()),
        (Some(_), Some('\'')) => at + 3,
        _ => at,
    }
}
