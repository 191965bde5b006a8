use std::borrow::Cow;
use std::fmt;

use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::error::{Error, Result};

/// A JSON value, kept as the text that came in.
///
/// Whoever holds one knows that it was checked. White space, the order of keys and the digits of
/// numbers stay as they were written.
///
/// ```
/// use runledger::Json;
/// let json = Json::parse(r#"{"b": 1.50, "a": null}"#)?;
/// assert_eq!(json.as_str(), r#"{"b": 1.50, "a": null}"#);
/// assert!(Json::parse("{b: 1}").is_err());
/// # Ok::<(), runledger::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Json<'a>(Cow<'a, str>);

impl<'a> Json<'a> {
    /// Checks that the text is one JSON value.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the line and column when it is not, or when it nests deeper than 127
    /// levels.
    pub fn parse(text: impl Into<Cow<'a, str>>) -> Result<Self> {
        let text = text.into();
        match serde_json::from_str::<IgnoredAny>(&text) {
            Ok(_) => Ok(Self(text)),
            Err(err) => Err(Error::invalid("json", &text, &format!("valid JSON ({err})"))),
        }
    }

    /// Takes text that is known to be JSON: it was checked when it was written, and the checksum
    /// over it held.
    pub(crate) fn trusted(text: impl Into<Cow<'a, str>>) -> Self {
        Self(text.into())
    }

    /// The JSON text of a value.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the value cannot be written as JSON, such as a map whose keys are no
    /// strings.
    pub fn from_value<T: Serialize + ?Sized>(value: &T) -> Result<Json<'static>> {
        serde_json::to_string(value).map(|text| Json(Cow::Owned(text))).map_err(|err| {
            Error::invalid("json", std::any::type_name::<T>(), &format!("a JSON value ({err})"))
        })
    }

    /// Reads the value into a type of the caller's.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the JSON is not of the type's shape.
    pub fn to_value<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_str(&self.0).map_err(|err| {
            Error::invalid("json", &self.0, &format!("{} ({err})", std::any::type_name::<T>()))
        })
    }

    /// The text, as it came in.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same value, borrowing nothing.
    #[must_use]
    pub fn into_owned(self) -> Json<'static> {
        Json(Cow::Owned(self.0.into_owned()))
    }

    /// The same value, borrowing from this one.
    #[must_use]
    pub fn borrowed(&self) -> Json<'_> {
        Json(Cow::Borrowed(&self.0))
    }
}

impl fmt::Debug for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
