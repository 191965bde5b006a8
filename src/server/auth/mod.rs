//! Who asks: bearer tokens, their keys and what they grant.

mod claims;
mod keys;
mod mint;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use axum::http::{HeaderMap, HeaderValue, Method, header};
use jsonwebtoken::{Algorithm, Validation};
use parking_lot::{Mutex, RwLock};

use crate::model::Timestamp;
use crate::server::access::Access;
use crate::server::config::{Auth, Config, ConfigError, Tokens};
use crate::server::problem::{Kind, Problem};
use crate::storage::{Disk, Storage};

pub(super) use claims::Granted;
use claims::{Claims, Expected};
use keys::Keys;
pub use mint::{Minted, mint};

/// The longest token that is looked at, in bytes.
const MAX_TOKEN: usize = 8 << 10;

/// What a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scope {
    /// Read its own records.
    Read,
    /// Append records of its own.
    Write,
    /// Clean up.
    Cleanup,
    /// All of that, on all records.
    Admin,
}

impl Scope {
    /// All scopes.
    pub const ALL: &'static [Self] = &[Self::Read, Self::Write, Self::Cleanup, Self::Admin];

    /// The name, as it stands in the claim `scope`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Cleanup => "cleanup",
            Self::Admin => "admin",
        }
    }

    /// The scope with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|scope| scope.name() == name)
    }
}

/// What decides who asks.
pub(super) enum Gate {
    /// Everyone may do everything, but for pages of other sites than these.
    Open { origins: Vec<String> },
    /// A token has to be signed with one of these keys.
    Tokens(Box<Verifier>),
}

pub(super) struct Verifier {
    expected: Expected,
    path: PathBuf,
    read: fn(&[u8]) -> Result<Keys, String>,
    keys: RwLock<Arc<Keys>>,
    /// What the file was like when it was last read.
    stamp: Mutex<Option<Stamp>>,
}

/// When a file was last changed, by its own account, and how long it was.
type Stamp = (SystemTime, u64);

impl Gate {
    /// Reads the keys.
    ///
    /// # Errors
    /// When they cannot be read or used.
    pub(super) fn new(config: &Config) -> Result<Self, ConfigError> {
        let (path, read, tokens): (_, fn(&[u8]) -> _, &Tokens) = match &config.auth {
            Auth::Off => return Ok(Self::Open { origins: config.cors.clone() }),
            Auth::Secret { file, tokens } => (file, Keys::of_secret, tokens),
            Auth::Jwks { file, tokens } => (file, Keys::of_jwks, tokens),
        };
        let stamp = Mutex::new(stamp(path));
        let keys =
            load(path, read).map_err(|reason| ConfigError::Keys { path: path.clone(), reason })?;
        let (path, keys) = (path.clone(), RwLock::new(Arc::new(keys)));
        let Tokens { issuer, audience } = tokens.clone();
        let expected = Expected { issuer, audience };
        Ok(Self::Tokens(Box::new(Verifier { expected, path, read, keys, stamp })))
    }

    /// Reads the keys anew when their file has changed. When it then cannot be read or used, those
    /// that were read before stay.
    pub(super) fn look(&self) {
        if let Self::Tokens(verifier) = self {
            verifier.look();
        }
    }

    /// Who asks, and for what.
    ///
    /// # Errors
    /// A problem when there is no token that counts, or none is asked for and a page of another
    /// site is to change something.
    pub(super) fn admit(&self, method: &Method, headers: &HeaderMap) -> Result<Access, Problem> {
        let access = self.admit_by(headers, || bearer(headers))?;
        match self {
            Self::Open { origins } if !method.is_safe() => check_origin(headers, origins)?,
            _ => {}
        }
        Ok(access)
    }

    /// Who asks with a token that the request carries in another place. What changes something is
    /// to be known by another mark.
    ///
    /// # Errors
    /// A problem when there is no token that counts.
    pub(super) fn admit_by<'t>(
        &self,
        headers: &HeaderMap,
        token: impl FnOnce() -> Result<&'t str, &'static str>,
    ) -> Result<Access, Problem> {
        match self {
            Self::Open { .. } => {
                check_host(headers)?;
                Ok(Access::everything())
            }
            Self::Tokens(verifier) => {
                let refused = |reason: &'static str| Problem::new(Kind::Unauthenticated, reason);
                let token = token().map_err(refused)?;
                if token.is_empty() || token.len() > MAX_TOKEN {
                    return Err(refused("the token is empty or too long"));
                }
                let now = Timestamp::from_nanos(Disk.now());
                verifier.verify(token, now).map_err(refused)
            }
        }
    }

    /// True when a token is asked for.
    pub(super) const fn asks(&self) -> bool {
        matches!(self, Self::Tokens(_))
    }
}

impl Verifier {
    fn verify(&self, token: &str, now: Timestamp) -> Result<Access, &'static str> {
        const BAD: &str = "the token is not one that was signed for this server";
        let header = jsonwebtoken::decode_header(token).map_err(|_| BAD)?;
        // Extensions that a token says must be understood are not.
        if header.crit.is_some() || header.zip.is_some() || header.enc.is_some() {
            return Err(BAD);
        }
        let keys = Arc::clone(&self.keys.read());
        let key = keys.find(header.kid.as_deref(), header.alg).ok_or(BAD)?;
        let signature = signature_only(key.algorithm);
        let verified = jsonwebtoken::decode::<Claims>(token, &key.key, &signature);
        let granted = verified.map_err(|_| BAD)?.claims.check(&self.expected, now)?;
        Ok(Access::new(granted, key.counts()))
    }

    fn look(&self) {
        let mut held = self.stamp.lock();
        let stamp = stamp(&self.path);
        if stamp.is_some()
            && stamp != *held
            && let Ok(mut keys) = load(&self.path, self.read)
        {
            let mut counting = self.keys.write();
            keys.keep(&counting);
            *counting = Arc::new(keys);
            *held = stamp;
        }
    }
}

/// Only the signature is left to the library; the claims are checked where all can see how.
fn signature_only(algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation
}

fn stamp(path: &Path) -> Option<Stamp> {
    let data = std::fs::metadata(path).ok()?;
    Some((data.modified().ok()?, data.len()))
}

fn load(path: &Path, read: fn(&[u8]) -> Result<Keys, String>) -> Result<Keys, String> {
    read(&std::fs::read(path).map_err(|err| err.to_string())?)
}

/// The token of the one header that may carry it.
fn bearer(headers: &HeaderMap) -> Result<&str, &'static str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err("send one header: Authorization: Bearer <token>");
    };
    let text = value.to_str().map_err(|_| "the header Authorization is not ASCII")?;
    match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(token.trim()),
        _ => Err("send one header: Authorization: Bearer <token>"),
    }
}

/// Where no token is asked for, a page in a browser must not reach the ledger by a name of its own
/// that resolves to this machine.
fn check_host(headers: &HeaderMap) -> Result<(), Problem> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    match name {
        "localhost" | "127.0.0.1" | "[::1]" | "" => Ok(()),
        _ => Err(Problem::new(Kind::Host, "without tokens only localhost is served")),
    }
}

/// Where no token is asked for, a page of another site must not change anything: a browser sends
/// forms of any page, and asks nobody before. What no browser sends has neither of the headers.
fn check_origin(headers: &HeaderMap, origins: &[String]) -> Result<(), Problem> {
    let of = |name: &str| headers.get(name).map(HeaderValue::as_bytes);
    let origin = of("origin");
    let is_own = match of("sec-fetch-site") {
        // The origin is not looked at: of pages that tell no referrer, as ours, it is `null`.
        Some(site) => [b"same-origin".as_slice(), b"none"].contains(&site),
        None => origin.is_none_or(|origin| {
            origin.strip_prefix(b"http://").is_some_and(|own| Some(own) == of("host"))
        }),
    };
    let is_named = || origins.iter().any(|named| Some(named.as_bytes()) == origin);
    if is_own || is_named() {
        return Ok(());
    }
    let detail = "without tokens a page of another site changes nothing: name its origin with \
                  --cors, or ask for tokens";
    Err(Problem::new(Kind::Origin, detail))
}
