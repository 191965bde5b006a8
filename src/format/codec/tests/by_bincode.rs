//! Reading by hand, held against bincode.

use proptest::prelude::*;

use super::row::OwnerRow;
use super::*;

/// What bincode reads of a record by itself, as [`decode`] would give it.
fn by_bincode(kind: Kind, bytes: &[u8]) -> Result<(u32, Prior, Body<'_>), Damage> {
    fn origin(rest: &[u8]) -> Result<Option<Origin>, Damage> {
        if rest.is_empty() {
            return Ok(None);
        }
        let (origin, _) = row_and_rest::<Option<OriginRow>>(rest)?;
        Ok(origin.map(OriginRow::read))
    }
    fn row_and_rest<'a, R: bincode::BorrowDecode<'a, ()>>(
        record: &'a [u8],
    ) -> Result<(R, &'a [u8]), Damage> {
        let read = bincode::borrow_decode_from_slice(record, CONFIG);
        read.map(|(row, len)| (row, &record[len..])).map_err(|_| Damage::Record)
    }
    let head = &bytes[..bytes.len().min(MAX_LEN_BYTES)];
    let (len, head_len): (u32, usize) =
        bincode::decode_from_slice(head, CONFIG).map_err(|_| Damage::Length)?;
    if !(1..=MAX_RECORD_BYTES).contains(&(len as usize)) {
        return Err(Damage::Length);
    }
    let record = bytes.get(head_len..head_len + len as usize).ok_or(Damage::Truncated)?;
    Ok(match kind {
        Kind::Run => {
            let (run, rest) = row_and_rest::<RunRow<'_>>(record)?;
            let (gap, prior, mut run) = run.read()?;
            if !rest.is_empty() {
                let (owner, rest): (Option<OwnerRow<'_>>, _) = row_and_rest(rest)?;
                run.owner = owner.map(OwnerRow::read).transpose()?.map(Box::new);
                run.origin = origin(rest)?;
            }
            (gap, prior, Body::Run(run))
        }
        Kind::Event => {
            let (event, rest) = row_and_rest::<EventRow<'_>>(record)?;
            let (gap, mut event) = event.read()?;
            event.origin = origin(rest)?;
            (gap, Prior::None, Body::Event(event))
        }
        Kind::Error => {
            let (error, rest) = row_and_rest::<ErrorRow<'_>>(record)?;
            let (gap, mut error) = error.read()?;
            error.origin = origin(rest)?;
            (gap, Prior::None, Body::Error(error))
        }
    })
}

fn assert_read_alike(kind: Kind, bytes: &[u8]) {
    let by_hand = decode(kind, bytes).map(|record| (record.gap, record.prior, record.body));
    assert_eq!(by_hand, by_bincode(kind, bytes), "{kind:?} {bytes:02x?}");
    assert_entry_alike(kind, bytes);
    if kind == Kind::Run {
        assert_state_alike(bytes);
    }
}

/// What the next state takes over is what the record says, and it is the same that are damaged.
fn assert_state_alike(bytes: &[u8]) {
    let record = decode(Kind::Run, bytes);
    let (state, consumed) = match (decode_state(bytes), &record) {
        (Ok(read), Ok(_)) => read,
        (read, record) => {
            let damage = read.map(|_| ()).unwrap_err();
            return assert_eq!(Some(&damage), record.as_ref().err(), "{bytes:02x?}");
        }
    };
    let record = record.unwrap();
    let Body::Run(run) = record.body else { panic!("a run") };
    assert_eq!((consumed, &state.run_id), (record.consumed, &run.run_id));
    assert_eq!((state.status, Some(state.attempt)), (run.status, run.attempt));
    assert_eq!(Some(state.created_at), run.created_at);
    assert_eq!((state.started_at, state.finished_at), (run.started_at, run.finished_at));
    assert_eq!(Some(state.newest_time()), run.newest_time());
    assert_eq!(state.owner().as_ref(), run.owner.as_deref());

    // One that says nothing anew is the same run once more.
    let silent = Run::with_id(run.run_id.borrowed(), &*run.run_type, run.status);
    let next = NextRun {
        run: &silent,
        attempt: state.attempt,
        owner: None,
        created_at: state.created_at,
        started_at: state.started_at,
        finished_at: state.finished_at,
        kept: state.kept,
    };
    let mut out = Vec::new();
    encode_next(&mut out, 0, Prior::None, &next).unwrap();
    let again = decode(Kind::Run, &out).unwrap();
    assert_eq!(again.body, Body::Run(Run { origin: None, ..run }), "{bytes:02x?}");
}

/// What an index holds of a record is what the record says, and it is the same that are damaged.
fn assert_entry_alike(kind: Kind, bytes: &[u8]) {
    let (mut arena, mut keys) = (Vec::new(), Vec::new());
    let entry =
        decode_entry(kind, bytes, &mut arena, |field, key| keys.push((field, key.to_vec())));
    let record = decode(kind, bytes);
    let expected = record.as_ref().map_err(|&damage| damage).map(|record| {
        let created_at = record.body.created_at().unwrap();
        let (newest, duration) = match &record.body {
            Body::Run(run) => (run.newest_time().unwrap(), run.duration_nanos()),
            Body::Event(_) | Body::Error(_) => (created_at, None),
        };
        let (gap, prior, consumed) = (record.gap, record.prior, record.consumed);
        entry::Entry {
            gap,
            prior,
            created_at,
            newest,
            duration,
            tag: key::tag(&record.body),
            consumed,
        }
    });
    assert_eq!(entry, expected, "{kind:?} {bytes:02x?}");
    let Ok(record) = record else { return };
    assert_eq!(arena, keys.iter().flat_map(|(_, key)| key.clone()).collect::<Vec<_>>());
    let mut expected = Vec::new();
    key::keys_of(&record.body, |field, key| expected.push((field, key.to_vec())));
    keys.sort_unstable();
    expected.sort_unstable();
    assert_eq!(keys, expected, "{kind:?} {bytes:02x?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]
    #[test]
    fn bincode_reads_the_same(
        body in body(), prior in prior(), kind in prop::sample::select(Kind::ALL),
        edits in prop::collection::vec(
            (any::<prop::sample::Index>(), prop_oneof![any::<u8>(), 0..4u8, 249..=255u8]), 0..4,
        ),
    ) {
        let mut bytes = Vec::new();
        encode(&mut bytes, 7, prior, &body).unwrap();
        assert_read_alike(body.kind(), &bytes);
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
            assert_read_alike(body.kind(), &bytes);
        }
        assert_read_alike(kind, &bytes);
    }

    #[test]
    fn bincode_reads_the_same_of_any_bytes(
        kind in prop::sample::select(Kind::ALL),
        rest in prop::collection::vec(prop_oneof![any::<u8>(), 0..4u8, 249..=255u8], 0..200),
    ) {
        assert_read_alike(kind, &rest);
        let mut whole = vec![u8::try_from(rest.len()).unwrap()];
        whole.extend(rest);
        assert_read_alike(kind, &whole);
    }
}

#[test]
fn numbers_longer_than_they_need_be_are_read_as_bincode_reads_them() {
    let number = |mark: u8, len: usize| {
        let mut bytes = vec![mark, 1];
        bytes.resize(1 + len, 0);
        bytes
    };
    let plain = [vec![0; 11], vec![1, b't'], vec![0; 7]].concat();
    for (mark, len) in [(251, 2), (252, 4), (253, 8), (254, 16), (255, 0)] {
        let gap = [number(mark, len), plain[1..].to_vec()].concat();
        let name = [vec![0; 11], number(mark, len), vec![b't'], vec![0; 7]].concat();
        let form = [plain[..13].to_vec(), vec![1], number(mark, len), vec![9; 16], vec![0; 6]];
        for (record, longest) in [(gap, 252), (name, 253), (form.concat(), 252)] {
            let bytes = [vec![u8::try_from(record.len()).unwrap()], record].concat();
            assert_read_alike(Kind::Event, &bytes);
            assert_eq!(decode(Kind::Event, &bytes).is_ok(), mark <= longest, "{bytes:02x?}");
        }
    }
}

proptest! {
    #[test]
    fn a_key_is_looked_up_as_the_index_enters_it(
        body in body(), prior in prior(), other in body(),
    ) {
        let mut bytes = Vec::new();
        encode(&mut bytes, 7, prior, &body).unwrap();
        let keys = |body: &Body<'_>| {
            let mut keys = Vec::new();
            key::keys_of(body, |field, bytes| keys.push((field, bytes.to_vec())));
            keys
        };
        let own = keys(&body);
        for (field, key) in own.iter().chain(&keys(&other)) {
            for field in Field::ALL.iter().filter(|at| *at == field || at.key_index() == Some(1)) {
                let carried = own.iter().any(|(at, own)| at == field && own == key);
                prop_assert_eq!(has_key(body.kind(), &bytes, *field, key), Ok(carried));
            }
        }
    }
}
