//! Durations of GEP-2257: `^([0-9]{1,5}(h|m|s|ms)){1,4}$`, so no fractions, no bare numbers, at most 45 years.

use std::time::Duration;

/// Longest unit first where one begins with another.
const UNITS: [(&str, u64); 4] = [("ms", 1), ("h", 3_600_000), ("m", 60_000), ("s", 1000)];

/// The duration that a text says; `None` if it says none.
pub fn parse(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut milliseconds = 0u64;
    for _ in 0..4 {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = rest.split_at_checked(digits).filter(|_| (1..=5).contains(&digits))?;
        let (name, factor) = UNITS.into_iter().find(|(name, _)| unit.starts_with(name))?;
        milliseconds += number.parse::<u64>().ok()? * factor;
        rest = unit.strip_prefix(name)?;
        if rest.is_empty() {
            return Some(Duration::from_millis(milliseconds));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_add_up() {
        let cases = [
            ("0s", 0),
            ("500ms", 500),
            ("10s", 10_000),
            ("1m", 60_000),
            ("1h30m", 5_400_000),
            ("1h1m1s1ms", 3_661_001),
            ("1s1s", 2000),
            ("00001s", 1000),
            ("99999h99999h99999h99999h", 1_439_985_600_000),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text), Some(Duration::from_millis(expected)), "{text}");
        }
    }

    #[test]
    fn what_gep_2257_does_not_have_is_none() {
        for text in
            ["", "1", "s", "1.5s", "-1s", "+1s", "1us", "1d", "1S", "100000s", "1s ", " 1s", "1h1m1s1ms1ms", "١s"]
        {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
