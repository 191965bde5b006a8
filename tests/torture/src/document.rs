//! The card's place in a document.

use std::fs;
use std::io;
use std::path::Path;

/// Puts the card and the table of its rows between their marks in a document.
///
/// # Errors
/// When the document cannot be read or written, or lacks a mark.
pub fn put(path: &Path, card: &str, rows: &str) -> io::Result<()> {
    let text = fs::read_to_string(path)?;
    let text = replaced(&text, "card", &format!("```text\n{card}```\n"))?;
    fs::write(path, replaced(&text, "rows", rows)?)
}

fn replaced(text: &str, name: &str, content: &str) -> io::Result<String> {
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->\n"));
    let lacks = || io::Error::other(format!("it lacks {:?} or {:?}", begin.trim(), end.trim()));
    let (before, rest) = text.split_once(&begin).ok_or_else(lacks)?;
    let (_, after) = rest.split_once(&end).ok_or_else(lacks)?;
    Ok(format!("{before}{begin}{content}{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_card_takes_the_place_of_the_old_one() {
        let text = "# A\n<!-- card -->\nold\n<!-- /card -->\n# B\n";
        let once = replaced(text, "card", "new\n").unwrap();
        assert_eq!(once, "# A\n<!-- card -->\nnew\n<!-- /card -->\n# B\n");
        assert_eq!(replaced(&once, "card", "new\n").unwrap(), once);
        let err = replaced("# A\n", "card", "new\n").unwrap_err();
        assert!(err.to_string().contains("<!-- card -->"), "{err}");
    }
}
