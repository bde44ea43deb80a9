//! The request that is asked about, as a client would send it.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

use crate::cli::Failure;

/// A request, before the gateway has looked at it.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Method.
    pub method: Method,
    /// As it was given.
    pub url: String,
    /// How the client speaks.
    pub scheme: Scheme,
    /// Host of the URL: where the client connects, and its SNI. An IPv6 address without brackets.
    pub target: String,
    /// Port the client connects to.
    pub port: u16,
    /// The `Host` header, or `:authority`.
    pub authority: String,
    /// Path as sent.
    pub path: String,
    /// Query as sent, without `?`.
    pub query: Option<String>,
    /// Headers, without `Host`.
    pub headers: HeaderMap,
}

/// How the client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// In cleartext.
    Http,
    /// In TLS.
    Https,
}

impl Asked {
    /// Reads method, URL and headers (`name: value`) of a command line. A URL without scheme is one of `http`, as
    /// curl has it; a `Host` header beats the URL's host.
    ///
    /// # Errors
    /// What cannot be sent.
    pub fn read(method: &str, url: &str, headers: &[String]) -> Result<Asked, Failure> {
        let wrong = |message: String| Failure::WrongUse(message);
        let method = Method::from_bytes(method.as_bytes())
            .ok()
            .filter(|method| !method.as_str().bytes().any(|b| b.is_ascii_lowercase()))
            .ok_or_else(|| wrong(format!("method: found {method:?}, allowed: a method in capitals, as GET or POST")))?;
        let whole = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let bad =
            |why: &str| wrong(format!("url: found {url:?}: {why}; allowed: http(s)://HOST[:PORT][/PATH][?QUERY]"));
        let uri: Uri = whole.parse().map_err(|error: http::uri::InvalidUri| bad(&error.to_string()))?;
        let scheme = match uri.scheme_str() {
            Some("http") => Scheme::Http,
            Some("https") => Scheme::Https,
            _ => return Err(bad("unknown scheme")),
        };
        let authority = uri.authority().filter(|a| !a.host().is_empty()).ok_or_else(|| bad("no host"))?;
        let written = authority.as_str().rsplit('@').next().and_then(|whole| whole.strip_prefix(authority.host()));
        let port = match written.and_then(|port| port.strip_prefix(':')).unwrap_or_default() {
            "" => scheme.port(),
            port => port.parse().ok().filter(|port| *port > 0).ok_or_else(|| bad("a port is 1 to 65535"))?,
        };
        let host = authority.host();
        let mut asked = Asked {
            method,
            url: url.to_owned(),
            scheme,
            target: host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase(),
            port,
            authority: if port == scheme.port() { host.to_owned() } else { format!("{host}:{port}") },
            path: uri.path().to_owned(),
            query: uri.query().map(str::to_owned),
            headers: HeaderMap::new(),
        };
        for header in headers {
            asked.add(header)?;
        }
        Ok(asked)
    }

    fn add(&mut self, header: &str) -> Result<(), Failure> {
        let wrong = |why: &str| Failure::WrongUse(format!("--header: found {header:?}: {why}; allowed: 'name: value'"));
        let (name, value) = header.split_once(':').ok_or_else(|| wrong("no colon"))?;
        let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| wrong("no name of a header"))?;
        let value = HeaderValue::from_bytes(value.trim().as_bytes()).map_err(|_| wrong("no value of a header"))?;
        if name == http::header::HOST {
            self.authority = String::from_utf8_lossy(value.as_bytes()).into_owned();
        } else {
            self.headers.append(name, value);
        }
        Ok(())
    }

    /// The server name that the client sends in its handshake: none for an address (RFC 6066 section 3).
    #[must_use]
    pub fn sni(&self) -> Option<&str> {
        let is_address = self.target.parse::<std::net::IpAddr>().is_ok();
        (self.scheme == Scheme::Https && !is_address).then(|| self.target.trim_end_matches('.'))
    }
}

impl Scheme {
    /// The scheme's own port.
    #[must_use]
    pub fn port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }

    /// As in a URL.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(url: &str, headers: &[&str]) -> Asked {
        let headers: Vec<String> = headers.iter().map(|h| (*h).to_owned()).collect();
        Asked::read("GET", url, &headers).unwrap()
    }

    #[test]
    fn the_port_is_the_urls_or_the_schemes() {
        assert_eq!(asked("http://a.example", &[]).port, 80);
        assert_eq!(asked("https://a.example/x?y=z", &[]).port, 443);
        assert_eq!(asked("https://[::1]:8443/", &[]).port, 8443);
        assert_eq!(asked("a.example:8080/x", &[]).port, 8080);
        assert_eq!(asked("a.example:8080", &[]).authority, "a.example:8080");
        assert_eq!(asked("http://a.example:80/", &[]).authority, "a.example");
    }

    #[test]
    fn a_host_header_beats_the_urls_host_and_leaves_the_sni_alone() {
        let asked = asked("https://a.example/", &["HOST: b.example", "x-a: 1", "X-A: 2"]);
        assert_eq!(asked.authority, "b.example");
        assert_eq!(asked.sni(), Some("a.example"));
        assert_eq!(asked.headers.get_all("x-a").iter().count(), 2);
    }

    #[test]
    fn an_address_is_no_server_name() {
        assert_eq!(asked("https://127.0.0.1/", &[]).sni(), None);
        assert_eq!(asked("https://[::1]/", &[]).sni(), None);
        assert_eq!(asked("http://a.example/", &[]).sni(), None);
    }

    #[test]
    fn what_cannot_be_sent_is_refused_with_what_can() {
        for (method, url, header) in [
            ("get", "http://a/", None),
            ("G ET", "http://a/", None),
            ("GET", "ftp://a/", None),
            ("GET", "http:///x", None),
            ("GET", "http://a b/", None),
            ("GET", "http://a:99999/", None),
            ("GET", "http://a:0/", None),
            ("GET", "", None),
            ("GET", "http://a/", Some("no-colon")),
            ("GET", "http://a/", Some("bad name: x")),
        ] {
            let headers: Vec<String> = header.iter().map(|h| (*h).to_owned()).collect();
            let message = Asked::read(method, url, &headers).map(|a| a.url).unwrap_err().to_string();
            assert!(message.contains("allowed:"), "{message}");
        }
    }
}
