//! Finding records: what to match, in which order, and how many.
//!
//! A query is answered segment by segment. A segment whose summary rules it out is not touched; in
//! the others the index gives the rows, and records are decoded only when they are returned or
//! searched for text.
//!
//! A query answers as of one sequence number, its horizon: the last that was published when it
//! began. An append marks the records whose place it takes, each with the number that takes it,
//! before it publishes its own. So a query passes by rows beyond its horizon, and counts a record
//! as current that was overtaken only there: a run is seen once, in one state, whatever is appended
//! meanwhile. The streams of runs have one horizon, as the states of a run may lie in several.
//!
//! Two things come between. A segment that is made later is not in the lists that a query has, and
//! their [`Ends`] keep the horizon below it. And a footer does not tell since when a row of its own
//! segment is overtaken: where a segment went beyond the horizon and was sealed since, the query
//! begins anew, with lists of now if its own have ended.

mod builder;
mod count;
mod cursor;
mod fetch;
mod filter;
mod groups;
mod key_filters;
mod list;
mod page;
mod plan;
mod select;
mod text;
mod typed;
mod view;

pub use builder::Query;
pub use cursor::{Cursor, Order};
pub use groups::ErrorGroup;
pub use page::{Page, Stored};
pub use typed::Events;

pub(crate) use list::{Ends, SegmentList};
pub(crate) use page::ENOUGH;
pub(crate) use plan::confirm;
pub(crate) use view::Source;
