//! What the server is told: addresses, keys and bounds.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::ledger::Durability;
use crate::server::page::Links;

/// Why a server cannot be set up as it was told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The configuration file is not one.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        reason: String,
    },
    /// The keys cannot be read or used.
    #[error("keys in {path}: {reason}")]
    Keys {
        /// The file with the secret or the JWKS document.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// Neither keys are given nor is it said that none are wanted.
    #[error(
        "nothing says who may use the server: name a --secret-file or a --jwks-file, or, for \
         yourself alone on this machine, say --no-auth"
    )]
    NoAuth,
    /// Both kinds of keys are given.
    #[error("a secret file and a JWKS file exclude each other; keep one of them")]
    TwoKeys,
    /// Everyone could write from everywhere.
    #[error("without tokens the server listens on a loopback address alone, and {listen} is none")]
    OpenToAll {
        /// The address that was asked for.
        listen: SocketAddr,
    },
    /// A value is out of its bounds.
    #[error("{name} is {value}; expected {expected}")]
    Value {
        /// Which value.
        name: &'static str,
        /// What it is.
        value: String,
        /// What it may be.
        expected: &'static str,
    },
}

/// The most requests at work at a time: each may have a thread.
const MOST_WORKERS: usize = 1 << 16;

/// The longest that a request may take to come: a moment beyond what a clock can tell is none.
const LONGEST_READ: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Who may use the server.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Auth {
    /// Everyone who can reach it, which is this machine alone.
    Off,
    /// Who has a token signed by HS256 with the secret in this file.
    Secret {
        /// The file: at least 32 bytes; a line feed at its end does not count.
        file: PathBuf,
        /// What tokens have to say besides.
        tokens: Tokens,
    },
    /// Who has a token signed by RS256, ES256 or EdDSA with a key of the JWKS document in this
    /// file.
    Jwks {
        /// The file.
        file: PathBuf,
        /// What tokens have to say besides.
        tokens: Tokens,
    },
}

/// Whose tokens are taken. What is `None` is not looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tokens {
    /// What the claim `iss` has to be.
    pub issuer: Option<String>,
    /// What the claim `aud` has to be, or to hold.
    pub audience: Option<String>,
}

/// How often one may ask: so many in a unit of time, and twice as many at once. 0 is without limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// Requests a second of one address; of version 6, of one network of 64 bits.
    pub per_address: u32,
    /// Requests a second of one user.
    pub per_user: u32,
    /// Clean-ups a minute of one user.
    pub cleanups: u32,
}

impl Default for Rates {
    fn default() -> Self {
        Self { per_address: 2000, per_user: 1000, cleanups: 6 }
    }
}

/// Everything that the server is told.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// The address to listen on; port 0 for any that is free.
    pub listen: SocketAddr,
    /// Who may use it.
    pub auth: Auth,
    /// What an append reaches before it is answered, unless the request says otherwise.
    pub durability: Durability,
    /// How long a body of a single record may be, in bytes, once it is decompressed.
    pub max_body_bytes: usize,
    /// How long a body of many records may be, in bytes, once it is decompressed. Of its lines,
    /// three parts of 128 KiB are held at a time, one that comes and two that are at work, and more
    /// only where a line is longer; and what became of each, which is the answer.
    pub max_bulk_bytes: usize,
    /// How long the headers of a request may take to come, and how long its body may keep the
    /// server waiting. Each piece of it gives back a second for each 8,000 bytes, and no more.
    pub read_timeout: Duration,
    /// How many requests may be at work in the ledger at a time; as many again wait.
    pub workers: usize,
    /// How many connections may be open at a time.
    pub connections: usize,
    /// How many may follow the ledger at a time.
    pub followers: usize,
    /// How long requests may take to end once the server is told to stop.
    pub drain: Duration,
    /// How often one may ask.
    pub rates: Rates,
    /// The origins, such as `https://example.org`, whose pages may ask from a browser.
    pub cors: Vec<String>,
    /// Whether `/metrics` is shown without a token.
    pub open_metrics: bool,
    /// Whether each request becomes an event of the ledger, and each fault of the server an error.
    /// They are of no user: only the scope `admin` sees them.
    pub access_log: bool,
    /// Where the pages say that business objects are found.
    pub links: Links,
}

impl Config {
    /// The defaults, for whom `auth` lets in: 127.0.0.1:7878, durability `Interval`, bodies of 1
    /// MiB, 64 MiB for many records, 10 seconds for a request to come, 64 workers, 1,024
    /// connections, 256 followers, 10 seconds to drain, the rates of [`Rates`].
    #[must_use]
    pub fn new(auth: Auth) -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7878)),
            auth,
            durability: Durability::default(),
            max_body_bytes: 1 << 20,
            max_bulk_bytes: 64 << 20,
            read_timeout: Duration::from_secs(10),
            workers: 64,
            connections: 1024,
            followers: 256,
            drain: Duration::from_secs(10),
            rates: Rates::default(),
            cors: Vec::new(),
            open_metrics: false,
            access_log: false,
            links: Links::default(),
        }
    }

    /// What was told, with the defaults in the place of what was not.
    ///
    /// # Errors
    /// [`ConfigError::NoAuth`], [`ConfigError::TwoKeys`] or [`ConfigError::OpenToAll`] when it
    /// cannot be told who may use the server, or everyone could; [`ConfigError::Value`] for a value
    /// out of bounds.
    pub fn from_settings(settings: Settings) -> Result<Self, ConfigError> {
        let tokens = Tokens { issuer: settings.issuer, audience: settings.audience };
        let auth = match (settings.no_auth, settings.secret_file, settings.jwks_file) {
            (Some(true), None, None) => Auth::Off,
            (_, Some(file), None) => Auth::Secret { file, tokens },
            (_, None, Some(file)) => Auth::Jwks { file, tokens },
            (_, Some(_), Some(_)) => return Err(ConfigError::TwoKeys),
            (_, None, None) => return Err(ConfigError::NoAuth),
        };
        let default = Self::new(auth);
        let seconds = |given: Option<u64>, default| given.map_or(default, Duration::from_secs);
        let config = Self {
            listen: settings.listen.unwrap_or(default.listen),
            durability: settings.durability.map_or(default.durability, Level::durability),
            max_body_bytes: settings.max_body_bytes.unwrap_or(default.max_body_bytes),
            max_bulk_bytes: settings.max_bulk_bytes.unwrap_or(default.max_bulk_bytes),
            read_timeout: seconds(settings.read_timeout_s, default.read_timeout),
            workers: settings.workers.unwrap_or(default.workers),
            connections: settings.connections.unwrap_or(default.connections),
            followers: settings.followers.unwrap_or(default.followers),
            drain: seconds(settings.drain_s, default.drain),
            rates: Rates {
                per_address: settings.rate_per_address.unwrap_or(default.rates.per_address),
                per_user: settings.rate_per_user.unwrap_or(default.rates.per_user),
                cleanups: settings.cleanups_per_minute.unwrap_or(default.rates.cleanups),
            },
            cors: settings.cors.unwrap_or_default(),
            open_metrics: settings.open_metrics.unwrap_or(default.open_metrics),
            access_log: settings.access_log.unwrap_or(default.access_log),
            links: settings.links.unwrap_or_default(),
            auth: default.auth,
        };
        config.check()
    }

    fn check(self) -> Result<Self, ConfigError> {
        if matches!(self.auth, Auth::Off) && !self.listen.ip().is_loopback() {
            return Err(ConfigError::OpenToAll { listen: self.listen });
        }
        let at_least_one = |name, value: usize| match value {
            0 => Err(ConfigError::Value { name, value: "0".to_owned(), expected: "at least 1" }),
            _ => Ok(()),
        };
        if let Some(origin) = self.cors.iter().find(|origin| !is_origin(origin)) {
            let (value, expected) = (format!("{origin:?}"), "an origin as https://example.org");
            return Err(ConfigError::Value { name: "cors", value, expected });
        }
        if self.read_timeout > LONGEST_READ {
            let value = self.read_timeout.as_secs().to_string();
            let expected = "at most 31536000, which is a year";
            return Err(ConfigError::Value { name: "read_timeout_s", value, expected });
        }
        if !(1..=MOST_WORKERS).contains(&self.workers) {
            let (value, expected) = (self.workers.to_string(), "1 to 65536");
            return Err(ConfigError::Value { name: "workers", value, expected });
        }
        at_least_one("connections", self.connections)?;
        at_least_one("max_body_bytes", self.max_body_bytes)?;
        at_least_one("max_bulk_bytes", self.max_bulk_bytes)?;
        Ok(self)
    }
}

/// True for a scheme and a host, without a path: any origin (`*`) is none.
fn is_origin(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| {
        !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/')
    })
}

/// A durability by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Level {
    /// Stable storage
    Sync,
    /// The operating system
    Os,
    /// The operating system, and stable storage a moment later
    Interval,
}

impl Level {
    /// The durability itself.
    #[must_use]
    pub const fn durability(self) -> Durability {
        match self {
            Self::Sync => Durability::Sync,
            Self::Os => Durability::Os,
            Self::Interval => Durability::Interval,
        }
    }
}

/// What one source says of a [`Config`]: the command line and the environment, or a TOML file with
/// these keys. What it leaves out is for the next source to say.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Settings {
    /// The address to listen on.
    pub listen: Option<SocketAddr>,
    /// Whether everyone on this machine is let in.
    pub no_auth: Option<bool>,
    /// The file with the secret of HS256.
    pub secret_file: Option<PathBuf>,
    /// The file with the JWKS document.
    pub jwks_file: Option<PathBuf>,
    /// What the claim `iss` has to be.
    pub issuer: Option<String>,
    /// What the claim `aud` has to be, or to hold.
    pub audience: Option<String>,
    /// What an append reaches unless a request says otherwise.
    pub durability: Option<Level>,
    /// How long a body of a single record may be, in bytes.
    pub max_body_bytes: Option<usize>,
    /// How long a body of many records may be, in bytes.
    pub max_bulk_bytes: Option<usize>,
    /// How many seconds a request may take to come.
    pub read_timeout_s: Option<u64>,
    /// How many requests may be at work in the ledger at a time.
    pub workers: Option<usize>,
    /// How many connections may be open at a time.
    pub connections: Option<usize>,
    /// How many may follow the ledger at a time.
    pub followers: Option<usize>,
    /// How many seconds requests may take to end once the server is told to stop.
    pub drain_s: Option<u64>,
    /// Requests a second of one address; 0 for any number.
    pub rate_per_address: Option<u32>,
    /// Requests a second of one user; 0 for any number.
    pub rate_per_user: Option<u32>,
    /// Clean-ups a minute of one user; 0 for any number.
    pub cleanups_per_minute: Option<u32>,
    /// The origins whose pages may ask from a browser.
    pub cors: Option<Vec<String>>,
    /// Whether `/metrics` is shown without a token.
    pub open_metrics: Option<bool>,
    /// Whether requests are noted in the ledger.
    pub access_log: Option<bool>,
    /// Where the pages say that business objects are found: templates by kind.
    pub links: Option<Links>,
}

impl Settings {
    /// Reads a TOML file.
    ///
    /// # Errors
    /// [`ConfigError::File`] when it cannot be read, is no TOML or has an unknown key.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let refused = |reason| ConfigError::File { path: path.to_owned(), reason };
        let text = std::fs::read_to_string(path).map_err(|err| refused(err.to_string()))?;
        toml::from_str(&text).map_err(|err| refused(err.to_string().trim_end().to_owned()))
    }

    /// What this says, and where it says nothing, what `below` does. Who may use the server is said
    /// by one of them alone, so that a flag replaces a file's keys.
    #[must_use]
    pub fn over(self, below: Self) -> Self {
        let has_keys = |it: &Self| it.secret_file.is_some() || it.jwks_file.is_some();
        let says_who = has_keys(&self) || self.no_auth == Some(true);
        let keys = if says_who { &self } else { &below };
        Self {
            no_auth: self.no_auth.or(keys.no_auth),
            secret_file: keys.secret_file.clone(),
            jwks_file: keys.jwks_file.clone(),
            listen: self.listen.or(below.listen),
            issuer: self.issuer.or(below.issuer),
            audience: self.audience.or(below.audience),
            durability: self.durability.or(below.durability),
            max_body_bytes: self.max_body_bytes.or(below.max_body_bytes),
            max_bulk_bytes: self.max_bulk_bytes.or(below.max_bulk_bytes),
            read_timeout_s: self.read_timeout_s.or(below.read_timeout_s),
            workers: self.workers.or(below.workers),
            connections: self.connections.or(below.connections),
            followers: self.followers.or(below.followers),
            drain_s: self.drain_s.or(below.drain_s),
            rate_per_address: self.rate_per_address.or(below.rate_per_address),
            rate_per_user: self.rate_per_user.or(below.rate_per_user),
            cleanups_per_minute: self.cleanups_per_minute.or(below.cleanups_per_minute),
            cors: self.cors.or(below.cors),
            open_metrics: self.open_metrics.or(below.open_metrics),
            access_log: self.access_log.or(below.access_log),
            links: self.links.or(below.links),
        }
    }
}
