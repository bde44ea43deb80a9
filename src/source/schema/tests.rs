//! Each kind of constraint, each family of rules, and that everything embedded can be read.

#![allow(clippy::needless_pass_by_value, reason = "values are written where they are used")]

use serde_json::{Value, json};

use super::*;

const GATEWAY: &str = "gateway.networking.k8s.io";
const GATEWAY_X: &str = "gateway.networking.x-k8s.io";

/// What is found in an object of the newest version of a kind, as `field: message`.
fn findings(group: &str, kind: &str, spec: Value) -> Vec<String> {
    let known = find(group, kind).unwrap();
    let schema = known.version(known.versions().next().unwrap()).unwrap();
    let mut object = json!({"metadata": {"name": "x"}, "spec": spec});
    schema.complete(&mut object);
    schema.check(&object).into_iter().map(|finding| format!("{}: {}", finding.field, finding.message)).collect()
}

#[track_caller]
fn refused(group: &str, kind: &str, spec: Value, parts: &[&str]) {
    let found = findings(group, kind, spec);
    let hit = found.iter().any(|finding| parts.iter().all(|part| finding.contains(part)));
    assert!(hit, "none has {parts:?}: {found:#?}");
}

#[track_caller]
fn route(rule: Value, parts: &[&str]) {
    refused(GATEWAY, "HTTPRoute", json!({"rules": [rule]}), parts);
}

#[track_caller]
fn listeners(listeners: Value, parts: &[&str]) {
    refused(GATEWAY, "Gateway", json!({"gatewayClassName": "c", "listeners": listeners}), parts);
}

#[track_caller]
fn admitted(group: &str, kind: &str, spec: Value) {
    assert_eq!(findings(group, kind, spec), Vec::<String>::new());
}

#[test]
fn every_embedded_schema_is_read_whole() {
    for json in [GATEWAY_API, TRANSOM, CORE] {
        serde_json::from_str::<Bundle>(json).unwrap();
    }
    assert_eq!(kinds().len(), 20);
    Node::read(include_str!("../../../config/schema/metadata.json")).unwrap();
    for kind in kinds() {
        assert!(kind.versions().count() > 0, "{}", kind.kind);
        for source in &kind.sources {
            let node = Node::read(source.json).unwrap_or_else(|e| panic!("{}: {e}", kind.kind));
            assert!(!node.properties.is_empty(), "{}", kind.kind);
        }
    }
}

#[test]
fn every_kind_that_transom_holds_has_a_schema_of_its_scope() {
    for kind in crate::api::Kind::ALL {
        let schema = find(kind.group(), kind.name()).unwrap_or_else(|| panic!("{kind}"));
        assert_eq!(schema.namespaced, kind.namespaced(), "{kind}");
        assert!(schema.version(kind.versions()[0]).is_some(), "{kind}");
    }
}

#[test]
fn a_whole_route_is_admitted_with_its_defaults() {
    let schema = find(GATEWAY, "HTTPRoute").unwrap().version("v1").unwrap();
    let mut object = json!({"metadata": {"name": "x"}, "spec": {"parentRefs": [{"name": "g"}]}});
    schema.complete(&mut object);
    assert_eq!(schema.check(&object), []);
    assert_eq!(
        object["spec"],
        json!({
            "parentRefs": [{"name": "g", "group": GATEWAY, "kind": "Gateway"}],
            "rules": [{"matches": [{"path": {"type": "PathPrefix", "value": "/"}}]}],
        })
    );
}

#[test]
fn nulls_count_as_absent() {
    let schema = find(GATEWAY, "HTTPRoute").unwrap().version("v1").unwrap();
    let mut object = json!({"spec": {"hostnames": null, "rules": [{"name": null, "matches": null}]}});
    schema.complete(&mut object);
    assert_eq!(object["spec"], json!({"rules": [{"matches": [{"path": {"type": "PathPrefix", "value": "/"}}]}]}));
    route(json!({"matches": [null]}), &["spec.rules[0].matches[0]", "found null", "allowed a mapping"]);
}

#[test]
fn types_are_strict_but_for_whole_numbers() {
    route(json!({"name": 5}), &["spec.rules[0].name", "found 5", "put it in quotes"]);
    route(
        json!({"backendRefs": [{"name": "a", "port": "80"}]}),
        &["backendRefs[0].port", "found \"80\"", "1 to 65535"],
    );
    route(
        json!({"backendRefs": {"name": "a"}}),
        &["backendRefs", "found a mapping of 1 field", "a list of at most 16"],
    );
    listeners(json!([{"name": "a", "port": 80.5, "protocol": "HTTP"}]), &["listeners[0].port", "found 80.5"]);
    admitted(
        GATEWAY,
        "Gateway",
        json!({"gatewayClassName": "c", "listeners": [{"name": "a", "port": 80.0, "protocol": "HTTP"}]}),
    );
}

#[test]
fn bounds_name_what_is_allowed() {
    listeners(
        json!([{"name": "a", "port": 99999, "protocol": "HTTP"}]),
        &["spec.listeners[0].port", "found 99999, allowed 1 to 65535"],
    );
    listeners(json!([]), &["spec.listeners", "found 0 items, allowed 1 to 64 items"]);
    refused(GATEWAY, "HTTPRoute", json!({"rules": []}), &["spec.rules", "found 0 items, allowed 1 to 16 items"]);
    route(
        json!({"matches": [{"path": {"value": format!("/{}", "a".repeat(2000))}}]}),
        &["path.value", "found 2001 characters, allowed at most 1024"],
    );
    // Characters count, not bytes.
    let name = json!([{"headers": [{"name": "a", "value": "é".repeat(4097)}]}]);
    route(json!({"matches": name}), &["value", "found 4097 characters", "1 to 4096"]);
    route(json!({"retry": {"codes": [700]}}), &["retry.codes[0]", "found 700, allowed 400 to 599"]);
    refused(
        GATEWAY,
        "Gateway",
        json!({"gatewayClassName": "c", "listeners": [{"name": "a", "port": 80, "protocol": "HTTP"}],
        "infrastructure": {"labels": (0..9).map(|i| (format!("k{i}"), json!("v"))).collect::<serde_json::Map<_, _>>()}}),
        &["spec.infrastructure.labels", "found 9 fields, allowed at most 8 fields"],
    );
    route(
        json!({"backendRefs": [{"name": "a", "port": 80, "weight": 4_000_000_000_u64}]}),
        &["weight", "0 to 1000000"],
    );
}

#[test]
fn enumerations_list_their_values() {
    route(json!({"matches": [{"method": "FETCH"}]}), &["matches[0].method", "found \"FETCH\"", "GET, HEAD, POST"]);
    route(
        json!({"matches": [{"path": {"type": "Glob"}}]}),
        &["matches[0].path.type", "Exact, PathPrefix, RegularExpression"],
    );
}

#[test]
fn what_must_be_there_is_named() {
    refused(
        GATEWAY,
        "Gateway",
        json!({"listeners": []}),
        &["spec.gatewayClassName", "found none, allowed text of 1 to 253"],
    );
    let known = find(GATEWAY, "Gateway").unwrap().version("v1").unwrap();
    let found = known.check(&json!({"metadata": {"name": "x"}}));
    assert_eq!(found[0].field, "spec");
    refused(
        GATEWAY,
        "ReferenceGrant",
        json!({"to": [{"group": "", "kind": "Secret"}]}),
        &["spec.from", "a list of 1 to 16 items"],
    );
}

#[test]
fn lists_that_are_sets_or_maps_have_no_duplicates() {
    let header = json!([{"name": "a", "value": "1"}, {"name": "a", "value": "2"}]);
    route(json!({"matches": [{"headers": header}]}), &["matches[0].headers[1]", "name \"a\" again, as in item 0"]);
    route(json!({"retry": {"codes": [500, 500]}}), &["retry.codes[1]", "found 500 again"]);
}

#[test]
fn unknown_fields_are_reported_with_the_nearest_known_one() {
    let schema = find(GATEWAY, "HTTPRoute").unwrap().version("v1").unwrap();
    let mut object = json!({"metadata": {"name": "x", "lables": {}}, "spec": {"hostname": "a", "rules": [{"matchs": []}]}, "specs": 1});
    schema.complete(&mut object);
    let found: Vec<_> = schema.check(&object).into_iter().map(|f| (f.field, f.message, f.weight)).collect();
    let unknown = |field: &str, near: &str| {
        (field.to_owned(), format!("found an unknown field; did you mean {near}?"), Weight::UnknownField)
    };
    assert_eq!(
        found,
        [
            unknown("metadata.lables", "labels"),
            unknown("spec.hostname", "hostnames"),
            unknown("spec.rules[0].matchs", "matches"),
            unknown("specs", "spec"),
        ]
    );
}

#[test]
fn addresses_are_of_one_form() {
    let gateway = |address: Value| json!({"gatewayClassName": "c", "listeners": [{"name": "a", "port": 80, "protocol": "HTTP"}], "addresses": [address]});
    admitted(GATEWAY, "Gateway", gateway(json!({"value": "10.0.0.1"})));
    admitted(GATEWAY, "Gateway", gateway(json!({"type": "Hostname", "value": "a.example"})));
    admitted(GATEWAY, "Gateway", gateway(json!({"type": "example.com/pool", "value": "x"})));
    refused(
        GATEWAY,
        "Gateway",
        gateway(json!({"value": "10.0.0"})),
        &["addresses[0].value", "an IPv4 address or an IPv6 address"],
    );
    refused(
        GATEWAY,
        "Gateway",
        gateway(json!({"type": "Hostname", "value": "a_b"})),
        &["addresses[0].value", "a DNS name"],
    );
    refused(
        GATEWAY,
        "Gateway",
        gateway(json!({"routability": "k8s.io/x"})),
        &["addresses[0].routability", "found \"k8s.io/x\""],
    );
    admitted(GATEWAY, "Gateway", gateway(json!({"routability": "example.com/x"})));
}

#[test]
fn rules_of_listeners() {
    listeners(
        json!([{"name": "a", "port": 80, "protocol": "HTTP", "tls": {"options": {"a": "b"}}}]),
        &["spec.listeners[0].tls", "\"HTTP\"", "HTTPS and TLS"],
    );
    listeners(
        json!([{"name": "a", "port": 80, "protocol": "TCP", "hostname": "a.b"}]),
        &["spec.listeners[0].hostname", "a.b"],
    );
    listeners(
        json!([{"name": "a", "port": 443, "protocol": "HTTPS", "tls": {"mode": "Passthrough"}}]),
        &["listeners[0].tls.mode", "allowed Terminate"],
    );
    listeners(json!([{"name": "a", "port": 443, "protocol": "TLS"}]), &["listeners[0].tls", "Terminate, Passthrough"]);
    listeners(
        json!([{"name": "a", "port": 443, "protocol": "HTTPS", "tls": {}}]),
        &["listeners[0].tls.certificateRefs", "found no certificateRefs"],
    );
    listeners(
        json!([{"name": "a", "port": 80, "protocol": "HTTP"}, {"name": "b", "port": 80, "protocol": "HTTP"}]),
        &["spec.listeners[0]", "port 80"],
    );
    admitted(
        GATEWAY,
        "Gateway",
        json!({"gatewayClassName": "c", "listeners": [
        {"name": "a", "port": 80, "protocol": "HTTP", "hostname": "a.b"}, {"name": "b", "port": 80, "protocol": "HTTP"},
        {"name": "c", "port": 443, "protocol": "HTTPS", "tls": {"certificateRefs": [{"name": "s"}]}},
        {"name": "d", "port": 444, "protocol": "TLS", "tls": {"mode": "Passthrough"}}]}),
    );
}

#[test]
fn rules_of_filters() {
    for (kind, field) in [
        ("CORS", "cors"),
        ("RequestMirror", "requestMirror"),
        ("URLRewrite", "urlRewrite"),
        ("ExtensionRef", "extensionRef"),
    ] {
        route(json!({"filters": [{"type": kind}]}), &[&format!("spec.rules[0].filters[0].{field}"), "found none"]);
    }
    route(
        json!({"filters": [{"type": "CORS", "cors": {}, "urlRewrite": {}}]}),
        &["filters[0].urlRewrite", "\"CORS\"", "URLRewrite only"],
    );
    let header = json!({"type": "RequestHeaderModifier", "requestHeaderModifier": {}});
    route(
        json!({"filters": [header, header]}),
        &["spec.rules[0].filters", "more than one filter of type RequestHeaderModifier"],
    );
    let redirect = json!({"type": "RequestRedirect", "requestRedirect": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/a"}}});
    route(
        json!({"filters": [redirect], "matches": [{"path": {"type": "Exact", "value": "/x"}}]}),
        &["spec.rules[0].matches", "PathPrefix"],
    );
    admitted(GATEWAY, "HTTPRoute", json!({"rules": [{"filters": [redirect]}]}));
    route(json!({"filters": [redirect], "backendRefs": [{"name": "a", "port": 1}]}), &["spec.rules[0].backendRefs"]);
    route(
        json!({"filters": [{"type": "CORS", "cors": {"allowMethods": ["*", "GET"]}}]}),
        &["cors.allowMethods", "* alone"],
    );
    route(
        json!({"filters": [{"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "a", "port": 1}, "percent": 1, "fraction": {"numerator": 1}}}]}),
        &["requestMirror", "both percent and fraction"],
    );
}

#[test]
fn rules_of_matches_and_timeouts() {
    for (path, sign) in [
        ("a", "begins with /"),
        ("/a//b", "//"),
        ("/a/../b", "/../"),
        ("/a/.", "/."),
        ("/%2f", "%2f"),
        ("/a#b", "#"),
        ("/ü", "letters"),
    ] {
        route(json!({"matches": [{"path": {"value": path}}]}), &["spec.rules[0].matches[0].path.value", sign]);
    }
    admitted(
        GATEWAY,
        "HTTPRoute",
        json!({"rules": [{"matches": [{"path": {"type": "RegularExpression", "value": "[a-z]//"}}]}]}),
    );
    route(
        json!({"timeouts": {"request": "1s", "backendRequest": "1m"}}),
        &["timeouts.backendRequest", "\"1m\"", "\"1s\""],
    );
    admitted(GATEWAY, "HTTPRoute", json!({"rules": [{"timeouts": {"request": "0s", "backendRequest": "1m"}}]}));
    route(json!({"timeouts": {"request": "1d"}}), &["timeouts.request", "a duration such as"]);
    let many: Vec<Value> = (0..9).map(|_| json!({"matches": vec![json!({}); 16]})).collect();
    refused(GATEWAY, "HTTPRoute", json!({"rules": many}), &["spec.rules", "at most 128"]);
    let grpc = json!({"rules": [{"matches": [{"method": {"service": "a b"}}]}]});
    refused(GATEWAY, "GRPCRoute", grpc, &["method.service", "found \"a b\""]);
    refused(
        GATEWAY,
        "GRPCRoute",
        json!({"rules": [{"matches": [{"method": {}}]}]}),
        &["matches[0].method", "neither service nor method"],
    );
}

#[test]
fn rules_of_references() {
    route(json!({"backendRefs": [{"name": "a"}]}), &["backendRefs[0].port", "a Service needs a port"]);
    admitted(
        GATEWAY,
        "HTTPRoute",
        json!({"rules": [{"backendRefs": [{"name": "a", "kind": "Bucket", "group": "x.y"}]}]}),
    );
    let parents = |a: Value, b: Value| json!({"parentRefs": [a, b]});
    refused(
        GATEWAY,
        "HTTPRoute",
        parents(json!({"name": "a"}), json!({"name": "a"})),
        &["spec.parentRefs[0]", "more than once"],
    );
    refused(
        GATEWAY,
        "HTTPRoute",
        parents(json!({"name": "a", "sectionName": "s"}), json!({"name": "a"})),
        &["spec.parentRefs[0]", "only some"],
    );
    admitted(GATEWAY, "HTTPRoute", parents(json!({"name": "a", "namespace": "n"}), json!({"name": "a"})));
    admitted(GATEWAY, "HTTPRoute", parents(json!({"name": "a", "port": 80}), json!({"name": "a", "port": 81})));
    refused(GATEWAY, "HTTPRoute", json!({"rules": [{"name": "r"}, {"name": "r"}]}), &["spec.rules[0].name", "\"r\""]);
}

#[test]
fn rules_of_the_other_kinds() {
    let tls = |host: &str| json!({"hostnames": [host], "rules": [{"backendRefs": [{"name": "a", "port": 1}]}]});
    refused(GATEWAY, "TLSRoute", tls("10.0.0.1"), &["spec.hostnames[0]", "IP address"]);
    admitted(GATEWAY, "TLSRoute", tls("*.a.b"));
    let policy = |validation: Value| json!({"targetRefs": [{"group": "", "kind": "Service", "name": "a"}], "validation": validation});
    refused(GATEWAY, "BackendTLSPolicy", policy(json!({"hostname": "a.b"})), &["spec.validation", "exactly one"]);
    admitted(GATEWAY, "BackendTLSPolicy", policy(json!({"hostname": "a.b", "wellKnownCACertificates": "System"})));
    refused(
        GATEWAY_X,
        "XBackend",
        json!({"type": "ExternalHostname", "port": {"number": 1}}),
        &["spec.externalHostname"],
    );
    refused(
        GATEWAY_X,
        "XTelemetryPolicy",
        json!({"targetRefs": [{"group": GATEWAY, "kind": "Gateway", "name": "g"}]}),
        &["spec", "at least one: tracing"],
    );
}

#[test]
fn rules_wait_for_what_is_beneath_them() {
    // `exists_one` over ports that are texts would say nothing a person can use.
    let found = findings(
        GATEWAY,
        "Gateway",
        json!({"gatewayClassName": "c", "listeners": [{"name": "a", "port": "x", "protocol": "HTTP"}]}),
    );
    assert_eq!(found.len(), 1, "{found:#?}");
}

#[test]
fn a_rule_on_changes_does_not_judge_a_manifest() {
    admitted(GATEWAY, "GatewayClass", json!({"controllerName": "transom.dev/gateway-controller"}));
}

#[test]
fn a_secret_shows_no_value() {
    let schema = find("", "Secret").unwrap().version("v1").unwrap();
    for (object, field) in [
        (json!({"data": {"a": 123_456}}), "data[a]"),
        (json!({"data": {"a": "hunter2!"}}), "data[a]"),
        (json!({"stringData": {"a": ["hunter2"]}}), "stringData[a]"),
        (json!({"data": "hunter2"}), "data"),
    ] {
        let found = schema.check(&object);
        assert_eq!(found[0].field, field);
        assert!(!found[0].message.contains("hunter") && !found[0].message.contains("123"), "{}", found[0].message);
    }
}

#[test]
fn a_status_is_judged_leniently() {
    let schema = find(GATEWAY, "HTTPRoute").unwrap().version("v1").unwrap();
    assert_eq!(schema.check(&json!({"metadata": {"name": "x"}, "spec": {}, "status": {"parents": 5}})), []);
    assert!(!schema.admits_status(&json!({"parents": 5})));
    assert!(schema.admits_status(&json!({"parents": []})));
}
