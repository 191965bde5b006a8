//! Commands as they can be typed.

use crate::context::Context;
use crate::output::escape;

/// The flag that leads to this ledger, with a space behind it, unless it is found without.
pub(crate) fn at(ctx: &Context) -> String {
    let dir = ctx.dir();
    let usual = std::env::var_os("RUNLEDGER_DIR").unwrap_or_else(|| "./ledger".into());
    if dir == usual { String::new() } else { format!("--dir {} ", quoted(&dir.to_string_lossy())) }
}

/// A flag that takes a list, with this one value.
pub(crate) fn flag(name: &str, value: &str) -> String {
    let value = quoted(&value.replace('\\', r"\\").replace(',', r"\,"));
    // Else it would be taken for a flag itself.
    let between = if value.starts_with('-') { '=' } else { ' ' };
    format!("--{name}{between}{value}")
}

/// The text as a shell takes it.
pub(crate) fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+:@%".contains(c);
    let text = escape::line(text);
    if !text.is_empty() && text.chars().all(plain) {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}
