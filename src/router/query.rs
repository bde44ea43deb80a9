//! The query of a request, read without a copy.
//!
//! In comes what stands behind `?`, as it was sent; out goes the raw value of a parameter, and comparisons with
//! it as if it were decoded. Pairs are parted by `&`; `+` is a space, `%41` is `A`, a malformed triplet stands for
//! itself (as in the URL standard's form encoding).

/// Longest decoded value that a regular expression is tried on, in bytes: more than a request line may be long.
pub const MAX_DECODED: usize = 16 * 1024;

/// Most values are short: those get a buffer that costs nothing to lay out.
const SHORT: usize = 128;

/// The raw value of the first parameter of that (decoded) name; `a` without `=` has the empty value.
#[must_use]
pub fn first_value<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    query.split('&').filter(|pair| !pair.is_empty()).find_map(|pair| {
        let (found, value) = pair.split_once('=').unwrap_or((pair, ""));
        is_equal(found, name.as_bytes()).then_some(value)
    })
}

/// Whether `raw`, decoded, is `plain`, byte by byte.
#[must_use]
pub fn is_equal(raw: &str, plain: &[u8]) -> bool {
    if is_plain(raw) { raw.as_bytes() == plain } else { decode(raw).eq(plain.iter().copied()) }
}

/// Whether `raw`, decoded, is UTF-8 that the test takes. Nothing is copied to the heap; a decoded value of more than
/// [`MAX_DECODED`] bytes is not taken.
#[must_use]
pub fn is_taken(raw: &str, test: impl FnOnce(&str) -> bool) -> bool {
    if is_plain(raw) {
        test(raw)
    } else if raw.len() <= SHORT {
        decode_into(raw, &mut [0; SHORT], test)
    } else {
        is_long_taken(raw, test)
    }
}

/// Apart, so that only long values pay for the large frame.
#[inline(never)]
fn is_long_taken(raw: &str, test: impl FnOnce(&str) -> bool) -> bool {
    decode_into(raw, &mut [0; MAX_DECODED], test)
}

fn decode_into(raw: &str, buffer: &mut [u8], test: impl FnOnce(&str) -> bool) -> bool {
    let mut length = 0;
    for byte in decode(raw) {
        let Some(place) = buffer.get_mut(length) else {
            return false;
        };
        *place = byte;
        length += 1;
    }
    buffer.get(..length).and_then(|bytes| std::str::from_utf8(bytes).ok()).is_some_and(test)
}

fn is_plain(raw: &str) -> bool {
    !raw.bytes().any(|b| b == b'%' || b == b'+')
}

/// The decoded bytes.
pub(super) fn decode(raw: &str) -> impl Iterator<Item = u8> {
    let mut rest = raw.as_bytes();
    std::iter::from_fn(move || {
        let (byte, after) = match rest {
            [b'%', high, low, after @ ..] if hex(*high).is_some() && hex(*low).is_some() => {
                (hex(*high)? << 4 | hex(*low)?, after)
            }
            [b'+', after @ ..] => (b' ', after),
            [byte, after @ ..] => (*byte, after),
            [] => return None,
        };
        rest = after;
        Some(byte)
    })
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_repeated_parameter_counts() {
        assert_eq!(first_value("a=1&a=2", "a"), Some("1"));
        assert_eq!(first_value("b=0&a&a=2", "a"), Some(""));
        assert_eq!(first_value("aa=1&=2&&ba=3", "a"), None);
        assert_eq!(first_value("a=b=c", "a"), Some("b=c"));
        assert_eq!(first_value("", "a"), None);
        assert_eq!(first_value("a=1;b=2", "b"), None);
    }

    #[test]
    fn names_and_values_are_compared_decoded() {
        assert_eq!(first_value("%61=1", "a"), Some("1"));
        assert_eq!(first_value("a+b=1", "a b"), Some("1"));
        for (raw, plain) in
            [("a%20b", "a b"), ("a+b", "a b"), ("%2B", "+"), ("%zz%4", "%zz%4"), ("%C3%A4", "ä"), ("%", "%")]
        {
            assert!(is_equal(raw, plain.as_bytes()), "{raw}");
        }
        for (raw, plain) in [("A", "a"), ("a%20", "a"), ("a", "a "), ("%2b", "%2b")] {
            assert!(!is_equal(raw, plain.as_bytes()), "{raw}");
        }
    }

    #[test]
    fn a_test_sees_the_decoded_value_whatever_its_length() {
        for length in [0, 1, SHORT - 3, SHORT, 1000, MAX_DECODED - 1] {
            let raw = format!("%41{}", "b".repeat(length));
            assert!(is_taken(&raw, |value| value.len() == length + 1 && value.starts_with("Ab")) || length == 0);
        }
        assert!(is_taken("plain", |value| value == "plain"));
    }

    #[test]
    fn what_is_not_utf8_or_too_long_is_not_taken() {
        assert!(!is_taken("%FF", |_| true));
        assert!(!is_taken(&format!("%41{}", "b".repeat(MAX_DECODED)), |_| true));
    }
}
