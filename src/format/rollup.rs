//! What a sealed segment tells of its records in sum: by day, type and status how many runs ended
//! and how long they took, and of each fingerprint how many errors there were, and when.
//!
//! It stands in the footer, so that it is there, and small, when the segment is dropped: then it is
//! what is left of the records.

use crate::error::Damage;
use crate::model::{Fingerprint, Status};

/// Nanoseconds of a day.
const DAY_NANOS: i64 = 24 * 60 * 60 * 1_000_000_000;

/// Lengths of time are kept to so many binary digits behind the first.
const LENGTH_BITS: u32 = 10;
/// A bucket covers the lengths that are alike in all but so many of these.
const BUCKET_SHIFT: u32 = 6;

/// Stands for no length: no code is as high.
const NO_LENGTH: u16 = u16::MAX;

/// The numbers up to this one take one byte; the marks of longer ones follow.
const ONE_BYTE_MAX: u8 = 250;
const U16_MARK: u8 = 251;
const U32_MARK: u8 = 252;
const U64_MARK: u8 = 253;

/// The day of a time in nanoseconds, counted from 1970-01-01.
#[must_use]
pub fn day_of(nanos: i64) -> i32 {
    i32::try_from(nanos.div_euclid(DAY_NANOS)).unwrap_or_default()
}

/// A length of time, in nanoseconds, in 16 bits: it is off by a 1,024th at the most. Longer ones
/// have higher codes.
#[must_use]
pub fn length_code(nanos: u64) -> u16 {
    let shift = (u64::BITS - nanos.leading_zeros()).saturating_sub(LENGTH_BITS + 1);
    let code = match nanos >> LENGTH_BITS {
        0 => nanos,
        _ => (u64::from(shift + 1) << LENGTH_BITS) | (nanos >> shift & ((1 << LENGTH_BITS) - 1)),
    };
    u16::try_from(code).unwrap_or(NO_LENGTH)
}

/// The shortest length of this code, in nanoseconds.
#[must_use]
pub fn shortest(code: u16) -> u64 {
    let (power, digits) = (u32::from(code >> LENGTH_BITS), u64::from(code & 0x3ff));
    match power.checked_sub(1) {
        None => digits,
        Some(shift) => (digits | 1 << LENGTH_BITS).checked_shl(shift).unwrap_or(u64::MAX),
    }
}

/// The bucket that a length of this code is counted in.
#[must_use]
pub const fn bucket_of(code: u16) -> u16 {
    code >> BUCKET_SHIFT
}

/// The length in the middle of a bucket, in nanoseconds. What is counted there is off from it by a
/// 32nd, or by 32 ns, at the most.
#[must_use]
pub fn middle_of(bucket: u16) -> u64 {
    shortest((bucket << BUCKET_SHIFT) | 1 << (BUCKET_SHIFT - 1))
}

/// The sums of one segment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rollup {
    /// The types that rows name by their places here, rising.
    pub types: Vec<String>,
    /// Of runs that have ended: in the order of type, status and day.
    pub runs: Vec<RunRow>,
    /// Of errors: in the order of their fingerprints.
    pub errors: Vec<ErrorRow>,
}

/// The runs of one type that were created on one day and whose newest state in the segment is of
/// one status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRow {
    /// The place of their type among the types.
    pub run_type: u32,
    /// The status that they ended in.
    pub status: Status,
    /// The day, counted from 1970-01-01.
    pub day: i32,
    /// How many there are.
    pub count: u32,
    /// The sequence number of the one that was created last.
    pub newest: u64,
    /// The code of the longest time that one took; `None` when none said.
    pub longest: Option<u16>,
    /// How many took how long: buckets, rising, with the number of runs in each.
    pub lengths: Vec<(u16, u32)>,
}

/// The errors of one fingerprint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorRow {
    /// Their fingerprint.
    pub fingerprint: Fingerprint,
    /// The place of their type among the types.
    pub error_type: u32,
    /// How many there are.
    pub count: u32,
    /// When the first of them was created, in nanoseconds since the Unix epoch.
    pub first: i64,
    /// When the last of them was.
    pub last: i64,
}

impl RunRow {
    /// A row of no runs yet.
    #[must_use]
    pub const fn new(run_type: u32, status: Status, day: i32) -> Self {
        let lengths = Vec::new();
        Self { run_type, status, day, count: 0, newest: 0, longest: None, lengths }
    }

    /// What rows are in the order of.
    #[must_use]
    pub const fn key(&self) -> (u32, u8, i32) {
        (self.run_type, self.status.code(), self.day)
    }

    /// Counts a run with this sequence number, which was created after all that were counted, and
    /// took a time of this code.
    pub fn add(&mut self, seq: u64, length: Option<u16>) {
        self.count = self.count.saturating_add(1);
        self.newest = seq;
        let Some(length) = length else { return };
        self.longest = self.longest.max(Some(length));
        let bucket = bucket_of(length);
        match self.lengths.binary_search_by_key(&bucket, |&(other, _)| other) {
            Ok(at) => {
                if let Some((_, count)) = self.lengths.get_mut(at) {
                    *count = count.saturating_add(1);
                }
            }
            Err(at) => self.lengths.insert(at, (bucket, 1)),
        }
    }
}

impl Rollup {
    /// Takes a run out of what is counted: another segment has a later state of it. The longest
    /// time stays, as that of another cannot be told.
    pub fn take_out(&mut self, run_type: &str, status: Status, day: i32, length: Option<u16>) {
        let place = self.types.binary_search_by(|name| name.as_str().cmp(run_type));
        let key = place.ok().and_then(|place| u32::try_from(place).ok());
        let key = key.map(|place| (place, status.code(), day));
        let at = key.and_then(|key| self.runs.binary_search_by_key(&key, RunRow::key).ok());
        let Some((at, row)) = at.and_then(|at| Some((at, self.runs.get_mut(at)?))) else { return };
        row.count = row.count.saturating_sub(1);
        let bucket = length.map(bucket_of);
        for (_, count) in row.lengths.iter_mut().filter(|(of, _)| Some(*of) == bucket) {
            *count = count.saturating_sub(1);
        }
        row.lengths.retain(|&(_, count)| count > 0);
        if row.lengths.is_empty() {
            row.longest = None;
        }
        if row.count == 0 {
            self.runs.remove(at);
        }
    }

    /// Appends the bytes of the section.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let count = |of: usize| of as u64;
        put(out, count(self.types.len()));
        for name in &self.types {
            put(out, count(name.len()));
            out.extend_from_slice(name.as_bytes());
        }
        put(out, count(self.runs.len()));
        for row in &self.runs {
            put(out, row.run_type.into());
            out.push(row.status.code());
            out.extend(row.day.to_le_bytes());
            put(out, row.count.into());
            put(out, row.newest);
            out.extend(row.longest.unwrap_or(NO_LENGTH).to_le_bytes());
            put(out, count(row.lengths.len()));
            let mut before = 0;
            for &(bucket, count) in &row.lengths {
                put(out, u64::from(bucket.wrapping_sub(before)));
                put(out, count.into());
                before = bucket;
            }
        }
        put(out, count(self.errors.len()));
        for row in &self.errors {
            out.push(row.fingerprint.version);
            out.extend(row.fingerprint.hash.to_le_bytes());
            put(out, row.error_type.into());
            put(out, row.count.into());
            out.extend(row.first.to_le_bytes());
            put(out, row.last.wrapping_sub(row.first).cast_unsigned());
        }
    }

    /// Reads the section.
    ///
    /// # Errors
    /// [`Damage::Footer`] when it ends too early or too late, names a type or a status that there
    /// is not, or its rows or buckets do not rise.
    pub fn decode(bytes: &[u8]) -> Result<Self, Damage> {
        let mut left = Left(bytes);
        let rollup = left.rollup().filter(|_| left.0.is_empty());
        rollup.filter(Self::is_in_order).ok_or(Damage::Footer)
    }

    fn is_in_order(&self) -> bool {
        let types = self.types.len();
        let is_type = |place: u32| usize::try_from(place).is_ok_and(|place| place < types);
        self.types.is_sorted_by(|one, next| one < next)
            && self.runs.iter().all(|row| is_type(row.run_type))
            && self.runs.is_sorted_by(|one, next| one.key() < next.key())
            && self.runs.iter().all(|row| row.lengths.is_sorted_by(|one, next| one.0 < next.0))
            && self.errors.iter().all(|row| is_type(row.error_type))
            && self.errors.is_sorted_by(|one, next| one.fingerprint < next.fingerprint)
    }

    /// The name of a type, from its place.
    #[must_use]
    pub fn type_name(&self, place: u32) -> &str {
        let name = usize::try_from(place).ok().and_then(|place| self.types.get(place));
        name.map_or("", String::as_str)
    }
}

/// Appends a number as records hold it: in one byte, or behind a mark.
fn put(out: &mut Vec<u8>, value: u64) {
    match (u8::try_from(value), u16::try_from(value), u32::try_from(value)) {
        (Ok(byte), ..) if byte <= ONE_BYTE_MAX => out.push(byte),
        (_, Ok(short), _) => {
            out.push(U16_MARK);
            out.extend(short.to_le_bytes());
        }
        (_, _, Ok(word)) => {
            out.push(U32_MARK);
            out.extend(word.to_le_bytes());
        }
        _ => {
            out.push(U64_MARK);
            out.extend(value.to_le_bytes());
        }
    }
}

/// What is left to be read. Nothing is allocated by a number that was read: a row that is counted
/// and not there ends it.
struct Left<'b>(&'b [u8]);

impl<'b> Left<'b> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*bytes)
    }

    fn number(&mut self) -> Option<u64> {
        let [first] = self.array()?;
        match first {
            0..=ONE_BYTE_MAX => Some(first.into()),
            U16_MARK => self.array().map(|bytes| u16::from_le_bytes(bytes).into()),
            U32_MARK => self.array().map(|bytes| u32::from_le_bytes(bytes).into()),
            U64_MARK => self.array().map(u64::from_le_bytes),
            _ => None,
        }
    }

    fn count(&mut self) -> Option<u32> {
        self.number().and_then(|number| u32::try_from(number).ok())
    }

    fn text(&mut self) -> Option<&'b str> {
        let len = usize::try_from(self.number()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        str::from_utf8(bytes).ok()
    }

    fn list<T>(&mut self, mut read: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let mut list = Vec::new();
        for _ in 0..self.number()? {
            list.push(read(self)?);
        }
        Some(list)
    }

    fn rollup(&mut self) -> Option<Rollup> {
        Some(Rollup {
            types: self.list(|left| left.text().map(str::to_owned))?,
            runs: self.list(Self::run_row)?,
            errors: self.list(Self::error_row)?,
        })
    }

    fn run_row(&mut self) -> Option<RunRow> {
        let run_type = self.count()?;
        let [status] = self.array()?;
        let status = Status::from_code(status)?;
        let day = self.array().map(i32::from_le_bytes)?;
        let (count, newest) = (self.count()?, self.number()?);
        let longest = self.array().map(u16::from_le_bytes)?;
        let longest = Some(longest).filter(|&code| code != NO_LENGTH);
        let mut before = 0_u16;
        let lengths = self.list(|left| {
            let step = left.number().and_then(|step| u16::try_from(step).ok())?;
            before = before.checked_add(step)?;
            Some((before, left.count()?))
        })?;
        Some(RunRow { run_type, status, day, count, newest, longest, lengths })
    }

    fn error_row(&mut self) -> Option<ErrorRow> {
        let [version] = self.array()?;
        let hash = self.array().map(u64::from_le_bytes)?;
        let (error_type, count) = (self.count()?, self.count()?);
        let first = self.array().map(i64::from_le_bytes)?;
        let last = first.wrapping_add(self.number()?.cast_signed());
        let fingerprint = Fingerprint { version, hash };
        (first <= last).then_some(ErrorRow { fingerprint, error_type, count, first, last })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_length_is_off_by_as_little_as_is_said() {
        let mut before = None;
        for power in 0..64 {
            for step in 0..64 {
                let nanos = (1u64 << power) + ((1u64 << power) / 64) * step;
                let code = length_code(nanos);
                assert!(before <= Some(code), "{nanos}: longer ones have higher codes");
                before = Some(code);
                let off = nanos - shortest(code);
                assert!(off <= nanos / 1024, "{nanos} is told as {}", shortest(code));
                let off = nanos.abs_diff(middle_of(bucket_of(code)));
                assert!(off <= (nanos / 32).max(32), "{nanos} is counted with {off} more or less");
            }
        }
        assert_eq!((length_code(0), shortest(0)), (0, 0));
        assert!(length_code(u64::MAX) < NO_LENGTH);
    }

    #[test]
    fn days_are_those_of_utc_before_1970_too() {
        assert_eq!(
            (day_of(0), day_of(-1), day_of(DAY_NANOS - 1), day_of(DAY_NANOS)),
            (0, -1, 0, 1)
        );
        assert_eq!((day_of(i64::MIN), day_of(i64::MAX)), (-106_752, 106_751));
    }

    fn rollups() -> impl Strategy<Value = Rollup> {
        let status = (0..Status::ALL.len()).prop_map(|at| Status::ALL[at]);
        let lengths = prop::collection::btree_map(0..880_u16, 1..9_u32, 0..9);
        let longest = prop::option::of(0..56_000_u16);
        let run = (0..9_u32, status, -9..9_i32, any::<u32>(), any::<u64>(), longest, lengths);
        let error = (any::<u8>(), any::<u64>(), 0..9_u32, any::<u32>(), any::<i64>(), any::<i64>());
        (prop::collection::vec(run, 0..20), prop::collection::vec(error, 0..20)).prop_map(
            |(runs, errors)| {
                let runs = runs.into_iter().map(|it| RunRow {
                    run_type: it.0,
                    status: it.1,
                    day: it.2,
                    count: it.3,
                    newest: it.4,
                    longest: it.5,
                    lengths: it.6.into_iter().collect(),
                });
                let errors = errors.into_iter().map(|(version, hash, error_type, count, a, b)| {
                    let fingerprint = Fingerprint { version, hash };
                    ErrorRow { fingerprint, error_type, count, first: a.min(b), last: a.max(b) }
                });
                let (mut runs, mut errors): (Vec<_>, Vec<_>) = (runs.collect(), errors.collect());
                runs.sort_by_key(RunRow::key);
                runs.dedup_by_key(|row| row.key());
                errors.sort_by_key(|row| row.fingerprint);
                errors.dedup_by_key(|row| row.fingerprint);
                Rollup { types: (0..9).map(|at| format!("type {at}")).collect(), runs, errors }
            },
        )
    }

    fn bytes(rollup: &Rollup) -> Vec<u8> {
        let mut out = Vec::new();
        rollup.encode(&mut out);
        out
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(rollup in rollups()) {
            prop_assert_eq!(Rollup::decode(&bytes(&rollup)), Ok(rollup));
        }

        /// Its checksum finds damage; what a hostile hand gave a fitting one must not be worse.
        #[test]
        fn damaged_bytes_are_an_error_or_another_rollup(
            rollup in rollups(),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = bytes(&rollup);
            prop_assert_eq!(Rollup::decode(&bytes[..cut.index(bytes.len())]), Err(Damage::Footer));
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Ok(other) = Rollup::decode(&bytes) {
                prop_assert!(other.is_in_order());
            }
            bytes.push(0);
            drop(Rollup::decode(&bytes));
        }

        #[test]
        fn any_bytes_are_taken(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            drop(Rollup::decode(&bytes));
        }
    }

    #[test]
    fn a_number_of_rows_allocates_nothing() {
        for count in [u64::from(u32::MAX), u64::MAX] {
            let mut bytes = Vec::new();
            put(&mut bytes, count);
            assert_eq!(Rollup::decode(&bytes), Err(Damage::Footer));
            bytes.insert(0, 0);
            assert_eq!(Rollup::decode(&bytes), Err(Damage::Footer));
        }
    }
}
