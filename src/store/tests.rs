//! What changes something and what does not.
#![cfg(test)]

use std::collections::BTreeMap;
use std::fmt::Debug;

use serde_json::{Value, json};

use super::{Batch, BindState, Change, Event, Resources};
use crate::api::{Kind, Object, ObjectKey, ObjectRef, label};

const CASES: &[(Kind, &str)] = &[
    (Kind::GatewayClass, r#"{"spec": {"controllerName": "a/b"}}"#),
    (Kind::Gateway, r#"{"spec": {"gatewayClassName": "c", "listeners": []}}"#),
    (Kind::HttpRoute, r#"{"spec": {"rules": []}}"#),
    (Kind::ReferenceGrant, r#"{"spec": {"from": [], "to": []}}"#),
    (Kind::UpstreamPolicy, r#"{"spec": {"targetRefs": []}}"#),
    (Kind::Namespace, "{}"),
    (Kind::Service, r#"{"spec": {"ports": [{"port": 80}]}}"#),
    (Kind::Secret, r#"{"type": "kubernetes.io/tls", "data": {"tls.crt": "YQ=="}}"#),
    (Kind::ConfigMap, r#"{"data": {"ca.crt": "a"}}"#),
];

/// An object of the kind with this metadata beside its name.
fn object(kind: Kind, body: &str, metadata: &Value) -> Object {
    let mut value: Value = serde_json::from_str(body).unwrap();
    value["metadata"] = json!({"name": "x", "namespace": if kind.namespaced() { json!("n") } else { json!(null) }});
    for (field, found) in metadata.as_object().unwrap() {
        value["metadata"][field] = found.clone();
    }
    Object::from_value(kind, value).unwrap()
}

fn slice(name: &str, service: Option<&str>, address: &str) -> Event {
    let labels = service.map_or(json!({}), |service| json!({label::SERVICE_NAME: service}));
    let value = json!({
        "metadata": {"name": name, "namespace": "n", "labels": labels},
        "addressType": "IPv4",
        "ports": [{"name": "", "port": 8080}],
        "endpoints": [{"addresses": [address]}],
    });
    Event::Apply(Object::from_value(Kind::EndpointSlice, value).unwrap())
}

fn deleted(kind: Kind, name: &str) -> Event {
    Event::Delete(ObjectRef { kind, key: ObjectKey::new("n", name) })
}

/// What one event changes.
fn change(resources: &mut Resources, event: Event) -> Change {
    let mut change = Change::default();
    resources.apply(event, &mut change);
    change
}

fn moved(services: &[&str]) -> Change {
    Change { services: services.iter().map(|name| ObjectKey::new("n", *name)).collect(), ..Change::default() }
}

fn nothing<T: Debug + PartialEq + Default>(found: &T) -> bool {
    *found == T::default()
}

#[test]
fn what_an_api_server_notes_in_metadata_changes_nothing_and_is_held() {
    for (kind, body) in CASES {
        let mut resources = Resources::default();
        let first = object(*kind, body, &json!({"resourceVersion": "1"}));
        assert!(change(&mut resources, Event::Apply(first)).asks_to_translate(), "{kind}");
        let noted = json!({"resourceVersion": "2", "managedFields": [{"manager": "kubectl"}]});
        let again = object(*kind, body, &noted);
        assert!(nothing(&change(&mut resources, Event::Apply(again))), "{kind}");
    }
    let mut resources = Resources::default();
    for version in ["1", "2"] {
        let namespace = object(Kind::Namespace, "{}", &json!({"resourceVersion": version}));
        change(&mut resources, Event::Apply(namespace));
        let held = resources.namespaces.values().next().unwrap();
        assert_eq!(held.metadata.resource_version.as_deref(), Some(version), "the newest is held all the same");
    }
}

#[test]
fn a_status_changes_nothing_and_is_held() {
    for (kind, body, status) in [
        (Kind::Gateway, CASES[1].1, json!({"addresses": [{"value": "10.0.0.1"}]})),
        (Kind::HttpRoute, CASES[2].1, json!({"parents": []})),
        (Kind::Service, CASES[6].1, json!({"loadBalancer": {}, "conditions": []})),
        (Kind::Namespace, CASES[5].1, json!({"phase": "Active"})),
    ] {
        let mut resources = Resources::default();
        change(&mut resources, Event::Apply(object(kind, body, &json!({}))));
        let mut with_status: Value = serde_json::from_str(body).unwrap();
        with_status["status"] = status;
        let again = object(kind, &with_status.to_string(), &json!({}));
        assert!(nothing(&change(&mut resources, Event::Apply(again))), "{kind}");
        let held = resources.gateways.values().all(|gateway| gateway.status.is_some())
            && resources.http_routes.values().all(|route| route.status.is_some());
        assert!(held, "{kind}");
    }
}

#[test]
fn metadata_that_means_something_is_a_change() {
    for (kind, body) in CASES {
        for metadata in [
            json!({"generation": 2}),
            json!({"labels": {"a": "b"}}),
            json!({"annotations": {"a": "b"}}),
            json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}),
            json!({"creationTimestamp": "2026-01-01T00:00:00Z"}),
            json!({"uid": "u"}),
        ] {
            let mut resources = Resources::default();
            change(&mut resources, Event::Apply(object(*kind, body, &json!({}))));
            let again = object(*kind, body, &metadata);
            assert!(change(&mut resources, Event::Apply(again)).asks_to_translate(), "{kind} {metadata}");
        }
    }
}

#[test]
fn whose_a_service_is_and_what_its_load_balancer_gave_is_a_change() {
    let (kind, body) = CASES[6];
    let owned = |uid: &str| {
        let owner = json!({"apiVersion": "v1", "kind": "Gateway", "name": "g", "uid": uid, "controller": true});
        object(kind, body, &json!({"ownerReferences": [owner]}))
    };
    let given = |ingress: &Value| {
        let mut value: Value = serde_json::from_str(body).unwrap();
        value["status"] = json!({"loadBalancer": {"ingress": ingress}});
        object(kind, &value.to_string(), &json!({}))
    };
    let bare = || object(kind, body, &json!({}));
    for (before, after) in [
        (bare(), owned("a")),
        (owned("a"), owned("b")),
        (owned("a"), bare()),
        (bare(), given(&json!([{"ip": "10.0.0.1"}]))),
        (given(&json!([{"ip": "10.0.0.1"}])), given(&json!([{"hostname": "a.example.com"}]))),
        (given(&json!([{"ip": "10.0.0.1"}])), given(&json!([]))),
    ] {
        let mut resources = Resources::default();
        change(&mut resources, Event::Apply(before));
        assert!(change(&mut resources, Event::Apply(after.clone())).asks_to_translate(), "{after:?}");
        assert!(nothing(&change(&mut resources, Event::Apply(after))), "twice the same");
    }
    let mut resources = Resources::default();
    change(&mut resources, Event::Apply(bare()));
    assert!(nothing(&change(&mut resources, Event::Apply(given(&json!([]))))), "none is none, however it is written");
}

#[test]
fn what_an_object_says_is_a_change() {
    for (kind, before, after) in [
        (Kind::Gateway, CASES[1].1, r#"{"spec": {"gatewayClassName": "d", "listeners": []}}"#),
        (Kind::Service, CASES[6].1, r#"{"spec": {"ports": [{"port": 81}]}}"#),
        (Kind::Secret, CASES[7].1, r#"{"type": "kubernetes.io/tls", "data": {"tls.crt": "Yg=="}}"#),
        (Kind::Secret, CASES[7].1, r#"{"type": "Opaque", "data": {"tls.crt": "YQ=="}}"#),
        (Kind::Secret, CASES[7].1, r#"{"type": "kubernetes.io/tls", "stringData": {"tls.crt": "a"}}"#),
        (Kind::ConfigMap, CASES[8].1, r#"{"data": {"ca.crt": "b"}}"#),
        (Kind::ConfigMap, CASES[8].1, r#"{"data": {"ca.crt": "a"}, "binaryData": {"b": "YQ=="}}"#),
    ] {
        let mut resources = Resources::default();
        change(&mut resources, Event::Apply(object(kind, before, &json!({}))));
        assert!(change(&mut resources, Event::Apply(object(kind, after, &json!({})))).asks_to_translate(), "{after}");
    }
}

#[test]
fn a_slice_that_moves_to_another_service_changes_both() {
    let mut resources = Resources::default();
    assert_eq!(change(&mut resources, slice("s", Some("a"), "10.0.0.1")), moved(&["a"]));
    assert_eq!(change(&mut resources, slice("s", Some("b"), "10.0.0.1")), moved(&["a", "b"]));
    assert_eq!(change(&mut resources, slice("s", None, "10.0.0.1")), moved(&["b"]));
    assert!(resources.slices_of.is_empty());
    assert!(nothing(&change(&mut resources, slice("s", None, "10.0.0.2"))), "it belongs to nobody");
    assert_eq!(change(&mut resources, slice("s", Some("a"), "10.0.0.1")), moved(&["a"]));
    assert_eq!(change(&mut resources, deleted(Kind::EndpointSlice, "s")), moved(&["a"]));
    assert!(resources.slices_of.is_empty() && resources.endpoint_slices.is_empty());
}

#[test]
fn a_slice_with_the_same_endpoints_changes_nothing_and_is_held() {
    let mut resources = Resources::default();
    change(&mut resources, slice("s", Some("a"), "10.0.0.1"));
    let Event::Apply(Object::EndpointSlice(mut again)) = slice("s", Some("a"), "10.0.0.1") else { panic!("a slice") };
    again.metadata.resource_version = Some("2".into());
    assert!(nothing(&change(&mut resources, Event::Apply(Object::EndpointSlice(again)))));
    let held = resources.endpoint_slices.values().next().unwrap();
    assert_eq!(held.metadata.resource_version.as_deref(), Some("2"), "the newest is held all the same");
}

#[test]
fn an_object_that_is_not_held_is_deleted_without_a_change() {
    let mut resources = Resources::default();
    for kind in [Kind::EndpointSlice, Kind::Service, Kind::Gateway, Kind::Namespace, Kind::Secret] {
        assert!(nothing(&change(&mut resources, deleted(kind, "never-seen"))), "{kind}");
    }
}

#[test]
fn one_batch_adds_up_what_its_events_changed() {
    let mut resources = Resources::default();
    let mut change = Change::default();
    for event in [slice("s", Some("a"), "10.0.0.1"), slice("t", Some("b"), "10.0.0.2")] {
        resources.apply(event, &mut change);
    }
    assert_eq!(change, moved(&["a", "b"]));
    let service = object(Kind::Service, CASES[6].1, &json!({}));
    let objects = [service.object_ref()].into();
    resources.apply(Event::Apply(service), &mut change);
    assert_eq!(change, Change { objects, ..moved(&["a", "b"]) });
    resources.apply(Event::Apply(object(Kind::Gateway, CASES[1].1, &json!({}))), &mut change);
    assert!(change.routes);
}

#[test]
fn what_became_of_the_binds_is_a_change_only_when_it_differs() {
    let mut resources = Resources::default();
    assert!(nothing(&change(&mut resources, Event::Binds(BTreeMap::new()))));
    let binds = BTreeMap::from([("127.0.0.1:80".parse().unwrap(), BindState::Bound)]);
    assert!(change(&mut resources, Event::Binds(binds.clone())).routes);
    assert!(nothing(&change(&mut resources, Event::Binds(binds))));
    assert!(change(&mut resources, Event::Binds(BTreeMap::new())).routes, "the whole picture, not an addition");
}

#[test]
fn what_a_secret_holds_is_in_no_debug_output() {
    let secret = json!({"metadata": {"namespace": "n", "name": "s", "annotations": {"copy": "hunter2"}},
        "stringData": {"tls.key": "hunter2"}, "data": {"other": "aHVudGVyMg=="}});
    let batch: Batch = vec![Event::Apply(Object::from_value(Kind::Secret, secret).unwrap())];
    let told = format!("{batch:?} {batch:#?}");
    assert!(told.contains("Secret n/s"), "{told}");
    let panicked = std::panic::catch_unwind(|| panic!("{batch:?}")).unwrap_err();
    let panicked = panicked.downcast_ref::<String>().unwrap();
    let mut resources = Resources::default();
    for event in batch {
        resources.apply(event, &mut Change::default());
    }
    for text in [&told, panicked, &format!("{resources:?} {resources:#?}")] {
        // as text, and as the numbers of a list of bytes
        assert!(!text.contains("hunter2") && !text.contains("104, 117, 110") && !text.contains("aHVu"), "{text}");
    }
    assert!(format!("{resources:?}").contains("Secret: 1"));
}
