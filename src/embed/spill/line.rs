//! A line of a file: a checksum and the record as it is exchanged.

use std::io::Write;

use crate::format::crc::masked;
use crate::model::Body;
use crate::wire::{self, LineError, ParseOptions};

/// Eight hexadecimal digits and a space.
const SUM_BYTES: usize = 9;

/// Why a line is not appended.
#[derive(Debug)]
pub(super) enum Unread {
    /// It is not what was written: the end of a file that a crash left, as a rule.
    Damaged,
    /// No ledger takes what it says.
    Refused(LineError),
}

/// Writes a record as a line into a buffer that is empty.
pub(super) fn write(body: &Body<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(&[b' '; SUM_BYTES]);
    // Writing to memory does not fail.
    let _ = wire::write_body(body, out);
    if let Some((place, json)) = out.split_first_chunk_mut() {
        *place = sum(json.trim_ascii_end());
    }
}

/// Reads a line, without its end.
pub(super) fn read(line: &[u8]) -> Result<Body<'_>, Unread> {
    let (found, json) = line.split_first_chunk().ok_or(Unread::Damaged)?;
    if *found != sum(json) {
        return Err(Unread::Damaged);
    }
    wire::parse_bytes(json, &ParseOptions::new()).map_err(Unread::Refused)
}

/// What stands before the JSON.
fn sum(json: &[u8]) -> [u8; SUM_BYTES] {
    let mut text = [b' '; SUM_BYTES];
    // It has the room.
    let _ = write!(text.as_mut_slice(), "{:08x}", masked(json));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Event, Json, Severity, Timestamp};

    #[test]
    fn a_line_is_as_the_format_says_and_no_bit_of_it_can_change() {
        let event = Event::new("mail.sent")
            .created_at("2026-11-01T02:00:00Z".parse::<Timestamp>().unwrap())
            .severity(Severity::Info)
            .message("sent")
            .payload(Json::parse(r#"{"to":"a"}"#).unwrap());
        let mut line = Vec::new();
        write(&Body::Event(event.clone()), &mut line);
        let text = std::str::from_utf8(&line).unwrap();
        assert!(include_str!("../../../FORMAT.md").contains(text), "{text}");
        let line = line.trim_ascii_end();
        assert_eq!(read(line).unwrap(), Body::Event(event));
        for bit in 0..line.len() * 8 {
            let mut damaged = line.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(read(&damaged), Err(Unread::Damaged)), "bit {bit}");
        }
        assert!((0..line.len()).all(|len| matches!(read(&line[..len]), Err(Unread::Damaged))));
    }
}
