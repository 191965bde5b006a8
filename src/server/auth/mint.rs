//! Making tokens, for set-ups with a secret.

use std::path::Path;
use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;

use crate::model::{Id, Timestamp};
use crate::server::auth::{Scope, keys};
use crate::server::config::{ConfigError, Tokens};
use crate::storage::{Disk, Storage};

/// What a new token is to say.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Minted<'a> {
    /// The user.
    pub subject: &'a Id<'a>,
    /// What it may do.
    pub scopes: &'a [Scope],
    /// The projects that it sees and writes besides the user's own records.
    pub projects: &'a [Id<'a>],
    /// For how long it counts.
    pub valid_for: Duration,
    /// Who issues it and for whom, as the server expects it.
    pub tokens: Tokens,
}

impl<'a> Minted<'a> {
    /// A token of this user for an hour, that may do nothing yet.
    #[must_use]
    pub fn new(subject: &'a Id<'a>) -> Self {
        let (scopes, projects): (&[Scope], &[Id<'a>]) = (&[], &[]);
        let valid_for = Duration::from_secs(60 * 60);
        Self { subject, scopes, projects, valid_for, tokens: Tokens::default() }
    }
}

#[derive(Serialize)]
struct Claims<'a> {
    sub: String,
    iat: i64,
    exp: i64,
    scope: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    projects: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
}

/// Makes a token that a server with this secret takes, signed by HS256.
///
/// # Errors
/// [`ConfigError::Keys`] when the secret cannot be read or is too short.
pub fn mint(secret_file: &Path, minted: &Minted<'_>) -> Result<String, ConfigError> {
    let refused = |reason| ConfigError::Keys { path: secret_file.to_owned(), reason };
    let bytes = std::fs::read(secret_file).map_err(|err| refused(err.to_string()))?;
    let secret = keys::secret(&bytes).map_err(refused)?;
    let now = Timestamp::from_nanos(Disk.now());
    let seconds = |time: Timestamp| time.as_nanos() / 1_000_000_000;
    let scopes: Vec<_> = minted.scopes.iter().map(|scope| scope.name()).collect();
    let claims = Claims {
        sub: minted.subject.to_string(),
        iat: seconds(now),
        exp: seconds(now.saturating_add(minted.valid_for)),
        scope: scopes.join(" "),
        projects: minted.projects.iter().map(ToString::to_string).collect(),
        iss: minted.tokens.issuer.as_deref(),
        aud: minted.tokens.audience.as_deref(),
    };
    let key = EncodingKey::from_secret(secret);
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key)
        .map_err(|err| refused(err.to_string()))
}
