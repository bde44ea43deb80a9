//! Who leads: `status::lead` by a Lease in an API server of our own, and that only the leader writes.
//!
//! Terms are short and time is real: a paused clock would run through every deadline while a socket is waited for.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/api_server/mod.rs"]
mod api_server;

use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::Client;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use transom::api::{Condition, Kind, ObjectKey, ObjectRef, ParentRouteStatus, RouteStatus};
use transom::source::kubernetes::{Following, follow};
use transom::status::{Candidate, StatusWriter, Terms, Verdicts, lead};
use transom::telemetry::ClusterMetrics;
use transom::translate::{Judged, Statuses};

use api_server::{ApiServer, eventually};

/// A Lease says whole seconds: this is the shortest.
const TERMS: Terms =
    Terms { duration: Duration::from_secs(1), deadline: Duration::from_millis(600), every: Duration::from_millis(50) };

struct Running {
    leads: watch::Receiver<bool>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    fn start(client: Client, identity: &str) -> Running {
        let (leading, leads) = watch::channel(false);
        let stop = CancellationToken::new();
        let candidate = Candidate { namespace: "n".into(), name: "l".into(), identity: identity.into() };
        let task = tokio::spawn(lead(client, candidate, TERMS, leading, stop.clone()));
        Running { leads, stop, task }
    }

    async fn is_leader(&mut self) {
        let led = tokio::time::timeout(Duration::from_secs(10), self.leads.wait_for(|leads| *leads)).await;
        led.expect("in time").expect("it runs");
    }

    fn leads(&self) -> bool {
        *self.leads.borrow()
    }
}

/// A client whose requests go unanswered while the gate is shut.
fn gated(client: Client) -> (Client, watch::Sender<bool>) {
    let (gate, open) = watch::channel(true);
    let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
        let (client, mut open) = (client.clone(), open.clone());
        async move {
            let _ = open.wait_for(|open| *open).await;
            client.send(request).await
        }
    });
    (Client::new(service, "n"), gate)
}

fn spec(server: &ApiServer) -> Option<Value> {
    server.lease("n", "l").map(|mut lease| lease["spec"].take())
}

fn holder(server: &ApiServer) -> Option<String> {
    spec(server)?["holderIdentity"].as_str().map(str::to_owned)
}

#[tokio::test]
async fn a_free_lease_is_taken_and_renewed() {
    let server = ApiServer::start().await;
    let mut a = Running::start(server.client(), "a");
    a.is_leader().await;
    let first = spec(&server).unwrap();
    assert_eq!((&first["holderIdentity"], &first["leaseDurationSeconds"]), (&json!("a"), &json!(1)));
    assert_eq!(first["leaseTransitions"], 0);
    let renewed = eventually("renewed", || spec(&server).filter(|spec| spec["renewTime"] != first["renewTime"])).await;
    assert_eq!(renewed["acquireTime"], first["acquireTime"], "it is the same term");
    assert_eq!(renewed["leaseTransitions"], 0);
}

#[tokio::test]
async fn a_lease_that_is_given_back_is_taken_at_once() {
    let server = ApiServer::start().await;
    let mut a = Running::start(server.client(), "a");
    a.is_leader().await;
    a.stop.cancel();
    a.task.await.unwrap();
    assert_eq!((holder(&server), *a.leads.borrow()), (None, false));
    let asked = Instant::now();
    let mut b = Running::start(server.client(), "b");
    b.is_leader().await;
    assert!(asked.elapsed() < TERMS.duration, "nobody is waited for");
    let spec = spec(&server).unwrap();
    assert_eq!((&spec["holderIdentity"], &spec["leaseTransitions"]), (&json!("b"), &json!(1)));
}

#[tokio::test]
async fn the_lease_of_a_holder_that_died_is_taken_over_when_it_is_over_and_not_before() {
    let server = ApiServer::start().await;
    let mut a = Running::start(server.client(), "a");
    a.is_leader().await;
    let mut b = Running::start(server.client(), "b");
    eventually("a renews while b looks on", || spec(&server).filter(|s| s["renewTime"] != s["acquireTime"])).await;
    a.task.abort();
    let _ = a.task.await;
    let last = server.lease("n", "l").unwrap()["metadata"]["resourceVersion"].take();
    let died = Instant::now();
    b.is_leader().await;
    // b counts from when it saw the last renewal, at most one try before the end
    assert!(died.elapsed() + TERMS.every * 2 > TERMS.duration, "taken after {:?}", died.elapsed());
    assert_eq!((holder(&server).as_deref(), &spec(&server).unwrap()["leaseTransitions"]), (Some("b"), &json!(1)));
    assert_ne!(last, server.lease("n", "l").unwrap()["metadata"]["resourceVersion"]);
}

#[tokio::test]
async fn a_holder_that_cannot_renew_steps_down_before_another_steps_up() {
    let server = ApiServer::start().await;
    let (client, gate) = gated(server.client());
    let mut a = Running::start(client, "a");
    a.is_leader().await;
    let mut b = Running::start(server.client(), "b");
    gate.send_replace(false);
    let stepped_down = async { a.leads.wait_for(|leads| !*leads).await.map(|_| Instant::now()) };
    let stepped_up = async { b.leads.wait_for(|leads| *leads).await.map(|_| Instant::now()) };
    let (down, up) = tokio::join!(stepped_down, stepped_up);
    assert!(down.unwrap() < up.unwrap());
    // what was asked before comes late, and is refused: it was over an older version
    gate.send_replace(true);
    let before = spec(&server).unwrap()["renewTime"].clone();
    eventually("b goes on", || spec(&server).filter(|spec| spec["renewTime"] != before)).await;
    assert_eq!((holder(&server).as_deref(), a.leads(), b.leads()), (Some("b"), false, true));
}

#[tokio::test]
async fn an_api_server_that_is_away_leaves_nobody_leading_and_back_again_one() {
    let server = ApiServer::start().await;
    let mut running = [Running::start(server.client(), "a"), Running::start(server.client(), "b")];
    eventually("one leads", || running.iter().any(Running::leads).then_some(())).await;
    server.go_away().await;
    for one in &mut running {
        one.leads.wait_for(|leads| !*leads).await.unwrap();
    }
    server.come_back().await;
    eventually("one leads again", || running.iter().any(Running::leads).then_some(())).await;
    assert!(!running.iter().all(Running::leads));
}

#[tokio::test]
async fn of_many_candidates_never_two_lead() {
    let server = ApiServer::start().await;
    let mut running: Vec<Running> =
        (0..5).map(|n| Running::start(server.client(), &format!("candidate-{n}"))).collect();
    while running.len() > 1 {
        let leader = eventually("a leader", || {
            let leading = running.iter().filter(|one| one.leads()).count();
            assert!(leading <= 1, "{leading} lead");
            running.iter().position(Running::leads)
        })
        .await;
        let leader = running.swap_remove(leader);
        leader.stop.cancel();
        leader.task.await.unwrap();
    }
}

/// A process: watches, writer, Lease. Every replica has the same verdicts.
struct Replica {
    running: Running,
    verdicts: watch::Sender<Option<Verdicts>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Replica {
    fn start(server: &ApiServer, identity: &str) -> Replica {
        let running = Running::start(server.client(), identity);
        let (seen, sightings) = mpsc::channel(64);
        let (events, mut batches) = mpsc::channel(64);
        let (verdicts, latest) = watch::channel(None);
        let writer = StatusWriter::new(server.client(), "c/c".into(), ClusterMetrics::default());
        let following = follow(server.client(), Following::default(), events, seen, running.stop.clone());
        let tasks = vec![
            tokio::spawn(following),
            tokio::spawn(async move { while batches.recv().await.is_some() {} }),
            tokio::spawn(writer.run(sightings, latest, running.leads.clone())),
        ];
        Replica { running, verdicts, tasks }
    }

    fn report(&self, server: &ApiServer, names: &[&str]) {
        let mut statuses = Statuses::default();
        for name in names {
            let conditions = vec![Condition {
                kind: "Accepted".into(),
                status: "True".into(),
                reason: "Accepted".into(),
                message: String::new(),
                observed_generation: Some(1),
            }];
            let parent_ref = serde_json::from_value(json!({"name": "g"})).unwrap();
            let entry = ParentRouteStatus { parent_ref, controller_name: "c/c".into(), conditions };
            let object = ObjectRef { kind: Kind::HttpRoute, key: ObjectKey::new("n", *name) };
            statuses.routes.insert(object, RouteStatus { parents: vec![entry] });
        }
        let judged = Arc::new(Judged::of(&server.resources()));
        self.verdicts.send_replace(Some(Verdicts { statuses: Arc::new(statuses), judged }));
    }

    /// Without a word.
    async fn die(self) {
        for task in self.tasks.into_iter().chain([self.running.task]) {
            task.abort();
            let _ = task.await;
        }
    }
}

#[tokio::test]
async fn only_the_leader_writes_and_the_next_one_goes_on_where_it_died() {
    let server = ApiServer::start().await;
    let apply = |name: &str| server.apply(Kind::HttpRoute, "n", name, json!({"spec": {"parentRefs": [{"name": "g"}]}}));
    let has = |name: &str| server.find(Kind::HttpRoute, "n", name)?["status"]["parents"].get(0).map(|_| ());
    let mut first = Replica::start(&server, "first");
    first.running.is_leader().await;
    let mut second = Replica::start(&server, "second");
    apply("a");
    apply("b");
    for replica in [&first, &second] {
        replica.report(&server, &["a", "b"]);
    }
    eventually("a", || has("a")).await;
    eventually("b", || has("b")).await;
    first.die().await;
    apply("c");
    second.report(&server, &["a", "b", "c"]);
    assert!(has("c").is_none(), "the second does not lead yet");
    second.running.is_leader().await;
    eventually("c", || has("c")).await;
    let mut patched: Vec<String> = server.patches().into_iter().map(|asked| asked.path).collect();
    patched.sort();
    let path = |name: &str| format!("/apis/gateway.networking.k8s.io/v1/namespaces/n/httproutes/{name}/status");
    assert_eq!(patched, [path("a"), path("b"), path("c")], "each once");
}
