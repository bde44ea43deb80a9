//! Cleartext traffic over real sockets: HTTP/1.1 and h2c on one port, listeners and routes, the gateway's own
//! answers, and what an upstream is told.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "parts of tests fail as tests do"
)]

#[path = "support/traffic/mod.rs"]
mod support;

use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Version};
use support::client::{Client, get};
use support::config::{Config, ListenerSpec, listener};
use support::upstream::Echo;
use support::{Gateway, free_address};
use transom::snapshot::UpstreamProtocol;

/// One listener for every host, one route to one echo.
async fn simple() -> (Gateway, Echo, SocketAddr) {
    let echo = Echo::start("a").await;
    let mut gateway = Gateway::start();
    let mut config = Config::default();
    let rule = config.to("a", echo.address);
    let address = free_address();
    gateway.serve(config.http(address, vec![listener("l", None, rule)]).build()).await;
    (gateway, echo, address)
}

#[tokio::test]
async fn one_port_speaks_http1_and_h2c() {
    let (_gateway, _echo, address) = simple().await;

    let answer = get(address, "http://example.com/hello?x=1").await;
    assert_eq!(answer.summary(), "200 a");
    assert_eq!(answer.fact("target"), Some("/hello?x=1"));
    assert_eq!(answer.fact("host"), Some("example.com"));

    let answer = Client::h2(address).await.get("http://example.com/hello?x=1").await.unwrap();
    assert_eq!(answer.summary(), "200 a");
    assert_eq!(answer.version, Version::HTTP_2);
    assert_eq!(answer.fact("target"), Some("/hello?x=1"));
    assert_eq!(answer.fact("host"), Some("example.com"));
    assert_eq!(answer.fact("version"), Some("HTTP/1.1"));
}

#[tokio::test]
async fn an_h2c_upstream_is_spoken_to_in_http2_whatever_the_client_speaks() {
    let echo = Echo::start("a").await;
    let mut gateway = Gateway::start();
    let mut config = Config::default();
    let upstream = config.upstream_over("a", UpstreamProtocol::H2c, &[echo.address]);
    let rule = config.forward("a", upstream);
    let address = free_address();
    gateway.serve(config.http(address, vec![listener("l", None, rule)]).build()).await;

    for mut client in [Client::h1(address).await, Client::h2(address).await] {
        let answer = client.get("http://example.com/x").await.unwrap();
        assert_eq!(answer.summary(), "200 a");
        assert_eq!(answer.fact("version"), Some("HTTP/2.0"));
        assert_eq!(answer.fact("authority"), Some("example.com"));
    }
}

#[tokio::test]
async fn only_the_most_specific_listener_of_a_port_takes_a_host() {
    // GatewayHTTPListenerIsolation, gateway-api.md 3.1
    let echo = Echo::start("a").await;
    let mut gateway = Gateway::start();
    let mut config = Config::default();
    let rule = config.to("a", echo.address);
    let spec = |name, hostname, path| ListenerSpec { name, hostname, tls: None, routes: vec![(None, path, rule)] };
    let address = free_address();
    let config = config.http(
        address,
        vec![
            spec("empty", None, "/empty"),
            spec("wildcard", Some("*.example.com"), "/wildcard"),
            spec("foo", Some("*.foo.example.com"), "/foo"),
            spec("abc", Some("abc.foo.example.com"), "/abc"),
        ],
    );
    gateway.serve(config.build()).await;

    let mut clients = [Client::h1(address).await, Client::h2(address).await];
    for client in &mut clients {
        for (host, own) in [
            ("bar.com", "/empty"),
            ("example.com", "/empty"),
            ("bar.example.com", "/wildcard"),
            ("bar.foo.example.com", "/foo"),
            ("a.b.foo.example.com", "/foo"),
            ("abc.foo.example.com", "/abc"),
            ("ABC.foo.Example.com", "/abc"),
        ] {
            for path in ["/empty", "/wildcard", "/foo", "/abc"] {
                let answer = client.get(&format!("http://{host}{path}")).await.unwrap();
                let expected = if path == own { "200 a" } else { "404 no_route" };
                assert_eq!(answer.summary(), expected, "{host}{path}");
            }
        }
    }
}

#[tokio::test]
async fn each_local_answer_names_its_reason_and_keeps_the_connection() {
    let mut gateway = Gateway::start();
    let mut config = Config::default();
    let empty = config.upstream("empty", &[]);
    let nowhere = config.forward("nowhere", empty);
    let invalid = config.invalid("invalid");
    let half_invalid = config.split("half", &[(1, None)]);
    let routes = vec![(None, "/nowhere", nowhere), (None, "/invalid", invalid), (None, "/share", half_invalid)];
    let address = free_address();
    let spec = ListenerSpec { name: "l", hostname: Some("*.example.com"), tls: None, routes };
    gateway.serve(config.http(address, vec![spec]).build()).await;

    let cases = [
        ("http://other.com/", "404 no_listener"),
        ("http://a.example.com/", "404 no_route"),
        ("http://a.example.com/nowhere", "503 no_endpoints"),
        ("http://a.example.com/invalid", "500 invalid_backend"),
        ("http://a.example.com/share", "500 invalid_backend"),
    ];
    for mut client in [Client::h1(address).await, Client::h2(address).await] {
        for (url, expected) in cases {
            // A body that nobody wants must not cost the connection.
            let request = Request::post(url).body(Full::from(Bytes::from_static(b"unwanted"))).unwrap();
            let answer = client.send(request).await.unwrap();
            assert_eq!(answer.summary(), expected, "{url}");
            assert_eq!(answer.status.as_str(), &expected[..3]);
            assert_eq!(answer.headers.get("server"), None);
            assert_eq!(answer.headers["content-type"], "text/plain");
            assert!(answer.headers.get("connection").is_none_or(|value| value != "close"));
        }
        let head = client.send(Request::head("http://other.com/").body(Full::default()).unwrap()).await.unwrap();
        assert_eq!((head.status.as_u16(), head.body.as_str()), (404, ""));
        assert_eq!(client.get("http://other.com/").await.unwrap().summary(), "404 no_listener");
    }
}

#[tokio::test]
async fn a_grpc_client_is_answered_in_its_own_terms() {
    let mut gateway = Gateway::start();
    let mut config = Config::default();
    let empty = config.upstream("empty", &[]);
    let rule = config.forward("nowhere", empty);
    let address = free_address();
    let spec = ListenerSpec { name: "l", hostname: None, tls: None, routes: vec![(None, "/there", rule)] };
    gateway.serve(config.http(address, vec![spec]).build()).await;

    let mut client = Client::h2(address).await;
    for (path, code, message) in [("/there", "14", "no_endpoints"), ("/not", "12", "no_route")] {
        let request = Request::post(format!("http://example.com{path}"))
            .header("content-type", "application/grpc+proto")
            .body(Full::default())
            .unwrap();
        let answer = client.send(request).await.unwrap();
        assert_eq!(answer.status, 200);
        assert_eq!(answer.headers["grpc-status"], code);
        assert_eq!(answer.headers["grpc-message"], message);
    }
}

#[tokio::test]
async fn the_same_port_on_two_addresses_is_two_binds() {
    let (one, two) = (Echo::start("one").await, Echo::start("two").await);
    let mut gateway = Gateway::start();
    let mut config = Config::default();
    let (to_one, to_two) = (config.to("one", one.address), config.to("two", two.address));
    let first = support::free_on(Ipv4Addr::new(127, 0, 0, 2));
    let second = SocketAddr::from(([127, 0, 0, 3], first.port()));
    let config = config.http(first, vec![listener("l", None, to_one)]).http(second, vec![listener("l", None, to_two)]);
    gateway.serve(config.build()).await;

    assert_eq!(get(first, "http://example.com/").await.summary(), "200 one");
    assert_eq!(get(second, "http://example.com/").await.summary(), "200 two");
}

#[tokio::test]
async fn the_unspecified_address_and_one_address_may_share_a_port() {
    let (all, one) = (Echo::start("all").await, Echo::start("one").await);
    let mut gateway = Gateway::start();
    let mut config = Config::default();
    let (to_all, to_one) = (config.to("all", all.address), config.to("one", one.address));
    // a port that is free on every address: other tests hold theirs on one
    let port = std::net::TcpListener::bind("[::]:0").unwrap().local_addr().unwrap().port();
    let specific = SocketAddr::from(([127, 0, 0, 4], port));
    let unspecified: SocketAddr = format!("[::]:{port}").parse().unwrap();
    let config =
        config.http(unspecified, vec![listener("l", None, to_all)]).http(specific, vec![listener("l", None, to_one)]);
    gateway.serve(config.build()).await;

    let elsewhere = SocketAddr::from(([127, 0, 0, 1], specific.port()));
    assert_eq!(get(specific, "http://example.com/").await.summary(), "200 one");
    assert_eq!(get(elsewhere, "http://example.com/").await.summary(), "200 all");
}

#[tokio::test]
async fn an_upstream_sees_the_path_that_was_matched() {
    let echo = Echo::start("a").await;
    let mut gateway = Gateway::start();
    let mut config = Config::default();
    let rule = config.to("a", echo.address);
    let address = free_address();
    let spec = ListenerSpec { name: "l", hostname: None, tls: None, routes: vec![(None, "/open", rule)] };
    gateway.serve(config.http(address, vec![spec]).build()).await;

    for (sent, seen) in [
        ("/open/x", Some("/open/x")),
        ("//open///x?q=//", Some("/open/x?q=//")),
        ("/closed/../open", Some("/open")),
        ("/open/%2e%2e/closed", None),
        ("/open/../closed", None),
        ("/open/a%2Fb", Some("/open/a%2Fb")),
    ] {
        let text = support::client::raw(
            address,
            format!("GET {sent} HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n"),
        )
        .await;
        match seen {
            Some(seen) => assert!(text.contains(&format!("target: {seen}\n")), "{sent}: {text}"),
            None => assert!(text.contains("404 no_route"), "{sent}: {text}"),
        }
        let h2 = Client::h2(address).await.get(&format!("http://example.com{sent}")).await.unwrap();
        assert_eq!(h2.fact("target"), seen, "{sent} over h2");
    }
    let text = support::client::raw(
        address,
        "GET http://example.com//open/x HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert!(text.contains("target: /open/x\n"), "{text}");
}

#[tokio::test]
async fn what_a_client_says_of_forwarding_is_replaced() {
    let (_gateway, _echo, address) = simple().await;
    let request = Request::get("http://example.com:81/")
        .header("x-forwarded-for", "6.6.6.6")
        .header("x-forwarded-for", "7.7.7.7")
        .header("x-forwarded-client-cert", "forged")
        .header("x-forwarded-proto", "https")
        .header("forwarded", "for=6.6.6.6")
        .header("x-real-ip", "6.6.6.6")
        .body(Full::default())
        .unwrap();
    for mut client in [Client::h1(address).await, Client::h2(address).await] {
        let answer = client.send(request.clone()).await.unwrap();
        assert_eq!(answer.fact("x-forwarded-for"), Some("127.0.0.1"));
        assert_eq!(answer.body.matches("x-forwarded-for").count(), 1);
        assert_eq!(answer.fact("x-real-ip"), Some("127.0.0.1"));
        assert_eq!(answer.fact("x-forwarded-proto"), Some("http"));
        assert_eq!(answer.fact("x-forwarded-host"), Some("example.com:81"));
        assert_eq!(answer.fact("x-forwarded-port"), Some(address.port().to_string().as_str()));
        assert_eq!(answer.fact("x-forwarded-client-cert"), None);
        assert_eq!(answer.fact("forwarded"), None);
        assert!(!answer.body.contains("6.6.6.6"));
    }
}

#[tokio::test]
async fn an_answer_carries_no_header_of_ours() {
    let (_gateway, _echo, address) = simple().await;
    for mut client in [Client::h1(address).await, Client::h2(address).await] {
        let answer = client.get("http://example.com/").await.unwrap();
        assert_eq!(answer.headers.get("server"), None);
        assert_eq!(answer.headers["x-upstream"], "a");
    }
}
