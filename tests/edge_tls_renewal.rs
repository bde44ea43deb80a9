//! Certificates come and go: renewal under load, and what is wrong with one of them is told of that one.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "parts of tests fail as tests do"
)]

#[path = "support/process.rs"]
mod process;
#[path = "support/traffic/mod.rs"]
mod support;

use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use process::{Transom, free_port};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::AlertDescription;
use support::client::Client;
use support::config::{Config, ListenerSpec};
use support::tls::{self, client, connect, presented};
use support::upstream::Echo;
use support::{Gateway, eventually, free_address};
use transom::snapshot::Snapshot;
use transom::snapshot::tls::{Certificate, ListenerTls};

fn snapshot(echo: SocketAddr, address: SocketAddr, certificate: &Certificate) -> Snapshot {
    let mut config = Config::default();
    let rule = config.to("a", echo);
    let tls = Some(ListenerTls { certificates: vec![certificate.clone()] });
    let spec = ListenerSpec { name: "one", hostname: Some("a.com"), tls, routes: vec![(None, "/", rule)] };
    config.https(address, vec![spec]).build()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renewal_under_load_fails_nothing_and_after_it_only_the_new_certificate_is_shown() {
    const RENEWALS: usize = 12;
    let echo = Echo::start("a").await;
    let mut gateway = Gateway::start();
    let address = free_address();
    let all: Arc<Vec<Certificate>> = Arc::new((0..=RENEWALS).map(|_| tls::certificate(&["a.com"])).collect());
    gateway.serve(snapshot(echo.address, address, &all[0])).await;

    // The last one that was published, and the last one that was seen by all who looked.
    let (published, switched) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let stop = Arc::new(AtomicBool::new(false));
    let (handshakes, answered) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut load = tokio::task::JoinSet::new();
    for number in 0..4 {
        let (all, published, switched, stop) = (all.clone(), published.clone(), switched.clone(), stop.clone());
        let (handshakes, answered) = (handshakes.clone(), answered.clone());
        load.spawn(async move {
            let alpn = if number % 2 == 0 { "h2" } else { "http/1.1" };
            let kept = connect(address, "a.com", &client(&[alpn])).await.unwrap();
            let mut kept = match number {
                0 => Client::h2_over(kept).await.unwrap(),
                1 => Client::h1_over(kept).await.unwrap(),
                _ => {
                    while !stop.load(SeqCst) {
                        let least = switched.load(SeqCst);
                        let stream = connect(address, "a.com", &client(&[alpn])).await.unwrap();
                        let shown = all.iter().position(|one| presented(&stream, one)).unwrap();
                        assert!((least..=published.load(SeqCst)).contains(&shown), "{shown} after {least}");
                        let mut client = match alpn {
                            "h2" => Client::h2_over(stream).await.unwrap(),
                            _ => Client::h1_over(stream).await.unwrap(),
                        };
                        assert_eq!(client.get("https://a.com/").await.unwrap().summary(), "200 a");
                        handshakes.fetch_add(1, SeqCst);
                    }
                    return;
                }
            };
            while !stop.load(SeqCst) {
                assert_eq!(kept.get("https://a.com/").await.unwrap().summary(), "200 a");
                answered.fetch_add(1, SeqCst);
            }
        });
    }
    for number in 1..=RENEWALS {
        published.store(number, SeqCst);
        gateway.publisher.publish(snapshot(echo.address, address, &all[number]));
        let mut in_a_row = 0; // over both workers
        while in_a_row < 16 {
            let stream = connect(address, "a.com", &client(&[])).await.unwrap();
            in_a_row = if presented(&stream, &all[number]) { in_a_row + 1 } else { 0 };
        }
        switched.store(number, SeqCst);
    }
    stop.store(true, SeqCst);
    while let Some(outcome) = load.join_next().await {
        outcome.unwrap();
    }
    assert!(handshakes.load(SeqCst) > RENEWALS && answered.load(SeqCst) > 50, "{handshakes:?} {answered:?}");
    let text = gateway.telemetry.metrics_text();
    let failed = text.lines().filter(|line| line.starts_with("transom_tls_handshakes_total{"));
    assert!(failed.clone().all(|line| line.contains("result=\"ok\"")), "{:?}", failed.collect::<Vec<_>>());
}

/// A pair of texts for a Secret.
fn pair(name: &str, from: i32, until: i32) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_before = date_time_ymd(from, 1, 1);
    params.not_after = date_time_ymd(until, 1, 1);
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn indented(text: &str) -> String {
    text.lines().fold(String::new(), |mut all, line| {
        let _ = writeln!(all, "    {line}");
        all
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_is_no_good_hurts_itself_alone_and_is_named_with_its_reason() {
    let port = free_port();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let good = pair("good.com", 2020, 4000);
    let pairs = [
        ("good", good.clone()),
        ("expired", pair("expired.com", 2000, 2001)),
        ("early", pair("early.com", 3000, 3001)),
        ("mismatch", (pair("mismatch.com", 2020, 4000).0, good.1)),
        ("garbage", ("no certificate".to_owned(), "no key".to_owned())),
    ];
    let mut yaml = "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {name: c}\n\
                    spec: {controllerName: transom.dev/gateway-controller}\n---\n\
                    apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: g, namespace: edge}\n\
                    spec:\n  gatewayClassName: c\n  addresses: [{value: 127.0.0.1}]\n  listeners:\n"
        .to_owned();
    for (name, _) in &pairs {
        let _ = writeln!(
            yaml,
            "    - {{name: {name}, port: {port}, protocol: HTTPS, hostname: {name}.com, tls: {{certificateRefs: [{{name: {name}}}]}}}}"
        );
    }
    for (name, (chain, key)) in &pairs {
        let _ = write!(
            yaml,
            "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: edge}}\ntype: kubernetes.io/tls\n\
             stringData:\n  tls.crt: |\n{}  tls.key: |\n{}",
            indented(chain),
            indented(key)
        );
    }
    let space = tempfile::tempdir().unwrap();
    let folder = space.path().join("manifests");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("all.yaml"), yaml).unwrap();
    let transom = Transom::start(&folder, &[]).ready(Duration::from_secs(30));

    // Whether a certificate is still valid is the client's to judge: it is shown.
    for (name, is_shown) in
        [("good", true), ("expired", true), ("early", true), ("mismatch", false), ("garbage", false)]
    {
        let outcome = connect(address, &format!("{name}.com"), &client(&[])).await;
        if is_shown {
            let mut client = Client::h1_over(outcome.unwrap()).await.unwrap();
            let answer = client.get(&format!("https://{name}.com/")).await.unwrap();
            assert_eq!(answer.summary(), "404 no_route", "{name}");
        } else {
            let error = outcome.unwrap_err();
            let cause = error.get_ref().unwrap().downcast_ref::<rustls::Error>();
            assert_eq!(cause, Some(&rustls::Error::AlertReceived(AlertDescription::UnrecognisedName)), "{name}");
        }
    }
    let dump = transom.get("/config").unwrap();
    for words in [
        "tls.key does not belong to the first certificate of tls.crt",
        "InvalidCertificateRef",
        "tls.crt holds no PEM certificate",
    ] {
        assert!(dump.contains(words), "{words} is not in {dump}");
    }
    let log = folder.with_extension("log");
    eventually("the log", || async {
        let log = std::fs::read_to_string(&log).unwrap();
        let told = |words: &str, name: &str| log.lines().any(|line| line.contains(words) && line.contains(name));
        (told("a certificate is expired", "expired.com") && told("a certificate is not valid yet", "early.com"))
            .then_some(())
    })
    .await;
    let metrics = transom.get("/metrics").unwrap();
    let of = |name: &str| {
        let line = format!(
            "transom_tls_certificate_not_after_seconds{{gateway_namespace=\"edge\",gateway=\"g\",listener=\"{name}\",name=\"{name}.com\"}} "
        );
        metrics.lines().find_map(|found| found.strip_prefix(&line).map(|at| at.parse::<i64>().unwrap()))
    };
    assert_eq!(of("expired"), Some(978_307_200)); // 2001-01-01
    assert!(of("good").unwrap() > 60_000_000_000);
    assert_eq!(of("mismatch"), None);
    assert!(transom.terminate(Duration::from_secs(40)).success());
}
