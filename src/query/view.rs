use std::sync::Arc;

use crate::error::Result;
use crate::query::list::SegmentList;

/// What gives the segments of a ledger as they are now.
pub(crate) trait Source: std::fmt::Debug + Send + Sync {
    /// Those that a query looks at.
    fn lists(&self) -> Vec<Arc<SegmentList>>;
}

/// The segments that a query looks at: those that there were when it was made.
#[derive(Debug, Clone)]
pub(super) struct View {
    lists: Vec<Arc<SegmentList>>,
    source: Arc<dyn Source>,
}

impl View {
    pub(super) fn new(source: Arc<dyn Source>) -> Self {
        Self { lists: source.lists(), source }
    }

    /// What `ask` gives. It gives nothing when a segment was sealed meanwhile in such a way that
    /// the query has to begin anew; with lists of now, should its own be older than that end.
    ///
    /// # Errors
    /// The first that `ask` gives.
    pub(super) fn ask<R>(
        &self,
        ask: impl Fn(&[Arc<SegmentList>]) -> Result<Option<R>>,
    ) -> Result<R> {
        let mut newer: Option<Vec<_>> = None;
        loop {
            let lists = newer.as_deref().unwrap_or(&self.lists);
            if let Some(answer) = ask(lists)? {
                return Ok(answer);
            }
            if lists.iter().any(|list| list.is_outdated()) {
                newer = Some(self.source.lists());
            }
        }
    }
}
