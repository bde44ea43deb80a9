//! One test for each rule of the Gateway API (gateway-api.md 3.2, 3.3, 6.1), named after it.
#![cfg(test)]

use std::fmt::Write;

use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::fixture::{Widen, ask, check, pattern, to};
use super::{RequestParts, RouteTable};

#[test]
fn an_exact_path_matches_only_itself() {
    let table = [to("one").exact("/one"), to("two").exact("/two")];
    check(&table, &[("h/one", Some("one")), ("h/two", Some("two"))]);
    check(&table, &[("h/one/example", None), ("h/one/", None), ("h/two/", None), ("h/Two", None), ("h/", None)]);
}

#[test]
fn v2example_is_not_below_v2() {
    let table = [to("v1").prefix("/"), to("v2").prefix("/v2")];
    check(&table, &[("h/v2", Some("v2")), ("h/v2/", Some("v2")), ("h/v2/example", Some("v2"))]);
    check(&table, &[("h/v2example", Some("v1")), ("h/V2", Some("v1")), ("h/", Some("v1")), ("h/foo/v2", Some("v1"))]);
}

#[test]
fn prefix_ignores_trailing_slash() {
    check(&[to("a").prefix("/match/")], &[("h/match", Some("a")), ("h/match/", Some("a")), ("h/match/x", Some("a"))]);
    check(&[to("a").prefix("/match/")], &[("h/matchx", None)]);
    let equal = [to("first").prefix("/match/").rule(0), to("second").prefix("/match").rule(1)];
    check(&equal, &[("h/match", Some("first"))]);
}

#[test]
fn exact_path_beats_longer_prefix() {
    let table = [
        to("exact").exact("/match"),
        to("prefix").prefix("/match/").method(Method::GET).created(-1),
        to("exact longer").exact("/match/exact"),
        to("headers").prefix("/match/exact").header("a", "b"),
    ];
    check(&table, &[("h/match", Some("exact")), ("h/match/", Some("prefix"))]);
    assert_eq!(ask(&table, "h/match/exact", [("a", "b")]), Some("exact longer"));
}

#[test]
fn longest_prefix_wins() {
    let table = [to("1").prefix("/a"), to("2").prefix("/a/b"), to("3").prefix("/a/b/c"), to("0").prefix("/")];
    let cases = [("h/a/b/c/d", "3"), ("h/a/b/c", "3"), ("h/a/b/d", "2"), ("h/a/c", "1"), ("h/b", "0"), ("h/a/bc", "1")];
    for (request, expected) in cases {
        check(&table, &[(request, Some(expected))]);
    }
}

#[test]
fn regular_expressions_stand_between_exact_paths_and_prefixes() {
    let table = [to("exact").exact("/a/1"), to("regex").regex("/a/[0-9]"), to("prefix").prefix("/a/1")];
    check(&table, &[("h/a/1", Some("exact")), ("h/a/1/", Some("prefix")), ("h/a/2", Some("regex")), ("h/a/x", None)]);
    check(&table[1..], &[("h/a/1", Some("regex"))]);
}

#[test]
fn longer_regular_expressions_come_first_and_equal_ones_by_the_rest() {
    let table = [to("short").regex("/a.*").method(Method::GET), to("long").regex("/a[a-z]*")];
    check(&table, &[("h/ab", Some("long")), ("h/a1", Some("short"))]);
    let equal =
        [to("plain").regex("/a.*"), to("header").regex("/.*b").header("k", "v"), to("old").regex("/..+").created(-1)];
    assert_eq!(ask(&equal, "h/ab", [("k", "v")]), Some("header"));
    assert_eq!(ask(&equal, "h/ab", []), Some("old"));
}

#[test]
fn method_beats_headers_and_headers_beat_query() {
    let table = [
        to("method").method(Method::POST),
        to("headers").header("a", "1").header("b", "2").rule(1),
        to("query").query("q", "1").query("r", "2").query("s", "3").rule(2),
        to("none").rule(3),
    ];
    let headers = [("a", "1"), ("b", "2")];
    assert_eq!(ask(&table, "POST h/?q=1&r=2&s=3", headers), Some("method"));
    assert_eq!(ask(&table, "GET h/?q=1&r=2&s=3", headers), Some("headers"));
    assert_eq!(ask(&table, "GET h/?q=1&r=2&s=3", []), Some("query"));
    assert_eq!(ask(&table, "GET h/?q=1&r=2", []), Some("none"));
}

#[test]
fn a_longer_path_beats_method_headers_and_query() {
    let table = [
        to("path").prefix("/a/b").rule(9),
        to("rest").prefix("/a").method(Method::GET).header("a", "1").query("q", "1"),
    ];
    assert_eq!(ask(&table, "GET h/a/b?q=1", [("a", "1")]), Some("path"));
}

#[test]
fn methods_are_compared_to_the_letter() {
    let table = [to("get").method(Method::GET), to("own").method(Method::from_bytes(b"PURGE").unwrap())];
    check(&table, &[("GET h/", Some("get")), ("PURGE h/", Some("own")), ("get h/", None), ("HEAD h/", None)]);
}

#[test]
fn more_headers_win() {
    let table =
        [to("one").header("version", "two"), to("two").header("version", "two").header("color", "orange").rule(1)];
    assert_eq!(ask(&table, "h/", [("version", "two"), ("color", "orange")]), Some("two"));
    assert_eq!(ask(&table, "h/", [("version", "two"), ("color", "blue")]), Some("one"));
    assert_eq!(ask(&table, "h/", [("color", "orange")]), None);
}

#[test]
fn header_count_equal_first_rule_wins() {
    let table = [to("version").header("version", "two"), to("color").header("color", "blue").rule(1)];
    assert_eq!(ask(&table, "h/", [("color", "blue"), ("version", "two")]), Some("version"));
    let swapped = [
        to("first").exact("/rule-order").header("x-version", "1").header("x-color", "2"),
        to("second").exact("/rule-order").header("x-color", "2").header("x-version", "1").rule(1),
    ];
    assert_eq!(ask(&swapped, "h/rule-order", [("x-version", "1"), ("x-color", "2")]), Some("first"));
}

#[test]
fn header_names_are_case_insensitive_and_values_exact() {
    let table = [to("a").header("Version", "One")];
    assert_eq!(ask(&table, "h/", [("vERSION", "One")]), Some("a"));
    for value in ["one", "One ", "One,Two", ""] {
        assert_eq!(ask(&table, "h/", [("version", value)]), None, "{value:?}");
    }
}

#[test]
fn a_repeated_request_header_matches_if_any_of_its_values_does() {
    let table = [to("a").header("k", "2").header_value("l", pattern("x+"))];
    assert_eq!(ask(&table, "h/", [("k", "1"), ("k", "2"), ("l", "y"), ("l", "xx")]), Some("a"));
    assert_eq!(ask(&table, "h/", [("k", "1,2"), ("l", "x")]), None);
}

#[test]
fn of_a_name_given_twice_in_a_match_the_first_counts() {
    let table = [
        to("a").header("k", "1").header("K", "2").query("q", "1").query("q", "2"),
        to("b").header("k", "1").header("l", "1"),
    ];
    assert_eq!(ask(&table, "h/?q=1", [("k", "1")]), Some("a"));
    assert_eq!(ask(&table, "h/?q=2", [("k", "2")]), None);
    assert_eq!(ask(&table, "h/?q=1", [("k", "1"), ("l", "1")]), Some("b"), "the ignored entry counts for nothing");
}

#[test]
fn header_values_beyond_ascii_are_compared_by_byte_and_only_utf8_meets_an_expression() {
    let table = [to("exact").header("k", "ä"), to("any").header_value("k", pattern(".*")).rule(1)];
    assert_eq!(ask(&table, "h/", [("k", "ä")]), Some("exact"));
    let headers: HeaderMap =
        [(HeaderName::from_static("k"), HeaderValue::from_bytes(b"\xff").unwrap())].into_iter().collect();
    let parts = RequestParts { host: "h", method: &Method::GET, path: "/", query: None, headers: &headers };
    assert!(RouteTable::build(table.to_vec()).find(&parts).is_none());
}

#[test]
fn query_is_case_sensitive() {
    let table = [to("lower").query("animal", "whale"), to("upper").query("ANIMAL", "Whale").rule(1)];
    check(&table, &[("h/?animal=whale", Some("lower")), ("h/?ANIMAL=Whale", Some("upper"))]);
    check(
        &table,
        &[("h/?animal=Whale", None), ("h/?ANIMAL=whale", None), ("h/", None), ("h/?", None), ("h/?animal", None)],
    );
}

#[test]
fn the_first_of_a_repeated_query_parameter_counts_and_is_decoded() {
    let table = [to("a").query("q", "a b"), to("b").query_value("q", pattern("[0-9/]+")).rule(1)];
    check(&table, &[("h/?q=a+b&q=x", Some("a")), ("h/?x=1&%71=a%20b", Some("a")), ("h/?q=x&q=a+b", None)]);
    check(&table, &[("h/?q=1%2F2", Some("b")), ("h/?q=12", Some("b")), ("h/?q=1%2", None), ("h/?q=%FF", None)]);
}

#[test]
fn all_parts_of_a_match_must_hold_and_any_match_of_a_rule_will_do() {
    let table =
        [to("rule").prefix("/a").header("k", "v").query("q", "1").method(Method::GET), to("rule").exact("/b").index(1)];
    assert_eq!(ask(&table, "GET h/a?q=1", [("k", "v")]), Some("rule"));
    assert_eq!(ask(&table, "POST h/a?q=1", [("k", "v")]), None);
    assert_eq!(ask(&table, "GET h/a?q=2", [("k", "v")]), None);
    assert_eq!(ask(&table, "GET h/a?q=1", [("k", "w")]), None);
    assert_eq!(ask(&table, "GET h/b", []), Some("rule"));
}

#[test]
fn wildcard_never_matches_the_apex() {
    let table = [to("a").host("*.example.com")];
    check(&table, &[("a.example.com/", Some("a")), ("b.a.example.com/", Some("a"))]);
    check(
        &table,
        &[
            ("example.com/", None),
            ("aexample.com/", None),
            ("com/", None),
            ("a.example.org/", None),
            (".example.com/", None),
        ],
    );
}

#[test]
fn exact_hostname_beats_wildcards_and_longer_wildcards_beat_shorter_and_none_is_last() {
    let table = [
        to("none"),
        to("*.com").host("*.com"),
        to("*.example.com").host("*.example.com"),
        to("a.example.com").host("a.example.com").created(9),
    ];
    let cases = ["a.example.com", "*.example.com", "*.com", "none"];
    for (request, expected) in
        ["a.example.com/x", "b.example.com/x", "example.com/x", "example.org/x"].into_iter().zip(cases)
    {
        check(&table, &[(request, Some(expected))]);
    }
    check(&table, &[("x.a.example.com/", Some("*.example.com")), ("com/", Some("none")), ("[::1]/", Some("none"))]);
}

#[test]
fn falls_through_to_the_less_specific_hostname() {
    // HTTPRouteMultipleRoutesAttachmentSameHostnameIntersection: older and newer hostname, for the same request.
    for (older, newer) in [("*.example.com", "abc.example.com"), ("*.com", "*.example.com")] {
        let all = [to("v1").host(older).created(1), to("v2").host(newer).created(2)];
        check(&all, &[("abc.example.com/", Some("v2"))]);
        let prefixes = [all[0].clone().prefix("/path/prefix"), all[1].clone().prefix("/path")];
        check(&prefixes, &[("abc.example.com/path/prefix/longer", Some("v2"))]);
        let headers = [prefixes[0].clone().header("header-b", "b"), prefixes[1].clone().header("header-a", "a")];
        let request = "abc.example.com/path/prefix/longer";
        assert_eq!(ask(&headers, request, [("header-a", "a"), ("header-b", "b")]), Some("v2"));
        assert_eq!(ask(&headers, request, [("header-b", "b")]), Some("v1"));
        assert_eq!(ask(&headers, request, []), None);
        let methods = [all[0].clone(), all[1].clone().method(Method::POST)];
        check(&methods, &[("POST abc.example.com/", Some("v2")), ("GET abc.example.com/", Some("v1"))]);
    }
}

#[test]
fn falls_through_three_levels_of_hostnames_and_to_none() {
    let table = [
        to("exact").host("a.b.c").exact("/only"),
        to("near").host("*.b.c").prefix("/near"),
        to("far").host("*.c").prefix("/far"),
        to("any").prefix("/any"),
    ];
    check(&table, &[("a.b.c/only", Some("exact")), ("a.b.c/near/x", Some("near")), ("a.b.c/far", Some("far"))]);
    check(&table, &[("a.b.c/any", Some("any")), ("a.b.c/none", None), ("x.y/any", Some("any"))]);
}

#[test]
fn falls_through_to_the_less_specific_path() {
    let table = [
        to("exact").exact("/a/b").method(Method::PUT),
        to("regex").regex("/a/.").header("k", "v"),
        to("longer").prefix("/a/b").query("q", "1"),
        to("shorter").prefix("/a").method(Method::GET),
        to("root"),
    ];
    check(&table, &[("PUT h/a/b?q=1", Some("exact")), ("h/a/b?q=1", Some("longer")), ("h/a/b", Some("shorter"))]);
    check(&table, &[("DELETE h/a/b", Some("root"))]);
    assert_eq!(ask(&table, "GET h/a/b?q=1", [("k", "v")]), Some("regex"));
}

#[test]
fn of_several_hostnames_of_a_route_the_most_specific_counts() {
    let wide = to("two names").name("ns/z");
    let table = [wide.clone().host("*.b.c"), wide.host("a.b.c"), to("one name").host("*.b.c").created(-1)];
    check(&table, &[("a.b.c/", Some("two names")), ("x.b.c/", Some("one name"))]);
}

#[test]
fn ties_go_to_the_oldest_then_the_name_then_the_rule_then_the_match() {
    let tie = to("loser").created(5).name("ns/b").rule(1).index(1);
    let winners = [
        to("age").created(4).name("ns/z").rule(9).index(9),
        to("namespace").created(5).name("ms/z").rule(9).index(9),
        to("name").created(5).name("ns/a").rule(9).index(9),
        to("rule").created(5).name("ns/b").rule(0).index(9),
        to("match").created(5).name("ns/b").rule(1).index(0),
    ];
    for winner in winners {
        let expected = winner.value;
        check(&[tie.clone(), winner], &[("h/", Some(expected))]);
    }
    let unknown = to("unknown age").created(i128::MAX).name("ns/a");
    check(&[unknown, tie], &[("h/", Some("loser"))]);
}

#[test]
fn hosts_with_underscores_are_routed() {
    let host = "gateway_api_conformance.echo_basic.grpcecho.grpcecho";
    check(&[to("a").host(host)], &[(&format!("{host}/x"), Some("a"))]);
}

#[test]
fn the_asterisk_of_options_is_taken_only_by_what_takes_every_path() {
    let table = [to("exact").exact("*"), to("regex").regex(".*"), to("prefix").prefix("/a"), to("root").rule(9)];
    check(&table, &[("OPTIONS h*", Some("root")), ("GET h*", None), ("OPTIONS h/*", Some("regex"))]);
    check(&table[..3], &[("OPTIONS h*", None)]);
    check(&[to("a").host("*.c").method(Method::OPTIONS)], &[("OPTIONS b.c*", Some("a"))]);
}

#[test]
fn a_path_that_is_none_never_matches() {
    let table = [
        to("empty").prefix(""),
        to("bare").prefix("a"),
        to("bare").exact("a"),
        to("double").prefix("//"),
        to("empty").exact(""),
    ];
    check(&table, &[("h/", None), ("h/a", None), ("h/a/b", None)]);
    // Nor beside what is one, however they rank among each other.
    let table = [to("empty").prefix("").method(Method::GET).rule(0), to("root").prefix("/").rule(1)];
    check(&table, &[("h/", Some("root")), ("h/a", Some("root"))]);
    check(&[to("empty").prefix("").rule(1), to("root").method(Method::PUT)], &[("h/", None), ("PUT h/", Some("root"))]);
}

#[test]
fn prefixes_are_found_at_any_depth_and_hostile_paths_end() {
    let deep = 199;
    let mut path = String::new();
    let mut entries = vec![];
    let names: Vec<&'static str> = (1..=deep).map(|n| &*n.to_string().leak()).collect();
    for (depth, name) in names.iter().enumerate() {
        write!(path, "/s{depth}").unwrap();
        if depth % 3 != 1 {
            entries.push(to(name).prefix(&path));
        }
    }
    let table = RouteTable::build(entries);
    let headers = HeaderMap::new();
    let find = |path: &str| {
        table
            .value_for(&RequestParts { host: "h", method: &Method::GET, path, query: None, headers: &headers })
            .copied()
    };
    let mut request = String::new();
    for depth in 0..deep {
        write!(request, "/s{depth}").unwrap();
        let expected = names[if depth % 3 == 1 { depth - 1 } else { depth }];
        assert_eq!(find(&request), Some(expected));
        assert_eq!(find(&format!("{request}/")), Some(expected));
        assert_eq!(find(&format!("{request}/x/y")), Some(expected));
    }
    assert_eq!(find(&format!("{path}{}", "/x".repeat(100_000))), Some("199"));
    assert_eq!(find(&"/s0".repeat(100_000)), Some("1"));
    assert_eq!(find(&format!("/{}", "s".repeat(1_000_000))), None);
}

#[test]
fn hosts_with_many_labels_end() {
    let deep = format!("{}z", "a.".repeat(120));
    let table = [to("shallow").host("*.z"), to("deep").host(&format!("*.{deep}"))];
    check(&table, &[(&format!("{deep}/"), Some("shallow")), (&format!("b.{deep}/"), Some("deep"))]);
    check(
        &table,
        &[(&format!("{}z/", "b.".repeat(126)), Some("shallow")), (&format!("{}y/", "b.".repeat(5_000)), None)],
    );
}

#[test]
fn an_empty_table_routes_nothing() {
    check(&[], &[("h/", None), ("OPTIONS h*", None)]);
    assert!(RouteTable::<u8>::default().is_empty());
}

#[test]
fn a_table_serialises_in_order_of_precedence() {
    let table = RouteTable::build(vec![to("b"), to("a").host("a.b").regex("/x+").header("k", "v")]);
    let json = serde_json::to_value(&table).unwrap();
    assert_eq!(json[0]["hostname"], "a.b");
    assert_eq!(json[0]["matches"]["path"], "RegularExpression /x+");
    assert_eq!(json[1]["matches"]["path"], "PathPrefix /");
}
