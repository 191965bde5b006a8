use std::path::Path;

use crate::error::{Damage, Error, Result};
use crate::format::header::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::format::{HeaderError, VERSION};
use crate::segment::FRAMES_START;
use crate::storage::File;

/// A segment's header, and whether one of its two copies is damaged.
pub(super) struct ReadHeader {
    pub(super) header: SegmentHeader,
    pub(super) damaged_copy: bool,
}

/// Reads the header of a segment from the first of its copies that is whole.
///
/// # Errors
/// [`Error::NewerFormat`] when a newer program wrote it, [`Error::Damaged`] when neither copy is
/// whole, [`Error::Io`] when the file cannot be read.
pub(super) fn read(path: &Path, file: &dyn File) -> Result<ReadHeader> {
    let mut bytes = [0; FRAMES_START as usize];
    let read = file.read_at(&mut bytes, 0)?;
    let bytes = bytes.get(..read).unwrap_or_default();
    let copies = bytes.split_at(read.min(SEGMENT_HEADER_BYTES as usize));
    match (SegmentHeader::decode(copies.0), SegmentHeader::decode(copies.1)) {
        (Err(HeaderError::Newer { version, features }), _)
        | (_, Err(HeaderError::Newer { version, features })) => Err(Error::NewerFormat {
            path: path.to_owned(),
            found: version,
            features,
            supported: VERSION,
        }),
        (Ok(header), second) => {
            Ok(ReadHeader { damaged_copy: second.as_ref() != Ok(&header), header })
        }
        (Err(_), Ok(header)) => Ok(ReadHeader { header, damaged_copy: true }),
        (Err(HeaderError::Damage(damage)), Err(_)) => {
            let damage = if bytes.is_empty() { Damage::Truncated } else { damage };
            Err(Error::damaged(path, 0, damage))
        }
    }
}
