//! What must hold for any bytes at the beginning of a connection, and for any address in a forwarding header. Run by the
//! fuzz targets `proxy_header` and `forwarded_address`, and over their seeds.

use transom::proxy::{ProxyHeader, read_address};

/// A header is one whatever follows it and none before it is whole; what is none stays none; and no more bytes than a
/// header may have are waited for.
pub fn check_proxy_header(bytes: &[u8]) {
    const LONGEST: usize = 16 + 4096;
    let judged = ProxyHeader::parse(bytes);
    match judged {
        ProxyHeader::Whole { length, .. } => {
            assert!(length <= bytes.len() && length <= LONGEST, "{length} of {}", bytes.len());
            assert_eq!(ProxyHeader::parse(&bytes[..length]), judged, "what follows changed it");
            for cut in [0, 1, 5, 6, 12, 15, 16, length / 2, length - 1].into_iter().filter(|cut| *cut < length) {
                assert_eq!(ProxyHeader::parse(&bytes[..cut]), ProxyHeader::Incomplete, "cut at {cut}");
            }
        }
        ProxyHeader::Absent | ProxyHeader::Malformed => {
            assert!(!bytes.is_empty());
            for more in [b"\n".as_slice(), b"\r\n", &[0; 64]] {
                assert_eq!(ProxyHeader::parse(&[bytes, more].concat()), judged, "more bytes changed it");
            }
        }
        ProxyHeader::Incomplete => assert!(bytes.len() < LONGEST, "{} bytes and no end", bytes.len()),
    }
}

/// An address that is read is read again as it is written, and is of one form.
pub fn check_forwarded_address(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Some(address) = read_address(text) else { return };
    assert_eq!(address.ip(), address.ip().to_canonical());
    assert_eq!(read_address(&address.to_string()), Some(address));
    assert_eq!(read_address(&address.ip().to_string()).map(|again| again.ip()), Some(address.ip()));
    assert!(!text.contains(['%', ',', ' ', '"']), "{text}");
}
