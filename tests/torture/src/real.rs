//! Real processes and real file systems: writers that are killed, and disks that are cut off.

pub(crate) mod asker;
pub(crate) mod contender;
pub(crate) mod deed;
pub(crate) mod follower;
pub(crate) mod image;
pub(crate) mod judge;
pub(crate) mod met;
pub(crate) mod partner;
pub(crate) mod place;
pub(crate) mod server;
pub(crate) mod system;
pub(crate) mod tokens;
pub(crate) mod truth;
pub(crate) mod writer;
