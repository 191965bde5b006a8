/// What an append has reached when it answers.
///
/// | | the process is killed | the machine loses power |
/// |---|---|---|
/// | [`Sync`](Self::Sync) | nothing is lost | nothing is lost |
/// | [`Os`](Self::Os) | nothing is lost | what was appended since the last sync is lost |
/// | [`Interval`](Self::Interval) | nothing is lost | the appends of the last interval are lost |
///
/// A batch is kept or lost whole, at every level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Durability {
    /// On stable storage. Appends that wait at the same time share one sync.
    Sync,
    /// In the operating system's memory, which writes it out when it sees fit.
    Os,
    /// As `Os`, and synced in the background: every 200 ms unless
    /// [`Options::interval`](crate::Options::interval) says otherwise.
    #[default]
    Interval,
}
