//! What a footer is built from has to fit together.

use super::*;

#[test]
fn columns_that_do_not_fit_together_are_refused() {
    let field = |codes| Some(FieldInput { hashes: &[1 << 60, 2 << 60], codes });
    let mut input = FooterInput {
        times: &[1, 2],
        seqs: &[1, 2],
        offsets: &[1, 2],
        tags: &[1, 2],
        ..FooterInput::default()
    };
    assert!(build(&input, u32::MAX - 400).is_ok());
    assert!(build(&input, u32::MAX - 10).is_err(), "beyond 4 GiB");
    input.fields[0] = field(&[1, 2]);
    assert!(build(&input, 0).is_err(), "a code that is no rank");
    input.fields[0] = field(&[1]);
    assert!(build(&input, 0).is_err(), "a row without a code");
    input.fields[0] = field(&[1, NO_CODE]);
    assert!(build(&input, 0).is_err(), "a key without a row");
    input.fields[0] = field(&[1, 1]);
    assert!(build(&input, 0).is_err(), "a key without a row, though there are as many codes");
    input.fields[0] = Some(FieldInput { hashes: &[1, 2], codes: &[0, 1] });
    assert!(build(&input, 0).is_err(), "two hashes of which the same is stored");
    input.fields[0] = field(&[1, 0]);
    assert!(build(&input, 0).is_ok());
    input.seqs = &[2, 1];
    for (order, is_taken) in [
        (None, false),
        (Some(&[1, 0][..]), true),
        (Some(&[0, 1]), false),
        (Some(&[1, 1]), false),
        (Some(&[1]), false),
        (Some(&[2, 0]), false),
        (Some(&[1, 2]), false),
    ] {
        input.seq_order = order;
        assert_eq!(build(&input, 0).is_ok(), is_taken, "{order:?}");
    }
    (input.seqs, input.seq_order) = (&[1, 2], None);
    assert!(build(&input, 0).is_ok());
    input.tags = &[];
    assert!(build(&input, 0).is_err());
}
