//! The PROXY protocol, versions 1 and 2: what a load balancer says of the client before the first byte that the client
//! sent. A trusted peer's bytes come in; whose connection it is goes out, and not a byte of what follows is taken from
//! the socket. The rules are those of haproxy's `proxy-protocol.txt`, quoted where they are fulfilled.
//!
//! Of version 2's additional fields (TLVs) nothing is used, the checksum among them: they are bounded and passed over.

use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::proxy::port::ProxyProtocol;

/// Section 2.1: "a 107-byte buffer is always enough to store all the line and a trailing zero".
const V1_LONGEST: usize = 107;
const V1_BEGIN: &[u8] = b"PROXY ";
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V2_FIXED: usize = 16;
/// Bytes behind the fixed part of version 2: addresses, and room for additional fields such as a certificate's names.
const V2_LONGEST: usize = 4096;
/// As much as is looked at in one go.
const GLANCE: usize = 512;

/// What the first bytes of a connection are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyHeader {
    /// Not enough to say; all of them belong to a header if it is one.
    Incomplete,
    /// No header: somebody talks who was not told to send one.
    Absent,
    /// A header.
    Whole {
        /// Its length in bytes.
        length: usize,
        /// The client; none where the peer speaks for itself, or for somebody without an IP address.
        client: Option<SocketAddr>,
    },
    /// A header that breaks the rules; what follows cannot be told from it.
    Malformed,
}

/// What came before the client's own bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Told {
    /// Whose connection it is; none stands for the peer itself. If it came without a header, these bytes were read to
    /// tell so.
    By(Option<SocketAddr>, Vec<u8>),
    /// Nothing: the peer left before.
    Nothing,
    /// What is not taken. Why, for the log.
    Refused(&'static str),
}

/// Reads the header of a connection of `peer`, and nothing behind it.
///
/// # Errors
/// Those of reading.
pub async fn client(tcp: &mut TcpStream, peer: SocketAddr, settings: &ProxyProtocol) -> io::Result<Told> {
    if !settings.trusted.contain(peer.ip().to_canonical()) {
        // What a stranger says here is no header: it is served as it is, and is then no request.
        let refused = Told::Refused("PROXY protocol: the peer is not trusted");
        return Ok(if settings.required { refused } else { Told::By(None, Vec::new()) });
    }
    let mut seen = Vec::new();
    let mut glance = [0; GLANCE];
    loop {
        let ahead = tcp.peek(&mut glance).await?;
        if ahead == 0 {
            return Ok(if seen.is_empty() { Told::Nothing } else { MALFORMED });
        }
        let before = seen.len();
        seen.extend_from_slice(glance.get(..ahead).unwrap_or_default());
        match ProxyHeader::parse(&seen) {
            ProxyHeader::Incomplete => take(tcp, &mut glance, ahead).await?,
            ProxyHeader::Whole { length, client } => {
                take(tcp, &mut glance, length.saturating_sub(before)).await?;
                return Ok(Told::By(client, Vec::new()));
            }
            ProxyHeader::Absent if settings.required => {
                return Ok(Told::Refused("PROXY protocol: the connection began without its header"));
            }
            ProxyHeader::Absent => {
                seen.truncate(before);
                return Ok(Told::By(None, seen));
            }
            ProxyHeader::Malformed => return Ok(MALFORMED),
        }
    }
}

const MALFORMED: Told = Told::Refused("PROXY protocol: malformed header");

/// Takes what was looked at, so that the next look waits for more.
async fn take(tcp: &mut TcpStream, glance: &mut [u8; GLANCE], count: usize) -> io::Result<()> {
    tcp.read_exact(glance.get_mut(..count).unwrap_or_default()).await.map(|_| ())
}

impl ProxyHeader {
    /// Judges the first bytes of a connection.
    #[must_use]
    pub fn parse(seen: &[u8]) -> ProxyHeader {
        if begins(seen, V1_BEGIN) {
            parse_v1(seen)
        } else if begins(seen, V2_SIGNATURE) {
            parse_v2(seen)
        } else {
            ProxyHeader::Absent
        }
    }
}

/// Whether the bytes begin, as far as there are any, as this says.
fn begins(seen: &[u8], beginning: &[u8]) -> bool {
    seen.iter().zip(beginning).all(|(one, other)| one == other)
}

fn parse_v1(seen: &[u8]) -> ProxyHeader {
    let window = seen.get(..V1_LONGEST).unwrap_or(seen);
    let Some(end) = window.iter().position(|byte| *byte == b'\n') else {
        return if seen.len() < V1_LONGEST { ProxyHeader::Incomplete } else { ProxyHeader::Malformed };
    };
    let line = window.get(..end).and_then(|line| line.strip_suffix(b"\r")).map(String::from_utf8_lossy);
    let client = match line.as_deref().and_then(|line| line.strip_prefix("PROXY ")) {
        // "The receiver must ignore anything presented before the CRLF is found."
        Some(rest) if rest == "UNKNOWN" || rest.starts_with("UNKNOWN ") => Some(None),
        Some(rest) => client_of_line(rest).map(Some),
        None => None,
    };
    match client {
        Some(client) => ProxyHeader::Whole { length: end + 1, client },
        None => ProxyHeader::Malformed,
    }
}

/// The client that a line of version 1 names behind its first word.
fn client_of_line(rest: &str) -> Option<SocketAddr> {
    let mut words = rest.split(' '); // "exactly one space"
    let family = words.next()?;
    let address = |text: &str| -> Option<IpAddr> {
        match family {
            "TCP4" => text.parse().map(IpAddr::V4).ok(),
            "TCP6" => text.parse().map(IpAddr::V6).ok(),
            _ => None,
        }
    };
    let (source, _destination) = (address(words.next()?)?, address(words.next()?)?);
    let (source_port, _destination_port) = (port(words.next()?)?, port(words.next()?)?);
    words.next().is_none().then_some(SocketAddr::new(source, source_port))
}

/// "A decimal number in the range \[0..65535\] inclusive", "heading zeroes are not permitted".
fn port(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

fn parse_v2(seen: &[u8]) -> ProxyHeader {
    let Some([version_command, family, high, low]) = seen.get(V2_SIGNATURE.len()..V2_FIXED).and_then(fixed) else {
        return ProxyHeader::Incomplete;
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    // "Receivers must drop connections presenting unexpected values here": version 2, LOCAL or PROXY; four families,
    // three transports.
    if !matches!(version_command, 0x20 | 0x21) || family >> 4 > 3 || family & 0xF > 2 || length > V2_LONGEST {
        return ProxyHeader::Malformed;
    }
    let Some(rest) = seen.get(V2_FIXED..V2_FIXED + length) else { return ProxyHeader::Incomplete };
    let client = match (version_command, family) {
        (0x21, 0x11) => client_of_block::<4>(rest).map(Some),
        (0x21, 0x21) => client_of_block::<16>(rest).map(Some),
        // LOCAL: "the receiver [...] must use the real connection endpoints and must discard the protocol block".
        // Unix sockets and datagrams have no client that a TCP connection could be from.
        _ => Some(None),
    };
    match client {
        Some(client) => ProxyHeader::Whole { length: V2_FIXED + length, client },
        None => ProxyHeader::Malformed,
    }
}

/// The client of an address block: both addresses, of `N` bytes each, then both ports.
fn client_of_block<const N: usize>(block: &[u8]) -> Option<SocketAddr>
where
    IpAddr: From<[u8; N]>,
{
    let address: [u8; N] = fixed(block.get(..N)?)?;
    let port = fixed(block.get(2 * N..2 * N + 2)?)?;
    block.get(2 * N + 2..2 * N + 4)?; // the destination's port
    Some(SocketAddr::new(IpAddr::from(address), u16::from_be_bytes(port)))
}

fn fixed<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.try_into().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn v1(line: &str) -> ProxyHeader {
        ProxyHeader::parse(format!("PROXY {line}\r\nGET / HTTP/1.1\r\n").as_bytes())
    }

    fn whole(length: usize, client: Option<&str>) -> ProxyHeader {
        ProxyHeader::Whole { length, client: client.map(|text| text.parse().unwrap()) }
    }

    fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let length = u16::try_from(block.len()).unwrap().to_be_bytes();
        [V2_SIGNATURE, &[command, family], &length, block].concat()
    }

    fn block(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
        let octets = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        let ports = [source.port().to_be_bytes(), destination.port().to_be_bytes()].concat();
        [octets(source.ip()), octets(destination.ip()), ports].concat()
    }

    #[test]
    fn lines_of_version_1() {
        assert_eq!(v1("TCP4 192.0.2.1 198.51.100.1 56324 443"), whole(45, Some("192.0.2.1:56324")));
        assert_eq!(v1("TCP6 2001:db8::1 ::1 0 65535"), whole(36, Some("[2001:db8::1]:0")));
        assert_eq!(v1("UNKNOWN"), whole(15, None));
        assert_eq!(v1("UNKNOWN ffff::1 anything\tat all"), whole(39, None));
        let longest =
            "TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535";
        assert!(matches!(v1(longest), ProxyHeader::Whole { length: 104, client: Some(_) }));
        for line in [
            "",
            "TCP4",
            "TCP4 192.0.2.1",
            "TCP4 192.0.2.1 198.51.100.1 56324",
            "TCP4 192.0.2.1 198.51.100.1 56324 443 ",
            "TCP4 192.0.2.1 198.51.100.1 56324 443 1",
            "TCP4  192.0.2.1 198.51.100.1 56324 443",
            "TCP4\t192.0.2.1\t198.51.100.1\t56324\t443",
            "TCP4 192.0.2.1 198.51.100.1 65536 443",
            "TCP4 192.0.2.1 198.51.100.1 +1 443",
            "TCP4 192.0.2.1 198.51.100.1 01 443",
            "TCP4 192.0.2.1 198.51.100.1  443",
            "TCP4 192.0.2.01 198.51.100.1 1 443",
            "TCP4 192.0.2 198.51.100.1 1 443",
            "TCP4 2001:db8::1 ::1 1 443",
            "TCP6 192.0.2.1 198.51.100.1 1 443",
            "TCP6 fe80::1%eth0 ::1 1 443",
            "TCP5 192.0.2.1 198.51.100.1 1 443",
            "tcp4 192.0.2.1 198.51.100.1 1 443",
            "UNKNOWNS",
            "TCP4 192.0.2.1 198.51.100.1 1 443\r",
            "TCP4 192.0.2.1 198.51.100.1 1 443\0",
        ] {
            assert_eq!(v1(line), ProxyHeader::Malformed, "{line}");
        }
        assert_eq!(ProxyHeader::parse(b"PROXY UNKNOWN\n"), ProxyHeader::Malformed, "a bare LF ends no line");
    }

    #[test]
    fn a_line_without_an_end_is_given_up_at_107_bytes() {
        let line = |length: usize| [b"PROXY UNKNOWN ".as_slice(), &vec![b'x'; length - 14]].concat();
        assert_eq!(ProxyHeader::parse(&line(106)), ProxyHeader::Incomplete);
        assert_eq!(ProxyHeader::parse(&line(107)), ProxyHeader::Malformed);
        assert_eq!(ProxyHeader::parse(&[&line(105), b"\r\n".as_slice()].concat()), whole(107, None));
        assert_eq!(ProxyHeader::parse(&[&line(106), b"\r\n".as_slice()].concat()), ProxyHeader::Malformed);
    }

    #[test]
    fn what_is_no_header_is_told_at_the_first_byte_that_differs() {
        for bytes in
            ["GET / HTTP/1.1\r\n", "POST", "PROXYS", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\r\n\r\nG", "\x16\x03\x01"]
        {
            assert_eq!(ProxyHeader::parse(bytes.as_bytes()), ProxyHeader::Absent, "{bytes}");
        }
        for bytes in
            ["", "P", "PROXY", "PROXY ", "PROXY TCP4 192", "\r", "\r\n\r\n\0\r\nQUIT\n", "\r\n\r\n\0\r\nQUIT\n!\x11\0"]
        {
            assert_eq!(ProxyHeader::parse(bytes.as_bytes()), ProxyHeader::Incomplete, "{bytes}");
        }
    }

    #[test]
    fn headers_of_version_2() {
        let (v4, v6) = ("192.0.2.1:56324", "[2001:db8::1]:56324");
        let (four, six) =
            (block(v4.parse().unwrap(), v4.parse().unwrap()), block(v6.parse().unwrap(), v6.parse().unwrap()));
        let fields = [four.clone(), vec![0x04, 0, 1, 0]].concat();
        let unix = [0u8; 216];
        for (header, client) in [
            (v2(0x21, 0x11, &four), Some(v4)),
            (v2(0x21, 0x21, &six), Some(v6)),
            (v2(0x21, 0x11, &fields), Some(v4)),
            (v2(0x20, 0x11, &four), None),
            (v2(0x20, 0x00, &[]), None),
            (v2(0x21, 0x00, &[]), None),
            (v2(0x21, 0x00, &[1, 2, 3]), None),
            (v2(0x21, 0x12, &four), None),
            (v2(0x21, 0x31, &unix), None),
            (v2(0x20, 0x00, &[0; V2_LONGEST]), None),
        ] {
            assert_eq!(ProxyHeader::parse(&header), whole(header.len(), client), "{header:?}");
            assert_eq!(ProxyHeader::parse(&header[..header.len() - 1]), ProxyHeader::Incomplete);
        }
        for header in [
            v2(0x11, 0x11, &four),
            v2(0x22, 0x11, &four),
            v2(0x21, 0x41, &four),
            v2(0x21, 0x13, &four),
            v2(0x21, 0x11, &four[..11]),
            v2(0x21, 0x21, &six[..35]),
            v2(0x20, 0x00, &[0; V2_LONGEST + 1]),
        ] {
            assert_eq!(ProxyHeader::parse(&header), ProxyHeader::Malformed, "{header:?}");
        }
    }

    fn any_address() -> impl Strategy<Value = SocketAddr> {
        (any::<[u8; 4]>(), any::<[u8; 16]>(), any::<u16>(), any::<bool>()).prop_map(|(four, six, port, is_v4)| {
            SocketAddr::new(if is_v4 { IpAddr::from(four) } else { IpAddr::from(six) }, port)
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_address_is_read_as_it_was_written_and_not_before_the_end(
            source in any_address(), rest in any::<Vec<u8>>(), fields in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            let (name, family) = if source.is_ipv4() { ("TCP4", 0x11) } else { ("TCP6", 0x21) };
            let (ip, port) = (source.ip(), source.port());
            let line = format!("PROXY {name} {ip} {ip} {port} {port}\r\n").into_bytes();
            let binary = v2(0x21, family, &[block(source, source), fields].concat());
            for header in [line, binary] {
                for cut in 0..header.len() {
                    prop_assert_eq!(ProxyHeader::parse(&header[..cut]), ProxyHeader::Incomplete);
                }
                let all = [header.clone(), rest.clone()].concat();
                let expected = ProxyHeader::Whole { length: header.len(), client: Some(source) };
                prop_assert_eq!(ProxyHeader::parse(&all), expected);
            }
        }
    }
}
