//! Redirects over real sockets: the whole of `Location`, and what becomes of the connection. Each test names the rule
//! of gateway-api.md 3.2, 3.3 or 6.5 that it proves.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "parts of tests fail as tests do"
)]

#[path = "support/traffic/mod.rs"]
mod support;

use std::net::SocketAddr;
use std::num::NonZeroU16;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request};
use support::client::{Client, get, raw};
use support::config::{Config, ListenerSpec, changes, rule};
use support::tls;
use support::{Gateway, free_address};
use transom::snapshot::filter::{PathChange, Scheme};
use transom::snapshot::tls::ListenerTls;
use transom::snapshot::{Action, Filter, Redirect, Rule, RuleIndex};

const PLAIN: Redirect = Redirect { scheme: None, host: None, port: None, path: None, status: 302 };

fn redirect(config: &mut Config, redirect: Redirect) -> RuleIndex {
    config.rule_with(rule("r", Action::Redirect(redirect)))
}

/// Serves routes by prefix on a port that clients were told to be `port`.
async fn serve(config: Config, routes: Vec<(&'static str, RuleIndex)>, port: u16) -> (Gateway, SocketAddr) {
    let mut gateway = Gateway::start();
    let address = free_address();
    let routes = routes.into_iter().map(|(path, rule)| (None, path, rule)).collect();
    let tls = (port == 443).then(|| ListenerTls { certificates: vec![tls::certificate(&["a.org"])] });
    let spec = ListenerSpec { name: "l", hostname: None, tls, routes };
    let config = if port == 443 { config.https(address, vec![spec]) } else { config.http(address, vec![spec]) };
    let mut snapshot = config.build();
    snapshot.binds.get_mut(&address).unwrap().listeners[0].port = port;
    gateway.serve(snapshot).await;
    (gateway, address)
}

async fn clients(address: SocketAddr, tls: bool) -> [Client; 2] {
    if tls {
        let over = async |alpn| tls::connect(address, "a.org", &tls::client(&[alpn])).await.unwrap();
        let h1 = Client::h1_over(over("http/1.1").await).await.unwrap();
        [h1, Client::h2_over(over("h2").await).await.unwrap()]
    } else {
        [Client::h1(address).await, Client::h2(address).await]
    }
}

#[tokio::test]
async fn redirect_port_and_scheme_follow_the_table() {
    // RedirectPortAndScheme: listener port, scheme, port -> Location
    use Scheme::{Http, Https};
    let cases = [
        (80, "/nil-nil", None, None, "http://a.org/nil-nil"),
        (80, "/nil-80", None, Some(80), "http://a.org/nil-80"),
        (80, "/nil-8080", None, Some(8080), "http://a.org:8080/nil-8080"),
        (80, "/https-nil", Some(Https), None, "https://a.org/https-nil"),
        (80, "/https-443", Some(Https), Some(443), "https://a.org/https-443"),
        (80, "/https-8443", Some(Https), Some(8443), "https://a.org:8443/https-8443"),
        (8080, "/nil-nil", None, None, "http://a.org:8080/nil-nil"),
        (8080, "/nil-80", None, Some(80), "http://a.org/nil-80"),
        (8080, "/https-nil", Some(Https), None, "https://a.org/https-nil"),
        (443, "/nil-nil", None, None, "https://a.org/nil-nil"),
        (443, "/nil-443", None, Some(443), "https://a.org/nil-443"),
        (443, "/nil-8443", None, Some(8443), "https://a.org:8443/nil-8443"),
        (443, "/http-nil", Some(Http), None, "http://a.org/http-nil"),
        (443, "/http-80", Some(Http), Some(80), "http://a.org/http-80"),
        (443, "/http-8080", Some(Http), Some(8080), "http://a.org:8080/http-8080"),
    ];
    for listener in [80, 8080, 443] {
        let of_listener = cases.iter().filter(|case| case.0 == listener);
        let mut config = Config::default();
        let routes = of_listener.clone().map(|(_, path, scheme, port, _)| {
            (*path, redirect(&mut config, Redirect { scheme: *scheme, port: port.and_then(NonZeroU16::new), ..PLAIN }))
        });
        let routes = routes.collect();
        let (_gateway, address) = serve(config, routes, listener).await;
        for mut client in clients(address, listener == 443).await {
            for (_, path, .., location) in of_listener.clone() {
                let scheme = if listener == 443 { "https" } else { "http" };
                // the port that a client names is not what it is sent to
                let answer = client.get(&format!("{scheme}://a.org:1234{path}")).await.unwrap();
                assert_eq!(answer.summary(), "302 redirect");
                assert_eq!(answer.header("location"), *location, "on {listener}");
            }
        }
    }
}

#[tokio::test]
async fn redirect_host_and_status() {
    let mut config = Config::default();
    let host = Some("example.org".into());
    let routes = [("/301", 301), ("/302", 302), ("/303", 303), ("/307", 307), ("/308", 308)]
        .map(|(path, status)| (path, redirect(&mut config, Redirect { host: host.clone(), status, ..PLAIN })));
    let (_gateway, address) = serve(config, routes.to_vec(), 80).await;
    for mut client in clients(address, false).await {
        for status in [301, 302, 303, 307, 308] {
            let answer = client.get(&format!("http://a.org/{status}")).await.unwrap();
            assert_eq!(answer.status.as_u16(), status);
            assert_eq!(answer.header("location"), format!("http://example.org/{status}"));
            assert_eq!(answer.header("cache-control"), "", "how long it holds is for the client to judge");
        }
    }
}

#[tokio::test]
async fn redirect_path_is_kept_replaced_or_has_its_prefix_replaced_and_the_query_is_kept() {
    let mut config = Config::default();
    let mut to = |path| redirect(&mut config, Redirect { path, ..PLAIN });
    let prefix = |path: &str| Some(PathChange::Prefix(path.into()));
    let full = |path: &str| Some(PathChange::Full(path.into()));
    let routes = vec![
        ("/original-prefix", to(prefix("/replacement-prefix"))),
        ("/original-prefix/deeper", to(prefix("/deep"))),
        ("/strip", to(prefix("/"))),
        ("/full", to(full("/full-path-replacement"))),
        ("/", to(None)),
    ];
    let (_gateway, address) = serve(config, routes, 80).await;
    for mut client in clients(address, false).await {
        for (asked, location) in [
            ("/original-prefix/lemon", "/replacement-prefix/lemon"),
            ("/original-prefix", "/replacement-prefix"),
            ("/original-prefix/", "/replacement-prefix/"),
            ("/original-prefix/deeper/x?a=b&c", "/deep/x?a=b&c"),
            ("/strip/x", "/x"),
            ("/strip", "/"),
            ("/strip?a", "/?a"),
            ("/full/x/y?a=%20", "/full-path-replacement?a=%20"),
            ("/kept/a%2Fb/?", "/kept/a%2Fb/?"),
            ("/kept//twice/./x/../y", "/kept/twice/y"),
            ("//evil.com/x", "/evil.com/x"),
            ("/", "/"),
        ] {
            let answer = client.get(&format!("http://a.org{asked}")).await.unwrap();
            assert_eq!(answer.header("location"), format!("http://a.org{location}"), "{asked}");
        }
    }
}

#[tokio::test]
async fn redirect_without_hostname_names_the_host_of_the_request() {
    let mut config = Config::default();
    let rule = redirect(&mut config, PLAIN);
    let (_gateway, address) = serve(config, vec![("/", rule)], 8080).await;
    for (host, named) in [
        ("A.Org", "a.org:8080"),
        ("a.org:99", "a.org:8080"),
        ("[::1]", "[::1]:8080"),
        ("[::1]:99", "[::1]:8080"),
        ("127.0.0.1:99", "127.0.0.1:8080"),
    ] {
        for mut client in clients(address, false).await {
            let answer = client.get(&format!("http://{host}/x")).await.unwrap();
            assert_eq!(answer.header("location"), format!("http://{named}/x"));
        }
    }
    let hostless = raw(address, "GET /x HTTP/1.0\r\n\r\n").await;
    assert!(hostless.starts_with("HTTP/1.1 400") || hostless.starts_with("HTTP/1.0 400"), "{hostless}");
}

#[tokio::test]
async fn a_location_cannot_be_broken_by_what_a_client_sends() {
    let mut config = Config::default();
    let rule = redirect(&mut config, PLAIN);
    let (_gateway, address) = serve(config, vec![("/", rule)], 80).await;
    let answer =
        raw(address, "GET /\u{e4}%0d%0aX:1?q=\u{e4} HTTP/1.1\r\nHost: a.org\r\nConnection: close\r\n\r\n").await;
    assert!(answer.contains("\r\nlocation: http://a.org/%C3%A4%0d%0aX:1?q=%C3%A4\r\n"), "{answer}");
}

#[tokio::test]
async fn a_redirect_keeps_the_connection_whatever_the_method() {
    let mut config = Config::default();
    let rule = redirect(&mut config, Redirect { status: 307, ..PLAIN });
    let (_gateway, address) = serve(config, vec![("/", rule)], 80).await;
    for mut client in clients(address, false).await {
        for method in [Method::GET, Method::HEAD, Method::POST, Method::OPTIONS, Method::PUT] {
            let body = if method == Method::POST { Full::from("a body") } else { Full::<Bytes>::default() };
            let request = Request::builder().method(&method).uri("http://a.org/x").body(body).unwrap();
            let answer = client.send(request).await.unwrap();
            assert_eq!(answer.status.as_u16(), 307, "{method}");
            assert_eq!(answer.header("location"), "http://a.org/x", "{method}");
            assert_eq!(answer.header("content-length"), "13", "{method}");
            assert_eq!(answer.body, if method == Method::HEAD { "" } else { "307 redirect\n" });
        }
        assert!(!client.is_closed());
    }
}

#[tokio::test]
async fn response_header_modifiers_apply_to_redirects() {
    let mut config = Config::default();
    let change =
        changes(&[("Cache-Control", "max-age=60"), ("content-length", "0")], &[("x-add", "1")], &["location2"]);
    let rule = config.rule_with(Rule {
        filters: [Filter::ResponseHeaders(change)].into_iter().collect(),
        ..rule("r", Action::Redirect(Redirect { status: 301, ..PLAIN }))
    });
    let (_gateway, address) = serve(config, vec![("/", rule)], 80).await;
    let answer = get(address, "http://a.org/x").await;
    assert_eq!(answer.summary(), "301 redirect");
    assert_eq!(answer.header("cache-control"), "max-age=60");
    assert_eq!(answer.header("x-add"), "1");
    assert_eq!(answer.header("location"), "http://a.org/x");
}
