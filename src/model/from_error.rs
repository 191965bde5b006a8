//! Errors of programs as records.

use std::any::type_name;
use std::error::Error;
use std::fmt::{self, Debug, Display, Write};
use std::io;

use serde::Serialize;

use crate::model::{ErrorRecord, Json};

/// What an error is called of which nothing is known.
const UNKNOWN: &str = "Error";

/// How many of an error's sources are told.
const MAX_SOURCES: usize = 64;

/// What stands before the frames in the text of a report.
const BACKTRACE: &str = "Stack backtrace:\n";

#[derive(Serialize)]
struct Detail {
    sources: Vec<String>,
}

impl ErrorRecord<'static> {
    /// A record of an error: its type, what it says, and in `detail` what its sources say, as
    /// `{"sources":[…]}`, the nearest first.
    ///
    /// The type is that of `E`, without the path that leads to it (`io::Error` and its like keep
    /// the last part of it). Of a `dyn Error` it is the name with which its `Debug` text begins,
    /// which is the type or the variant where that is derived, else `Error`.
    ///
    /// ```
    /// use runledger::ErrorRecord;
    /// let error = "x".parse::<u8>().unwrap_err();
    /// let record = ErrorRecord::from_error(&error);
    /// assert_eq!(record.error_type, "ParseIntError");
    /// assert_eq!(record.message, "invalid digit found in string");
    /// ```
    #[must_use]
    pub fn from_error<E: Error + ?Sized>(error: &E) -> Self {
        let name = short(type_name::<E>()).unwrap_or_else(|| debug_name(error));
        with_sources(ErrorRecord::new(name, printed(error)), error.source())
    }

    /// A record of a report, such as `anyhow::Error` and `eyre::Report` are: as
    /// [`ErrorRecord::from_error`] of the error that it holds, with the backtrace that it carries
    /// as the stack. Its type is that of the first error of the chain that has one: contexts, which
    /// are only text, have none.
    ///
    /// ```
    /// use anyhow::Context;
    /// use runledger::ErrorRecord;
    /// let report = "x".parse::<u8>().context("the port of db1").unwrap_err();
    /// let record = ErrorRecord::from_report(&report);
    /// assert_eq!(record.error_type, "ParseIntError");
    /// assert_eq!(record.message, "the port of db1");
    /// assert_eq!(
    ///     record.detail.unwrap().as_str(),
    ///     r#"{"sources":["invalid digit found in string"]}"#
    /// );
    /// ```
    #[must_use]
    pub fn from_report<R: Debug + AsRef<dyn Error + 'static>>(report: &R) -> Self {
        let error: &(dyn Error + 'static) = report.as_ref();
        let chain = std::iter::successors(Some(error), |&error| error.source());
        let names = chain.take(MAX_SOURCES).map(dyn_name);
        let name = names.into_iter().find(|name| name != UNKNOWN);
        let record = ErrorRecord::new(name.unwrap_or_else(|| UNKNOWN.to_owned()), printed(error));
        let record = with_sources(record, error.source());
        let text = printed(&format_args!("{report:?}"));
        match text.split_once(BACKTRACE).map(|(_, frames)| frames.trim_end()) {
            Some(frames) if !frames.trim().is_empty() => record.stack(frames.to_owned()),
            _ => record,
        }
    }
}

/// The type of an error as far as it can be told at run time.
pub(crate) fn dyn_name(error: &(dyn Error + 'static)) -> String {
    match error.is::<io::Error>() {
        true => "io::Error".to_owned(),
        false => debug_name(error),
    }
}

/// The sources of an error from this one on, as they are told.
pub(crate) fn sources(source: Option<&(dyn Error + 'static)>) -> impl Iterator<Item = String> {
    std::iter::successors(source, |&error| error.source()).take(MAX_SOURCES).map(printed)
}

/// What a value of the caller's says: as much as there is where it breaks off, at which
/// `to_string` panics.
pub(crate) fn printed<T: Display + ?Sized>(value: &T) -> String {
    let mut text = String::new();
    let _ = write!(text, "{value}");
    text
}

fn with_sources(
    mut record: ErrorRecord<'static>,
    source: Option<&(dyn Error + 'static)>,
) -> ErrorRecord<'static> {
    if source.is_some() {
        record.detail = Json::from_value(&Detail { sources: sources(source).collect() }).ok();
    }
    record
}

/// The last part of a type's path, without what the type is made for; `None` for a `dyn` type.
fn short(name: &'static str) -> Option<String> {
    let path = name.split('<').next().unwrap_or(name);
    if path.starts_with("dyn ") || path.starts_with('&') || path.starts_with('(') {
        return None;
    }
    let mut parts = path.rsplit("::");
    let last = parts.next().filter(|last| !last.is_empty())?;
    match parts.find(|part| *part != "error") {
        Some(of) if last == UNKNOWN => Some(format!("{of}::{last}")),
        _ => Some(last.to_owned()),
    }
}

/// The name with which the text for developers begins.
fn debug_name<E: Error + ?Sized>(error: &E) -> String {
    let mut name = Name(String::new());
    // It breaks off behind the name.
    let _ = write!(name, "{error:?}");
    match name.0.is_empty() {
        true => UNKNOWN.to_owned(),
        false => name.0,
    }
}

/// Takes the name with which a text begins, and no more.
struct Name(String);

impl Write for Name {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            let begins = c.is_alphabetic() || c == '_';
            if !(begins || c.is_ascii_digit() && !self.0.is_empty()) || self.0.len() > 128 {
                return Err(fmt::Error);
            }
            self.0.push(c);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Outer<T>(T);

    #[derive(Debug)]
    enum Inner {
        Refused { code: u32 },
    }

    impl fmt::Display for Outer<Inner> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("the booking was not saved")
        }
    }

    impl fmt::Display for Inner {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let Self::Refused { code } = self;
            write!(f, "refused with {code}")
        }
    }

    impl Error for Outer<Inner> {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    impl Error for Inner {}

    const SOURCES: &str = r#"{"sources":["refused with 7"]}"#;

    #[test]
    fn an_error_tells_its_type_its_text_and_its_sources() {
        let error = Outer(Inner::Refused { code: 7 });
        let record = ErrorRecord::from_error(&error);
        assert_eq!(record.error_type, "Outer");
        assert_eq!(record.message, "the booking was not saved");
        assert_eq!(record.detail.unwrap().as_str(), SOURCES);
        let record = ErrorRecord::from_error::<dyn Error>(&error);
        assert_eq!((&*record.error_type, record.detail.unwrap().as_str()), ("Outer", SOURCES));
        let record = ErrorRecord::from_error(&*Box::<dyn Error>::from("only text"));
        assert_eq!((&*record.error_type, record.detail), ("Error", None));
        let record = ErrorRecord::from_error::<dyn Error + Send + Sync>(&error.0);
        assert_eq!(record.error_type, "Refused");
        let record = ErrorRecord::from_error(&io::Error::other("x"));
        assert_eq!(record.error_type, "io::Error");
        let error = crate::model::Json::parse("{").unwrap_err();
        assert_eq!(ErrorRecord::from_error(&error).error_type, "runledger::Error");
    }

    /// An error that names itself as its own source had the chain without an end.
    #[test]
    fn a_chain_without_an_end_is_told_up_to_a_bound() {
        #[derive(Debug)]
        struct Ring;
        impl fmt::Display for Ring {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("again")
            }
        }
        impl Error for Ring {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                Some(&Ring)
            }
        }
        let record = ErrorRecord::from_error(&Ring);
        let detail = record.detail.unwrap().as_str().matches("again").count();
        assert_eq!(detail, MAX_SOURCES);
    }

    #[test]
    fn reports_keep_their_chain_and_their_backtrace() {
        let anyhow = anyhow::Error::new(Outer(Inner::Refused { code: 7 })).context("nightly sync");
        let eyre = eyre::Report::new(Outer(Inner::Refused { code: 7 })).wrap_err("nightly sync");
        for record in [ErrorRecord::from_report(&anyhow), ErrorRecord::from_report(&eyre)] {
            assert_eq!((&*record.error_type, &*record.message), ("Outer", "nightly sync"));
            let sources = r#"{"sources":["the booking was not saved","refused with 7"]}"#;
            assert_eq!(record.detail.unwrap().as_str(), sources);
        }
        /// As `anyhow` prints itself where backtraces are captured.
        struct Report(Outer<Inner>);
        impl AsRef<dyn Error + 'static> for Report {
            fn as_ref(&self) -> &(dyn Error + 'static) {
                &self.0
            }
        }
        impl Debug for Report {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}\n\nStack backtrace:\n   0: main\n      at main.rs:3\n", self.0)
            }
        }
        let record = ErrorRecord::from_report(&Report(Outer(Inner::Refused { code: 7 })));
        assert_eq!(record.stack.unwrap(), "   0: main\n      at main.rs:3");
    }
}
