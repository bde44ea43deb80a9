//! Our types carry every field of the Gateway API v1.7.0 schema and of our own CRDs, and fill in its defaults.
//!
//! `tests/cases/api/fields.txt` lists the schema's fields, those of our own kinds are read off `config/crd`; the
//! manifests beside it, one a kind, use every one of them.
//! `lastTransitionTime` is left out on purpose: the status writer sets it, `Condition` has none.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use transom::api::Kind;
use transom::api::backend_tls_policy::BackendTlsPolicy;
use transom::api::gateway::Gateway;
use transom::api::gateway_class::GatewayClass;
use transom::api::grpc_route::GrpcRoute;
use transom::api::http_route::HttpRoute;
use transom::api::kind::{GATEWAY_GROUP, TRANSOM_GROUP};
use transom::api::l4_route::{TcpRoute, UdpRoute};
use transom::api::listener_set::ListenerSet;
use transom::api::reference_grant::ReferenceGrant;
use transom::api::tls_route::TlsRoute;
use transom::api::upstream_policy::UpstreamPolicy;

#[test]
fn a_manifest_with_every_field_survives_the_round_trip() {
    for (file, kind, mut object) in manifests() {
        let mut back = round_trip(kind, &object);
        forget_transition_times(&mut object);
        let metadata = object["metadata"].clone();
        back["metadata"] = metadata; // k8s-openapi's own type
        for part in ["apiVersion", "kind"] {
            object.as_object_mut().unwrap().remove(part);
        }
        assert_eq!(back, object, "{file}");
    }
}

#[test]
fn the_manifests_use_every_field_of_the_schema() {
    let mut used: BTreeMap<Kind, BTreeSet<String>> = BTreeMap::new();
    for (_, kind, object) in manifests() {
        collect_paths(&object, "", used.entry(kind).or_default());
    }
    for (kind, fields) in schema() {
        let unused: Vec<&str> =
            fields.iter().map(|f| f.path.as_str()).filter(|path| !used[&kind].contains(*path)).collect();
        assert!(unused.is_empty(), "{kind}: not in tests/cases/api: {unused:#?}");
    }
}

#[test]
fn no_field_of_the_schema_is_lost() {
    for (kind, fields) in schema() {
        let full = synthetic(&fields, |_| true);
        assert_eq!(spec_and_status(round_trip(kind, &full)), full, "{kind}");
    }
}

#[test]
fn a_field_left_out_takes_the_default_of_the_schema() {
    for (kind, fields) in schema() {
        for field in fields.iter().filter(|f| f.default.is_some()) {
            let without = synthetic(&fields, |f| f.path != field.path && !is_within(&f.path, &field.path));
            let back = spec_and_status(round_trip(kind, &without));
            assert_eq!(find(&back, &field.path), field.default.as_ref(), "{kind} {}", field.path);
        }
    }
}

#[test]
fn an_object_of_required_fields_alone_parses() {
    for (kind, fields) in schema() {
        let optional: Vec<&str> = fields.iter().filter(|f| !f.required).map(|f| f.path.as_str()).collect();
        let bare = synthetic(&fields, |f| f.required && !optional.iter().any(|o| is_within(&f.path, o)));
        round_trip(kind, &bare);
    }
}

#[test]
fn a_value_of_a_newer_schema_is_kept() {
    let object = json!({"metadata": {}, "spec": {"rules": [{"filters": [{"type": "Tomorrow"}]}]}});
    assert_eq!(round_trip(Kind::GrpcRoute, &object)["spec"], object["spec"]);
}

/// One line of `fields.txt`.
struct Field {
    path: String,
    required: bool,
    kind: String,
    default: Option<Value>,
}

fn schema() -> BTreeMap<Kind, Vec<Field>> {
    let mut kinds: BTreeMap<Kind, Vec<Field>> = BTreeMap::new();
    let text = fs::read_to_string(cases().join("fields.txt")).unwrap();
    for line in text.lines().filter(|l| !l.starts_with('#') && !l.contains("lastTransitionTime")) {
        let mut words = line.splitn(4, ' ');
        let (name, path, kind) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
        kinds.entry(Kind::find(GATEWAY_GROUP, name).unwrap()).or_default().push(Field {
            path: path.trim_end_matches('!').to_owned(),
            required: path.ends_with('!'),
            kind: kind.to_owned(),
            default: words.next().map(|d| serde_json::from_str(d).unwrap()),
        });
    }
    let crd = fs::read_to_string(cases().join("../../../config/crd/upstreampolicies.yaml")).unwrap();
    let crd: Value = serde_yaml::from_str(&crd).unwrap();
    let fields = kinds.entry(Kind::find(TRANSOM_GROUP, "UpstreamPolicy").unwrap()).or_default();
    let object = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    for part in ["spec", "status"] {
        walk(&object["properties"][part], part, part == "spec", fields);
    }
    assert_eq!(kinds.len(), 11);
    kinds
}

/// Adds a field of a CRD and everything beneath it, as `fields.txt` would list them.
fn walk(schema: &Value, path: &str, required: bool, fields: &mut Vec<Field>) {
    if path.ends_with("lastTransitionTime") {
        return;
    }
    let kind = schema["type"].as_str().unwrap().to_owned();
    fields.push(Field { path: path.to_owned(), required, kind, default: schema.get("default").cloned() });
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let needed = schema["required"].as_array().is_some_and(|list| list.iter().any(|one| one == name));
        walk(property, &format!("{path}.{name}"), needed, fields);
    }
    if let Some(items) = schema.get("items") {
        walk(items, &format!("{path}[]"), true, fields);
    }
}

/// An object with every field that is `wanted`, each list and map with one entry.
fn synthetic(fields: &[Field], wanted: impl Fn(&Field) -> bool) -> Value {
    let mut object = json!({});
    for (number, field) in fields.iter().enumerate().filter(|(_, f)| wanted(f)) {
        let value = match field.kind.as_str() {
            "object" => json!({}),
            "array" => json!([]),
            "string" => json!(format!("text-{number}")),
            "integer" => json!(number),
            "boolean" => json!(true),
            other => panic!("{}: type {other}", field.path),
        };
        put(&mut object, &field.path, value);
    }
    object
}

fn put(at: &mut Value, path: &str, value: Value) {
    let (step, rest) = split(path);
    let slot = match (step, at) {
        ("[]", Value::Array(list)) => {
            if list.is_empty() {
                list.push(Value::Null);
            }
            &mut list[0]
        }
        ("{}", Value::Object(map)) => map.entry("key").or_insert(Value::Null),
        (name, Value::Object(map)) => map.entry(name).or_insert(Value::Null),
        (_, other) => panic!("{path} in {other}"),
    };
    if rest.is_empty() { *slot = value } else { put(slot, rest, value) }
}

fn find<'v>(at: &'v Value, path: &str) -> Option<&'v Value> {
    let (step, rest) = split(path);
    let next = match step {
        "[]" => at.get(0),
        "{}" => at.get("key"),
        name => at.get(name),
    }?;
    if rest.is_empty() { Some(next) } else { find(next, rest) }
}

fn is_within(path: &str, outer: &str) -> bool {
    path.strip_prefix(outer).is_some_and(|rest| rest.starts_with(['.', '[', '{']))
}

/// The first step of a path (`name`, `[]` or `{}`) and what follows.
fn split(path: &str) -> (&str, &str) {
    if path.starts_with(['[', '{']) {
        return (&path[..2], path[2..].trim_start_matches('.'));
    }
    let end = path.find(['.', '[', '{']).unwrap_or(path.len());
    (&path[..end], path[end..].trim_start_matches('.'))
}

fn collect_paths(value: &Value, path: &str, paths: &mut BTreeSet<String>) {
    paths.insert(path.to_owned());
    match value {
        Value::Array(list) => list.iter().for_each(|item| collect_paths(item, &format!("{path}[]"), paths)),
        Value::Object(map) => {
            for (name, item) in map {
                collect_paths(item, &format!("{path}{{}}"), paths);
                collect_paths(item, format!("{path}.{name}").trim_start_matches('.'), paths);
            }
        }
        _ => {}
    }
}

fn manifests() -> Vec<(String, Kind, Value)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(cases()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "yaml") {
            continue;
        }
        for document in serde_yaml::Deserializer::from_str(&fs::read_to_string(&path).unwrap()) {
            let object = Value::deserialize(document).unwrap();
            let (group, _) = object["apiVersion"].as_str().unwrap().split_once('/').unwrap();
            let kind = Kind::find(group, object["kind"].as_str().unwrap()).unwrap();
            found.push((path.display().to_string(), kind, object));
        }
    }
    found
}

fn cases() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/cases/api")
}

fn round_trip(kind: Kind, object: &Value) -> Value {
    fn through<T: Serialize + DeserializeOwned>(object: &Value) -> Value {
        let typed: T = serde_json::from_value(object.clone()).unwrap_or_else(|e| panic!("{e} in {object:#}"));
        serde_json::to_value(typed).unwrap()
    }
    match kind {
        Kind::GatewayClass => through::<GatewayClass>(object),
        Kind::Gateway => through::<Gateway>(object),
        Kind::ListenerSet => through::<ListenerSet>(object),
        Kind::HttpRoute => through::<HttpRoute>(object),
        Kind::GrpcRoute => through::<GrpcRoute>(object),
        Kind::TlsRoute => through::<TlsRoute>(object),
        Kind::TcpRoute => through::<TcpRoute>(object),
        Kind::UdpRoute => through::<UdpRoute>(object),
        Kind::ReferenceGrant => through::<ReferenceGrant>(object),
        Kind::BackendTlsPolicy => through::<BackendTlsPolicy>(object),
        Kind::UpstreamPolicy => through::<UpstreamPolicy>(object),
        other => panic!("{other} is k8s-openapi's"),
    }
}

fn spec_and_status(object: Value) -> Value {
    let Value::Object(map) = object else { panic!("not an object") };
    Value::Object(map.into_iter().filter(|(k, _)| k == "spec" || k == "status").collect::<Map<_, _>>())
}

fn forget_transition_times(value: &mut Value) {
    match value {
        Value::Array(list) => list.iter_mut().for_each(forget_transition_times),
        Value::Object(map) => {
            map.remove("lastTransitionTime");
            map.values_mut().for_each(forget_transition_times);
        }
        _ => {}
    }
}
