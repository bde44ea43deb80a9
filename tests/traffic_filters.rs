//! Header modifiers and rewrites over real sockets: what reaches the upstream and what reaches the client, over
//! HTTP/1.1 and HTTP/2 on both sides. Each test names the rule of gateway-api.md 3.2, 3.3 or 6.5 that it proves.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "parts of tests fail as tests do"
)]

#[path = "support/traffic/mod.rs"]
mod support;

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use support::client::{Answer, Client, get, raw};
use support::config::{Config, ListenerSpec, changes, forward_to, listener, rule};
use support::script::{self, Script};
use support::upstream::Echo;
use support::{Gateway, free_address};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use transom::snapshot::filter::{PathChange, UrlRewrite};
use transom::snapshot::{Filter, Filters, Rule, RuleIndex, UpstreamIndex, UpstreamProtocol};

const UPSTREAMS: [UpstreamProtocol; 2] = [UpstreamProtocol::Http1, UpstreamProtocol::H2c];

fn filters(list: impl IntoIterator<Item = Filter>) -> Filters {
    list.into_iter().collect()
}

fn rewrite(host: Option<&str>, path: impl Into<Option<PathChange>>) -> Filter {
    Filter::Rewrite(UrlRewrite { host: host.map(Into::into), path: path.into() })
}

fn full(path: &str) -> PathChange {
    PathChange::Full(path.into())
}

fn prefix(path: &str) -> PathChange {
    PathChange::Prefix(path.into())
}

/// A rule with filters of its own and one share with filters of its own.
fn forward(config: &mut Config, to: UpstreamIndex, of_rule: Filters, of_share: Filters) -> RuleIndex {
    config.rule_with(Rule { filters: of_rule, ..rule("r", forward_to(vec![(1, to, of_share)])) })
}

/// Serves routes by prefix.
async fn serve(config: Config, routes: Vec<(&'static str, RuleIndex)>) -> (Gateway, SocketAddr) {
    let mut gateway = Gateway::start();
    let address = free_address();
    let routes = routes.into_iter().map(|(path, rule)| (None, path, rule)).collect();
    let spec = ListenerSpec { name: "l", hostname: None, tls: None, routes };
    gateway.serve(config.http(address, vec![spec]).build()).await;
    (gateway, address)
}

/// One echo behind one rule, over each protocol of clients and upstreams: four times the same.
async fn everywhere<F>(of_rule: Filters, of_share: Filters, mut check: F)
where
    F: AsyncFnMut(&mut Client, UpstreamProtocol),
{
    for protocol in UPSTREAMS {
        let echo = Echo::start("a").await;
        let mut config = Config::default();
        let upstream = config.upstream_over("a", protocol, &[echo.address]);
        let rule = forward(&mut config, upstream, of_rule.clone(), of_share.clone());
        let (_gateway, address) = serve(config, vec![("/", rule)]).await;
        for mut client in [Client::h1(address).await, Client::h2(address).await] {
            check(&mut client, protocol).await;
        }
    }
}

fn request(url: &str, headers: &[(&str, &str)]) -> Request<Full<Bytes>> {
    let mut request = Request::get(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::default()).unwrap()
}

async fn ask(client: &mut Client, url: &str, headers: &[(&str, &str)]) -> Answer {
    let answer = client.send(request(url, headers)).await.unwrap();
    assert_eq!(answer.summary(), "200 a");
    answer
}

/// The host that the upstream was told.
fn told_host(answer: &Answer, protocol: UpstreamProtocol) -> String {
    match protocol {
        UpstreamProtocol::H2c => answer.facts("authority"),
        UpstreamProtocol::Http1 => answer.facts("host"),
    }
}

#[tokio::test]
async fn request_headers_are_set_added_and_removed_whatever_their_case() {
    let modifier = changes(
        &[("X-Set", "set"), ("x-new", "new")],
        &[("X-ADD", "b"), ("x-added", "only")],
        &["x-REMOVE", "x-absent"],
    );
    everywhere(filters([Filter::RequestHeaders(modifier)]), Filters::default(), async |client, _| {
        let sent =
            [("x-SET", "1"), ("x-set", "2"), ("X-Add", "a"), ("X-Remove", "1"), ("x-remove", "2"), ("x-kept", "kept")];
        let answer = ask(client, "http://a.org/", &sent).await;
        assert_eq!(answer.facts("x-set"), "set", "set replaces all values");
        assert_eq!(answer.facts("x-new"), "new");
        assert_eq!(answer.facts("x-add"), "a,b", "add appends");
        assert_eq!(answer.facts("x-added"), "only");
        assert_eq!(answer.facts("x-remove"), "", "remove drops all values");
        assert_eq!(answer.facts("x-kept"), "kept");
    })
    .await;
}

#[tokio::test]
async fn response_headers_are_set_added_and_removed_whatever_their_case() {
    let modifier = changes(
        &[("X-Set", "set"), ("x-new", "new")],
        &[("X-ADD", "b"), ("set-cookie", "b=2")],
        &["x-REMOVE", "x-upstream"],
    );
    everywhere(filters([Filter::ResponseHeaders(modifier)]), Filters::default(), async |client, _| {
        let upstream_says = ["x-set=1", "x-set=2", "x-add=a", "x-remove=1", "x-remove=2", "set-cookie=a=1", "x-kept=k"];
        let sent = upstream_says.map(|says| ("x-answer", says));
        let answer = ask(client, "http://a.org/", &sent).await;
        assert_eq!(answer.header("x-set"), "set");
        assert_eq!(answer.header("x-new"), "new");
        assert_eq!(answer.header("x-add"), "a,b");
        assert_eq!(answer.headers.get_all("set-cookie").iter().count(), 2);
        assert_eq!(answer.header("x-remove"), "");
        assert_eq!(answer.header("x-upstream"), "");
        assert_eq!(answer.header("x-kept"), "k");
        assert_eq!(answer.facts("x-new"), "", "the request is not touched");
    })
    .await;
}

#[tokio::test]
async fn framing_and_hop_by_hop_headers_cannot_be_broken_by_a_filter() {
    let names = ["content-length", "transfer-encoding", "connection", "keep-alive", "te", "upgrade", "trailer"];
    let breaks: Vec<_> = names.iter().map(|name| (*name, "1")).collect();
    for change in [changes(&breaks, &[], &[]), changes(&[], &breaks, &[]), changes(&[], &[], &names)] {
        let both = filters([Filter::RequestHeaders(change.clone()), Filter::ResponseHeaders(change)]);
        everywhere(both, Filters::default(), async |client, _| {
            for _ in 0..2 {
                let request = Request::post("http://a.org/").body(Full::from("four")).unwrap();
                let answer = client.send(request).await.unwrap();
                assert_eq!(answer.summary(), "200 a");
                assert_eq!(answer.fact("body"), Some("4"));
            }
        })
        .await;
    }
}

#[tokio::test]
async fn a_host_can_be_set_but_neither_doubled_nor_removed() {
    let set = filters([Filter::RequestHeaders(changes(&[("Host", "set.org")], &[("host", "second.org")], &["host"]))]);
    everywhere(set, Filters::default(), async |client, protocol| {
        let answer = ask(client, "http://a.org/x?y", &[]).await;
        assert_eq!(told_host(&answer, protocol), "set.org");
        assert_eq!(answer.fact("x-forwarded-host"), Some("a.org"));
        assert_eq!(answer.fact("target"), Some("/x?y"));
    })
    .await;
}

#[tokio::test]
async fn rewrite_host_reaches_the_backend_and_the_clients_host_is_kept_beside_it() {
    // RewriteHost, combined with a header modifier
    let modifier = Filter::RequestHeaders(changes(&[("x-set", "1")], &[], &[]));
    let both = filters([modifier, rewrite(Some("one.example.org"), None)]);
    everywhere(both, Filters::default(), async |client, protocol| {
        for path in ["/one?x=1", "//one/../two"] {
            let answer = ask(client, &format!("http://rewrite.example:1234{path}"), &[]).await;
            assert_eq!(told_host(&answer, protocol), "one.example.org");
            assert_eq!(answer.fact("x-forwarded-host"), Some("rewrite.example:1234"));
            assert_eq!(answer.fact("x-set"), Some("1"));
        }
    })
    .await;
}

#[tokio::test]
async fn rewrite_path_replaces_the_prefix_by_elements_and_keeps_the_query() {
    for protocol in UPSTREAMS {
        let echo = Echo::start("a").await;
        let mut config = Config::default();
        let upstream = config.upstream_over("a", protocol, &[echo.address]);
        let mut to = |path| forward(&mut config, upstream, filters([rewrite(None, path)]), Filters::default());
        let routes = vec![
            ("/prefix/one", to(prefix("/one"))),
            ("/strip-prefix", to(prefix("/"))),
            ("/strip-empty", to(prefix(""))),
            ("/slash/", to(prefix("/xyz/"))),
            ("/full", to(full("/full/rewritten"))),
            ("/", to(prefix("/root"))),
        ];
        let (_gateway, address) = serve(config, routes).await;
        for mut client in [Client::h1(address).await, Client::h2(address).await] {
            for (asked, seen) in [
                ("/prefix/one/two", "/one/two"),
                ("/prefix/one", "/one"),
                ("/prefix/one/", "/one/"),
                ("/strip-prefix/three", "/three"),
                ("/strip-prefix", "/"),
                ("/strip-prefix/", "/"),
                ("/strip-prefix?a=b", "/?a=b"),
                ("/strip-empty/three", "/three"),
                ("/strip-empty", "/"),
                ("/slash", "/xyz"),
                ("/slash/", "/xyz/"),
                ("/slash/a/b", "/xyz/a/b"),
                ("/full/one/two?a=/full", "/full/rewritten?a=/full"),
                ("/full", "/full/rewritten"),
                ("/other", "/root/other"),
                ("/", "/root/"),
                ("/prefix/one/a%2Fb/%41?q=%20+", "/one/a%2Fb/%41?q=%20+"),
                ("/prefix//one///two", "/one/two"),
                ("/prefix/x/../one/two", "/one/two"),
            ] {
                let answer = ask(&mut client, &format!("http://a.org{asked}"), &[]).await;
                assert_eq!(answer.fact("target"), Some(seen), "{asked}");
            }
        }
    }
}

#[tokio::test]
async fn the_prefix_is_that_of_the_match_that_won() {
    let echo = Echo::start("a").await;
    let mut config = Config::default();
    let upstream = config.upstream("a", &[echo.address]);
    let rule = forward(&mut config, upstream, filters([rewrite(None, prefix("/x"))]), Filters::default());
    let (_gateway, address) = serve(config, vec![("/a", rule), ("/a/b", rule), ("/longer/than", rule)]).await;
    for (asked, seen) in [("/a/c", "/x/c"), ("/a/b/c", "/x/c"), ("/a/bc", "/x/bc"), ("/longer/than/that", "/x/that")] {
        let answer = get(address, &format!("http://a.org{asked}")).await;
        assert_eq!(answer.fact("target"), Some(seen), "{asked}");
    }
}

#[tokio::test]
async fn options_of_everything_is_not_rewritten() {
    let echo = Echo::start("a").await;
    let mut config = Config::default();
    let upstream = config.upstream("a", &[echo.address]);
    let rule = forward(&mut config, upstream, filters([rewrite(Some("b.org"), prefix("/x"))]), Filters::default());
    let (_gateway, address) = serve(config, vec![("/", rule)]).await;
    let answer = raw(address, "OPTIONS * HTTP/1.1\r\nHost: a.org\r\nConnection: close\r\n\r\n").await;
    assert!(answer.contains("\ntarget: *\n") && answer.contains("\nhost: b.org\n"), "{answer}");
}

#[tokio::test]
async fn url_rewrite_of_a_backend_takes_the_prefix_of_the_rules_match() {
    // BackendURLRewrite
    for protocol in UPSTREAMS {
        let echo = Echo::start("a").await;
        let mut config = Config::default();
        let upstream = config.upstream_over("a", protocol, &[echo.address]);
        let mut to = |host, of_rule, of_share: Option<PathChange>| {
            let of_rule = filters(of_rule);
            forward(&mut config, upstream, of_rule, filters([rewrite(host, of_share)]))
        };
        let routes = vec![
            ("/full", to(None, None, Some(full("/rewritten-full")))),
            ("/prefix", to(Some("backend.org"), None, Some(prefix("/rewritten-prefix")))),
            // what the rule makes of the path is not where the backend's rewrite starts
            ("/both", to(None, Some(rewrite(Some("rule.org"), full("/of-the-rule"))), Some(prefix("/of-the-share")))),
            ("/host", to(Some("backend.org"), Some(rewrite(Some("rule.org"), prefix("/of-the-rule"))), None)),
        ];
        let (_gateway, address) = serve(config, routes).await;
        for mut client in [Client::h1(address).await, Client::h2(address).await] {
            for (asked, seen, host) in [
                ("/full/original", "/rewritten-full", "a.org"),
                ("/prefix/original", "/rewritten-prefix/original", "backend.org"),
                ("/both/original?q", "/of-the-share/original?q", "rule.org"),
                ("/host/original", "/of-the-rule/original", "backend.org"),
            ] {
                let answer = ask(&mut client, &format!("http://a.org{asked}"), &[]).await;
                assert_eq!(answer.fact("target"), Some(seen), "{asked}");
                assert_eq!(told_host(&answer, protocol), host, "{asked}");
            }
        }
    }
}

#[tokio::test]
async fn filters_of_a_backend_run_after_the_rules() {
    let header = |value| changes(&[("x-who", value)], &[("x-both", value)], &[]);
    let of = |value| filters([Filter::RequestHeaders(header(value)), Filter::ResponseHeaders(header(value))]);
    everywhere(of("rule"), of("share"), async |client, _| {
        let answer = ask(client, "http://a.org/", &[]).await;
        assert_eq!(answer.facts("x-who"), "share");
        assert_eq!(answer.facts("x-both"), "rule,share");
        assert_eq!(answer.header("x-who"), "share");
        assert_eq!(answer.header("x-both"), "rule,share");
    })
    .await;
}

#[tokio::test]
async fn filters_of_a_backend_act_only_when_it_is_chosen_and_weights_hold() {
    // BackendRequestHeaderModifier, RequestHeaderModifierBackendWeights
    let names = ["one", "two", "plain"];
    let mut echoes = Vec::new();
    let mut config = Config::default();
    let mut shares = Vec::new();
    for (name, weight) in names.into_iter().zip([1, 2, 1]) {
        let echo = Echo::start(name).await;
        let upstream = config.upstream(name, &[echo.address]);
        let header = changes(&[("x-share", name)], &[], &[]);
        let own = [Filter::RequestHeaders(header.clone()), Filter::ResponseHeaders(header)];
        shares.push((weight, upstream, filters(own.into_iter().filter(|_| name != "plain"))));
        echoes.push(echo);
    }
    let rule = config.rule_with(rule("r", forward_to(shares)));
    let (_gateway, address) = serve(config, vec![("/", rule)]).await;
    let mut client = Client::h1(address).await;
    let mut counts = [0u32; 3];
    for _ in 0..1000 {
        let answer = client.get("http://a.org/").await.unwrap();
        let chosen = names.iter().position(|name| answer.fact("name") == Some(name)).unwrap();
        let expected = if names[chosen] == "plain" { "" } else { names[chosen] };
        assert_eq!(answer.facts("x-share"), expected);
        assert_eq!(answer.header("x-share"), expected);
        counts[chosen] += 1;
    }
    for (count, expected) in counts.into_iter().zip([250.0, 500.0, 250.0]) {
        // 5 sigma of a binomial at 1000 is below 80
        assert!((f64::from(count) - expected).abs() < 80.0, "{counts:?}");
    }
}

#[tokio::test]
async fn a_filter_may_say_what_the_backend_is_told_of_forwarding() {
    let change = changes(&[("X-Forwarded-Proto", "https")], &[], &["x-real-ip"]);
    everywhere(filters([Filter::RequestHeaders(change)]), Filters::default(), async |client, _| {
        let answer = ask(client, "http://a.org/", &[]).await;
        assert_eq!(answer.facts("x-forwarded-proto"), "https");
        assert_eq!(answer.facts("x-real-ip"), "");
    })
    .await;
}

#[tokio::test]
async fn informational_answers_pass_as_they_are_and_the_final_one_is_changed() {
    let upstream = script::upstream(Script::Say(
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ))
    .await;
    let mut config = Config::default();
    let upstream = config.upstream("a", &[upstream]);
    let of_rule = filters([Filter::ResponseHeaders(changes(&[("x-set", "1")], &[], &["link"]))]);
    let rule = forward(&mut config, upstream, of_rule, Filters::default());
    let (_gateway, address) = serve(config, vec![("/", rule)]).await;
    let answer = raw(address, "GET / HTTP/1.1\r\nHost: a.org\r\nConnection: close\r\n\r\n").await;
    let (early, last) = answer.split_once("\r\n\r\n").unwrap();
    assert!(early.starts_with("HTTP/1.1 103") && early.contains("Link: </a>") && !early.contains("x-set"), "{answer}");
    assert!(last.starts_with("HTTP/1.1 200") && last.contains("x-set: 1"), "{answer}");
}

#[tokio::test]
async fn an_upgrade_is_a_final_answer_and_passes_the_filters() {
    let upstream = script::upstream(Script::Upgrade).await;
    let mut config = Config::default();
    let upstream = config.upstream("a", &[upstream]);
    let both = [
        Filter::RequestHeaders(changes(&[("connection", "close"), ("sec-websocket-key", "x")], &[], &["upgrade"])),
        Filter::ResponseHeaders(changes(&[("x-set", "1")], &[], &["upgrade"])),
    ];
    let rule = forward(&mut config, upstream, filters(both), Filters::default());
    let (_gateway, address) = serve(config, vec![("/", rule)]).await;
    let mut tcp = TcpStream::connect(address).await.unwrap();
    let asked = "GET / HTTP/1.1\r\nHost: a.org\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    tcp.write_all(asked.as_bytes()).await.unwrap();
    let head = support::client::read_answer(&mut tcp).await;
    assert!(head.starts_with("HTTP/1.1 101") && head.contains("x-set: 1"), "{head}");
    tcp.write_all(b"ping").await.unwrap();
    let mut echoed = [0; 4];
    tcp.read_exact(&mut echoed).await.unwrap();
    assert_eq!(&echoed, b"ping");
}

#[tokio::test]
async fn the_gateways_own_errors_are_not_changed_by_modifiers() {
    let mut config = Config::default();
    let empty = config.upstream("empty", &[]);
    let of_rule = filters([Filter::ResponseHeaders(changes(&[("x-set", "1")], &[], &["content-type"]))]);
    let rule = forward(&mut config, empty, of_rule, Filters::default());
    let (_gateway, address) = serve(config, vec![("/", rule)]).await;
    let answer = get(address, "http://a.org/").await;
    assert_eq!(answer.summary(), "503 no_endpoints");
    assert_eq!(answer.header("x-set"), "");
    assert_eq!(answer.header("content-type"), "text/plain");
}

#[tokio::test]
async fn each_try_starts_from_the_clients_request() {
    // An endpoint that answers once on a connection and closes it at the next request: that one is tried again.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for connection in 0.. {
            let (mut tcp, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let first = read_head(&mut tcp).await;
                let body = if connection == 0 { String::new() } else { first };
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                tcp.write_all(answer.as_bytes()).await.unwrap();
                let _ = read_head(&mut tcp).await;
            });
        }
    });
    let mut config = Config::default();
    let upstream = config.upstream("a", &[endpoint]);
    let of_rule = filters([
        Filter::RequestHeaders(changes(&[], &[("x-add", "once")], &[])),
        rewrite(Some("b.org"), prefix("/a/a")),
    ]);
    let rule = forward(&mut config, upstream, of_rule, Filters::default());
    let mut gateway = Gateway::with(transom::proxy::Settings {
        workers: std::num::NonZeroUsize::new(1),
        ..transom::proxy::Settings::default()
    });
    let address = free_address();
    let routes = vec![(None, "/a", rule)];
    let spec = ListenerSpec { name: "l", hostname: None, tls: None, routes };
    gateway.serve(config.http(address, vec![spec]).build()).await;

    let mut client = Client::h1(address).await;
    assert_eq!(client.get("http://a.org/a/x").await.unwrap().body, "");
    let second = client.get("http://a.org/a/x").await.unwrap();
    let head = second.body.to_lowercase();
    assert!(head.starts_with("get /a/a/x http/1.1\r\n"), "{head}");
    for line in ["x-add: once\r\n", "host: b.org\r\n", "x-forwarded-host: a.org\r\n"] {
        assert_eq!(head.matches(line).count(), 1, "{head}");
    }
}

async fn read_head(tcp: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if tcp.read_buf(&mut head).await.unwrap_or(0) == 0 {
            break;
        }
    }
    String::from_utf8(head).unwrap()
}

#[tokio::test]
async fn a_prefix_that_no_match_has_fails_closed() {
    use transom::router::{PathMatch, RouteEntry, RouteMatch, RouteOrder, RouteTable};
    let echo = Echo::start("a").await;
    let mut config = Config::default();
    let upstream = config.upstream("a", &[echo.address]);
    let rule = forward(&mut config, upstream, filters([rewrite(None, prefix("/x"))]), Filters::default());
    let address = free_address();
    let mut snapshot = config.http(address, vec![listener("l", None, rule)]).build();
    let exact = RouteEntry {
        hostname: None,
        matches: RouteMatch { path: PathMatch::Exact("/exact".to_owned()), ..RouteMatch::default() },
        order: RouteOrder { created: 0, route: "test/r".to_owned(), rule: 0, index: 0 },
        value: rule,
    };
    snapshot.binds.get_mut(&address).unwrap().listeners[0].routes = RouteTable::build(vec![exact]);
    let mut gateway = Gateway::start();
    gateway.serve(snapshot).await;
    assert_eq!(get(address, "http://a.org/exact").await.summary(), "500 filter_failed");
    assert_eq!(echo.requests(), 0);
}
