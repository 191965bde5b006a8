//! Query words: read by their types, and refused by name when a route does not know them.

use std::fmt;
use std::str::FromStr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use serde::de::{DeserializeOwned, Deserializer, Error as _, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};

use crate::planted::{Bug, is_planted};
use crate::server::problem::{Kind, Problem};

/// The query words of a request, in two sets.
pub(super) struct Words<A, B = Nothing>(pub(super) A, pub(super) B);

/// No words.
#[derive(Deserialize)]
pub(super) struct Nothing {}

impl<S: Sync, A: DeserializeOwned, B: DeserializeOwned> FromRequestParts<S> for Words<A, B> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let query = parts.uri.query().unwrap_or_default();
        let (first, second) = (names::<A>(), names::<B>());
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if !first.contains(&&*name) && !second.contains(&&*name) {
                let known: Vec<_> = first.iter().chain(second).copied().collect();
                let known = match known.is_empty() {
                    true => "this route has none".to_owned(),
                    false => format!("this route has {}", known.join(", ")),
                };
                let detail = format!("unknown parameter {:?}; {known}", clip(&name));
                return Err(Problem::new(Kind::UnknownWord, detail).field(clip(&name)));
            }
            // A form that asks says also what was left empty. In what is to be changed, a value
            // that is missing may be the one that would have kept it from harm.
            if value.is_empty() && !parts.method.is_safe() {
                let detail =
                    format!("parameter {name:?} has no value: give it one or leave it out");
                return Err(Problem::new(Kind::Invalid, detail).field(name));
            }
        }
        Ok(Self(read(query, first)?, read(query, second)?))
    }
}

/// Reads those of the words that have these names.
fn read<T: DeserializeOwned>(query: &str, names: &[&str]) -> Result<T, Problem> {
    let mut own = form_urlencoded::Serializer::new(String::new());
    // A word without a value is one that a form has left empty.
    let given = form_urlencoded::parse(query.as_bytes());
    own.extend_pairs(given.filter(|(name, value)| names.contains(&&**name) && !value.is_empty()));
    let own = own.finish();
    let words = serde_html_form::Deserializer::from_bytes(own.as_bytes());
    serde_path_to_error::deserialize(words).map_err(|err| {
        assert!(!is_planted(Bug::PanicOnBadWord), "{err}");
        let path = err.path().to_string();
        let field = path.split(['.', '[']).next().unwrap_or_default().to_owned();
        let detail = format!("parameter {field:?}: {}", err.inner());
        Problem::new(Kind::Invalid, detail).field(field)
    })
}

fn clip(text: &str) -> String {
    text.chars().take(80).collect()
}

/// The names of a struct's fields, as serde has them.
pub(super) fn names<'de, T: Deserialize<'de>>() -> &'static [&'static str] {
    struct Ask<'n>(&'n mut &'static [&'static str]);

    impl<'de> Deserializer<'de> for Ask<'_> {
        type Error = serde::de::value::Error;

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            _: V,
        ) -> Result<V::Value, Self::Error> {
            *self.0 = fields;
            Err(Self::Error::custom("asked for names alone"))
        }

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
            Err(Self::Error::custom("not a struct"))
        }

        forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
            option unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier
            ignored_any
        }
    }

    let mut names: &[&str] = &[];
    // It fails once it knows them.
    let _ = T::deserialize(Ask(&mut names));
    names
}

/// A value that is read from its text as everywhere else in the ledger.
#[derive(Debug, Clone, Copy)]
pub(super) struct Word<T>(pub(super) T);

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Word<T> {
    fn deserialize<D: Deserializer<'de>>(words: D) -> Result<Self, D::Error> {
        let text = String::deserialize(words)?;
        text.parse().map(Self).map_err(D::Error::custom)
    }
}
