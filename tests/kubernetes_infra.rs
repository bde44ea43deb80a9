//! What is written around the data planes, and what is found out about them: `infra` against an API server of our own.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/api_server/mod.rs"]
mod api_server;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use transom::admin::{self, AppliedView, ConfigDump};
use transom::api::{Kind, ObjectKey, label};
use transom::infra::{Exposure, Facts, Install, Observation, ServicePattern, Setup, look_after};
use transom::lifecycle::Readiness;
use transom::telemetry::{AccessLog, BuildLabels, Telemetry};
use transom::translate::{Applied, Audience, GatewayService, Infrastructure, ServicePort};

use api_server::{ApiServer, Asked, eventually};

const OURS: &str = "transom.dev/gateway-controller";

/// A process that looks after the infrastructure.
struct Looking {
    facts: watch::Sender<Option<Facts>>,
    leading: watch::Sender<bool>,
    observations: mpsc::Receiver<Observation>,
    telemetry: Telemetry,
    _tasks: JoinSet<()>,
}

fn setup(exposure: Exposure) -> Setup {
    let install = Install {
        namespace: "edge".into(),
        selector: "app=transom".into(),
        own_name: "own".into(),
        admin_port: 15_000,
    };
    let linger = Duration::from_millis(50);
    Setup { controller_name: OURS.into(), namespaces: vec![], install, exposure, linger }
}

fn services(pattern: &str) -> Setup {
    setup(Exposure::Services(Box::new(ServicePattern::parse(pattern).unwrap())))
}

impl Looking {
    fn new(server: &ApiServer, setup: Setup, leads: bool) -> Looking {
        let (facts, latest) = watch::channel(None);
        let (leading, leader) = watch::channel(leads);
        let (sender, observations) = mpsc::channel(64);
        let telemetry = Telemetry::new(BuildLabels::default(), AccessLog::off());
        let mut tasks = JoinSet::new();
        tasks.spawn(look_after(server.client(), setup, telemetry.cluster().clone(), leader, latest, sender));
        Looking { facts, leading, observations, telemetry, _tasks: tasks }
    }

    fn say(&self, wishes: &[(&str, GatewayService)], applied: &[(&str, i64)]) {
        let services = wishes.iter().map(|(gateway, wish)| (ObjectKey::new("n", *gateway), wish.clone())).collect();
        let applied = applied.iter().map(|(uid, generation)| ((*uid).to_owned(), *generation)).collect();
        let infrastructure = Arc::new(Infrastructure { services });
        let ports = (20_000..=29_999).collect();
        self.facts.send_replace(Some(Facts { infrastructure, applied: Arc::new(applied), ports }));
    }

    fn counted(&self, kind: &str, result: &str) -> Option<String> {
        let metric = format!("transom_infrastructure_writes_total{{kind=\"{kind}\",result=\"{result}\"}} ");
        self.telemetry.metrics_text().lines().find_map(|line| line.strip_prefix(&metric)).map(str::to_owned)
    }

    async fn observed(&mut self) -> Observation {
        timeout(Duration::from_secs(10), self.observations.recv()).await.expect("observed in time").unwrap()
    }

    async fn applied(&mut self) -> Vec<(String, i64)> {
        match self.observed().await {
            Observation::Applied(everywhere) => everywhere.into_iter().collect(),
            Observation::HostAddresses(addresses) => panic!("{addresses:?}"),
        }
    }
}

async fn cluster() -> ApiServer {
    let server = ApiServer::start().await;
    server.serve_core("pods");
    server.serve_core("nodes");
    server
}

fn pod(server: &ApiServer, name: &str, address: &str, ready: bool) {
    let ready = json!([{"type": "Ready", "status": if ready { "True" } else { "False" }}]);
    let status = json!({"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "conditions": ready});
    let metadata = json!({"uid": format!("{name}-uid"), "labels": {"app": "transom"}});
    let spec = json!({"nodeName": format!("node-{name}"), "containers": []});
    server.put("pods", "edge", name, json!({"metadata": metadata, "spec": spec, "status": status}));
}

fn wish(gateway: &str, ports: &[u16]) -> GatewayService {
    GatewayService {
        name: format!("{gateway}-c"),
        class: "c".into(),
        owner_uid: format!("{gateway}-uid"),
        ports: ports.iter().map(|port| (*port, ServicePort { app_protocol: "http" })).collect(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::from([("note".to_owned(), "one".to_owned())]),
        requested: BTreeSet::new(),
        cluster_ip: None,
        audience: Audience::Everyone,
    }
}

fn service(server: &ApiServer, name: &str) -> Option<Value> {
    server.find(Kind::Service, "n", name)
}

fn slice(server: &ApiServer, name: &str) -> Option<Value> {
    server.find(Kind::EndpointSlice, "n", name)
}

async fn has_slice(server: &ApiServer, name: &str) -> Value {
    eventually(name, || slice(server, name)).await
}

fn writes(server: &ApiServer) -> Vec<Asked> {
    server.asked().into_iter().filter(|asked| asked.method != Method::GET).collect()
}

fn names(asked: &[Asked]) -> Vec<&str> {
    asked.iter().map(|asked| asked.path.rsplit('/').next().unwrap()).collect()
}

#[tokio::test]
async fn each_gateway_gets_its_service_and_slices_and_nothing_is_written_twice() {
    let server = cluster().await;
    pod(&server, "own", "10.0.0.1", true);
    let looking = Looking::new(&server, services("annotations: {note: pattern, more: pattern}"), true);
    let gateways: Vec<String> = (0..20).map(|n| format!("g{n:02}")).collect();
    let wishes: Vec<(&str, GatewayService)> =
        gateways.iter().map(|name| (name.as_str(), wish(name, &[80, 443]))).collect();
    looking.say(&wishes, &[]);
    for name in &gateways {
        has_slice(&server, &format!("{name}-c-v4-0")).await;
    }
    let service = service(&server, "g00-c").unwrap();
    assert_eq!(service["metadata"]["annotations"]["note"], "one");
    assert_eq!(service["metadata"]["annotations"]["more"], "pattern");
    assert_eq!(service["metadata"]["labels"][label::CONTROLLER], label::fingerprint(OURS));
    let slice = has_slice(&server, "g00-c-v4-0").await;
    assert_eq!(slice["ports"][0]["port"], service["spec"]["ports"][0]["targetPort"]);
    let targets: BTreeSet<String> = gateways
        .iter()
        .flat_map(|name| {
            let ports = server.find(Kind::Service, "n", &format!("{name}-c")).unwrap()["spec"]["ports"].take();
            ports.as_array().unwrap().iter().map(|port| port["targetPort"].to_string()).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(targets.len(), 40, "no two are the same");
    assert_eq!(writes(&server).len(), 40);
    let query = &writes(&server)[0].query;
    assert!(query.contains(&format!("fieldManager={OURS}")) && query.contains("force=true"), "{query}");

    // the same again; and then a pod that goes down, and one more Gateway: by then, nothing else was due
    looking.say(&wishes, &[]);
    pod(&server, "own", "10.0.0.1", false);
    for name in &gateways {
        eventually(name, || {
            let slice = slice_of(&server, name);
            (slice["endpoints"][0]["conditions"]["ready"] == false).then_some(())
        })
        .await;
    }
    let mut more = wishes.clone();
    more.push(("z", wish("z", &[80])));
    looking.say(&more, &[]);
    has_slice(&server, "z-c-v4-0").await;
    assert_eq!(writes(&server).len(), 40 + 20 + 2);
    eventually("counted", || looking.counted("Service", "written").filter(|count| count == "21")).await;
    eventually("counted", || looking.counted("EndpointSlice", "written").filter(|count| count == "41")).await;
}

fn slice_of(server: &ApiServer, gateway: &str) -> Value {
    slice(server, &format!("{gateway}-c-v4-0")).unwrap()
}

#[tokio::test]
async fn only_the_leader_writes_and_the_next_one_keeps_the_targets() {
    let server = cluster().await;
    pod(&server, "own", "10.0.0.1", true);
    let first = Looking::new(&server, services(""), false);
    first.say(&[("g", wish("g", &[80]))], &[]);
    let other = Looking::new(&server, services(""), true);
    other.say(&[("h", wish("h", &[80]))], &[]);
    has_slice(&server, "h-c-v4-0").await;
    assert!(service(&server, "g-c").is_none());
    let before = service(&server, "h-c").unwrap();
    drop(other);
    first.say(&[("g", wish("g", &[80])), ("h", wish("h", &[80]))], &[]);
    first.leading.send_replace(true);
    has_slice(&server, "g-c-v4-0").await;
    assert_eq!(service(&server, "h-c").unwrap(), before);
    assert_eq!(names(&writes(&server)), ["h-c", "h-c-v4-0", "g-c", "g-c-v4-0"]);
    first.leading.send_replace(false);
    first.say(&[], &[]);
    first.leading.send_replace(true);
    eventually("unwished", || service(&server, "h-c").is_none().then_some(())).await;
}

#[tokio::test]
async fn what_others_changed_is_put_right_and_what_is_no_longer_asked_for_goes() {
    let server = cluster().await;
    pod(&server, "own", "10.0.0.1", true);
    let looking = Looking::new(&server, services(""), true);
    let asking = GatewayService { requested: BTreeSet::from([IpAddr::from([10, 0, 0, 9])]), ..wish("g", &[80]) };
    looking.say(&[("g", asking)], &[]);
    has_slice(&server, "g-c-v4-0").await;
    let mut changed = service(&server, "g-c").unwrap();
    assert_eq!(changed["spec"]["loadBalancerIP"], "10.0.0.9");
    let target = changed["spec"]["ports"][0]["targetPort"].take();
    changed["spec"]["ports"][0]["targetPort"] = json!(8080);
    changed["metadata"]["annotations"]["theirs"] = json!("stays");
    server.apply(Kind::Service, "n", "g-c", changed);
    eventually("put right", || {
        (service(&server, "g-c").unwrap()["spec"]["ports"][0]["targetPort"] == target).then_some(())
    })
    .await;
    looking.say(&[("g", GatewayService { annotations: BTreeMap::new(), ..wish("g", &[80]) })], &[]);
    eventually("taken back", || service(&server, "g-c").unwrap()["spec"]["loadBalancerIP"].is_null().then_some(()))
        .await;
    let annotations = service(&server, "g-c").unwrap()["metadata"]["annotations"].take();
    assert_eq!((&annotations["note"], &annotations["theirs"]), (&Value::Null, &json!("stays")));
}

#[tokio::test]
async fn what_is_somebody_else_s_is_left_alone() {
    let server = cluster().await;
    pod(&server, "own", "10.0.0.1", true);
    let theirs = json!({"spec": {"selector": {"app": "x"}, "ports": [{"port": 80}]}});
    server.apply(Kind::Service, "n", "g-c", theirs);
    let before = service(&server, "g-c").unwrap();
    let looking = Looking::new(&server, services(""), true);
    looking.say(&[("g", wish("g", &[80])), ("h", wish("h", &[80]))], &[]);
    has_slice(&server, "h-c-v4-0").await;
    eventually("told", || looking.counted("Service", "conflict")).await;
    assert_eq!(service(&server, "g-c").unwrap(), before);
    assert_eq!(names(&writes(&server)), ["h-c", "h-c-v4-0"]);
}

#[tokio::test]
async fn a_write_that_fails_is_tried_again_and_others_go_on() {
    let server = cluster().await;
    pod(&server, "own", "10.0.0.1", true);
    server.refuse(&[StatusCode::FORBIDDEN, StatusCode::CONFLICT, StatusCode::INTERNAL_SERVER_ERROR]);
    let looking = Looking::new(&server, services(""), true);
    looking.say(&[("g", wish("g", &[80]))], &[]);
    eventually("refused", || looking.counted("Service", "refused")).await;
    assert_eq!(looking.counted("Service", "failed").as_deref(), Some("1"));
    assert_eq!(looking.counted("Service", "conflict").as_deref(), Some("1"));
    looking.say(&[("g", wish("g", &[80])), ("h", wish("h", &[80]))], &[]);
    has_slice(&server, "h-c-v4-0").await;
    assert!(service(&server, "g-c").is_none(), "it waits");
}

#[tokio::test]
async fn a_cluster_ip_that_a_new_service_cannot_have_keeps_nothing_else_waiting() {
    let server = cluster().await;
    pod(&server, "own", "10.0.0.1", true);
    let asking = |gateway| GatewayService { cluster_ip: Some(IpAddr::from([10, 96, 0, 7])), ..wish(gateway, &[80]) };
    let looking = Looking::new(&server, services(""), true);
    looking.say(&[("g", asking("g"))], &[]);
    has_slice(&server, "g-c-v4-0").await;
    assert_eq!(service(&server, "g-c").unwrap()["spec"]["clusterIP"], "10.96.0.7");
    server.refuse(&[StatusCode::UNPROCESSABLE_ENTITY]);
    looking.say(&[("g", asking("g")), ("h", asking("h"))], &[]);
    has_slice(&server, "h-c-v4-0").await;
    assert_eq!(service(&server, "h-c").unwrap()["spec"]["clusterIP"], Value::Null);
    assert_eq!(looking.counted("Service", "refused"), None);
}

#[tokio::test]
async fn with_namespaces_each_is_watched_on_its_own() {
    let server = cluster().await;
    pod(&server, "own", "10.0.0.1", true);
    let namespaces = vec!["m".to_owned(), "n".to_owned()];
    let looking = Looking::new(&server, Setup { namespaces, ..services("") }, true);
    looking.say(&[("g", wish("g", &[80]))], &[]);
    has_slice(&server, "g-c-v4-0").await;
    let lists: BTreeSet<String> =
        server.asked().into_iter().filter(|asked| asked.method == Method::GET).map(|asked| asked.path).collect();
    let watched: Vec<&str> = lists.iter().map(String::as_str).filter(|path| !path.contains("g-c")).collect();
    assert_eq!(
        watched,
        [
            "/api/v1/namespaces/edge/pods",
            "/api/v1/namespaces/m/services",
            "/api/v1/namespaces/n/services",
            "/apis/discovery.k8s.io/v1/namespaces/m/endpointslices",
            "/apis/discovery.k8s.io/v1/namespaces/n/endpointslices",
        ]
    );
}

/// The admin server of another data plane.
struct Peer {
    applied: watch::Sender<Arc<Applied>>,
    address: SocketAddr,
    _shutdown: DropGuard,
}

impl Peer {
    fn start(address: &str, port: u16) -> Peer {
        let (applied, latest) = watch::channel(Arc::default());
        let state = admin::State {
            readiness: Readiness::new(),
            telemetry: Telemetry::new(BuildLabels::default(), AccessLog::off()),
            config: Arc::new(ConfigDump::default),
            explain: None,
            applied: Some(AppliedView::new(latest)),
        };
        let bound = admin::bind(SocketAddr::new(address.parse().unwrap(), port)).unwrap();
        let address = bound.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        tokio::spawn(bound.serve(state, shutdown.clone()));
        Peer { applied, address, _shutdown: shutdown.drop_guard() }
    }

    fn serves(&self, version: u64, generation: i64) {
        let gateways = BTreeMap::from([("g-uid".to_owned(), generation)]);
        self.applied.send_replace(Arc::new(Applied { version, gateways }));
    }
}

#[tokio::test]
async fn a_generation_counts_once_every_ready_pod_serves_it() {
    let server = cluster().await;
    let a = Peer::start("127.0.0.1", 0);
    let b = Peer::start("127.0.0.2", a.address.port());
    pod(&server, "own", "127.0.0.9", true);
    pod(&server, "a", "127.0.0.1", true);
    pod(&server, "b", "127.0.0.2", true);
    pod(&server, "c", "127.0.0.3", false);
    let mut setup = setup(Exposure::Given);
    setup.install.admin_port = a.address.port();
    let mut looking = Looking::new(&server, setup, true);
    looking.say(&[], &[("g-uid", 2)]);
    a.serves(4, 2);
    b.serves(9, 1);
    assert_eq!(looking.applied().await, [("g-uid".to_owned(), 1)]);
    // as after a restart: another version, and a smaller one
    b.serves(1, 2);
    assert_eq!(looking.applied().await, [("g-uid".to_owned(), 2)]);
    looking.say(&[], &[("g-uid", 3)]);
    a.serves(5, 3);
    // b is no longer ready: it is not waited for
    pod(&server, "b", "127.0.0.2", false);
    assert_eq!(looking.applied().await, [("g-uid".to_owned(), 3)]);
}

#[tokio::test]
async fn a_gateway_counts_once_its_address_was_tried() {
    let server = cluster().await;
    pod(&server, "own", "10.0.0.1", true);
    let mut looking = Looking::new(&server, services(""), true);
    let door = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = door.local_addr().unwrap().port();
    looking.say(&[("g", wish("g", &[port]))], &[("g-uid", 1)]);
    has_slice(&server, "g-c-v4-0").await;
    assert!(looking.observations.try_recv().is_err(), "it has no address");
    let mut assigned = service(&server, "g-c").unwrap();
    assigned["status"] = json!({"loadBalancer": {"ingress": [{"ip": "127.0.0.1"}]}});
    server.apply(Kind::Service, "n", "g-c", assigned);
    timeout(Duration::from_secs(10), door.accept()).await.expect("tried").unwrap();
    assert_eq!(looking.applied().await, [("g-uid".to_owned(), 1)]);
    looking.say(&[("g", wish("g", &[port]))], &[("g-uid", 2)]);
    assert_eq!(looking.applied().await, [("g-uid".to_owned(), 2)]);
    let again = timeout(Duration::from_millis(1), door.accept()).await;
    assert!(again.is_err(), "once, and not for each generation");
}

#[tokio::test]
async fn nodes_with_a_ready_pod_are_named_and_the_last_names_stay() {
    let server = cluster().await;
    for (name, address) in [("node-own", "192.0.2.1"), ("node-a", "192.0.2.2"), ("node-z", "192.0.2.3")] {
        server.put("nodes", "", name, json!({"status": {"addresses": [{"type": "InternalIP", "address": address}]}}));
    }
    pod(&server, "own", "10.0.0.1", true);
    pod(&server, "a", "10.0.0.2", false);
    let mut looking = Looking::new(&server, setup(Exposure::Nodes), true);
    assert_eq!(looking.observed().await, Observation::HostAddresses(vec!["192.0.2.1".into()]));
    pod(&server, "own", "10.0.0.1", false);
    pod(&server, "a", "10.0.0.2", true);
    assert_eq!(looking.observed().await, Observation::HostAddresses(vec!["192.0.2.2".into()]));
}
