//! The policy of a ledger that is open for writing, which follows its file.

use std::path::Path;
use std::sync::Arc;

use crate::error::Result;
use crate::ledger::audit::{self, POLICY_CHANGED, POLICY_REFUSED};
use crate::ledger::classes::{BASE_STREAMS, Class, STREAM_KINDS, StreamSet};
use crate::ledger::handle::Inner;
use crate::ledger::layout::Layout;
use crate::ledger::policy::{Retention, file};
use crate::limits::MIN_SEGMENT_BYTES;
use crate::model::Body;
use crate::query::Order;
use crate::storage::Storage;
use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sync::{Mutex, RwLock};

/// How many segments a limit has room for at the least, so that not everything goes at once.
const SEGMENTS_UNDER_LIMIT: u64 = 16;

/// When a segment of a stream is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ledger) struct Roll {
    pub(in crate::ledger) bytes: u32,
    pub(in crate::ledger) records: u64,
}

impl Default for Roll {
    fn default() -> Self {
        Self { bytes: u32::MAX, records: u64::MAX }
    }
}

/// What holds now: what the options say, then the file, then the defaults.
#[derive(Debug)]
pub(in crate::ledger) struct LivePolicy {
    /// The streams that are split off: all that an append looks at.
    split: AtomicU32,
    current: RwLock<Arc<Retention>>,
    /// What the options say.
    given: Retention,
    file: Mutex<File>,
}

/// What is known of the file.
#[derive(Debug, Default)]
struct File {
    /// Its bytes when it was last looked at.
    seen: Option<Vec<u8>>,
    /// True when nothing of it was ever understood: then nobody knows what is to be kept.
    is_unknown: bool,
    /// What is wrong with it.
    problem: Option<String>,
}

/// A change of the file.
enum Change {
    None,
    To(Retention),
    Broken(String),
}

impl LivePolicy {
    /// The policy as it is at the opening. A file that cannot be taken keeps no ledger from
    /// opening, but nothing expires until it can be: it might say that all is to be kept.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) when the file cannot be read.
    pub(in crate::ledger) fn open(
        storage: &dyn Storage,
        path: &Path,
        given: Retention,
    ) -> Result<Self> {
        let standard = given.clone().over(&Retention::standard());
        let live = Self {
            split: AtomicU32::default(),
            current: RwLock::new(Arc::new(standard)),
            given,
            file: Mutex::default(),
        };
        match live.look(storage, path)? {
            Change::None => {}
            Change::To(retention) => *live.current.write() = Arc::new(retention),
            Change::Broken(_) => live.file.lock().is_unknown = true,
        }
        live.split.store(live.current().split().bits(), Ordering::Release);
        Ok(live)
    }

    pub(in crate::ledger) fn current(&self) -> Arc<Retention> {
        Arc::clone(&self.current.read())
    }

    /// The streams that are split off their kinds.
    #[inline]
    pub(in crate::ledger) fn split(&self) -> StreamSet {
        StreamSet::from_bits(self.split.load(Ordering::Acquire))
    }

    /// What is wrong with the file; `None` when it was taken, or is not there.
    pub(in crate::ledger) fn problem(&self) -> Option<String> {
        self.file.lock().problem.clone()
    }

    /// True while it is not known what is to be kept, as nothing of the file was ever understood.
    pub(in crate::ledger) fn is_unknown(&self) -> bool {
        self.file.lock().is_unknown
    }

    /// Looks whether the file says something else than before.
    ///
    /// # Errors
    /// When the file cannot be read.
    fn look(&self, storage: &dyn Storage, path: &Path) -> Result<Change> {
        let mut file = self.file.lock();
        let bytes = file::bytes(storage, path)?.unwrap_or_default();
        if file.seen.as_ref() == Some(&bytes) {
            return Ok(Change::None);
        }
        let parsed = file::parse(path, &bytes).map_err(|err| err.to_string());
        file.seen = Some(bytes);
        Ok(match parsed {
            Ok(said) => {
                file.problem = None;
                file.is_unknown = false;
                Change::To(self.given.clone().over(&said).over(&Retention::standard()))
            }
            Err(reason) => {
                file.problem = Some(reason.clone());
                Change::Broken(reason)
            }
        })
    }
}

/// When the segments of each stream are full, where they may take so many bytes at the most.
pub(in crate::ledger) fn rolls(retention: &Retention, most: u32) -> [Roll; STREAM_KINDS.len()] {
    let share = |limit: Option<u64>| limit.map_or(u64::MAX, |it| it / SEGMENTS_UNDER_LIMIT);
    std::array::from_fn(|stream| {
        let limits = Class::at(stream).map(|class| retention.limits(class)).unwrap_or_default();
        let bytes = share(retention.cap()).min(share(limits.max_bytes));
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).max(MIN_SEGMENT_BYTES);
        Roll { bytes: bytes.min(most), records: share(limits.max_records).max(1) }
    })
}

/// Makes the directories of the streams that every ledger has, and of those that are split off.
/// True when their names have to be put on stable storage before anything goes into them: those of
/// streams that are split off also where they are there, as whoever made them may have died before.
///
/// # Errors
/// When the operating system refuses, or the disk is full.
pub(in crate::ledger) fn make_directories(
    storage: &dyn Storage,
    layout: &Layout,
    split: StreamSet,
) -> Result<bool> {
    let mut are_unsynced = !split.is_empty();
    for (name, _) in BASE_STREAMS.or(split).of(&STREAM_KINDS) {
        let dir = layout.stream(name);
        if !storage.exists(&dir)? {
            storage.create_dir_all(&dir)?;
            are_unsynced = true;
        }
    }
    Ok(are_unsynced)
}

impl Inner {
    /// Takes up what the file says now. One that cannot be taken changes nothing, and is put on
    /// record once.
    ///
    /// # Errors
    /// As for a note, or when the directory of a stream cannot be made.
    pub(in crate::ledger) fn follow_policy(&self) -> Result<()> {
        let layout = &self.catalog.layout;
        let retention = match self.policy.look(&*self.options.storage, &layout.policy())? {
            Change::None => return Ok(()),
            Change::Broken(reason) => return self.note(&audit::policy_refused(&reason)),
            Change::To(retention) => retention,
        };
        if *self.policy.current() == retention {
            return Ok(());
        }
        let storage = &self.options.storage;
        let are_unsynced = make_directories(&**storage, layout, retention.split())
            // To be tried again in the next round.
            .inspect_err(|_| self.policy.file.lock().seen = None)?;
        if are_unsynced {
            storage.sync_dir(&layout.streams()).inspect_err(|err| self.poison(err))?;
        }
        let rolls = rolls(&retention, self.options.segment_bytes);
        for (stream, roll) in self.streams.iter().zip(rolls) {
            stream.lock().roll = roll;
        }
        self.policy.split.store(retention.split().bits(), Ordering::Release);
        let note = audit::policy_changed(&retention);
        *self.policy.current.write() = Arc::new(retention);
        self.note(&note)
    }

    /// Puts on record that the file cannot be taken, unless that is the last thing that was noted
    /// of the policy: many a program opens its ledger every minute. True when it was.
    ///
    /// # Errors
    /// As for a note, or when the notes cannot be read.
    pub(in crate::ledger) fn note_refused_policy(&self, reason: &str) -> Result<bool> {
        let note = audit::policy_refused(reason);
        let notes = self.reader.audit().record_type(POLICY_CHANGED).record_type(POLICY_REFUSED);
        let last = notes.order(Order::SeqDescending).limit(1).fetch()?;
        let is_known = last.records().filter_map(Result::ok).any(|last| match last.body {
            Body::Event(last) => last.message == note.message,
            Body::Run(_) | Body::Error(_) => false,
        });
        if !is_known {
            self.note(&note)?;
        }
        Ok(!is_known)
    }

    /// An error while it is not known what is to be kept.
    pub(in crate::ledger) fn check_policy(&self) -> Result<()> {
        match self.policy.is_unknown() {
            false => Ok(()),
            true => file::read(&*self.options.storage, &self.catalog.layout.policy()).map(drop),
        }
    }
}
