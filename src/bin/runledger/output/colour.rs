//! Which colour says what.

use anstyle::{AnsiColor, Style};
use runledger::{Severity, Status};

/// The colour of a run's status.
pub(crate) fn status(status: Status) -> Style {
    match status {
        Status::Success => AnsiColor::Green.on_default(),
        Status::Failed => AnsiColor::Red.on_default().bold(),
        Status::Skipped => AnsiColor::Yellow.on_default(),
        Status::Pending => AnsiColor::Blue.on_default(),
        Status::Running => AnsiColor::Cyan.on_default(),
        _ => faint(),
    }
}

/// The colour of a severity.
pub(crate) fn severity(severity: Severity) -> Style {
    match severity {
        Severity::Critical => AnsiColor::Red.on_default().bold(),
        Severity::Error => AnsiColor::Red.on_default(),
        Severity::Warning => AnsiColor::Yellow.on_default(),
        Severity::Info => Style::new(),
        _ => faint(),
    }
}

/// For what is there but is not what one looks for.
pub(crate) fn faint() -> Style {
    AnsiColor::BrightBlack.on_default()
}

/// For headings.
pub(crate) fn heading() -> Style {
    Style::new().bold()
}

/// The text in a colour, or as it is when there are to be none.
pub(crate) fn paint(text: &str, style: Style, colour: bool) -> String {
    if colour && style != Style::new() && !text.is_empty() {
        format!("{style}{text}{style:#}")
    } else {
        text.to_owned()
    }
}
