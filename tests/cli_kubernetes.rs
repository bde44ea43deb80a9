//! `check`, `explain`, `routes` and `status` of a cluster, and `run` in one: the binary against an API server of our
//! own, which runs on other threads.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/api_server/mod.rs"]
mod api_server;
mod cli_support;

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use transom::api::Kind;

use api_server::{ApiServer, eventually};
use cli_support::{Folder, Run};

const CONTROLLER: &str = "transom.dev/gateway-controller";

/// A cluster, and a folder with a kubeconfig for it.
struct Bench {
    server: ApiServer,
    folder: Folder,
}

impl Bench {
    /// With the CRDs of v1.7.0, and nothing else.
    async fn new() -> Bench {
        let bench = Bench { server: ApiServer::start().await, folder: Folder::new() };
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "here",
            "clusters": [{"name": "c", "cluster": {"server": bench.server.url()}}],
            "users": [{"name": "u", "user": {}}],
            "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", "namespace": "shop"}}],
        });
        bench.folder.write("kubeconfig", kubeconfig.to_string());
        for kind in Kind::ALL.into_iter().filter(|kind| kind.group().starts_with("gateway.")) {
            bench.define(kind, "v1.7.0");
        }
        let own = include_str!("../config/crd/upstreampolicies.yaml");
        bench.server.define_as(serde_yaml::from_str(own).unwrap());
        bench
    }

    /// With a class, a Gateway on a port of loopback, a route and its backend.
    async fn serving(port: u16) -> Bench {
        let bench = Bench::new().await;
        let server = &bench.server;
        server.apply(
            Kind::Namespace,
            "",
            "shop",
            json!({"metadata": {"labels": {"kubernetes.io/metadata.name": "shop"}}}),
        );
        server.apply(Kind::GatewayClass, "", "ours", json!({"spec": {"controllerName": CONTROLLER}}));
        server.apply(Kind::Gateway, "shop", "edge", gateway("ours", port));
        server.apply(Kind::HttpRoute, "shop", "cart", route("edge", "cart"));
        server.apply(Kind::Service, "shop", "cart", json!({"spec": {"ports": [{"port": 80}]}}));
        let slice = json!({
            "metadata": {"labels": {"kubernetes.io/service-name": "cart"}}, "addressType": "IPv4",
            "ports": [{"port": 8080}], "endpoints": [{"addresses": ["10.0.0.7"]}]});
        server.apply(Kind::EndpointSlice, "shop", "cart-1", slice);
        bench
    }

    fn define(&self, kind: Kind, bundle: &str) {
        let rule = json!({"name": {}, "retry": {}, "filters": {"items": {"properties": {"cors": {}}}}});
        self.server.define(kind, bundle, "standard", &rule);
    }

    fn run(&self, arguments: &[&str]) -> Run {
        self.folder.run(&[arguments, &["--kubeconfig", "kubeconfig"]].concat())
    }

    fn check(&self, arguments: &[&str]) -> Run {
        self.run(&[&["check", "--kubernetes"], arguments].concat())
    }
}

fn gateway(class: &str, port: u16) -> Value {
    json!({"metadata": {"generation": 1}, "spec": {
        "gatewayClassName": class, "addresses": [{"value": "127.0.0.1"}],
        "listeners": [{"name": "web", "port": port, "protocol": "HTTP"}]}})
}

fn route(gateway: &str, service: &str) -> Value {
    json!({"metadata": {"generation": 1}, "spec": {
        "parentRefs": [{"name": gateway}], "hostnames": ["shop.example"],
        "rules": [{"backendRefs": [{"name": service, "port": 80}]}]}})
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_in_order_is_clean_and_told_in_short() {
    let bench = Bench::serving(free_port()).await;
    let run = bench.check(&[]);
    assert_eq!((run.code, run.err.as_str()), (0, ""), "{run:?}");
    let lines: Vec<&str> = run.out.lines().collect();
    assert_eq!(lines[0], format!("Cluster      {}, Kubernetes v1.36.3, asked as jane", bench.server.url()));
    assert!(lines[1].starts_with("Gateway API  v1.7.0 standard: GatewayClass v1, Gateway v1, "), "{run:?}");
    let permissions: Vec<&str> = lines[2].split_whitespace().collect();
    assert_eq!((permissions[0], permissions[1]), ("Permissions", permissions[3].trim_end_matches(',')), "{run:?}");
    assert_eq!(lines[3], format!("Classes      ours (controllerName {CONTROLLER})"));
    assert_eq!(lines[4..], ["no problems (6 objects in the cluster)"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_translator_says_of_the_objects_comes_with_it_and_as_json_too() {
    let bench = Bench::serving(free_port()).await;
    bench.server.apply(Kind::HttpRoute, "shop", "lost", route("edge", "nobody"));
    bench.server.apply(Kind::HttpRoute, "shop", "broken", json!({"spec": {"parentRefs": 7}}));
    let run = bench.check(&["-o", "json"]);
    assert_eq!(run.code, 1, "{run:?}");
    let told: Vec<Value> = serde_json::from_str(&run.out).unwrap();
    let of = |object: &str| told.iter().find(|one| one["object"] == object).unwrap_or_else(|| panic!("{told:?}"));
    let lost = of("HTTPRoute shop/lost");
    assert_eq!((&lost["field"], &lost["reason"]), (&json!("spec.rules[0].backendRefs[0]"), &json!("BackendNotFound")));
    assert_eq!(lost["file"], Value::Null);
    assert_eq!(of("HTTPRoute shop/broken")["reason"], "Unreadable");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_bundle_is_named_with_what_it_takes_away_and_is_no_problem() {
    let bench = Bench::serving(free_port()).await;
    for kind in Kind::ALL.into_iter().filter(|kind| kind.group().starts_with("gateway.")) {
        bench.server.define(
            kind,
            "v1.5.1",
            "standard",
            &json!({"name": {}, "filters": {"items": {"properties": {"cors": {}}}}}),
        );
    }
    bench.server.withdraw(Kind::TcpRoute);
    let run = bench.check(&[]);
    assert_eq!(run.code, 0, "{run:?}");
    for words in [
        "v1.5.1 is older than v1.7.0",
        "httproutes.gateway.networking.k8s.io: spec.rules[].retry: is not known to the API server",
        "tcproutes.gateway.networking.k8s.io: is not in the cluster",
    ] {
        assert!(run.out.contains(words), "{words}: {}", run.out);
    }
    assert!(!run.out.contains("cors"), "{}", run.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_done_is_a_problem_with_its_purpose() {
    let bench = Bench::serving(free_port()).await;
    bench.server.deny("patch", "gateways/status");
    bench.server.deny("*", "services");
    bench.server.deny("get", "customresourcedefinitions");
    let run = bench.check(&["--expose", "service"]);
    assert_eq!(run.code, 1, "{run:?}");
    for words in [
        "problem: jane may not patch gateways/status.gateway.networking.k8s.io, needed to write statuses [Forbidden]",
        "problem: jane may not list, watch services, needed to see what is to be served [Forbidden]",
        "problem: jane may not get, create, patch, delete services, needed to give each Gateway a Service and an address",
        "problem: no object is judged, since not all may be read: Service; the first: Forbidden [Forbidden]",
        "note: CRDs may not be read, so nothing is known of their release and fields",
        "Gateway API  unknown release: GatewayClass v1",
    ] {
        assert!(run.out.contains(words), "{words}: {}", run.out);
    }
    // without its Services, what is said of a route would be wrong
    assert!(!run.out.contains("HTTPRoute shop/cart"), "{}", run.out);
    let explained = bench.run(&["explain", "GET", "http://shop.example/", "--kubernetes"]);
    assert_eq!((explained.code, explained.out.as_str()), (2, ""), "{explained:?}");
    assert!(explained.err.contains("cannot be read: Service: Forbidden"), "{explained:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_namespaces_permissions_are_asked_for_in_each_and_what_is_elsewhere_is_told() {
    let bench = Bench::serving(free_port()).await;
    bench.server.apply(Kind::Gateway, "other", "edge", gateway("ours", free_port()));
    bench.server.apply(Kind::GatewayClass, "", "theirs", json!({"spec": {"controllerName": "example.com/c"}}));
    bench.server.apply(Kind::Gateway, "shop", "foreign", gateway("theirs", free_port()));
    let run = bench.check(&["--namespaces", "shop,blog"]);
    assert_eq!(run.code, 0, "{run:?}");
    for words in [
        "note: 1 Gateway: ignored, not in a namespace of --namespaces shop,blog: other/edge [LeftOut]",
        "note: 1 Gateway: ignored, of class \"theirs\", which belongs to example.com/c: shop/foreign [ForeignClass]",
    ] {
        assert!(run.out.contains(words), "{words}: {}", run.out);
    }
    let run = bench.check(&["--gateway-selector", "tier=edge"]);
    let words =
        "note: 3 Gateways: ignored, without the labels of --gateway-selector 'tier=edge': other/edge, shop/edge";
    assert!(run.code == 0 && run.out.contains(words), "{run:?}");
    let asked = bench.server.asked();
    let reviews = asked.iter().filter(|asked| asked.path.ends_with("/selfsubjectaccessreviews"));
    let secrets =
        reviews.map(|asked| &asked.body["spec"]["resourceAttributes"]).filter(|of| of["resource"] == "secrets");
    let secrets = secrets.filter(|of| !of["namespace"].is_null());
    let mut secrets: Vec<String> = secrets.map(|of| format!("{} {}", of["verb"], of["namespace"])).collect();
    secrets.sort(); // several are asked at a time
    assert_eq!(secrets, [r#""list" "blog""#, r#""list" "shop""#, r#""watch" "blog""#, r#""watch" "shop""#]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_somebody_holds_is_a_problem_where_listeners_are_bound_on_this_machine() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let bench = Bench::serving(port).await;
    let run = bench.check(&[]);
    let words = format!("problem: Gateway shop/edge: spec.listeners[web]: port {port} cannot be bound on this machine");
    assert!(run.code == 1 && run.out.contains(&words) && run.out.contains("[PortUnavailable]"), "{run:?}");
    assert!(!bench.check(&["--expose", "service"]).out.contains("PortUnavailable"));
    let mut served = gateway("ours", port);
    served["status"] =
        json!({"listeners": [{"name": "web", "conditions": [{"type": "Programmed", "status": "True"}]}]});
    bench.server.apply(Kind::Gateway, "shop", "edge", served);
    let run = bench.check(&[]);
    assert!(run.code == 0 && run.out.contains("note: Gateway shop/edge: spec.listeners[web]: port"), "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn as_yaml_objects_have_the_status_that_they_would_get_beside_that_of_others() {
    let bench = Bench::serving(free_port()).await;
    let mut shared = route("edge", "cart");
    let theirs = json!({"parentRef": {"name": "theirs"}, "controllerName": "example.com/c", "conditions": []});
    shared["status"] = json!({"parents": [theirs]});
    bench.server.apply(Kind::HttpRoute, "shop", "shared", shared);
    bench.server.apply(Kind::Secret, "shop", "key", json!({"data": {"tls.key": "aHVudGVyMg=="}}));
    let run = bench.check(&["-o", "yaml"]);
    assert_eq!(run.code, 0, "{run:?}");
    let documents: Vec<Value> = serde_yaml::Deserializer::from_str(&run.out)
        .map(|document| serde::Deserialize::deserialize(document).unwrap())
        .collect();
    let of = |name: &str| documents.iter().find(|one| one["metadata"]["name"] == name).unwrap();
    assert_eq!(of("edge")["apiVersion"], "gateway.networking.k8s.io/v1");
    let conditions = of("edge")["status"]["conditions"].as_array().unwrap();
    let programmed = conditions.iter().find(|condition| condition["type"] == "Programmed").unwrap();
    assert_eq!(programmed["status"], "True", "{programmed}");
    let parents = of("shared")["status"]["parents"].as_array().unwrap();
    let controllers: Vec<&str> = parents.iter().map(|parent| parent["controllerName"].as_str().unwrap()).collect();
    assert_eq!(controllers, ["example.com/c", CONTROLLER]);
    assert!(!run.out.contains("aHVudGVyMg"), "only what may have a status is shown");
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_and_routes_judge_a_cluster_by_the_code_that_judges_files() {
    let bench = Bench::serving(free_port()).await;
    let run = bench.run(&["routes", "--kubernetes", "-o", "json"]);
    assert_eq!((run.code, run.err.as_str()), (0, ""), "{run:?}");
    let rows: Vec<Value> = serde_json::from_str(&run.out).unwrap();
    assert_eq!(
        (rows.len(), &rows[0]["hostname"], &rows[0]["route"]["name"]),
        (1, &json!("shop.example"), &json!("cart"))
    );
    let port = rows[0]["port"].to_string();
    let url = format!("http://shop.example:{port}/");
    let run = bench.run(&["explain", "GET", &url, "--kubernetes", "-o", "json"]);
    let explained: Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(explained["backends"][0]["endpoints"], json!(["10.0.0.7:8080"]), "{run:?}");
    // a Service that nobody has made yet stands in nobody's way
    let run = bench.run(&["explain", "GET", &url, "--kubernetes", "--expose", "service", "-o", "json"]);
    let explained: Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(explained["backends"][0]["endpoints"], json!(["10.0.0.7:8080"]), "{run:?}");
    bench.server.apply(Kind::HttpRoute, "shop", "lost", route("edge", "nobody"));
    let run = bench.run(&["routes", "--kubernetes"]);
    assert!(run.code == 0 && run.err.contains("1 problem; see: transom check --kubernetes"), "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_or_does_not_know_who_asks_is_exit_code_2() {
    let bench = Bench::new().await;
    let away = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": format!("http://127.0.0.1:{}", free_port())}}],
        "users": [], "contexts": [{"name": "c", "context": {"cluster": "c", "user": ""}}]});
    bench.folder.write("away", away.to_string());
    for command in [&["check", "--kubernetes"][..], &["routes", "--kubernetes"], &["status"]] {
        let run = bench.folder.run(&[command, &["--kubeconfig", "away"]].concat());
        assert_eq!((run.code, run.out.as_str()), (2, ""), "{run:?}");
        assert!(run.err.starts_with("error: API server http://127.0.0.1:") && run.err.contains("refused"), "{run:?}");
        let run = bench.folder.run(&[command, &["--kubeconfig", "nowhere"]].concat());
        assert!(run.code == 2 && run.err.contains("nowhere"), "{run:?}");
        let run = bench.folder.run(&[command, &["--kubeconfig", "kubeconfig", "--context", "other"]].concat());
        assert!(run.code == 2 && run.err.contains("other"), "{run:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn which_cluster_is_only_said_where_a_cluster_is_meant() {
    let folder = Folder::new();
    for arguments in [
        &["check", "-f", ".", "--context", "c"][..],
        &["routes", "-f", ".", "--kubeconfig", "c"],
        &["run", "-f", ".", "--as", "jane"],
        &["check", "-f", ".", "--kubernetes"],
        &["check"],
        &["routes"],
        &["status", "-A", "-n", "shop"],
    ] {
        let run = folder.run(arguments);
        assert_eq!((run.code, run.out.as_str()), (2, ""), "{arguments:?}: {run:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_to_ask_as_goes_along_with_every_question() {
    let bench = Bench::serving(free_port()).await;
    assert_eq!(bench.check(&["--as", "system:serviceaccount:gw:transom"]).code, 0);
    let asked = bench.server.asked();
    assert!(asked.iter().all(|asked| asked.user == "system:serviceaccount:gw:transom"), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn status_shows_what_every_controller_says_and_judges_nothing() {
    let bench = Bench::serving(8080).await;
    let said = |kind: &str, status: &str, reason: &str| json!({"type": kind, "status": status, "reason": reason, "message": "in words", "observedGeneration": 1});
    let mut edge = gateway("theirs", 8080);
    edge["status"] =
        json!({"addresses": [{"value": "192.0.2.1"}], "conditions": [said("Programmed", "True", "Programmed")]});
    bench.server.apply(Kind::GatewayClass, "", "theirs", json!({"spec": {"controllerName": "example.com/c"}}));
    bench.server.delete(Kind::Gateway, "shop", "edge"); // another one, of the first generation
    bench.server.apply(Kind::Gateway, "shop", "edge", edge);
    let mut cart = route("edge", "cart");
    let entry = json!({"parentRef": {"name": "edge"}, "controllerName": "example.com/c",
        "conditions": [said("Accepted", "True", "Accepted"), said("ResolvedRefs", "False", "BackendNotFound")]});
    cart["status"] = json!({"parents": [entry]});
    bench.server.apply(Kind::HttpRoute, "shop", "cart", cart);
    bench.server.apply(Kind::HttpRoute, "blog", "posts", route("edge", "posts"));

    let run = bench.run(&["status"]);
    assert_eq!((run.code, run.err.as_str()), (0, ""), "{run:?}");
    let squeezed: Vec<String> =
        run.out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for line in [
        "theirs example.com/c - -",
        "edge theirs example.com/c 192.0.2.1 - True -",
        "edge web 8080 HTTP * - - - -",
        "HTTPRoute cart shop.example edge example.com/c True False (BackendNotFound) -",
        "HTTPRoute shop/cart towards edge, says example.com/c: ResolvedRefs=False (BackendNotFound): in words",
    ] {
        assert!(squeezed.iter().any(|found| found == line), "{line}: {squeezed:#?}");
    }
    assert!(!run.out.contains("posts") && !run.out.contains("\nours"), "{}", run.out);
    assert!(bench.run(&["status", "-n", "blog"]).out.contains("HTTPRoute posts"));
    let everywhere = bench.run(&["status", "-A"]).out;
    assert!(
        everywhere.contains("NAMESPACE") && everywhere.contains("HTTPRoute posts") && everywhere.contains("\nours")
    );
    let empty = bench.run(&["status", "-n", "nowhere"]);
    assert_eq!((empty.code, empty.out.as_str()), (0, ""), "{empty:?}");
    assert!(empty.err.contains("no objects of the Gateway API in namespace nowhere"), "{empty:?}");

    let of_json: Value = serde_json::from_str(&bench.run(&["status", "-o", "json"]).out).unwrap();
    let of_yaml: Value = serde_yaml::from_str(&bench.run(&["status", "-o", "yaml"]).out).unwrap();
    assert_eq!(of_json, of_yaml);
    assert_eq!(of_json["gateways"][0]["controller"], "example.com/c");
    assert_eq!(of_json["routes"][0]["entries"][0]["conditions"][1]["reason"], "BackendNotFound");
}

#[tokio::test(flavor = "multi_thread")]
async fn status_of_what_may_be_read_is_shown_and_the_rest_named() {
    let bench = Bench::serving(8080).await;
    bench.server.deny("list", "gatewayclasses");
    let run = bench.run(&["status"]);
    assert!(run.code == 0 && run.err.contains("controllers of Gateways are not known"), "{run:?}");
    bench.server.deny("list", "httproutes");
    let run = bench.run(&["status"]);
    assert_eq!(run.code, 2, "{run:?}");
    assert!(run.out.contains("edge") && run.err.contains("HTTPRoute of namespace shop: Forbidden"), "{run:?}");
    bench.server.withdraw(Kind::Gateway);
    let run = bench.run(&["status"]);
    assert!(run.code == 2 && run.err.contains("does not have the Gateway API"), "{run:?}");
}

/// `transom run --kubernetes`, ended with the value.
struct Running(Child);

impl Running {
    fn start(bench: &Bench) -> Running {
        let child = Command::new(env!("CARGO_BIN_EXE_transom"))
            .args(["run", "--kubernetes", "--kubeconfig", "kubeconfig", "--workers", "1"])
            .args(["--admin-address", "127.0.0.1:0", "--access-log", "off", "--drain-grace", "0s"])
            .current_dir(bench.folder.path())
            .env_clear()
            .stdout(std::fs::File::create(bench.folder.path().join("out")).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Running(child)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_cluster_no_listener_that_cannot_be_bound_ends_the_process() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let bench = Bench::serving(port).await;
    let mut running = Running::start(&bench);
    let told = || {
        let edge = bench.server.find(Kind::Gateway, "shop", "edge")?;
        let listener = edge["status"]["listeners"][0].clone();
        let mut conditions = listener["conditions"].as_array()?.iter();
        conditions.any(|condition| condition["reason"] == "PortUnavailable").then_some(())
    };
    eventually("the port is told of in the status", told).await;
    let announced =
        || std::fs::read_to_string(bench.folder.path().join("out")).unwrap().contains("Ctrl-C").then_some(());
    eventually("what is served is announced", announced).await;
    assert_eq!(running.0.try_wait().unwrap(), None);
    drop(taken);
    let serves = || std::net::TcpStream::connect(("127.0.0.1", port)).ok();
    eventually("the port is bound once it is free", serves).await;
}
