//! What a browser keeps of a visit, and the proof that a form was ours.

use axum::http::{HeaderMap, HeaderValue, header};

use crate::server::app::App;
use crate::server::problem::{Kind, Problem};

/// The name of the cookie with the token. Cookies are of a host, whatever the port: the port by
/// which this server was called is in the name, so that one who signs in to a server is not signed
/// out of another one beside it.
pub(super) fn name(headers: &HeaderMap) -> String {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let port = host.and_then(|host| host.rsplit_once(':')).map(|(_, port)| port);
    match port.and_then(|port| port.parse::<u16>().ok()) {
        Some(port) => format!("runledger_session_{port}"),
        None => "runledger_session".to_owned(),
    }
}

/// The longest token that a cookie holds in every browser, in bytes.
pub(super) const MAX_COOKIE: usize = 3800;

/// Makes the words that forms carry, and knows them again. They are bound to the session and to
/// this process, so that no other site can put one into a form of its own.
pub(in crate::server) struct Forms(Option<[u8; 32]>);

impl Forms {
    pub(in crate::server) fn new() -> Self {
        let mut key = [0; 32];
        // Without randomness no form is taken.
        Self(getrandom::fill(&mut key).is_ok().then_some(key))
    }

    fn hash(&self, session: &str) -> Option<blake3::Hash> {
        Some(blake3::keyed_hash(self.0.as_ref()?, session.as_bytes()))
    }

    /// The word for the forms of this session.
    pub(super) fn word(&self, session: &str) -> String {
        self.hash(session).map(|hash| hash.to_hex().to_string()).unwrap_or_default()
    }

    /// Takes a form of this session that came back.
    ///
    /// # Errors
    /// A problem when it did not come from one of our pages.
    pub(super) fn check(
        &self,
        headers: &HeaderMap,
        session: &str,
        word: &str,
    ) -> Result<(), Problem> {
        let refused = || {
            let detail = "the form is too old or from another site: load the page anew, and send \
                          it again";
            Problem::new(Kind::Form, detail)
        };
        let site = headers.get("sec-fetch-site").and_then(|site| site.to_str().ok());
        if !matches!(site, None | Some("same-origin" | "none")) {
            return Err(refused());
        }
        let given = blake3::Hash::from_hex(word).map_err(|_| refused())?;
        // Hashes are compared in constant time.
        (self.hash(session) == Some(given)).then_some(()).ok_or_else(refused)
    }
}

/// What the forms of this browser are bound to: its token, or nothing where none is asked for.
pub(super) fn of<'h>(app: &App, headers: &'h HeaderMap) -> &'h str {
    let token = cookie(headers, &name(headers)).unwrap_or_default();
    if app.gate().asks() { token } else { "" }
}

/// The value of a cookie; `None` when there is none, or more than one.
pub(super) fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let pairs = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let pairs = pairs.flat_map(|line| line.split(';')).filter_map(|pair| pair.split_once('='));
    let mut values = pairs.filter(|(key, _)| key.trim() == name).map(|(_, value)| value.trim());
    values.next().filter(|_| values.next().is_none())
}

/// Sets a cookie for so many seconds, and for 0 takes it away. `value` is plain.
pub(super) fn set_cookie(
    request: &HeaderMap,
    name: &str,
    value: &str,
    seconds: u64,
) -> Option<HeaderValue> {
    let mut text = format!("{name}={value}; Path=/; Max-Age={seconds}; SameSite=Strict; HttpOnly");
    // Who says so falsely makes his own cookie stricter.
    if request.get("x-forwarded-proto").is_some_and(|proto| proto == "https") {
        text.push_str("; Secure");
    }
    HeaderValue::try_from(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_of_one_session_and_one_process() {
        let (forms, headers) = (Forms::new(), HeaderMap::new());
        let word = forms.word("token");
        assert!(forms.check(&headers, "token", &word).is_ok());
        assert!(forms.check(&headers, "another", &word).is_err());
        assert!(Forms::new().check(&headers, "token", &word).is_err());
        assert!(Forms(None).check(&headers, "", "").is_err());
        for word in ["", "0", &"0".repeat(64), &"é".repeat(32)] {
            assert!(forms.check(&headers, "token", word).is_err(), "{word}");
        }
        let mut headers = HeaderMap::new();
        headers.insert("sec-fetch-site", HeaderValue::from_static("cross-site"));
        assert!(forms.check(&headers, "token", &word).is_err());
    }

    #[test]
    fn each_port_has_a_cookie_of_its_own() {
        for (host, expected) in [
            ("localhost:7001", "runledger_session_7001"),
            ("[::1]:7001", "runledger_session_7001"),
            ("ledger.example", "runledger_session"),
            ("[::1]", "runledger_session"),
            ("a:70000", "runledger_session"),
            ("a:1;b=2", "runledger_session"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static(host));
            assert_eq!(name(&headers), expected, "{host}");
        }
        assert_eq!(name(&HeaderMap::new()), "runledger_session");
    }

    #[test]
    fn cookies_are_read_by_name_and_never_two() {
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, HeaderValue::from_static("a=1; b=2=3;c; d = 4"));
        for (name, value) in [("a", Some("1")), ("b", Some("2=3")), ("c", None), ("d", Some("4"))] {
            assert_eq!(cookie(&headers, name), value);
        }
        headers.append(header::COOKIE, HeaderValue::from_static("a=5"));
        assert_eq!(cookie(&headers, "a"), None);
    }
}
