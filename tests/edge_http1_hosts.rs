//! Whose request it is: `Host`, absolute targets and what contradicts itself; the methods that the gateway answers by
//! itself; and its own answers.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "parts of tests fail as tests do"
)]

#[path = "support/traffic/mod.rs"]
mod support;

use support::client::Wire;
use support::edge::{BEHIND, Edge};
use support::script::End;

#[tokio::test]
async fn a_host_that_is_missing_doubled_or_none_is_refused() {
    let edge = Edge::start().await;
    let fields = [
        "",
        "Host:\r\n",
        "Host: \r\n",
        "Host: a.com\r\nHost: a.com\r\n",
        "Host: a.com\r\nhost: b.com\r\n",
        "Host: a.com\r\nHost:\r\n",
        "Host: a.com, b.com\r\n",
        "Host: a.com b.com\r\n",
        "Host: http://a.com\r\n",
        "Host: a.com/\r\n",
        "Host: a.com/x\r\n",
        "Host: a.com?\r\n",
        "Host: a.com#\r\n",
        "Host: user@a.com\r\n",
        "Host: user:word@a.com\r\n",
        "Host: a..com\r\n",
        "Host: .a.com\r\n",
        "Host: a.com:b\r\n",
        "Host: a.com:80:80\r\n",
        "Host: a.com:65536\r\n",
        "Host: a.com:-1\r\n",
        "Host: :80\r\n",
        "Host: a\\b.com\r\n",
        "Host: a%2ecom\r\n",
        "Host: a.com\u{e4}\r\n",
        "Host: <script>\r\n",
        "Host: *.a.com\r\n",
        "Host: [::1\r\n",
        "Host: [::1]x\r\n",
        "Host: [a.com]\r\n",
        "Host: ::1\r\n",
    ];
    edge.refuses(400, "request_invalid", &fields.map(|fields| format!("GET /x HTTP/1.1\r\n{fields}\r\n"))).await;
}

#[tokio::test]
async fn a_target_whose_authority_is_not_the_host_is_refused() {
    let edge = Edge::start().await;
    let cases = [
        ("http://b.com/x", "a.com"),
        ("http://a.com:81/x", "a.com"),
        ("http://a.com/x", "a.com:80"),
        ("http://A.com/x", "a.com"),
        ("http://user@a.com/x", "a.com"),
        ("http://user@a.com/x", "user@a.com"),
        ("http://a.com@b.com/x", "a.com"),
        ("http://a.com\\@b.com/x", "a.com"),
        ("http://a.com#@b.com/x", "b.com"),
        ("http://a.com:b/x", "a.com:b"),
        ("http://[::1/x", "[::1"),
        ("http:/a.com/x", "a.com"),
        ("http:a.com", "a.com"),
    ];
    let request = |(target, host): (&str, &str)| format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    edge.refuses(400, "request_invalid", &cases.map(request)).await;
    // RFC 9112, 3.2: of HTTP/1.1, it is refused without a Host even where the target names one.
    edge.refuses(400, "request_invalid", &["GET http://a.com/x HTTP/1.1\r\n\r\n"]).await;
}

#[tokio::test]
async fn a_host_reaches_the_upstream_as_it_was_sent() {
    let edge = Edge::start().await;
    for host in
        ["a.com", "A.Com", "a.com.", "a.com:80", "a.com:8080", "a.com:", "127.0.0.1", "[::1]", "[::1]:80", "a_b.c"]
    {
        for target in ["/x".to_owned(), format!("http://{host}/x")] {
            let (answers, served) =
                edge.say_and_more(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"), usize::MAX).await;
            assert!(answers[0].status == 200 && served, "{host} {target}: {answers:?}");
            let reached = edge.upstream.whole();
            assert_eq!(reached[0].line(), "GET /x");
            assert_eq!(reached[0].values("host"), [host]);
            edge.upstream.take();
        }
    }
}

/// RFC 9112, 3.3: without a Host the authority is the address that the connection came to.
#[tokio::test]
async fn an_upstream_is_told_a_host_even_where_an_http10_client_names_none() {
    let edge = Edge::start().await;
    for (request, host) in [
        ("GET /x HTTP/1.0\r\n\r\n", edge.address.to_string()),
        ("GET /x HTTP/1.0\r\nHost: a.com\r\n\r\n", "a.com".to_owned()),
        ("GET http://b.com/x HTTP/1.0\r\n\r\n", "b.com".to_owned()),
    ] {
        let answers = edge.say(request).await;
        assert_eq!((answers.len(), answers[0].status), (1, 200), "{answers:?}");
        let reached = edge.upstream.whole();
        assert_eq!((reached.len(), reached[0].values("host")), (1, vec![host.as_str()]));
        edge.upstream.take();
    }
}

#[tokio::test]
async fn trace_and_connect_are_refused() {
    let edge = Edge::start().await;
    for request in [
        "TRACE /x HTTP/1.1\r\nHost: a.com\r\nCookie: secret\r\n\r\n",
        "TRACE /x HTTP/1.1\r\nHost: a.com\r\nMax-Forwards: 0\r\n\r\n",
        "TRACE /x HTTP/1.1\r\nHost: a.com\r\nContent-Length: 5\r\n\r\nhello",
        "CONNECT a.com:443 HTTP/1.1\r\nHost: a.com:443\r\n\r\n",
        "CONNECT a.com:443 HTTP/1.1\r\nHost: a.com\r\n\r\n",
    ] {
        edge.refuses(405, "request_invalid", &[request]).await;
        let answer = edge.say(request).await.remove(0);
        assert_eq!(answer.header("allow"), Some("get, head, post, put, patch, delete, options"));
        assert!(!answer.body.contains("secret"));
    }
    // A method is told by its case.
    edge.serves(&[("trace /x HTTP/1.1\r\nHost: a.com\r\n\r\n", "trace /x")]).await;
}

#[tokio::test]
async fn an_expectation_other_than_100_continue_is_refused() {
    let edge = Edge::start().await;
    let request =
        |value: &str| format!("POST /x HTTP/1.1\r\nHost: a.com\r\nContent-Length: 5\r\nExpect: {value}\r\n\r\nhello");
    let values = ["", "200-ok", "100-continue, x", "y 100-continue", "100-continue\r\nExpect: 100-continue", "100"];
    edge.refuses(417, "request_invalid", &values.map(request)).await;
    edge.serves(&[(&request("100-Continue"), "POST /x hello")]).await;
    // RFC 9110, 10.1.1: "in an HTTP/1.0 request MUST ignore that expectation"
    let answers =
        edge.say("POST /x HTTP/1.0\r\nHost: a.com\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello").await;
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(answers[0].status, 200);
    assert_eq!(edge.upstream.whole()[0].values("expect"), [""; 0]);
}

#[tokio::test]
async fn an_answer_of_the_gateways_own_is_short_and_keeps_the_connection() {
    let edge = Edge::start().await;
    let cases = [
        ("GET /none HTTP/1.1\r\nHost: a.com\r\n\r\n", 500, "invalid_backend"),
        ("GET /x HTTP/1.1\r\nHost: nowhere.com\r\n\r\n", 404, "no_route"),
        ("POST /none HTTP/1.1\r\nHost: a.com\r\nContent-Length: 5\r\n\r\nhello", 500, "invalid_backend"),
        (
            "POST /none HTTP/1.1\r\nHost: a.com\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: 1\r\n\r\n",
            500,
            "invalid_backend",
        ),
    ];
    for (request, status, word) in cases {
        for piece in [usize::MAX, 1] {
            let (answers, served) = edge.say_and_more(request, piece).await;
            assert_eq!(answers.len(), 1, "{answers:?}");
            let answer = &answers[0];
            assert_eq!((answer.status, answer.body.as_str()), (status, format!("{status} {word}\n").as_str()));
            assert_eq!(answer.header("content-type"), Some("text/plain"));
            assert_eq!(answer.header("connection"), Some("keep-alive"));
            assert!(answer.header("date").is_some() && answer.header("server").is_none(), "{answer:?}");
            assert!(served, "{request:?}");
            assert_eq!(edge.upstream.take(), ["GET /behind"]);
        }
    }
    let mut client = Wire::connect(edge.address).await;
    let head = client.ask("HEAD", "/none").await.unwrap();
    assert_eq!((head.status(), head.header("content-length")), (500, Some("20")));
    assert_eq!(client.ask("GET", "/next").await.unwrap().summary(), "200 GET /next");
}

#[tokio::test]
async fn an_answer_before_a_body_that_is_not_read_ends_the_connection() {
    let edge = Edge::start().await;
    let too_large = format!("Content-Length: 1000000\r\n\r\n{}", "x".repeat(1_000_000));
    for (fields, sent) in [
        ("Content-Length: 5\r\nExpect: 100-continue\r\n\r\n", ""), // it waits for a word, and this one is no
        ("Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n", ""),
        (&too_large, ""),
    ] {
        let mut client = Wire::connect(edge.address).await;
        client.send(format!("POST /none HTTP/1.1\r\nHost: a.com\r\n{fields}{sent}")).await;
        let answer = client.answer("POST").await.unwrap();
        assert_eq!(
            (answer.summary().as_str(), answer.header("connection")),
            ("500 500 invalid_backend", Some("close"))
        );
        client.send(BEHIND).await;
        assert_eq!(client.end().await, End::Closed);
        assert_eq!(edge.upstream.take(), [""; 0]);
    }
}
