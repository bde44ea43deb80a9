//! What a client sends as `Host` or `:authority`, read into the host that routes are looked up by.
//!
//! In comes the header's text, out goes a host in lower case without port and trailing dot, or a [`HostProblem`],
//! which the data plane answers with 400. The header itself is forwarded as it came.

use std::borrow::Cow;
use std::net::Ipv6Addr;

use super::hostname::{MAX_HOST_LENGTH, is_label};
use thiserror::Error;

/// Why a request names no host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HostProblem {
    /// Nothing, or only a port.
    #[error("the host is empty")]
    Empty,
    /// More than 253 bytes.
    #[error("the host is longer than 253 bytes")]
    TooLong,
    /// A character or a label that no host has.
    #[error("the host has an empty label, or characters other than letters, digits, '-', '_' and '.'")]
    BadName,
    /// Brackets without an IPv6 address in them.
    #[error("the host has brackets that hold no IPv6 address")]
    BadAddress,
    /// Not a number from 0 to 65535.
    #[error("the port after the host is not a number from 0 to 65535")]
    BadPort,
}

/// The host of a `Host` or `:authority` header: lower case, port and one trailing dot dropped, an IPv6 address kept
/// in its brackets. Borrowed unless there are capitals to fold.
///
/// "Host may carry a port: strip before matching" (Gateway API, HTTPRoute hostnames). Underscores are taken.
///
/// # Errors
/// The first thing that makes the text no host; the request is to be answered with 400.
pub fn normalise_host(authority: &str) -> Result<Cow<'_, str>, HostProblem> {
    if is_normal(authority) {
        return Ok(Cow::Borrowed(authority));
    }
    let (host, port) = split_port(authority)?;
    let digits = port.unwrap_or_default();
    if !digits.bytes().all(|b| b.is_ascii_digit()) || (!digits.is_empty() && digits.parse::<u16>().is_err()) {
        return Err(HostProblem::BadPort);
    }
    Ok(if host.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    })
}

/// Whether it is what would be made of it: lower case, no port, no brackets, no dot at either end or after another. Nearly
/// every request is told by one look at each byte.
fn is_normal(authority: &str) -> bool {
    let mut label_goes_on = false;
    for byte in authority.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => label_goes_on = true,
            b'.' if label_goes_on => label_goes_on = false,
            _ => return false,
        }
    }
    label_goes_on && authority.len() <= MAX_HOST_LENGTH
}

/// A checked host, and what stands behind the colon after it.
fn split_port(authority: &str) -> Result<(&str, Option<&str>), HostProblem> {
    // RFC 3986 3.2.2: "IP-literal = "[" ( IPv6address / IPvFuture ) "]"". There is no IPvFuture yet.
    if let Some(rest) = authority.strip_prefix('[') {
        let (address, after) = rest.split_once(']').ok_or(HostProblem::BadAddress)?;
        address.parse::<Ipv6Addr>().map_err(|_| HostProblem::BadAddress)?;
        let host = authority.strip_suffix(after).unwrap_or(authority);
        return match after.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if after.is_empty() => Ok((host, None)),
            None => Err(HostProblem::BadAddress),
        };
    }
    let (name, port) = authority.split_once(':').map_or((authority, None), |(name, port)| (name, Some(port)));
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() {
        return Err(HostProblem::Empty);
    }
    if name.len() > MAX_HOST_LENGTH {
        return Err(HostProblem::TooLong);
    }
    if !name.split('.').all(is_label) {
        return Err(HostProblem::BadName);
    }
    Ok((name, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn a_normal_host_is_what_the_long_way_makes_of_it(text in "[a-cA.:_-]{0,9}") {
            let long = split_port(&text).map(|(host, _)| host);
            proptest::prop_assert_eq!(is_normal(&text), long == Ok(text.as_str()) && !text.contains('A'));
        }
    }

    #[test]
    fn port_and_trailing_dot_are_dropped_and_case_is_folded() {
        let cases = [
            ("example.com", "example.com"),
            ("Example.COM", "example.com"),
            ("example.com:1234", "example.com"),
            ("example.com:", "example.com"),
            ("example.com.", "example.com"),
            ("example.com.:80", "example.com"),
            ("localhost", "localhost"),
            ("127.0.0.1:8080", "127.0.0.1"),
            (
                "gateway_api_conformance.echo_basic.grpcecho.GrpcEcho",
                "gateway_api_conformance.echo_basic.grpcecho.grpcecho",
            ),
        ];
        for (sent, host) in cases {
            assert_eq!(normalise_host(sent).as_deref(), Ok(host), "{sent}");
        }
    }

    #[test]
    fn ipv6_literals_keep_their_brackets() {
        for sent in ["[::1]", "[::1]:80", "[::1]:"] {
            assert_eq!(normalise_host(sent).as_deref(), Ok("[::1]"), "{sent}");
        }
        assert_eq!(normalise_host("[2001:DB8::1]:443").as_deref(), Ok("[2001:db8::1]"));
    }

    #[test]
    fn nothing_is_allocated_unless_there_are_capitals() {
        for sent in ["example.com:80", "a_b.c.", "[::1]:80"] {
            assert!(matches!(normalise_host(sent), Ok(Cow::Borrowed(_))), "{sent}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused_with_its_reason() {
        use HostProblem::{BadAddress, BadName, BadPort, Empty, TooLong};
        let cases = [
            ("", Empty),
            (":80", Empty),
            (".", Empty),
            ("..", BadName),
            ("a..b", BadName),
            (".a", BadName),
            ("a..", BadName),
            ("a b", BadName),
            ("user@host", BadName),
            ("a/b", BadName),
            ("*.example.com", BadName),
            ("exämple.com", BadName),
            ("a%2eb", BadName),
            ("a,b", BadName),
            ("a\0", BadName),
            ("a:http", BadPort),
            ("a:65536", BadPort),
            ("a:+80", BadPort),
            ("a:80:80", BadPort),
            ("::1", Empty),
            ("fe80::1", BadPort),
            ("[]", BadAddress),
            ("[::1", BadAddress),
            ("[::1]x", BadAddress),
            ("[::1]x:80", BadAddress),
            ("[::1]]", BadAddress),
            ("[fe80::1%25eth0]", BadAddress),
            ("[v1.x]", BadAddress),
            ("[127.0.0.1]", BadAddress),
        ];
        for (sent, problem) in cases {
            assert_eq!(normalise_host(sent), Err(problem), "{sent:?}");
        }
        assert_eq!(normalise_host(&"a".repeat(254)), Err(TooLong));
        assert!(normalise_host(&format!("{}.:65535", "a".repeat(253))).is_ok());
        assert_eq!(normalise_host(&"a.".repeat(100_000)), Err(TooLong));
    }
}
