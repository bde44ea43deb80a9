//! `?fail=N`: of the requests for one path and query, N fail and the next one does not, over and over. What a retry
//! makes of that shows at first sight, and again at the next.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Most paths that are kept count of; one more, and all counts begin anew.
const PATHS: usize = 1024;
/// Most failures in a row.
pub(super) const MOST: u32 = 100;

/// How often each path and query has failed in a row.
#[derive(Debug, Default)]
pub(super) struct Failing(Mutex<HashMap<String, u32>>);

impl Failing {
    /// Whether this request is one of the `wanted` that fail.
    pub(super) fn fails(&self, target: &str, wanted: u32) -> bool {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= PATHS && !counts.contains_key(target) {
            counts.clear();
        }
        let count = counts.entry(target.to_owned()).or_default();
        let fails = *count < wanted;
        *count = if fails { *count + 1 } else { 0 };
        fails
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_fail_and_the_next_one_does_not() {
        let failing = Failing::default();
        let seen: Vec<bool> = (0..7).map(|_| failing.fails("/a", 2)).collect();
        assert_eq!(seen, [true, true, false, true, true, false, true]);
        assert!(failing.fails("/b", 1) && !failing.fails("/b", 1));
        assert!(!failing.fails("/c", 0));
    }

    #[test]
    fn counts_are_bounded() {
        let failing = Failing::default();
        for number in 0..3 * PATHS {
            failing.fails(&number.to_string(), 1);
        }
        assert!(failing.0.lock().unwrap().len() <= PATHS);
    }
}
