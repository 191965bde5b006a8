//! Finding records: what to match, in which order, and how many.
//!
//! A query is answered segment by segment. A segment whose summary rules it out is not touched; in
//! the others the index gives the rows, and records are decoded only when they are returned or
//! searched for text.

mod builder;
mod count;
mod cursor;
mod fetch;
mod filter;
mod groups;
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
pub(crate) use plan::confirm;
pub(crate) use view::Source;
