//! What a family of metrics is: its name, its kind, its labels. Each writer declares its own as constants; all of them
//! together are [`FAMILIES`], from which `docs/metrics.md` is made, also those that show only once something was
//! counted.

use std::fmt::{self, Write};

use super::{access_log, build, cluster, config, connections, mirrors, panics, requests, retries, spans, upstream};
use crate::telemetry::Reason;

/// One family of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Family {
    /// Name, with its unit at the end.
    pub name: &'static str,
    /// What may be done with its samples.
    pub kind: Kind,
    /// Names of its labels, in the order of its samples.
    pub labels: &'static [&'static str],
    /// What a sample says.
    pub help: &'static str,
    /// All values of the last label, where they are known beforehand.
    pub values: &'static [&'static str],
}

/// Kind of a family, as the text format says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only ever grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by size, with the labels `le`, and a sum.
    Histogram,
}

/// Every family that a process may show, by the part that writes it.
pub const FAMILIES: &[&[Family]] = &[
    requests::FAMILIES,
    retries::FAMILIES,
    upstream::FAMILIES,
    mirrors::FAMILIES,
    connections::FAMILIES,
    panics::FAMILIES,
    config::FAMILIES,
    cluster::FAMILIES,
    access_log::FAMILIES,
    spans::FAMILIES,
    build::FAMILIES,
];

/// Every label, and what it says.
pub const LABELS: &[(&str, &str)] = &[
    ("gateway_namespace", "Namespace of the Gateway that took the request; empty if none did."),
    ("gateway", "Name of the Gateway."),
    (
        "listener",
        "Name of the listener; of connections, the address that accepts them, which several listeners may share.",
    ),
    ("route_kind", "Kind of the route whose rule matched; empty if none did."),
    ("route_namespace", "Namespace of the route."),
    ("route", "Name of the route."),
    ("code", "Status code sent, 100 to 599; 0 if none was sent, or none that is valid."),
    ("reason", "Of requests: the word of `docs/reasons.md`, `none` for what an endpoint answered."),
    ("worker", "Number of the data worker, from 0."),
    ("namespace", "Namespace of the Service."),
    ("service", "Name of the Service."),
    ("port", "Port of the Service."),
    ("kind", "Kind of object."),
    ("stage", "Who found the problem."),
    ("result", "How it ended."),
    ("protocol", "What is spoken: `http1`, `http2` or `websocket`; `tcp` and `tls` while that is not known yet."),
    ("state", "How the endpoint is, or what the connection does."),
    ("name", "The first name in the certificate; empty if it has none."),
    ("cause", "Why."),
    ("version", "Version of Transom; of handshakes, `1.2` or `1.3`, and `none` where none was agreed on."),
    ("commit", "Git commit that it was built from; empty if not known."),
    ("gateway_api", "Version of the Gateway API that is served."),
];

impl Family {
    /// One that only grows.
    pub(super) const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Family { name, kind: Kind::Counter, labels, help, values: &[] }
    }

    /// One that goes up and down.
    pub(super) const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Family { name, kind: Kind::Gauge, labels, help, values: &[] }
    }

    /// One of sizes.
    pub(super) const fn histogram(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Family { name, kind: Kind::Histogram, labels, help, values: &[] }
    }

    /// With all that its last label may say.
    pub(super) const fn of(self, values: &'static [&'static str]) -> Self {
        Family { values, ..self }
    }

    /// For the registry.
    pub(super) fn opts(&self) -> prometheus::Opts {
        prometheus::Opts::new(self.name, self.help)
    }

    /// In what it is measured; empty where things are counted.
    #[must_use]
    pub fn unit(&self) -> &'static str {
        let base = self.name.trim_end_matches("_total");
        ["seconds", "bytes"].into_iter().find(|unit| base.ends_with(unit)).unwrap_or_default()
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        })
    }
}

/// The text of `docs/metrics.md`.
#[must_use]
pub fn reference() -> String {
    let mut page = String::from(
        "# Metrics\n\
         \n\
         Made by `make metrics-doc` from the families that the program declares; do not edit.\n\
         \n\
         `/metrics` of the admin server shows them in Prometheus' text format. A family without a sample is not shown: what\n\
         is counted by route, Service or cause shows once there was something to count, and what concerns an API server\n\
         shows with `--kubernetes` only. No label has a value that a client or an endpoint may choose, save for status codes\n\
         from 100 to 599. Series go when their Gateway, listener, route or Service goes. `config/prometheus.yaml` and\n\
         `config/prometheus-rules.yaml` are an example of how to scrape and what to be told of.\n\
         \n\
         Durations are counted in buckets up to ",
    );
    let bounds: Vec<String> = super::series::BOUNDS_MICROS.iter().map(|micros| millis(*micros)).collect();
    let (last, others) = bounds.split_last().map_or(("", &[][..]), |(last, others)| (last.as_str(), others));
    let _ = writeln!(
        page,
        "{} and {last} ms;\n`transom_config_propagation_seconds` has its own, from 1 ms to 10 s.\n",
        others.join(", ")
    );
    page.push_str("| metric | kind | unit | labels | what it says |\n|---|---|---|---|---|\n");
    for family in FAMILIES.iter().copied().flatten() {
        let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        let _ = write!(
            page,
            "| `{}` | {} | {} | {} | {}",
            family.name,
            family.kind,
            family.unit(),
            labels.join(", "),
            family.help
        );
        if let (Some(label), false) = (family.labels.last(), family.values.is_empty()) {
            let values: Vec<String> = family.values.iter().map(|value| format!("`{value}`")).collect();
            let _ = write!(page, " `{label}` is one of {}.", values.join(", "));
        }
        page.push_str(" |\n");
    }
    page.push_str("\n## Labels\n\n| label | what it says |\n|---|---|\n");
    for (label, meaning) in LABELS {
        let _ = writeln!(page, "| `{label}` | {meaning} |");
    }
    page
}

fn millis(micros: u64) -> String {
    match (micros / 1000, micros % 1000) {
        (whole, 0) => whole.to_string(),
        (whole, rest) => format!("{whole}.{}", format!("{rest:03}").trim_end_matches('0')),
    }
}

/// The words of every reason, as values of a label.
pub(super) const REASONS: &[&str] = &{
    const WORDS: [&str; Reason::ALL.len()] = words!(Reason::ALL);
    WORDS
};
