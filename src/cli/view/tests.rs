use std::collections::BTreeMap;
use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::*;
use crate::cli::explain::{Asked, Explanation};
use crate::cli::fixture;
use crate::cli::paint::Paint;
use crate::router::{CallMatch, Hostname, PathMatch, RouteMatch, ValueMatch};
use crate::snapshot::filter::{
    Cors, HeaderChanges, Mirror, Names, Origin, Origins, PathChange, Redirect, Scheme, UrlRewrite,
};
use crate::snapshot::policy::{Balance, Ejection, HashKey, HealthCheck, Probe};
use crate::snapshot::{
    Filter, LocalAnswer, Policy, Retry, Share, Snapshot, Target, Timeouts, UpstreamIndex, WeightedUpstreams,
};

#[test]
fn shares_are_told_in_percent_and_no_share_vanishes() {
    assert_eq!(percent(90, 100), "90%");
    assert_eq!(percent(1, 3), "33.3%");
    assert_eq!(percent(1, 1_000_001), "<0.1%");
    assert_eq!(percent(1, 1), "100%");
}

/// The quick start, with a rule of it changed.
fn changed(rule: &str, change: impl FnOnce(&mut Rule)) -> Snapshot {
    let mut snapshot = fixture::quickstart().snapshot;
    let found = snapshot.rules.iter_mut().find(|known| known.name.as_deref() == Some(rule));
    change(found.unwrap());
    snapshot
}

fn upstream(snapshot: &Snapshot, service: &str) -> UpstreamIndex {
    let at = snapshot.upstreams.iter().position(|upstream| upstream.id.service == service);
    UpstreamIndex(u32::try_from(at.unwrap()).unwrap())
}

fn explained(snapshot: &Snapshot, url: &str) -> (Value, String) {
    let explanation = Explanation::of(snapshot, &Asked::read("GET", url, &[]).unwrap(), &BTreeMap::new());
    (serde_json::to_value(&explanation).unwrap(), explanation.text(Paint::Plain))
}

fn header(name: &'static str, value: &'static str) -> (HeaderName, HeaderValue) {
    (HeaderName::from_static(name), HeaderValue::from_static(value))
}

fn every_filter() -> [Filter; 5] {
    let changes = HeaderChanges {
        set: [header("x-a", "1")].into(),
        add: [header("x-b", "2")].into(),
        remove: [HeaderName::from_static("x-c")].into(),
    };
    let removed = HeaderChanges { remove: [HeaderName::from_static("server")].into(), ..HeaderChanges::default() };
    let rewrite = UrlRewrite { host: Some("api.internal".into()), path: Some(PathChange::Prefix("".into())) };
    let origin = |host: Option<&str>, port| Origin {
        scheme: "https".into(),
        host: host.map(|host| Hostname::parse(host).unwrap()),
        port: Some(port),
    };
    let cors = Cors {
        origins: Origins::Listed([origin(Some("*.example.com"), 443), origin(None, 8443)].into()),
        credentials: true,
        methods: Names::Listed(["GET".into(), "POST".into()].into()),
        headers: Names::Any,
        expose: Names::Listed(Box::default()),
        max_age: 600,
    };
    [
        Filter::RequestHeaders(changes),
        Filter::ResponseHeaders(removed),
        Filter::Rewrite(rewrite),
        Filter::Mirror(Mirror { upstream: UpstreamIndex(0), numerator: 10, denominator: 100 }),
        Filter::Cors(Box::new(cors)),
    ]
}

#[test]
fn filters_are_told_in_the_words_of_the_spec_and_in_the_order_of_the_route() {
    let snapshot = changed("read", |rule| rule.filters = every_filter().into_iter().collect());
    let (value, text) = explained(&snapshot, "http://api.localhost:8080/orders/7");
    let mirrored = &snapshot.upstreams[0].id.service;
    for line in [
        "filters    RequestHeaderModifier set x-a: 1, add x-b: 2, remove x-c\n",
        "           ResponseHeaderModifier remove server\n",
        "           URLRewrite host api.internal, prefix /orders -> /\n",
        &format!("           RequestMirror 10% -> default/{mirrored}:80\n"),
        "           CORS https://*.example.com, https://*:8443; methods GET, POST; headers *; with credentials; max age 600 s\n",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert_eq!(
        value["filters"],
        json!([
            {"type": "RequestHeaderModifier", "set": [{"name": "x-a", "value": "1"}],
             "add": [{"name": "x-b", "value": "2"}], "remove": ["x-c"]},
            {"type": "ResponseHeaderModifier", "remove": ["server"]},
            {"type": "URLRewrite", "hostname": "api.internal",
             "path": {"type": "ReplacePrefixMatch", "matchedPrefix": "/orders", "replacePrefixMatch": "/"}},
            {"type": "RequestMirror", "fraction": {"numerator": 10, "denominator": 100},
             "backend": {"namespace": "default", "name": mirrored, "port": 80, "endpoints": ["127.0.0.1:4000"]}},
            {"type": "CORS", "allowOrigins": ["https://*.example.com", "https://*:8443"], "allowCredentials": true,
             "allowMethods": ["GET", "POST"], "allowHeaders": ["*"], "exposeHeaders": [], "maxAge": 600},
        ])
    );
    let again: Vec<FilterView> = serde_json::from_value(value["filters"].clone()).unwrap();
    assert_eq!(serde_json::to_value(again).unwrap(), value["filters"]);
}

#[test]
fn a_redirect_is_a_filter_too_and_its_own_answer() {
    let redirect = Redirect {
        scheme: Some(Scheme::Https),
        host: Some("b.example".into()),
        port: NonZeroU16::new(8443),
        path: Some(PathChange::Full("/new".into())),
        status: 308,
    };
    let snapshot = changed("read", |rule| rule.action = Action::Redirect(redirect));
    let (value, text) = explained(&snapshot, "http://api.localhost:8080/orders/7?a=b");
    assert!(text.contains("filters    RequestRedirect 308 https, host b.example, port 8443, path /new\n"), "{text}");
    let rows = crate::cli::routes::rows(&snapshot);
    let row = rows.iter().find(|row| row.rule.name.as_deref() == Some("read")).unwrap();
    assert_eq!(row.backends_cell, "308 redirect: https, host b.example, port 8443, path /new");
    assert_eq!(row.filters_cell, "");
    assert_eq!(value["filters"][0]["statusCode"], 308);
    assert_eq!(value["filters"][0]["path"], json!({"type": "ReplaceFullPath", "replaceFullPath": "/new"}));
    assert!(text.contains("answer     308 redirect, by the gateway itself\n"), "{text}");
    assert!(text.contains("           location: https://b.example:8443/new?a=b\n"), "{text}");
    assert_eq!(
        value["answer"],
        json!({"status": 308, "reason": "redirect", "location": "https://b.example:8443/new?a=b"})
    );
    assert_eq!(value["backends"], json!([]));
}

#[test]
fn what_a_backend_would_see_is_told_where_it_is_not_what_the_client_asked_for() {
    let snapshot = changed("read", |rule| rule.filters = every_filter().into_iter().collect());
    let (value, text) = explained(&snapshot, "http://api.localhost:8080/orders//7?a=b");
    assert!(text.contains("                  sees host api.internal, path /7?a=b\n"), "{text}");
    assert_eq!(value["backends"][0]["forwarded"], json!({"host": "api.internal", "path": "/7?a=b"}));
    let (value, text) = explained(&fixture::quickstart().snapshot, "http://API.localhost:8080/orders//7?a=b");
    assert!(!text.contains("sees"), "{text}");
    assert_eq!(value["backends"][0]["forwarded"], json!({"host": "API.localhost:8080", "path": "/orders/7?a=b"}));
}

#[test]
fn a_preflight_is_answered_by_the_gateway_or_refused() {
    let snapshot = changed("read", |rule| rule.filters = every_filter().into_iter().collect());
    let ask = |origin: &str| {
        let headers = [format!("origin: {origin}"), "access-control-request-method: POST".to_owned()];
        let asked = Asked::read("OPTIONS", "http://api.localhost:8080/orders", &headers).unwrap();
        let explanation = Explanation::of(&snapshot, &asked, &BTreeMap::new());
        (serde_json::to_value(&explanation).unwrap(), explanation.text(Paint::Plain))
    };
    let (value, text) = ask("https://a.example.com");
    assert_eq!((&value["answer"]["status"], &value["answer"]["reason"]), (&json!(204), &json!("cors_preflight")));
    let headers = value["answer"]["headers"].as_array().unwrap();
    assert!(headers.contains(&json!({"name": "access-control-allow-origin", "value": "https://a.example.com"})));
    assert!(text.contains("           access-control-max-age: 600\n"), "{text}");
    assert!(value["backends"][0].get("forwarded").is_none(), "{value}");
    let again: Explanation = serde_json::from_value(value.clone()).unwrap();
    assert_eq!(serde_json::to_value(again).unwrap(), value);
    let (value, text) = ask("https://evil.example");
    assert_eq!((&value["answer"]["status"], &value["answer"]["reason"]), (&json!(403), &json!("cors_refused")));
    assert!(text.contains("answer     403 cors_refused, by the gateway itself\n"), "{text}");
}

#[test]
fn bounds_in_time_and_retries_are_told_and_absent_where_there_are_none() {
    let snapshot = changed("read", |rule| {
        rule.timeouts = Timeouts { request: Some(Duration::from_secs(90)), backend: Some(Duration::from_millis(500)) };
        rule.retry = Some(Retry { codes: [500, 503].into(), attempts: 3, backoff: Duration::from_millis(25) });
    });
    let (value, text) = explained(&snapshot, "http://api.localhost:8080/orders");
    assert!(text.contains("timeouts   request 1m30s, backendRequest 500ms\n"), "{text}");
    assert!(text.contains("retry      attempts 3, on connection errors, 500, 503, backoff 25ms\n"), "{text}");
    assert_eq!(value["timeouts"], json!({"request": "1m30s", "backendRequest": "500ms"}));
    assert_eq!(value["retry"], json!({"attempts": 3, "codes": [500, 503], "backoff": "25ms"}));
    let (plain, text) = explained(&fixture::quickstart().snapshot, "http://api.localhost:8080/orders");
    assert!(plain.get("timeouts").is_none() && plain.get("retry").is_none(), "{plain}");
    assert!(text.contains("filters    none\n"), "{text}");
}

#[test]
fn a_share_tells_its_own_filters_and_an_invalid_one_who_it_is() {
    let mut snapshot = fixture::quickstart().snapshot;
    let good = upstream(&snapshot, "orders");
    let changes = HeaderChanges { set: [header("x-share", "1")].into(), ..HeaderChanges::default() };
    let invalid =
        |backend: &str, answer| Share { weight: 1, target: Target::Invalid { backend: backend.into(), answer } };
    let shares = [
        Share { weight: 2, target: Target::Upstream(good, [Filter::RequestHeaders(changes)].into_iter().collect()) },
        invalid("other/gone:81", LocalAnswer::InvalidBackend),
        invalid("unserved:80", LocalAnswer::FilterFailed),
        invalid("no-port", LocalAnswer::InvalidBackend),
    ];
    let rule = snapshot.rules.iter_mut().find(|rule| rule.name.as_deref() == Some("read")).unwrap();
    rule.action = Action::Forward(WeightedUpstreams::new(shares).unwrap());

    let (value, text) = explained(&snapshot, "http://api.localhost:8080/orders");
    for line in [
        "backends     40%  default/orders:80 -> 127.0.0.1:4000\n",
        "                  RequestHeaderModifier set x-share: 1\n",
        "             20%  other/gone:81 -> 500 invalid_backend\n",
        "             20%  default/unserved:80 -> 500 filter_failed\n",
        "             20%  default/no-port -> 500 invalid_backend\n",
        "answer     the backend's\n",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert_eq!(value["backends"][0]["filters"][0]["type"], "RequestHeaderModifier");
    assert_eq!(
        value["backends"][1],
        json!({"kind": "Service", "namespace": "other", "name": "gone", "port": 81, "weight": 1, "endpoints": [],
            "answer": {"status": 500, "reason": "invalid_backend"}})
    );
    let cell = crate::cli::routes::rows(&snapshot).into_iter().find(|row| row.rule.name.as_deref() == Some("read"));
    assert_eq!(
        cell.unwrap().backends_cell,
        "orders:80 40%, other/gone:81 20% (500 invalid_backend), unserved:80 20% (500 filter_failed), \
         no-port 20% (500 invalid_backend)"
    );
}

#[test]
fn the_table_of_routes_has_filters_in_short_and_no_column_without_any() {
    let snapshot = changed("read", |rule| {
        rule.filters = every_filter().into_iter().collect();
        rule.timeouts.request = Some(Duration::from_secs(1));
    });
    let rows = crate::cli::routes::rows(&snapshot);
    let row = rows.iter().find(|row| row.rule.name.as_deref() == Some("read")).unwrap();
    let mirrored = &snapshot.upstreams[0].id.service;
    assert_eq!(
        row.filters_cell,
        format!(
            "RequestHeaderModifier, ResponseHeaderModifier, URLRewrite host api.internal, prefix /orders -> /, \
             RequestMirror 10% -> default/{mirrored}:80, CORS, timeouts"
        )
    );
}

#[test]
fn an_upstream_that_is_treated_by_a_policy_says_how_and_which_endpoint_is_ill() {
    let mut snapshot = fixture::quickstart().snapshot;
    let at = upstream(&snapshot, "orders").0 as usize;
    let three = NonZeroU32::new(3).unwrap();
    snapshot.upstreams[at].policy = Policy {
        balance: Balance::ConsistentHash(HashKey::Header(HeaderName::from_static("x-user"))),
        health: Some(HealthCheck {
            probe: Probe::Http { path: "/healthz".into(), host: None, expected: [(200, 299), (404, 404)].into() },
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(1),
            healthy_threshold: NonZeroU32::MIN,
            unhealthy_threshold: three,
        }),
        ejection: Ejection { consecutive_failures: None, ..Ejection::default() },
        connect_timeout: Some(Duration::from_millis(250)),
        idle_timeout: None,
        max_connections: Some(three),
    };
    snapshot.upstreams[at].endpoints.load().endpoints[0].health.judge(false);
    let (value, text) = explained(&snapshot, "http://api.localhost:8080/orders");
    for line in [
        "default/orders:80 -> 127.0.0.1:4000 (unhealthy)\n",
        "                  UpstreamPolicy ConsistentHash by header x-user\n",
        "                  health check HTTP /healthz expecting 200-299, 404, every 10s within 1s, healthy after 1, unhealthy after 3\n",
        "                  never ejected\n",
        "                  connect timeout 250ms, at most 3 connections to an endpoint\n",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    let backend = &value["backends"][0];
    assert_eq!(backend["endpoints"], json!(["127.0.0.1:4000"]));
    assert_eq!(backend["unhealthy"], json!(["127.0.0.1:4000"]));
    assert_eq!(
        backend["policy"],
        json!({
            "loadBalancing": {"type": "ConsistentHash", "consistentHash": {"type": "Header", "header": "x-user"}},
            "healthCheck": {"type": "HTTP", "interval": "10s", "timeout": "1s", "healthyThreshold": 1,
                "unhealthyThreshold": 3, "http": {"path": "/healthz", "expectedStatuses": ["200-299", "404"]}},
            "ejection": {"consecutiveFailures": 0, "baseTime": "5s", "maxTime": "5m"},
            "timeouts": {"connect": "250ms"},
            "connections": {"maxPerEndpoint": 3},
        })
    );
    let health = snapshot.upstreams[at].endpoints.load().endpoints[0].health.clone();
    health.judge(true);
    assert!(health.eject(&Ejection::default(), Duration::from_hours(1)).is_some());
    let (value, text) = explained(&snapshot, "http://api.localhost:8080/orders");
    assert!(text.contains("default/orders:80 -> 127.0.0.1:4000 (ejected)\n"), "{text}");
    assert_eq!(value["backends"][0]["ejected"], json!(["127.0.0.1:4000"]));
    assert!(value["backends"][0].get("unhealthy").is_none(), "{value}");

    let again: PolicyView = serde_json::from_value(backend["policy"].clone()).unwrap();
    assert_eq!(serde_json::to_value(again).unwrap(), backend["policy"]);
}

#[test]
fn a_match_of_calls_is_shown_as_the_gateway_api_has_it_and_read_back() {
    let view = |service: Option<ValueMatch>, method: Option<ValueMatch>| {
        let path = PathMatch::Call(CallMatch { service, method });
        let view = MatchView::of(&RouteMatch { path, ..RouteMatch::default() });
        let json = serde_json::to_value(&view).unwrap();
        assert_eq!(serde_json::from_value::<MatchView>(json.clone()).unwrap(), view);
        assert_eq!((json.get("path"), view.rest()), (None, String::new()));
        (json["method"].clone(), view.path())
    };
    let exact = |name: &str| Some(ValueMatch::Exact(name.to_owned()));
    let pattern = || Some(ValueMatch::Regex(crate::router::Pattern::new("A.*").unwrap()));
    let cases = [
        (exact("s.S"), exact("M"), json!({"type": "Exact", "service": "s.S", "method": "M"}), "gRPC s.S/M"),
        (exact("s.S"), None, json!({"type": "Exact", "service": "s.S", "method": null}), "gRPC s.S/*"),
        (None, pattern(), json!({"type": "RegularExpression", "service": null, "method": "A.*"}), "gRPC ~ */A.*"),
        (None, None, json!(null), "gRPC */*"),
    ];
    for (service, method, json, text) in cases {
        assert_eq!(view(service, method), (json, text.to_owned()));
    }
}

#[test]
fn a_call_is_explained_in_grpcs_terms() {
    let snapshot = fixture::translate(
        "
kind: GatewayClass
metadata: {name: c}
spec: {controllerName: transom.dev/gateway-controller}
---
kind: Gateway
metadata: {name: g}
spec: {gatewayClassName: c, listeners: [{name: l, protocol: HTTP, port: 8080}]}
---
kind: GRPCRoute
metadata: {name: r}
spec: {parentRefs: [{name: g}], rules: [{matches: [{method: {service: s.S}}]}]}
",
        0,
    )
    .snapshot;
    let answer = |path: &str, headers: &[String]| {
        let asked = Asked::read("POST", &format!("http://a.localhost:8080{path}"), headers).unwrap();
        serde_json::to_value(Explanation::of(&snapshot, &asked, &BTreeMap::new()).answer).unwrap()
    };
    let grpc = ["content-type: application/grpc".to_owned()];
    assert_eq!(answer("/t.T/M", &grpc), json!({"status": 200, "reason": "no_route", "grpcStatus": 12}));
    assert_eq!(answer("/s.S/M", &grpc), json!({"status": 200, "reason": "invalid_backend", "grpcStatus": 14}));
    assert_eq!(answer("/s.S/M", &[]), json!({"status": 404, "reason": "no_route"}));
}
