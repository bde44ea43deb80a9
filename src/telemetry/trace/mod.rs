//! Traces: a span for each sampled request and one for each of its tries, in OTLP, with W3C trace context.
//!
//! In come the headers of a request at its beginning ([`Tracer::begin`]), what becomes of its tries, and its
//! [`RequestRecord`] at its end; out go spans to a collector, in batches, through a bounded queue: a collector that is
//! slow or away costs spans, which are counted, and never a request. Without a tracer nothing of this is reached.

mod context;
mod export;
mod span;

use std::sync::Arc;
use std::time::SystemTime;

use http::HeaderMap;
use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, TraceContextExt, TraceId, TraceState};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator, Sampler, SamplingDecision, ShouldSample, SpanData};
use tokio::sync::mpsc;

use super::RequestRecord;
use super::metrics::SpanCounts;
pub use context::Parentage;
pub use export::{Export, Options, TraceError};
pub use span::Outcome;

/// Begins spans. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct Tracer {
    core: Arc<Core>,
}

#[derive(Debug)]
struct Core {
    sampler: Sampler,
    queue: mpsc::Sender<SpanData>,
    counts: SpanCounts,
}

/// A request that takes part in a trace.
#[derive(Debug)]
pub struct Traced {
    trace: TraceId,
    span: SpanId,
    parent: Option<SpanId>,
    state: TraceState,
    sampled: bool,
    began: SystemTime,
    user_agent: Option<String>,
    route: Option<String>,
    tries: Vec<span::Try>,
}

impl Tracer {
    /// A request begins: whether it is sampled is what its parent says, and without one what the ratio says. `None`
    /// where the parent is not sampled: its context passes as it is.
    #[must_use]
    pub fn begin(&self, headers: &HeaderMap) -> Option<Box<Traced>> {
        let parentage = context::parentage(headers);
        let parent = parentage.span();
        let trace = parent.map_or_else(|| RandomIdGenerator::default().new_trace_id(), SpanContext::trace_id);
        // A context without a valid span would be taken for a parent that is not sampled.
        let around = parent.map(|parent| Context::new().with_remote_span_context(parent.clone()));
        let verdict = self.core.sampler.should_sample(around.as_ref(), trace, "", &SpanKind::Server, &[], &[]);
        let sampled = verdict.decision == SamplingDecision::RecordAndSample;
        if !sampled && parent.is_some() {
            return None;
        }
        Some(Box::new(Traced {
            trace,
            span: new_span_id(),
            parent: parent.map(SpanContext::span_id),
            state: parent.map(|parent| parent.trace_state().clone()).unwrap_or_default(),
            sampled,
            began: SystemTime::now(),
            user_agent: if sampled { context::user_agent(headers) } else { None },
            route: None,
            tries: Vec::new(),
        }))
    }

    /// The request has ended: its spans are queued, or counted as dropped.
    pub fn end(&self, traced: &Traced, record: &RequestRecord<'_>) {
        if !traced.sampled {
            return;
        }
        for span in traced.spans(record) {
            if self.core.queue.try_send(span).is_err() {
                self.core.counts.dropped();
            }
        }
    }
}

impl Traced {
    /// Whether its spans are recorded.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.sampled
    }

    /// Number of the trace, where it is recorded.
    #[must_use]
    pub fn trace_id(&self) -> Option<u128> {
        self.sampled.then(|| u128::from_be_bytes(self.trace.to_bytes()))
    }

    /// Whether the trace begins here: whatever the client said of it is void.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.parent.is_none()
    }

    /// The pattern of the path that matched.
    pub fn matched(&mut self, pattern: &str) {
        if self.sampled {
            self.route = Some(pattern.to_owned());
        }
    }

    /// The `traceparent` that the running try is sent with. W3C Trace Context, 3.2.
    #[must_use]
    pub fn traceparent(&self) -> String {
        let span = self.tries.last().map_or(self.span, |running| running.id);
        context::traceparent(self.trace, span, self.sampled)
    }
}

fn new_span_id() -> SpanId {
    RandomIdGenerator::default().new_span_id()
}
