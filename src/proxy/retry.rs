//! Whether a request is sent again, and after which pause: one table. Pure; what failed and what the rule says come
//! in, a verdict goes out. Nothing is known here of connections or endpoints.
//!
//! A rule without `retry` sends again only what no endpoint has processed, at once, and few times. With `retry`:
//!
//! | a try failed | is sent again |
//! |---|---|
//! | no connection, refused stream, GOAWAY | with every method |
//! | a kept connection had ended, a reset after sending, an answer that is not HTTP, `backendRequest` over | with idempotent methods (RFC 9110, 9.2.2) only |
//! | an answer with one of `codes` | with every method: the route says so |
//!
//! Never once an answer has begun, nor where the body is beyond what is kept to be sent again (64 KiB), nor after
//! `request`. `attempts` counts what is sent beside the first try; 0 leaves what a rule without `retry` has.

use std::time::Duration;

use crate::snapshot::Retry;
use crate::telemetry::{RetryCause, RetrySkip};

/// Endpoints that are connected to for one request whose rule has no tries left, or none to begin with.
const FREE_ENDPOINTS: usize = 3;
/// Times that such a request is sent again.
const FREE_RETRIES: u32 = 5;

/// The pause never grows beyond so many base intervals …
const LONGEST_IN_BASES: u32 = 10;
/// … nor beyond this.
const LONGEST: Duration = Duration::from_secs(30);

/// How a try failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failed {
    /// No connection: refused, not in time, no TLS.
    Connect,
    /// The endpoint says that it has not processed the request: GOAWAY, REFUSED_STREAM.
    Refused,
    /// The connection was kept from before and had ended.
    Gone,
    /// The endpoint broke off, or its answer is not HTTP.
    Reset,
    /// The time for one try was over.
    Slow,
    /// The answer has a status that may be worth another try.
    Status(u16),
}

/// What else a verdict rests on.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// What the rule says.
    pub rule: Option<&'a Retry>,
    /// Whether the method is idempotent.
    pub idempotent: bool,
    /// Whether all of the body that was read can be sent again.
    pub replayable: bool,
}

/// What is done about a failed try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Another one at once.
    AtOnce,
    /// Another one after a pause of at least half this and at most this.
    After(Duration),
    /// No other one. Why not, where the rule would have it.
    Final(Option<RetrySkip>),
}

/// What was tried for a request so far.
#[derive(Debug, Default)]
pub struct Count {
    by_rule: u32,
    free: u32,
    connects: usize,
    pauses: u32,
}

impl Failed {
    /// As metrics say it.
    pub fn cause(self) -> RetryCause {
        match self {
            Failed::Connect => RetryCause::Connect,
            Failed::Refused => RetryCause::Refused,
            Failed::Gone => RetryCause::Gone,
            Failed::Reset => RetryCause::Reset,
            Failed::Slow => RetryCause::Timeout,
            Failed::Status(_) => RetryCause::Status,
        }
    }
}

impl Count {
    /// Whether anything was sent again because the rule says so.
    pub fn used_rule(&self) -> bool {
        self.by_rule > 0
    }

    /// Whether anything was sent again.
    pub fn retried(&self) -> bool {
        self.by_rule + self.free > 0
    }

    /// Judges a failed try; another one that is granted is counted. `untried`: there is an endpoint that was not tried.
    pub fn judge(&mut self, failed: Failed, untried: bool, facts: Facts<'_>) -> Verdict {
        self.connects += usize::from(failed == Failed::Connect);
        let left = facts.rule.filter(|rule| self.by_rule < rule.attempts);
        let by_rule = left.filter(|rule| match failed {
            Failed::Connect | Failed::Refused => true,
            Failed::Gone | Failed::Reset | Failed::Slow => facts.idempotent,
            Failed::Status(code) => rule.codes.contains(&code),
        });
        if by_rule.is_none() && !self.is_free(failed, untried, facts) {
            let unsafe_to = matches!(failed, Failed::Gone | Failed::Reset | Failed::Slow) && !facts.idempotent;
            return Verdict::Final(left.filter(|_| unsafe_to).map(|_| RetrySkip::NotIdempotent));
        }
        if !facts.replayable {
            return Verdict::Final(Some(RetrySkip::BodyTooLarge));
        }
        let Some(rule) = by_rule else {
            self.free += 1;
            return Verdict::AtOnce;
        };
        self.by_rule += 1;
        if failed == Failed::Connect && untried {
            return Verdict::AtOnce; // the endpoint that comes next has done nothing to be waited for
        }
        let pause = longest_pause(rule.backoff, self.pauses);
        self.pauses = self.pauses.saturating_add(1);
        if pause.is_zero() { Verdict::AtOnce } else { Verdict::After(pause) }
    }

    /// Whether a request that nobody has processed is sent again without a rule that says so.
    fn is_free(&self, failed: Failed, untried: bool, facts: Facts<'_>) -> bool {
        self.free < FREE_RETRIES
            && match failed {
                Failed::Connect => untried && self.connects < FREE_ENDPOINTS,
                Failed::Refused => true,
                // The endpoint has most likely closed it for being idle, but nobody can know. RFC 9110, 9.2.2:
                // "A proxy MUST NOT automatically retry non-idempotent requests."
                Failed::Gone => facts.idempotent,
                // It has read the request and may have acted on it: even a safe one that brings an endpoint down
                // must not visit the next unless the route says so.
                Failed::Reset | Failed::Slow | Failed::Status(_) => false,
            }
    }
}

/// A part of `longest` between its half and its whole, so that many that failed together do not come back together.
pub fn jittered(longest: Duration, random: u64) -> Duration {
    let half = longest / 2;
    // The upper 32 bits, as a fraction of 2^32.
    let nanos = u64::try_from(longest.saturating_sub(half).as_nanos()).unwrap_or(u64::MAX);
    half + Duration::from_nanos(u64::try_from((u128::from(nanos) * u128::from(random >> 32)) >> 32).unwrap_or(nanos))
}

/// Doubles with each pause, up to its bounds.
fn longest_pause(base: Duration, pauses: u32) -> Duration {
    let grown = base.saturating_mul(1 << pauses.min(16));
    // A base beyond the bound is what the route asks for.
    grown.min(base.saturating_mul(LONGEST_IN_BASES)).min(LONGEST.max(base))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(attempts: u32, codes: &[u16]) -> Retry {
        Retry { codes: codes.into(), attempts, backoff: Duration::from_millis(20) }
    }

    fn facts(rule: Option<&Retry>) -> Facts<'_> {
        Facts { rule, idempotent: true, replayable: true }
    }

    const FINAL: Verdict = Verdict::Final(None);

    #[test]
    fn without_a_rule_only_what_was_not_processed_is_sent_again() {
        let judge = |failed, untried, facts| Count::default().judge(failed, untried, facts);
        let get = facts(None);
        let post = Facts { idempotent: false, ..get };
        assert_eq!(judge(Failed::Connect, true, get), Verdict::AtOnce);
        assert_eq!(judge(Failed::Connect, true, post), Verdict::AtOnce);
        assert_eq!(judge(Failed::Connect, false, get), FINAL);
        assert_eq!(judge(Failed::Refused, false, post), Verdict::AtOnce);
        assert_eq!(judge(Failed::Gone, false, get), Verdict::AtOnce);
        assert_eq!(judge(Failed::Gone, true, post), FINAL);
        for failed in [Failed::Reset, Failed::Slow, Failed::Status(503)] {
            assert_eq!(judge(failed, true, get), FINAL);
        }
    }

    #[test]
    fn without_a_rule_tries_are_few() {
        let many = |failed| {
            let mut count = Count::default();
            (0..100).take_while(|_| count.judge(failed, true, facts(None)) == Verdict::AtOnce).count()
        };
        assert_eq!(many(Failed::Connect), 2); // three endpoints
        assert_eq!(many(Failed::Refused), 5);
    }

    #[test]
    fn no_attempts_is_as_no_rule() {
        let none = rule(0, &[500]);
        assert_eq!(Count::default().judge(Failed::Status(500), false, facts(Some(&none))), FINAL);
        assert_eq!(Count::default().judge(Failed::Connect, true, facts(Some(&none))), Verdict::AtOnce);
    }

    #[test]
    fn attempts_are_tries_beside_the_first() {
        let three = rule(3, &[500, 503]);
        let mut count = Count::default();
        for _ in 0..3 {
            assert!(matches!(count.judge(Failed::Status(500), false, facts(Some(&three))), Verdict::After(_)));
        }
        assert_eq!(count.judge(Failed::Status(500), false, facts(Some(&three))), FINAL);
        assert_eq!(Count::default().judge(Failed::Status(502), false, facts(Some(&three))), FINAL);
    }

    #[test]
    fn what_may_have_been_processed_is_sent_again_only_where_that_is_harmless() {
        let rule = rule(3, &[503]);
        let post = Facts { idempotent: false, ..facts(Some(&rule)) };
        for failed in [Failed::Gone, Failed::Reset, Failed::Slow] {
            assert!(matches!(Count::default().judge(failed, false, facts(Some(&rule))), Verdict::After(_)));
            let verdict = Count::default().judge(failed, false, post);
            assert_eq!(verdict, Verdict::Final(Some(RetrySkip::NotIdempotent)));
        }
        for failed in [Failed::Connect, Failed::Refused, Failed::Status(503)] {
            assert!(matches!(Count::default().judge(failed, false, post), Verdict::After(_)));
        }
    }

    #[test]
    fn a_body_that_is_not_kept_is_not_sent_again() {
        let rule = rule(3, &[503]);
        let large = Facts { replayable: false, ..facts(Some(&rule)) };
        let skipped = Verdict::Final(Some(RetrySkip::BodyTooLarge));
        assert_eq!(Count::default().judge(Failed::Status(503), false, large), skipped);
        assert_eq!(Count::default().judge(Failed::Status(404), false, large), FINAL);
    }

    #[test]
    fn pauses_double_up_to_ten_bases_and_a_fresh_endpoint_is_not_waited_for() {
        let rule = rule(100, &[]);
        let mut count = Count::default();
        assert_eq!(count.judge(Failed::Connect, true, facts(Some(&rule))), Verdict::AtOnce);
        let mut pauses = Vec::new();
        for _ in 0..6 {
            match count.judge(Failed::Connect, false, facts(Some(&rule))) {
                Verdict::After(pause) => pauses.push(pause.as_millis()),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(pauses, [20, 40, 80, 160, 200, 200]);
        assert_eq!(longest_pause(Duration::from_secs(20), 3), Duration::from_secs(30));
        assert_eq!(longest_pause(Duration::from_mins(1), 3), Duration::from_mins(1));
        assert_eq!(longest_pause(Duration::ZERO, 3), Duration::ZERO);
    }

    #[test]
    fn jitter_stays_between_the_half_and_the_whole() {
        let second = Duration::from_secs(1);
        assert_eq!(jittered(second, 0), second / 2);
        let most = jittered(second, u64::MAX);
        assert!(most <= second && second.saturating_sub(most) < Duration::from_micros(1), "{most:?}");
    }
}
