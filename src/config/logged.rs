//! The values of settings that say which requests are logged, and what of them.

use std::ops::RangeInclusive;

use super::Setting;

/// Status codes; none at all stands for every one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusCodes(pub Vec<RangeInclusive<u16>>);

impl Setting for StatusCodes {
    const ALLOWED: &'static str = "status codes, ranges and classes separated by commas, as 404,500-504,2xx; 0 is a \
                                   request without an answer";

    fn parse(text: &str) -> Option<Self> {
        if text.trim().is_empty() {
            return Some(StatusCodes(Vec::new()));
        }
        text.split(',').map(|part| codes(part.trim())).collect::<Option<_>>().map(StatusCodes)
    }
}

fn codes(text: &str) -> Option<RangeInclusive<u16>> {
    let code = |text: &str| {
        let digits = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u16>().ok().filter(|code| digits && (100..=599).contains(code))
    };
    if text == "0" {
        return Some(0..=0);
    }
    if let Some(class) = text.strip_suffix("xx") {
        let first = code(&format!("{class}00"))?;
        return Some(first..=first + 99);
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (code(first.trim())?, code(last.trim())?);
    (first <= last).then_some(first..=last)
}

/// A part of the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ratio {
    millionths: u32,
}

impl Ratio {
    const WHOLE: u32 = 1_000_000;

    /// From 0 to 1.
    #[must_use]
    pub fn value(self) -> f64 {
        f64::from(self.millionths) / f64::from(Ratio::WHOLE)
    }
}

impl Setting for Ratio {
    const ALLOWED: &'static str = "a number from 0 to 1 with at most six digits after the point, as 0.01";

    fn parse(text: &str) -> Option<Self> {
        let (whole, part) = text.split_once('.').map_or((text, "0"), |(whole, part)| (whole, part));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(part) || part.len() > 6 {
            return None;
        }
        let part: u32 = format!("{part:0<6}").parse().ok()?;
        let millionths = whole.parse::<u32>().ok()?.checked_mul(Ratio::WHOLE)?.checked_add(part)?;
        (millionths <= Ratio::WHOLE).then_some(Ratio { millionths })
    }
}

/// What becomes of a header in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderMode {
    /// Shown, unless it is or holds a credential.
    Careful,
    /// Shown as it is.
    Keep,
    /// Shown by its name.
    Redact,
    /// Not shown.
    Drop,
}

/// Headers in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedHeaders {
    /// By name, in lower case.
    pub named: Vec<(String, HeaderMode)>,
    /// All others.
    pub others: HeaderMode,
}

impl Setting for LoggedHeaders {
    const ALLOWED: &'static str = "names of headers separated by commas, each alone or with =keep, =redact or =drop, \
                                   as user-agent,referer,x-session=redact; * is all others";

    fn parse(text: &str) -> Option<Self> {
        let mut headers = LoggedHeaders { named: Vec::new(), others: HeaderMode::Drop };
        if text.trim().is_empty() {
            return Some(headers);
        }
        let mut others = None;
        for part in text.split(',') {
            let (name, mode) = match part.trim().split_once('=') {
                None => (part.trim(), HeaderMode::Careful),
                Some((name, "keep")) => (name, HeaderMode::Keep),
                Some((name, "redact")) => (name, HeaderMode::Redact),
                Some((name, "drop")) => (name, HeaderMode::Drop),
                Some(_) => return None,
            };
            let name = name.to_ascii_lowercase();
            if name == "*" {
                if others.replace(mode).is_some() {
                    return None;
                }
            } else if is_token(&name) && headers.named.iter().all(|(other, _)| *other != name) {
                headers.named.push((name, mode));
            } else {
                return None;
            }
        }
        headers.others = others.unwrap_or(HeaderMode::Drop);
        Some(headers)
    }
}

/// RFC 9110, 5.6.2: what a field name is made of.
fn is_token(text: &str) -> bool {
    let is = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'+-.^_`|~".contains(&byte);
    !text.is_empty() && text.len() <= 256 && text.bytes().all(is)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_numbers_ranges_and_classes() {
        let all = StatusCodes::parse("4xx, 5xx,200-204,301,0").unwrap();
        assert_eq!(all.0, [400..=499, 500..=599, 200..=204, 301..=301, 0..=0]);
        assert_eq!(StatusCodes::parse(""), Some(StatusCodes(Vec::new())));
        for wrong in ["6xx", "xx", "4XX", "99", "600", "204-200", "200-", "-", ",", "200,", "1", "+200", "0-200", "all"]
        {
            assert_eq!(StatusCodes::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_ratio_is_a_plain_number_up_to_one() {
        for (text, millionths) in [("0", 0), ("1", 1_000_000), ("1.0", 1_000_000), ("0.01", 10_000), ("0.000001", 1)] {
            assert_eq!(Ratio::parse(text), Some(Ratio { millionths }), "{text}");
        }
        for wrong in ["", "1.1", "2", "-0", ".5", "0.", "1e-3", "NaN", "0.0000001", "0,5", "50%"] {
            assert_eq!(Ratio::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn headers_are_named_once_with_what_becomes_of_them() {
        let headers = LoggedHeaders::parse("User-Agent, referer=keep,x-a=redact,x-b=drop,*").unwrap();
        let named = [
            ("user-agent", HeaderMode::Careful),
            ("referer", HeaderMode::Keep),
            ("x-a", HeaderMode::Redact),
            ("x-b", HeaderMode::Drop),
        ];
        assert_eq!(headers.named, named.map(|(name, mode)| (name.to_owned(), mode)));
        assert_eq!(headers.others, HeaderMode::Careful);
        for wrong in ["a,a", "*,*=keep", "a=show", "a b", "=keep", "a,", ",", "x:y", "a=keep=drop"] {
            assert_eq!(LoggedHeaders::parse(wrong), None, "{wrong}");
        }
    }
}
