/// The ends of the ranges that the rows span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Summary {
    /// The earliest and latest creation, in nanoseconds since the Unix epoch.
    pub created: (i64, i64),
    /// The latest of the records' own times.
    pub newest: i64,
    /// When the first and the last frame were recorded; not ordered when the clock went back.
    pub recorded: (i64, i64),
}

impl Default for Summary {
    fn default() -> Self {
        Self { created: (i64::MAX, i64::MIN), newest: i64::MIN, recorded: (i64::MAX, i64::MIN) }
    }
}
