//! Which headers a line shows, and how much of them. None unless asked for; what a credential may stand in is shown
//! only where that is asked for in so many words.

use std::fmt;

use http::header::{AUTHORIZATION, CONTENT_LOCATION, COOKIE, LINK, LOCATION, PROXY_AUTHORIZATION, REFERER, REFRESH};
use http::header::{HeaderName, SET_COOKIE};
use http::{HeaderMap, HeaderValue};

/// Bytes of one header that are shown, all of its lines together.
const VALUE_LIMIT: usize = 1024;
/// Bytes of a message's headers that are shown, names included.
const TOTAL_LIMIT: usize = 8 * 1024;
/// What stands for a value that is not shown.
const REDACTED: &str = "REDACTED";
/// What stands where something was cut.
pub(super) const CUT: &str = "…";

/// Names of headers that are credentials, or as good as.
const SECRET: [HeaderName; 4] = [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE, SET_COOKIE];
/// The same, by custom.
const SECRET_BY_CUSTOM: [&str; 6] =
    ["x-api-key", "x-auth-token", "x-access-token", "x-csrf-token", "x-xsrf-token", "x-amz-security-token"];
/// Headers that hold URLs, whose query and user may be credentials.
const LINKS: [HeaderName; 5] = [REFERER, LOCATION, CONTENT_LOCATION, LINK, REFRESH];

/// What becomes of a header in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Treatment {
    /// Not shown.
    #[default]
    Drop,
    /// Shown, but redacted where it is a credential, and without query and user where it is a URL.
    Careful,
    /// Shown as it is.
    Keep,
    /// Shown by its name.
    Redact,
}

/// Which headers are shown.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HeaderRules {
    named: Vec<(HeaderName, Treatment)>,
    others: Treatment,
}

/// A header as it is shown.
#[derive(Clone, Copy)]
pub(super) struct Shown<'a> {
    headers: &'a HeaderMap,
    name: &'a HeaderName,
    treatment: Treatment,
}

impl HeaderRules {
    /// For these names, and for all others.
    #[must_use]
    pub fn new(named: Vec<(HeaderName, Treatment)>, others: Treatment) -> Self {
        HeaderRules { named, others }
    }

    /// Whether no header is ever shown.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.others == Treatment::Drop && self.named.iter().all(|(_, treatment)| *treatment == Treatment::Drop)
    }

    /// Of `headers` those that would be shown. Takes no memory where there are none.
    #[must_use]
    pub fn kept(&self, headers: &HeaderMap) -> HeaderMap {
        let mut kept = HeaderMap::new();
        for shown in self.all(headers) {
            for value in headers.get_all(shown.name) {
                kept.append(shown.name.clone(), value.clone());
            }
        }
        kept
    }

    /// Calls `show` for each header that is shown, as far as there is room, and gives how many are left out.
    pub(super) fn each<'a>(&'a self, headers: &'a HeaderMap, mut show: impl FnMut(Shown<'a>)) -> usize {
        let (mut room, mut left_out) = (TOTAL_LIMIT, 0);
        for shown in self.all(headers) {
            match room.checked_sub(shown.size()) {
                Some(rest) => {
                    room = rest;
                    show(shown);
                }
                None => left_out += 1,
            }
        }
        left_out
    }

    fn all<'a>(&'a self, headers: &'a HeaderMap) -> impl Iterator<Item = Shown<'a>> {
        let everything = self.others != Treatment::Drop;
        let named = self.named.iter().filter(move |(name, _)| !everything && headers.contains_key(name));
        let named = named.map(|(name, treatment)| (name, *treatment));
        let all = headers.keys().filter(move |_| everything).map(|name| (name, self.treatment(name)));
        named.chain(all).filter(|(_, treatment)| *treatment != Treatment::Drop).map(|(name, treatment)| Shown {
            headers,
            name,
            treatment: settled(name, treatment),
        })
    }

    fn treatment(&self, name: &HeaderName) -> Treatment {
        let named = self.named.iter().find(|(other, _)| other == name);
        named.map_or(self.others, |(_, treatment)| *treatment)
    }
}

/// What a careful treatment comes to.
fn settled(name: &HeaderName, treatment: Treatment) -> Treatment {
    match treatment {
        Treatment::Careful if SECRET.contains(name) || SECRET_BY_CUSTOM.contains(&name.as_str()) => Treatment::Redact,
        Treatment::Careful if !LINKS.contains(name) => Treatment::Keep,
        settled => settled,
    }
}

impl<'a> Shown<'a> {
    pub(super) fn name(self) -> &'a str {
        self.name.as_str()
    }

    /// Writes the value, piece by piece: the lines of a header are joined by commas (RFC 9110, 5.3), what is no text
    /// is replaced.
    pub(super) fn pieces(self, mut write: impl FnMut(&str) -> fmt::Result) -> fmt::Result {
        if self.treatment == Treatment::Redact {
            return write(REDACTED);
        }
        let mut room = VALUE_LIMIT;
        for (at, value) in self.headers.get_all(self.name).iter().enumerate() {
            if at > 0 {
                write(", ")?;
            }
            let bytes = self.shown(value);
            let fitting = bytes.get(..room).unwrap_or(bytes);
            for chunk in fitting.utf8_chunks() {
                write(chunk.valid())?;
                if !chunk.invalid().is_empty() {
                    write("\u{fffd}")?;
                }
            }
            if fitting.len() < bytes.len() {
                return write(CUT);
            }
            room -= fitting.len();
        }
        Ok(())
    }

    fn shown(self, value: &HeaderValue) -> &[u8] {
        if self.treatment == Treatment::Careful { plain(value.as_bytes()) } else { value.as_bytes() }
    }

    fn size(self) -> usize {
        let values: usize = match self.treatment {
            Treatment::Redact => REDACTED.len(),
            _ => self.headers.get_all(self.name).iter().map(|value| value.len() + 2).sum(),
        };
        self.name().len() + values.min(VALUE_LIMIT)
    }
}

/// A URL without user, query and fragment.
fn plain(url: &[u8]) -> &[u8] {
    let end = url.iter().position(|byte| matches!(byte, b'?' | b'#')).unwrap_or(url.len());
    let url = url.get(..end).unwrap_or_default();
    // RFC 3986, 3.2: "The authority component is preceded by a double slash"; 3.2.1: user information ends with an "@".
    let user = url.iter().rposition(|byte| *byte == b'@').filter(|_| url.windows(2).any(|two| two == b"//"));
    user.map_or(url, |at| url.get(at + 1..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &[u8])]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_bytes(value).unwrap());
        }
        headers
    }

    fn rules(named: &[(&'static str, Treatment)], others: Treatment) -> HeaderRules {
        let named = named.iter().map(|(name, treatment)| (HeaderName::from_static(name), *treatment));
        HeaderRules::new(named.collect(), others)
    }

    fn shown(rules: &HeaderRules, headers: &HeaderMap) -> Vec<String> {
        let mut all = Vec::new();
        let left_out = rules.each(headers, |shown| {
            let mut text = format!("{}: ", shown.name());
            shown
                .pieces(|piece| {
                    text.push_str(piece);
                    Ok(())
                })
                .unwrap();
            all.push(text);
        });
        if left_out > 0 {
            all.push(format!("{left_out} more"));
        }
        all
    }

    #[test]
    fn what_is_not_asked_for_is_not_shown() {
        let all = headers(&[("user-agent", b"curl"), ("x", b"1"), ("authorization", b"Basic x")]);
        assert!(HeaderRules::default().is_empty());
        assert_eq!(shown(&HeaderRules::default(), &all), Vec::<String>::new());
        let one = rules(&[("user-agent", Treatment::Careful), ("y", Treatment::Keep)], Treatment::Drop);
        assert_eq!(shown(&one, &all), ["user-agent: curl"]);
        assert_eq!(one.kept(&all), headers(&[("user-agent", b"curl")]));
    }

    #[test]
    fn credentials_are_shown_only_when_that_is_said() {
        let all = headers(&[
            ("authorization", b"s3cret"),
            ("cookie", b"s3cret"),
            ("set-cookie", b"s3cret"),
            ("set-cookie", b"s3cret"),
            ("proxy-authorization", b"s3cret"),
            ("x-api-key", b"s3cret"),
            ("x", b"1"),
        ]);
        let everything = rules(&[("x", Treatment::Drop)], Treatment::Careful);
        let redacted = shown(&everything, &all);
        assert_eq!(redacted.len(), 5, "{redacted:?}");
        assert!(redacted.iter().all(|line| line.ends_with(": REDACTED")), "{redacted:?}");
        let named = rules(&[("cookie", Treatment::Careful), ("authorization", Treatment::Keep)], Treatment::Drop);
        assert_eq!(shown(&named, &all), ["cookie: REDACTED", "authorization: s3cret"]);
        let every = rules(&[], Treatment::Redact);
        assert!(shown(&every, &all).iter().all(|line| line.ends_with(": REDACTED")));
    }

    #[test]
    fn of_a_url_the_user_and_the_query_are_left_out() {
        for (url, left) in [
            ("https://a.example/x?token=1#y", "https://a.example/x"),
            ("https://me:pw@a.example/x", "a.example/x"),
            ("//me@a.example", "a.example"),
            ("/x@y", "/x@y"),
            ("/x#token=1", "/x"),
            ("", ""),
        ] {
            assert_eq!(plain(url.as_bytes()), left.as_bytes(), "{url}");
        }
        let all = headers(&[("referer", b"https://a.example/x?token=1")]);
        assert_eq!(shown(&rules(&[], Treatment::Careful), &all), ["referer: https://a.example/x"]);
        let kept = rules(&[("referer", Treatment::Keep)], Treatment::Drop);
        assert_eq!(shown(&kept, &all), ["referer: https://a.example/x?token=1"]);
    }

    #[test]
    fn what_is_shown_is_bounded() {
        let long = vec![b'x'; 60_000];
        let all = headers(&[("a", &long[..600]), ("a", &long[..600]), ("b", b"\xff\xfe ok"), ("c", &long)]);
        let lines = shown(&rules(&[], Treatment::Keep), &all);
        let a = lines.iter().find(|line| line.starts_with("a: ")).unwrap();
        assert!(a.ends_with(CUT) && a.len() == 3 + 600 + 2 + 424 + CUT.len(), "{a}");
        assert!(lines.contains(&"b: \u{fffd}\u{fffd} ok".to_owned()), "{lines:?}");

        let names: Vec<String> = (0..100).map(|n| format!("x-{n}")).collect();
        let mut many = HeaderMap::new();
        for name in &names {
            many.insert(HeaderName::try_from(name).unwrap(), HeaderValue::from_bytes(&long).unwrap());
        }
        let lines = shown(&rules(&[], Treatment::Keep), &many);
        assert_eq!(lines.len(), 8, "{}", lines.len());
        assert_eq!(lines[7], "93 more");
    }
}
