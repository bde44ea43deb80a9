//! JSON values, written by hand: each request writes twenty of them, and what a general serializer must ask of each
//! value costs more than the value. Text that needs escaping, which is rare, is left to serde_json.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Decimal digits of the greatest `u64`.
const DIGITS: usize = 20;

/// A string.
pub(super) fn text(line: &mut Vec<u8>, value: &str) {
    joined(line, value, None);
}

/// A string of this program's own, in which nothing needs escaping.
pub(super) fn word(line: &mut Vec<u8>, value: &'static str) {
    line.push(b'"');
    line.extend_from_slice(value.as_bytes());
    line.push(b'"');
}

/// Two parts with a slash between them, as one string.
pub(super) fn joined(line: &mut Vec<u8>, first: &str, second: Option<&str>) {
    line.push(b'"');
    escaped(line, first);
    if let Some(second) = second {
        line.push(b'/');
        escaped(line, second);
    }
    line.push(b'"');
}

/// A whole number.
pub(super) fn number(line: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0; DIGITS];
    let mut used = 0;
    for digit in digits.iter_mut().rev() {
        // always below ten
        *digit = b'0' + u8::try_from(value % 10).unwrap_or_default();
        value /= 10;
        used += 1;
        if value == 0 {
            break;
        }
    }
    line.extend_from_slice(digits.get(DIGITS - used..).unwrap_or_default());
}

/// Milliseconds, to the microsecond, always with a point: `12.345`, `12.0`.
pub(super) fn milliseconds(line: &mut Vec<u8>, duration: Duration) {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    number(line, micros / 1000);
    line.push(b'.');
    let mut rest = micros % 1000;
    let mut place = 100;
    loop {
        number(line, rest / place);
        rest %= place;
        if rest == 0 {
            break;
        }
        place /= 10;
    }
}

/// Address and port, as `SocketAddr` shows itself, as a string; without the port where it is 0, which stands for none.
pub(super) fn address(line: &mut Vec<u8>, address: SocketAddr) {
    line.push(b'"');
    match address {
        SocketAddr::V4(address) => {
            for (place, octet) in address.ip().octets().into_iter().enumerate() {
                if place > 0 {
                    line.push(b'.');
                }
                number(line, octet.into());
            }
            if address.port() != 0 {
                line.push(b':');
                number(line, address.port().into());
            }
        }
        // A `Vec` takes everything.
        SocketAddr::V6(address) if address.port() == 0 => drop(write!(line, "{}", IpAddr::V6(*address.ip()))),
        SocketAddr::V6(address) => drop(write!(line, "{address}")),
    }
    line.push(b'"');
}

/// RFC 8259, 7: "All Unicode characters may be placed within the quotation marks, except for the characters that MUST be
/// escaped: quotation mark, reverse solidus, and the control characters (U+0000 through U+001F)."
fn escaped(line: &mut Vec<u8>, value: &str) {
    let is_plain = |byte: &u8| *byte >= b' ' && *byte != b'"' && *byte != b'\\';
    // Not `all`: without a way out the loop looks at sixteen bytes at a time.
    if value.as_bytes().iter().fold(true, |plain, byte| plain & is_plain(byte)) {
        line.extend_from_slice(value.as_bytes());
        return;
    }
    let start = line.len();
    // A `Vec` takes everything. The quotation marks around it are not wanted here.
    let _ = serde_json::to_writer(&mut *line, value);
    line.remove(start);
    line.pop();
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut line = Vec::new();
        write(&mut line);
        String::from_utf8(line).unwrap()
    }

    proptest! {
        #[test]
        fn what_is_written_is_what_a_parser_reads(value in ".*", other in any::<String>(), whole: u64, micros in 0..1u64 << 50) {
            let read = |json: String| serde_json::from_str::<serde_json::Value>(&json).unwrap();
            prop_assert_eq!(read(written(|line| text(line, &value))), value.clone());
            prop_assert_eq!(read(written(|line| joined(line, &value, Some(&other)))), format!("{value}/{other}"));
            prop_assert_eq!(written(|line| number(line, whole)), whole.to_string());
            let time = written(|line| milliseconds(line, Duration::from_micros(micros)));
            prop_assert_eq!(read(time), serde_json::json!(micros as f64 / 1000.0));
        }

        #[test]
        fn addresses_show_themselves(v4: std::net::SocketAddrV4, v6: std::net::SocketAddrV6) {
            for one in [SocketAddr::V4(v4), SocketAddr::V6(v6)] {
                let expected = if one.port() == 0 { one.ip().to_string() } else { one.to_string() };
                prop_assert_eq!(written(|line| address(line, one)), format!("\"{expected}\""));
                let bare = SocketAddr::new(one.ip(), 0);
                prop_assert_eq!(written(|line| address(line, bare)), format!("\"{}\"", one.ip()));
            }
        }
    }

    #[test]
    fn times_have_as_many_digits_as_they_need() {
        for (micros, expected) in [(0, "0.0"), (1, "0.001"), (12_000, "12.0"), (12_340, "12.34"), (12_305, "12.305")] {
            assert_eq!(written(|line| milliseconds(line, Duration::from_micros(micros))), expected);
        }
    }
}
