//! Mirroring: what a mirror is sent, how often, and that the request itself knows nothing of it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "parts of tests fail as tests do"
)]

#[path = "support/traffic/mod.rs"]
mod support;
#[path = "support/witness.rs"]
mod witness;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Method, Request};
use sha2::{Digest, Sha256};
use support::client::{Client, raw};
use support::config::{Config, listener};
use support::upstream::{Echo, pattern};
use support::{Gateway, eventually, free_address};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use transom::proxy::Settings;
use transom::snapshot::filter::{HeaderChanges, Mirror, PathChange, Retry, UrlRewrite};
use transom::snapshot::policy::{Balance, HashKey};
use transom::snapshot::{
    Action, Filter, Filters, Redirect, RuleIndex, Share, Snapshot, Target, UpstreamIndex, UpstreamProtocol,
    WeightedUpstreams,
};
use witness::{Behaviour, Seen, Witness};

const PROTOCOLS: [UpstreamProtocol; 2] = [UpstreamProtocol::Http1, UpstreamProtocol::H2c];

/// Mirrors to each of `upstreams`: (upstream, numerator, denominator).
fn mirrors(upstreams: &[(UpstreamIndex, u32, u32)]) -> Filters {
    let mirror = |&(upstream, numerator, denominator)| Filter::Mirror(Mirror { upstream, numerator, denominator });
    upstreams.iter().map(mirror).collect()
}

/// One rule, its mirrors, and where it listens.
struct Setup {
    gateway: Gateway,
    address: SocketAddr,
}

impl Setup {
    /// Every request goes to `primary` and, for each of `to`, to a mirror named by its position: `m0`, `m1` …
    async fn to_all(primary: SocketAddr, to: &[(UpstreamProtocol, SocketAddr)]) -> Setup {
        Setup::fractions(
            &[primary],
            &to.iter().map(|(protocol, address)| (*protocol, *address, 1, 1)).collect::<Vec<_>>(),
        )
        .await
    }

    async fn fractions(primary: &[SocketAddr], to: &[(UpstreamProtocol, SocketAddr, u32, u32)]) -> Setup {
        let mut config = Config::default();
        let primary = config.upstream("primary", primary);
        let rule = config.forward("mirrored", primary);
        let all: Vec<_> = to
            .iter()
            .enumerate()
            .map(|(at, (protocol, address, numerator, denominator))| {
                (config.upstream_over(&format!("m{at}"), *protocol, &[*address]), *numerator, *denominator)
            })
            .collect();
        Setup::serve(config, rule, |snapshot| snapshot.rules[0].filters = mirrors(&all)).await
    }

    async fn serve(config: Config, rule: RuleIndex, change: impl FnOnce(&mut Snapshot)) -> Setup {
        let mut gateway = Gateway::start();
        let address = free_address();
        let mut snapshot = config.http(address, vec![listener("l", None, rule)]).build();
        change(&mut snapshot);
        gateway.serve(snapshot).await;
        Setup { gateway, address }
    }

    /// Copies for `service` that ended so.
    fn count(&self, service: &str, result: &str) -> u64 {
        let wanted = format!("service=\"{service}\",port=\"80\",result=\"{result}\"}} ");
        let text = self.gateway.telemetry.metrics_text();
        let lines = text.lines().filter(|line| line.starts_with("transom_mirror_requests_total{"));
        lines.filter_map(|line| line.split_once(&wanted)).map(|(_, count)| count.parse::<u64>().unwrap()).sum()
    }

    async fn counts(&self, service: &str, result: &str, count: u64) {
        eventually(&format!("{count} {result} of {service}"), || async {
            (self.count(service, result) == count).then_some(())
        })
        .await;
    }

    fn gauge(&self, name: &str) -> u64 {
        let text = self.gateway.telemetry.metrics_text();
        text.lines().find_map(|line| line.strip_prefix(&format!("{name} "))).unwrap().parse().unwrap()
    }

    /// Nothing is under way any more, and all that was counted is given back.
    async fn is_quiet(&self) {
        eventually("no copy under way", || async {
            let left = self.gauge("transom_mirror_active_requests") + self.gauge("transom_mirror_queued_bytes");
            (left == 0).then_some(())
        })
        .await;
    }
}

fn post(path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::post(format!("http://a.com{path}")).body(Full::new(body.into())).unwrap()
}

/// What differs between two protocols, or says only how one message is framed.
fn plain(seen: &Seen) -> Vec<(String, String)> {
    let hop = ["host", "transfer-encoding", "te"];
    seen.headers.iter().filter(|(name, _)| !hop.contains(&name.as_str())).cloned().collect()
}

/// The same of any request: each has a number of its own.
fn of_any(seen: &Seen) -> Vec<(String, String)> {
    plain(seen).into_iter().filter(|(name, _)| name != "x-request-id").collect()
}

#[tokio::test]
async fn a_copy_is_the_request_as_it_was_forwarded() {
    let primary = Witness::start(Behaviour::Answer).await;
    let copies = [Witness::start(Behaviour::Answer).await, Witness::start(Behaviour::Answer).await];
    let to = [(PROTOCOLS[0], copies[0].address), (PROTOCOLS[1], copies[1].address)];
    let setup = Setup::to_all(primary.address, &to).await;

    let mut count = 0;
    for h2 in [false, true] {
        for method in [Method::GET, Method::HEAD, Method::POST, Method::DELETE, Method::OPTIONS] {
            for body in [&b""[..], b"some body"] {
                let mut client = if h2 { Client::h2(setup.address).await } else { Client::h1(setup.address).await };
                let request = Request::builder()
                    .method(method.clone())
                    .uri("http://a.com:8080/some%20path;x=1/?query=%26&b=&c")
                    .header("x-many", "one")
                    .header("x-many", "two")
                    .header("x-forwarded-for", "192.0.2.66")
                    .header("cookie", "a=b; c=d");
                let request = request.body(Full::from(body)).unwrap();
                assert_eq!(client.send(request).await.unwrap().status, 200, "{method}");
                count += 1;
                let forwarded = primary.seen(count).await.pop().unwrap();
                for (copy, version) in copies.iter().zip(["HTTP/1.1", "HTTP/2.0"]) {
                    let copy = copy.seen(count).await.pop().unwrap();
                    assert_eq!((&copy.method, &copy.target), (&forwarded.method, &forwarded.target));
                    assert_eq!(copy.host, forwarded.host);
                    assert_eq!(copy.version, version);
                    assert_eq!(plain(&copy), plain(&forwarded));
                    assert_eq!(copy.body, Ok(Bytes::from_static(body)));
                    let forwarded_for = copy.headers.iter().find(|(name, _)| name == "x-forwarded-for").unwrap();
                    assert_eq!(forwarded_for.1, "127.0.0.1");
                    assert!(
                        copy.headers.iter().any(|(name, value)| name == "x-forwarded-host" && value == "a.com:8080")
                    );
                }
            }
        }
    }
    setup.is_quiet().await;
    for service in ["m0", "m1"] {
        assert_eq!(setup.count(service, "sent"), count as u64);
    }
}

#[tokio::test]
async fn headers_of_one_hop_are_not_copied() {
    let (primary, copy) = (Echo::start("primary").await, Witness::start(Behaviour::Answer).await);
    let setup = Setup::to_all(primary.address, &[(UpstreamProtocol::Http1, copy.address)]).await;
    let answer = raw(
        setup.address,
        "GET / HTTP/1.1\r\nHost: a.com\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 3\r\nTE: gzip\r\n\
         Proxy-Connection: x\r\nX-Stays: 1\r\n\r\n",
    );
    assert!(answer.await.starts_with("HTTP/1.1 200"));
    let copy = copy.seen(1).await.pop().unwrap();
    let names: Vec<&str> = copy.headers.iter().map(|(name, _)| name.as_str()).collect();
    for hop in ["connection", "x-hop", "keep-alive", "te", "proxy-connection", "transfer-encoding"] {
        assert!(!names.contains(&hop), "{hop} in {names:?}");
    }
    assert!(names.contains(&"x-stays"));
}

#[tokio::test]
async fn framing_of_the_body_is_kept() {
    let (primary, copy) = (Echo::start("primary").await, Witness::start(Behaviour::Answer).await);
    let setup = Setup::to_all(primary.address, &[(UpstreamProtocol::Http1, copy.address)]).await;
    for (number, (head, body, field)) in [
        ("Content-Length: 4\r\n", "body", Some(("content-length", "4"))),
        ("Content-Length: 0\r\n", "", Some(("content-length", "0"))),
        ("Transfer-Encoding: chunked\r\n", "2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n", Some(("transfer-encoding", "chunked"))),
        ("Content-Length: 4\r\nExpect: 100-continue\r\n", "body", Some(("content-length", "4"))),
        ("", "", None),
    ]
    .into_iter()
    .enumerate()
    {
        let request = format!("POST / HTTP/1.1\r\nHost: a.com\r\nConnection: close\r\n{head}\r\n{body}");
        assert!(raw(setup.address, request).await.contains("HTTP/1.1 200"));
        let copy = copy.seen(number + 1).await.pop().unwrap();
        let framing =
            copy.headers.iter().filter(|(name, _)| ["content-length", "transfer-encoding"].contains(&&**name));
        let framing: Vec<_> = framing.map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(framing, field.into_iter().collect::<Vec<_>>());
        assert_eq!(copy.body.unwrap(), if body.is_empty() { "" } else { "body" });
    }
}

#[tokio::test]
async fn three_megabytes_arrive_intact_at_mirrors_that_are_late_too() {
    let late = Duration::from_millis(500);
    let body = Bytes::from(pattern(3 * 1024 * 1024));
    let hash = Sha256::digest(&body);
    let primary = Witness::start(Behaviour::Answer).await;
    let mut copies = Vec::new();
    for behaviour in [Behaviour::Answer, Behaviour::AnswerAfter(Duration::ZERO, late), Behaviour::ReadAfter(late)] {
        for protocol in PROTOCOLS {
            copies.push((protocol, Witness::start(behaviour).await));
        }
    }
    let to: Vec<_> = copies.iter().map(|(protocol, copy)| (*protocol, copy.address)).collect();
    let setup = Setup::to_all(primary.address, &to).await;
    let mut clients = [Client::h1(setup.address).await, Client::h2(setup.address).await];
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.send(post("/upload", body.clone())).await.unwrap().status, 200);
        assert_eq!(primary.seen(number + 1).await.pop().unwrap().body.unwrap(), body);
        for (_, copy) in &copies {
            let copy = copy.seen(number + 1).await.pop().unwrap();
            assert_eq!(Sha256::digest(copy.body.unwrap()), hash, "{}", copy.version);
        }
    }
    setup.is_quiet().await;
}

#[tokio::test]
async fn a_mirror_that_echoes_while_it_reads_gets_the_whole_body() {
    let (primary, copy) = (Echo::start("primary").await, Witness::start(Behaviour::Stream).await);
    let to = PROTOCOLS.map(|protocol| (protocol, copy.address));
    let setup = Setup::to_all(primary.address, &to).await;
    let body = Bytes::from(pattern(3 * 1024 * 1024));
    for _ in 0..4 {
        let answer = Client::h1(setup.address).await.send(post("/", body.clone())).await.unwrap();
        assert_eq!(answer.fact("body"), Some("3145728"));
    }
    for service in ["m0", "m1"] {
        setup.counts(service, "sent", 4).await;
    }
}

#[tokio::test]
async fn each_of_several_mirrors_is_drawn_for_itself() {
    let primary = Echo::start("primary").await;
    let mut copies = Vec::new();
    for _ in 0..6 {
        copies.push(Witness::start(Behaviour::Answer).await);
    }
    let fractions = [(1, 1), (0, 1), (50, 100), (0, 100), (100, 100), (1, 3)];
    for tries_left in (0..3).rev() {
        let to: Vec<_> = copies
            .iter()
            .zip(fractions)
            .map(|(copy, (numerator, denominator))| (UpstreamProtocol::Http1, copy.address, numerator, denominator))
            .collect();
        let setup = Setup::fractions(&[primary.address], &to).await;
        let mut client = Client::h1(setup.address).await;
        let total = 500u32;
        for _ in 0..total {
            assert_eq!(client.get("http://a.com/").await.unwrap().status, 200);
        }
        setup.is_quiet().await;
        let fits = fractions.into_iter().enumerate().all(|(at, (numerator, denominator))| {
            let count = setup.count(&format!("m{at}"), "sent");
            let p = f64::from(numerator) / f64::from(denominator);
            let expected = f64::from(total) * p;
            let sigma = (expected * (1.0 - p)).sqrt();
            let off = (f64::from(u32::try_from(count).unwrap()) - expected).abs();
            assert!(off <= 6.0 * sigma, "{numerator} of {denominator}: {count} of {total}");
            off <= 3.0 * sigma
        });
        if fits {
            return;
        }
        assert!(tries_left > 0, "not within 3 sigma, three times");
    }
}

#[tokio::test]
async fn a_share_has_mirrors_of_its_own_and_each_copy_passes_the_filters_of_its_level() {
    let (a, b) = (Witness::start(Behaviour::Answer).await, Witness::start(Behaviour::Answer).await);
    let copies = [Witness::start(Behaviour::Answer).await, Witness::start(Behaviour::Answer).await];
    let mut config = Config::default();
    let (to_a, to_b) = (config.upstream("a", &[a.address]), config.upstream("b", &[b.address]));
    let rule = config.forward("mirrored", to_a);
    let of_rule = config.upstream("m0", &[copies[0].address]);
    let of_share = config.upstream("m1", &[copies[1].address]);
    let setup = Setup::serve(config, rule, |snapshot| {
        let filters = |name: &'static str, host: &str, mirror| {
            let add = [(HeaderName::from_static(name), HeaderValue::from_static("yes"))].into();
            let rewrite =
                UrlRewrite { host: Some(host.into()), path: Some(PathChange::Full(format!("/{host}").into())) };
            [
                Filter::Mirror(Mirror { upstream: mirror, numerator: 1, denominator: 1 }),
                Filter::RequestHeaders(HeaderChanges { add, ..HeaderChanges::default() }),
                Filter::Rewrite(rewrite),
            ]
            .into_iter()
            .collect::<Filters>()
        };
        let shares = [
            Share { weight: 1, target: Target::Upstream(to_a, filters("x-share", "share.com", of_share)) },
            Share { weight: 1, target: Target::Upstream(to_b, Filters::default()) },
        ];
        snapshot.rules[0].filters = filters("x-rule", "rule.com", of_rule);
        snapshot.rules[0].action = Action::Forward(WeightedUpstreams::new(shares).unwrap());
    })
    .await;
    let mut client = Client::h1(setup.address).await;
    for _ in 0..60 {
        client.get("http://a.com/asked?query=1").await.unwrap();
    }
    setup.is_quiet().await;
    assert!(a.requests() > 0 && b.requests() > 0);
    assert_eq!(setup.count("m0", "sent"), 60);
    assert_eq!(setup.count("m1", "sent"), a.requests() as u64);
    // "Filters defined at this level should be executed if and only if the request is being forwarded to the backend
    // defined here": the rule's mirror is none of the share's business.
    for (copy, forwarded) in [(&copies[0], &b), (&copies[1], &a)] {
        let forwarded = forwarded.all().pop().unwrap();
        for copy in copy.all() {
            assert_eq!((&copy.target, &copy.host), (&forwarded.target, &forwarded.host));
            assert_eq!(of_any(&copy), of_any(&forwarded));
        }
    }
    let last = a.all().pop().unwrap();
    assert_eq!((last.target.as_str(), last.host.as_str()), ("/share.com?query=1", "share.com"));
}

#[tokio::test]
async fn what_is_answered_here_is_not_mirrored() {
    let copy = Witness::start(Behaviour::Answer).await;
    let mut config = Config::default();
    let nobody = config.upstream("nobody", &[]);
    let to = config.upstream("m0", &[copy.address]);
    let rules = [config.forward("empty", nobody), config.invalid("invalid"), config.invalid("redirect")];
    let addresses = [free_address(), free_address(), free_address()];
    let mut gateway = Gateway::start();
    for (address, rule) in addresses.iter().zip(rules) {
        config = config.http(*address, vec![listener("l", None, rule)]);
    }
    let mut snapshot = config.build();
    for rule in &mut snapshot.rules {
        rule.filters = mirrors(&[(to, 1, 1)]);
    }
    let redirect = Redirect { scheme: None, host: None, port: None, path: None, status: 302 };
    snapshot.rules[2].action = Action::Redirect(redirect);
    gateway.serve(snapshot).await;
    for (address, status) in addresses.into_iter().zip([503, 500, 302]) {
        let answer = Client::h1(address).await.send(post("/", "body")).await.unwrap();
        assert_eq!(answer.status, status);
    }
    let setup = Setup { gateway, address: addresses[0] };
    setup.is_quiet().await;
    assert_eq!(copy.requests(), 0);
    assert!(!setup.gateway.telemetry.metrics_text().contains("transom_mirror_requests_total{"));
}

#[tokio::test]
async fn a_mirror_that_fails_is_not_felt_and_counted_by_reason() {
    let primary = Echo::start("primary").await;
    let refuses = free_address();
    let resets = Witness::start(Behaviour::Reset).await;
    let nonsense = Witness::start(Behaviour::Nonsense).await;
    let errs = Witness::start(Behaviour::Status(500)).await;
    let hangs = Witness::start(Behaviour::Hang).await;
    let all = [refuses, resets.address, nonsense.address, errs.address, hangs.address];
    let h1 = |address| (UpstreamProtocol::Http1, address);
    let h2 = |address| (UpstreamProtocol::H2c, address);
    let to: Vec<_> = all.into_iter().map(h1).chain([h2(refuses), h2(resets.address), h2(hangs.address)]).collect();
    let setup = Setup::to_all(primary.address, &to).await;
    let body = Bytes::from(pattern(100_000));
    let began = Instant::now();
    for client in [&mut Client::h1(setup.address).await, &mut Client::h2(setup.address).await] {
        for _ in 0..10 {
            let answer = client.send(post("/", body.clone())).await.unwrap();
            assert_eq!((answer.status.as_u16(), answer.fact("body")), (200, Some("100000")));
        }
    }
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    for (service, result) in [
        ("m0", "connect_failed"),
        ("m1", "failed"),
        ("m2", "failed"),
        ("m3", "sent"),
        ("m5", "connect_failed"),
        ("m6", "failed"),
    ] {
        setup.counts(service, result, 20).await;
    }
    assert_eq!(setup.gauge("transom_mirror_active_requests"), 40, "of those that hang");
}

#[tokio::test]
async fn a_mirror_without_endpoints_is_counted() {
    let primary = Echo::start("primary").await;
    let mut config = Config::default();
    let to_primary = config.upstream("primary", &[primary.address]);
    let rule = config.forward("mirrored", to_primary);
    let nobody = config.upstream("m0", &[]);
    let setup = Setup::serve(config, rule, |snapshot| snapshot.rules[0].filters = mirrors(&[(nobody, 1, 1)])).await;
    let answer = Client::h1(setup.address).await.send(post("/", "body")).await.unwrap();
    assert_eq!(answer.summary(), "200 primary");
    setup.counts("m0", "no_endpoints", 1).await;
    setup.is_quiet().await;
}

#[tokio::test]
async fn a_body_that_a_mirror_does_not_take_is_cut_and_never_looks_complete() {
    let body = Bytes::from(pattern(24 * 1024 * 1024));
    let primary = Witness::start(Behaviour::Answer).await;
    for protocol in PROTOCOLS {
        let slow = Witness::start(Behaviour::ReadAfter(Duration::from_secs(3))).await;
        let setup = Setup::to_all(primary.address, &[(protocol, slow.address)]).await;
        for chunked in [false, true] {
            let before = primary.requests();
            if chunked {
                let answer = send_chunked(setup.address, &body).await;
                assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            } else {
                let answer = Client::h1(setup.address).await.send(post("/", body.clone())).await.unwrap();
                assert_eq!(answer.status, 200);
            }
            assert_eq!(primary.seen(before + 1).await.pop().unwrap().body.unwrap(), body);
        }
        setup.counts("m0", "dropped_queue", 2).await;
        setup.is_quiet().await;
        for copy in slow.seen(2).await {
            assert!(copy.body.is_err(), "{protocol:?}: looks complete");
        }
    }
}

async fn send_chunked(address: SocketAddr, body: &[u8]) -> String {
    let tcp = TcpStream::connect(address).await.unwrap();
    let (mut reader, mut writer) = tcp.into_split();
    let head = "POST / HTTP/1.1\r\nHost: a.com\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    writer.write_all(head.as_bytes()).await.unwrap();
    for chunk in body.chunks(65536) {
        writer.write_all(format!("{:x}\r\n", chunk.len()).as_bytes()).await.unwrap();
        writer.write_all(chunk).await.unwrap();
        writer.write_all(b"\r\n").await.unwrap();
    }
    writer.write_all(b"0\r\n\r\n").await.unwrap();
    support::client::read_all(&mut reader).await
}

#[tokio::test]
async fn an_upload_that_the_client_gives_up_is_cut_for_the_mirror_too() {
    let (primary, copy) = (Echo::start("primary").await, Witness::start(Behaviour::Answer).await);
    for protocol in PROTOCOLS {
        let before = copy.requests();
        let setup = Setup::to_all(primary.address, &[(protocol, copy.address)]).await;
        for framing in
            ["Content-Length: 100000\r\n\r\n0123456789", "Transfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n"]
        {
            let mut tcp = TcpStream::connect(setup.address).await.unwrap();
            tcp.write_all(format!("POST / HTTP/1.1\r\nHost: a.com\r\n{framing}").as_bytes()).await.unwrap();
            eventually("the copy to begin", || async {
                (setup.gauge("transom_mirror_active_requests") > 0).then_some(())
            })
            .await;
            drop(tcp);
            setup.is_quiet().await;
        }
        setup.counts("m0", "aborted", 2).await;
        for copy in copy.all().iter().skip(before) {
            assert!(copy.body.is_err(), "looks complete");
        }
    }
}

#[tokio::test]
async fn an_upload_that_is_reset_over_http2_is_cut_for_the_mirror_too() {
    let (primary, copy) = (Echo::start("primary").await, Witness::start(Behaviour::Answer).await);
    let to = PROTOCOLS.map(|protocol| (protocol, copy.address));
    let setup = Setup::to_all(primary.address, &to).await;
    let tcp = TcpStream::connect(setup.address).await.unwrap();
    let (sender, connection) = h2::client::handshake(tcp).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::post("http://a.com/").body(()).unwrap();
    let (answer, mut body) = sender.ready().await.unwrap().send_request(request, false).unwrap();
    body.send_data(Bytes::from_static(b"begin"), false).unwrap();
    eventually("the copies to begin", || async { (setup.gauge("transom_mirror_active_requests") == 2).then_some(()) })
        .await;
    body.send_reset(h2::Reason::CANCEL);
    setup.counts("m0", "aborted", 1).await;
    setup.counts("m1", "aborted", 1).await;
    setup.is_quiet().await;
    assert!(copy.all().iter().all(|copy| copy.body.is_err()), "looks complete");
    drop(answer);
    connection.abort();
}

#[tokio::test]
async fn a_worker_has_a_bounded_number_of_copies_under_way() {
    let (primary, hangs) = (Echo::start("primary").await, Witness::start(Behaviour::Hang).await);
    let mut config = Config::default();
    let to_primary = config.upstream("primary", &[primary.address]);
    let rule = config.forward("mirrored", to_primary);
    // Over HTTP/2 a hundred copies share a connection.
    let to = config.upstream_over("m0", UpstreamProtocol::H2c, &[hangs.address]);
    let settings = Settings { workers: std::num::NonZeroUsize::new(1), ..Settings::default() };
    let (mut gateway, address) = (Gateway::with(settings), free_address());
    let mut snapshot = config.http(address, vec![listener("l", None, rule)]).build();
    snapshot.rules[0].filters = mirrors(&[(to, 1, 1)]);
    gateway.serve(snapshot).await;
    let setup = Setup { gateway, address };
    let mut client = Client::h1(address).await;
    for _ in 0..1100 {
        assert_eq!(client.get("http://a.com/").await.unwrap().summary(), "200 primary");
    }
    assert_eq!(setup.count("m0", "dropped_overload"), 1100 - 1024);
    assert_eq!(setup.gauge("transom_mirror_active_requests"), 1024);
}

#[tokio::test]
async fn what_the_client_need_not_send_any_more_is_not_made_up_for_the_mirror() {
    // Answers at once, without taking the body.
    let primary = Witness::start(Behaviour::AnswerAndClose(413)).await;
    let copy = Witness::start(Behaviour::Answer).await;
    let setup = Setup::to_all(primary.address, &[(UpstreamProtocol::Http1, copy.address)]).await;
    let mut tcp = TcpStream::connect(setup.address).await.unwrap();
    let head = "POST / HTTP/1.1\r\nHost: a.com\r\nContent-Length: 1000000\r\n\r\nbegin";
    tcp.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    tcp.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
    drop(tcp);
    setup.counts("m0", "aborted", 1).await;
    setup.is_quiet().await;
    assert!(copy.all().iter().all(|copy| copy.body.is_err()), "looks complete");
}

#[tokio::test]
async fn a_request_that_is_tried_twice_is_mirrored_once() {
    let (primary, copy) = (Echo::start("primary").await, Witness::start(Behaviour::Answer).await);
    let mirror = [(UpstreamProtocol::Http1, copy.address, 1, 1)];
    let setup = Setup::fractions(&[free_address(), primary.address], &mirror).await;
    let mut client = Client::h1(setup.address).await;
    let body = Bytes::from(pattern(30_000));
    for _ in 0..40 {
        let answer = client.send(post("/", body.clone())).await.unwrap();
        assert_eq!(answer.summary(), "200 primary");
    }
    setup.is_quiet().await;
    assert_eq!(setup.count("m0", "sent"), 40);
    assert!(copy.all().iter().all(|copy| copy.body.as_ref() == Ok(&body)));
}

#[tokio::test]
async fn a_request_that_is_sent_again_with_its_body_is_mirrored_once() {
    let primary = Witness::start(Behaviour::Status(503)).await;
    let copies = [Witness::start(Behaviour::Answer).await, Witness::start(Behaviour::Answer).await];
    let mut config = Config::default();
    let to_primary = config.upstream("primary", &[primary.address]);
    let rule = config.forward("mirrored", to_primary);
    let to = [config.upstream("m0", &[copies[0].address]), config.upstream("m1", &[copies[1].address])];
    let setup = Setup::serve(config, rule, |snapshot| {
        let backoff = Duration::from_millis(1);
        snapshot.rules[0].retry = Some(Retry { codes: [503].into(), attempts: 2, backoff });
        snapshot.rules[0].filters = mirrors(&[(to[0], 1, 1), (to[1], 1, 2)]);
    })
    .await;
    let body = Bytes::from(pattern(40_000));
    for client in [&mut Client::h1(setup.address).await, &mut Client::h2(setup.address).await] {
        for _ in 0..20 {
            assert_eq!(client.send(post("/", body.clone())).await.unwrap().status, 503);
        }
    }
    setup.is_quiet().await;
    assert_eq!(primary.requests(), 3 * 40);
    assert_eq!(setup.count("m0", "sent"), 40);
    // Drawn anew for each try, it would be 7 in 8.
    assert!((5..=35).contains(&setup.count("m1", "sent")), "{}", setup.count("m1", "sent"));
    assert!(copies.iter().flat_map(Witness::all).all(|copy| copy.body.as_ref() == Ok(&body)));
}

#[tokio::test]
async fn a_mirror_is_balanced_as_its_policy_says() {
    let primary = Echo::start("primary").await;
    let copies = [Witness::start(Behaviour::Answer).await, Witness::start(Behaviour::Answer).await];
    let mut config = Config::default();
    let to_primary = config.upstream("primary", &[primary.address]);
    let rule = config.forward("mirrored", to_primary);
    let to = config.upstream("m0", &copies.each_ref().map(|copy| copy.address));
    let setup = Setup::serve(config, rule, |snapshot| {
        let by = HashKey::Header(HeaderName::from_static("x-user"));
        snapshot.upstreams[to.0 as usize].policy.balance = Balance::ConsistentHash(by);
        snapshot.rules[0].filters = mirrors(&[(to, 1, 1)]);
    })
    .await;
    let mut client = Client::h1(setup.address).await;
    // The ring is built beside the workers and comes a moment after the snapshot: until then keys fall at random.
    let (mut splits, until) = (Vec::new(), Instant::now() + Duration::from_secs(10));
    for round in 1_u64.. {
        for user in 0..20 {
            let request = Request::get("http://a.com/").header("x-user", user).header("x-round", round);
            client.send(request.body(Full::default()).unwrap()).await.unwrap();
        }
        setup.counts("m0", "sent", round * 20).await;
        let users = copies.each_ref().map(|copy| {
            let field = |seen: &Seen, of: &str| seen.headers.iter().find(|(name, _)| name == of).unwrap().1.clone();
            let of_this_round = copy.all().into_iter().filter(|seen| field(seen, "x-round") == round.to_string());
            of_this_round.map(|seen| field(&seen, "x-user")).collect::<BTreeSet<_>>()
        });
        assert!(users[0].is_disjoint(&users[1]) && users[0].len() + users[1].len() == 20, "{users:?}");
        if splits.last().is_some_and(|last| *last != users) {
            assert!(Instant::now() < until, "{splits:?}");
            splits.clear();
        }
        splits.push(users);
        if splits.len() == 10 {
            break;
        }
    }
    assert!(splits[0].iter().all(|users| !users.is_empty()), "{splits:?}");
}

#[tokio::test]
async fn connections_to_a_mirror_are_used_again() {
    let primary = Echo::start("primary").await;
    for protocol in PROTOCOLS {
        for behaviour in [Behaviour::Answer, Behaviour::Status(204), Behaviour::Status(500)] {
            let copy = Witness::start(behaviour).await;
            let setup = Setup::to_all(primary.address, &[(protocol, copy.address)]).await;
            let mut client = Client::h1(setup.address).await;
            for number in 1..=30 {
                let request = if number % 2 == 0 { post("/", "body") } else { post("/", "") };
                client.send(request).await.unwrap();
                setup.counts("m0", "sent", number).await;
                setup.is_quiet().await;
            }
            assert!(copy.connections() <= 2, "{} connections over {protocol:?}", copy.connections());
        }
    }
}

#[tokio::test]
async fn a_request_for_another_protocol_is_not_mirrored() {
    let primary = support::script::upstream(support::script::Script::Upgrade).await;
    let copy = Witness::start(Behaviour::Answer).await;
    let setup = Setup::to_all(primary, &[(UpstreamProtocol::Http1, copy.address)]).await;
    let mut tcp = TcpStream::connect(setup.address).await.unwrap();
    let head =
        "GET / HTTP/1.1\r\nHost: a.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: x\r\n\r\n";
    tcp.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    tcp.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 101");
    setup.counts("m0", "skipped", 1).await;
    setup.is_quiet().await;
    assert_eq!(copy.requests(), 0);
}

#[tokio::test]
async fn a_drain_does_not_wait_for_a_mirror() {
    let (primary, hangs) = (Echo::start("primary").await, Witness::start(Behaviour::Hang).await);
    let to = PROTOCOLS.map(|protocol| (protocol, hangs.address));
    let setup = Setup::to_all(primary.address, &to).await;
    let mut client = Client::h1(setup.address).await;
    for _ in 0..5 {
        assert_eq!(client.send(post("/", "body")).await.unwrap().status, 200);
    }
    drop(client);
    assert_eq!(setup.gauge("transom_mirror_active_requests"), 10);
    let began = Instant::now();
    let Setup { gateway, address } = setup;
    let Gateway { proxy, publisher, readiness, telemetry } = gateway;
    let drained = proxy.drain(Duration::ZERO, Duration::from_secs(20)).await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(drained.cut, 0, "a copy is no connection of a client's");
    let text = telemetry.metrics_text();
    for service in ["m0", "m1"] {
        let line = format!(
            "transom_mirror_requests_total{{namespace=\"test\",service=\"{service}\",port=\"80\",result=\"aborted\"}} 5"
        );
        assert!(text.contains(&line), "{text}");
    }
    assert!(text.contains("transom_mirror_active_requests 0\n") && text.contains("transom_mirror_queued_bytes 0\n"));
    drop((publisher, readiness, address));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_slow_mirrors_do_not_slow_the_request() {
    let primary = Echo::start("primary").await;
    let plain = Setup::to_all(primary.address, &[]).await;
    let mut told = Vec::new();
    for _ in 0..3 {
        // Half of them answer late, half take no body.
        let slow = [
            Witness::start(Behaviour::AnswerAfter(Duration::ZERO, Duration::from_secs(8))).await,
            Witness::start(Behaviour::Hang).await,
        ];
        let to = slow.each_ref().map(|slow| (UpstreamProtocol::Http1, slow.address));
        let mirrored = Setup::to_all(primary.address, &to).await;
        let mut begin = JoinSet::new();
        for _ in 0..50 {
            let address = mirrored.address;
            begin.spawn(async move {
                let body = vec![7; 20_000];
                assert_eq!(Client::h1(address).await.send(post("/", body)).await.unwrap().status, 200);
            });
        }
        begin.join_all().await;
        assert!(mirrored.gauge("transom_mirror_active_requests") >= 100);

        let mut clients = [Client::h1(plain.address).await, Client::h1(mirrored.address).await];
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..400 {
            for (client, times) in clients.iter_mut().zip(&mut times) {
                let began = Instant::now();
                let answer = client.send(post("/", "body")).await.unwrap();
                times.push(began.elapsed());
                assert_eq!(answer.status, 200);
            }
        }
        assert!(mirrored.gauge("transom_mirror_active_requests") >= 500, "they were slow all the time");
        let [alone, beside] = times.map(|mut times| {
            times.sort_unstable();
            times[times.len() * 99 / 100]
        });
        told.push(format!("p99 {alone:?} alone, {beside:?} beside"));
        if beside < alone * 2 || beside < alone + Duration::from_millis(3) {
            println!("{told:?}");
            return;
        }
    }
    panic!("three times: {told:?}");
}
