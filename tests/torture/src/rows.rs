//! The rows of the scorecard. Their numbers, subjects and goals are in `card`.

pub(crate) mod abuse;
pub(crate) mod clock;
pub(crate) mod compaction;
pub(crate) mod copies;
pub(crate) mod cut_off;
pub(crate) mod damage;
pub(crate) mod faults;
pub(crate) mod footers;
pub(crate) mod forgeries;
pub(crate) mod fuzzing;
pub(crate) mod kills;
pub(crate) mod lines;
pub(crate) mod locks;
pub(crate) mod lost_pages;
pub(crate) mod mending;
pub(crate) mod power;
pub(crate) mod readers;
pub(crate) mod reserve;
pub(crate) mod retention;
pub(crate) mod rivals;
pub(crate) mod strength;
pub(crate) mod tails;
pub(crate) mod threads;
