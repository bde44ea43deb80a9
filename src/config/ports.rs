//! Settings by port: whom the peers of a port are believed, and where its requests are sent instead. One mapping from
//! ports, as Gateways name them, to what holds there; written as YAML or JSON. What comes in: a text. What goes out:
//! [`Ports`] that cannot be wrong, or a [`Fault`] that says where in the text what is not allowed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::num::NonZeroU16;

use ipnet::{IpNet, Ipv4Net};
use serde_yaml::Value;

use super::layers::{scalar, shape};
use super::value::{Fault, Setting};

/// Settings of ports. The key is the port that a listener names, whatever it is bound as.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ports(pub BTreeMap<NonZeroU16, Port>);

/// What holds for a port.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Port {
    /// Connections begin with a header of the PROXY protocol.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Peers that are believed what they say of the client in forwarding headers.
    pub forwarders: Vec<IpNet>,
    /// Where every request is sent instead.
    pub redirection: Option<Redirection>,
}

/// How a port takes the PROXY protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyProtocol {
    /// Peers that may send the header; at least one range.
    pub trusted: Vec<IpNet>,
    /// What becomes of a connection without it.
    pub mode: ProxyMode,
}

/// What becomes of a connection without a header of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyMode {
    /// It is closed, as is every connection of a peer that is not trusted.
    Required,
    /// It is served as it is.
    Optional,
}

/// Where every request of a port is sent instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Redirection {
    /// The port that is named.
    pub to: NonZeroU16,
    /// Whether by https; otherwise by http.
    pub https: bool,
    /// Whether a client may remember it.
    pub permanent: bool,
}

impl Setting for Ports {
    const ALLOWED: &'static str = "a mapping, as YAML or JSON, from ports of listeners to proxyProtocol.trustedIPs, \
        proxyProtocol.mode, forwardedHeaders.trustedIPs, redirections.entryPoint.{to,scheme,permanent}";
    const STRUCTURED: bool = true;
    const EXAMPLE: &'static [&'static str] = &[
        "ports:",
        "  \"80\":",
        "    redirections:",
        "      entryPoint: {to: 443, scheme: https, permanent: true}  # scheme and permanent as by default",
        "  \"443\":",
        "    proxyProtocol:",
        "      trustedIPs: [192.0.2.0/24, 2001:db8::7]",
        "      mode: optional  # the default; required closes every connection that comes without the header",
        "    forwardedHeaders:",
        "      trustedIPs: [198.51.100.0/24]",
    ];

    fn parse(text: &str) -> Option<Self> {
        Ports::read(text).ok()
    }

    fn fault(text: &str) -> Option<Fault> {
        Ports::read(text).err()
    }
}

impl Ports {
    fn read(text: &str) -> Result<Ports, Fault> {
        let root: Value = serde_yaml::from_str(text).map_err(|error| Fault::new("", error.to_string()))?;
        let root = Node { path: String::new(), value: &root };
        let mut ports = BTreeMap::new();
        for (key, node) in root.entries()? {
            let port: NonZeroU16 = key
                .parse()
                .ok()
                .filter(|_| is_plain_number(&key))
                .ok_or_else(|| node.wrong("no port, allowed: a number from 1 to 65535".to_owned()))?;
            let settings = Port::read(&node)?;
            if ports.insert(port, settings).is_some() {
                return Err(node.wrong("given twice".to_owned()));
            }
        }
        let ports = Ports(ports);
        ports.refuse_circles()?;
        Ok(ports)
    }

    /// Ports that send clients to each other would do so for ever.
    fn refuse_circles(&self) -> Result<(), Fault> {
        for first in self.0.keys() {
            let (mut port, mut seen) = (first, BTreeSet::new());
            while let Some(redirection) = self.0.get(port).and_then(|settings| settings.redirection.as_ref()) {
                seen.insert(port);
                port = &redirection.to;
                if seen.contains(port) {
                    let why = format!("leads to {port} again, from where clients would go round in circles");
                    return Err(Fault::new(&format!("{first}.redirections.entryPoint.to"), why));
                }
            }
        }
        Ok(())
    }
}

impl Port {
    fn read(node: &Node<'_>) -> Result<Port, Fault> {
        let mut port = Port::default();
        for (key, node) in node.fields(&["proxyProtocol", "forwardedHeaders", "redirections"])? {
            match key {
                "proxyProtocol" => port.proxy_protocol = Some(ProxyProtocol::read(&node)?),
                "forwardedHeaders" => {
                    for (_, node) in node.fields(&["trustedIPs"])? {
                        port.forwarders = node.ranges()?;
                    }
                }
                _ => {
                    for (_, node) in node.fields(&["entryPoint"])? {
                        port.redirection = Some(Redirection::read(&node)?);
                    }
                }
            }
        }
        Ok(port)
    }
}

impl ProxyProtocol {
    fn read(node: &Node<'_>) -> Result<ProxyProtocol, Fault> {
        let mut settings = ProxyProtocol { trusted: Vec::new(), mode: ProxyMode::Optional };
        for (key, node) in node.fields(&["trustedIPs", "mode"])? {
            match (key, node.text().as_deref()) {
                ("trustedIPs", _) => settings.trusted = node.ranges()?,
                (_, Some("required")) => settings.mode = ProxyMode::Required,
                (_, Some("optional")) => settings.mode = ProxyMode::Optional,
                _ => return Err(node.found("required or optional")),
            }
        }
        if settings.trusted.is_empty() {
            let why = "nobody is trusted, so that no header would be read; allowed: at least one address or range";
            return Err(node.child("trustedIPs").wrong(why.to_owned()));
        }
        Ok(settings)
    }
}

impl Redirection {
    fn read(node: &Node<'_>) -> Result<Redirection, Fault> {
        let (mut to, mut https, mut permanent) = (None, true, true);
        for (key, node) in node.fields(&["to", "scheme", "permanent"])? {
            let text = node.text().unwrap_or_default();
            match (key, text.as_str()) {
                ("to", text) => {
                    let port = text.strip_prefix(':').unwrap_or(text);
                    let port = port.parse().ok().filter(|_| is_plain_number(port));
                    to = Some(port.ok_or_else(|| node.found("the port of a listener, as 443 or :443"))?);
                }
                ("scheme", "https") => https = true,
                ("scheme", "http") => https = false,
                ("scheme", _) => return Err(node.found("https or http")),
                (_, "true") => permanent = true,
                (_, "false") => permanent = false,
                _ => return Err(node.found("true or false")),
            }
        }
        let to = to.ok_or_else(|| node.child("to").wrong("missing, allowed: the port of a listener".to_owned()))?;
        Ok(Redirection { to, https, permanent })
    }
}

/// A value of the text, and the way to it.
struct Node<'a> {
    path: String,
    value: &'a Value,
}

impl<'a> Node<'a> {
    /// The entries of a mapping.
    fn entries(&self) -> Result<Vec<(String, Node<'a>)>, Fault> {
        let Value::Mapping(mapping) = self.value else { return Err(self.found("a mapping")) };
        let entry = |(key, value): (&Value, &'a Value)| {
            let key = scalar(key).ok_or_else(|| self.wrong("a key is not a text".to_owned()))?;
            Ok((key.clone(), Node { value, ..self.child(&key) }))
        };
        mapping.iter().map(entry).collect()
    }

    /// The entries of a mapping that has no others than these.
    fn fields(&self, known: &[&'static str]) -> Result<Vec<(&'static str, Node<'a>)>, Fault> {
        let field = |(key, node): (String, Node<'a>)| match known.iter().find(|known| **known == key) {
            Some(known) => Ok((*known, node)),
            None => Err(Fault::unknown(&node.path, &key, known)),
        };
        self.entries()?.into_iter().map(field).collect()
    }

    /// The address ranges of a list, each written as such or as an address.
    fn ranges(&self) -> Result<Vec<IpNet>, Fault> {
        const ALLOWED: &str = "IP addresses and ranges, as 192.0.2.1, 192.0.2.0/24 or 2001:db8::/32";
        let Value::Sequence(items) = self.value else { return Err(self.found(&format!("a list of {ALLOWED}"))) };
        let ranges = items.iter().enumerate().map(|(index, value)| {
            let node = Node { path: format!("{}[{index}]", self.path), value };
            node.text().and_then(|text| range(&text)).ok_or_else(|| node.found(ALLOWED))
        });
        ranges.collect()
    }

    fn text(&self) -> Option<String> {
        scalar(self.value)
    }

    fn child(&self, key: &str) -> Node<'a> {
        let path = if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
        Node { path, value: self.value }
    }

    fn found(&self, allowed: &str) -> Fault {
        let found = self.text().map_or_else(|| shape(self.value).to_owned(), |text| format!("{text:?}"));
        self.wrong(format!("found {found}, allowed: {allowed}"))
    }

    fn wrong(&self, why: String) -> Fault {
        Fault::new(&self.path, why)
    }
}

/// A range of addresses; bits beyond its length do not count. One of IPv4 addresses in the form of IPv6 is one of IPv4
/// addresses: clients are told apart in that form.
fn range(text: &str) -> Option<IpNet> {
    const MAPPED: u8 = 96;
    let range: IpNet = text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))?;
    let v4 = match range {
        IpNet::V6(v6) if v6.prefix_len() >= MAPPED => {
            v6.addr().to_ipv4_mapped().and_then(|v4| Ipv4Net::new(v4, v6.prefix_len() - MAPPED).ok())
        }
        _ => None,
    };
    Some(v4.map_or(range, IpNet::V4).trunc())
}

/// Digits alone: what parses numbers takes a sign and zeros in front, too.
fn is_plain_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Ports {
        Ports::read(text).unwrap_or_else(|fault| panic!("{text}: {fault:?}"))
    }

    fn ranges(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn the_example_of_the_documentation_is_read() {
        let text = Ports::EXAMPLE[1..].join("\n");
        let ports = read(&text);
        let port = |number| &ports.0[&NonZeroU16::new(number).unwrap()];
        let redirection = Redirection { to: NonZeroU16::new(443).unwrap(), https: true, permanent: true };
        assert_eq!(*port(80), Port { redirection: Some(redirection), ..Port::default() });
        assert_eq!(
            *port(443),
            Port {
                proxy_protocol: Some(ProxyProtocol {
                    trusted: ranges(&["192.0.2.0/24", "2001:db8::7/128"]),
                    mode: ProxyMode::Optional,
                }),
                forwarders: ranges(&["198.51.100.0/24"]),
                redirection: None,
            }
        );
        assert_eq!(read("{}"), Ports::default());
    }

    #[test]
    fn json_is_yaml_and_a_port_may_be_a_number() {
        let yaml = read("443:\n  proxyProtocol: {trustedIPs: [10.0.0.1], mode: required}\n");
        let json = read(r#"{"443": {"proxyProtocol": {"mode": "required", "trustedIPs": ["10.0.0.1/32"]}}}"#);
        assert_eq!(yaml, json);
    }

    #[test]
    fn ranges_are_brought_into_one_form() {
        for (text, expected) in [
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("10.1.2.3", "10.1.2.3/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("2001:db8::1/32", "2001:db8::/32"),
            ("::1", "::1/128"),
            ("::/0", "::/0"),
            ("::ffff:10.0.0.1", "10.0.0.1/32"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ] {
            assert_eq!(range(text), Some(expected.parse().unwrap()), "{text}");
        }
        for text in ["", "10.0.0.0/33", "10.0.0", "::1/129", "localhost", "10.0.0.1:80", "10.0.0.0/", "fe80::1%eth0"] {
            assert_eq!(range(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_not_allowed_is_named_by_its_place() {
        for (text, path, why) in [
            ("[443]", "", "found a list, allowed: a mapping"),
            ("", "", "found nothing, allowed: a mapping"),
            ("web: {}", "web", "no port, allowed: a number from 1 to 65535"),
            ("0: {}", "0", "no port, allowed: a number from 1 to 65535"),
            ("65536: {}", "65536", "no port, allowed: a number from 1 to 65535"),
            ("\"+80\": {}", "+80", "no port, allowed: a number from 1 to 65535"),
            ("{80: {}, \"80\": {}}", "80", "given twice"),
            ("80: true", "80", "found \"true\", allowed: a mapping"),
            ("80: {proxyProtocol: }", "80.proxyProtocol", "found nothing, allowed: a mapping"),
            (
                "80: {proxyProtocol: {trustedIps: [10.0.0.1]}}",
                "80.proxyProtocol.trustedIps",
                "unknown field; did you mean \"trustedIPs\"?",
            ),
            (
                "80: {forwardedHeaders: {insecure: true}}",
                "80.forwardedHeaders.insecure",
                "unknown field; known: trustedIPs",
            ),
            ("80: {proxyprotocol: {}}", "80.proxyprotocol", "unknown field; did you mean \"proxyProtocol\"?"),
            (
                "80: {proxyProtocol: {mode: required}}",
                "80.proxyProtocol.trustedIPs",
                "nobody is trusted, so that no header would be read; allowed: at least one address or range",
            ),
            (
                "80: {proxyProtocol: {trustedIPs: [10.0.0.1], mode: maybe}}",
                "80.proxyProtocol.mode",
                "found \"maybe\", allowed: required or optional",
            ),
            (
                "80: {forwardedHeaders: {trustedIPs: [10.0.0.1, all]}}",
                "80.forwardedHeaders.trustedIPs[1]",
                "found \"all\", allowed: IP addresses and ranges, as 192.0.2.1, 192.0.2.0/24 or 2001:db8::/32",
            ),
            (
                "80: {redirections: {entryPoint: {to: websecure}}}",
                "80.redirections.entryPoint.to",
                "found \"websecure\", allowed: the port of a listener, as 443 or :443",
            ),
            (
                "80: {redirections: {entryPoint: {scheme: https}}}",
                "80.redirections.entryPoint.to",
                "missing, allowed: the port of a listener",
            ),
            (
                "80: {redirections: {entryPoint: {to: 443, scheme: ftp}}}",
                "80.redirections.entryPoint.scheme",
                "found \"ftp\", allowed: https or http",
            ),
            (
                "80: {redirections: {entryPoint: {to: 443, permanent: 1}}}",
                "80.redirections.entryPoint.permanent",
                "found \"1\", allowed: true or false",
            ),
            (
                "80: {redirections: {entryPoint: {to: 80}}}",
                "80.redirections.entryPoint.to",
                "leads to 80 again, from where clients would go round in circles",
            ),
            (
                "{80: {redirections: {entryPoint: {to: 443}}}, 443: {redirections: {entryPoint: {to: ':80'}}}}",
                "80.redirections.entryPoint.to",
                "leads to 80 again, from where clients would go round in circles",
            ),
        ] {
            assert_eq!(Ports::read(text), Err(Fault::new(path, why.to_owned())), "{text}");
        }
        let whole = "a: [";
        assert!(Ports::read(whole).is_err(), "{whole}");
    }

    #[test]
    fn nobody_is_trusted_to_forward_unless_named() {
        for text in ["80: {}", "80: {forwardedHeaders: {}}", "80: {forwardedHeaders: {trustedIPs: []}}"] {
            assert_eq!(read(text).0[&NonZeroU16::new(80).unwrap()], Port::default(), "{text}");
        }
    }
}
