//! What the controller is told of a cluster: `source::kubernetes` against an API server of our own.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/api_server/mod.rs"]
mod api_server;

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};
use transom::api::{Kind, Object, Sighting};
use transom::source::kubernetes::{Following, Selectors, follow};
use transom::store::{Batch, Event};

use api_server::{ApiServer, Asked, Cut, eventually};

/// A cluster that is followed.
struct Followed {
    batches: mpsc::Receiver<Batch>,
    sightings: mpsc::Receiver<Vec<Sighting>>,
    _stop: DropGuard,
}

impl Followed {
    fn new(server: &ApiServer, selectors: Selectors) -> Followed {
        Followed::paced(server, selectors, Duration::from_millis(10))
    }

    fn paced(server: &ApiServer, selectors: Selectors, pause: Duration) -> Followed {
        let (events, batches) = mpsc::channel(64);
        let (seen, sightings) = mpsc::channel(1024);
        let stop = CancellationToken::new();
        let following = Following {
            selectors,
            look_again: Duration::from_millis(20),
            silence: Duration::from_millis(500),
            pause,
            ..Following::default()
        };
        tokio::spawn(follow(server.client(), following, events, seen, stop.clone()));
        Followed { batches, sightings, _stop: stop.drop_guard() }
    }

    /// The next batch, as `+Kind namespace/name` and `-Kind namespace/name`, sorted.
    async fn next(&mut self) -> Vec<String> {
        let batch = tokio::time::timeout(Duration::from_secs(10), self.batches.recv()).await;
        let mut told: Vec<String> = batch.expect("a batch in time").expect("it goes on").iter().map(written).collect();
        told.sort();
        told
    }
}

fn written(event: &Event) -> String {
    match event {
        Event::Apply(object) => format!("+{} {}/{}", object.kind().name(), object.key().namespace, object.key().name),
        Event::Delete(object) => format!("-{} {}/{}", object.kind.name(), object.key.namespace, object.key.name),
        _ => panic!("a source tells of objects"),
    }
}

fn map(server: &ApiServer, name: &str, value: &str) {
    server.apply(Kind::ConfigMap, "n", name, json!({"data": {"a": value}}));
}

fn route(server: &ApiServer, name: &str) {
    server.apply(Kind::HttpRoute, "n", name, json!({"spec": {"parentRefs": [{"name": "g"}]}}));
}

fn watches(server: &ApiServer, kind: Kind) -> Vec<Asked> {
    let ours = |asked: &Asked| asked.path.ends_with(kind.plural()) && asked.query.contains("watch=");
    server.asked().into_iter().filter(ours).collect()
}

#[tokio::test]
async fn nothing_is_told_before_every_watch_is_in_step_and_then_everything_at_once() {
    let server = ApiServer::start().await;
    map(&server, "a", "1");
    route(&server, "r");
    server.apply(Kind::Namespace, "", "n", json!({}));
    server.hold(Kind::EndpointSlice);
    let mut followed = Followed::new(&server, Selectors::default());
    // statuses go ahead: once the route is sighted its watch is in step, and a change of a map comes after its list
    let seen = tokio::time::timeout(Duration::from_secs(10), followed.sightings.recv()).await.unwrap().unwrap();
    assert_eq!(seen[0].0.key.name, "r");
    eventually("every watch but one", || {
        Kind::ALL.iter().all(|kind| !watches(&server, *kind).is_empty()).then_some(())
    })
    .await;
    map(&server, "b", "1");
    server.release(Kind::EndpointSlice);
    let first = followed.next().await;
    assert!(first.starts_with(&["+ConfigMap n/a".into()]), "{first:?}");
    assert!(first.contains(&"+HTTPRoute n/r".into()) && first.contains(&"+Namespace /n".into()), "{first:?}");
    if !first.contains(&"+ConfigMap n/b".into()) {
        assert_eq!(followed.next().await, ["+ConfigMap n/b"]);
    }
}

#[tokio::test]
async fn a_watch_that_stays_behind_keeps_everything_back() {
    let server = ApiServer::start().await;
    map(&server, "a", "1");
    server.hold(Kind::Secret);
    let mut followed = Followed::new(&server, Selectors::default());
    eventually("all other watches", || Kind::ALL.iter().all(|kind| !watches(&server, *kind).is_empty()).then_some(()))
        .await;
    // a second round trip of every other watch: by then their first lists have long been taken up
    for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Secret) {
        let before = watches(&server, kind).len();
        server.cut(kind, Cut::Clean);
        eventually("watched again", || (watches(&server, kind).len() > before).then_some(())).await;
    }
    assert!(followed.batches.try_recv().is_err(), "a cluster without its Secrets was shown");
    server.release(Kind::Secret);
    assert_eq!(followed.next().await, ["+ConfigMap n/a"]);
}

#[tokio::test]
async fn an_object_that_comes_changes_and_goes_is_told_each_time() {
    let server = ApiServer::start().await;
    let mut followed = Followed::new(&server, Selectors::default());
    assert!(followed.next().await.is_empty(), "an empty cluster is told too");
    for value in ["1", "2"] {
        map(&server, "a", value);
        assert_eq!(followed.next().await, ["+ConfigMap n/a"]);
    }
    server.delete(Kind::ConfigMap, "n", "a");
    assert_eq!(followed.next().await, ["-ConfigMap n/a"]);
}

#[tokio::test]
async fn what_a_gateway_was_said_to_be_reaches_the_translator_and_no_other_status_does() {
    let server = ApiServer::start().await;
    let condition = json!({"type": "Programmed", "status": "True", "reason": "Programmed", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let gateway = json!({"spec": {"gatewayClassName": "c", "listeners": []}, "status": {"conditions": [condition]}});
    server.apply(Kind::Gateway, "n", "g", gateway);
    server.apply(Kind::HttpRoute, "n", "r", json!({"spec": {}, "status": {"parents": []}}));
    let mut followed = Followed::new(&server, Selectors::default());
    let batch = tokio::time::timeout(Duration::from_secs(10), followed.batches.recv()).await.unwrap().unwrap();
    let mut found = batch.into_iter().filter_map(|event| match event {
        Event::Apply(Object::Gateway(gateway)) => Some(gateway.status.unwrap().conditions[0].kind.clone()),
        Event::Apply(Object::HttpRoute(route)) => route.status.map(|_| "a route".to_owned()),
        _ => None,
    });
    assert_eq!((found.next().as_deref(), found.next()), (Some("Programmed"), None));
}

#[tokio::test]
async fn statuses_are_sighted_with_the_version_and_go_with_the_object() {
    let server = ApiServer::start().await;
    let mut followed = Followed::new(&server, Selectors::default());
    followed.next().await;
    let status = json!({"parents": [], "unknown": {"x": 1}});
    let version = server.apply(Kind::HttpRoute, "n", "r", json!({"spec": {}, "status": status}));
    let sighting = followed.sightings.recv().await.unwrap().remove(0);
    assert_eq!(followed.next().await, ["+HTTPRoute n/r"]);
    let seen = sighting.1.unwrap();
    assert_eq!((seen.resource_version, seen.version.as_str(), seen.status), (version, "v1", Some(status)));
    server.delete(Kind::HttpRoute, "n", "r");
    assert_eq!(followed.sightings.recv().await.unwrap(), [(sighting.0, None)]);
}

#[tokio::test]
async fn an_object_that_cannot_be_read_leaves_what_was_good_until_it_goes() {
    let server = ApiServer::start().await;
    route(&server, "r");
    let mut followed = Followed::new(&server, Selectors::default());
    assert_eq!(followed.next().await, ["+HTTPRoute n/r"]);
    server.apply(Kind::HttpRoute, "n", "r", json!({"spec": {"rules": "none"}}));
    route(&server, "s");
    assert_eq!(followed.next().await, ["+HTTPRoute n/s"], "nothing is told of r");
    server.cut(Kind::HttpRoute, Cut::Gone);
    assert_eq!(followed.next().await, ["+HTTPRoute n/s"], "nor by a list");
    server.delete(Kind::HttpRoute, "n", "r");
    assert_eq!(followed.next().await, ["-HTTPRoute n/r"]);
}

#[tokio::test]
async fn a_kind_without_crd_counts_as_empty_until_it_is_served() {
    let server = ApiServer::start().await;
    server.withdraw(Kind::TcpRoute);
    server.withdraw(Kind::UpstreamPolicy);
    map(&server, "a", "1");
    let mut followed = Followed::new(&server, Selectors::default());
    assert_eq!(followed.next().await, ["+ConfigMap n/a"]);
    server.apply(Kind::TcpRoute, "n", "t", json!({"spec": {"rules": [{"backendRefs": [{"name": "b", "port": 1}]}]}}));
    server.serve(Kind::TcpRoute, "v1alpha2");
    assert_eq!(followed.next().await, ["+TCPRoute n/t"]);
    let path = "/apis/gateway.networking.k8s.io/v1alpha2/tcproutes";
    assert_eq!(watches(&server, Kind::TcpRoute)[0].path, path, "in the version that is served");
}

#[tokio::test]
async fn a_crd_that_goes_takes_its_objects_along_and_may_come_back() {
    let server = ApiServer::start().await;
    route(&server, "r");
    map(&server, "a", "1");
    let mut followed = Followed::new(&server, Selectors::default());
    assert_eq!(followed.next().await, ["+ConfigMap n/a", "+HTTPRoute n/r"]);
    server.withdraw(Kind::HttpRoute);
    assert_eq!(followed.next().await, ["-HTTPRoute n/r"]);
    server.serve(Kind::HttpRoute, "v1");
    route(&server, "s");
    assert_eq!(followed.next().await, ["+HTTPRoute n/s"]);
}

#[tokio::test]
async fn a_server_without_streaming_lists_is_listed_in_pages() {
    let server = ApiServer::start().await;
    server.without_streaming_lists(2);
    for name in ["a", "b", "c", "d", "e"] {
        map(&server, name, "1");
    }
    let mut followed = Followed::new(&server, Selectors::default());
    let all = ["+ConfigMap n/a", "+ConfigMap n/b", "+ConfigMap n/c", "+ConfigMap n/d", "+ConfigMap n/e"];
    assert_eq!(followed.next().await, all);
    let lists = server.asked().into_iter().filter(|asked| {
        asked.path == "/api/v1/configmaps" && !asked.query.contains("watch=") && asked.query.contains("limit=")
    });
    assert_eq!(lists.count(), 3);
    map(&server, "f", "1");
    assert_eq!(followed.next().await, ["+ConfigMap n/f"]);
    server.cut(Kind::ConfigMap, Cut::Gone);
    assert_eq!(followed.next().await.len(), 6, "and again when it must be");
}

#[tokio::test]
async fn gone_leads_to_a_list_that_is_taken_over_as_a_whole() {
    let server = ApiServer::start().await;
    for name in ["a", "b"] {
        map(&server, name, "1");
    }
    let mut followed = Followed::new(&server, Selectors::default());
    followed.next().await;
    server.vanish(Kind::ConfigMap, "n", "a");
    server.cut(Kind::ConfigMap, Cut::Gone);
    assert_eq!(followed.next().await, ["+ConfigMap n/b", "-ConfigMap n/a"], "in one batch");
    map(&server, "c", "1");
    assert_eq!(followed.next().await, ["+ConfigMap n/c"]);
}

#[tokio::test]
async fn a_watch_that_is_cut_goes_on_from_where_it_was() {
    for how in [Cut::Clean, Cut::Torn] {
        let server = ApiServer::start().await;
        map(&server, "a", "1");
        let mut followed = Followed::new(&server, Selectors::default());
        followed.next().await;
        let version = server.apply(Kind::ConfigMap, "n", "b", json!({}));
        assert_eq!(followed.next().await, ["+ConfigMap n/b"]);
        server.hold(Kind::ConfigMap);
        server.cut(Kind::ConfigMap, how);
        map(&server, "c", "1");
        eventually("a second watch", || (watches(&server, Kind::ConfigMap).len() == 2).then_some(())).await;
        server.release(Kind::ConfigMap);
        assert_eq!(followed.next().await, ["+ConfigMap n/c"], "{how:?}: what was told is not told again");
        let again = watches(&server, Kind::ConfigMap).remove(1).query;
        assert!(!again.contains("sendInitialEvents"), "{again}");
        let from = format!("resourceVersion={version}");
        assert!(again.split('&').any(|parameter| parameter == from), "{how:?}: {again}, not {from}");
    }
}

#[tokio::test]
async fn a_server_that_fails_for_a_while_is_not_taken_for_an_empty_one() {
    let server = ApiServer::start().await;
    map(&server, "a", "1");
    let mut followed = Followed::new(&server, Selectors::default());
    followed.next().await;
    server.fail(Kind::ConfigMap, 3);
    server.cut(Kind::ConfigMap, Cut::Torn);
    map(&server, "b", "1");
    let next = followed.next().await;
    assert_eq!(next, ["+ConfigMap n/b"], "it goes on from where it was, with nothing deleted");
}

#[tokio::test]
async fn selectors_and_namespaces_are_asked_for() {
    let server = ApiServer::start().await;
    let selectors = Selectors {
        gateway_classes: Some("zone=dmz".into()),
        gateways: Some("team in (a,b)".into()),
        routes: Some("!internal".into()),
        namespaces: vec!["n".into(), "m".into()],
    };
    server.apply(Kind::ConfigMap, "elsewhere", "a", json!({}));
    map(&server, "b", "1");
    let mut followed = Followed::new(&server, selectors);
    assert_eq!(followed.next().await, ["+ConfigMap n/b"]);
    let queries = |kind: Kind| -> Vec<(String, String)> {
        let mut asked: Vec<_> = watches(&server, kind).into_iter().map(|asked| (asked.path, asked.query)).collect();
        asked.sort();
        asked
    };
    let has = |kind: Kind, parameter: &str| {
        let asked = queries(kind);
        assert!(asked.iter().all(|(_, query)| query.split('&').any(|p| p == parameter)), "{kind}: {asked:?}");
    };
    has(Kind::GatewayClass, "labelSelector=zone=dmz");
    has(Kind::Gateway, "labelSelector=team in (a,b)");
    for kind in [Kind::HttpRoute, Kind::GrpcRoute, Kind::TlsRoute, Kind::TcpRoute, Kind::UdpRoute] {
        has(kind, "labelSelector=!internal");
    }
    has(Kind::Secret, "fieldSelector=type!=helm.sh/release.v1,type!=kubernetes.io/service-account-token");
    assert!(queries(Kind::Service).iter().all(|(_, query)| !query.contains("Selector=")));
    let paths = |kind| queries(kind).into_iter().map(|(path, _)| path).collect::<Vec<_>>();
    assert_eq!(paths(Kind::Secret), ["/api/v1/namespaces/m/secrets", "/api/v1/namespaces/n/secrets"]);
    assert_eq!(paths(Kind::Namespace), ["/api/v1/namespaces"]);
    assert_eq!(paths(Kind::GatewayClass), ["/apis/gateway.networking.k8s.io/v1/gatewayclasses"]);
}

#[tokio::test]
async fn a_server_that_does_not_know_streaming_lists_comes_into_step_too() {
    let server = ApiServer::start().await;
    server.ignoring_streaming_lists();
    map(&server, "a", "1");
    let mut followed = Followed::new(&server, Selectors::default());
    assert_eq!(followed.next().await, ["+ConfigMap n/a"]);
    map(&server, "b", "1");
    assert_eq!(followed.next().await, ["+ConfigMap n/b"]);
    server.delete(Kind::ConfigMap, "n", "a");
    assert_eq!(followed.next().await, ["-ConfigMap n/a"]);
}

#[tokio::test]
async fn a_server_that_ends_watches_at_once_is_asked_with_pauses_and_nothing_is_missed() {
    let server = ApiServer::start().await;
    server.brief(Kind::ConfigMap);
    map(&server, "a", "1");
    let began = Instant::now();
    let pause = Duration::from_millis(50);
    let mut followed = Followed::paced(&server, Selectors::default(), pause);
    assert_eq!(followed.next().await, ["+ConfigMap n/a"]);
    for value in ["2", "3", "4"] {
        map(&server, "a", value);
        assert_eq!(followed.next().await, ["+ConfigMap n/a"]);
    }
    eventually("some watches", || (watches(&server, Kind::ConfigMap).len() > 10).then_some(())).await;
    let most = began.elapsed().as_millis() / pause.as_millis() + 1;
    let asked = watches(&server, Kind::ConfigMap).len();
    assert!(asked as u128 <= most, "{asked} watches, {most} at most");
}

#[tokio::test]
async fn a_server_that_neither_streams_nor_waits_comes_into_step() {
    let server = ApiServer::start().await;
    server.ignoring_streaming_lists();
    server.brief(Kind::ConfigMap);
    map(&server, "a", "1");
    let mut followed = Followed::new(&server, Selectors::default());
    assert_eq!(followed.next().await, ["+ConfigMap n/a"]);
    map(&server, "b", "1");
    assert_eq!(followed.next().await, ["+ConfigMap n/b"]);
}

#[tokio::test]
async fn what_leaves_a_selector_is_gone_and_what_enters_it_is_new() {
    let server = ApiServer::start().await;
    let labelled = |name: &str, team: &str| {
        let object = json!({"metadata": {"labels": {"team": team}}, "spec": {"parentRefs": [{"name": "g"}]}});
        server.apply(Kind::HttpRoute, "n", name, object)
    };
    labelled("a", "red");
    labelled("b", "blue");
    let selectors = Selectors { routes: Some("team in (red,green)".into()), ..Selectors::default() };
    let mut followed = Followed::new(&server, selectors);
    assert_eq!(followed.next().await, ["+HTTPRoute n/a"]);
    labelled("b", "green");
    assert_eq!(followed.next().await, ["+HTTPRoute n/b"]);
    labelled("a", "blue");
    assert_eq!(followed.next().await, ["-HTTPRoute n/a"]);
    labelled("a", "white"); // nobody's business
    labelled("b", "red");
    assert_eq!(followed.next().await, ["+HTTPRoute n/b"]);
    // statuses follow: the route that left has none of ours to be written any more
    let mut last = std::collections::BTreeMap::new();
    while let Ok(seen) = followed.sightings.try_recv() {
        last.extend(seen.into_iter().map(|(object, seen)| (object.key.name, seen.is_some())));
    }
    assert_eq!(last.into_iter().collect::<Vec<_>>(), [("a".into(), false), ("b".into(), true)]);
}

#[tokio::test]
async fn of_a_namespace_that_is_not_listed_nothing_is_seen() {
    let server = ApiServer::start().await;
    let selectors = Selectors { namespaces: vec!["n".into(), "m".into()], ..Selectors::default() };
    server.apply(Kind::ConfigMap, "m", "a", json!({}));
    let mut followed = Followed::new(&server, selectors);
    assert_eq!(followed.next().await, ["+ConfigMap m/a"]);
    server.apply(Kind::ConfigMap, "elsewhere", "a", json!({}));
    map(&server, "b", "1");
    assert_eq!(followed.next().await, ["+ConfigMap n/b"]);
    server.delete(Kind::ConfigMap, "elsewhere", "a");
    server.delete(Kind::ConfigMap, "m", "a");
    assert_eq!(followed.next().await, ["-ConfigMap m/a"]);
}

#[tokio::test]
async fn an_api_server_that_is_away_for_a_while_takes_nothing_with_it() {
    let server = ApiServer::start().await;
    map(&server, "a", "1");
    map(&server, "b", "1");
    let mut followed = Followed::new(&server, Selectors::default());
    followed.next().await;
    server.go_away().await;
    server.delete(Kind::ConfigMap, "n", "b");
    map(&server, "c", "1");
    server.come_back().await;
    let mut told = followed.next().await;
    if told.len() < 2 {
        told.extend(followed.next().await);
    }
    assert_eq!(told, ["-ConfigMap n/b", "+ConfigMap n/c"], "what changed meanwhile, in order, and nothing else");
}
