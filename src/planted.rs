//! Bugs that can be planted, so that the project's own tests are seen to catch them. The feature
//! `planted-bugs` is for those tests alone: without it no bug can be planted, and nothing of this
//! is left in a build.

#[cfg(feature = "planted-bugs")]
use std::sync::OnceLock;

/// A way in which ledgers like this one have lost, doubled or invented records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Bug {
    /// The directory is not synced after a segment was created in it.
    SkipDirectorySyncAfterCreate,
    /// The directory is not synced after segments were removed from it.
    SkipDirectorySyncAfterRemove,
    /// `Sync` is acknowledged when the kernel has the record.
    AcknowledgeBeforeSync,
    /// Those who wait for another's sync are let go when it begins.
    WakeBeforeSync,
    /// A sync that failed is tried again, and the second answer is believed.
    RetryFailedSync,
    /// After a sync that failed the writer goes on.
    GoOnAfterFailedSync,
    /// What a writer before this one left in the kernel is synced, and not written anew.
    TrustPagesOfAFailedSync,
    /// A segment's footer and trailer are synced together, in no order.
    SealWithOneSync,
    /// Everything after the first bad frame is taken for a torn tail, and cut.
    CutAtTheFirstBadFrame,
    /// A payload is believed without its checksum.
    SkipPayloadChecksum,
    /// A frame's checksum does not cover where it stands, and in which segment.
    UnboundFrame,
    /// Zeros are a frame with an empty record.
    ZerosAreAFrame,
    /// Numbers are given out before their bound is on stable storage.
    NumbersBeforeTheirBound,
    /// A section of a footer is believed without its checksum.
    SkipFooterChecksum,
    /// Files are removed before it is on record that they are dropped.
    RemoveBeforeTheNote,
    /// A segment is dropped with the runs in it that are still open.
    DropOpenRuns,
    /// The wall clock is believed when records are dropped for their age.
    BelieveTheClock,
    /// The writer's lock is not taken.
    SkipLock,
    /// What a failed write has left stays, and the next frame is written behind it.
    KeepHalfARecord,
    /// A frame can be read before it is written.
    PublishBeforeTheWrite,
    /// The hash of a sealed segment is not compared.
    SkipHash,
    /// A compacted segment gets its name before it is on stable storage.
    NameBeforeTheSync,
    /// Nothing is put on record of a compaction.
    CompactUnsaid,
    /// A token counts after its time as well.
    SkipTokenExpiry,
    /// A query word that cannot be read is taken for one that cannot be.
    PanicOnBadWord,
}

#[cfg(feature = "planted-bugs")]
static PLANTED: OnceLock<Bug> = OnceLock::new();

#[cfg(feature = "planted-bugs")]
impl Bug {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::SkipDirectorySyncAfterCreate,
        Self::SkipDirectorySyncAfterRemove,
        Self::AcknowledgeBeforeSync,
        Self::WakeBeforeSync,
        Self::RetryFailedSync,
        Self::GoOnAfterFailedSync,
        Self::TrustPagesOfAFailedSync,
        Self::SealWithOneSync,
        Self::CutAtTheFirstBadFrame,
        Self::SkipPayloadChecksum,
        Self::UnboundFrame,
        Self::ZerosAreAFrame,
        Self::NumbersBeforeTheirBound,
        Self::SkipFooterChecksum,
        Self::RemoveBeforeTheNote,
        Self::DropOpenRuns,
        Self::BelieveTheClock,
        Self::SkipLock,
        Self::KeepHalfARecord,
        Self::PublishBeforeTheWrite,
        Self::SkipHash,
        Self::NameBeforeTheSync,
        Self::CompactUnsaid,
        Self::SkipTokenExpiry,
        Self::PanicOnBadWord,
    ];
}

/// Plants a bug in this process, for good. Only the first one counts.
#[cfg(feature = "planted-bugs")]
pub fn plant(bug: Bug) {
    let _ = PLANTED.set(bug);
}

/// The bug that was planted.
#[cfg(feature = "planted-bugs")]
#[must_use]
pub fn planted() -> Option<Bug> {
    PLANTED.get().copied()
}

/// True when this bug was planted.
#[cfg(feature = "planted-bugs")]
pub(crate) fn is_planted(bug: Bug) -> bool {
    PLANTED.get() == Some(&bug)
}

/// True when this bug was planted: never.
#[cfg(not(feature = "planted-bugs"))]
pub(crate) const fn is_planted(_: Bug) -> bool {
    false
}
