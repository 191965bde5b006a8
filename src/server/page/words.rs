//! Forms that are sent, and links that carry words.

use std::borrow::Cow;

use axum::extract::{FromRequest, Request};
use serde::de::DeserializeOwned;

use crate::server::app::App;
use crate::server::input;
use crate::server::problem::{Kind, Problem};

/// The most bytes of a form.
const MAX_FORM: usize = 64 << 10;

/// A form, as a browser sends it.
pub(super) struct Form<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<App> for Form<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        input::check_type(request.headers(), "application/x-www-form-urlencoded")?;
        let body = input::whole(app, request.into_body(), MAX_FORM).await?;
        let refused = |err: serde_html_form::de::Error| Problem::new(Kind::Body, err.to_string());
        Ok(Self(serde_html_form::from_bytes(&body.bytes).map_err(refused)?))
    }
}

/// A part of a path, or a word, as it stands in a link: whatever has a meaning there is encoded.
pub(super) fn encoded(text: &str) -> String {
    let text: String = form_urlencoded::byte_serialize(text.as_bytes()).collect();
    text.replace('+', "%20")
}

/// A place on this site and the words that it is asked with.
#[derive(Debug, Clone)]
pub(super) struct Link {
    path: Cow<'static, str>,
    words: Vec<(&'static str, String)>,
}

impl Link {
    pub(super) fn to(path: impl Into<Cow<'static, str>>) -> Self {
        Self { path: path.into(), words: Vec::new() }
    }

    /// With another word, unless it is empty.
    pub(super) fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        let value = value.to_string();
        if !value.is_empty() {
            self.words.push((name, value));
        }
        self
    }

    /// Without the words of this name, or those of them with this value.
    pub(super) fn without(&self, name: &str, value: Option<&str>) -> Self {
        let goes =
            |word: &(&str, String)| word.0 == name && value.is_none_or(|value| value == word.1);
        let words = self.words.iter().filter(|word| !goes(word)).cloned().collect();
        Self { path: self.path.clone(), words }
    }

    /// The same words at another place.
    pub(super) fn at(&self, path: &'static str) -> Self {
        Self { path: path.into(), words: self.words.clone() }
    }

    pub(super) fn words(&self) -> &[(&'static str, String)] {
        &self.words
    }

    /// The words that are of none of these names, for the hidden fields of a form.
    pub(super) fn others(&self, names: &[&str]) -> Vec<(&'static str, String)> {
        self.words.iter().filter(|(name, _)| !names.contains(name)).cloned().collect()
    }
}

impl std::fmt::Display for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.path)?;
        let mut sign = '?';
        for (name, value) in &self.words {
            write!(f, "{sign}{name}={}", encoded(value))?;
            sign = '&';
        }
        Ok(())
    }
}
