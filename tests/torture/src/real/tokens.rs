//! Tokens: good ones, and parts to forge others from.

use std::time::UNIX_EPOCH;

use hmac::{Hmac, Mac};
use sha2::Sha256;

/// Bytes as base64url without padding.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = (0..3).fold(0, |bits, at| bits << 8 | u32::from(*chunk.get(at).unwrap_or(&0)));
        for digit in 0..=chunk.len() {
            text.push(char::from(DIGITS[(bits >> (18 - 6 * digit) & 63) as usize]));
        }
    }
    text
}

/// The part of a token that is signed.
pub(crate) fn unsigned(header: &str, claims: &str) -> String {
    format!("{}.{}", base64(header.as_bytes()), base64(claims.as_bytes()))
}

/// The signature of HS256.
pub(crate) fn hs256(signed: &str, secret: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap();
    mac.update(signed.as_bytes());
    base64(&mac.finalize().into_bytes())
}

/// A token that is signed with this secret, whatever its header says.
pub(crate) fn with_secret(header: &str, claims: &str, secret: &[u8]) -> String {
    let signed = unsigned(header, claims);
    let signature = hs256(&signed, secret);
    format!("{signed}.{signature}")
}

/// Seconds since the Unix epoch.
pub(crate) fn now() -> i64 {
    i64::try_from(UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap()
}
