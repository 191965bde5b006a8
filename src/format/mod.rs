//! The bytes of a ledger: how each structure on disk is written down and read back.
//!
//! Everything here turns values into bytes and bytes into values. Nothing here opens a file, takes
//! a lock or asks for the time. Every `decode` takes hostile bytes: it checks before it believes,
//! and never allocates by a length that it has not checked.
//!
#![doc = include_str!("../../FORMAT.md")]

mod bytes;

pub mod block;
pub mod codec;
pub mod crc;
pub mod footer;
pub mod frame;
pub mod header;
pub mod identity;
pub mod key;
pub mod packed;
pub mod rollup;
pub mod seqfile;
pub mod trailer;

/// The version of the format that this program writes, and the newest that it reads.
pub const VERSION: u16 = 1;

/// The incompatible feature of a segment whose frames lie in compressed blocks.
pub const PACKED: u32 = 1;

/// The incompatible features of segments that this program knows, one bit each. A file with any
/// other is refused. Of the file `LEDGER` none is known.
pub const KNOWN_INCOMPATIBLE: u32 = PACKED;

/// The compatible features that this program writes. A reader ignores those that it does not know.
pub const COMPATIBLE: u32 = 0;

/// Why a file's fixed header was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The bytes are not what was written.
    #[error(transparent)]
    Damage(#[from] crate::error::Damage),
    /// The bytes are whole, and of a format that this program does not know.
    #[error("format version {version} with incompatible features {features:#x} is newer")]
    Newer {
        /// The version that it names.
        version: u16,
        /// The incompatible features that it names and this program does not know.
        features: u32,
    },
}

/// Refuses what a newer program wrote in a way that this one, which knows these incompatible
/// features of such files, cannot read.
const fn check_version(version: u16, incompatible: u32, known: u32) -> Result<(), HeaderError> {
    let features = incompatible & !known;
    if version > VERSION || features != 0 {
        return Err(HeaderError::Newer { version, features });
    }
    // Version 0 was never written: a checksum that holds over it is chance or forgery.
    if version == 0 {
        return Err(HeaderError::Damage(crate::error::Damage::Magic));
    }
    Ok(())
}
