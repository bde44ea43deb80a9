//! CORS over real sockets: preflights, who may read an answer, and what an upstream says of it itself. Each test
//! names the rule of gateway-api.md 3.3 or 6.5, or of the Fetch standard, that it proves.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "parts of tests fail as tests do"
)]

#[path = "support/traffic/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::net::SocketAddr;

use http_body_util::Full;
use hyper::header::HeaderName;
use hyper::{Method, Request};
use support::client::{Answer, Client};
use support::config::{Config, changes, forward_to, listener, rule};
use support::upstream::Echo;
use support::{Gateway, free_address};
use transom::router::Hostname;
use transom::snapshot::filter::{Cors, Names, Origin, Origins};
use transom::snapshot::{Action, Filter, Filters, LocalAnswer, Redirect, Rule};

const ALLOW_ORIGIN: &str = "access-control-allow-origin";

fn origin(text: &str) -> Origin {
    let (scheme, authority) = text.split_once("://").unwrap();
    let (host, port) = authority.split_once(':').unwrap_or((authority, if scheme == "http" { "80" } else { "443" }));
    Origin { scheme: scheme.into(), host: Hostname::parse(host), port: port.parse().ok() }
}

fn origins(list: &[&str]) -> Origins {
    Origins::Listed(list.iter().map(|text| origin(text)).collect())
}

fn names(list: &[&str]) -> Names {
    Names::Listed(list.iter().map(|name| (*name).into()).collect())
}

/// The filter of the conformance suite.
fn listed() -> Cors {
    Cors {
        origins: origins(&["https://www.foo.com", "https://*.bar.com", "http://port.com:8080"]),
        credentials: true,
        methods: names(&["GET", "OPTIONS"]),
        headers: names(&["x-header-1", "x-header-2"]),
        expose: names(&["x-header-3", "x-header-4"]),
        max_age: 3600,
    }
}

fn anyone(credentials: bool) -> Cors {
    Cors {
        origins: Origins::Any,
        credentials,
        methods: Names::Any,
        headers: Names::Any,
        expose: Names::Any,
        max_age: 5,
    }
}

fn filter(cors: Cors) -> Filters {
    [Filter::Cors(Box::new(cors))].into_iter().collect()
}

/// A gateway with one rule, before an echo if it forwards.
struct Served {
    _gateway: Gateway,
    echo: Echo,
    address: SocketAddr,
}

impl Served {
    async fn forwarding(filters: Filters) -> Served {
        let echo = Echo::start("a").await;
        let mut config = Config::default();
        let upstream = config.upstream("a", &[echo.address]);
        let action = forward_to(vec![(1, upstream, Filters::default())]);
        Served::with(echo, config, Rule { filters, ..rule("r", action) }).await
    }

    async fn with(echo: Echo, mut config: Config, rule: Rule) -> Served {
        let rule = config.rule_with(rule);
        let mut gateway = Gateway::start();
        let address = free_address();
        gateway.serve(config.http(address, vec![listener("l", None, rule)]).build()).await;
        Served { _gateway: gateway, echo, address }
    }

    async fn clients(&self) -> [Client; 2] {
        [Client::h1(self.address).await, Client::h2(self.address).await]
    }
}

async fn ask(client: &mut Client, method: Method, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::builder().method(method).uri("http://a.org/cors");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    client.send(request.body(Full::default()).unwrap()).await.unwrap()
}

async fn preflight(client: &mut Client, origin: &str) -> Answer {
    ask(client, Method::OPTIONS, &[("origin", origin), ("access-control-request-method", "GET")]).await
}

fn set(list: &str) -> BTreeSet<String> {
    list.split(',').map(|name| name.trim().to_lowercase()).collect()
}

fn cors_headers(answer: &Answer) -> Vec<&str> {
    answer.headers.keys().map(HeaderName::as_str).filter(|name| name.starts_with("access-control-")).collect()
}

#[tokio::test]
async fn a_preflight_of_an_allowed_origin_is_answered_here() {
    let served = Served::forwarding(filter(listed())).await;
    for mut client in served.clients().await {
        for origin in ["https://www.foo.com", "https://a.bar.com", "https://a.b.c.bar.com", "http://port.com:8080"] {
            let answer = preflight(&mut client, origin).await;
            assert_eq!(answer.status.as_u16(), 204, "{origin}");
            assert_eq!(answer.body, "");
            assert_eq!(answer.header(ALLOW_ORIGIN), origin);
            assert_eq!(answer.header("access-control-allow-credentials"), "true");
            assert_eq!(set(&answer.header("access-control-allow-methods")), set("GET,OPTIONS"));
            assert_eq!(set(&answer.header("access-control-allow-headers")), set("x-header-1,x-header-2"));
            assert_eq!(set(&answer.header("access-control-expose-headers")), set("x-header-3,x-header-4"));
            assert_eq!(answer.header("access-control-max-age"), "3600");
            assert_eq!(answer.header("vary"), "Origin");
            assert_eq!(answer.header("content-length"), "", "a 204 has no length");
        }
        assert!(!client.is_closed());
    }
    assert_eq!(served.echo.requests(), 0);
}

#[tokio::test]
async fn a_preflight_of_another_origin_is_refused_without_an_allowance_and_not_forwarded() {
    let served = Served::forwarding(filter(listed())).await;
    for mut client in served.clients().await {
        for origin in [
            "https://foo.com",
            "https://bar.com",
            "https://www.foo.com.evil.com",
            "http://www.foo.com",
            "https://www.foo.com:8443",
            "http://a.bar.com",
            "http://port.com",
            "https://port.com:8080",
            "null",
            "*",
            "nonsense",
        ] {
            let answer = preflight(&mut client, origin).await;
            assert_eq!(answer.summary(), "403 cors_refused", "{origin}");
            assert_eq!(cors_headers(&answer), [""; 0], "{origin}");
            assert_eq!(answer.header("vary"), "Origin");
        }
        let twice = [
            ("origin", "https://www.foo.com"),
            ("origin", "https://www.foo.com"),
            ("access-control-request-method", "GET"),
        ];
        assert_eq!(ask(&mut client, Method::OPTIONS, &twice).await.summary(), "403 cors_refused");
    }
    assert_eq!(served.echo.requests(), 0);
}

#[tokio::test]
async fn other_requests_are_forwarded_and_allowed_only_if_the_origin_matches() {
    let served = Served::forwarding(filter(listed())).await;
    for mut client in served.clients().await {
        for (origin, allowed) in [
            (Some("https://www.foo.com"), true),
            (Some("https://www.foo.com:443"), true),
            (Some("https://a.b.bar.com"), true),
            (Some("https://bar.com"), false),
            (Some("null"), false),
            (None, false),
        ] {
            for method in [Method::GET, Method::POST, Method::OPTIONS] {
                let headers: Vec<_> = origin.map(|origin| ("origin", origin)).into_iter().collect();
                let answer = ask(&mut client, method, &headers).await;
                assert_eq!(answer.summary(), "200 a");
                assert_eq!(answer.fact("origin"), origin, "the upstream sees it");
                assert_eq!(answer.header("vary"), "Origin", "a cache must not give it to another origin");
                if allowed {
                    assert_eq!(answer.header(ALLOW_ORIGIN), origin.unwrap());
                    assert_eq!(answer.header("access-control-allow-credentials"), "true");
                    assert_eq!(set(&answer.header("access-control-expose-headers")), set("x-header-3,x-header-4"));
                } else {
                    assert_eq!(cors_headers(&answer), [""; 0]);
                }
            }
        }
    }
}

#[tokio::test]
async fn options_that_is_no_preflight_is_an_ordinary_request() {
    let served = Served::forwarding(filter(listed())).await;
    for mut client in served.clients().await {
        let without_method = [("origin", "https://bar.com")];
        assert_eq!(ask(&mut client, Method::OPTIONS, &without_method).await.summary(), "200 a");
        let without_origin = [("access-control-request-method", "GET")];
        assert_eq!(ask(&mut client, Method::OPTIONS, &without_origin).await.summary(), "200 a");
        let no_options = [("origin", "https://bar.com"), ("access-control-request-method", "GET")];
        assert_eq!(ask(&mut client, Method::GET, &no_options).await.summary(), "200 a");
    }
}

#[tokio::test]
async fn the_filters_word_replaces_the_upstreams_and_vary_is_appended_to() {
    let served = Served::forwarding(filter(listed())).await;
    let upstream_says = [
        ("x-answer", "access-control-allow-origin=https://upstream.org"),
        ("x-answer", "access-control-allow-credentials=true"),
        ("x-answer", "access-control-expose-headers=x-secret"),
        ("x-answer", "vary=Accept-Encoding"),
    ];
    for mut client in served.clients().await {
        let refused = [&upstream_says[..], &[("origin", "https://bar.com")]].concat();
        let refused = ask(&mut client, Method::GET, &refused).await;
        assert_eq!(cors_headers(&refused), [""; 0]);
        assert_eq!(refused.header("vary"), "Accept-Encoding,Origin");
        let allowed = [&upstream_says[..], &[("origin", "https://www.foo.com"), ("x-answer", "vary=origin")]].concat();
        let allowed = ask(&mut client, Method::GET, &allowed).await;
        assert_eq!(allowed.header(ALLOW_ORIGIN), "https://www.foo.com");
        assert_eq!(set(&allowed.header("access-control-expose-headers")), set("x-header-3,x-header-4"));
        assert_eq!(allowed.header("vary"), "Accept-Encoding,origin", "what is there already is not said twice");
    }
}

#[tokio::test]
async fn stars_without_credentials_are_sent_as_they_are() {
    let served = Served::forwarding(filter(anyone(false))).await;
    for mut client in served.clients().await {
        for origin in ["https://www.foo.com", "http://x.org:1234", "null"] {
            let answer = preflight(&mut client, origin).await;
            assert_eq!(answer.status.as_u16(), 204);
            for name in ["origin", "methods", "headers"] {
                assert_eq!(answer.header(&format!("access-control-allow-{name}")), "*", "{name}");
            }
            assert_eq!(answer.header("access-control-expose-headers"), "*");
            assert_eq!(answer.header("access-control-allow-credentials"), "");
            assert_eq!(answer.header("vary"), "", "it is the same for every origin");
            let actual = ask(&mut client, Method::GET, &[("origin", origin)]).await;
            assert_eq!(actual.header(ALLOW_ORIGIN), "*");
            assert_eq!(actual.header("access-control-expose-headers"), "*");
            assert_eq!(actual.header("vary"), "");
        }
        // Fetch, "CORS protocol and HTTP caches": so that a cache may give it to any origin
        let plain = ask(&mut client, Method::GET, &[]).await;
        assert_eq!(plain.header(ALLOW_ORIGIN), "*");
        assert_eq!(preflight(&mut client, "nonsense").await.summary(), "403 cors_refused");
    }
}

#[tokio::test]
async fn with_credentials_no_star_is_ever_sent() {
    let served = Served::forwarding(filter(anyone(true))).await;
    for mut client in served.clients().await {
        let asked = [
            ("origin", "https://x.org:8443"),
            ("access-control-request-method", "PUT"),
            ("access-control-request-headers", "x-one, x-two"),
            ("access-control-request-headers", "x-three"),
        ];
        let answer = ask(&mut client, Method::OPTIONS, &asked).await;
        assert_eq!(answer.status.as_u16(), 204);
        assert_eq!(answer.header(ALLOW_ORIGIN), "https://x.org:8443");
        assert_eq!(answer.header("access-control-allow-credentials"), "true");
        assert_eq!(answer.header("access-control-allow-methods"), "PUT");
        assert_eq!(set(&answer.header("access-control-allow-headers")), set("x-one,x-two,x-three"));
        assert_eq!(answer.header("access-control-expose-headers"), "");
        let varies = "origin,access-control-request-method,access-control-request-headers";
        assert_eq!(set(&answer.header("vary")), set(varies));
        assert!(answer.headers.values().all(|value| value != "*"));

        let actual = ask(&mut client, Method::GET, &[("origin", "null"), ("x-answer", "x-mine=1")]).await;
        assert_eq!(actual.header(ALLOW_ORIGIN), "null");
        let exposed = set(&actual.header("access-control-expose-headers"));
        assert!(exposed.contains("x-mine") && exposed.contains("x-upstream"), "{exposed:?}");
        assert_eq!(actual.header("vary"), "Origin");
    }
}

#[tokio::test]
async fn empty_lists_allow_nothing_beyond_what_needs_no_allowance() {
    let cors = Cors { methods: names(&[]), headers: names(&[]), expose: names(&[]), credentials: false, ..listed() };
    let served = Served::forwarding(filter(cors)).await;
    for mut client in served.clients().await {
        let answer = preflight(&mut client, "https://www.foo.com").await;
        assert_eq!(answer.status.as_u16(), 204);
        assert_eq!(set(&cors_headers(&answer).join(",")), set("access-control-allow-origin,access-control-max-age"));
    }
}

#[tokio::test]
async fn a_preflight_is_answered_where_no_backend_could_be_and_a_page_may_read_the_error() {
    let mut without_endpoints = Config::default();
    let empty = without_endpoints.upstream("empty", &[]);
    let mut refusing = Config::default();
    let closed = refusing.upstream("closed", &[free_address()]);
    let to = |upstream| forward_to(vec![(1, upstream, Filters::default())]);
    for (config, action, error) in [
        (without_endpoints, to(empty), "503 no_endpoints"),
        (refusing, to(closed), "503 connect_failed"),
        (Config::default(), Action::Answer(LocalAnswer::InvalidBackend), "500 invalid_backend"),
    ] {
        let filters = filter(listed());
        let served = Served::with(Echo::start("a").await, config, Rule { filters, ..rule("r", action) }).await;
        for (mut client, again) in served.clients().await.into_iter().zip(served.clients().await) {
            assert_eq!(preflight(&mut client, "https://www.foo.com").await.status.as_u16(), 204);
            assert_eq!(preflight(&mut client, "https://bar.com").await.summary(), "403 cors_refused");
            let answer = ask(&mut client, Method::GET, &[("origin", "https://www.foo.com")]).await;
            assert_eq!(answer.summary(), error);
            assert_eq!(answer.header(ALLOW_ORIGIN), "https://www.foo.com");
            assert_eq!(answer.header("vary"), "Origin");
            client = again; // some errors end the connection
            let answer = ask(&mut client, Method::GET, &[("origin", "https://bar.com")]).await;
            assert_eq!(answer.summary(), error);
            assert_eq!(cors_headers(&answer), [""; 0]);
        }
    }
}

#[tokio::test]
async fn a_preflight_comes_before_a_redirect_and_a_redirect_may_be_followed() {
    let action =
        Action::Redirect(Redirect { scheme: None, host: Some("b.org".into()), port: None, path: None, status: 302 });
    let modifier = changes(&[(ALLOW_ORIGIN, "https://modifier.org"), ("x-set", "1")], &[], &[]);
    let filters = [Filter::Cors(Box::new(listed())), Filter::ResponseHeaders(modifier)].into_iter().collect();
    let served = Served::with(Echo::start("a").await, Config::default(), Rule { filters, ..rule("r", action) }).await;
    for mut client in served.clients().await {
        let answer = preflight(&mut client, "https://www.foo.com").await;
        assert_eq!(answer.status.as_u16(), 204);
        assert_eq!(answer.header("x-set"), "", "modifiers are for what is answered to the page");
        let answer = ask(&mut client, Method::GET, &[("origin", "https://www.foo.com")]).await;
        assert_eq!(answer.summary(), "302 redirect");
        assert_eq!(answer.header(ALLOW_ORIGIN), "https://www.foo.com", "CORS has the last word");
        assert_eq!(answer.header("x-set"), "1");
        let answer = ask(&mut client, Method::GET, &[("origin", "https://bar.com")]).await;
        assert_eq!(answer.summary(), "302 redirect");
        assert_eq!(answer.header(ALLOW_ORIGIN), "");
    }
}
