//! UpstreamPolicies: what one is no part of, and that the translator refuses what the schema refuses.

use serde_json::{Value, json};
use transom::api::kind::TRANSOM_GROUP;
use transom::api::{Kind, Object, ObjectKey, ObjectRef};
use transom::source::schema;
use transom::store::{Change, Event, Resources};
use transom::translate::{Settings, translate};

use crate::load;

/// A Gateway, a route, its Service with an endpoint.
fn world() -> Vec<Object> {
    let meta = |name: &str| json!({"name": name, "namespace": "n"});
    let slice = |address: &str| {
        json!({"metadata": {"name": "s", "namespace": "n", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4", "ports": [{"port": 8080}], "endpoints": [{"addresses": [address]}]})
    };
    let objects = [
        (
            Kind::GatewayClass,
            json!({"metadata": {"name": "c"}, "spec": {"controllerName": "transom.dev/gateway-controller"}}),
        ),
        (
            Kind::Gateway,
            json!({"metadata": meta("gw"), "spec": {"gatewayClassName": "c",
                "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]}}),
        ),
        (
            Kind::HttpRoute,
            json!({"metadata": meta("r"), "spec": {"parentRefs": [{"name": "gw"}],
                "rules": [{"backendRefs": [{"name": "web", "port": 80}]}]}}),
        ),
        (Kind::Service, json!({"metadata": meta("web"), "spec": {"ports": [{"port": 80}]}})),
        (Kind::EndpointSlice, slice("10.0.0.1")),
    ];
    objects.into_iter().map(|(kind, value)| Object::from_value(kind, value).expect("an object")).collect()
}

fn policy(spec: &Value) -> Value {
    let mut value = json!({"metadata": {"name": "p", "namespace": "n"}, "spec": spec});
    value["spec"]["targetRefs"] = json!([{"group": "", "kind": "Service", "name": "web"}]);
    value
}

fn settings() -> Settings {
    load::settings(&load::CaseSettings::default())
}

/// What an event changes.
fn change(resources: &mut Resources, event: Event) -> Change {
    let mut change = Change::default();
    resources.apply(event, &mut change);
    change
}

#[test]
fn a_policy_is_no_part_of_who_an_upstream_is_and_comes_and_goes_with_a_translation() {
    let mut resources = load::resources(world());
    let without = translate(&resources, &settings()).snapshot;
    let object = Object::from_value(Kind::UpstreamPolicy, policy(&json!({"loadBalancing": {"type": "RoundRobin"}})));
    let object = object.expect("a policy");
    assert!(change(&mut resources, Event::Apply(object.clone())).routes);
    assert!(change(&mut resources, Event::Apply(object)).is_empty());
    let with = translate(&resources, &settings()).snapshot;
    assert_eq!(without.upstreams[0].id, with.upstreams[0].id);
    assert!(without.upstreams[0].policy.is_default() && !with.upstreams[0].policy.is_default());
    let gone = ObjectRef { kind: Kind::UpstreamPolicy, key: ObjectKey::new("n", "p") };
    assert!(change(&mut resources, Event::Delete(gone)).routes);
    assert!(translate(&resources, &settings()).snapshot.upstreams[0].policy.is_default());
}

/// A field, and values of which some are allowed.
fn values() -> Vec<(&'static str, Vec<Value>)> {
    let durations: Vec<Value> = [
        "100ms",
        "99ms",
        "0s",
        "0h0m",
        "1s",
        "1h",
        "99999h",
        "100000h",
        "1d",
        "",
        "1.5s",
        "1s1s1s1s",
        "1s1s1s1s1s",
        "-1s",
        "1",
        "s",
        " 1s",
        "1S",
        "10m",
        "4m59s",
    ]
    .map(Value::from)
    .into();
    let numbers: Vec<Value> = [-1, 0, 1, i32::MAX].map(Value::from).into();
    let names: Vec<Value> = ["x-user", "X_1", "", "a b", "a:b", "é", "!#$%&'*+-.^_`|~"].map(Value::from).into();
    vec![
        ("/loadBalancing/type", ["LeastRequest", "RoundRobin", "ConsistentHash", "Random", ""].map(Value::from).into()),
        (
            "/loadBalancing/consistentHash",
            vec![json!({"type": "ClientAddress"}), json!({"type": "Header"}), json!(null)],
        ),
        (
            "/loadBalancing/consistentHash/type",
            ["Header", "Cookie", "ClientAddress", "Path", ""].map(Value::from).into(),
        ),
        ("/loadBalancing/consistentHash/header", names.clone()),
        ("/loadBalancing/consistentHash/cookie", names),
        ("/healthCheck/type", ["HTTP", "TCP", "GRPC"].map(Value::from).into()),
        ("/healthCheck/interval", durations.clone()),
        ("/healthCheck/timeout", durations.clone()),
        ("/healthCheck/healthyThreshold", numbers.clone()),
        ("/healthCheck/unhealthyThreshold", numbers.clone()),
        ("/healthCheck/http", vec![json!({}), json!(null)]),
        (
            "/healthCheck/http/path",
            ["/", "", "a", "/a b", "/a#b", "/é", "/a?b=c", "/\"~!", "/\u{7f}"].map(Value::from).into(),
        ),
        (
            "/healthCheck/http/host",
            ["a.b", "A.b", "", "-a", "a-", "a..b", "a_b", "1.2.3.4", "::1", "a:80", "*.a"].map(Value::from).into(),
        ),
        (
            "/healthCheck/http/expectedStatuses",
            [
                "200",
                "100-599",
                "099",
                "600",
                "200-199",
                "200-200",
                "2xx",
                "",
                "200-",
                "-200",
                "200-201-202",
                "+20",
                "1000",
            ]
            .map(|one| json!([one]))
            .into_iter()
            .chain([json!([]), json!(["200", "404"])])
            .collect(),
        ),
        ("/ejection/consecutiveFailures", numbers.clone()),
        ("/ejection/baseTime", durations.clone()),
        ("/ejection/maxTime", durations.clone()),
        ("/timeouts/connect", durations.clone()),
        ("/timeouts/idle", durations),
        ("/connections/maxPerEndpoint", numbers),
    ]
}

#[test]
fn the_translator_refuses_what_the_schema_refuses_and_nothing_else() {
    let full = json!({
        "loadBalancing": {"type": "ConsistentHash", "consistentHash": {"type": "Header", "header": "a"}},
        "healthCheck": {"type": "HTTP", "interval": "5s", "timeout": "500ms", "healthyThreshold": 1,
            "unhealthyThreshold": 1, "http": {"path": "/", "host": "a", "expectedStatuses": ["200"]}},
        "ejection": {"consecutiveFailures": 1, "baseTime": "2s", "maxTime": "5m"},
        "timeouts": {"connect": "1s", "idle": "1s"},
        "connections": {"maxPerEndpoint": 1},
    });
    let schema =
        schema::find(TRANSOM_GROUP, "UpstreamPolicy").and_then(|kind| kind.version("v1alpha1")).expect("a schema");
    let (mut allowed, mut refused) = (0, 0);
    let mut compare = |spec: &Value| {
        let mut object = policy(spec);
        schema.complete(&mut object);
        let findings = schema.check(&object);
        let Ok(object) = Object::from_value(Kind::UpstreamPolicy, object) else {
            assert!(!findings.is_empty());
            return;
        };
        let translation = translate(&load::resources(world().into_iter().chain([object])), &settings());
        let status = translation.statuses.policies.values().next().expect("a status");
        let condition = &status.ancestors[0].conditions[0];
        assert_eq!(findings.is_empty(), condition.status == "True", "{spec}: {findings:?} {}", condition.message);
        assert!(condition.reason == if findings.is_empty() { "Accepted" } else { "Invalid" });
        if findings.is_empty() { allowed += 1 } else { refused += 1 }
    };
    compare(&full);
    for (pointer, values) in values() {
        let (parent, field) = pointer.rsplit_once('/').expect("a field");
        for value in values {
            let mut spec = full.clone();
            let parent = spec.pointer_mut(parent).and_then(Value::as_object_mut).expect("a mapping");
            parent.insert(field.to_owned(), value);
            compare(&spec);
        }
        let mut spec = full.clone();
        spec.pointer_mut(parent).and_then(Value::as_object_mut).expect("a mapping").remove(field);
        compare(&spec);
    }
    assert!(allowed > 60 && refused > 100, "{allowed} {refused}");
}
