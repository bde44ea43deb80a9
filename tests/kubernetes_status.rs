//! What is written back to a cluster, by whom and how often: `status` against an API server of our own.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/api_server/mod.rs"]
mod api_server;

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use transom::api::gateway::GatewayStatus;
use transom::api::gateway_class::GatewayClassStatus;
use transom::api::{
    Condition, Kind, ObjectKey, ObjectRef, ParentReference, ParentRouteStatus, RouteStatus, Seen, Sighting,
};
use transom::source::kubernetes::{Following, follow};
use transom::status::{StatusWriter, Verdicts};
use transom::telemetry::{AccessLog, BuildLabels, Telemetry};
use transom::translate::{Judged, Statuses};

use api_server::{ApiServer, eventually};

const OURS: &str = "transom.dev/gateway-controller";

/// A writer, fed by real watches.
struct Writing {
    server: ApiServer,
    verdicts: watch::Sender<Option<Verdicts>>,
    leading: watch::Sender<bool>,
    telemetry: Telemetry,
    _stop: DropGuard,
}

impl Writing {
    fn new(server: &ApiServer, leads: bool) -> Writing {
        let (seen, sightings) = mpsc::channel(64);
        let (events, mut batches) = mpsc::channel(64);
        let stop = CancellationToken::new();
        tokio::spawn(follow(server.client(), Following::default(), events, seen, stop.clone()));
        tokio::spawn(async move { while batches.recv().await.is_some() {} });
        Writing::fed(server, leads, sightings, stop)
    }

    fn fed(server: &ApiServer, leads: bool, seen: mpsc::Receiver<Vec<Sighting>>, stop: CancellationToken) -> Writing {
        let (verdicts, reports) = watch::channel(None);
        let (leading, leader) = watch::channel(leads);
        let telemetry = Telemetry::new(BuildLabels::default(), AccessLog::off());
        let writer = StatusWriter::new(server.client(), OURS.into(), telemetry.cluster().clone());
        tokio::spawn(writer.run(seen, reports, leader));
        Writing { server: server.clone(), verdicts, leading, telemetry, _stop: stop.drop_guard() }
    }

    /// What a translation of the objects that are there now said.
    fn report(&self, statuses: Statuses) {
        let judged = Arc::new(Judged::of(&self.server.resources()));
        self.verdicts.send_replace(Some(Verdicts { statuses: Arc::new(statuses), judged }));
    }

    fn counted(&self, result: &str) -> Option<String> {
        let metric = format!("transom_status_writes_total{{kind=\"HTTPRoute\",result=\"{result}\"}} ");
        self.telemetry.metrics_text().lines().find_map(|line| line.strip_prefix(&metric)).map(str::to_owned)
    }
}

fn condition(kind: &str, status: &str) -> Condition {
    Condition {
        kind: kind.into(),
        status: status.into(),
        reason: "Accepted".into(),
        message: String::new(),
        observed_generation: Some(1),
    }
}

/// Statuses of routes in namespace `n`.
fn of_routes(routes: &[(&str, &str)]) -> Statuses {
    let mut statuses = Statuses::default();
    for (name, status) in routes {
        let parent_ref: ParentReference = serde_json::from_value(json!({"name": "g"})).unwrap();
        let conditions = vec![condition("Accepted", status)];
        let entry = ParentRouteStatus { parent_ref, controller_name: OURS.into(), conditions };
        statuses.routes.insert(route_ref(name), RouteStatus { parents: vec![entry] });
    }
    statuses
}

fn route_ref(name: &str) -> ObjectRef {
    ObjectRef { kind: Kind::HttpRoute, key: ObjectKey::new("n", name) }
}

fn route(server: &ApiServer, name: &str, status: Option<Value>) -> String {
    let mut object = json!({"spec": {"parentRefs": [{"name": "g"}]}});
    if let Some(status) = status {
        object["status"] = status;
    }
    server.apply(Kind::HttpRoute, "n", name, object)
}

/// The status of our condition on a route.
fn accepted(server: &ApiServer, name: &str) -> Option<String> {
    let status = server.find(Kind::HttpRoute, "n", name)?["status"].take();
    let ours = status["parents"].as_array()?.iter().find(|entry| entry["controllerName"] == OURS)?;
    Some(ours["conditions"][0]["status"].as_str()?.to_owned())
}

async fn is_accepted(server: &ApiServer, name: &str, wanted: &str) {
    eventually(name, || accepted(server, name).filter(|status| status == wanted)).await;
}

fn patched(server: &ApiServer) -> Vec<String> {
    let name = |path: String| path.trim_end_matches("/status").rsplit('/').next().unwrap().to_owned();
    server.patches().into_iter().map(|asked| name(asked.path)).collect()
}

#[tokio::test]
async fn one_patch_for_each_object_that_differs_and_none_afterwards() {
    let server = ApiServer::start().await;
    let names: Vec<String> = (0..30).map(|n| format!("r{n:02}")).collect();
    for name in &names {
        route(&server, name, None);
    }
    let writing = Writing::new(&server, true);
    let all: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "True")).collect();
    writing.report(of_routes(&all));
    for name in &names {
        is_accepted(&server, name, "True").await;
    }
    // the same again, a change that is nobody's business, and one real change
    writing.report(of_routes(&all));
    server.apply(Kind::ConfigMap, "n", "m", json!({}));
    let mut changed = all.clone();
    changed[7].1 = "False";
    writing.report(of_routes(&changed));
    is_accepted(&server, "r07", "False").await;
    // a last object: whatever was due before it has been asked for by then
    route(&server, "z", None);
    changed.push(("z", "True"));
    writing.report(of_routes(&changed));
    is_accepted(&server, "z", "True").await;
    let mut patched = patched(&server);
    assert_eq!(patched.len(), 30 + 1 + 1, "{patched:?}");
    patched.sort();
    patched.dedup();
    assert_eq!(patched.len(), 31);
    eventually("counted", || writing.counted("written").filter(|count| count == "32")).await;
}

#[tokio::test]
async fn what_others_wrote_stays_as_it_is() {
    let server = ApiServer::start().await;
    let foreign = json!({"parentRef": {"name": "g", "odd": [null, 1.50]}, "controllerName": "other.example/c",
        "conditions": [{"type": "Accepted", "status": "Unknown", "lastTransitionTime": "2020-01-01T00:00:00Z"}]});
    let own = json!({"type": "example.com/Seen", "status": "True", "lastTransitionTime": "2021-01-01T00:00:00Z"});
    let written = json!({"parents": [foreign], "unknown": {"z": 1, "a": {"b": []}}});
    route(&server, "r", Some(written.clone()));
    server.apply(
        Kind::Gateway,
        "n",
        "g",
        json!({
            "spec": {"gatewayClassName": "c", "listeners": []},
            "status": {"conditions": [own], "future": {"x": [1, {"y": true}]}},
        }),
    );
    let writing = Writing::new(&server, true);
    let mut statuses = of_routes(&[("r", "True")]);
    let conditions = vec![condition("Accepted", "True")];
    let status = GatewayStatus { addresses: vec![], conditions, listeners: vec![], attached_listener_sets: None };
    statuses.gateways.insert(ObjectKey::new("n", "g"), status);
    writing.report(statuses);
    is_accepted(&server, "r", "True").await;
    let status = server.find(Kind::HttpRoute, "n", "r").unwrap()["status"].take();
    assert_eq!(status["parents"].as_array().unwrap().len(), 2);
    assert_eq!(status["parents"][0].to_string(), foreign.to_string());
    assert_eq!(status["unknown"].to_string(), written["unknown"].to_string());
    let gateway = eventually("the gateway", || {
        server.find(Kind::Gateway, "n", "g").filter(|gateway| !gateway["status"]["conditions"][1].is_null())
    })
    .await;
    assert_eq!(gateway["status"]["conditions"][0].to_string(), own.to_string());
    assert_eq!(gateway["status"]["future"].to_string(), json!({"x": [1, {"y": true}]}).to_string());
    assert_eq!(gateway["status"]["conditions"][1]["type"], "Accepted");
    // a route that is ours no longer loses our entry alone
    writing.report(Statuses::default());
    eventually("the entry is gone", || accepted(&server, "r").is_none().then_some(())).await;
    let status = server.find(Kind::HttpRoute, "n", "r").unwrap()["status"].take();
    assert_eq!(status.to_string(), written.to_string());
}

#[tokio::test]
async fn a_status_that_the_server_keeps_only_in_part_is_written_once() {
    let server = ApiServer::start().await;
    server.prune("attachedListenerSets");
    server.prune("addresses.routability");
    server.apply(Kind::Gateway, "n", "g", json!({"spec": {"gatewayClassName": "c", "listeners": []}}));
    let writing = Writing::new(&server, true);
    let told = |accepted: &str| {
        let mut statuses = of_routes(&[("z", "True")]);
        let conditions = vec![condition("Accepted", accepted)];
        let address = json!({"value": "10.0.0.1", "routability": "Cluster"});
        let addresses = vec![serde_json::from_value(address).unwrap()];
        let status = GatewayStatus { addresses, conditions, listeners: vec![], attached_listener_sets: Some(1) };
        statuses.gateways.insert(ObjectKey::new("n", "g"), status);
        statuses
    };
    let has = |wanted: &str| {
        let gateway = server.find(Kind::Gateway, "n", "g").unwrap();
        (gateway["status"]["conditions"][0]["status"] == wanted).then_some(())
    };
    writing.report(told("True"));
    eventually("True", || has("True")).await;
    writing.report(told("False"));
    eventually("False", || has("False")).await;
    route(&server, "z", None);
    writing.report(told("False"));
    is_accepted(&server, "z", "True").await;
    assert_eq!(patched(&server), ["g", "g", "z"]);
}

/// A route as it is in the server, or (with `version`) was.
fn sighting(server: &ApiServer, name: &str, version: Option<&str>) -> Sighting {
    let object = server.find(Kind::HttpRoute, "n", name).unwrap();
    let mut seen =
        Seen::new(&serde_json::from_value(object["metadata"].clone()).unwrap(), "v1", object.get("status").cloned());
    if let Some(version) = version {
        seen.resource_version = version.to_owned();
    }
    (route_ref(name), Some(seen))
}

#[tokio::test]
async fn a_conflict_waits_for_the_next_sighting() {
    let server = ApiServer::start().await;
    let (seen, sightings) = mpsc::channel(8);
    let writing = Writing::fed(&server, true, sightings, CancellationToken::new());
    let old = route(&server, "r", None);
    let stale = sighting(&server, "r", Some(&old));
    route(&server, "r", Some(json!({"unknown": 1})));
    writing.report(of_routes(&[("r", "True")]));
    seen.send(vec![stale]).await.unwrap();
    eventually("a conflict", || writing.counted("conflict")).await;
    assert_eq!(accepted(&server, "r"), None);
    seen.send(vec![sighting(&server, "r", None)]).await.unwrap();
    is_accepted(&server, "r", "True").await;
    assert_eq!(patched(&server).len(), 2, "no try over the version that was refused");
    assert_eq!(server.find(Kind::HttpRoute, "n", "r").unwrap()["status"]["unknown"], 1);
}

#[tokio::test]
async fn a_sighting_that_comes_after_a_newer_answer_is_not_believed() {
    let server = ApiServer::start().await;
    let (seen, sightings) = mpsc::channel(8);
    let writing = Writing::fed(&server, true, sightings, CancellationToken::new());
    let old = route(&server, "r", None);
    let stale = sighting(&server, "r", Some(&old));
    writing.report(of_routes(&[("r", "True"), ("z", "True")]));
    seen.send(vec![stale.clone()]).await.unwrap();
    eventually("the answer", || writing.counted("written")).await;
    route(&server, "z", None);
    writing.report(of_routes(&[("r", "True"), ("z", "True")]));
    seen.send(vec![stale, sighting(&server, "z", None)]).await.unwrap();
    is_accepted(&server, "z", "True").await;
    assert_eq!(patched(&server), ["r", "z"]);
}

#[tokio::test]
async fn an_object_that_is_gone_is_forgotten_and_a_fault_is_tried_again() {
    let server = ApiServer::start().await;
    let (seen, sightings) = mpsc::channel(8);
    let writing = Writing::fed(&server, true, sightings, CancellationToken::new());
    route(&server, "gone", None);
    let gone = sighting(&server, "gone", None);
    writing.report(of_routes(&[("gone", "True")]));
    server.delete(Kind::HttpRoute, "n", "gone");
    seen.send(vec![gone]).await.unwrap();
    eventually("not found", || writing.counted("gone")).await;
    route(&server, "r", None);
    writing.report(of_routes(&[("gone", "False"), ("r", "True")]));
    server.refuse(&[StatusCode::BAD_REQUEST]);
    seen.send(vec![sighting(&server, "r", None)]).await.unwrap();
    is_accepted(&server, "r", "True").await;
    assert_eq!(patched(&server), ["gone", "r", "r"]);
    assert_eq!(writing.counted("failed").unwrap(), "1");
}

#[tokio::test]
async fn first_time_statuses_go_first() {
    let server = ApiServer::start().await;
    let names: Vec<String> = (0..40).map(|n| format!("r{n:02}")).collect();
    let foreign = json!({"parentRef": {"name": "g"}, "controllerName": "other.example/c",
        "conditions": [{"type": "Accepted", "status": "True", "observedGeneration": 3}]});
    for (n, name) in names.iter().enumerate() {
        let ours = json!({"parentRef": {"name": "g"}, "controllerName": OURS, "conditions": []});
        // the last eight are new to us, whatever others say of them
        let status = if n < 32 { json!({"parents": [ours]}) } else { json!({"parents": [foreign]}) };
        route(&server, name, Some(status));
    }
    let (seen, sightings) = mpsc::channel(1);
    let writing = Writing::fed(&server, false, sightings, CancellationToken::new());
    let all: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "True")).collect();
    writing.report(of_routes(&all));
    seen.send(names.iter().map(|name| sighting(&server, name, None)).collect()).await.unwrap();
    for _ in 0..2 {
        seen.send(vec![]).await.unwrap(); // there is room for one: the first is taken up when the second is sent
    }
    writing.leading.send_replace(true);
    for name in &names {
        is_accepted(&server, name, "True").await;
    }
    let mut first: Vec<String> = patched(&server).into_iter().take(8).collect();
    first.sort();
    assert_eq!(first, names[32..]);
}

fn class(server: &ApiServer, finalizers: &[&str]) {
    let object = json!({"metadata": {"finalizers": finalizers}, "spec": {"controllerName": OURS}});
    server.apply(Kind::GatewayClass, "", "c", object);
}

fn gateway(server: &ApiServer, name: &str, class: &str) {
    server.apply(Kind::Gateway, "n", name, json!({"spec": {"gatewayClassName": class, "listeners": []}}));
}

fn of_class(accepted: &str) -> Statuses {
    let mut statuses = Statuses::default();
    let status = GatewayClassStatus { conditions: vec![condition("Accepted", accepted)], ..Default::default() };
    statuses.gateway_classes.insert(ObjectKey::new("", "c"), status);
    statuses
}

fn finalizers(server: &ApiServer) -> Option<Vec<String>> {
    let class = server.find(Kind::GatewayClass, "", "c")?;
    let all = class["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    Some(all.iter().map(|finalizer| finalizer.as_str().unwrap().to_owned()).collect())
}

const EXISTS: &str = "gateway-exists-finalizer.gateway.networking.k8s.io";

#[tokio::test]
async fn a_class_is_held_as_long_as_a_gateway_uses_it_and_not_longer() {
    let server = ApiServer::start().await;
    class(&server, &["example.com/own"]);
    gateway(&server, "other", "another-class");
    let writing = Writing::new(&server, true);
    writing.report(of_class("True"));
    let has = |wanted: &[&str]| finalizers(&server).filter(|all| *all == wanted).map(|_| ());
    let is_written = || server.find(Kind::GatewayClass, "", "c")?["status"]["conditions"].get(0).map(|_| ());
    eventually("the status", is_written).await;
    gateway(&server, "g", "c");
    writing.report(of_class("True"));
    eventually("held", || has(&["example.com/own", EXISTS])).await;
    server.delete(Kind::GatewayClass, "", "c");
    assert!(finalizers(&server).is_some(), "its deletion waits");
    server.delete(Kind::Gateway, "n", "g");
    writing.report(of_class("True"));
    eventually("released, and the other's left alone", || has(&["example.com/own"])).await;
    // and nothing is put on a class that is being deleted
    gateway(&server, "g", "c");
    let mut statuses = of_class("True");
    statuses.routes = of_routes(&[("z", "True")]).routes;
    route(&server, "z", None);
    writing.report(statuses);
    is_accepted(&server, "z", "True").await;
    assert_eq!(finalizers(&server).unwrap(), ["example.com/own"]);
    let of_the_class = patched(&server).iter().filter(|name| *name == "c").count();
    // one more at most, over the version before its deletion began
    assert!((3..=4).contains(&of_the_class), "a status, a finalizer put, a finalizer taken: {of_the_class}");
}

#[tokio::test]
async fn a_class_without_other_finalizers_goes_with_the_last_gateway() {
    let server = ApiServer::start().await;
    class(&server, &[]);
    gateway(&server, "g", "c");
    let writing = Writing::new(&server, true);
    writing.report(of_class("True"));
    eventually("held", || finalizers(&server).filter(|all| *all == [EXISTS])).await;
    server.delete(Kind::GatewayClass, "", "c");
    server.delete(Kind::Gateway, "n", "g");
    writing.report(of_class("True"));
    eventually("gone", || finalizers(&server).is_none().then_some(())).await;
}

#[tokio::test]
async fn a_class_that_is_not_accepted_is_not_held() {
    let server = ApiServer::start().await;
    class(&server, &[]);
    gateway(&server, "g", "c");
    route(&server, "z", None);
    let writing = Writing::new(&server, true);
    let mut statuses = of_class("False");
    statuses.routes = of_routes(&[("z", "True")]).routes;
    writing.report(statuses);
    is_accepted(&server, "z", "True").await;
    let is_written = || server.find(Kind::GatewayClass, "", "c")?["status"]["conditions"].get(0).map(|_| ());
    eventually("the status", is_written).await;
    assert_eq!(finalizers(&server).unwrap(), [""; 0]);
}

#[tokio::test]
async fn an_object_that_was_recreated_does_not_get_the_status_of_the_one_before() {
    let server = ApiServer::start().await;
    let (seen, sightings) = mpsc::channel(8);
    let writing = Writing::fed(&server, true, sightings, CancellationToken::new());
    route(&server, "r", None);
    seen.send(vec![sighting(&server, "r", None)]).await.unwrap();
    writing.report(of_routes(&[("r", "True")]));
    is_accepted(&server, "r", "True").await;
    server.delete(Kind::HttpRoute, "n", "r");
    route(&server, "r", None);
    route(&server, "z", None);
    // the new one is sighted before it was judged, with and without word of the end of the old one
    for gone in [false, true] {
        if gone {
            seen.send(vec![(route_ref("r"), None)]).await.unwrap();
        }
        seen.send(vec![sighting(&server, "r", None)]).await.unwrap();
    }
    for _ in 0..8 {
        seen.send(vec![]).await.unwrap();
    }
    seen.send(vec![sighting(&server, "z", None)]).await.unwrap();
    assert_eq!(patched(&server), ["r"], "the verdict is of another object");
    writing.report(of_routes(&[("r", "False"), ("z", "True")]));
    is_accepted(&server, "z", "True").await;
    is_accepted(&server, "r", "False").await;
}

#[tokio::test]
async fn a_version_that_was_not_judged_yet_keeps_the_status_that_it_has() {
    let server = ApiServer::start().await;
    let (seen, sightings) = mpsc::channel(8);
    let writing = Writing::fed(&server, true, sightings, CancellationToken::new());
    let newer = json!({"parents": [{"parentRef": {"name": "g"}, "controllerName": OURS, "conditions":
        [{"type": "Accepted", "status": "False", "observedGeneration": 2}]}]});
    route(&server, "r", None);
    writing.report(of_routes(&[("r", "True")]));
    // a leader before us judged its second generation; our translation has the first
    let object = json!({"spec": {"parentRefs": [{"name": "g"}], "rules": []}, "status": newer});
    server.apply(Kind::HttpRoute, "n", "r", object);
    seen.send(vec![sighting(&server, "r", None)]).await.unwrap();
    for _ in 0..10 {
        seen.send(vec![]).await.unwrap();
    }
    assert!(patched(&server).is_empty());
    writing.report(of_routes(&[("r", "True")]));
    is_accepted(&server, "r", "True").await;
}
