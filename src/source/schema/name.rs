//! The forms of names that Kubernetes knows, as an API server judges them. Text in, yes or no out.

/// DNS-1123 label: at most 63 lower-case letters, digits and `-`, a letter or digit at both ends.
#[must_use]
pub fn is_dns_label(text: &str) -> bool {
    text.len() <= 63 && is_label_shape(text)
}

/// DNS-1123 subdomain: labels joined by dots, at most 253 characters; a label may be longer than 63.
#[must_use]
pub fn is_dns_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_label_shape)
}

/// DNS-1035 label, the form of a Service's name: as a DNS-1123 label, beginning with a letter.
#[must_use]
pub fn is_dns_1035_label(text: &str) -> bool {
    is_dns_label(text) && text.starts_with(|c: char| c.is_ascii_lowercase())
}

/// Qualified name, the form of label and annotation keys: an optional DNS subdomain and `/`, then at most 63
/// letters, digits, `-`, `_` and `.`, a letter or digit at both ends.
#[must_use]
pub fn is_qualified_name(text: &str) -> bool {
    match text.split_once('/') {
        Some((prefix, name)) => is_dns_subdomain(prefix) && is_name_part(name),
        None => is_name_part(text),
    }
}

/// Value of a label: empty, or as the name part of a qualified name.
#[must_use]
pub fn is_label_value(text: &str) -> bool {
    text.is_empty() || is_name_part(text)
}

/// Name of a port as IANA has it: at most 15 lower-case letters, digits and single `-`, with a letter somewhere.
#[must_use]
pub fn is_port_name(text: &str) -> bool {
    text.len() <= 15 && is_label_shape(text) && !text.contains("--") && text.bytes().any(|b| b.is_ascii_lowercase())
}

fn is_label_shape(label: &str) -> bool {
    let bytes = label.as_bytes();
    let alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    bytes.first().is_some_and(alphanumeric)
        && bytes.last().is_some_and(alphanumeric)
        && bytes.iter().all(|b| alphanumeric(b) || *b == b'-')
}

fn is_name_part(name: &str) -> bool {
    let bytes = name.as_bytes();
    bytes.len() <= 63
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subdomains_have_lower_case_labels_with_letters_or_digits_at_both_ends() {
        for good in ["a", "0", "a-b.c", &"a".repeat(253)] {
            assert!(is_dns_subdomain(good), "{good}");
        }
        for bad in ["", ".", "a.", "-a", "a-", "A", "a_b", "a..b", "ä", &"a".repeat(254)] {
            assert!(!is_dns_subdomain(bad), "{bad}");
        }
    }

    #[test]
    fn service_names_begin_with_a_letter() {
        assert!(is_dns_1035_label("a1") && !is_dns_1035_label("1a") && !is_dns_1035_label("a.b"));
    }

    #[test]
    fn keys_are_qualified_names() {
        for good in ["app", "example.com/App_1.x", "A"] {
            assert!(is_qualified_name(good), "{good}");
        }
        for bad in ["", "/a", "a/", "a/b/c", "EXAMPLE.com/a", "-a", &format!("a/{}", "x".repeat(64))] {
            assert!(!is_qualified_name(bad), "{bad}");
        }
    }

    #[test]
    fn port_names_need_a_letter_and_no_double_dash() {
        assert!(is_port_name("http") && is_port_name("8a") && is_port_name("a-b"));
        for bad in ["", "80", "a--b", "-a", "sixteen-letters-", "HTTP", "abcdefghijklmnop"] {
            assert!(!is_port_name(bad), "{bad}");
        }
    }
}
