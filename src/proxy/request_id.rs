//! The id of a request, by which the lines of several logs are told to be of one: that of a peer that is trusted to
//! forward, if it makes sense, else a random one. It goes upstream and into the access log.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::client::sole;
use super::upstream::Ticket;

/// Bytes of an id that is kept.
const LONGEST: usize = 128;
/// Bytes of a UUID as text.
const UUID: usize = 36;

/// The id of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum RequestId {
    /// It has none yet.
    #[default]
    Missing,
    /// A trusted peer's.
    Kept(HeaderValue),
    /// Made here: a UUID as text.
    Made([u8; UUID]),
}

impl RequestId {
    /// The header that carries it.
    pub const NAME: HeaderName = HeaderName::from_static("x-request-id");

    /// The one that the request has by now, if it is short and visible, else a new one.
    pub fn of(headers: &HeaderMap, random: impl Fn() -> Ticket) -> RequestId {
        let told = sole(headers, RequestId::NAME).filter(|id| is_plain(id));
        match told.and_then(|_| headers.get(RequestId::NAME)) {
            Some(id) => RequestId::Kept(id.clone()),
            None => RequestId::Made(uuid(random().0, random().0)),
        }
    }

    /// Tells an upstream.
    pub fn forward(&self, headers: &mut HeaderMap) {
        // any other is in the request
        if let RequestId::Made(text) = self
            && let Ok(id) = HeaderValue::from_bytes(text)
        {
            headers.insert(RequestId::NAME, id);
        }
    }

    /// As text; empty if there is none.
    pub fn as_str(&self) -> &str {
        match self {
            RequestId::Missing => "",
            RequestId::Kept(id) => id.to_str().unwrap_or_default(),
            RequestId::Made(text) => std::str::from_utf8(text).unwrap_or_default(),
        }
    }
}

fn is_plain(id: &str) -> bool {
    (1..=LONGEST).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
}

/// RFC 9562, 5.4: version 4 is all random but for four bits of the version and two of the variant.
fn uuid(high: u64, low: u64) -> [u8; UUID] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let high = high & 0xffff_ffff_ffff_0fff | 0x4000;
    let low = low & 0x3fff_ffff_ffff_ffff | 0x8000_0000_0000_0000;
    let mut bits = u128::from(high) << 64 | u128::from(low);
    let mut text = [b'-'; UUID];
    for (at, place) in text.iter_mut().enumerate() {
        if !matches!(at, 8 | 13 | 18 | 23) {
            *place = DIGITS.get((bits >> 124) as usize).copied().unwrap_or(b'0');
            bits <<= 4;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(ids: &[&str]) -> RequestId {
        let mut headers = HeaderMap::new();
        for id in ids {
            headers.append(RequestId::NAME, HeaderValue::from_bytes(id.as_bytes()).unwrap());
        }
        RequestId::of(&headers, || Ticket(0x0123_4567_89ab_cdef))
    }

    #[test]
    fn an_id_that_makes_sense_is_kept() {
        for id in ["a", "5f0c-11", "Root=1-67891233-abcdef012345678912345678", &"x".repeat(128)] {
            assert_eq!(of(&[id]).as_str(), id);
        }
        for ids in [&[][..], &[""], &["a b"], &["a\tb"], &["ä"], &["a", "b"], &["a", "a"], &[&"x".repeat(129)]] {
            assert_eq!(of(ids).as_str(), "01234567-89ab-4def-8123-456789abcdef", "{ids:?}");
        }
    }

    #[test]
    fn a_new_id_is_a_uuid_of_version_4() {
        let text = |high, low| String::from_utf8(uuid(high, low).to_vec()).unwrap();
        assert_eq!(text(0, 0), "00000000-0000-4000-8000-000000000000");
        assert_eq!(text(u64::MAX, u64::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }
}
