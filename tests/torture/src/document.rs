//! The card's place in a document.

use std::fs;
use std::io;
use std::path::Path;

const BEGIN: &str = "<!-- card -->\n";
const END: &str = "<!-- /card -->\n";

/// Puts the card between the marks of a document.
///
/// # Errors
/// When the document cannot be read or written, or has no marks.
pub fn put(path: &Path, card: &str) -> io::Result<()> {
    let text = fs::read_to_string(path)?;
    let replaced = replaced(&text, card)
        .ok_or_else(|| io::Error::other(format!("there is no {} in it", BEGIN.trim())))?;
    fs::write(path, replaced)
}

fn replaced(text: &str, card: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}```text\n{card}```\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_card_takes_the_place_of_the_old_one() {
        let text = format!("# A\n{BEGIN}old\n{END}# B\n");
        let once = replaced(&text, "new\n").unwrap();
        assert_eq!(once, format!("# A\n{BEGIN}```text\nnew\n```\n{END}# B\n"));
        assert_eq!(replaced(&once, "new\n").as_ref(), Some(&once));
        assert_eq!(replaced("# A\n", "new\n"), None);
    }
}
