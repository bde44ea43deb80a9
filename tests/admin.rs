//! The admin server over real sockets: what a probe, Prometheus and `curl` get.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use transom::admin::{self, AppliedView, ConfigDump, Explain, SourceProblem, State};
use transom::lifecycle::Readiness;
use transom::router::{HostMap, Hostname, RouteTable};
use transom::snapshot::tls::{Certificate, ListenerTls};
use transom::snapshot::{Bind, BindProtocol, Listener, ListenerId, Snapshot};
use transom::telemetry::{AccessLog, BuildLabels, Telemetry};
use transom::translate::Applied;

const PATIENCE: Duration = Duration::from_secs(20);

struct Running {
    address: SocketAddr,
    readiness: Readiness,
    shutdown: CancellationToken,
    server: JoinHandle<std::io::Result<()>>,
}

fn start(explain: Option<Explain>) -> Running {
    let dump = || ConfigDump {
        generation: 7,
        source_problems: vec![SourceProblem { place: "routes.yaml:3".into(), message: "not YAML".into() }],
        ..ConfigDump::default()
    };
    start_with(Arc::new(dump), explain)
}

fn start_with(config: Arc<dyn Fn() -> ConfigDump + Send + Sync>, explain: Option<Explain>) -> Running {
    start_whole(config, explain, None)
}

fn start_applied(applied: watch::Receiver<Arc<Applied>>) -> Running {
    start_whole(Arc::new(ConfigDump::default), None, Some(AppliedView::new(applied)))
}

fn start_whole(
    config: Arc<dyn Fn() -> ConfigDump + Send + Sync>,
    explain: Option<Explain>,
    applied: Option<AppliedView>,
) -> Running {
    let readiness = Readiness::new();
    let telemetry = Telemetry::new(BuildLabels::default(), AccessLog::off());
    let state = State { readiness: readiness.clone(), telemetry, config, explain, applied };
    let bound = admin::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let address = bound.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let server = tokio::spawn(bound.serve(state, shutdown.clone()));
    Running { address, readiness, shutdown, server }
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

async fn ask(address: SocketAddr, method: &str, target: &str) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{method} {target} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut text)).await.unwrap().unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

#[tokio::test]
async fn readyz_says_what_is_waited_for_and_flips_both_ways() {
    let running = start(None);
    let (snapshot, binds) = (running.readiness.task("snapshot"), running.readiness.task("binds"));
    let waiting = ask(running.address, "GET", "/readyz").await;
    assert_eq!(waiting.status, 503);
    assert_eq!(waiting.body, "not ready, waiting for: binds, snapshot\n");
    assert_eq!(ask(running.address, "GET", "/livez").await.status, 200);

    snapshot.done();
    binds.done();
    assert_eq!(ask(running.address, "GET", "/readyz").await.status, 200);

    binds.undone();
    let again = ask(running.address, "GET", "/readyz").await;
    assert_eq!((again.status, again.body.contains("binds")), (503, true));
}

#[tokio::test]
async fn metrics_are_in_the_text_format_prometheus_asks_for() {
    let answer = ask(start(None).address, "GET", "/metrics").await;
    assert_eq!(answer.status, 200);
    assert!(answer.head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{}", answer.head);
    for name in ["transom_build_info", "transom_http_active_requests", "transom_config_propagation_seconds_count"] {
        assert!(answer.body.lines().any(|line| line.starts_with(name)), "{name} in {}", answer.body);
    }
}

#[tokio::test]
async fn config_is_json_with_every_part() {
    let answer = ask(start(None).address, "GET", "/config").await;
    assert_eq!(answer.status, 200);
    assert!(answer.head.contains("content-type: application/json\r\n"), "{}", answer.head);
    let value: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(value["generation"], 7);
    assert_eq!(value["sourceProblems"], json!([{"place": "routes.yaml:3", "message": "not YAML"}]));
    assert_eq!(value["statuses"], json!([]));
    assert_eq!(value["findings"], json!([]));
    assert!(value["snapshot"]["binds"].is_object());
}

#[tokio::test]
async fn config_shows_certificates_without_their_keys() {
    let issued = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap();
    let key = issued.signing_key.serialize_pem();
    let certificate = Certificate::from_pem(issued.cert.pem().as_bytes(), key.as_bytes()).unwrap();
    let id = ListenerId { namespace: "infra".into(), gateway: "edge".into(), listener: "web".into() };
    let tls = Some(ListenerTls { certificates: vec![certificate] });
    let listener =
        Listener { id, hostname: Hostname::parse("*.example"), port: 443, tls, routes: RouteTable::default() };
    let mut by_host = HostMap::default();
    by_host.insert(listener.hostname.as_ref(), 0);
    let bind = Bind { protocol: BindProtocol::Https, listeners: vec![listener], by_host };
    let binds = [("[::]:443".parse().unwrap(), bind)].into();
    let snapshot = Arc::new(Snapshot { binds, ..Snapshot::default() });

    let dump = move || ConfigDump { snapshot: snapshot.clone(), ..ConfigDump::default() };
    let answer = ask(start_with(Arc::new(dump), None).address, "GET", "/config").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(answer.body.contains("a.example") && answer.body.contains("[::]:443"), "{}", answer.body);
    let secret = key.lines().nth(1).unwrap();
    assert!(!answer.body.contains(secret) && !answer.body.contains("PRIVATE KEY"));
}

#[tokio::test]
async fn explain_hands_the_question_on_and_the_problem_back() {
    let explain: Explain = Arc::new(|question| match question.url.as_str() {
        "nonsense" => Err("`nonsense` is not a URL".to_owned()),
        url => Ok(json!({"method": question.method, "url": url, "headers": question.headers})),
    });
    let address = start(Some(explain)).address;
    let target = "/explain?method=POST&url=http%3A%2F%2Fa.example%2Fb%3Fc%3Dd&header=k:%20v&header=x%3A1";
    let answer = ask(address, "GET", target).await;
    assert_eq!(
        serde_json::from_str::<Value>(&answer.body).unwrap(),
        json!({"method": "POST", "url": "http://a.example/b?c=d", "headers": ["k: v", "x:1"]})
    );
    assert_eq!(ask(address, "GET", "/explain?url=x").await.status, 200);
    for (target, said) in [
        ("/explain?url=nonsense", "`nonsense` is not a URL"),
        ("/explain", "`url` is missing"),
        ("/explain?url=x&verbose=1", "`verbose` is not known"),
        ("/explain?url=x&url=y", "`url` is given twice"),
    ] {
        let answer = ask(address, "GET", target).await;
        assert_eq!(answer.status, 400, "{target}");
        assert!(answer.body.contains(said), "{target}: {}", answer.body);
    }
    assert_eq!(ask(start(None).address, "GET", "/explain?url=x").await.status, 404);
}

fn applied(version: u64) -> Arc<Applied> {
    Arc::new(Applied { version, gateways: [("uid".to_owned(), 3)].into() })
}

#[tokio::test]
async fn applied_answers_once_the_version_is_another() {
    let (sender, receiver) = watch::channel(applied(7));
    let address = start_applied(receiver).address;
    let shown = |answer: Answer| serde_json::from_str::<Value>(&answer.body).unwrap();
    for target in ["/applied", "/applied?after=6", "/applied?after=9"] {
        let answer = ask(address, "GET", target).await;
        assert_eq!((answer.status, shown(answer)), (200, json!({"version": 7, "gateways": {"uid": 3}})), "{target}");
    }
    let waiting = tokio::spawn(ask(address, "GET", "/applied?after=7"));
    // whoever asks later is answered, and the first one still waits
    assert_eq!(ask(address, "GET", "/livez").await.status, 200);
    assert!(!waiting.is_finished());
    sender.send_replace(applied(8));
    assert_eq!(shown(timeout(PATIENCE, waiting).await.unwrap().unwrap())["version"], 8);
    for target in ["/applied?after=x", "/applied?before=1", "/applied?after=1&after=2"] {
        let answer = ask(address, "GET", target).await;
        assert_eq!((answer.status, answer.body.contains("/applied?after=7")), (400, true), "{target}: {}", answer.body);
    }
    let missing = ask(address, "GET", "/x").await.body;
    assert!(missing.contains("/metrics, /config and /applied"), "{missing}");
    assert_eq!(ask(start(None).address, "GET", "/applied").await.status, 404);
}

#[tokio::test]
async fn those_who_wait_for_applied_are_few_and_end_with_what_they_wait_for() {
    let (sender, receiver) = watch::channel(applied(7));
    let address = start_applied(receiver).address;
    let mut waiting = JoinSet::new();
    for _ in 0..40 {
        waiting.spawn(ask(address, "GET", "/applied?after=7"));
    }
    for _ in 0..8 {
        timeout(PATIENCE, waiting.join_next()).await.unwrap().unwrap().unwrap();
    }
    assert_eq!(ask(address, "GET", "/livez").await.status, 200);
    drop(sender);
    while let Some(answer) = timeout(PATIENCE, waiting.join_next()).await.unwrap() {
        assert_eq!(answer.unwrap().status, 200);
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_are_refused_with_what_there_is() {
    let address = start(None).address;
    let missing = ask(address, "GET", "/metricz").await;
    assert_eq!(missing.status, 404);
    assert!(missing.body.contains("/metricz") && missing.body.contains("/metrics"), "{}", missing.body);
    assert!(!missing.body.contains("/explain"), "{}", missing.body);
    let answered = start(Some(Arc::new(|_| Ok(json!({})))));
    let missing = ask(answered.address, "GET", "/metricz").await;
    assert!(missing.body.contains("/explain"), "{}", missing.body);
    for path in ["/readyz", "/metrics", "/config"] {
        let refused = ask(address, "POST", path).await;
        assert_eq!(refused.status, 405, "{path}");
        assert!(refused.head.contains("allow: get,head"), "{}", refused.head);
    }
    assert_eq!(ask(address, "HEAD", "/livez").await.body, "");
}

#[tokio::test]
async fn a_taken_address_is_an_error_before_anything_is_served() {
    let running = start(None);
    assert_eq!(admin::bind(running.address).unwrap_err().kind(), ErrorKind::AddrInUse);
}

#[tokio::test]
async fn a_view_that_panics_is_a_500_and_the_server_goes_on() {
    let address = start_with(Arc::new(|| panic!("on purpose")), None).address;
    assert_eq!(ask(address, "GET", "/config").await.status, 500);
    assert_eq!(ask(address, "GET", "/livez").await.status, 200);
}

#[tokio::test]
async fn an_oversized_header_is_refused() {
    let mut stream = TcpStream::connect(start(None).address).await.unwrap();
    let request = format!("GET /livez HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "a".repeat(64 * 1024));
    // The server may close before all of it is sent.
    let _ = stream.write_all(request.as_bytes()).await;
    let mut text = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut text)).await.unwrap();
    assert!(text.is_empty() || text.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&text));
}

#[tokio::test]
async fn shutdown_ends_idle_connections_and_frees_the_address() {
    let running = start(None);
    let mut idle = TcpStream::connect(running.address).await.unwrap();
    ask(running.address, "GET", "/livez").await;
    running.shutdown.cancel();
    timeout(PATIENCE, running.server).await.unwrap().unwrap().unwrap();
    assert_eq!(timeout(PATIENCE, idle.read(&mut [0; 1])).await.unwrap().unwrap(), 0);
    admin::bind(running.address).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_nothing_is_let_go() {
    let mut silent = TcpStream::connect(start(None).address).await.unwrap();
    let mut rest = Vec::new();
    // Time is paused: the runtime moves it on when everybody waits.
    let _ = timeout(Duration::from_mins(10), silent.read_to_end(&mut rest)).await.unwrap();
}
