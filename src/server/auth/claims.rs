//! What a token says, and whether it counts now.

use serde::Deserialize;

use crate::limits::MAX_ID_BYTES;
use crate::model::{Id, Timestamp};
use crate::planted::{Bug, is_planted};
use crate::server::auth::Scope;

/// By how much the clocks of who issues tokens and of this machine may differ, in seconds.
const LEEWAY: i64 = 5;

const SECOND: i64 = 1_000_000_000;

/// The claims that are read. Others are of no concern here.
#[derive(Debug, Deserialize)]
pub(super) struct Claims {
    sub: String,
    exp: Seconds,
    #[serde(default)]
    nbf: Option<Seconds>,
    #[serde(default)]
    iss: Option<String>,
    #[serde(default)]
    aud: Option<Several>,
    /// Names with spaces between them, as of OAuth, or a list of names.
    #[serde(default)]
    scope: Option<Several>,
    #[serde(default)]
    projects: Vec<String>,
}

/// Seconds since the Unix epoch, with or without a fraction.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Seconds {
    Whole(i64),
    Parts(f64),
}

/// One text or a list of texts.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Several {
    One(String),
    Many(Vec<String>),
}

/// Who issues tokens, and for whom.
#[derive(Debug, Clone, Default)]
pub(super) struct Expected {
    pub(super) issuer: Option<String>,
    pub(super) audience: Option<String>,
}

/// What a token grants.
#[derive(Debug)]
pub(in crate::server) struct Granted {
    pub(in crate::server) subject: String,
    pub(in crate::server) projects: Vec<String>,
    pub(in crate::server) scopes: Vec<Scope>,
    pub(in crate::server) expires: Timestamp,
}

impl Seconds {
    /// In nanoseconds, held to the range of times.
    fn nanos(self) -> i64 {
        match self {
            Self::Whole(seconds) => seconds.saturating_mul(SECOND),
            // Whole seconds are enough, and exact as far as a time can be.
            #[expect(clippy::cast_possible_truncation, reason = "a cast of a float saturates")]
            Self::Parts(seconds) => (seconds.floor() as i64).saturating_mul(SECOND),
        }
    }
}

impl Several {
    fn contains(&self, wanted: &str) -> bool {
        match self {
            Self::One(text) => text == wanted,
            Self::Many(texts) => texts.iter().any(|text| text == wanted),
        }
    }

    fn words(&self) -> Vec<&str> {
        match self {
            Self::One(text) => text.split_ascii_whitespace().collect(),
            Self::Many(texts) => texts.iter().map(String::as_str).collect(),
        }
    }
}

impl Claims {
    /// What the token grants now.
    ///
    /// # Errors
    /// Why it grants nothing, in words that give nothing away.
    pub(super) fn check(
        self,
        expected: &Expected,
        now: Timestamp,
    ) -> Result<Granted, &'static str> {
        let (now, leeway) = (now.as_nanos(), LEEWAY * SECOND);
        let is_over = self.exp.nanos().saturating_add(leeway) <= now;
        if is_over && !is_planted(Bug::SkipTokenExpiry) {
            return Err("the token has expired");
        }
        if self.nbf.is_some_and(|nbf| nbf.nanos() > now.saturating_add(leeway)) {
            return Err("the token is not valid yet");
        }
        if expected.issuer.is_some() && self.iss != expected.issuer {
            return Err("the token is of another issuer");
        }
        if let Some(audience) = &expected.audience
            && !self.aud.is_some_and(|aud| aud.contains(audience))
        {
            return Err("the token is for another audience");
        }
        if Id::new(self.sub.as_str()).is_err() {
            return Err("the token names no user in \"sub\"");
        }
        if self.projects.iter().any(|id| id.is_empty() || id.len() > MAX_ID_BYTES) {
            return Err("the token has a project that is no id");
        }
        // A scope that is not known here is one for another service.
        let names = self.scope.as_ref().map(Several::words).unwrap_or_default();
        let scopes = names.into_iter().filter_map(Scope::from_name).collect();
        let expires = Timestamp::from_nanos(self.exp.nanos().saturating_add(leeway));
        Ok(Granted { subject: self.sub, projects: self.projects, scopes, expires })
    }
}
