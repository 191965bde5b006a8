//! Reading and writing fixed places of fixed-size arrays, with the bounds checked at compile time.

/// The `N` bytes that stand at `AT`.
pub(super) fn get<const AT: usize, const N: usize, const LEN: usize>(bytes: &[u8; LEN]) -> [u8; N] {
    const { assert!(AT + N <= LEN, "the field lies outside of the structure") };
    // The assertion makes the default unreachable; it is cheaper to write than to argue.
    bytes.get(AT..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

/// Puts `value` at `AT`.
pub(super) fn put<const AT: usize, const N: usize, const LEN: usize>(
    bytes: &mut [u8; LEN],
    value: [u8; N],
) {
    const { assert!(AT + N <= LEN, "the field lies outside of the structure") };
    if let Some(place) = bytes.get_mut(AT..).and_then(|rest| rest.first_chunk_mut()) {
        *place = value;
    }
}

/// The bytes that stand before `END`: what a checksum at `END` covers.
pub(super) fn before<const END: usize, const LEN: usize>(bytes: &[u8; LEN]) -> &[u8] {
    const { assert!(END <= LEN, "the end lies outside of the structure") };
    bytes.get(..END).unwrap_or_default()
}
