//! Bounds in time and what is tried again, with durations as the Gateway API writes them (GEP-2257).

use std::fmt::{self, Write};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::snapshot::filter::{Retry, Timeouts};

/// Bounds in time; what has none is absent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TimeoutsView {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    request: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    backend_request: Option<String>,
}

/// When a request is sent again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryView {
    attempts: u32,
    codes: Vec<u16>,
    backoff: String,
}

impl TimeoutsView {
    /// The bounds, if there are any.
    #[must_use]
    pub fn of(timeouts: Timeouts) -> Option<TimeoutsView> {
        let view =
            TimeoutsView { request: timeouts.request.map(written), backend_request: timeouts.backend.map(written) };
        (!timeouts.is_none()).then_some(view)
    }
}

impl RetryView {
    /// The view of a retry.
    #[must_use]
    pub fn of(retry: &Retry) -> RetryView {
        RetryView { attempts: retry.attempts, codes: retry.codes.to_vec(), backoff: written(retry.backoff) }
    }
}

/// A duration, to the millisecond: `1m30s`, `250ms`, `0s`.
#[must_use]
pub fn written(duration: Duration) -> String {
    let (seconds, milliseconds) = (duration.as_secs(), duration.subsec_millis());
    let units = [(seconds / 3600, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s"), (u64::from(milliseconds), "ms")];
    let mut text = String::new();
    for (count, unit) in units.into_iter().filter(|(count, _)| *count > 0) {
        let _ = write!(text, "{count}{unit}");
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

impl fmt::Display for TimeoutsView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = self.request.iter().map(|time| format!("request {time}"));
        let one = self.backend_request.iter().map(|time| format!("backendRequest {time}"));
        f.write_str(&whole.chain(one).collect::<Vec<_>>().join(", "))
    }
}

impl fmt::Display for RetryView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.attempts == 0 {
            return f.write_str("never (attempts 0)");
        }
        write!(f, "attempts {}, on connection errors", self.attempts)?;
        for code in &self.codes {
            write!(f, ", {code}")?;
        }
        write!(f, ", backoff {}", self.backoff)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_written_as_a_route_has_it() {
        for (milliseconds, text) in
            [(0, "0s"), (1, "1ms"), (1500, "1s500ms"), (90_000, "1m30s"), (3_600_000, "1h"), (86_400_000, "24h")]
        {
            assert_eq!(written(Duration::from_millis(milliseconds)), text);
        }
    }
}
