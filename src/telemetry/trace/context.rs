//! The context of a trace in headers, as W3C Trace Context has it. Read by OpenTelemetry's propagator.

use http::HeaderMap;
use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceId};
use opentelemetry_sdk::propagation::TraceContextPropagator;

/// Name of the header.
pub const TRACEPARENT: &str = "traceparent";
const USER_AGENT_BYTES: usize = 256;

/// What a request says of the trace that it belongs to.
#[derive(Debug)]
pub struct Parentage(pub(super) SpanContext);

impl Parentage {
    pub(super) fn span(&self) -> Option<&SpanContext> {
        Some(&self.0).filter(|span| span.is_valid())
    }
}

/// Reads the headers. "If the vendor failed to parse traceparent, it creates a new traceparent" (4.3): what is
/// malformed, or said twice, is nothing.
pub(super) fn parentage(headers: &HeaderMap) -> Parentage {
    let mut values = headers.get_all(TRACEPARENT).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return Parentage(SpanContext::NONE) };
    if !has_form(value.as_bytes()) {
        return Parentage(SpanContext::NONE);
    }
    let around = TraceContextPropagator::new().extract_with_context(&Context::new(), &Fields(headers));
    Parentage(around.span().span_context().clone())
}

/// Whether each field is as long as it is to be, which the propagator does not ask. Later versions may append to it.
fn has_form(value: &[u8]) -> bool {
    const LENGTH: usize = 55;
    let dashes = [2, 35, 52].iter().all(|at| value.get(*at) == Some(&b'-'));
    dashes && (value.len() == LENGTH || value.get(LENGTH) == Some(&b'-') && !value.starts_with(b"00"))
}

pub(super) fn traceparent(trace: TraceId, span: SpanId, sampled: bool) -> String {
    format!("00-{trace:032x}-{span:016x}-{:02x}", u8::from(sampled))
}

/// What the client calls itself, cut to a length that a span should have.
pub(super) fn user_agent(headers: &HeaderMap) -> Option<String> {
    let sent = headers.get(http::header::USER_AGENT)?.as_bytes();
    Some(String::from_utf8_lossy(sent.get(..USER_AGENT_BYTES).unwrap_or(sent)).into_owned())
}

/// Headers, as a propagator reads them.
struct Fields<'a>(&'a HeaderMap);

impl Extractor for Fields<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn headers(values: &[&str]) -> HeaderMap {
        values
            .iter()
            .map(|value| (http::HeaderName::from_static(TRACEPARENT), HeaderValue::from_str(value).unwrap()))
            .collect()
    }

    #[test]
    fn a_parent_is_read_and_written_back_alike() {
        let read = parentage(&headers(&[PARENT]));
        let span = read.span().unwrap();
        assert!(span.is_sampled() && span.is_remote());
        assert_eq!(traceparent(span.trace_id(), span.span_id(), true), PARENT);
    }

    #[test]
    fn what_is_malformed_or_said_twice_is_no_parent() {
        let long = format!("{PARENT}-{}", "x".repeat(10_000));
        for wrong in [
            &[][..],
            &[PARENT, PARENT],
            &[""],
            &["00-00000000000000000000000000000000-00f067aa0ba902b7-01"],
            &["00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01"],
            &["ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"],
            &["00-4BF92F3577B34DA6A3CE929D0E0E4736-00F067AA0BA902B7-01"],
            &["00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01"],
            &["4bf92f3577b34da6a3ce929d0e0e4736"],
            &[&long],
        ] {
            assert!(parentage(&headers(wrong)).span().is_none(), "{wrong:?}");
        }
    }
}
