//! The endpoints' own road leads where a whole translation leads: after any sequence of events.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};
use transom::api::{Kind, Object, ObjectKey, ObjectRef};
use transom::snapshot::{EndpointSet, UpstreamId};
use transom::store::{Change, Event, Resources};
use transom::translate::{Translation, endpoints, translate};

use crate::load;

const SERVICES: [&str; 3] = ["named", "unnamed", "nobodys"];

/// A Gateway and a route to every port of two Services that exist and of one that does not.
fn fixed() -> Vec<Value> {
    let backends: Vec<_> = [("named", 80), ("named", 81), ("unnamed", 80), ("nobodys", 80)]
        .map(|(name, port)| json!({"name": name, "port": port}))
        .into();
    vec![
        json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass", "metadata": {"name": "c"},
            "spec": {"controllerName": "transom.dev/gateway-controller"}}),
        json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": {"name": "gw"},
            "spec": {"gatewayClassName": "c", "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]}}),
        json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "r"},
            "spec": {"parentRefs": [{"name": "gw"}], "rules": [{"backendRefs": backends}]}}),
    ]
}

fn service(name: &str) -> Value {
    let ports = match name {
        "named" => json!([{"name": "a", "port": 80, "targetPort": "ignored"}, {"name": "b", "port": 81},
            {"name": "u", "port": 80, "protocol": "UDP"}]),
        _ => json!([{"port": 80}]),
    };
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"ports": ports}})
}

/// One of many slices: whose, of which family, with which ports and in which state its endpoints are.
fn slice(name: u8, [whose, family, ports, state, address]: [u8; 5]) -> Value {
    let owner = match whose % 4 {
        3 => json!({}),
        index => json!({"kubernetes.io/service-name": SERVICES[usize::from(index)]}),
    };
    let ports = match ports % 5 {
        0 => json!([{"name": "a", "port": 8080}]),
        1 => json!([{"name": "b", "port": 9090}, {"name": "a", "port": 8081, "protocol": "UDP"}]),
        2 => json!([{"name": "", "port": 7070}, {"name": "a", "port": 8080}]),
        3 => json!([{"name": "a"}, {"port": 6060}]),
        _ => json!(null),
    };
    let conditions = match state % 6 {
        0 => json!({}),
        1 => json!({"ready": true}),
        2 => json!({"ready": false}),
        3 => json!({"ready": false, "serving": true, "terminating": true}),
        4 => json!({"ready": false, "serving": false, "terminating": true}),
        _ => json!(null),
    };
    let (family, own, shared) = match family % 3 {
        0 => ("IPv4", format!("10.0.0.{}", address % 4), "10.0.1.1"),
        1 => ("IPv6", format!("fd00::{}", address % 4), "fd00::1:1"),
        _ => ("FQDN", "a.example.com".to_owned(), "b.example.com"),
    };
    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": format!("s{}", name % 4), "labels": owner}, "addressType": family, "ports": ports,
        "endpoints": [{"addresses": [own], "conditions": conditions}, {"addresses": [shared], "conditions": {"ready": state % 2 == 0}}]})
}

fn apply(value: Value) -> Event {
    Event::Apply(load::object(value).expect("an object"))
}

fn event(kind: u8, name: u8, draw: [u8; 5]) -> Event {
    let object_ref = |kind, name: String| ObjectRef { kind, key: ObjectKey::new("default", name) };
    match kind % 8 {
        0 => Event::Delete(object_ref(Kind::EndpointSlice, format!("s{}", name % 4))),
        1 => Event::Delete(object_ref(Kind::Service, SERVICES[usize::from(name % 2)].to_owned())),
        2 => apply(service(SERVICES[usize::from(name % 2)])),
        _ => apply(slice(name, draw)),
    }
}

fn upstreams(translation: &Translation) -> BTreeMap<UpstreamId, EndpointSet> {
    let each = translation.snapshot.upstreams.iter();
    each.map(|upstream| (upstream.id.clone(), (**upstream.endpoints.load()).clone())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn moving_endpoints_alone_leads_where_a_whole_translation_leads(
        batches in proptest::collection::vec(proptest::collection::vec(any::<(u8, u8, [u8; 5])>(), 1..4), 1..12)
    ) {
        let objects: Vec<Object> = fixed()
            .into_iter()
            .chain(["named", "unnamed"].map(service))
            .map(|value| load::object(value).expect("an object"))
            .collect();
        let mut resources = load::resources(objects);
        let settings = load::settings(&load::CaseSettings::default());
        let first = translate(&resources, &settings);
        let (mut served, mut references) = (upstreams(&first), first.references);
        prop_assert_eq!(served.len(), 3);
        for batch in batches {
            let mut change = Change::default();
            for (kind, name, draw) in batch {
                resources.apply(event(kind, name, draw), &mut change);
            }
            let translation = translate(&resources, &settings);
            let whole = upstreams(&translation);
            // as the controller decides it
            if change.routes || change.objects.iter().any(|object| references.has(object)) {
                served = whole.clone();
                references = translation.references;
            } else {
                let of_changed = |id: &&UpstreamId| change.services.contains(&ObjectKey::new(&*id.namespace, &*id.service));
                let moved: Vec<UpstreamId> = served.keys().filter(of_changed).cloned().collect();
                for id in moved {
                    let set = endpoints(&resources, &id);
                    served.insert(id, set);
                }
            }
            prop_assert_eq!(&served, &whole);
            for (id, set) in &whole {
                prop_assert_eq!(set, &endpoints(&resources, id), "from nothing, whatever changed");
            }
            let fresh = Resources { slices_of: BTreeMap::new(), endpoint_slices: BTreeMap::new(), ..resources.clone() };
            let relisted = resources.endpoint_slices.values().cloned().fold(fresh, |mut all, slice| {
                all.apply(Event::Apply(Object::EndpointSlice(Box::new(slice))), &mut Change::default());
                all
            });
            prop_assert_eq!(&relisted.slices_of, &resources.slices_of, "the index follows every event");
        }
    }
}
