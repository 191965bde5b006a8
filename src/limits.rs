//! Every bound the ledger enforces, in one place.
//!
//! A length that comes from a disk, a network or a caller is compared with one of these before
//! anything is allocated for it.

/// Longest id (run, trace, project, user, parent, actor, subject id) in bytes of UTF-8.
pub const MAX_ID_BYTES: usize = 128;

/// Longest type or subject kind in bytes of UTF-8.
pub const MAX_NAME_BYTES: usize = 256;

/// Longest encoded record in bytes (16 MiB). An open state of a run leaves 1 KiB of it to the
/// ledger itself, and its last one 32 bytes.
pub const MAX_RECORD_BYTES: usize = 16 << 20;

/// What an open state of a run leaves of that, in bytes: room for what the engine may add to the
/// next one, which is the state that it follows, and why the run was abandoned.
pub(crate) const ROOM_AFTER_OPEN: usize = 1 << 10;

/// What the last state of a run leaves of it: when it is carried forward, it follows itself.
pub(crate) const ROOM_AFTER_END: usize = 32;

/// Most records in one batch, which is one frame in each stream that it touches.
pub const MAX_BATCH_RECORDS: usize = 65_536;

/// Longest payload of one frame in bytes (64 MiB): a batch that encodes to more is refused.
pub const MAX_FRAME_PAYLOAD: u32 = 64 << 20;

/// Smallest segment size that can be configured, in bytes (64 KiB).
pub const MIN_SEGMENT_BYTES: u32 = 64 << 10;

/// Largest segment size that can be configured, in bytes (1 GiB). Offsets in a segment are 32 bits
/// wide; the rest of the range is room for one frame of the longest payload and for the footer.
pub const MAX_SEGMENT_BYTES: u32 = 1 << 30;

/// Default segment size in bytes (64 MiB).
pub const DEFAULT_SEGMENT_BYTES: u32 = 64 << 20;

/// On a clean close a segment with at least this many bytes of frames is sealed; a smaller one
/// stays open, so that short-lived writers (cron jobs) do not leave a segment each.
pub const SEAL_ON_CLOSE_BYTES: u32 = 1 << 20;

/// Longest line of JSON that import accepts, in bytes: the largest record with every byte escaped.
pub const MAX_LINE_BYTES: usize = 6 * MAX_RECORD_BYTES;

/// Deepest nesting of JSON that is accepted.
pub const MAX_JSON_DEPTH: usize = 127;
