//! What holds of every set of objects: order does not matter, nothing panics, and what breaks matches less.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::OnceLock;

use proptest::prelude::*;
use serde_json::{Value, json};
use transom::api::{Kind, Object, ObjectKey, ObjectRef};
use transom::router::{RequestParts, RouteEntry, RouteTable};
use transom::snapshot::RuleIndex;
use transom::store::{Change, Event, Resources};
use transom::translate::{Translation, translate};

use crate::filters;
use crate::load;
use crate::render::render;

/// Everything that a translation says, as text.
pub fn said(translation: &Translation) -> String {
    let wire = serde_json::to_string(&translation.snapshot).expect("a snapshot serialises");
    format!("{}\n{wire}\n{:?}\n{:?}", render(translation), translation.statuses, translation.findings)
}

/// The documents of every case, read once.
fn manifests() -> &'static [Vec<Value>] {
    static DOCUMENTS: OnceLock<Vec<Vec<Value>>> = OnceLock::new();
    DOCUMENTS.get_or_init(|| {
        let text = |folder: PathBuf| std::fs::read_to_string(folder.join("in.yaml")).expect("in.yaml");
        crate::cases().into_iter().map(|folder| load::documents(&text(folder))).collect()
    })
}

/// Every object of all cases in one world: namespaces apart, but for the one class.
fn world(cases: &[Vec<Value>]) -> Vec<Object> {
    let mut objects = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        for value in case {
            let mut object = load::object(value.clone()).expect("an object");
            if object.kind().namespaced() {
                let namespace = object.key().namespace;
                load::move_to(&mut object, &format!("{namespace}-{}", number % 40));
            }
            objects.push(object);
        }
    }
    objects
}

/// A small generator of choices, driven by the numbers that proptest draws and shrinks.
pub struct Choices<'c>(pub std::slice::Iter<'c, u32>);

impl Choices<'_> {
    pub fn below(&mut self, bound: usize) -> usize {
        self.0.next().map_or(0, |number| *number as usize % bound.max(1))
    }
}

/// What stands in the place of a value: wrong kinds, edges, words of tomorrow.
fn strange(choices: &mut Choices<'_>) -> Value {
    let values = [
        json!(null),
        json!(0),
        json!(-1),
        json!(65535),
        json!(65536),
        json!(2_147_483_647),
        json!(true),
        json!(""),
        json!("*"),
        json!("*."),
        json!("a..b"),
        json!("("),
        json!("/a)|(.*"),
        json!("10.0.0.1"),
        json!("::1"),
        json!("HTTP"),
        json!("HTTPS"),
        json!("TCP"),
        json!("Unheard"),
        json!("Selector"),
        json!("/"),
        json!("//"),
        json!("gw"),
        json!("other"),
        json!("web"),
        json!("Service"),
        json!("Secret"),
        json!("x".repeat(5000)),
        json!("ä\u{0}€"),
        json!([]),
        json!({}),
        json!([{}]),
        json!([null]),
        json!([""]),
        json!({"a": "b"}),
    ];
    values[choices.below(values.len())].clone()
}

/// Changes one place of a document.
pub fn mutate(value: &mut Value, choices: &mut Choices<'_>) {
    let stop = choices.below(4) == 0;
    match value {
        Value::Object(map) if !map.is_empty() && !stop => {
            let key = map.keys().nth(choices.below(map.len())).expect("a key").clone();
            if choices.below(8) == 0 {
                map.remove(&key);
            } else {
                mutate(&mut map[&key], choices);
            }
        }
        Value::Array(list) if !list.is_empty() && !stop => {
            let index = choices.below(list.len());
            match choices.below(6) {
                0 => list.push(list[index].clone()),
                1 => drop(list.remove(index)),
                _ => mutate(&mut list[index], choices),
            }
        }
        other => *other = strange(choices),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_order_of_events_does_not_matter(order in proptest::collection::vec(any::<u32>(), 64), kubernetes: bool, services: bool) {
        let objects = world(manifests());
        let settings = load::settings(&load::CaseSettings { kubernetes, services, ..load::CaseSettings::default() });
        // Of two objects of one identity the last one stays: only identities may be shuffled, not versions.
        let mut unique: Vec<Object> = load::latest(objects);
        let sorted = load::resources(unique.clone());

        let mut choices = Choices(order.iter());
        for index in (1..unique.len()).rev() {
            let drawn = order[index % order.len()] as usize;
            unique.swap(index, drawn.wrapping_mul(index + 7) % (index + 1));
        }
        let mut shuffled = Resources::default();
        let mut change = Change::default();
        for (index, object) in unique.iter().enumerate() {
            shuffled.apply(Event::Apply(object.clone()), &mut change);
            if choices.below(3) == 0 {
                shuffled.apply(Event::Apply(unique[index / 2].clone()), &mut change);
            }
            if choices.below(3) == 0 {
                shuffled.apply(Event::Delete(object.object_ref()), &mut change);
                shuffled.apply(Event::Apply(object.clone()), &mut change);
            }
        }
        let (a, b) = (translate(&sorted, &settings), translate(&shuffled, &settings));
        prop_assert_eq!(said(&a), said(&b));
        prop_assert_eq!(a.statuses, b.statuses);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_mutated_object_panics_and_what_is_reported_fits_the_crds(
        case in any::<proptest::sample::Index>(), numbers in proptest::collection::vec(any::<u32>(), 1..60),
        kubernetes: bool, services: bool
    ) {
        let cases = manifests();
        let mut documents = cases[case.index(cases.len())].clone();
        let mut choices = Choices(numbers.iter());
        for _ in 0..=choices.below(3) {
            let index = choices.below(documents.len());
            mutate(&mut documents[index], &mut choices);
        }
        let resources = load::resources(documents.into_iter().filter_map(|value| load::object(value).ok()));
        let settings = load::settings(&load::CaseSettings { kubernetes, services, ..load::CaseSettings::default() });
        let translation = translate(&resources, &settings);
        said(&translation); // asserts the bounds of conditions on its way
        filters::assert_sound(&translation.snapshot);

        for (key, gateway) in &translation.statuses.gateways {
            let spec = &resources.gateways[key].spec;
            for listener in &spec.listeners {
                prop_assert!(gateway.listeners.iter().any(|status| status.name == listener.name));
            }
        }
        for bind in translation.snapshot.binds.values() {
            for entry in bind.listeners.iter().flat_map(|listener| listener.routes.entries()) {
                prop_assert!(translation.snapshot.rule(entry.value).is_some());
            }
        }
    }

    #[test]
    fn a_broken_match_never_matches_more(
        part in 0usize..PARTS.len(), broken in 0usize..20, numbers in proptest::collection::vec(any::<u32>(), 12)
    ) {
        let mut choices = Choices(numbers.iter());
        let sound = one_match(&mut choices);
        let mut changed = sound.clone();
        let (pointer, values) = PARTS[part];
        let Some(place) = changed.pointer_mut(pointer) else { return Ok(()) };
        *place = json!(values[broken % values.len()]);
        let pattern = changed.pointer("/path/type") == Some(&json!("RegularExpression"));
        if pattern && pointer == "/path/value" && !["(", "["].contains(&values[broken % values.len()]) {
            return Ok(()); // another expression, not a broken one
        }
        let before = rules(Kind::HttpRoute, &sound);
        let after = rules(Kind::HttpRoute, &changed);
        for request in requests(None) {
            let parts = RequestParts {
                host: "a.example.com",
                method: &request.0,
                path: request.1,
                query: request.2,
                headers: &request.3,
            };
            let (before, after) = (before.find(&parts).is_some(), after.find(&parts).is_some());
            prop_assert!(before || !after, "{pointer} broken: {} {} matches now", request.0, request.1);
        }
    }

    #[test]
    fn a_broken_match_of_calls_never_matches_more(
        part in 0usize..CALL_PARTS.len(), broken in 0usize..20, numbers in proptest::collection::vec(any::<u32>(), 12)
    ) {
        let sound = one_call_match(&mut Choices(numbers.iter()));
        let mut changed = sound.clone();
        let (pointer, values) = CALL_PARTS[part];
        let Some(place) = changed.pointer_mut(pointer) else { return Ok(()) };
        *place = json!(values[broken % values.len()]);
        let (before, after) = (rules(Kind::GrpcRoute, &sound), rules(Kind::GrpcRoute, &changed));
        for kind in [None, Some("text/plain"), Some("application/grpc"), Some("application/grpc-web")] {
            for request in requests(kind) {
                let parts =
                    RequestParts { host: "a", method: &request.0, path: request.1, query: request.2, headers: &request.3 };
                let (before, after) = (before.find(&parts).is_some(), after.find(&parts).is_some());
                prop_assert!(before || !after, "{pointer} broken: {} matches now", request.1);
                prop_assert!(!after || kind == Some("application/grpc"), "what is no call matches: {kind:?}");
            }
        }
    }
}

/// Places of a match of calls, and what breaks them: nothing here is a name or an expression.
const CALL_PARTS: &[(&str, &[&str])] = &[
    ("/method/type", &["Glob", "", "exact", "Prefix"]),
    ("/method/service", &["a/b", "(", "[", "*"]),
    ("/method/method", &["a/b", "(", "[", "*"]),
    ("/headers/0/type", &["", "Near", "regularExpression"]),
    ("/headers/0/name", &["", "a b", "ä", "a:"]),
];

fn one_call_match(choices: &mut Choices<'_>) -> Value {
    let kind = ["Exact", "RegularExpression"][choices.below(2)];
    let mut value = json!({"method": {"type": kind}});
    let given = choices.below(3);
    if given != 0 {
        value["method"]["service"] = json!(["a", "b"][choices.below(2)]);
    }
    if given != 1 {
        value["method"]["method"] = json!(["b", "c"][choices.below(2)]);
    }
    if choices.below(2) == 0 {
        let kind = ["Exact", "RegularExpression"][choices.below(2)];
        value["headers"] = json!([{"type": kind, "name": "x-a", "value": "one"}]);
    }
    value
}

/// A Gateway of one of three classes and names that meet when they are joined, and perhaps Services under these names
/// that claim few target ports, owned by whom they please.
fn exposed(choices: &mut Choices<'_>) -> Vec<Value> {
    let class = |name: &str| {
        json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass", "metadata": {"name": name},
            "spec": {"controllerName": "transom.dev/gateway-controller"}})
    };
    let (classes, names) = (["c", "b-c", "d.c"], ["a", "a-b", "a.b", "9"]);
    let mut documents: Vec<Value> = classes.iter().map(|name| class(name)).collect();
    for (index, name) in names.iter().enumerate() {
        let listeners: Vec<Value> = (0..=choices.below(3))
            .map(|port| json!({"name": format!("l{port}"), "port": 80 + port, "protocol": "HTTP"}))
            .collect();
        documents.push(json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
            "metadata": {"name": name, "uid": format!("u{index}"), "generation": 1,
                "creationTimestamp": format!("2026-01-0{}T00:00:00Z", 1 + choices.below(3))},
            "spec": {"gatewayClassName": classes[choices.below(3)], "listeners": listeners}}));
    }
    // The names that Services get are read off a translation without any.
    let settings = load::settings(&load::CaseSettings { kubernetes: true, services: true, ..Default::default() });
    let bare = load::resources(documents.iter().cloned().map(|value| load::object(value).expect("an object")));
    let mut wished: Vec<String> =
        translate(&bare, &settings).infrastructure.services.into_values().map(|s| s.name).collect();
    wished.extend(classes.iter().flat_map(|class| names.iter().map(move |name| format!("{name}-{class}"))));
    for name in wished {
        if choices.below(4) == 0 {
            continue;
        }
        let target = |choices: &mut Choices<'_>| match choices.below(8) {
            0 => json!("http"),
            1 => json!(80),
            _ => json!(20_000 + choices.below(4)),
        };
        let ports: Vec<Value> = (80..83)
            .map(|port| json!({"name": format!("p{port}"), "port": port, "targetPort": target(choices)}))
            .collect();
        let owner = json!({"apiVersion": "v1", "kind": "Gateway", "name": "x", "controller": choices.below(5) > 0,
            "uid": format!("u{}", choices.below(5))});
        let managed = if choices.below(5) > 0 { "transom" } else { "helm" };
        documents.push(json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name, "ownerReferences": [owner], "labels": {"app.kubernetes.io/managed-by": managed}},
            "spec": {"type": "LoadBalancer", "ports": ports}}));
    }
    documents
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn two_gateways_never_share_a_target_port_nor_the_name_of_a_service(
        numbers in proptest::collection::vec(any::<u32>(), 160), order in proptest::collection::vec(any::<u32>(), 40)
    ) {
        let documents = exposed(&mut Choices(numbers.iter()));
        let settings = load::settings(&load::CaseSettings { kubernetes: true, services: true, ..Default::default() });
        let mut objects = load::latest(documents.into_iter().map(|d| load::object(d).expect("an object")).collect());
        let resources = load::resources(objects.clone());
        let translation = translate(&resources, &settings);
        for (address, bind) in &translation.snapshot.binds {
            prop_assert!((20_000..30_000).contains(&address.port()), "{address}");
            let served: BTreeSet<_> = bind.listeners.iter().map(|l| (&l.id.namespace, &l.id.gateway, l.port)).collect();
            prop_assert_eq!(served.len(), 1, "{}", address);
        }
        let mut names = BTreeSet::new();
        for (key, service) in &translation.infrastructure.services {
            prop_assert!(names.insert((&key.namespace, &service.name)), "{} twice", service.name);
            let object = ObjectRef { kind: Kind::Service, key: ObjectKey::new(key.namespace.clone(), service.name.clone()) };
            prop_assert!(translation.references.has(&object), "a change of Service {} is to be seen", service.name);
            let there = resources.services.get(&object.key);
            let owners = there.and_then(|there| there.metadata.owner_references.as_ref());
            let own = owners.is_some_and(|o| o.iter().any(|o| o.controller == Some(true) && o.uid == service.owner_uid));
            prop_assert!(there.is_none() || own, "Service {} of somebody else", service.name);
        }
        let mut choices = Choices(order.iter());
        for index in (1..objects.len()).rev() {
            objects.swap(index, choices.below(index + 1));
        }
        let shuffled = translate(&load::resources(objects), &settings);
        prop_assert_eq!(said(&translation), said(&shuffled));
    }
}

/// Places of a match, and what breaks them.
const PARTS: &[(&str, &[&str])] = &[
    ("/path/type", &["Glob", "", "exact", "Suffix"]),
    ("/path/value", &["", "no-slash", "/a//b", "/a/../b", "/%2F", "/a?b", "(", "/a b", "["]),
    ("/method", &["", "get", "BREW", "G E T"]),
    ("/headers/0/type", &["", "Near", "regularExpression"]),
    ("/headers/0/name", &["", "a b", "ä", "a:"]),
    ("/queryParams/0/type", &["", "Near"]),
    ("/queryParams/0/name", &[""]),
];

fn one_match(choices: &mut Choices<'_>) -> Value {
    let path = [("Exact", "/a"), ("PathPrefix", "/a"), ("RegularExpression", "/a(/.*)?")][choices.below(3)];
    let mut value = json!({"path": {"type": path.0, "value": path.1}});
    let mut kind_and_value = || (["Exact", "RegularExpression"][choices.below(2)], ["one", "two"][choices.below(2)]);
    let (header, query) = (kind_and_value(), kind_and_value());
    if choices.below(2) == 0 {
        value["method"] = json!(["GET", "POST"][choices.below(2)]);
    }
    if choices.below(2) == 0 {
        value["headers"] = json!([{"type": header.0, "name": "x-a", "value": header.1}]);
    }
    if choices.below(2) == 0 {
        value["queryParams"] = json!([{"type": query.0, "name": "q", "value": query.1}]);
    }
    value
}

/// The route table of a Gateway with this one match.
fn rules(kind: Kind, matching: &Value) -> RouteTable<RuleIndex> {
    let class = json!({"metadata": {"name": "c"}, "spec": {"controllerName": "transom.dev/gateway-controller"}});
    let gateway = json!({
        "metadata": {"name": "gw", "namespace": "default"},
        "spec": {"gatewayClassName": "c", "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]},
    });
    let route = json!({
        "metadata": {"name": "r", "namespace": "default"},
        "spec": {"parentRefs": [{"name": "gw"}], "rules": [{"matches": [matching]}]},
    });
    let objects = [(Kind::GatewayClass, class), (Kind::Gateway, gateway), (kind, route)];
    let objects = objects.into_iter().map(|(kind, value)| Object::from_value(kind, value).expect("an object"));
    let translation = translate(&load::resources(objects), &load::settings(&load::CaseSettings::default()));
    let bind = translation.snapshot.binds.values().next().expect("a bind");
    let entries: Vec<RouteEntry<RuleIndex>> = bind.listeners[0].routes.entries().cloned().collect();
    RouteTable::build(entries)
}

type Request = (http::Method, &'static str, Option<&'static str>, http::HeaderMap);

fn requests(kind: Option<&'static str>) -> Vec<Request> {
    let mut requests = Vec::new();
    for method in [http::Method::GET, http::Method::POST] {
        for path in ["/", "/a", "/a/b", "/ab", "/b"] {
            for query in [None, Some("q=one"), Some("q=two")] {
                for header in [None, Some("one"), Some("two")] {
                    let mut headers = http::HeaderMap::new();
                    if let Some(kind) = kind {
                        headers.insert("content-type", http::HeaderValue::from_static(kind));
                    }
                    if let Some(value) = header {
                        headers.insert("x-a", http::HeaderValue::from_static(value));
                    }
                    requests.push((method.clone(), path, query, headers));
                }
            }
        }
    }
    requests
}
