//! From a file to the ledger: once, whatever happens on the way.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use crate::embed::spill::Spilled;
use crate::embed::spill::line::{self, Unread};
use crate::error::Result;
use crate::ledger::{Durability, Ledger, is_of_one_file};
use crate::model::{Body, Kind, Timestamp};
use crate::query::{Cursor, Order};
use crate::storage::{OpenMode, Storage};

/// How many records of the ledger are looked at at a time.
const AT_ONCE: usize = 1000;

/// What was not appended of a file.
#[derive(Debug, Default)]
pub(in crate::embed) struct LeftOut {
    /// Lines that the ledger does not take.
    pub(in crate::embed) refused: u64,
    /// Lines that are not what was written.
    pub(in crate::embed) damaged: u64,
    /// Why, of the last of them.
    pub(in crate::embed) reason: String,
}

impl LeftOut {
    fn refuse(&mut self, reason: impl fmt::Display) {
        self.refused += 1;
        self.reason = reason.to_string();
    }
}

/// Appends what a file holds, and removes it.
///
/// Before that its name says from which sequence number on the ledger may have its records. When
/// the name says so already, an append may have come before: what the ledger has is left out.
///
/// # Errors
/// Those of an append, and [`Error::Io`](crate::Error::Io): the file is there as before, and so is
/// one that cannot be read for a fault of its own, which is left for the next recorder.
pub(in crate::embed) fn drain(
    ledger: &Ledger,
    durability: Durability,
    spilled: &mut Spilled,
) -> Result<LeftOut> {
    let storage = &**ledger.storage();
    let dir = ledger.layout().spill();
    let mut left_out = LeftOut::default();
    if !storage.exists(&dir.join(spilled.name()))? {
        // Somebody has removed it. What comes behind it need not wait for ever.
        left_out.damaged = spilled.records.max(1);
        left_out.reason = format!("spill/{} is gone", spilled.name());
        return Ok(left_out);
    }
    let text = match read(storage, &dir.join(spilled.name()), spilled.bytes) {
        Ok(text) => text,
        // Later there may be a file descriptor to spare.
        Err(err) if !is_of_one_file(&err) => return Err(err),
        Err(err) => {
            // What comes behind it need not wait for a disk that may never read it.
            left_out.damaged = spilled.records.max(1);
            left_out.reason = format!("a spill cannot be read, and is left as it is: {err}");
            return Ok(left_out);
        }
    };
    let mut damaged = Vec::new();
    let mut bodies = Vec::new();
    for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        match line::read(line) {
            Ok(body) => bodies.push(body),
            Err(Unread::Refused(reason)) => left_out.refuse(reason),
            Err(Unread::Damaged) => {
                left_out.damaged += 1;
                damaged.extend_from_slice(line);
                damaged.push(b'\n');
            }
        }
    }
    let in_file = bodies.len();
    match spilled.since {
        Some(since) => leave_out_known(ledger, &mut bodies, since)?,
        None => {
            let before = dir.join(spilled.name());
            let begun = Spilled { since: Some(ledger.settled().saturating_add(1)), ..*spilled };
            storage.rename(&before, &dir.join(begun.name()))?;
            *spilled = begun;
        }
    }
    // Without the name what the ledger keeps over a power cut would be appended again.
    storage.sync_dir(&dir)?;
    if bodies.len() < in_file {
        // Whoever appended those may have died before they were synced.
        ledger.sync()?;
    }
    for outcome in ledger.append_each(&bodies, durability)? {
        if let Err(err) = outcome {
            left_out.refuse(err);
        }
    }
    if !damaged.is_empty() {
        let name = format!("spill-{}", spilled.name());
        left_out.reason = format!("lines of a spill are damaged; they are kept as lost/{name}");
        if let Err(err) = keep(storage, &ledger.layout().lost(), &name, &damaged) {
            left_out.reason = format!("lines of a spill are damaged, and cannot be kept: {err}");
        }
    }
    storage.remove(&dir.join(spilled.name()))?;
    Ok(left_out)
}

/// The beginning of a file.
fn read(storage: &dyn Storage, path: &Path, bytes: u64) -> Result<Vec<u8>> {
    // No longer than the longest file, as the listing of the directory leaves others out.
    let mut text = vec![0; usize::try_from(bytes).unwrap_or(usize::MAX)];
    let read = storage.open(path, OpenMode::Read)?.read_at(&mut text, 0)?;
    text.truncate(read);
    Ok(text)
}

/// Keeps a copy of damaged lines where copies of what recovery cuts are.
fn keep(storage: &dyn Storage, lost: &Path, name: &str, lines: &[u8]) -> Result<()> {
    storage.create_dir_all(lost)?;
    let path = lost.join(name);
    if storage.exists(&path)? {
        storage.remove(&path)?;
    }
    storage.open(&path, OpenMode::CreateNew)?.write_at(lines, 0)
}

/// Takes those out that the ledger has, at this sequence number or later.
fn leave_out_known(ledger: &Ledger, bodies: &mut Vec<Body<'_>>, since: u64) -> Result<()> {
    let times = || bodies.iter().filter_map(Body::created_at);
    let (Some(first), Some(last)) = (times().min(), times().max()) else { return Ok(()) };
    let mut by_time: HashMap<Timestamp, Vec<usize>> = HashMap::new();
    for (at, body) in bodies.iter().enumerate() {
        if let Some(time) = body.created_at() {
            by_time.entry(time).or_default().push(at);
        }
    }
    let mut is_known = vec![false; bodies.len()];
    let query = || {
        let of_kinds = ledger.query().kind(Kind::Event).kind(Kind::Error);
        let then = of_kinds.since(first).until(last.saturating_add(Duration::from_nanos(1)));
        then.order(Order::Seq).limit(AT_ONCE)
    };
    let mut page = query().after(Cursor::after_seq(since.saturating_sub(1))).fetch()?;
    loop {
        // A record that cannot be read is not known.
        for record in page.records().flatten() {
            let places = record.body.created_at().and_then(|time| by_time.get_mut(&time));
            let Some(places) = places else { continue };
            let is_it =
                |at: &usize| bodies.get(*at).is_some_and(|body| is_same(body, &record.body));
            if let Some(place) = places.iter().position(is_it)
                && let Some(known) = is_known.get_mut(places.swap_remove(place))
            {
                *known = true;
            }
        }
        let Some(next) = page.next() else { break };
        page = query().after(next).fetch()?;
    }
    let mut is_known = is_known.into_iter();
    bodies.retain(|_| !is_known.next().unwrap_or(false));
    Ok(())
}

/// True when a record of the ledger is this one.
fn is_same(body: &Body<'_>, known: &Body<'_>) -> bool {
    match (body, known) {
        (Body::Error(body), Body::Error(known)) => {
            let mut known = known.borrowed();
            // The ledger has added it.
            known.fingerprint = None;
            *body == known
        }
        _ => body == known,
    }
}
