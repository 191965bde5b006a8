//! Records: any bytes decode or fail, and what decodes is written and read back the same.

use runledger::format::codec::{self, Prior};
use runledger::format::key;
use runledger::{Body, Field, Kind, Result};

/// A kind, and a record's bytes.
pub fn run(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else { return };
    let kind = Kind::ALL[usize::from(*kind) % Kind::ALL.len()];
    let Ok(decoded) = codec::decode(kind, bytes) else { return };
    assert!((2..=bytes.len()).contains(&decoded.consumed));
    assert_eq!(decoded.body.kind(), kind);
    keys(&decoded.body);

    let mut out = vec![0xee];
    match encode(&mut out, decoded.gap, decoded.prior, &decoded.body) {
        // A severity that the stream's kind does not take may have been forged.
        Err(_) => assert_eq!(out, [0xee]),
        Ok(()) => {
            let again = codec::decode(kind, &out[1..]).expect("what was written is read");
            assert_eq!((again.gap, again.prior), (decoded.gap, decoded.prior));
            assert_eq!(again.body, decoded.body);
            assert_eq!(again.consumed, out.len() - 1);
        }
    }
}

/// Encodes a record of any kind.
pub fn encode(out: &mut Vec<u8>, gap: u32, prior: Prior, body: &Body<'_>) -> Result<()> {
    match body {
        Body::Run(run) => codec::encode_run(out, gap, prior, run),
        Body::Event(event) => codec::encode_event(out, gap, event),
        Body::Error(error) => codec::encode_error(out, gap, error),
        _ => Ok(()),
    }
}

fn keys(body: &Body<'_>) {
    key::keys_of(body, |field: Field, bytes| {
        let text = key::key_text(field, bytes).expect("each key has a text");
        let parsed = key::parse_key(field, &text).expect("each key's text is one");
        // A text of 32 digits that was stored as text is an id of another form when it is parsed.
        let same_form = parsed.as_slice() == bytes;
        assert!(same_form || key::key_text(field, parsed.as_slice()) == Some(text));
    });
}
