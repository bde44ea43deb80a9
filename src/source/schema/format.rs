//! Forms of texts and numbers (`format:`), as an API server judges them.

use std::net::{Ipv4Addr, Ipv6Addr};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::Value;

use super::node::Format;

/// Whether a value has the form; values of other types have any form.
pub fn fits(format: Format, value: &Value) -> bool {
    match (format, value) {
        (Format::Int32, Value::Number(n)) => {
            n.as_f64().is_some_and(|n| n >= f64::from(i32::MIN) && n <= f64::from(i32::MAX))
        }
        // A double this large is no exact whole number any more.
        (Format::Int64, Value::Number(n)) => {
            n.is_i64() || n.as_f64().is_some_and(|n| n.abs() < 9_007_199_254_740_992.0)
        }
        (Format::Ipv4, Value::String(text)) => text.parse::<Ipv4Addr>().is_ok(),
        (Format::Ipv6, Value::String(text)) => text.parse::<Ipv6Addr>().is_ok(),
        (Format::DateTime, Value::String(_)) => serde_json::from_value::<Time>(value.clone()).is_ok(),
        (Format::Byte, Value::String(text)) => is_base64(text),
        _ => true,
    }
}

/// Standard base64 with padding; line breaks are skipped, as Go's decoder skips them.
fn is_base64(text: &str) -> bool {
    let bytes: Vec<u8> = text.bytes().filter(|b| !matches!(b, b'\n' | b'\r')).collect();
    let padding = bytes.iter().rev().take_while(|b| **b == b'=').count();
    bytes.len().is_multiple_of(4)
        && padding <= 2
        && bytes.iter().rev().skip(padding).all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn whole_numbers_have_their_bits() {
        assert!(fits(Format::Int32, &json!(2_147_483_647)) && !fits(Format::Int32, &json!(2_147_483_648_i64)));
        assert!(fits(Format::Int64, &json!(i64::MAX)) && !fits(Format::Int64, &json!(u64::MAX)));
        assert!(!fits(Format::Int64, &json!(1e300)));
    }

    #[test]
    fn addresses_are_of_their_family() {
        assert!(fits(Format::Ipv4, &json!("1.2.3.4")) && !fits(Format::Ipv4, &json!("::1")));
        assert!(!fits(Format::Ipv4, &json!("01.2.3.4")) && !fits(Format::Ipv4, &json!("1.2.3")));
        assert!(fits(Format::Ipv6, &json!("::1")) && !fits(Format::Ipv6, &json!("fe80::1%eth0")));
    }

    #[test]
    fn times_are_rfc_3339() {
        assert!(fits(Format::DateTime, &json!("2026-01-31T12:00:00Z")));
        assert!(!fits(Format::DateTime, &json!("yesterday")) && !fits(Format::DateTime, &json!("2026-01-31")));
    }

    #[test]
    fn base64_is_padded() {
        assert!(fits(Format::Byte, &json!("YWI=")) && fits(Format::Byte, &json!("")));
        assert!(
            !fits(Format::Byte, &json!("YWI"))
                && !fits(Format::Byte, &json!("Y=I="))
                && !fits(Format::Byte, &json!("-----BEGIN"))
        );
    }
}
