//! `docs/metrics.md` is true: it is made of the families that the program declares, every family that a gateway shows
//! is among them with just its labels, and nothing that a client says makes a series.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod support {
    pub mod process;
}

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use regex::Regex;
use support::process::{Transom, free_port, get};
use transom::telemetry::Reason;
use transom::telemetry::metrics::{FAMILIES, Family, Kind, LABELS, reference};

const PATIENCE: Duration = Duration::from_secs(20);

fn families() -> impl Iterator<Item = &'static Family> {
    FAMILIES.iter().copied().flatten()
}

#[test]
fn the_page_is_made_of_the_families() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    if std::env::var_os("UPDATE_METRICS").is_some() {
        fs::write(&page, reference()).unwrap();
    }
    assert_eq!(fs::read_to_string(page).unwrap(), reference(), "refresh with make metrics-doc");
}

#[test]
fn a_family_has_a_name_of_prometheus_and_labels_that_are_explained() {
    let named = Regex::new("^transom_[a-z0-9_]+$").unwrap();
    let mut names = BTreeSet::new();
    for family in families() {
        assert!(named.is_match(family.name) && names.insert(family.name), "{}", family.name);
        assert_eq!(family.kind == Kind::Counter, family.name.ends_with("_total"), "{}", family.name);
        assert!(family.kind != Kind::Histogram || family.unit() == "seconds", "{}", family.name);
        assert!(family.help.ends_with('.') && !family.help.contains(['|', '\n']), "{}", family.name);
        for label in family.labels {
            assert!(LABELS.iter().any(|(known, _)| known == label), "{}: `{label}` is not explained", family.name);
        }
    }
    for (label, _) in LABELS {
        assert!(families().any(|family| family.labels.contains(label)), "no family has the label `{label}`");
    }
}

/// A name that is no constant of a family would be on the page of a scrape and not in the documentation.
#[test]
fn no_name_stands_in_the_source_that_no_family_has() {
    let text = Regex::new("\"(transom_[a-z0-9_]+)").unwrap();
    let known: BTreeSet<&str> = families().map(|family| family.name).collect();
    let mut found = BTreeSet::new();
    let mut folders = vec![PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.extension().is_some_and(|extension| extension == "rs") {
                let source = fs::read_to_string(&entry).unwrap();
                let source = source.split("#[cfg(test)]\nmod tests").next().unwrap();
                for name in text.captures_iter(source).map(|captures| captures[1].to_owned()) {
                    assert!(known.contains(name.as_str()), "{}: {name} is no family", entry.display());
                    found.insert(name);
                }
            }
        }
    }
    assert_eq!(found.iter().map(String::as_str).collect::<BTreeSet<_>>(), known);
}

#[test]
fn the_rules_for_prometheus_ask_for_nothing_that_there_is_not() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let rules = fs::read_to_string(folder.join("prometheus-rules.yaml")).unwrap();
    let read: serde_yaml::Value = serde_yaml::from_str(&rules).unwrap();
    let recorded: BTreeSet<&str> = read["groups"]
        .as_sequence()
        .unwrap()
        .iter()
        .flat_map(|group| group["rules"].as_sequence().unwrap())
        .inspect(|rule| {
            assert!(rule["expr"].is_string(), "{rule:?}");
            assert!(rule["record"].is_string() != rule["alert"].is_string(), "{rule:?}");
            assert!(rule["alert"].is_null() || rule["annotations"]["summary"].is_string(), "{rule:?}");
        })
        .filter_map(|rule| rule["record"].as_str())
        .collect();
    // in every expression: a name with what is asked of its labels
    let named = Regex::new(r"(transom[:_][a-z0-9_:]+)(?:\{([^}]*)\})?").unwrap();
    let asked = Regex::new(r#"([a-z_]+)(?:=~|=)"([^"]*)""#).unwrap();
    let mut seen = 0;
    for found in named.captures_iter(&rules) {
        let name = &found[1];
        if recorded.contains(name) {
            continue;
        }
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
        let family = families().find(|family| family.name == base).unwrap_or_else(|| panic!("there is no {name}"));
        assert_eq!(family.kind == Kind::Histogram, base != name, "{name}");
        for label in asked.captures_iter(found.get(2).map_or("", |labels| labels.as_str())) {
            assert!(family.labels.contains(&&label[1]), "{name} has no label {}", &label[1]);
            let closed = family.labels.last() == Some(&&label[1]) && !family.values.is_empty();
            assert!(!closed || family.values.contains(&&label[2]), "{name}: {} is never {}", &label[1], &label[2]);
        }
        seen += 1;
    }
    assert!(seen > 10, "{seen}");

    let scrape = fs::read_to_string(folder.join("prometheus.yaml")).unwrap();
    let scrape: serde_yaml::Value = serde_yaml::from_str(&scrape).unwrap();
    assert_eq!(scrape["rule_files"][0], "prometheus-rules.yaml");
    let jobs = scrape["scrape_configs"].as_sequence().unwrap();
    assert_eq!(
        jobs[0]["static_configs"][0]["targets"][0],
        transom::config::Config::default().admin_address.0.to_string()
    );
    assert!(jobs[1]["kubernetes_sd_configs"][0]["role"] == "pod", "{jobs:?}");
}

#[test]
fn every_reason_stands_on_its_page_once_and_in_order() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reasons.md")).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let words: Vec<&str> = rows.map(|(word, _)| word).collect();
    assert_eq!(words, Reason::ALL.iter().map(|reason| reason.as_str()).collect::<Vec<_>>());
    for row in page.lines().filter(|line| line.starts_with("| `")) {
        assert_eq!(row.matches(" | ").count(), 3, "{row}");
    }
}

/// A sample: name, labels, value.
struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

fn samples(page: &str) -> Vec<Sample> {
    let line = Regex::new(r"^([a-z0-9_]+)(?:\{(.*)\})? (\S+)$").unwrap();
    let label = Regex::new(r#"([a-z_]+)="((?:[^"\\]|\\.)*)""#).unwrap();
    let body = page.split_once("\r\n\r\n").unwrap().1;
    body.lines()
        .filter_map(|text| line.captures(text))
        .map(|found| Sample {
            name: found[1].to_owned(),
            labels: label
                .captures_iter(found.get(2).map_or("", |all| all.as_str()))
                .map(|pair| (pair[1].to_owned(), pair[2].to_owned()))
                .collect(),
            value: found[3].parse().unwrap(),
        })
        .collect()
}

/// Whose sample it is.
fn family_of(sample: &Sample) -> &'static Family {
    let is = |family: &&Family| match family.kind {
        Kind::Histogram => {
            sample.name.strip_prefix(family.name).is_some_and(|suffix| ["_bucket", "_sum", "_count"].contains(&suffix))
        }
        Kind::Counter | Kind::Gauge => sample.name == family.name,
    };
    families().find(is).unwrap_or_else(|| panic!("{} is shown and no family", sample.name))
}

fn as_declared(sample: &Sample) {
    let family = family_of(sample);
    let labels: BTreeSet<&str> = sample.labels.iter().map(|(name, _)| name.as_str()).collect();
    let mut declared: BTreeSet<&str> = family.labels.iter().copied().collect();
    if sample.name.ends_with("_bucket") {
        declared.insert("le");
    }
    assert_eq!(labels, declared, "{}", sample.name);
    if let (Some(last), false) = (family.labels.last(), family.values.is_empty()) {
        let value = sample.labels.iter().find(|(name, _)| name == last).unwrap().1.as_str();
        assert!(family.values.contains(&value), "{}: {last} is {value}", sample.name);
    }
}

const MANIFESTS: &str = r#"
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: transom}
spec: {controllerName: transom.dev/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: transom
  addresses: [{value: 127.0.0.1}]
  listeners: [{name: web, protocol: HTTP, port: PORT}]
---
apiVersion: v1
kind: Service
metadata: {name: other, annotations: {transom.dev/echo: other}}
spec: {ports: [{port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: stays}
spec:
  parentRefs: [{name: edge}]
  hostnames: [stays.example]
  rules: [{backendRefs: [{name: other, port: 80}]}]
"#;

/// Everything that is to go.
const PASSING: &str = r#"
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: passing}
spec:
  gatewayClassName: transom
  addresses: [{value: 127.0.0.1}]
  listeners: [{name: secure, protocol: HTTPS, port: HTTPS, tls: {certificateRefs: [{name: passing}]}}]
---
apiVersion: v1
kind: Secret
metadata: {name: passing, annotations: {transom.dev/self-signed: passing.example}}
---
apiVersion: v1
kind: Service
metadata: {name: passing, annotations: {transom.dev/echo: passing}}
spec: {ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: passing-mirror, annotations: {transom.dev/echo: passing-mirror}}
spec: {ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: passing-dead}
spec: {ports: [{name: web, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: passing-dead, labels: {kubernetes.io/service-name: passing-dead}}
addressType: IPv4
ports: [{name: web, port: DEAD}]
endpoints: [{addresses: [127.0.0.1]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: passing}
spec:
  parentRefs: [{name: edge}]
  hostnames: [passing.example]
  rules:
    - matches: [{path: {value: /dead}}]
      backendRefs: [{name: passing-dead, port: 80}]
    - retry: {codes: [503], attempts: 1, backoff: 10ms}
      filters: [{type: RequestMirror, requestMirror: {backendRef: {name: passing-mirror, port: 80}}}]
      backendRefs: [{name: passing, port: 80}]
"#;

fn until(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Sends bytes and reads whatever comes.
fn raw(address: SocketAddr, bytes: &[u8]) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let _ = stream.write_all(bytes);
    let _ = stream.read_to_end(&mut Vec::new());
}

/// Every series of the page, without its value and without those that Prometheus makes of one histogram.
fn series(page: &str) -> BTreeSet<String> {
    let of =
        |sample: Sample| (!sample.name.ends_with("_bucket")).then(|| format!("{} {:?}", sample.name, sample.labels));
    samples(page).into_iter().filter_map(of).collect()
}

#[test]
fn what_a_live_gateway_shows_is_declared_comes_of_objects_only_and_goes_with_them() {
    let space = tempfile::tempdir().unwrap();
    let folder = space.path().join("manifests");
    fs::create_dir(&folder).unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    fs::write(folder.join("a.yaml"), MANIFESTS.replace("PORT", &address.port().to_string())).unwrap();
    let passing = folder.join("b.yaml");
    let secure = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let text =
        PASSING.replace("DEAD", &free_port().to_string()).replace("port: HTTPS", &format!("port: {}", secure.port()));
    fs::write(&passing, text).unwrap();
    let transom = Transom::start(&folder, &[]).ready(PATIENCE);
    let page = || transom.get("/metrics").unwrap();
    let total = |page: &str, name: &str| -> f64 {
        samples(page).iter().filter(|sample| sample.name == name).map(|sample| sample.value).sum()
    };

    // everything that objects bring forth
    let answered = |host: &str, path: &str, status: &str| {
        let answer = get(address, host, path).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    };
    until("the routes are served", || {
        ["stays.example", "passing.example"]
            .iter()
            .all(|host| get(address, host, "/").is_some_and(|a| a.contains(" 200 ")))
    });
    answered("passing.example", "/?fail=1", "200");
    answered("passing.example", "/dead", "503");
    answered("nobody.example", "/", "404");
    raw(address, b"nonsense\r\n\r\n");
    raw(secure, b"GET / HTTP/1.1\r\n\r\n");
    until("mirrored copies are counted", || total(&page(), "transom_mirror_requests_total") >= 2.0);
    let told = page();
    let shown: BTreeSet<&str> =
        samples(&told).iter().inspect(|sample| as_declared(sample)).map(|sample| family_of(sample).name).collect();
    // what needs an API server, an access log, a collector, or more bad luck than this
    let elsewhere = [
        "transom_http_retries_skipped_total",
        "transom_watch_restarts_total",
        "transom_status_writes_total",
        "transom_infrastructure_writes_total",
        "transom_leader",
        "transom_access_log_dropped_total",
        "transom_trace_spans_total",
        // and TLS
        "transom_tls_handshakes_total",
        "transom_tls_certificate_not_after_seconds",
    ];
    let missing: Vec<&str> = families()
        .map(|family| family.name)
        .filter(|name| !shown.contains(name) && !elsewhere.contains(name))
        .collect();
    assert_eq!(missing, Vec::<&str>::new(), "{told}");
    // mirrored copies count as connections of their own
    let connects = |service: &str| -> f64 {
        let of = |sample: &&Sample| {
            sample.name == "transom_upstream_connects_total"
                && sample.labels.contains(&("service".into(), service.into()))
                && sample.labels.contains(&("result".into(), "connected".into()))
        };
        samples(&told).iter().filter(of).map(|sample| sample.value).sum()
    };
    assert!(connects("passing-mirror") >= 1.0 && connects("passing") >= 1.0, "{told}");

    // what clients say makes no series
    answered("nobody.example", "/", "404");
    let before = series(&page());
    let requests = total(&page(), "transom_http_requests_total");
    for n in 0..40 {
        let hosts = [format!("host-{n}.example"), "stays.example".to_owned()];
        for host in hosts {
            for line in [format!("GET /path-{n}?query={n}"), format!("METHOD{n} /"), format!("OPTIONS /{n}")] {
                let extra = "User-Agent: {n}\r\nX-Forwarded-For: 10.0.0.{n}\r\n".replace("{n}", &n.to_string());
                raw(address, format!("{line} HTTP/1.1\r\nHost: {host}\r\n{extra}Connection: close\r\n\r\n").as_bytes());
            }
        }
    }
    until("all of them are counted", || total(&page(), "transom_http_requests_total") >= requests + 240.0);
    let new: Vec<String> = series(&page()).difference(&before).cloned().collect();
    assert_eq!(new, Vec::<String>::new());

    // and what objects brought forth goes with them
    assert!(before.iter().any(|one| one.contains("\"passing")));
    fs::remove_file(&passing).unwrap();
    until("their series are gone", || !series(&page()).iter().any(|one| one.contains("\"passing")));
    assert!(series(&page()).iter().any(|one| one.contains("\"stays\"")));
    assert!(series(&page()).iter().any(|one| one.contains("\"other\"")));
}
