//! Up to where the ledger can be followed.

use crate::ledger::handle::Ledger;
#[cfg(feature = "async")]
use crate::sync::atomic::Ordering;

impl Ledger {
    /// The number behind which alone records are still to come: those up to it can be seen now, or
    /// never will be. Appends to several streams end in no order, so that a record may be seen
    /// before another with a lower number; who follows the ledger by number goes no further than
    /// this.
    ///
    /// ```
    /// # use runledger::{Event, Ledger};
    /// # let dir = tempfile::tempdir()?;
    /// # let ledger = Ledger::open(dir.path().join("ledger"))?;
    /// let seq = ledger.append(Event::new("started"))?;
    /// assert!(ledger.settled() >= seq);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn settled(&self) -> u64 {
        let next = self.inner.sequence.peek();
        // Who took a number below that one did so under the lock of each stream that it goes to,
        // and shows its records before it gives them back.
        self.inner.streams.iter().for_each(|stream| drop(stream.lock()));
        next.saturating_sub(1)
    }

    /// True once [`Ledger::settled`] comes no further, as the ledger is closed.
    #[cfg(feature = "async")]
    pub(crate) fn is_settled_for_good(&self) -> bool {
        let is_closed = self.inner.closed.load(Ordering::Acquire);
        if is_closed {
            // Who found it open under the locks has taken its number when this has had them.
            let _ = self.settled();
        }
        is_closed
    }
}
