//! The keys that tokens are verified with.

use std::sync::Arc;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm};
use jsonwebtoken::jwk::{KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use tokio::sync::watch;

/// The shortest secret that is taken, in bytes: as long as the hash, as RFC 7518 asks.
const MIN_SECRET: usize = 32;

/// The fewest bits of an RSA key.
const MIN_RSA_BITS: usize = 2048;

/// One key, with the one algorithm that it is used with.
pub(super) struct Key {
    id: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) key: DecodingKey,
    /// Nothing is sent: it is closed when the key counts no more.
    counts: watch::Sender<()>,
}

impl Key {
    fn new(id: Option<String>, algorithm: Algorithm, key: DecodingKey) -> Arc<Self> {
        Arc::new(Self { id, algorithm, key, counts: watch::Sender::new(()) })
    }

    /// Closed when the key counts no more.
    pub(super) fn counts(&self) -> watch::Receiver<()> {
        self.counts.subscribe()
    }

    fn is_same(&self, other: &Self) -> bool {
        use DecodingKeyKind::{RsaModulusExponent, SecretOrDer};
        let is_same = match (self.key.kind(), other.key.kind()) {
            (SecretOrDer(own), SecretOrDer(others)) => own == others,
            (RsaModulusExponent { n, e }, RsaModulusExponent { n: others_n, e: others_e }) => {
                (n, e) == (others_n, others_e)
            }
            _ => false,
        };
        is_same && (&self.id, self.algorithm) == (&other.id, other.algorithm)
    }
}

/// All keys, one of which a token has to be signed with.
pub(super) struct Keys(Vec<Arc<Key>>);

impl Keys {
    /// The secret of HS256, without the line feed that an editor has left at its end.
    ///
    /// # Errors
    /// When it is too short.
    pub(super) fn of_secret(bytes: &[u8]) -> Result<Self, String> {
        let secret = secret(bytes)?;
        let key = DecodingKey::from_secret(secret);
        Ok(Self(vec![Key::new(None, Algorithm::HS256, key)]))
    }

    /// The public keys of a JWKS document. Those for other uses are passed over; a secret among
    /// them is refused, as everyone who may read the file could sign.
    ///
    /// # Errors
    /// When it is no such document, has a key that is too weak or two with one id, or none that can
    /// be used.
    pub(super) fn of_jwks(bytes: &[u8]) -> Result<Self, String> {
        let set: JwkSet = serde_json::from_slice(bytes)
            .map_err(|err| format!("it is no JWKS document: {err}"))?;
        let mut keys: Vec<Arc<Key>> = Vec::new();
        for jwk in set.keys.iter().filter(|jwk| verifies(jwk)) {
            let Some(algorithm) = algorithm(jwk)? else { continue };
            let key = DecodingKey::from_jwk(jwk).map_err(|err| format!("a key in it: {err}"))?;
            let id = jwk.common.key_id.clone();
            if id.is_some() && keys.iter().any(|other| other.id == id) {
                return Err(format!("two keys in it have the id {:?}", id.unwrap_or_default()));
            }
            keys.push(Key::new(id, algorithm, key));
        }
        match keys.is_empty() {
            true => Err("no key in it is one for RS256, ES256 or EdDSA".to_owned()),
            false => Ok(Self(keys)),
        }
    }

    /// Keeps those of `before` that are among these: they go on to count.
    pub(super) fn keep(&mut self, before: &Self) {
        for key in &mut self.0 {
            if let Some(same) = before.0.iter().find(|other| key.is_same(other)) {
                *key = Arc::clone(same);
            }
        }
    }

    /// The key that a token names, for the algorithm that it names: each key has one algorithm, so
    /// that no token chooses what its signature is checked as. A token without a name is checked
    /// with the only key of its algorithm.
    pub(super) fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Option<&Key> {
        let keys = self.0.iter().map(Arc::as_ref);
        let mut fitting = keys.filter(|key: &&Key| key.algorithm == algorithm);
        match id {
            // The one secret has no name, and no token needs to know one.
            Some(id) => fitting.find(|key| match &key.id {
                Some(own) => own == id,
                None => algorithm == Algorithm::HS256,
            }),
            None => fitting.next().filter(|_| fitting.next().is_none()),
        }
    }
}

/// The secret in a file.
///
/// # Errors
/// When it is too short.
pub(super) fn secret(bytes: &[u8]) -> Result<&[u8], String> {
    let secret = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let secret = secret.strip_suffix(b"\r").unwrap_or(secret);
    match secret.len() {
        MIN_SECRET.. => Ok(secret),
        length => Err(format!(
            "the secret has {length} bytes, and needs {MIN_SECRET}: take `openssl rand -hex 32`"
        )),
    }
}

/// True for a key that signatures are verified with.
fn verifies(jwk: &Jwk) -> bool {
    let by_use = jwk.common.public_key_use.as_ref().is_none_or(|it| *it == PublicKeyUse::Signature);
    let operations = jwk.common.key_operations.as_ref();
    by_use && operations.is_none_or(|operations| operations.contains(&KeyOperations::Verify))
}

/// The algorithm of a key; `None` when it is none that is taken.
fn algorithm(jwk: &Jwk) -> Result<Option<Algorithm>, String> {
    let (algorithm, name) = match &jwk.algorithm {
        AlgorithmParameters::RSA(rsa) => {
            // Six bits a digit of base64url.
            if rsa.n.trim_end_matches('=').len() * 6 < MIN_RSA_BITS {
                return Err(format!("an RSA key in it has fewer than {MIN_RSA_BITS} bits"));
            }
            (Algorithm::RS256, KeyAlgorithm::RS256)
        }
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, KeyAlgorithm::ES256)
        }
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
        }
        AlgorithmParameters::OctetKey(_) => {
            return Err("a key in it is a secret, which belongs into a secret file".to_owned());
        }
        _ => return Ok(None),
    };
    let named = jwk.common.key_algorithm.as_ref();
    Ok(named.is_none_or(|named| *named == name).then_some(algorithm))
}
