//! The command line.

use std::path::PathBuf;

use crate::Outcome;
use crate::engines::Name;

pub(crate) const USAGE: &str = "\
runledger-peers all [OPTIONS]         measure, print the table and write it as JSON
    --ops 1M,10M                      operations; 1M unless given
    --engines runledger,sqlite        all that are built in unless given; the floor always is
    --only bulk,query                 of bulk, durable, single, latency, query, open, drop,
                                      segments, packed
    --dir DIR                         where files go: the disk that is measured
    --out FILE                        where the JSON goes
runledger-peers show FILE             print the table of such a file
runledger-peers readme [FILE...]      put the tables of these files, of those in results/ unless
                                      given, into the README
runledger-peers readme --check [FILE...]
                                      fail when the README has other tables";

/// What is measured, and where.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) sizes: Vec<usize>,
    pub(crate) engines: Vec<Name>,
    pub(crate) only: Vec<String>,
    pub(crate) dir: PathBuf,
    pub(crate) out: PathBuf,
}

impl Options {
    pub(crate) fn parse(args: &[String]) -> Outcome<Self> {
        let exe = std::env::current_exe()?;
        let target = exe.parent().ok_or("the program is in no directory")?;
        let mut options = Self {
            sizes: vec![1_000_000],
            engines: Name::ALL.to_vec(),
            only: Vec::new(),
            dir: target.join("peers-data"),
            out: target.join("peers.json"),
        };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let value = args.next().ok_or_else(|| format!("{arg} wants a value\n{USAGE}"))?;
            let list = || value.split(',').map(str::trim);
            match arg.as_str() {
                "--ops" => options.sizes = list().map(operations).collect::<Outcome<_>>()?,
                "--engines" => {
                    options.engines = list().map(Name::parse).collect::<Outcome<_>>()?;
                    if !options.engines.contains(&Name::Floor) {
                        options.engines.insert(0, Name::Floor);
                    }
                }
                "--only" => options.only = list().map(str::to_owned).collect(),
                "--dir" => options.dir = PathBuf::from(value),
                "--out" => options.out = PathBuf::from(value),
                _ => return Err(format!("{arg} is not known\n{USAGE}").into()),
            }
        }
        Ok(options)
    }

    pub(crate) fn wants(&self, what: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|word| word == what)
    }
}

/// A number with k or M behind it, or without.
fn operations(text: &str) -> Outcome<usize> {
    let (digits, times) = match text.strip_suffix(['k', 'K']) {
        Some(digits) => (digits, 1_000),
        None => text.strip_suffix('M').map_or((text, 1), |digits| (digits, 1_000_000)),
    };
    let number: usize = digits.parse().map_err(|_| format!("{text} is no number"))?;
    match number * times {
        ops @ 20_000.. => Ok(ops),
        _ => Err("fewer than 20,000 operations do not hold every answer".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_read_with_their_unit() {
        assert_eq!(operations("10M").unwrap(), 10_000_000);
        assert_eq!(operations("20k").unwrap(), 20_000);
        assert_eq!(operations("123456").unwrap(), 123_456);
        assert!(operations("1").is_err());
        assert!(operations("M").is_err());
    }
}
