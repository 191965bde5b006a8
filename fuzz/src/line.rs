//! Import lines: any bytes are a record or an error that says why not.

use runledger::format::codec::{self, Prior};
use runledger::wire::{ParseOptions, parse_bytes};
use runledger::{Body, Timestamp};

use super::codec::encode;

/// How to read it, and a line.
pub fn run(data: &[u8]) {
    let Some((lenient, line)) = data.split_first() else { return };
    let options = ParseOptions::new().lenient(lenient & 1 == 1);
    let mut body = match parse_bytes(line, &options) {
        Ok(body) => body,
        Err(err) => {
            assert!(!err.to_string().is_empty());
            return;
        }
    };
    match &mut body {
        Body::Run(run) => {
            run.created_at.get_or_insert(Timestamp::default());
            run.attempt.get_or_insert(1);
            run.at = run.newest_time();
        }
        Body::Event(event) => drop(event.created_at.get_or_insert(Timestamp::default())),
        Body::Error(error) => drop(error.created_at.get_or_insert(Timestamp::default())),
        _ => {}
    }
    let mut out = Vec::new();
    encode(&mut out, 0, Prior::None, &body).expect("what import takes can be stored");
    let decoded = codec::decode(body.kind(), &out).expect("what was stored is read");
    assert_eq!(decoded.body, body);
}
