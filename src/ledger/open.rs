//! Opening for writing: the lock, the identity, recovery, and the first notes.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use crate::error::{Error, Result};
use crate::format::identity::Identity;
use crate::format::seqfile::Head;
use crate::ledger::audit;
use crate::ledger::catalog::Catalog;
use crate::ledger::classes::STREAM_KINDS;
use crate::ledger::clock::{Clock, borne_out};
use crate::ledger::compact::Compaction;
use crate::ledger::ends::{gaps, heads_at_opening};
use crate::ledger::handle::{Inner, Ledger, LockGuard};
use crate::ledger::layout::Layout;
use crate::ledger::leftovers::name_aside;
use crate::ledger::maintain::Maintenance;
use crate::ledger::options::Options;
use crate::ledger::overtaken::Lost;
use crate::ledger::policy::{LivePolicy, make_directories, rolls};
use crate::ledger::reader::Reader;
use crate::ledger::reserve::Reserve;
use crate::ledger::sequence::{self, Found, Sequence};
use crate::ledger::stream::Stream;
use crate::model::Event;
use crate::planted::{Bug, is_planted};
use crate::segment::{Loss, Name, Segment};
use crate::storage::{OpenMode, Storage};
use crate::sync::atomic::{AtomicBool, AtomicU64};
use crate::sync::{Mutex, RwLock};

impl Ledger {
    pub(super) fn open_with(dir: &Path, options: Options) -> Result<Self> {
        Self::open_noting(dir, options, Vec::new())
    }

    /// Opens, and puts these notes on record of what was done to the segments before.
    pub(super) fn open_noting(
        dir: &Path,
        options: Options,
        mut notes: Vec<Event<'static>>,
    ) -> Result<Self> {
        let storage = Arc::clone(&options.storage);
        let layout = Layout::new(dir);
        if options.create {
            layout.make_directory(&*storage)?;
            layout.refuse_foreign(&*storage)?;
        } else {
            layout.identity(&*storage)?;
        }
        let lock: Box<dyn Send + Sync> = match is_planted(Bug::SkipLock) {
            true => Box::new(()),
            false => storage.lock(&layout.lock(), &writer_note())?,
        };
        let identity = identity(&*storage, &layout, options.create)?;
        let mut found = sequence::read(&*storage, &layout.sequence(), &identity.uuid)?;
        let catalog = Arc::new(Catalog::new(Arc::clone(&storage), layout, Some(&identity)));
        let policy =
            LivePolicy::open(&*storage, &catalog.layout.policy(), options.retention.clone())?;
        if make_directories(&*storage, &catalog.layout, policy.split())? {
            storage.sync_dir(&catalog.layout.streams())?;
        }
        catalog.refresh(OpenMode::Write)?;
        found.look(&catalog);
        if !found.is_clean() {
            sync_names(&catalog)?;
            notes.extend(set_torn_creations_aside(&catalog, &found)?);
        }
        let reader = Reader::of_writer(Arc::clone(&catalog));
        let missing = found.missing_ends(&catalog, &reader)?;
        notes.extend(missing.iter().map(audit::end_missing));
        if !found.is_clean() {
            let gaps = gaps(&catalog, &reader, &notes)?;
            notes.extend(gaps);
        }
        found.tell(&catalog);
        if !found.is_clean() {
            sync_trailers(&catalog, &found)?;
        }
        let losses = recover(&catalog, &found)?;
        notes.extend(losses.iter().map(|(segment, loss)| audit::lost(segment, loss)));
        let heads = heads_at_opening(&catalog, &found, &missing);
        let assembly = Assembly { heads, lock, policy };
        let ledger = assemble(assembly, catalog, options, &identity, &found)?;
        match ledger.inner.finish_opening(&notes, &found, !missing.is_empty()) {
            Ok(()) => Ok(ledger),
            Err(err) => {
                // What is left to be done must not be taken for done: no clean close.
                ledger.inner.poison(&err);
                Err(err)
            }
        }
    }
}

fn identity(storage: &dyn Storage, layout: &Layout, create: bool) -> Result<Identity> {
    match layout.identity(storage) {
        Err(Error::NotALedger { .. }) if create => layout.create(storage),
        other => other,
    }
}

/// What the lock says of its holder.
pub(super) fn writer_note() -> String {
    let host = rustix::system::uname();
    format!("pid={} host={}", std::process::id(), host.nodename().to_string_lossy())
}

/// Puts the names of the ledger, its streams and their segments on stable storage: whoever made
/// them may have died before that.
fn sync_names(catalog: &Catalog) -> Result<()> {
    let (storage, dir) = (&catalog.storage, catalog.layout.dir());
    for (name, _) in catalog.directories()?.of(&STREAM_KINDS) {
        storage.sync_dir(&catalog.layout.stream(name))?;
    }
    storage.sync_dir(&catalog.layout.streams())?;
    storage.sync_dir(dir)?;
    catalog.layout.sync_name(&**storage)
}

/// A crash before a segment was first synced can leave a file without a whole header, and more than
/// one where segments were filled that fast. Such a file holds nothing that was ever acknowledged
/// as synced: an empty one is removed, any other gets another name.
///
/// Gives the notes on those: damage to a header that was whole once looks the same.
fn set_torn_creations_aside(catalog: &Catalog, found: &Found) -> Result<Vec<Event<'static>>> {
    let mut notes = Vec::new();
    let unreadable = catalog.unreadable();
    for torn in unreadable.iter().filter(|it| it.is_damaged() && !found.knows(it)) {
        let Some(entry) = catalog.half_made(&torn.path)? else { continue };
        let name = Name::parse(&entry.name);
        if name.is_some_and(|name| name.is_compacted()) {
            // It was whole when it got its name.
            continue;
        }
        match entry.len {
            0 => catalog.storage.remove(&torn.path)?,
            len => {
                let aside = name_aside(&*catalog.storage, &torn.path, "torn")?;
                catalog.storage.rename(&torn.path, &aside)?;
                notes.push(audit::set_aside(&torn.path, &aside, len));
            }
        }
        if let Some(dir) = torn.path.parent() {
            catalog.storage.sync_dir(dir)?;
        }
    }
    if !unreadable.is_empty() {
        catalog.refresh(OpenMode::Write)?;
    }
    Ok(notes)
}

/// Puts the trailers on stable storage that are perhaps nowhere but in the kernel: of each stream
/// the last one, as whoever seals a segment has synced those before it. What compaction made was
/// synced before it got its name.
fn sync_trailers(catalog: &Catalog, found: &Found) -> Result<()> {
    for stream in catalog.in_use() {
        let segments = catalog.stream(stream);
        let Some(last) = segments.iter().rev().find(|segment| segment.is_sealed()) else {
            continue;
        };
        let is_known = found
            .head(stream)
            .is_some_and(|head| head.sealed && head.first_seq == last.first_seq());
        if !is_known && !last.name().is_compacted() {
            last.sync_trailer(&*catalog.storage)?;
        }
    }
    Ok(())
}

/// Puts in order what a crash left in segments without a footer. Where nothing is to be cut or
/// covered, what a killed writer left in the kernel is synced with what follows.
fn recover(catalog: &Catalog, found: &Found) -> Result<Vec<(Arc<Segment>, Loss)>> {
    let lost = catalog.layout.lost();
    let mut losses = Vec::new();
    for segment in catalog.all().into_iter().filter(|segment| segment.is_writable()) {
        if found.is_clean() {
            segment.go_on()?;
        } else {
            let of_segment = segment.recover(&*catalog.storage, &lost)?;
            losses.extend(of_segment.into_iter().map(|loss| (Arc::clone(&segment), loss)));
        }
    }
    Ok(losses)
}

/// When the first and the last record of each segment were appended, in their order.
fn arrivals(segments: &[Arc<Segment>]) -> impl Iterator<Item = i64> + use<> {
    let ends = segments.iter().filter_map(|segment| {
        let (last_seq, recorded_at) = segment.last_at_opening()?;
        let first = (segment.first_seq(), segment.header().created_at);
        Some([first, (last_seq, recorded_at)])
    });
    let mut times: Vec<(u64, i64)> = ends.flatten().collect();
    times.sort_by_key(|(seq, _)| *seq);
    times.into_iter().map(|(_, time)| time)
}

/// What the opening found that a person should know.
fn noticed(catalog: &Catalog, notes: &[Event<'static>], policy: &LivePolicy) -> Vec<String> {
    let broken = policy.problem().map(|it| format!("nothing expires until this is mended: {it}"));
    let left_out = catalog.unreadable().into_iter().map(|it| format!("left out: {}", it.reason));
    let notes = notes.iter().filter_map(|note| note.message.as_deref().map(str::to_owned));
    notes.chain(left_out).chain(broken).collect()
}

/// What the opening hands to the ledger.
struct Assembly {
    heads: Vec<Head>,
    lock: Box<dyn Send + Sync>,
    policy: LivePolicy,
}

fn assemble(
    Assembly { heads, lock, policy }: Assembly,
    catalog: Arc<Catalog>,
    options: Options,
    identity: &Identity,
    found: &Found,
) -> Result<Ledger> {
    let segments = catalog.all();
    let highest = segments
        .iter()
        .map(|segment| {
            segment.last_at_opening().map_or(0, |(last, _)| last).max(segment.first_seq())
        })
        .chain((0..STREAM_KINDS.len()).flat_map(|stream| catalog.unreadable_of(stream)))
        .max();
    let path = catalog.layout.sequence();
    let sequence = Sequence::open(&*options.storage, &path, identity.uuid, found, highest, heads)?;
    let retention = policy.current();
    let (bytes, cap) = (options.reserve_bytes, retention.cap());
    let reserve = Reserve::open(&*options.storage, catalog.layout.reserve(), bytes, cap)?;
    let clock = Clock::new(&*options.storage);
    let doubting_clock = Clock::after(&*options.storage, borne_out(arrivals(&segments)));
    let maintenance = Arc::<Maintenance>::default();
    let mut rolls = rolls(&retention, options.segment_bytes).into_iter();
    let mut number = 0;
    let streams = STREAM_KINDS.map(|(name, kind)| {
        let segments = catalog.stream(number);
        let (last, before) = match segments.split_last() {
            Some((last, before)) => (Some(last), before),
            None => (None, segments.as_slice()),
        };
        // A crash can leave more than one segment without a footer.
        let full = before.iter().filter(|segment| segment.is_writable()).cloned();
        let full: Vec<_> =
            full.inspect(|it| maintenance.note_full(number, Arc::clone(it))).collect();
        number += 1;
        let active = last.filter(|segment| segment.is_writable()).cloned();
        let roll = rolls.next().unwrap_or_default();
        Stream::new(name, kind, catalog.layout.stream(name), full, active, roll)
    });
    let inner = Arc::new(Inner {
        reader: Reader::of_writer(Arc::clone(&catalog)),
        catalog,
        options,
        policy,
        streams,
        sequence,
        clock,
        doubting_clock,
        maintenance,
        compactor: Arc::default(),
        poisoned: OnceLock::new(),
        reserve,
        closed: AtomicBool::new(false),
        jobs: RwLock::new(()),
        ended: AtomicBool::new(false),
        refused: AtomicU64::new(0),
        pid: std::process::id(),
        owner: OnceLock::new(),
        noticed: OnceLock::new(),
        owed_notes: Mutex::default(),
        passed_over: Mutex::default(),
        cleaning: Mutex::default(),
        merging: Mutex::default(),
        lock: LockGuard(Mutex::new(Some(lock))),
    });
    Ok(Ledger::of(inner))
}

impl Inner {
    fn finish_opening(
        self: &Arc<Self>,
        notes: &[Event<'static>],
        found: &Found,
        is_short: bool,
    ) -> Result<()> {
        if !found.is_clean() {
            self.remove_what_came_back()?;
            self.remove_what_was_replaced()?;
        }
        let mut is_noted = self.note_losses(notes, found)?;
        if let Some(problem) = self.policy.problem() {
            is_noted |= self.note_refused_policy(&problem)?;
        }
        if is_noted {
            // What was cut is cut for good; so is the word of it to be.
            self.sync()?;
        }
        if is_short && self.owed_notes.lock().is_empty() {
            // Only what is on record may be forgotten.
            self.sync()?;
            let now = heads_at_opening(&self.catalog, found, &[]);
            self.sequence.note_heads(|heads| *heads = now)?;
        }
        let unread = self.look_after_runs()?;
        let unread = unread.iter().map(|err| format!("left out of the look at open runs: {err}"));
        let noticed =
            noticed(&self.catalog, notes, &self.policy).into_iter().chain(unread).collect();
        let _ = self.noticed.set(noticed);
        match self.options.background {
            true => {
                self.maintenance.start(&Arc::downgrade(self), self.options.interval)?;
                if let Some(age) = self.options.compaction_age {
                    let compaction = Compaction::new().older_than(age);
                    let rate = self.options.compaction_rate;
                    self.compactor.start(&Arc::downgrade(self), compaction, rate)?;
                }
                if !found.is_clean() {
                    // What a crash left is synced and entered into the index meanwhile.
                    self.maintenance.note_due();
                    self.maintenance.note_dirty();
                }
                Ok(())
            }
            false => self.seal_and_note(),
        }
    }

    /// Puts on record what was found lost, and which states of runs seem to be the newest for that.
    /// True when the notes have to be synced.
    fn note_losses(&self, notes: &[Event<'static>], found: &Found) -> Result<bool> {
        let mut is_noted = !notes.is_empty();
        let is_marked = self.reader.mark_noted()?;
        // What was cut now is said below; else a crash may have come before that.
        let mut unsaid = match found.is_clean() || is_noted {
            true => Vec::new(),
            false => self.notes_owed_by_recovery()?,
        };
        if !found.is_clean() || is_noted {
            // What was on record may be nowhere but in the kernel, and is not noted again.
            is_noted |= is_marked;
            // Before the notes on what was lost: who finds these does not look again.
            let lost = Lost::by(&self.catalog, notes, !unsaid.is_empty());
            is_noted |= self.note_overtaken(&lost)?;
        }
        for note in notes {
            self.note(note)?;
        }
        if !found.is_clean() && self.owed_notes.lock().is_empty() {
            if !notes.is_empty() {
                unsaid = self.notes_owed_by_recovery()?;
            }
            is_noted |= !unsaid.is_empty();
            for note in unsaid {
                self.note(&note)?;
            }
        }
        Ok(is_noted)
    }
}
