//! Requests that were sent again, and those that a rule would have sent again but for a reason. Rare next to
//! requests, so that one counter for all workers does.

use prometheus::{IntCounterVec, Registry};

use super::family::Family;
use super::register;

const SENT: Family = Family::counter(
    "transom_http_retries_total",
    &["cause"],
    "Requests sent again, by what was wrong with the try before.",
)
.of(&RetryCause::WORDS);
const SKIPPED: Family = Family::counter(
    "transom_http_retries_skipped_total",
    &["cause"],
    "Requests not sent again although their rule has tries left, by the reason.",
)
.of(&RetrySkip::WORDS);

pub(super) const FAMILIES: &[Family] = &[SENT, SKIPPED];

/// Why a request was sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryCause {
    /// No connection to the endpoint.
    Connect,
    /// The endpoint did not take it (HTTP/2).
    Refused,
    /// A kept connection had ended.
    Gone,
    /// The endpoint broke off.
    Reset,
    /// The try took too long.
    Timeout,
    /// The status of the answer.
    Status,
}

/// Why a request was not sent again although its rule has tries left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetrySkip {
    /// Its body is larger than what is kept.
    BodyTooLarge,
    /// It may have been processed, and doing so twice may do harm.
    NotIdempotent,
    /// The time for the whole request was over before the next try.
    Deadline,
}

/// Counters of retries. All methods may be called from any thread.
#[derive(Debug, Clone)]
pub struct RetryMetrics {
    sent: Option<IntCounterVec>,
    skipped: Option<IntCounterVec>,
}

impl RetryCause {
    const WORDS: [&str; 6] = words!([
        RetryCause::Connect,
        RetryCause::Refused,
        RetryCause::Gone,
        RetryCause::Reset,
        RetryCause::Timeout,
        RetryCause::Status,
    ]);

    const fn as_str(self) -> &'static str {
        match self {
            RetryCause::Connect => "connect_failed",
            RetryCause::Refused => "refused",
            RetryCause::Gone => "connection_ended",
            RetryCause::Reset => "upstream_reset",
            RetryCause::Timeout => "backend_timeout",
            RetryCause::Status => "status",
        }
    }
}

impl RetrySkip {
    const WORDS: [&str; 3] = words!([RetrySkip::BodyTooLarge, RetrySkip::NotIdempotent, RetrySkip::Deadline]);

    const fn as_str(self) -> &'static str {
        match self {
            RetrySkip::BodyTooLarge => "body_too_large",
            RetrySkip::NotIdempotent => "not_idempotent",
            RetrySkip::Deadline => "deadline",
        }
    }
}

impl RetryMetrics {
    pub(super) fn new() -> Self {
        let counter = |family: Family| IntCounterVec::new(family.opts(), family.labels).ok();
        RetryMetrics { sent: counter(SENT), skipped: counter(SKIPPED) }
    }

    pub(super) fn register(&self, registry: &Registry) {
        register(registry, self.sent.clone());
        register(registry, self.skipped.clone());
    }

    /// A request is sent again.
    pub fn sent(&self, cause: RetryCause) {
        if let Some(sent) = &self.sent {
            sent.with_label_values(&[cause.as_str()]).inc();
        }
    }

    /// A request is not sent again.
    pub fn skipped(&self, why: RetrySkip) {
        if let Some(skipped) = &self.skipped {
            skipped.with_label_values(&[why.as_str()]).inc();
        }
    }
}
