//! What the data workers count of clients' connections: how many there are and what they do, how TLS handshakes end,
//! and those that were let go for lack of room. Beside it, until when each certificate that is served is valid.
//!
//! As with requests each worker writes counters of its own, and a scrape adds them up.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use super::family::Family;
use super::lock;
use super::series::add;
use super::text::{Labels, family, sample};

const CONNECTIONS: Family = Family::gauge(
    "transom_connections",
    &["listener", "protocol", "state"],
    "Connections of clients now, by the address that accepted them, what they speak and what they do.",
)
.of(&["opening", "idle", "active"]);
const HANDSHAKES: Family = Family::counter(
    "transom_tls_handshakes_total",
    &["version", "result"],
    "TLS handshakes with clients, by version and result.",
)
.of(HandshakeResult::WORDS);
const SHED: Family = Family::counter(
    "transom_connections_shed_total",
    &["cause"],
    "Connections let go when they came, for lack of room, by cause.",
)
.of(Shed::WORDS);
const NOT_AFTER: Family = Family::gauge(
    "transom_tls_certificate_not_after_seconds",
    &["gateway_namespace", "gateway", "listener", "name"],
    "End of the validity of a certificate that a listener presents, since 1970.",
);

pub(super) const FAMILIES: &[Family] = &[CONNECTIONS, SHED, HANDSHAKES, NOT_AFTER];

macro_rules! labelled {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $word:expr),+ $(,)? } as $type:ty) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$vmeta])* $variant,)+ }

        impl $name {
            const WORDS: &'static [$type] = &[$($word),+];
        }
    };
}

labelled! {
    /// What a connection speaks and does: its labels `protocol` and `state`.
    Doing {
        /// Nothing was said in cleartext yet.
        Opening = ("tcp", "opening"),
        /// The TLS handshake is under way.
        Handshake = ("tls", "opening"),
        /// HTTP/1, between two requests.
        Http1Idle = ("http1", "idle"),
        /// HTTP/1, serving a request or reading its header.
        Http1Active = ("http1", "active"),
        /// HTTP/2 without a request in flight.
        Http2Idle = ("http2", "idle"),
        /// HTTP/2 with requests in flight.
        Http2Active = ("http2", "active"),
        /// A WebSocket.
        WebSocket = ("websocket", "active"),
    } as (&'static str, &'static str)
}

labelled! {
    /// How a TLS handshake ended.
    HandshakeResult {
        /// Well.
        Ok = "ok",
        /// Not in time.
        Timeout = "timeout",
        /// The client left, or was silent when the listener closed.
        Closed = "closed",
        /// It named no server, and no listener takes that.
        NoName = "no_name",
        /// It named a server that no listener takes.
        UnknownName = "unknown_name",
        /// No version, suite, signature or protocol in common.
        Incompatible = "incompatible",
        /// The client refused what it was shown: mostly the certificate.
        ClientAlert = "client_alert",
        /// What came is HTTP in cleartext.
        Plaintext = "plaintext",
        /// What came is no TLS, or breaks its rules.
        Protocol = "protocol",
    } as &'static str
}

labelled! {
    /// The version that was agreed on.
    TlsVersion {
        /// None was.
        None = "none",
        /// 1.2.
        V12 = "1.2",
        /// 1.3.
        V13 = "1.3",
    } as &'static str
}

labelled! {
    /// Why a connection was let go when it came.
    Shed {
        /// There are as many as there may be.
        Limit = "limit",
        /// No descriptor, or no memory of the kernel, was left.
        Descriptors = "descriptors",
    } as &'static str
}

impl HandshakeResult {
    /// As the label `result` says it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::WORDS.get(self as usize).copied().unwrap_or_default()
    }
}

/// What one worker counts. Only that worker writes it.
#[derive(Debug, Default)]
pub struct ConnectionMeter {
    /// By version, then result.
    handshakes: [[AtomicU64; HandshakeResult::WORDS.len()]; TlsVersion::WORDS.len()],
    shed: [AtomicU64; Shed::WORDS.len()],
    listening: Mutex<Vec<Arc<AddressMeter>>>,
}

/// The connections of one worker on one address.
#[derive(Debug)]
pub struct AddressMeter {
    address: SocketAddr,
    doing: [AtomicU64; Doing::WORDS.len()],
}

/// A connection, counted until it is dropped. One thread uses it.
#[derive(Debug)]
pub struct Counted {
    meter: Arc<AddressMeter>,
    doing: AtomicU8,
}

/// Until when a certificate is valid that a listener presents.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CertificateLabels {
    /// Namespace of the Gateway.
    pub gateway_namespace: String,
    /// Name of the Gateway.
    pub gateway: String,
    /// Name of the listener.
    pub listener: String,
    /// The first name that the certificate holds; empty if none.
    pub name: String,
}

/// The meters of all workers.
#[derive(Debug, Default)]
pub(in crate::telemetry) struct Connections {
    meters: Mutex<Vec<Arc<ConnectionMeter>>>,
    certificates: Mutex<BTreeMap<CertificateLabels, i64>>,
}

impl ConnectionMeter {
    /// A handshake ended.
    pub fn handshake(&self, version: TlsVersion, result: HandshakeResult) {
        if let Some(cell) = self.handshakes.get(version as usize).and_then(|of| of.get(result as usize)) {
            add(cell, 1);
        }
    }

    /// A connection was let go.
    pub fn shed(&self, why: Shed) {
        if let Some(cell) = self.shed.get(why as usize) {
            add(cell, 1);
        }
    }

    /// Where to count the connections of an address.
    #[must_use]
    pub fn address(&self, address: SocketAddr) -> Arc<AddressMeter> {
        let meter = Arc::new(AddressMeter { address, doing: Default::default() });
        lock(&self.listening).push(Arc::clone(&meter));
        meter
    }
}

impl AddressMeter {
    /// Counts a connection.
    #[must_use]
    pub fn count(self: &Arc<Self>, doing: Doing) -> Counted {
        self.change(doing as u8, 1);
        Counted { meter: Arc::clone(self), doing: AtomicU8::new(doing as u8) }
    }

    /// Up, or down by a number that wraps around.
    fn change(&self, doing: u8, by: u64) {
        if let Some(cell) = self.doing.get(usize::from(doing)) {
            add(cell, by);
        }
    }
}

impl Counted {
    /// From now on it does this.
    pub fn does(&self, doing: Doing) {
        let (before, now) = (self.doing.load(Relaxed), doing as u8);
        if before != now {
            self.meter.change(before, u64::MAX);
            self.meter.change(now, 1);
            self.doing.store(now, Relaxed);
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.meter.change(self.doing.load(Relaxed), u64::MAX);
    }
}

impl Connections {
    pub(in crate::telemetry) fn add_meter(&self) -> Arc<ConnectionMeter> {
        let meter = Arc::<ConnectionMeter>::default();
        lock(&self.meters).push(Arc::clone(&meter));
        meter
    }

    /// The certificates that are served now. Of two with the same labels the one that ends first counts.
    pub(in crate::telemetry) fn certificates(&self, served: impl Iterator<Item = (CertificateLabels, i64)>) {
        let mut all = BTreeMap::new();
        for (labels, not_after) in served {
            all.entry(labels).and_modify(|until: &mut i64| *until = not_after.min(*until)).or_insert(not_after);
        }
        *lock(&self.certificates) = all;
    }

    pub(super) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let meters = lock(&self.meters).clone();
        let mut labels = Labels::default();
        write_connections(out, &mut labels, &meters)?;
        let sum = |of: &dyn Fn(&ConnectionMeter) -> Option<&AtomicU64>| -> u64 {
            meters.iter().filter_map(|meter| of(meter)).map(|cell| cell.load(Relaxed)).sum()
        };
        family(out, &SHED)?;
        for (at, cause) in Shed::WORDS.iter().enumerate() {
            labels.clear();
            labels.push("cause", cause);
            sample(out, &SHED, "", &labels, sum(&|meter| meter.shed.get(at)))?;
        }
        let mut announced = false;
        for (version, version_word) in TlsVersion::WORDS.iter().enumerate() {
            for (result, result_word) in HandshakeResult::WORDS.iter().enumerate() {
                let count = sum(&|meter| meter.handshakes.get(version)?.get(result));
                if count == 0 {
                    continue;
                }
                if !std::mem::replace(&mut announced, true) {
                    family(out, &HANDSHAKES)?;
                }
                labels.clear();
                labels.push("version", version_word);
                labels.push("result", result_word);
                sample(out, &HANDSHAKES, "", &labels, count)?;
            }
        }
        self.write_certificates(out, &mut labels)
    }

    fn write_certificates(&self, out: &mut dyn Write, labels: &mut Labels) -> io::Result<()> {
        let certificates = lock(&self.certificates).clone();
        if !certificates.is_empty() {
            family(out, &NOT_AFTER)?;
        }
        for (of, not_after) in &certificates {
            labels.clear();
            labels.push("gateway_namespace", &of.gateway_namespace);
            labels.push("gateway", &of.gateway);
            labels.push("listener", &of.listener);
            labels.push("name", &of.name);
            sample(out, &NOT_AFTER, "", labels, not_after)?;
        }
        Ok(())
    }
}

/// Addresses that nobody listens on any more and that have no connection left are forgotten.
fn write_connections(out: &mut dyn Write, labels: &mut Labels, meters: &[Arc<ConnectionMeter>]) -> io::Result<()> {
    let mut totals: BTreeMap<SocketAddr, [u64; Doing::WORDS.len()]> = BTreeMap::new();
    for meter in meters {
        let mut listening = lock(&meter.listening);
        listening.retain(|one| Arc::strong_count(one) > 1);
        for one in listening.iter() {
            let total = totals.entry(one.address).or_default();
            total.iter_mut().zip(&one.doing).for_each(|(sum, cell)| *sum = sum.wrapping_add(cell.load(Relaxed)));
        }
    }
    if !totals.is_empty() {
        family(out, &CONNECTIONS)?;
    }
    for (address, counts) in &totals {
        for ((protocol, state), count) in Doing::WORDS.iter().zip(counts) {
            labels.clear();
            labels.push("listener", address);
            labels.push("protocol", protocol);
            labels.push("state", state);
            sample(out, &CONNECTIONS, "", labels, count)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(connections: &Connections) -> String {
        let mut text = Vec::new();
        connections.write(&mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    fn assert_has(page: &str, line: &str) {
        assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
    }

    #[test]
    fn connections_are_counted_by_what_they_do_and_go_with_their_listener() {
        let connections = Connections::default();
        let (one, two) = (connections.add_meter(), connections.add_meter());
        let address: SocketAddr = "127.0.0.1:80".parse().unwrap();
        let (here, there) = (one.address(address), two.address(address));
        let first = here.count(Doing::Opening);
        let second = there.count(Doing::Handshake);
        first.does(Doing::Http1Active);
        first.does(Doing::Http1Idle);
        second.does(Doing::Http1Idle);
        let text = page(&connections);
        let line = |protocol, state, count| {
            format!(
                "transom_connections{{listener=\"127.0.0.1:80\",protocol=\"{protocol}\",state=\"{state}\"}} {count}"
            )
        };
        assert_has(&text, &line("http1", "idle", 2));
        assert_has(&text, &line("http1", "active", 0));
        assert_has(&text, &line("tcp", "opening", 0));
        drop((here, there, first));
        assert_has(&page(&connections), &line("http1", "idle", 1));
        drop(second);
        assert!(!page(&connections).contains("transom_connections{"));
    }

    #[test]
    fn handshakes_are_added_up_by_version_and_result() {
        let connections = Connections::default();
        let (one, two) = (connections.add_meter(), connections.add_meter());
        assert!(!page(&connections).contains(HANDSHAKES.name));
        one.handshake(TlsVersion::V13, HandshakeResult::Ok);
        two.handshake(TlsVersion::V13, HandshakeResult::Ok);
        two.handshake(TlsVersion::None, HandshakeResult::Plaintext);
        one.shed(Shed::Descriptors);
        let text = page(&connections);
        assert_has(&text, r#"transom_tls_handshakes_total{version="1.3",result="ok"} 2"#);
        assert_has(&text, r#"transom_tls_handshakes_total{version="none",result="plaintext"} 1"#);
        assert_has(&text, r#"transom_connections_shed_total{cause="descriptors"} 1"#);
        assert_has(&text, r#"transom_connections_shed_total{cause="limit"} 0"#);
    }

    #[test]
    fn the_certificate_that_ends_first_counts_and_what_is_gone_is_forgotten() {
        let connections = Connections::default();
        let of = |name: &str| CertificateLabels {
            gateway_namespace: "n".into(),
            gateway: "g".into(),
            listener: "l".into(),
            name: name.into(),
        };
        connections.certificates([(of("a.com"), 20), (of("a.com"), 10), (of("b.com"), 30)].into_iter());
        let text = page(&connections);
        let line = |name, at| {
            format!(
                "transom_tls_certificate_not_after_seconds{{gateway_namespace=\"n\",gateway=\"g\",listener=\"l\",name=\"{name}\"}} {at}"
            )
        };
        assert_has(&text, &line("a.com", 10));
        assert_has(&text, &line("b.com", 30));
        connections.certificates(std::iter::empty());
        assert!(!page(&connections).contains(NOT_AFTER.name));
    }
}
