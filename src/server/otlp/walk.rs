//! The lists of a request: of resources, their scopes, and what these hold.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::server::otlp::proto::{self, Held, fields};
use crate::server::otlp::{Encoding, Refusal, Signal};

/// The most spans or log records in one request. What sends them sends hundreds, or a few thousand.
pub(super) const MAX_ITEMS: usize = 20_000;

/// A span or a log record where it lies in the request, and what tells of it.
pub(super) struct Item<'a> {
    pub(super) resource: &'a [u8],
    pub(super) scope: &'a [u8],
    pub(super) item: &'a [u8],
}

/// Why a request is not taken.
#[derive(Debug, PartialEq)]
pub(super) enum Broken {
    /// It is not what it says to be.
    Malformed(Refusal),
    /// It has more than [`MAX_ITEMS`].
    TooMany,
}

impl From<Refusal> for Broken {
    fn from(why: Refusal) -> Self {
        Self::Malformed(why)
    }
}

/// Every span or log record of a request.
pub(super) fn items(
    encoding: Encoding,
    signal: Signal,
    body: &[u8],
) -> Result<Vec<Item<'_>>, Broken> {
    match encoding {
        Encoding::Protobuf => of_proto(body),
        Encoding::Json => of_json(signal, body),
    }
}

/// Logs and traces have one shape, and the same numbers in it.
fn of_proto(body: &[u8]) -> Result<Vec<Item<'_>>, Broken> {
    let mut items = Vec::new();
    for field in fields(body) {
        let (1, Held::Bytes(part)) = field? else { continue };
        let resource = proto::last(part, 1)?;
        for field in fields(part) {
            let (2, Held::Bytes(part)) = field? else { continue };
            let scope = proto::last(part, 1)?;
            for field in fields(part) {
                let (2, Held::Bytes(item)) = field? else { continue };
                if items.len() == MAX_ITEMS {
                    return Err(Broken::TooMany);
                }
                items.push(Item { resource, scope, item });
            }
        }
    }
    Ok(items)
}

/// A list whose items are read later.
#[derive(Default)]
struct List<'a> {
    items: Vec<&'a RawValue>,
    /// True when there are more than are taken.
    is_longer: bool,
}

impl<'de: 'a, 'a> Deserialize<'de> for List<'a> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct Read;

        impl<'de> Visitor<'de> for Read {
            type Value = List<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_unit<E>(self) -> Result<List<'de>, E> {
                Ok(List::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<List<'de>, A::Error> {
                let mut list = List::default();
                while list.items.len() < MAX_ITEMS {
                    match seq.next_element()? {
                        Some(item) => list.items.push(item),
                        None => return Ok(list),
                    }
                }
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    list.is_longer = true;
                }
                Ok(list)
            }
        }

        json.deserialize_any(Read)
    }
}

/// A request, a resource's part of it, or a scope's: whichever keys it has.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Part<'a> {
    #[serde(borrow, default)]
    resource_spans: List<'a>,
    #[serde(borrow, default)]
    resource_logs: List<'a>,
    #[serde(borrow, default)]
    scope_spans: List<'a>,
    #[serde(borrow, default)]
    scope_logs: List<'a>,
    #[serde(borrow, default)]
    spans: List<'a>,
    #[serde(borrow, default)]
    log_records: List<'a>,
    #[serde(borrow)]
    resource: Option<&'a RawValue>,
    #[serde(borrow)]
    scope: Option<&'a RawValue>,
}

fn part(json: &[u8]) -> Result<Part<'_>, Broken> {
    serde_json::from_slice(json).map_err(|err| Broken::Malformed(err.to_string().into()))
}

impl<'a> List<'a> {
    fn taken(self) -> Result<impl Iterator<Item = &'a [u8]>, Broken> {
        match self.is_longer {
            true => Err(Broken::TooMany),
            false => Ok(self.items.into_iter().map(|json| json.get().as_bytes())),
        }
    }
}

/// What is absent is as if it were empty.
fn bytes(json: Option<&RawValue>) -> &[u8] {
    json.map_or(b"{}", |json| json.get().as_bytes())
}

fn of_json(signal: Signal, body: &[u8]) -> Result<Vec<Item<'_>>, Broken> {
    let pick = |spans, logs| match signal {
        Signal::Traces => spans,
        Signal::Logs => logs,
    };
    let mut items = Vec::new();
    let request = part(body)?;
    for resource in pick(request.resource_spans, request.resource_logs).taken()? {
        let of_resource = part(resource)?;
        for scope in pick(of_resource.scope_spans, of_resource.scope_logs).taken()? {
            let of_scope = part(scope)?;
            for item in pick(of_scope.spans, of_scope.log_records).taken()? {
                if items.len() == MAX_ITEMS {
                    return Err(Broken::TooMany);
                }
                let (resource, scope) = (bytes(of_resource.resource), bytes(of_scope.scope));
                items.push(Item { resource, scope, item });
            }
        }
    }
    Ok(items)
}
