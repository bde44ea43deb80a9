//! What consistent hashing goes by: the hash of a request's key. It is the same on every worker, in every process
//! and after every restart, so that replicas of the gateway send one key to one endpoint.

use std::net::IpAddr;

use http::header::COOKIE;
use pingora::http::RequestHeader;

use crate::snapshot::policy::{Balance, HashKey};

/// The hash of a request's key; `None` where the upstream is balanced by none, or the request has none. An empty
/// value is none.
pub fn key(balance: &Balance, request: &RequestHeader, client: IpAddr) -> Option<u64> {
    let Balance::ConsistentHash(key) = balance else { return None };
    match key {
        HashKey::Header(name) => request.headers.get(name).and_then(|value| of(value.as_bytes())),
        HashKey::Cookie(name) => of(cookie(request, name.as_bytes())?),
        HashKey::ClientAddress => match client.to_canonical() {
            IpAddr::V4(address) => of(&address.octets()),
            IpAddr::V6(address) => of(&address.octets()),
        },
    }
}

/// The value of the first cookie of a name. HTTP/2 clients may send each in a field of its own (RFC 9113, 8.2.3).
fn cookie<'a>(request: &'a RequestHeader, name: &[u8]) -> Option<&'a [u8]> {
    let fields = request.headers.get_all(COOKIE).iter();
    let pairs = fields.flat_map(|field| field.as_bytes().split(|byte| *byte == b';'));
    // RFC 6265, 4.1.1: names and values are case-sensitive, and a value may have a `=` in it.
    pairs.map(<[u8]>::trim_ascii).find_map(|pair| pair.strip_prefix(name)?.strip_prefix(b"="))
}

/// FNV-1a: the ring hashes what it is given once more, so that this need only tell keys apart.
fn of(key: &[u8]) -> Option<u64> {
    let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    (!key.is_empty()).then(|| key.iter().fold(0xcbf2_9ce4_8422_2325, fold))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));

    fn request(fields: &[(&'static str, &str)]) -> RequestHeader {
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        for (name, value) in fields {
            request.append_header(*name, *value).unwrap();
        }
        request
    }

    fn by_cookie(fields: &[(&'static str, &str)]) -> Option<u64> {
        key(&Balance::ConsistentHash(HashKey::Cookie("session".into())), &request(fields), CLIENT)
    }

    #[test]
    fn a_cookie_is_found_wherever_it_stands() {
        let expected = of(b"a=b").unwrap();
        for fields in [
            [("cookie", "session=a=b")].as_slice(),
            &[("cookie", "other=1; session=a=b; more=2")],
            &[("cookie", "other=1;session=a=b")],
            &[("cookie", "other=1"), ("cookie", "session=a=b")],
            &[("cookie", "mysession=1; sessions=2; session2=3; session=a=b; session=later")],
        ] {
            assert_eq!(by_cookie(fields), Some(expected), "{fields:?}");
        }
        for fields in [
            [].as_slice(),
            &[("cookie", "Session=a")],
            &[("cookie", "session")],
            &[("cookie", "session=")],
            &[("cookie", "x=session=a")],
            &[("session", "a")],
        ] {
            assert_eq!(by_cookie(fields), None, "{fields:?}");
        }
    }

    #[test]
    fn a_header_is_hashed_by_its_value() {
        let balance = Balance::ConsistentHash(HashKey::Header("x-user".parse().unwrap()));
        let hash = |value: &str| key(&balance, &request(&[("X-User", value)]), CLIENT);
        assert_eq!(hash("anna"), hash("anna"));
        assert_ne!(hash("anna"), hash("bert"));
        assert_eq!(hash(""), None);
        assert_eq!(key(&balance, &request(&[]), CLIENT), None);
        assert_eq!(key(&Balance::LeastRequest, &request(&[("x-user", "anna")]), CLIENT), None);
    }

    #[test]
    fn a_client_is_one_in_both_families() {
        let balance = Balance::ConsistentHash(HashKey::ClientAddress);
        let hash = |client: &str| key(&balance, &request(&[]), client.parse().unwrap());
        assert_eq!(hash("192.0.2.7"), hash("::ffff:192.0.2.7"));
        assert_ne!(hash("192.0.2.7"), hash("192.0.2.8"));
        assert_ne!(hash("2001:db8::1"), hash("2001:db8::2"));
    }

    #[test]
    fn the_hash_is_the_published_one() {
        // The test vectors of FNV-1a, 64 bits: "a", "foobar".
        assert_eq!(of(b"a"), Some(0xaf63_dc4c_8601_ec8c));
        assert_eq!(of(b"foobar"), Some(0x8594_4171_f739_67e8));
    }
}
