//! Labels by which objects that Transom made are known, and texts cut to what a label holds.

use std::fmt::Write;

use sha2::{Digest, Sha256};

/// Names the Gateway of an object (GEP-1762).
pub const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";
/// Names the GatewayClass of an object.
pub const GATEWAY_CLASS_NAME: &str = "gateway.networking.k8s.io/gateway-class-name";
/// Names what made an object.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The [`fingerprint`] of the controllerName whose object it is: two installs in a cluster leave each other's alone.
pub const CONTROLLER: &str = "transom.dev/controller";
/// Names the Service of an EndpointSlice.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Letters of a label value, and of a Service's name.
const LONGEST: usize = 63;
/// Hexadecimal digits of a fingerprint.
const DIGITS: usize = 10;

/// A short text that stands for a longer one: lower case hexadecimal digits.
#[must_use]
pub fn fingerprint(text: &str) -> String {
    let mut digits = String::with_capacity(DIGITS);
    for byte in Sha256::digest(text).iter().take(DIGITS / 2) {
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}

/// The text itself where it fits into a label value, else its beginning and its fingerprint.
#[must_use]
pub fn fitting(text: &str) -> String {
    if text.len() <= LONGEST {
        return text.to_owned();
    }
    let start: String = text.chars().take(LONGEST - DIGITS - 1).collect();
    format!("{}-{}", start.trim_end_matches(['-', '.', '_']), fingerprint(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_is_too_long_is_cut_and_stays_its_own() {
        assert_eq!(fitting("shop"), "shop");
        let (a, b) = (fitting(&format!("{}-a", "x".repeat(62))), fitting(&format!("{}-b", "x".repeat(62))));
        assert_ne!(a, b);
        assert_eq!((a.len(), b.len()), (63, 63));
        assert_eq!(fitting(&format!("{}.{}", "x".repeat(51), "y".repeat(40))).len(), 62, "no dot before the hyphen");
    }
}
