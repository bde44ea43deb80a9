//! Who a request is from. In come its connection, and what it says itself of the way it came: a peer that is trusted to
//! forward is believed, of anybody else such headers are dropped before anything looks at them. Out goes the [`Client`],
//! by which requests are logged, balanced and redirected, and what the upstream is told of it.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::header::{AsHeaderName, HOST, HeaderName};
use http::{HeaderMap, HeaderValue};

use super::listener::connection::{Connection, address_field};
use super::port::AddressRanges;
use super::request_id::RequestId;
use super::settings::Settings;
use crate::router::normalise_host;

static FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
static FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
static FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// How many fields an upstream may be told, so that the map grows once.
const TOLD: usize = 8;

/// Who a request is from, and how it came to the first gateway on its way that is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client {
    /// The address of the client; port 0 where it is not known.
    pub address: SocketAddr,
    /// Whether the client came over TLS.
    pub tls: bool,
    /// The port that the client reached, if a trusted peer tells another one than ours.
    pub port: Option<u16>,
    /// Whether the peer is trusted to forward.
    forwarded: bool,
}

impl Client {
    /// The client of a request. What nobody trustworthy says of one is removed from the header.
    pub fn of(headers: &mut HeaderMap, connection: &Connection, settings: &Settings) -> Client {
        let known = Client { address: connection.peer, tls: connection.is_tls(), port: None, forwarded: false };
        drop_claims(headers, connection.forwards);
        match settings.ports.get(&connection.port) {
            Some(port) if connection.forwards => known.told(headers, &port.forwarders),
            _ => known,
        }
    }

    /// The same, with what a trusted peer says.
    fn told(self, headers: &HeaderMap, trusted: &AddressRanges) -> Client {
        let https = scheme(headers);
        let tls = https.unwrap_or(self.tls);
        let default = if tls { 443 } else { 80 };
        let port = sole(headers, &FORWARDED_PORT).and_then(|port| port.parse().ok()).filter(|port| *port != 0);
        Client {
            address: walk(headers, self.address, trusted),
            tls,
            // our own is that of the other scheme
            port: port.or((tls != self.tls).then_some(default)),
            forwarded: true,
        }
    }

    /// Tells an upstream of the client. `port` is the port that clients were told, `peer` the address of the connection's
    /// peer as text.
    pub fn forward(&self, headers: &mut HeaderMap, port: u16, id: &RequestId, peer: &HeaderValue) {
        headers.reserve(TOLD);
        let (client, way) = if self.forwarded {
            (address_field(self.address.ip()), lengthened(headers, peer))
        } else {
            (peer.clone(), peer.clone())
        };
        headers.insert(&REAL_IP, client);
        headers.insert(&FORWARDED_FOR, way);
        let told = self.forwarded && sole(headers, &FORWARDED_HOST).is_some_and(is_host);
        if let Some(host) = headers.get(HOST).filter(|_| !told).cloned() {
            headers.insert(&FORWARDED_HOST, host);
        }
        headers.insert(&FORWARDED_PORT, HeaderValue::from(self.port.unwrap_or(port)));
        if !self.forwarded || scheme(headers).is_none() {
            let scheme = if self.tls { "https" } else { "http" };
            headers.insert(&FORWARDED_PROTO, HeaderValue::from_static(scheme));
        }
        id.forward(headers);
    }
}

/// Removes what a request says of the way it came; of one that is `trusted`, what is written in a way that some
/// upstreams take for it (RFC 3875, 4.1.18: "-" and "_" are one there), and that no proxy writes.
fn drop_claims(headers: &mut HeaderMap, trusted: bool) {
    let is_dropped = |name: &&HeaderName| is_claim(name.as_str()) && (!trusted || name.as_str().contains('_'));
    let dropped: Vec<HeaderName> = headers.keys().filter(is_dropped).cloned().collect();
    for name in &dropped {
        headers.remove(name);
    }
}

/// Whether a field is about the way that a request came.
fn is_claim(name: &str) -> bool {
    let same = |part: &str, claim: &str| {
        part.len() == claim.len()
            && part.bytes().zip(claim.bytes()).all(|(one, other)| one == other || one == b'_' && other == b'-')
    };
    let begins = |claim: &str| name.get(..claim.len()).is_some_and(|part| same(part, claim));
    begins("x-forwarded-")
        || same(name, "forwarded")
        || same(name, REAL_IP.as_str())
        || same(name, RequestId::NAME.as_str())
}

/// The last address of the way that is not a trusted proxy's. Each proxy adds the address of whom it was asked by at
/// the end, so that it is read from there, over all lines, as long as who says so is trusted; what is no address
/// ends it.
fn walk(headers: &HeaderMap, peer: SocketAddr, trusted: &AddressRanges) -> SocketAddr {
    let lines = headers.get_all(&FORWARDED_FOR).iter().rev();
    let steps = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    let mut client = peer;
    for step in steps.filter(|step| !step.is_empty()) {
        match std::str::from_utf8(step).ok().and_then(read_address) {
            Some(address) => client = address,
            None => break,
        }
        if !trusted.contain(client.ip()) {
            break;
        }
    }
    client
}

/// An address as proxies write it: with a port or without, IPv6 in brackets or, without a port, bare.
#[must_use]
pub fn read_address(text: &str) -> Option<SocketAddr> {
    let in_brackets = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    let address: SocketAddr = text
        .parse::<IpAddr>()
        .ok()
        .or_else(in_brackets)
        .map(|ip| SocketAddr::new(ip, 0))
        .or_else(|| text.parse().ok())
        .filter(|_| !text.contains('%'))?; // a zone means nothing elsewhere
    Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

/// The way so far, in one line, and who is the last on it.
fn lengthened(headers: &HeaderMap, peer: &HeaderValue) -> HeaderValue {
    let lines = || headers.get_all(&FORWARDED_FOR).iter().map(HeaderValue::as_bytes).filter(|line| !line.is_empty());
    let mut way = Vec::with_capacity(lines().map(|line| line.len() + 2).sum::<usize>() + peer.len());
    for line in lines() {
        way.extend_from_slice(line);
        way.extend_from_slice(b", ");
    }
    way.extend_from_slice(peer.as_bytes());
    HeaderValue::from_maybe_shared(bytes::Bytes::from(way)).unwrap_or_else(|_| peer.clone())
}

/// Whether the client came by https, or by http, if that is told and nothing else.
fn scheme(headers: &HeaderMap) -> Option<bool> {
    let scheme = sole(headers, &FORWARDED_PROTO)?;
    let is = |word: &str| scheme.eq_ignore_ascii_case(word);
    if is("https") || is("wss") {
        Some(true)
    } else if is("http") || is("ws") {
        Some(false)
    } else {
        None
    }
}

fn is_host(text: &str) -> bool {
    normalise_host(text).is_ok()
}

/// The text of a field that stands there once.
pub fn sole(headers: &HeaderMap, name: impl AsHeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    if values.next().is_some() { None } else { first.to_str().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(fields: &[(&'static str, &str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    fn fields(headers: &HeaderMap) -> Vec<String> {
        let mut fields: Vec<_> =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        fields.sort();
        fields
    }

    fn forward(client: Client, peer: &'static str, asked: &mut HeaderMap, port: u16) {
        client.forward(asked, port, &RequestId::default(), &HeaderValue::from_static(peer));
    }

    fn trusted() -> AddressRanges {
        AddressRanges(["10.0.0.0/8", "2001:db8::/32"].map(|range| range.parse().unwrap()).to_vec())
    }

    fn known(peer: &str) -> Client {
        Client { address: SocketAddr::new(peer.parse().unwrap(), 4711), tls: false, port: None, forwarded: false }
    }

    #[test]
    fn what_a_stranger_says_of_the_way_is_replaced() {
        let mut asked = request(&[
            ("host", "a.com:8080"),
            ("forwarded", "for=1.2.3.4"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-for", "5.6.7.8"),
            ("x-forwarded-client-cert", "x"),
            ("x_forwarded_proto", "https"),
            ("x-real-ip", "1.2.3.4"),
            ("x-request-id", "mine"),
            ("x-forwardedfor", "kept"),
        ]);
        drop_claims(&mut asked, false);
        assert_eq!(fields(&asked), ["host: a.com:8080", "x-forwardedfor: kept"]);
        let client = Client { tls: true, ..known("192.0.2.1") };
        forward(client, "192.0.2.1", &mut asked, 443);
        let expected = [
            "host: a.com:8080",
            "x-forwarded-for: 192.0.2.1",
            "x-forwarded-host: a.com:8080",
            "x-forwarded-port: 443",
            "x-forwarded-proto: https",
            "x-forwardedfor: kept",
            "x-real-ip: 192.0.2.1",
        ];
        assert_eq!(fields(&asked), expected);
    }

    #[test]
    fn what_a_trusted_peer_says_is_kept_and_lengthened() {
        let mut asked = request(&[
            ("host", "internal.example"),
            ("forwarded", "for=192.0.2.1"),
            ("x-forwarded-for", "6.6.6.6, 192.0.2.1"),
            ("x-forwarded-for", "10.0.0.9"),
            ("x-forwarded-host", "shop.example"),
            ("x-forwarded-port", "8443"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-client-cert", "x"),
            ("x_forwarded_for", "6.6.6.6"),
            ("x-real-ip", "6.6.6.6"),
        ]);
        drop_claims(&mut asked, true);
        let client = known("10.0.0.1").told(&asked, &trusted());
        assert_eq!(client.address, "192.0.2.1:0".parse().unwrap());
        assert_eq!((client.tls, client.port), (true, Some(8443)));
        forward(client, "10.0.0.1", &mut asked, 80);
        let expected = [
            "forwarded: for=192.0.2.1",
            "host: internal.example",
            "x-forwarded-client-cert: x",
            "x-forwarded-for: 6.6.6.6, 192.0.2.1, 10.0.0.9, 10.0.0.1",
            "x-forwarded-host: shop.example",
            "x-forwarded-port: 8443",
            "x-forwarded-proto: https",
            "x-real-ip: 192.0.2.1",
        ];
        assert_eq!(fields(&asked), expected);
    }

    #[test]
    fn what_makes_no_sense_is_replaced_even_from_a_trusted_peer() {
        for told in [
            [("x-forwarded-proto", "gopher"), ("x-forwarded-port", "0"), ("x-forwarded-host", "a b")],
            [("x-forwarded-proto", "https, http"), ("x-forwarded-port", "http"), ("x-forwarded-host", "a@b")],
            [("x-forwarded-proto", ""), ("x-forwarded-port", "65536"), ("x-forwarded-host", "a, b")],
        ] {
            let mut asked = request(&[&told[..], &[("host", "a.com")]].concat());
            let client = known("10.0.0.1").told(&asked, &trusted());
            forward(client, "10.0.0.1", &mut asked, 80);
            let expected = [
                "host: a.com",
                "x-forwarded-for: 10.0.0.1",
                "x-forwarded-host: a.com",
                "x-forwarded-port: 80",
                "x-forwarded-proto: http",
                "x-real-ip: 10.0.0.1",
            ];
            assert_eq!(fields(&asked), expected, "{told:?}");
        }
    }

    #[test]
    fn the_port_of_another_scheme_is_the_usual_one_unless_told() {
        let port = |told: &[(&'static str, &str)]| known("10.0.0.1").told(&request(told), &trusted()).port;
        assert_eq!(port(&[("x-forwarded-proto", "https")]), Some(443));
        assert_eq!(port(&[("x-forwarded-proto", "WSS"), ("x-forwarded-port", "8443")]), Some(8443));
        assert_eq!(port(&[("x-forwarded-proto", "http")]), None);
        assert_eq!(port(&[]), None);
    }

    #[test]
    fn the_way_is_walked_from_its_end_over_all_lines() {
        for (lines, client) in [
            (&[][..], "10.0.0.1:4711"),
            (&["192.0.2.1"], "192.0.2.1:0"),
            (&["6.6.6.6, 192.0.2.1"], "192.0.2.1:0"),
            (&["6.6.6.6,192.0.2.1 ,\t10.0.0.2"], "192.0.2.1:0"),
            (&["6.6.6.6", "192.0.2.1", "10.0.0.2, 10.0.0.3"], "192.0.2.1:0"),
            (&["10.0.0.4", "10.0.0.2, 2001:db8::3"], "10.0.0.4:0"),
            (&["192.0.2.1:5678, 10.0.0.2:1"], "192.0.2.1:5678"),
            (&["[2001:dead::1]:5678"], "[2001:dead::1]:5678"),
            (&["[2001:dead::1]"], "[2001:dead::1]:0"),
            (&["2001:dead::1, [2001:db8::1]:80"], "[2001:dead::1]:0"),
            (&["::ffff:192.0.2.1, ::ffff:10.0.0.2"], "192.0.2.1:0"),
            (&["192.0.2.1, , ,", ""], "192.0.2.1:0"),
            (&["192.0.2.1, unknown"], "10.0.0.1:4711"),
            (&["192.0.2.1, unknown, 10.0.0.2"], "10.0.0.2:0"),
            (&["192.0.2.1, _hidden"], "10.0.0.1:4711"),
            (&["192.0.2.1, 10.0.0.2 10.0.0.3"], "10.0.0.1:4711"),
            (&["192.0.2.1, \"10.0.0.2\""], "10.0.0.1:4711"),
            (&["192.0.2.1, 10.0.0.256"], "10.0.0.1:4711"),
            (&["192.0.2.1, [10.0.0.2]"], "10.0.0.1:4711"),
            (&["192.0.2.1, fe80::1%eth0"], "10.0.0.1:4711"),
            (&["192.0.2.1, [fe80::1%1]:80"], "10.0.0.1:4711"),
            (&["192.0.2.1, ü"], "10.0.0.1:4711"),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(&FORWARDED_FOR, HeaderValue::from_bytes(line.as_bytes()).unwrap());
            }
            let found = walk(&headers, "10.0.0.1:4711".parse().unwrap(), &trusted());
            assert_eq!(found, client.parse().unwrap(), "{lines:?}");
        }
    }
}
