//! Tokens: good ones, and parts to forge others from.

use std::time::UNIX_EPOCH;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// Bytes as base64url without padding.
pub(crate) fn base64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
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
