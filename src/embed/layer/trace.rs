//! To which trace a span belongs, where somebody else says it.

use std::ptr;
use std::sync::Arc;

use tracing_core::dispatcher::{self, Dispatch, WeakDispatch};
use tracing_core::span::Id as SpanId;
use tracing_subscriber::registry::{LookupSpan, SpanRef};

use crate::embed::layer::LedgerLayer;
use crate::embed::layer::new_ids::new_trace;
use crate::embed::layer::state::States;
use crate::model::{Body, Id};

pub(super) type TraceOf = dyn Fn(&SpanId, &Dispatch) -> Option<Id<'static>> + Send + Sync;

impl LedgerLayer {
    /// Says where trace ids come from, such as from the context of `opentelemetry`. It is asked for
    /// each span that names no `trace_id` itself, and given the span's id and the subscriber; where
    /// it knows of none the span is of its parent's trace, or begins one.
    ///
    /// It is asked once, when the span is entered for the first time, or before that when something
    /// happens in it: until then others may still say to which trace it belongs. The order of the
    /// layers does not matter therefore, and the first state of a run does not name its trace yet.
    /// What is logged meanwhile is not recorded.
    ///
    /// With `tracing-opentelemetry` 0.34:
    ///
    /// ```ignore
    /// layer.trace_ids(|span, subscriber| {
    ///     let context = tracing_opentelemetry::get_otel_context(span, subscriber)?;
    ///     let trace = context.span().span_context().trace_id();
    ///     (trace != TraceId::INVALID).then(|| Id::from_hex_bytes(trace.to_bytes()))
    /// })
    /// ```
    #[must_use]
    pub fn trace_ids(
        mut self,
        trace_of: impl Fn(&SpanId, &Dispatch) -> Option<Id<'static>> + Send + Sync + 'static,
    ) -> Self {
        self.trace_of = Some(Arc::new(trace_of));
        self
    }

    /// Asks for the trace of a span, and gives it. With the first answer that is settled.
    pub(super) fn settle<'s, S: LookupSpan<'s>>(
        &self,
        span: &SpanRef<'s, S>,
    ) -> Option<Id<'static>> {
        let (asks, known) = {
            let extensions = span.extensions();
            let state = extensions.get::<States>()?.get(self.key)?;
            (state.asks, state.ids.trace.clone())
        };
        let Some(trace_of) = self.trace_of.as_ref().filter(|_| asks) else { return known };
        // None of the span's locks is held meanwhile.
        let trace = self
            .subscriber()
            .and_then(|subscriber| trace_of(&span.id(), &subscriber))
            .or_else(|| span.parent().and_then(|parent| self.settle(&parent)))
            .or_else(new_trace);
        let mut extensions = span.extensions_mut();
        let state = extensions.get_mut::<States>()?.get_mut(self.key)?;
        state.asks = false;
        state.ids.trace = state.ids.trace.take().or(trace);
        let patched = state.run.as_ref().and_then(|run| run.open(&state.ids, self.recorder.now()));
        let trace = state.ids.trace.clone();
        drop(extensions);
        if let Some(patched) = patched {
            self.recorder.take(Body::Run(patched));
        }
        trace
    }

    /// The subscriber that the layer is a part of. An `Option` or a list of layers does not tell
    /// its layers of it: then it is the thread's, where that is the same.
    fn subscriber(&self) -> Option<Dispatch> {
        let told = self.dispatch.get().and_then(WeakDispatch::upgrade);
        let is_ours = |subscriber: &Dispatch| {
            subscriber.downcast_ref::<Self>().is_some_and(|layer| ptr::eq(layer, self))
        };
        let of_thread = || dispatcher::get_default(Clone::clone);
        told.or_else(|| Some(of_thread()).filter(is_ours))
    }
}
