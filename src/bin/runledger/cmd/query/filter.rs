//! The flags that say which records are meant.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use runledger::{Field, Fingerprint, Kind, Query, Severity, Status};

use crate::context::Context;
use crate::exit::Failure;

/// Which records. A flag that takes a list can be given again, or take values with commas between
/// them (`\,` is a comma in a value): any of them may match. All flags that are given must match.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Which records")]
pub(crate) struct Filter {
    /// Only these types
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<String>,
    /// Only runs in these statuses
    #[arg(long, value_name = "STATUS", value_delimiter = ',', value_parser = statuses())]
    status: Vec<Status>,
    /// Only events and errors of these severities
    #[arg(long, value_name = "SEVERITY", value_delimiter = ',', value_parser = severities())]
    severity: Vec<Severity>,
    /// Only these trace ids
    #[arg(long, value_name = "ID")]
    trace: Vec<String>,
    /// Only these runs, and what belongs to them
    #[arg(long, value_name = "ID")]
    run: Vec<String>,
    /// Only these projects
    #[arg(long, value_name = "ID")]
    project: Vec<String>,
    /// Only these users
    #[arg(long, value_name = "ID")]
    user: Vec<String>,
    /// Only runs that acted on these objects
    #[arg(long, value_name = "KIND:ID")]
    subject: Vec<String>,
    /// Only errors with these fingerprints
    #[arg(long, value_name = "FINGERPRINT", value_delimiter = ',')]
    fingerprint: Vec<Fingerprint>,
    /// Only what was created at this time or later: 2026-11-01, yesterday, -2h, RFC 3339
    #[arg(short = 'S', long, value_name = "TIME", allow_hyphen_values = true)]
    since: Option<String>,
    /// Only what was created before this time
    #[arg(short = 'U', long, value_name = "TIME", allow_hyphen_values = true)]
    until: Option<String>,
    /// Only records with this text in their message, stack or JSON; in lower case it matches both
    #[arg(short = 'g', long, value_name = "TEXT")]
    grep: Option<String>,
}

impl Filter {
    /// Adds the flags to a query.
    ///
    /// # Errors
    /// A usage error when a time is not one, or a flag has no value.
    pub(crate) fn apply(&self, mut query: Query, ctx: &Context) -> Result<Query, Failure> {
        for (field, values) in [
            (Field::Type, &self.types),
            (Field::Trace, &self.trace),
            (Field::Run, &self.run),
            (Field::Project, &self.project),
            (Field::User, &self.user),
            (Field::Subject, &self.subject),
        ] {
            let wanted: Vec<_> = values.iter().flat_map(|text| split(text)).collect();
            if wanted.is_empty() && !values.is_empty() {
                // As of a variable that is not set: all there is would be what is not asked for.
                let text = format!("--{field} names nothing: give a value, or leave it out");
                return Err(Failure::Usage(text));
            }
            query = wanted.iter().fold(query, |query, value| query.field(field, value));
        }
        query = self.status.iter().fold(query, |query, status| query.status(*status));
        query = self.severity.iter().fold(query, |query, severity| query.severity(*severity));
        query = self.fingerprint.iter().fold(query, |query, print| query.fingerprint(*print));
        if let Some(since) = &self.since {
            query = query.since(ctx.time(since)?);
        }
        if let Some(until) = &self.until {
            query = query.until(ctx.time(until)?);
        }
        if let Some(text) = &self.grep {
            query = query.text(text);
        }
        Ok(query)
    }

    /// Refuses the flags that no record of a kind could match.
    ///
    /// # Errors
    /// A usage error that names the flag and the kinds that have what it asks for.
    pub(crate) fn check(&self, kind: Kind) -> Result<(), Failure> {
        let refuse = |flag: &str, has: &str| {
            Err(Failure::Usage(format!("a record of kind {kind} has no {flag}; {has} have one")))
        };
        match kind {
            Kind::Run if !self.severity.is_empty() => refuse("severity", "events and errors"),
            Kind::Run | Kind::Event if !self.fingerprint.is_empty() => {
                refuse("fingerprint", "errors")
            }
            Kind::Event | Kind::Error if !self.status.is_empty() => refuse("status", "runs"),
            Kind::Event | Kind::Error if !self.subject.is_empty() => refuse("subject", "runs"),
            _ => Ok(()),
        }
    }
}

/// The values between the commas of a text; `\,` is a comma in a value, and `\\` a backslash
/// before one.
fn split(text: &str) -> Vec<String> {
    let mut values = vec![];
    let mut value = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            ',' => values.push(std::mem::take(&mut value)),
            '\\' => value.push(chars.next_if(|next| matches!(next, ',' | '\\')).unwrap_or(c)),
            c => value.push(c),
        }
    }
    values.push(value);
    values.retain(|value| !value.is_empty());
    values
}

fn statuses() -> impl TypedValueParser<Value = Status> {
    let names = Status::ALL.iter().map(|status| status.name());
    PossibleValuesParser::new(names).try_map(|name| name.parse())
}

fn severities() -> impl TypedValueParser<Value = Severity> {
    let names = Severity::ALL.iter().map(|severity| {
        let value = PossibleValue::new(severity.name());
        match severity {
            Severity::Info => value.alias("information"),
            Severity::Warning => value.alias("warn"),
            Severity::Critical => value.alias("fatal"),
            _ => value,
        }
    });
    PossibleValuesParser::new(names).try_map(|name| name.parse())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        filter: Filter,
    }

    fn parse(args: &[&str]) -> Result<Filter, String> {
        let args = std::iter::once(&"test").chain(args);
        Flags::try_parse_from(args).map(|flags| flags.filter).map_err(|err| err.to_string())
    }

    #[test]
    fn lists_come_with_commas_or_again() {
        let filter = parse(&["--status", "failed,success", "--status", "running"]).unwrap();
        assert_eq!(filter.status, [Status::Failed, Status::Success, Status::Running]);
        let filter = parse(&["--severity", "warn,fatal", "-S", "-2h"]).unwrap();
        assert_eq!(filter.severity, [Severity::Warning, Severity::Critical]);
        assert_eq!(filter.since.as_deref(), Some("-2h"));
        assert!(parse(&["--status", "done"]).unwrap_err().contains("success"));
    }

    #[test]
    fn a_comma_can_be_part_of_a_value() {
        for (text, expected) in [
            ("a,b", vec!["a", "b"]),
            (r"a\,b,c", vec!["a,b", "c"]),
            (r"C:\dir\\,x", vec![r"C:\dir\", "x"]),
            (",a,,", vec!["a"]),
            ("", vec![]),
        ] {
            assert_eq!(split(text), expected, "{text}");
        }
    }

    #[test]
    fn what_no_record_can_match_is_refused() {
        for (args, kind) in [
            (["--status", "failed"], Kind::Event),
            (["--severity", "error"], Kind::Run),
            (["--subject", "booking:1"], Kind::Error),
            (["--fingerprint", "1-0123456789abcdef"], Kind::Event),
        ] {
            assert!(parse(&args).unwrap().check(kind).is_err(), "{args:?}");
        }
        assert!(parse(&["--status", "failed"]).unwrap().check(Kind::Run).is_ok());
    }
}
