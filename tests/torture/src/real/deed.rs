//! What a writer in another process does, as a line of text: both sides make the same records of
//! it.

use std::fmt;
use std::str::FromStr;

use runledger::{Body, Status};

use crate::oracle::mark;
use crate::rng::Rng;
use crate::workload::{error, event, run};

/// One append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    /// An event with a payload of so many bytes.
    Event(usize),
    /// An error with a message of so many bytes.
    Error(usize),
    /// A run that begins, with so many bytes of metadata.
    Start(usize),
    /// The end of the run that this batch began.
    End(usize),
    /// So many events and errors in turn, or of one of the two kinds alone, each of so many bytes.
    Mixed { count: usize, kinds: usize, size: usize },
}

impl Deed {
    /// Some append; `open` are the batches that began a run which has not ended.
    pub(crate) fn any(rng: &mut Rng, open: &mut Vec<usize>) -> Self {
        let size = match rng.below(10) {
            0..=4 => rng.below(200),
            5..=7 => rng.below(3000),
            _ => 10_000 + rng.below(12_000),
        };
        match rng.below(16) {
            0..=5 => Self::Event(size),
            6..=8 => Self::Error(size),
            9..=10 => Self::Start(size / 4),
            11..=12 if !open.is_empty() => Self::End(open.swap_remove(rng.below(open.len()))),
            _ => Self::Mixed { count: 2 + rng.below(5), kinds: rng.below(3), size: size / 4 },
        }
    }

    /// The records of it, as this batch.
    pub(crate) fn bodies(self, batch: usize) -> Vec<Body<'static>> {
        let mark_of = |place| mark(batch, place);
        match self {
            Self::Event(size) => vec![event(&mark_of(0), size)],
            Self::Error(size) => vec![error(&mark_of(0), size)],
            Self::Start(size) => {
                vec![run(&format!("run-{batch}"), &mark_of(0), Status::Running, size)]
            }
            Self::End(begun) => {
                vec![run(&format!("run-{begun}"), &mark_of(0), Status::Failed, 100)]
            }
            Self::Mixed { count, kinds, size } => {
                let body = |place| match if kinds == 0 { 1 + place % 2 } else { kinds } {
                    1 => event(&mark_of(place), size),
                    _ => error(&mark_of(place), size),
                };
                (0..count).map(body).collect()
            }
        }
    }
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Event(size) => write!(f, "event {size}"),
            Self::Error(size) => write!(f, "error {size}"),
            Self::Start(size) => write!(f, "start {size}"),
            Self::End(batch) => write!(f, "end {batch}"),
            Self::Mixed { count, kinds, size } => write!(f, "mixed {count} {kinds} {size}"),
        }
    }
}

impl FromStr for Deed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("no deed: {text:?}");
        let mut words = text.split(' ');
        let name = words.next().ok_or_else(wrong)?;
        let numbers: Vec<usize> =
            words.map(str::parse).collect::<Result<_, _>>().map_err(|_| wrong())?;
        match (name, numbers.as_slice()) {
            ("event", &[size]) => Ok(Self::Event(size)),
            ("error", &[size]) => Ok(Self::Error(size)),
            ("start", &[size]) => Ok(Self::Start(size)),
            ("end", &[batch]) => Ok(Self::End(batch)),
            ("mixed", &[count, kinds, size]) => Ok(Self::Mixed { count, kinds, size }),
            _ => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deed_comes_back_from_its_line() {
        let mut rng = Rng::new(1);
        let mut open = vec![3, 4];
        for batch in 0..200 {
            let deed = Deed::any(&mut rng, &mut open);
            assert_eq!(deed.to_string().parse(), Ok(deed));
            assert!(!deed.bodies(batch).is_empty());
        }
        assert!("mixed 1".parse::<Deed>().is_err());
    }
}
