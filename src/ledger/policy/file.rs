//! The file `runledger.toml` in a ledger's directory.

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::error::{Error, Result};
use crate::ledger::classes::Class;
use crate::ledger::policy::{Limits, Retention, Term};
use crate::storage::{OpenMode, Storage};

/// A larger file is no policy.
const MAX_BYTES: usize = 1 << 20;

/// Reads the file's bytes; `None` when it is not there.
///
/// # Errors
/// [`Error::Io`] when it cannot be read.
pub(in crate::ledger) fn bytes(storage: &dyn Storage, path: &Path) -> Result<Option<Vec<u8>>> {
    if !storage.exists(path)? {
        return Ok(None);
    }
    let file = storage.open(path, OpenMode::Read)?;
    let len = usize::try_from(file.len()?).unwrap_or(usize::MAX);
    // One byte more than is taken tells that there is too much.
    let mut bytes = vec![0; len.min(MAX_BYTES + 1)];
    let read = file.read_at(&mut bytes, 0)?;
    bytes.truncate(read);
    Ok(Some(bytes))
}

/// Reads what the file says; nothing when it is not there.
///
/// # Errors
/// [`Error::Policy`] for what cannot be taken, [`Error::Io`] when the file cannot be read.
pub(in crate::ledger) fn read(storage: &dyn Storage, path: &Path) -> Result<Retention> {
    bytes(storage, path)?.map_or_else(|| Ok(Retention::new()), |bytes| parse(path, &bytes))
}

/// What the file's bytes say.
///
/// # Errors
/// [`Error::Policy`] with the line and the key of what cannot be taken.
pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Retention> {
    let whole = |line: u64, reason: String| Error::Policy {
        path: path.to_owned(),
        line,
        field: "the file".to_owned(),
        reason,
    };
    if bytes.len() > MAX_BYTES {
        return Err(whole(1, format!("it is larger than {MAX_BYTES} bytes")));
    }
    let text = std::str::from_utf8(bytes).map_err(|err| {
        let good = bytes.get(..err.valid_up_to()).unwrap_or_default();
        whole(line_of(good, good.len()), "it is not UTF-8".to_owned())
    })?;
    let table = DeTable::parse(text).map_err(|err| {
        let at = err.span().map_or(0, |span| span.start);
        whole(line_of(bytes, at), err.message().replace('\n', ", "))
    })?;
    let reader = Reader { path, bytes };
    let mut retention = Retention::new();
    for (key, value) in table.get_ref() {
        match &**key.get_ref() {
            "retention" => reader.retention(value, &mut retention)?,
            other => return Err(reader.unknown(key.span(), other, "retention")),
        }
    }
    Ok(retention)
}

/// The line of a byte, from 1.
fn line_of(bytes: &[u8], at: usize) -> u64 {
    let before = bytes.get(..at).unwrap_or(bytes);
    1 + before.iter().filter(|&&byte| byte == b'\n').count() as u64
}

struct Reader<'a> {
    path: &'a Path,
    bytes: &'a [u8],
}

impl Reader<'_> {
    fn refuse(&self, span: Range<usize>, field: &str, reason: impl Into<String>) -> Error {
        Error::Policy {
            path: self.path.to_owned(),
            line: line_of(self.bytes, span.start),
            field: field.to_owned(),
            reason: reason.into(),
        }
    }

    fn unknown(&self, span: Range<usize>, field: &str, known: &str) -> Error {
        self.refuse(span, field, format!("no such key; there is {known}"))
    }

    fn table<'v, 'i>(
        &self,
        value: &'v Spanned<DeValue<'i>>,
        field: &str,
    ) -> Result<&'v DeTable<'i>> {
        let table = value.get_ref().as_table();
        table.ok_or_else(|| self.refuse(value.span(), field, "expected a table"))
    }

    /// The table `retention`: the cap on the directory, and a table for each class.
    fn retention(&self, value: &Spanned<DeValue<'_>>, retention: &mut Retention) -> Result<()> {
        for (key, value) in self.table(value, "retention")? {
            let (name, span) = (&**key.get_ref(), key.span());
            let field = format!("retention.{name}");
            if name == "max_bytes" {
                retention.max_bytes = Some(self.size(value, &field)?);
                continue;
            }
            let Ok(class) = name.parse::<Class>() else {
                let known = "max_bytes, and a table for a class such as runs, events, errors, \
                             \"runs.failed\" or \"errors.critical\"";
                return Err(self.unknown(span, &field, known));
            };
            self.class(class, value, &field, retention)?;
        }
        Ok(())
    }

    /// A class, with those that are split off it as tables of their own where it is a kind's:
    /// `[retention.runs.failed]` is `[retention."runs.failed"]`.
    fn class(
        &self,
        class: Class,
        value: &Spanned<DeValue<'_>>,
        field: &str,
        retention: &mut Retention,
    ) -> Result<()> {
        let (table, mut limits) = (self.table(value, field)?, Limits::new());
        let mut is_named = class.parent().is_some();
        for (key, value) in table {
            let (name, span) = (&**key.get_ref(), key.span());
            let inner = format!("{field}.{name}");
            match name {
                "age" => limits.term = Some(self.term(value, &inner)?),
                "max_bytes" => limits.max_bytes = Some(self.size(value, &inner)?),
                "max_records" => limits.max_records = Some(self.count(value, &inner)?),
                _ => {
                    let narrow = format!("{class}.{name}").parse::<Class>();
                    let Ok(narrow) = narrow else {
                        let known = "age, max_bytes and max_records";
                        return Err(self.unknown(span, &inner, known));
                    };
                    self.class(narrow, value, &inner, retention)?;
                    continue;
                }
            }
            is_named = true;
        }
        if is_named {
            let before = retention.classes.insert(class, limits);
            if before.is_some() {
                return Err(self.refuse(value.span(), field, "the class is named twice"));
            }
        }
        Ok(())
    }

    fn term(&self, value: &Spanned<DeValue<'_>>, field: &str) -> Result<Term> {
        let expected = "expected \"forever\", or a number with y, w, d, h, m or s, as in \"90d\"";
        let text = value.get_ref().as_str().unwrap_or_default();
        if text == "forever" {
            return Ok(Term::Forever);
        }
        let seconds = |unit: &str| match unit {
            "s" => Some(1),
            "m" => Some(60),
            "h" => Some(3600),
            "d" => Some(86_400),
            "w" => Some(7 * 86_400),
            "y" => Some(365 * 86_400),
            _ => None,
        };
        with_unit(text, seconds)
            .filter(|&seconds| seconds > 0)
            .map(|seconds| Term::For(Duration::from_secs(seconds)))
            .ok_or_else(|| self.refuse(value.span(), field, expected))
    }

    fn size(&self, value: &Spanned<DeValue<'_>>, field: &str) -> Result<u64> {
        let bytes = |unit: &str| match unit {
            "" | "B" => Some(1),
            "kB" => Some(1000),
            "MB" => Some(1_000_000),
            "GB" => Some(1_000_000_000),
            "TB" => Some(1_000_000_000_000),
            "KiB" => Some(1 << 10),
            "MiB" => Some(1 << 20),
            "GiB" => Some(1 << 30),
            "TiB" => Some(1 << 40),
            _ => None,
        };
        let text = value.get_ref().as_str();
        text.map_or_else(|| integer(value), |text| with_unit(text, bytes)).ok_or_else(|| {
            let expected = "expected a number of bytes, or one with a unit, as in \"20 GiB\"";
            self.refuse(value.span(), field, expected)
        })
    }

    fn count(&self, value: &Spanned<DeValue<'_>>, field: &str) -> Result<u64> {
        integer(value)
            .ok_or_else(|| self.refuse(value.span(), field, "expected a number of records"))
    }
}

fn integer(value: &Spanned<DeValue<'_>>) -> Option<u64> {
    let integer = value.get_ref().as_integer()?;
    u64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// A number before a unit, in the unit's smallest part.
fn with_unit(text: &str, unit: impl Fn(&str) -> Option<u64>) -> Option<u64> {
    let digits = text.find(|at: char| !at.is_ascii_digit()).unwrap_or(text.len());
    let (number, name) = text.split_at_checked(digits)?;
    number.parse::<u64>().ok()?.checked_mul(unit(name.trim())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Kind, Severity, Status};

    fn parsed(text: &str) -> Result<Retention> {
        parse(Path::new("runledger.toml"), text.as_bytes())
    }

    #[test]
    fn a_file_is_read_class_by_class() {
        let retention = parsed(
            "[retention]\nmax_bytes = \"20 GiB\"\n[retention.runs]\nage = \"365d\"\n\
             [retention.\"runs.failed\"]\nage = \"2y\"\nmax_bytes = 1_000\nmax_records = 0x10\n\
             [retention.errors.critical]\nage = \"forever\"\n",
        )
        .unwrap();
        let critical = Class::severity(Kind::Error, Severity::Critical).unwrap();
        let days = |days: u64| Limits::new().age(Duration::from_secs(days * 86_400));
        let failed = days(730).max_bytes(1000).max_records(16);
        let expected = Retention::new()
            .max_bytes(Some(20 << 30))
            .class(Class::of(Kind::Run), days(365))
            .class(Class::status(Status::Failed), failed)
            .class(critical, Limits::new().forever());
        assert_eq!(retention, expected);
        assert_eq!(retention.split().len(), 2);
        assert_eq!(retention.limits(Class::status(Status::Success)), days(365));
        assert_eq!(parsed("").unwrap(), Retention::new());
    }

    #[test]
    fn what_cannot_be_taken_is_named_with_its_line() {
        let refused = |text: &str| parsed(text).unwrap_err().to_string();
        for (text, line, what) in [
            ("[retention\n", 1, "the file"),
            ("\n[retenton]\n", 2, "retenton: no such key"),
            ("[retention]\nmax_byte = 1\n", 2, "retention.max_byte: no such key"),
            ("[retention]\nmax_bytes = \"1 GiG\"\n", 2, "retention.max_bytes: expected a number"),
            ("[retention]\nmax_bytes = -1\n", 2, "retention.max_bytes: expected a number"),
            ("[retention.\"runs.fialed\"]\nage = \"1d\"\n", 1, "retention.runs.fialed: no such"),
            ("[retention.runs]\n\nage = \"1 month\"\n", 3, "retention.runs.age: expected \"for"),
            ("[retention.runs]\nage = 30\n", 2, "retention.runs.age: expected \"forever\""),
            ("[retention.runs]\nage = \"0d\"\n", 2, "retention.runs.age: expected \"forever\""),
            ("[retention.runs]\nages = 30\n", 2, "retention.runs.ages: no such key; there is age"),
            ("[retention]\nruns = 30\n", 2, "retention.runs: expected a table"),
            ("[retention.errors.info]\nage = \"1d\"\n", 1, "retention.errors.info: no such key"),
            (
                "[retention.runs.failed]\nage = \"1d\"\n[retention.\"runs.failed\"]\n",
                3,
                "the class is named twice",
            ),
        ] {
            let told = refused(text);
            assert!(told.starts_with(&format!("runledger.toml, line {line}: ")), "{text}: {told}");
            assert!(told.contains(what), "{text}: {told}");
        }
        let told = parse(Path::new("runledger.toml"), b"# ok\n\xff").unwrap_err().to_string();
        assert_eq!(told, "runledger.toml, line 2: the file: it is not UTF-8");
    }
}
