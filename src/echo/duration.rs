//! Durations as the Gateway API writes them.

use std::time::Duration;

/// Reads a duration of GEP-2257: `^([0-9]{1,5}(h|m|s|ms)){1,4}$`. `None` if it is none.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    for _ in 0..4 {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = rest.split_at_checked(digits).filter(|(number, _)| (1..=5).contains(&number.len()))?;
        let number: u64 = number.parse().ok()?;
        // `ms` before `m`: the longer unit is meant where both fit.
        let (millis, after) = [("ms", 1), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)]
            .into_iter()
            .find_map(|(name, millis)| Some((millis, unit.strip_prefix(name)?)))?;
        total += Duration::from_millis(number * millis);
        rest = after;
        if rest.is_empty() {
            return Some(total);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_add_up() {
        for (text, millis) in [("0s", 0), ("1s", 1_000), ("250ms", 250), ("1m30s", 90_000), ("1h1m1s1ms", 3_661_001)] {
            assert_eq!(parse(text), Some(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn what_the_gep_does_not_allow_is_refused() {
        for text in ["", "1", "s", "1.5s", "-1s", "1us", "123456s", "1s1s1s1s1s", "1s ", " 1s", "1S", "é", "1é"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
