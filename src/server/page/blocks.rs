//! Long values: laid out, folded, and cut where they would be a burden.

use crate::model::{Body, Json};
use crate::server::access::Failure;
use crate::text::{escape, human, pretty};

/// How many bytes of a value are shown among others, and on its own page, where there is room.
pub(super) const FEW: usize = 4 << 10;
pub(super) const MANY: usize = 64 << 10;

/// So many are shown where there is none.
const LEAST: usize = 128;

/// What `make` gives for values of `most` bytes each, or for as many less as it takes to weigh no
/// more than `room`.
pub(super) fn fit<T>(
    room: usize,
    most: usize,
    make: impl Fn(usize) -> Result<T, Failure>,
    weight: impl Fn(&T) -> usize,
) -> Result<T, Failure> {
    let mut few = most;
    loop {
        let made = make(few)?;
        if few <= LEAST || weight(&made) <= room {
            return Ok(made);
        }
        few /= 2;
    }
}

/// A value over several lines.
#[derive(Debug, Clone)]
pub(super) struct Block {
    pub(super) name: &'static str,
    pub(super) text: String,
    /// How long it is.
    pub(super) size: String,
    /// How many bytes are not shown; `None` when all are.
    pub(super) cut: Option<String>,
    pub(super) is_open: bool,
}

impl Block {
    /// Plain text, of which so many bytes are shown.
    pub(super) fn text(name: &'static str, text: &str, most: usize) -> Self {
        let shown = prefix(text, most);
        let left = text.len() - shown.len();
        let lines = text.lines().count() as u64;
        Self {
            name,
            text: escape::block(shown).into_owned(),
            size: match lines {
                0 | 1 => human::bytes(text.len() as u64),
                lines => {
                    format!("{} lines, {}", human::count(lines), human::bytes(text.len() as u64))
                }
            },
            cut: (left > 0).then(|| human::bytes(left as u64)),
            is_open: false,
        }
    }

    /// JSON, laid out over lines.
    pub(super) fn json(name: &'static str, json: &Json<'_>, most: usize) -> Self {
        // What is laid out is longer: no more is laid out than can be shown.
        let begin = prefix(json.as_str(), most);
        let mut block = Self::text(name, &pretty::pretty(begin), usize::MAX);
        let left = json.as_str().len() - begin.len();
        block.size = human::bytes(json.as_str().len() as u64);
        block.cut = (left > 0).then(|| human::bytes(left as u64));
        block
    }

    /// How many bytes it is on a page.
    pub(super) fn weight(&self) -> usize {
        // What has a meaning in HTML is written as the number of the character.
        self.text.len() + 4 * self.text.matches(['<', '>', '&', '"', '\'']).count()
    }

    /// The same, unfolded.
    pub(super) fn open(mut self) -> Self {
        self.is_open = true;
        self
    }
}

/// The values of a record that are long as a rule, each with so many bytes at the most.
pub(super) fn of(body: &Body<'_>, most: usize) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut json = |name, json: Option<&Json<'_>>| {
        blocks.extend(json.map(|json| Block::json(name, json, most)));
    };
    match body {
        Body::Run(run) => {
            json("metadata", run.metadata.as_ref());
            json("result", run.result.as_ref());
        }
        Body::Event(event) => json("payload", event.payload.as_ref()),
        Body::Error(error) => {
            json("detail", error.detail.as_ref());
            let stack = error.stack.as_deref().filter(|stack| !stack.trim().is_empty());
            blocks.extend(stack.map(|stack| Block::text("stack", stack, most)));
        }
    }
    blocks
}

/// As much of the text as that, in whole characters.
fn prefix(text: &str, most: usize) -> &str {
    let end = text.floor_char_boundary(most);
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_as_far_as_there_is_room() {
        let make = |few| Ok(vec![Block::text("a", &"<".repeat(9000), few); 2]);
        let weight = |blocks: &Vec<Block>| blocks.iter().map(Block::weight).sum();
        for (room, expected) in [(1 << 20, 9000), (89_999, 8192), (50_000, 4096), (0, LEAST)] {
            let blocks = fit(room, MANY, make, weight).unwrap();
            assert_eq!(blocks[0].text.len(), expected, "{room}");
            assert_eq!(blocks[0].cut.is_some(), expected < 9000);
        }
    }

    #[test]
    fn what_is_too_long_is_cut_and_says_so() {
        let block = Block::text("stack", &"é".repeat(1 << 20), FEW + 1);
        assert_eq!(block.text.len(), FEW);
        assert_eq!(block.cut.as_deref(), Some("1.99 MiB"));
        let json = Json::parse(format!("[{}1]", "1,".repeat(1 << 20))).unwrap();
        let block = Block::json("payload", &json, FEW);
        assert!(block.text.len() < 8 * FEW && block.cut.is_some());
        let short = Block::json("payload", &Json::parse(r#"{"a":"</script>"}"#).unwrap(), FEW);
        assert_eq!((&*short.text, short.cut), ("{\n  \"a\": \"</script>\"\n}", None));
    }
}
