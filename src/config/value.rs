//! The values that settings take: each reads itself from text, and cannot hold what is not allowed.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::layers::{meant_or, nearest};

/// A value that is written as one text, in a file, a variable or a flag.
pub trait Setting: Sized {
    /// What may be written, in words.
    const ALLOWED: &'static str;
    /// The words that may be written, if it is a choice of words.
    const WORDS: &'static [&'static str] = &[];
    /// Whether it has parts of its own, and may be written as a mapping of the file.
    const STRUCTURED: bool = false;
    /// An example for the file, line by line.
    const EXAMPLE: &'static [&'static str] = &[];

    /// Reads the text; `None` if it is not allowed.
    fn parse(text: &str) -> Option<Self>;

    /// Which part of a text that is not allowed is to blame; `None` where it has no parts.
    fn fault(_text: &str) -> Option<Fault> {
        None
    }
}

/// What is wrong with a part of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The way to the part, as `443.proxyProtocol.mode`; empty for the whole.
    pub path: String,
    /// What is wrong, and what is allowed, in words.
    pub why: String,
}

impl Fault {
    /// This is wrong with that part.
    #[must_use]
    pub fn new(path: &str, why: String) -> Fault {
        Fault { path: path.to_owned(), why }
    }

    /// A part with a name that is none of the known ones.
    #[must_use]
    pub fn unknown(path: &str, name: &str, known: &[&'static str]) -> Fault {
        let nearest = nearest(name, known).map(|nearest| format!("{nearest:?}"));
        Fault::new(path, format!("unknown field{}", meant_or(nearest, &known.join(", "))))
    }
}

/// A `controllerName` of a GatewayClass: a domain and a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControllerName(String);

impl ControllerName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Setting for ControllerName {
    const ALLOWED: &'static str = "a domain, a slash and a path, as example.com/gateways, at most 253 characters";

    fn parse(text: &str) -> Option<Self> {
        let (domain, path) = text.split_once('/')?;
        let label = |l: &str| {
            !l.is_empty()
                && !l.starts_with('-')
                && !l.ends_with('-')
                && l.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        let in_path = |b: u8| b.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&b);
        let fits = text.len() <= 253 && domain.split('.').all(label) && !path.is_empty() && path.bytes().all(in_path);
        fits.then(|| ControllerName(text.to_owned()))
    }
}

/// Address and port of the admin server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdminAddress(pub SocketAddr);

impl Setting for AdminAddress {
    const ALLOWED: &'static str = "an IP address and a port, as 127.0.0.1:15000 or [::1]:15000; port 0 is any free one";

    /// Brackets around an IPv4 address are taken too: who puts the address of a pod in, does not know which it will be.
    fn parse(text: &str) -> Option<Self> {
        let bracketed = || {
            let (ip, port) = text.strip_prefix('[')?.split_once("]:")?;
            Some(SocketAddr::new(ip.parse().ok()?, port.parse().ok()?))
        };
        text.parse().ok().or_else(bracketed).map(AdminAddress)
    }
}

/// Number of data workers, 0 to 1024; 0 stands for one a core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Workers(pub u16);

impl Setting for Workers {
    const ALLOWED: &'static str = "a number from 0 to 1024";

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok().filter(|n| *n <= 1024).map(Workers)
    }
}

/// What is added to ports below 1024, 0 to 64512.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortOffset(pub u16);

impl Setting for PortOffset {
    const ALLOWED: &'static str = "a number from 0 to 64512";

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok().filter(|n| *n <= 65_535 - 1_023).map(PortOffset)
    }
}

/// Concurrent requests of a connection, 1 to 65535.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Streams(pub u32);

impl Setting for Streams {
    const ALLOWED: &'static str = "a number from 1 to 65535";

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok().filter(|n: &u16| *n > 0).map(|n| Streams(u32::from(n)))
    }
}

/// A number of connections, 1 to 1,000,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connections(pub usize);

impl Setting for Connections {
    const ALLOWED: &'static str = "a number from 1 to 1000000";

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok().filter(|n| (1..=1_000_000).contains(n)).map(Connections)
    }
}

/// Bytes of a header block, 4 KiB to 1 MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeaderSize(pub u32);

impl Setting for HeaderSize {
    const ALLOWED: &'static str = "a number of bytes, or of KiB or MiB, as 65536 or 64KiB; from 4KiB to 1MiB";

    fn parse(text: &str) -> Option<Self> {
        bytes(text, 4 << 10, 1 << 20).map(HeaderSize)
    }
}

/// Bytes that are under way on a connection, 16 KiB to 1 GiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowSize(pub u32);

impl Setting for WindowSize {
    const ALLOWED: &'static str = "a number of bytes, or of KiB or MiB, as 65536 or 64KiB; from 16KiB to 1024MiB";

    fn parse(text: &str) -> Option<Self> {
        bytes(text, 16 << 10, 1 << 30).map(WindowSize)
    }
}

/// A number of frames, 1 to 1,000,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frames(pub u32);

impl Setting for Frames {
    const ALLOWED: &'static str = "a number from 1 to 1000000";

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok().filter(|n| (1..=1_000_000).contains(n)).map(Frames)
    }
}

/// Bytes of a request line, 1 KiB to 60 KiB: a longer target is none to Pingora.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineSize(pub u32);

impl Setting for LineSize {
    const ALLOWED: &'static str = "a number of bytes, or of KiB, as 16384 or 16KiB; from 1KiB to 60KiB";

    fn parse(text: &str) -> Option<Self> {
        bytes(text, 1 << 10, 60 << 10).map(LineSize)
    }
}

/// Fields of a header block, 1 to 256: Pingora reads no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fields(pub u16);

impl Setting for Fields {
    const ALLOWED: &'static str = "a number from 1 to 256";

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok().filter(|n| (1..=256).contains(n)).map(Fields)
    }
}

/// Bytes of a body, 0 to 1024 GiB, or no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodySize(pub Option<u64>);

impl Setting for BodySize {
    const ALLOWED: &'static str = "none, or a number of bytes, or of KiB, MiB or GiB, as 10MiB; up to 1024GiB";

    fn parse(text: &str) -> Option<Self> {
        if text == "none" {
            return Some(BodySize(None));
        }
        bytes(text, 0, 1 << 40).map(|bytes| BodySize(Some(bytes)))
    }
}

/// Reads a number of bytes from `least` to `most`.
fn bytes<T: TryFrom<u64>>(text: &str, least: u64, most: u64) -> Option<T> {
    let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
    let with_unit = units.iter().find_map(|(unit, bytes)| Some((text.strip_suffix(unit)?, *bytes)));
    let (number, unit) = with_unit.unwrap_or((text, 1));
    let bytes = number.parse::<u64>().ok()?.checked_mul(unit)?;
    (least..=most).contains(&bytes).then(|| T::try_from(bytes).ok())?
}

/// A span of time, 0 to one hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub Duration);

impl Setting for Span {
    const ALLOWED: &'static str = "whole numbers with the units h, m, s and ms, as 5s or 1m30s; from 0s to 1h";

    fn parse(text: &str) -> Option<Self> {
        span(text, Duration::ZERO).map(Span)
    }
}

/// A span of time after which something is given up, 1 millisecond to one hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeout(pub Duration);

impl Setting for Timeout {
    const ALLOWED: &'static str = "whole numbers with the units h, m, s and ms, as 5s or 1m30s; from 1ms to 1h";

    fn parse(text: &str) -> Option<Self> {
        span(text, Duration::from_millis(1)).map(Timeout)
    }
}

/// A span of time in whole seconds, one second to one hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seconds(pub Duration);

impl Setting for Seconds {
    const ALLOWED: &'static str = "whole seconds with the units h, m and s, as 75s or 1m15s; from 1s to 1h";

    fn parse(text: &str) -> Option<Self> {
        span(text, Duration::from_secs(1)).filter(|span| span.subsec_nanos() == 0).map(Seconds)
    }
}

/// Reads a span of time from `least` to one hour.
fn span(text: &str, least: Duration) -> Option<Duration> {
    let mut rest = text;
    let mut sum: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, after) = rest.split_at(digits);
        let unit = after.len() - after.trim_start_matches(|c: char| c.is_ascii_lowercase()).len();
        let (unit, after) = after.split_at(unit);
        let milliseconds = match unit {
            "h" => 3_600_000,
            "m" => 60_000,
            "s" => 1_000,
            "ms" => 1,
            _ => return None,
        };
        // five digits, as the durations of the Gateway API (GEP-2257)
        let number: u64 = number.parse().ok().filter(|_| digits <= 5)?;
        sum += number * milliseconds;
        rest = after;
    }
    let span = Duration::from_millis(sum);
    (!text.is_empty() && (least..=Duration::from_hours(1)).contains(&span)).then_some(span)
}

macro_rules! choice {
    ($(#[$meta:meta])* $name:ident, $allowed:literal { $($(#[$vmeta:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$vmeta])* $variant,)+ }

        impl $name {
            /// The value as written.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word,)+ }
            }
        }

        impl Setting for $name {
            const ALLOWED: &'static str = $allowed;
            const WORDS: &'static [&'static str] = &[$($word),+];

            fn parse(text: &str) -> Option<Self> {
                match text { $($word => Some($name::$variant),)+ _ => None }
            }
        }
    };
}

choice! {
    /// The least severe events that are logged.
    LogLevel, "off, error, warn, info, debug or trace" {
        /// Nothing at all.
        Off = "off",
        /// What needs a person.
        Error = "error",
        /// What may need a person.
        Warn = "warn",
        /// What happened.
        Info = "info",
        /// What happened to each connection.
        Debug = "debug",
        /// Everything; in a release the same as `debug`.
        Trace = "trace",
    }
}

choice! {
    /// How events are logged.
    LogFormat, "text or json" {
        /// For people.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
}

choice! {
    /// How requests are logged.
    AccessLog, "json, common, text or off" {
        /// One JSON object a line.
        Json = "json",
        /// The Common Log Format.
        Common = "common",
        /// For people.
        Text = "text",
        /// Not at all.
        Off = "off",
    }
}

choice! {
    /// A version of TLS.
    TlsVersion, "1.2 or 1.3" {
        /// 1.2.
        V12 = "1.2",
        /// 1.3.
        V13 = "1.3",
    }
}

/// A number of connections, 0 to 10,000,000; 0 stands for as many as there are descriptors for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MostConnections(pub usize);

impl Setting for MostConnections {
    const ALLOWED: &'static str = "a number from 0 to 10000000";

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok().filter(|n| *n <= 10_000_000).map(MostConnections)
    }
}

choice! {
    /// How listeners are reached from outside the process.
    Expose, "host or service" {
        /// By their ports on this machine.
        Host = "host",
        /// By a Service for each Gateway.
        Service = "service",
    }
}

/// A Kubernetes label selector; empty selects everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector(String);

impl Selector {
    /// The selector, if there is one.
    #[must_use]
    pub fn given(&self) -> Option<&str> {
        Some(self.0.as_str()).filter(|text| !text.is_empty())
    }
}

impl Setting for Selector {
    const ALLOWED: &'static str = "a label selector as kubectl takes it, as tier=edge,zone!=lan or tier in (edge,dmz)";

    /// What is no selector at all is refused here, the rest by the API server.
    fn parse(text: &str) -> Option<Self> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_./=!,() ".contains(c);
        let fits = text.chars().all(allowed) && !text.starts_with([',', '=']) && !text.ends_with(',');
        fits.then(|| Selector(text.trim().to_owned()))
    }
}

/// Names separated by commas; may be empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names(pub Vec<String>);

impl Setting for Names {
    const ALLOWED: &'static str =
        "names separated by commas, as shop,blog: lower case letters, digits, hyphens, dots and colons";

    fn parse(text: &str) -> Option<Self> {
        if text.trim().is_empty() {
            return Some(Names(Vec::new()));
        }
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.:".contains(c);
        let names: Vec<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
        names.iter().all(|name| !name.is_empty() && name.chars().all(plain)).then_some(Names(names))
    }
}

/// The address of a collector; empty is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collector(Option<http::Uri>);

impl Collector {
    /// The address, if there is one.
    #[must_use]
    pub fn given(&self) -> Option<&http::Uri> {
        self.0.as_ref()
    }
}

impl Setting for Collector {
    const ALLOWED: &'static str =
        "a URL with http or https and a host, without user, query or fragment, as http://otel:4318";

    fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Collector(None));
        }
        let url: http::Uri = text.parse().ok().filter(|_| !text.contains('#'))?;
        let known = matches!(url.scheme_str(), Some("http" | "https"));
        let plain = url.query().is_none() && !url.authority()?.as_str().contains('@');
        (known && plain && !url.host()?.is_empty()).then_some(Collector(Some(url)))
    }
}

/// The name of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceName(pub String);

impl Setting for ServiceName {
    const ALLOWED: &'static str = "1 to 255 letters, digits, dots, hyphens, underscores and slashes";

    fn parse(text: &str) -> Option<Self> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || ".-_/".contains(c);
        ((1..=255).contains(&text.len()) && text.chars().all(allowed)).then(|| ServiceName(text.to_owned()))
    }
}

/// A path of a file; empty is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilePath(PathBuf);

impl FilePath {
    /// The path, if there is one.
    #[must_use]
    pub fn given(&self) -> Option<&Path> {
        Some(self.0.as_path()).filter(|path| !path.as_os_str().is_empty())
    }
}

impl Setting for FilePath {
    const ALLOWED: &'static str = "a path of a file";

    fn parse(text: &str) -> Option<Self> {
        (!text.contains('\0')).then(|| FilePath(PathBuf::from(text)))
    }
}
