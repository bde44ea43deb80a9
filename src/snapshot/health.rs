//! Health of one endpoint: shared by every route and every worker, written by the data plane alone. It belongs to
//! the address within its upstream and outlives snapshots and endpoint changes.
//!
//! Two judges write here: active checks, and passive ejection, which counts what requests meet. Both write only
//! where something changes, so that a healthy endpoint is read by all cores and written by none. The time is
//! given: as the time since some moment that is one for the whole process.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::policy::Ejection;

/// What is known of an endpoint's health.
#[derive(Debug)]
pub struct EndpointHealth {
    /// What active checks say; healthy until they say otherwise.
    checked: AtomicBool,
    /// Failures in a row.
    failures: AtomicU32,
    /// Ejections in a row.
    ejections: AtomicU32,
    /// When the ejection is over, in milliseconds; 0 is none.
    until: AtomicU64,
    /// When the last ejection ended with an answer, in milliseconds.
    readmitted: AtomicU64,
    in_use: InUse,
}

/// Connections in use, over all workers; counted only where they are limited. On a cache line of its own, since
/// each request writes it.
#[derive(Debug, Default)]
#[repr(align(64))]
struct InUse(AtomicU32);

/// Where an endpoint stands with passive ejection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It takes part.
    Admitted,
    /// The time of its ejection is over: one request may [try](EndpointHealth::try_again) it.
    Due,
    /// It is left out.
    Ejected,
}

impl Default for EndpointHealth {
    fn default() -> Self {
        EndpointHealth {
            checked: AtomicBool::new(true),
            failures: AtomicU32::new(0),
            ejections: AtomicU32::new(0),
            until: AtomicU64::new(0),
            readmitted: AtomicU64::new(0),
            in_use: InUse::default(),
        }
    }
}

impl EndpointHealth {
    /// Whether active checks hold it for healthy; without any it is.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.checked.load(Relaxed)
    }

    /// An active check has come to a judgement; whether it is another one than before.
    pub fn judge(&self, healthy: bool) -> bool {
        self.checked.swap(healthy, Relaxed) != healthy
    }

    /// Where it stands. The time is asked for only where it matters.
    pub fn standing(&self, now: impl FnOnce() -> Duration) -> Standing {
        match self.until.load(Relaxed) {
            0 => Standing::Admitted,
            until if until <= millis(now()) => Standing::Due,
            _ => Standing::Ejected,
        }
    }

    /// Takes the right to try an endpoint that is due. For `lease` nobody else gets it; if nothing comes of the
    /// request in that time, the next one may try.
    pub fn try_again(&self, lease: Duration, now: Duration) -> bool {
        let until = self.until.load(Relaxed);
        let next = millis(now.saturating_add(lease));
        until != 0 && until <= millis(now) && self.until.compare_exchange(until, next, Relaxed, Relaxed).is_ok()
    }

    /// It takes part again, whatever it was; whether it was ejected.
    pub fn readmit(&self, now: Duration) -> bool {
        let was_out = self.until.load(Relaxed) != 0 && self.until.swap(0, Relaxed) != 0;
        if was_out {
            self.readmitted.store(millis(now), Relaxed);
        }
        self.forgive();
        was_out
    }

    /// Forgets failures; how many there were.
    pub fn forgive(&self) -> u32 {
        if self.failures.load(Relaxed) == 0 { 0 } else { self.failures.swap(0, Relaxed) }
    }

    /// Counts failures; how many there are now in a row.
    pub fn fail(&self, failures: u32) -> u32 {
        self.failures.fetch_add(failures, Relaxed).saturating_add(failures)
    }

    /// Leaves it out; for how long, or `None` if somebody else has done so.
    pub fn eject(&self, policy: &Ejection, now: Duration) -> Option<Duration> {
        let since = Duration::from_millis(self.readmitted.load(Relaxed));
        let ejections = forgiven(policy, self.ejections.load(Relaxed), now.saturating_sub(since));
        self.eject_from(0, ejections, policy, now)
    }

    /// Leaves it out again: the request that [tried](Self::try_again) it has failed.
    pub fn eject_again(&self, policy: &Ejection, now: Duration) -> Option<Duration> {
        let until = self.until.load(Relaxed);
        if until == 0 {
            return None;
        }
        self.eject_from(until, self.ejections.load(Relaxed), policy, now)
    }

    /// Takes one of `limit` connections in use; whether there was one.
    pub fn take_connection(&self, limit: u32) -> bool {
        let take = |used: u32| (used < limit).then_some(used + 1);
        self.in_use.0.fetch_update(Relaxed, Relaxed, take).is_ok()
    }

    /// Gives a connection back that was taken.
    pub fn give_connection_back(&self) {
        self.in_use.0.fetch_sub(1, Relaxed);
    }

    fn eject_from(&self, seen: u64, ejections: u32, policy: &Ejection, now: Duration) -> Option<Duration> {
        let time = ejection_time(policy, ejections);
        let until = millis(now.saturating_add(time)).max(1);
        self.until.compare_exchange(seen, until, Relaxed, Relaxed).ok()?;
        self.ejections.store(ejections.saturating_add(1), Relaxed);
        self.failures.store(0, Relaxed);
        Some(time)
    }
}

/// How long the next ejection is after `before` of them in a row.
fn ejection_time(policy: &Ejection, before: u32) -> Duration {
    policy.base_time.saturating_mul(1 << before.min(30)).min(policy.max_time)
}

/// Ejections that still count after good service: each spell as long as the last ejection takes one back.
fn forgiven(policy: &Ejection, mut ejections: u32, mut good: Duration) -> u32 {
    while let Some(before) = ejections.checked_sub(1) {
        match good.checked_sub(ejection_time(policy, before)) {
            Some(rest) => (good, ejections) = (rest, before),
            None => break,
        }
    }
    ejections
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(1_000 + seconds)
    }

    #[test]
    fn the_time_of_ejection_doubles_up_to_its_bound_and_comes_back_after_good_service() {
        let (health, policy) = (EndpointHealth::default(), Ejection::default());
        assert_eq!(health.standing(|| at(0)), Standing::Admitted);
        assert_eq!(health.eject(&policy, at(0)), Some(Duration::from_secs(5)));
        assert_eq!(health.eject(&policy, at(0)), None, "it is out already");
        let mut now = at(0);
        let mut last = 5;
        for expected in [10, 20, 40, 80, 160, 300, 300] {
            now += Duration::from_secs(last - 1);
            assert_eq!(health.standing(|| now), Standing::Ejected);
            now += Duration::from_secs(1);
            assert_eq!(health.standing(|| now), Standing::Due);
            assert!(health.try_again(policy.base_time, now));
            assert!(!health.try_again(policy.base_time, now), "one request at a time");
            assert_eq!(health.eject_again(&policy, now), Some(Duration::from_secs(expected)));
            last = expected;
        }
        now += Duration::from_secs(last);
        assert!(health.try_again(policy.base_time, now) && health.readmit(now));
        assert_eq!(health.standing(|| now), Standing::Admitted);
        assert!(!health.readmit(now), "it takes part already");
        // Eight ejections in a row; 300 + 300 s take two back, and the seventh is 160 * 2, bounded.
        assert_eq!(forgiven(&policy, 8, Duration::from_secs(299)), 8);
        assert_eq!(forgiven(&policy, 8, Duration::from_mins(10)), 6);
        assert_eq!(health.eject(&policy, now + Duration::from_hours(1)), Some(Duration::from_secs(5)));
    }

    #[test]
    fn a_try_that_nothing_comes_of_keeps_others_away_for_its_lease_only() {
        let (health, policy) = (EndpointHealth::default(), Ejection::default());
        health.eject(&policy, at(0));
        assert!(health.try_again(Duration::from_secs(2), at(5)));
        assert!(!health.try_again(Duration::from_secs(2), at(6)));
        assert!(health.try_again(Duration::from_secs(2), at(7)));
    }

    #[test]
    fn failures_count_in_a_row() {
        let health = EndpointHealth::default();
        assert_eq!((health.fail(1), health.fail(1)), (1, 2));
        assert_eq!((health.forgive(), health.forgive()), (2, 0));
        assert_eq!(health.fail(1), 1);
    }

    #[test]
    fn no_more_connections_than_allowed() {
        let health = EndpointHealth::default();
        assert!(health.take_connection(2) && health.take_connection(2) && !health.take_connection(2));
        health.give_connection_back();
        assert!(health.take_connection(2));
        assert!(health.judge(false) && !health.judge(false) && !health.is_healthy());
    }
}
