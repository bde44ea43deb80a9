//! One test for each rule of GRPCRoute (gateway-api.md 3.6, 6.1), named after it.
#![cfg(test)]

use http::{HeaderMap, HeaderValue, Method};

use super::fixture::{Widen, ask, check, check_calls, to};
use super::{RequestParts, RouteTable};

#[test]
fn service_and_method_match_to_the_letter() {
    let table = [to("one").call("shop.Cart/Add"), to("two").call("shop.Cart/Drop")];
    check_calls(&table, &[("h/shop.Cart/Add", Some("one")), ("h/shop.Cart/Drop", Some("two"))]);
    for call in ["h/shop.Cart/add", "h/shop.Cart/AddAll", "h/shop.cart/Add", "h/Cart/Add", "h/shop.Cart", "h/Add", "h/"]
    {
        check_calls(&table, &[(call, None), (&format!("{call}/"), None), (&format!("{call}/x"), None)]);
    }
    check_calls(&table, &[("h/x/shop.Cart/Add", None)]);
}

#[test]
fn a_service_alone_takes_its_methods_and_a_method_alone_takes_it_of_every_service() {
    check_calls(&[to("s").call("shop.Cart/*")], &[("h/shop.Cart/Add", Some("s")), ("h/shop.Carts/Add", None)]);
    check_calls(
        &[to("s").call("shop.Cart/*")],
        &[("h/shop.Cart", None), ("h/shop.Cart/", None), ("h/shop.Cart/A/B", None)],
    );
    check_calls(&[to("m").call("*/Add")], &[("h/shop.Cart/Add", Some("m")), ("h/x/Add", Some("m")), ("h/x/Ad", None)]);
    check_calls(&[to("m").call("*/Add")], &[("h/Add", None), ("h/x/y/Add", Some("m"))]);
}

#[test]
fn no_method_match_takes_every_call_and_nothing_else() {
    let table = [to("all").call("*/*")];
    check_calls(&table, &[("h/shop.Cart/Add", Some("all")), ("h/", Some("all")), ("h/odd", Some("all"))]);
    check(&table, &[("h/shop.Cart/Add", None), ("POST h/shop.Cart/Add", None), ("OPTIONS h*", None)]);
    for kind in ["application/grpc-web", "application/json", "application/grpcx"] {
        assert_eq!(ask(&table, "POST h/shop.Cart/Add", [("content-type", kind)]), None, "{kind}");
    }
    for kind in ["application/grpc+proto", "application/grpc; a=b", "APPLICATION/GRPC"] {
        assert_eq!(ask(&table, "POST h/shop.Cart/Add", [("content-type", kind)]), Some("all"), "{kind}");
    }
}

#[test]
fn more_characters_of_the_service_win_then_of_the_method_then_headers() {
    let table = [
        to("all").call("*/*").created(0),
        to("method").call("*/Add").created(1),
        to("service").call("shop.Cart/*").created(2),
        to("both").call("shop.Cart/Add").created(3),
        to("header").call("shop.Cart/Add").header("k", "v").created(4),
        to("headers of all").call("*/*").header("k", "v").header("l", "w").created(5),
    ];
    check_calls(&table, &[("h/shop.Cart/Add", Some("both")), ("h/shop.Cart/Drop", Some("service"))]);
    check_calls(&table, &[("h/x/Add", Some("method")), ("h/x/Drop", Some("all"))]);
    let headers = [("content-type", "application/grpc"), ("k", "v"), ("l", "w")];
    assert_eq!(ask(&table, "POST h/shop.Cart/Add", headers), Some("header"));
    assert_eq!(ask(&table, "POST h/shop.Cart/Drop", headers), Some("service"));
    assert_eq!(ask(&table, "POST h/x/Drop", headers), Some("headers of all"));
}

#[test]
fn expressions_stand_behind_names_and_before_none_and_take_the_whole_name() {
    let table = [
        to("exact").call("shop.Cart/*"),
        to("longer").call("~shop\\.[A-Z][a-z]+/*"),
        to("shorter").call("~shop\\..*/Add"),
        to("method").call("~shop\\..*/~Dro."),
        to("any").call("*/*"),
    ];
    check_calls(&table, &[("h/shop.Cart/Add", Some("exact")), ("h/shop.Bill/Add", Some("longer"))]);
    check_calls(&table, &[("h/shop.bill/Add", Some("shorter")), ("h/shop.bill/Drop", Some("method"))]);
    check_calls(&table, &[("h/shop.bill/Drops", Some("any")), ("h/my.shop.bill/Add", Some("any"))]);
    let methods = [to("exact").call("s/Add"), to("regex").call("s/~A.*"), to("any").call("s/*")];
    check_calls(&methods, &[("h/s/Add", Some("exact")), ("h/s/Ask", Some("regex")), ("h/s/Drop", Some("any"))]);
}

#[test]
fn ties_fall_to_the_older_route_then_to_the_name_then_to_the_rule() {
    let table = [to("old").call("s/M").created(1).name("ns/z"), to("young").call("s/M").created(2).name("ns/a")];
    check_calls(&table, &[("h/s/M", Some("old"))]);
    let table = [to("b").call("s/*").name("ns/b"), to("a").call("s/*").name("ns/a").rule(1)];
    check_calls(&table, &[("h/s/M", Some("a"))]);
    // GRPCRouteRequestHeaderModifier: three rules with the same match.
    let table = [to("2").call("s/M").rule(2), to("0").call("s/M").rule(0), to("1").call("s/M").rule(1)];
    check_calls(&table, &[("h/s/M", Some("0"))]);
}

#[test]
fn the_hostname_comes_before_service_and_method() {
    let table = [
        to("wide").host("*.example.com").call("s/M").header("k", "v").created(1),
        to("narrow").host("abc.example.com").call("*/*").created(2),
        to("none").call("s/M").created(0),
    ];
    let headers = [("content-type", "application/grpc"), ("k", "v")];
    assert_eq!(ask(&table, "POST abc.example.com/s/M", headers), Some("narrow"));
    assert_eq!(ask(&table, "POST b.example.com/s/M", headers), Some("wide"));
    check_calls(&table, &[("b.example.com/s/M", Some("none")), ("example.com/s/M", Some("none"))]);
}

#[test]
fn what_does_not_fit_falls_through_to_the_next_match_and_the_next_hostname() {
    let table = [
        to("method").host("a.b").call("s/M").header("k", "1"),
        to("service").host("a.b").call("s/*").header("k", "2"),
        to("all").host("a.b").call("*/*").header("k", "3"),
        to("wild").host("*.b").call("s/M"),
    ];
    for (value, expected) in [("1", "method"), ("2", "service"), ("3", "all"), ("4", "wild")] {
        let headers = [("content-type", "application/grpc"), ("k", value)];
        assert_eq!(ask(&table, "POST a.b/s/M", headers), Some(expected));
    }
}

#[test]
fn of_one_hostname_calls_go_to_matches_of_calls_first_and_all_else_to_the_others() {
    let table = [
        to("exact").exact("/s/M").method(Method::POST).header("content-type", "application/grpc").created(0),
        to("prefix").prefix("/").created(0),
        to("call").call("*/*").header("k", "v").created(9),
    ];
    assert_eq!(ask(&table, "POST h/s/M", [("content-type", "application/grpc"), ("k", "v")]), Some("call"));
    assert_eq!(ask(&table, "POST h/s/M", [("content-type", "application/grpc")]), Some("exact"));
    assert_eq!(ask(&table, "POST h/s/N", [("content-type", "application/grpc")]), Some("prefix"));
    check(&table, &[("POST h/s/M", Some("prefix")), ("h/", Some("prefix"))]);
}

#[test]
fn across_kinds_the_hostname_comes_first() {
    let table = [to("http").host("a.b").prefix("/"), to("grpc").host("*.b").call("s/M")];
    check_calls(&table, &[("a.b/s/M", Some("http")), ("x.b/s/M", Some("grpc"))]);
    let table = [to("grpc").host("a.b").call("s/M"), to("http").host("*.b").prefix("/")];
    check_calls(&table, &[("a.b/s/M", Some("grpc")), ("a.b/s/N", Some("http")), ("x.b/s/M", Some("http"))]);
}

#[test]
fn names_that_no_call_has_match_nothing() {
    let table = [to("a").call("a/b/c"), to("b").call("/M"), to("c").call("s/")];
    for call in ["h/a/b/c", "h/a/b", "h/s/", "h/s/M", "h/M"] {
        check_calls(&table, &[(call, None)]);
    }
}

#[test]
fn a_trace_says_what_a_call_lacks() {
    let table = RouteTable::build(vec![
        to("won").call("s/M"),
        to("service").call("t/*"),
        to("wide").call("*/M"),
        to("wider").call("s/*"),
        to("http").prefix("/"),
    ]);
    let told = |kind: Option<&'static str>| {
        let headers: HeaderMap =
            kind.map(|kind| (http::header::CONTENT_TYPE, HeaderValue::from_static(kind))).into_iter().collect();
        let parts = RequestParts { host: "h", method: &Method::POST, path: "/s/M", query: None, headers: &headers };
        table.trace(&parts).iter().map(|t| format!("{} {}", t.entry.value, t.outcome)).collect::<Vec<_>>()
    };
    assert_eq!(
        told(Some("application/grpc")),
        [
            "won won",
            "wider lost: a more specific match won (more specific gRPC method)",
            "service lost: path: gRPC t/* does not take /s/M",
            "wide lost: a more specific match won (more specific gRPC service)",
            "http lost: a more specific match won (for gRPC calls alone)",
        ]
    );
    assert_eq!(told(None)[0], "won lost: no gRPC call: wanted content-type application/grpc, missing");
    assert_eq!(told(Some("text/plain"))[4], "http won");
    assert_eq!(
        told(Some("text/plain"))[0],
        "won lost: no gRPC call: wanted content-type application/grpc, found text/plain"
    );
}
