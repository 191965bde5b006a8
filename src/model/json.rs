use std::borrow::Cow;
use std::fmt;

use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::error::{Error, Result};
use crate::limits::MAX_JSON_DEPTH;

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
            Ok(_) if too_deep(&text) => {
                let expected = format!("JSON of at most {MAX_JSON_DEPTH} levels");
                Err(Error::invalid("json", &text, &expected))
            }
            Ok(_) => Ok(Self(text)),
            Err(err) => Err(Error::invalid("json", &text, &format!("valid JSON ({err})"))),
        }
    }

    /// Takes text that a parser has just found to be JSON; `None` when it nests too deeply.
    pub(crate) fn checked(text: &'a str) -> Option<Self> {
        (!too_deep(text)).then_some(Self(Cow::Borrowed(text)))
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

/// True when valid JSON nests deeper than the limit. Skipping a value, as the checks here do, knows
/// no depth, and whoever builds a tree of it later would meet the limit there.
fn too_deep(text: &str) -> bool {
    let opening = |byte: &u8| matches!(byte, b'[' | b'{');
    if text.bytes().filter(|byte| opening(byte)).count() <= MAX_JSON_DEPTH {
        return false;
    }
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_JSON_DEPTH {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_depth_is_bounded_and_brackets_in_strings_do_not_count() {
        let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        assert!(Json::parse(nested(MAX_JSON_DEPTH)).is_ok());
        assert!(Json::parse(nested(MAX_JSON_DEPTH + 1)).is_err());
        assert!(Json::parse(nested(100_000)).is_err());
        assert!(Json::parse(format!("[{}]", vec!["[]"; 200].join(","))).is_ok());
        assert!(Json::parse(format!(r#"["\"{}"]"#, "[".repeat(200))).is_ok());
    }
}
