//! Which part of a list is asked for.

use serde::Deserialize;
use utoipa::IntoParams;

use crate::query::{Cursor, Order, Query};
use crate::server::problem::{Kind, Problem};
use crate::server::words::Word;

/// The most records in one answer.
const MAX_LIMIT: usize = 1000;

/// The most records that are passed over: each costs memory and time, where a cursor costs none.
const MAX_OFFSET: u64 = 100_000;

const DEFAULT_LIMIT: usize = 100;

/// Part of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Paging {
    /// How many records to give at the most; a page that has 8 MiB before takes no more, either
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
    /// How many of the first records to leave out; to walk a list, take the cursor, beside which
    /// this is of no account
    #[param(maximum = 100_000, default = 0)]
    offset: Option<u64>,
    /// Where to go on: `next` of an earlier answer to the same question
    #[param(value_type = Option<String>)]
    cursor: Option<Word<Cursor>>,
    /// By creation; the newest first unless it says otherwise
    #[param(inline)]
    order: Option<By>,
}

#[derive(Debug, Clone, Copy, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
enum By {
    Newest,
    Oldest,
}

/// The older form of a part of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Offset {
    /// How many to give at the most; more than 8 MiB of them are refused, not cut short
    #[param(minimum = 1, maximum = 1000, default = 100)]
    pub(super) limit: Option<usize>,
    /// How many of the first to leave out
    #[param(maximum = 100_000, default = 0)]
    pub(super) offset: Option<u64>,
}

impl Paging {
    /// With the oldest first, unless it says otherwise.
    pub(super) fn or_oldest(self) -> Self {
        Self { order: self.order.or(Some(By::Oldest)), ..self }
    }

    /// The part of what the query finds.
    pub(super) fn apply(&self, query: Query) -> Result<Query, Problem> {
        let order = match self.order {
            None | Some(By::Newest) => Order::Newest,
            Some(By::Oldest) => Order::Oldest,
        };
        let part = Offset { limit: self.limit, offset: self.offset };
        let query = part.apply(query)?.order(order);
        Ok(match self.cursor {
            // It goes on behind a page that left them out.
            Some(Word(cursor)) => query.offset(0).after(cursor),
            None => query,
        })
    }
}

impl Offset {
    pub(super) fn limit(&self) -> Result<usize, Problem> {
        match self.limit.unwrap_or(DEFAULT_LIMIT) {
            limit @ 1..=MAX_LIMIT => Ok(limit),
            limit => Err(Problem::new(
                Kind::Invalid,
                format!("limit is {limit}; expected 1 to {MAX_LIMIT}"),
            )
            .field("limit")),
        }
    }

    /// The part of what the query finds.
    pub(super) fn apply(&self, query: Query) -> Result<Query, Problem> {
        let offset = self.offset.unwrap_or(0);
        if offset > MAX_OFFSET {
            let detail = format!(
                "offset is {offset}; expected no more than {MAX_OFFSET}: go on by the cursor, or \
                 name a time"
            );
            return Err(Problem::new(Kind::Invalid, detail).field("offset"));
        }
        Ok(query.limit(self.limit()?).offset(offset))
    }
}
