//! The loop. Events come in; a snapshot and a report go out. One task, no timers.
//!
//! ```text
//!            ┌────────────── idle: recv ──────────────┐
//!            ▼                                         │
//!   drain what else is waiting (busy: one batch) ─▶ apply to Resources ─▶ what changed?
//!            ▲                                         │
//!            │        nothing ◀────────────────────────┤
//!            │        endpoints ─▶ their cells         │  (routes are not touched)
//!            └─────── anything else ─▶ translate ─▶ publish snapshot, then the report
//! ```
//!
//! It does not know where events come from, who serves a snapshot, who writes a status, or who keeps its objects.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tracing::{debug, info};

use crate::lifecycle::ReadyTask;
use crate::snapshot::{Publisher, UpstreamId};
use crate::store::{Batch, Change, Freshness, Resources};
use crate::translate::{self, Finding, Infrastructure, Judged, Origin, References, Settings, Statuses, Translation};

/// Batches that may wait; a source that is faster than the translator waits for it.
pub const QUEUED_BATCHES: usize = 1024;

/// What was found out in the last translation, for `/config`, metrics and the status writer.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Counts translations; 0 before the first.
    pub generation: u64,
    /// The status of every object of ours.
    pub statuses: Arc<Statuses>,
    /// Which objects they are about.
    pub judged: Arc<Judged>,
    /// Problems and notes.
    pub findings: Arc<Vec<Finding>>,
    /// Time the translation took.
    pub took: Duration,
    /// Objects held, by kind.
    pub objects: Vec<(&'static str, usize)>,
    /// What is wished for around the data plane.
    pub infrastructure: Arc<Infrastructure>,
    /// By uid of the Gateway, the generation that is served here.
    pub applied: Arc<BTreeMap<String, i64>>,
    /// Whose view of the world they are; nobody is told of a status that was made of any but the cluster's own.
    pub freshness: Freshness,
}

/// The objects, and what the last translation looked at.
#[derive(Debug, Default)]
pub struct Held {
    /// The objects.
    pub resources: Resources,
    /// What was looked at.
    pub references: References,
}

/// Owns the objects and the publishing end of the snapshot.
#[derive(Debug)]
pub struct Controller {
    /// Shown to who keeps them; told of when they were translated, or endpoints moved.
    held: watch::Sender<Held>,
    settings: Settings,
    publisher: Publisher,
    report: watch::Sender<Report>,
    first: Option<ReadyTask>,
}

impl Controller {
    /// A controller that holds nothing yet. `first` is done once the first snapshot is published.
    #[must_use]
    pub fn new(settings: Settings, publisher: Publisher, first: ReadyTask) -> (Controller, watch::Receiver<Report>) {
        let (report, receiver) = watch::channel(Report::default());
        let held = watch::Sender::default();
        (Controller { held, settings, publisher, report, first: Some(first) }, receiver)
    }

    /// The objects, for who keeps them.
    #[must_use]
    pub fn held(&self) -> watch::Receiver<Held> {
        self.held.subscribe()
    }

    /// Runs until every sender of `events` is gone.
    pub async fn run(mut self, mut events: mpsc::Receiver<Batch>) {
        let mut batches = Vec::new();
        while events.recv_many(&mut batches, QUEUED_BATCHES).await > 0 {
            self.apply(batches.drain(..));
        }
    }

    fn apply(&mut self, batches: impl Iterator<Item = Batch>) {
        let mut change = Change::default();
        self.held.send_if_modified(|held| {
            for event in batches.flatten() {
                held.resources.apply(event, &mut change);
            }
            false // nobody is told before it is served
        });
        // facts may come before any object: a cluster is not served as an empty one before it is known to be
        if self.settings.origin == Origin::Kubernetes && self.held.borrow().resources.freshness == Freshness::Awaited {
            return;
        }
        let referred = change.objects.iter().any(|object| self.held.borrow().references.has(object));
        if change.routes || referred || self.first.is_some() {
            self.translate();
        } else if !change.services.is_empty() {
            self.move_endpoints(&change);
        }
    }

    fn translate(&mut self) {
        let started = Instant::now();
        let Translation { snapshot, statuses, findings, references, judged, infrastructure, applied } =
            translate::translate(&self.held.borrow().resources, &self.settings);
        let (rules, upstreams) = (snapshot.rules.len(), snapshot.upstreams.len());
        self.held.send_modify(|held| held.references = references);
        self.publisher.publish(snapshot);
        if let Some(first) = self.first.take() {
            first.done();
        }
        let took = started.elapsed();
        let generation = self.report.borrow().generation + 1;
        info!(generation, rules, upstreams, ?took, "snapshot published");
        self.report.send_replace(Report {
            generation,
            statuses: Arc::new(statuses),
            judged: Arc::new(judged),
            findings: Arc::new(findings),
            took,
            objects: self.held.borrow().resources.counts(),
            freshness: self.held.borrow().resources.freshness,
            infrastructure: Arc::new(infrastructure),
            applied: Arc::new(applied),
        });
    }

    fn move_endpoints(&self, change: &Change) {
        let moved: Vec<UpstreamId> =
            self.publisher.upstreams().filter(|id| change.moved(&id.namespace, &id.service)).cloned().collect();
        if !moved.is_empty() {
            self.held.send_modify(|_| ());
        }
        for id in moved {
            let set = translate::endpoints(&self.held.borrow().resources, &id);
            debug!(
                namespace = id.namespace,
                service = id.service,
                port = id.port,
                endpoints = set.endpoints.len(),
                "endpoints moved"
            );
            self.publisher.publish_endpoints(&id, set);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::api::{Kind, Object, ObjectKey, ObjectRef};
    use crate::lifecycle::Readiness;
    use crate::snapshot::Reader;
    use crate::store::{BindState, Event};
    use crate::translate::{Binds, Exposure, Fleet};

    struct World {
        controller: Controller,
        report: watch::Receiver<Report>,
        reader: Reader,
    }

    impl World {
        /// A Gateway and a route to the Service `web`, served.
        fn new() -> World {
            let settings = Settings {
                controller_name: "c/c".to_owned(),
                origin: Origin::Files,
                binds: Binds::Observed,
                port_offset: 0,
                exposure: Exposure::Host,
                publish_addresses: Vec::new(),
                fleet: Fleet::Alone,
            };
            let (publisher, reader) = Publisher::new();
            let (controller, report) = Controller::new(settings, publisher, Readiness::new().task("first"));
            let mut world = World { controller, report, reader };
            world.batches(vec![vec![
                apply(Kind::GatewayClass, "c", &json!({"controllerName": "c/c"})),
                apply(Kind::Gateway, "gw", &json!({"gatewayClassName": "c", "listeners": [listener()]})),
                route("/one"),
                service(),
            ]]);
            assert_eq!(world.generation(), 1);
            world
        }

        fn batches(&mut self, batches: Vec<Batch>) {
            self.controller.apply(batches.into_iter());
        }

        fn generation(&self) -> u64 {
            self.report.borrow().generation
        }

        fn endpoints(&self) -> usize {
            self.reader.current().upstreams.iter().map(|upstream| upstream.endpoints.load().endpoints.len()).sum()
        }
    }

    fn listener() -> Value {
        json!({"name": "http", "port": 80, "protocol": "HTTP"})
    }

    fn apply(kind: Kind, name: &str, spec: &Value) -> Event {
        let namespace = kind.namespaced().then_some("n");
        let value = json!({"metadata": {"name": name, "namespace": namespace}, "spec": spec});
        Event::Apply(Object::from_value(kind, value).unwrap())
    }

    fn route(path: &str) -> Event {
        let rule = json!({"matches": [{"path": {"value": path}}], "backendRefs": [{"name": "web", "port": 80}]});
        apply(Kind::HttpRoute, "route", &json!({"parentRefs": [{"name": "gw"}], "rules": [rule]}))
    }

    fn service() -> Event {
        apply(Kind::Service, "web", &json!({"ports": [{"port": 80}]}))
    }

    fn slice(name: &str, service: &str, address: &str) -> Event {
        let value = json!({
            "metadata": {"name": name, "namespace": "n", "labels": {"kubernetes.io/service-name": service}},
            "addressType": "IPv4",
            "ports": [{"name": "", "port": 8080}],
            "endpoints": [{"addresses": [address]}],
        });
        Event::Apply(Object::from_value(Kind::EndpointSlice, value).unwrap())
    }

    fn delete(kind: Kind, name: &str) -> Event {
        Event::Delete(ObjectRef { kind, key: ObjectKey::new("n", name) })
    }

    #[test]
    fn a_fact_that_comes_before_the_objects_of_a_cluster_is_not_taken_for_an_empty_cluster() {
        let mut world = World::new();
        world.controller.settings.origin = Origin::Kubernetes;
        world.batches(vec![vec![Event::HostAddresses(vec!["10.0.0.1".to_owned()]), route("/two")]]);
        assert_eq!(world.generation(), 1);
        world.batches(vec![vec![Event::Freshness(Freshness::Saved)]]);
        assert_eq!((world.generation(), world.report.borrow().freshness), (2, Freshness::Saved));
        world.batches(vec![vec![Event::Freshness(Freshness::Live)]]);
        assert_eq!((world.generation(), world.report.borrow().freshness), (3, Freshness::Live));
    }

    #[test]
    fn who_keeps_objects_is_told_when_what_is_served_changed_and_shown_what_was_looked_at() {
        let mut world = World::new();
        let mut held = world.controller.held();
        let kept = |held: &mut watch::Receiver<Held>| -> Option<Vec<String>> {
            held.has_changed().unwrap().then(|| {
                let held = held.borrow_and_update();
                held.references
                    .looked_at(&held.resources)
                    .iter()
                    .map(|object| object.object_ref().to_string())
                    .collect()
            })
        };
        world.batches(vec![vec![slice("other", "nobody", "10.0.0.9")]]);
        assert_eq!(kept(&mut held), None, "nobody refers to it");
        world.batches(vec![vec![slice("s", "web", "10.0.0.1")]]);
        let all = ["GatewayClass c", "Gateway n/gw", "HTTPRoute n/route", "Service n/web", "EndpointSlice n/s"];
        assert_eq!(kept(&mut held).unwrap(), all);
        world.batches(vec![vec![route("/two"), slice("s", "web", "10.0.0.1")]]);
        assert!(kept(&mut held).is_some());
    }

    #[test]
    fn endpoints_move_under_the_snapshot_that_is_there() {
        let mut world = World::new();
        let before = world.reader.current();
        world.batches(vec![vec![slice("s", "web", "10.0.0.1")], vec![slice("t", "web", "10.0.0.2")]]);
        assert_eq!((world.generation(), world.endpoints()), (1, 2));
        assert!(Arc::ptr_eq(&before, &world.reader.current()), "routes are not touched");
        world.batches(vec![vec![slice("s", "other", "10.0.0.1")]]);
        assert_eq!((world.generation(), world.endpoints()), (1, 1), "a slice that moves away leaves");
        world.batches(vec![vec![delete(Kind::EndpointSlice, "t"), slice("s", "web", "10.0.0.1")]]);
        assert_eq!((world.generation(), world.endpoints()), (1, 1), "and comes back");
    }

    #[test]
    fn a_batch_of_endpoints_and_routes_is_one_translation_with_both() {
        let mut world = World::new();
        world.batches(vec![vec![slice("s", "web", "10.0.0.1"), route("/two"), slice("t", "web", "10.0.0.2")]]);
        assert_eq!((world.generation(), world.endpoints()), (2, 2));
    }

    #[test]
    fn a_service_that_goes_and_comes_back_is_served_again() {
        let mut world = World::new();
        world.batches(vec![vec![slice("s", "web", "10.0.0.1")]]);
        world.batches(vec![vec![delete(Kind::Service, "web")]]);
        assert!(world.reader.current().upstreams.is_empty());
        world.batches(vec![vec![slice("s", "web", "10.0.0.2")]]);
        assert_eq!(world.generation(), 2, "nothing forwards to it");
        world.batches(vec![vec![service()]]);
        let current = world.reader.current();
        let found = current.upstreams.first().unwrap().endpoints.load().endpoints.clone();
        assert_eq!(found.iter().map(|e| e.address.to_string()).collect::<Vec<_>>(), ["10.0.0.2:8080"]);
    }

    #[test]
    fn what_changes_nothing_translates_nothing() {
        let mut world = World::new();
        world.batches(vec![vec![route("/one"), service(), delete(Kind::Secret, "never-seen")], vec![]]);
        world.batches(vec![vec![Event::Binds(BTreeMap::new())]]);
        assert_eq!(world.generation(), 1);
    }

    #[test]
    fn what_nobody_refers_to_translates_nothing() {
        let mut world = World::new();
        let secret = json!({"metadata": {"name": "s", "namespace": "n"}, "type": "Opaque"});
        let other = json!({"metadata": {"name": "other", "namespace": "n"}, "spec": {"ports": [{"port": 80}]}});
        world.batches(vec![vec![
            Event::Apply(Object::from_value(Kind::Secret, secret).unwrap()),
            Event::Apply(Object::from_value(Kind::Service, other).unwrap()),
            Event::Apply(Object::from_value(Kind::Namespace, json!({"metadata": {"name": "n"}})).unwrap()),
        ]]);
        assert_eq!(world.generation(), 1);
        world.batches(vec![vec![delete(Kind::Service, "web")]]);
        assert_eq!(world.generation(), 2, "a route refers to it");
        world.batches(vec![vec![service()]]);
        assert_eq!(world.generation(), 3, "also while it is not there");
    }

    #[test]
    fn what_became_of_the_binds_reaches_the_report() {
        let mut world = World::new();
        let programmed = |world: &World| {
            let statuses = Arc::clone(&world.report.borrow().statuses);
            let gateway = &statuses.gateways[&ObjectKey::new("n", "gw")];
            gateway.conditions.iter().find(|c| c.kind == "Programmed").unwrap().reason.clone()
        };
        assert_eq!(programmed(&world), "Pending");
        world.batches(vec![vec![Event::Binds(BTreeMap::from([("[::]:80".parse().unwrap(), BindState::Bound)]))]]);
        assert_eq!((world.generation(), programmed(&world).as_str()), (2, "Programmed"));
    }

    #[test]
    fn ten_thousand_events_are_one_move() {
        let mut world = World::new();
        let many = (0u32..10_000).map(|n| slice(&format!("s{n}"), "web", &format!("10.1.{}.{}", n / 256, n % 256)));
        world.batches(vec![many.collect()]);
        assert_eq!((world.generation(), world.endpoints()), (1, 10_000));
    }
}
