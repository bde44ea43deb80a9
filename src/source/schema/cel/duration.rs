//! Durations as rules write them: `1h30m`, `1.5s`, `-2ms`, `0`.

/// Nanoseconds of a duration; none if the text is not one or it is too long (about 292 years).
#[must_use]
pub fn parse(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, text.get(1..)?),
        b'+' => (false, text.get(1..)?),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let (number, after) = split(rest, |c| c.is_ascii_digit() || c == '.');
        let (unit, after) = split(after, |c| !c.is_ascii_digit() && c != '.');
        rest = after;
        total = total.checked_add(nanoseconds(number, unit_of(unit)?)?)?;
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

fn split(text: &str, mut part: impl FnMut(char) -> bool) -> (&str, &str) {
    let end = text.find(|c| !part(c)).unwrap_or(text.len());
    text.split_at(end)
}

fn unit_of(unit: &str) -> Option<i128> {
    Some(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

fn nanoseconds(number: &str, unit: i128) -> Option<i128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || whole.len() > 19 {
        return None;
    }
    let mut total = if whole.is_empty() { 0 } else { whole.parse::<i128>().ok()?.checked_mul(unit)? };
    let mut scale = unit;
    for digit in fraction.chars() {
        scale /= 10;
        total += i128::from(digit.to_digit(10)?) * scale;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn units_add_up() {
        assert_eq!(parse("1h30m"), Some(5_400_000_000_000));
        assert_eq!(parse("1.5s"), Some(1_500_000_000));
        assert_eq!(parse("-2ms"), Some(-2_000_000));
        assert_eq!(parse("0"), Some(0));
        assert_eq!(parse("0s"), Some(0));
        assert_eq!(parse("99999h99999h"), Some(719_992_800_000_000_000));
    }

    #[test]
    fn other_texts_are_no_durations() {
        for bad in ["", "-", "1", "s", "1d", "1h1", ".s", "1..5s", "9999999999999999999h", "1 s"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
