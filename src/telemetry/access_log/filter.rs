//! Which requests get a line.

use std::hash::{BuildHasher, RandomState};
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::telemetry::RequestRecord;

/// Which requests get a line: those that one of the two conditions takes, or all if neither is given; of these, the
/// share that is drawn. What was answered with 5xx, or not at all, is never left out of the draw.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    /// Status codes; 0 is a request without an answer. Empty is no condition.
    pub codes: Vec<RangeInclusive<u16>>,
    /// Least time that it took. `None` is no condition.
    pub duration: Option<Duration>,
    /// Share of the others, 0 to 1.
    pub sample: f64,
}

/// Draws numbers, for one thread.
#[derive(Debug)]
pub(super) struct Dice(u64);

impl Default for Filter {
    /// All of them.
    fn default() -> Self {
        Filter { codes: Vec::new(), duration: None, sample: 1.0 }
    }
}

impl Filter {
    pub(super) fn passes(&self, record: &RequestRecord<'_>, dice: &mut Dice) -> bool {
        self.takes(record) && (self.sample >= 1.0 || is_failure(record.code) || dice.roll() < self.sample)
    }

    fn takes(&self, record: &RequestRecord<'_>) -> bool {
        self.codes.is_empty() && self.duration.is_none()
            || self.codes.iter().any(|codes| codes.contains(&record.code))
            || self.duration.is_some_and(|least| record.duration >= least)
    }
}

fn is_failure(code: u16) -> bool {
    code == 0 || code >= 500
}

impl Dice {
    /// Another sequence for each.
    pub(super) fn new() -> Self {
        Dice(RandomState::new().hash_one(0))
    }

    /// From 0 to just below 1.
    #[allow(clippy::cast_precision_loss, reason = "53 bits fit")]
    fn roll(&mut self) -> f64 {
        // SplitMix64: every start gives another sequence, and the low bits are left out.
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::request::sample;

    fn passes(filter: &Filter, code: u16, millis: u64) -> bool {
        let record = RequestRecord { code, duration: Duration::from_millis(millis), ..sample() };
        filter.passes(&record, &mut Dice::new())
    }

    #[test]
    fn either_condition_takes_a_request() {
        assert!(passes(&Filter::default(), 200, 0));
        let slow = Duration::from_millis(100);
        let both = Filter { codes: vec![400..=499, 0..=0], duration: Some(slow), sample: 1.0 };
        for (code, millis, taken) in [(404, 1, true), (200, 1, false), (200, 100, true), (500, 99, false), (0, 1, true)]
        {
            assert_eq!(passes(&both, code, millis), taken, "{code} {millis}");
        }
        let codes = Filter { duration: None, ..both.clone() };
        assert!(!passes(&codes, 200, 100_000));
        let durations = Filter { codes: Vec::new(), ..both };
        assert!(passes(&durations, 200, 100) && !passes(&durations, 404, 99));
    }

    #[test]
    fn the_draw_leaves_out_no_failure_and_keeps_its_share_of_the_rest() {
        let count = |filter: &Filter, code: u16| {
            let mut dice = Dice::new();
            let record = RequestRecord { code, ..sample() };
            (0..20_000).filter(|_| filter.passes(&record, &mut dice)).count()
        };
        let tenth = Filter { sample: 0.1, ..Filter::default() };
        let kept = count(&tenth, 200);
        assert!((1_700..2_300).contains(&kept), "{kept}");
        assert_eq!((count(&tenth, 500), count(&tenth, 0)), (20_000, 20_000));
        let none = Filter { sample: 0.0, ..Filter::default() };
        assert_eq!((count(&none, 404), count(&none, 503)), (0, 20_000));
        let not_even_failures = Filter { codes: vec![200..=299], ..none };
        assert_eq!(count(&not_even_failures, 503), 0);
    }
}
