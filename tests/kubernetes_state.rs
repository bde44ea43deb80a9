//! Life without an API server: what was last seen is kept on disk and served at a start; a cluster that goes away
//! takes nothing with it; one that comes back is caught up with. The binary against an API server of our own.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/api_server/mod.rs"]
mod api_server;
#[path = "support/process.rs"]
mod process;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use transom::api::Kind;

use api_server::{ApiServer, eventually};
use process::{Transom, free_port, get};

const READY: Duration = Duration::from_secs(20);
const ENDS: Duration = Duration::from_secs(20);

/// A cluster with one Gateway, and the folder of the processes that serve it.
struct World {
    server: ApiServer,
    folder: TempDir,
    port: u16,
}

impl World {
    async fn new() -> World {
        let world = World { server: ApiServer::start().await, folder: tempfile::tempdir().unwrap(), port: free_port() };
        let server = &world.server;
        let listener = json!({"name": "web", "port": world.port, "protocol": "HTTP"});
        let addresses = json!([{"type": "IPAddress", "value": "127.0.0.1"}]);
        let gateway = json!({"gatewayClassName": "c", "listeners": [listener], "addresses": addresses});
        server.apply(Kind::Namespace, "", "n", json!({}));
        server.apply(
            Kind::GatewayClass,
            "",
            "c",
            json!({"spec": {"controllerName": "transom.dev/gateway-controller"}}),
        );
        server.apply(Kind::Gateway, "n", "g", json!({"spec": gateway}));
        server.apply(Kind::Service, "n", "web", json!({"spec": {"ports": [{"port": 80}]}}));
        world.endpoint(upstream("one"));
        world.route("a", "/a");
        fs::write(world.path("kubeconfig"), server.kubeconfig()).unwrap();
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn route(&self, name: &str, path: &str) {
        let matches = json!([{"path": {"type": "PathPrefix", "value": path}}]);
        let rule = json!({"matches": matches, "backendRefs": [{"name": "web", "port": 80}]});
        let spec = json!({"parentRefs": [{"name": "g"}], "rules": [rule]});
        self.server.apply(Kind::HttpRoute, "n", name, json!({"spec": spec}));
    }

    fn endpoint(&self, address: SocketAddr) {
        let slice = json!({
            "metadata": {"labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4",
            "ports": [{"name": "", "port": address.port()}],
            "endpoints": [{"addresses": [address.ip().to_string()]}],
        });
        self.server.apply(Kind::EndpointSlice, "n", "web-1", slice);
    }

    fn start(&self) -> Transom {
        let (kubeconfig, state) = (self.path("kubeconfig"), self.path("state.json"));
        let text = |path: &PathBuf| path.to_str().unwrap().to_owned();
        let arguments = ["--kubernetes", "--kubeconfig", &text(&kubeconfig), "--state-file", &text(&state)];
        Transom::run(&[&arguments[..], &["--workers", "1", "--drain-grace", "0s"]].concat(), &self.path("log"))
    }

    fn answer(&self, path: &str) -> Option<String> {
        let answer = get(SocketAddr::from(([127, 0, 0, 1], self.port)), "any", path)?;
        Some(answer.rsplit("\r\n\r\n").next().unwrap().to_owned())
    }

    async fn serves(&self, path: &str, wanted: &str) {
        eventually(path, || self.answer(path).filter(|answer| answer == wanted)).await;
    }

    fn code(&self, path: &str) -> Option<String> {
        let answer = get(SocketAddr::from(([127, 0, 0, 1], self.port)), "any", path)?;
        answer.split(' ').nth(1).map(str::to_owned)
    }

    /// `Kind name` of what is saved.
    fn saved(&self) -> Option<Vec<String>> {
        let text = fs::read(self.path("state.json")).ok()?;
        let state: Value = serde_json::from_slice(&text).expect("a file is whole whenever it is read");
        let name = |entry: &Value| {
            format!("{} {}", entry["kind"].as_str().unwrap(), entry["object"]["metadata"]["name"].as_str().unwrap())
        };
        Some(state["objects"].as_array().unwrap().iter().map(name).collect())
    }

    async fn has_saved(&self, what: &str) {
        eventually(what, || self.saved().filter(|saved| saved.iter().any(|one| one == what))).await;
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap()
    }
}

/// Answers every request with its name; lives as long as the test.
fn upstream(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            std::thread::spawn(move || {
                let (mut read, mut bytes) = (Vec::new(), [0; 1024]);
                while let Ok(count @ 1..) = socket.read(&mut bytes) {
                    read.extend_from_slice(&bytes[..count]);
                    if read.ends_with(b"\r\n\r\n") {
                        read.clear();
                        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len());
                        let _ = socket.write_all(answer.as_bytes());
                    }
                }
            });
        }
    });
    address
}

fn is_ready(transom: &Transom) -> bool {
    transom.get("/readyz").is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_start_without_api_server_serves_what_was_last_seen_and_catches_up_with_one_that_comes() {
    let world = World::new().await;
    let first = world.start().ready(READY);
    world.serves("/a", "one").await;
    world.has_saved("HTTPRoute a").await;
    assert!(first.terminate(ENDS).success()); // and the Lease is given back
    world.server.go_away().await;
    let patched = world.server.patches().len();
    let transom = world.start().ready(READY);
    assert_eq!(world.answer("/a").unwrap(), "one");
    assert!(world.log().contains("serving what was last seen"), "{}", world.log());
    // meanwhile: one route goes, another comes, the endpoints move
    world.server.delete(Kind::HttpRoute, "n", "a");
    world.route("b", "/b");
    world.endpoint(upstream("two"));
    // the API server is back, and one kind still stays behind: it leads, sees objects, and writes nothing
    world.server.hold(Kind::Secret);
    world.server.come_back().await;
    let leads = || transom.get("/metrics")?.contains("\ntransom_leader 1\n").then_some(());
    eventually("it leads", leads).await;
    eventually("routes are asked for again", || {
        let asked = world.server.asked().into_iter().rev();
        let listed = asked.take_while(|asked| !asked.path.contains("/version"));
        listed.filter(|asked| asked.path.ends_with("/httproutes")).count().checked_sub(1)
    })
    .await;
    assert_eq!(world.server.patches().len(), patched, "nothing is said of what was saved");
    assert_eq!(world.answer("/a").unwrap(), "one");
    assert_eq!(world.saved().unwrap().iter().filter(|one| one.starts_with("HTTPRoute")).count(), 1);
    world.server.release(Kind::Secret);
    world.serves("/b", "two").await;
    assert_eq!(world.code("/a").unwrap(), "404", "what is not there any more goes with the same batch");
    assert!(is_ready(&transom));
    eventually("its status", || {
        let route = world.server.find(Kind::HttpRoute, "n", "b")?;
        (route["status"]["parents"][0]["conditions"][0]["status"] == "True").then_some(())
    })
    .await;
    world.has_saved("HTTPRoute b").await;
    eventually("a is forgotten", || world.saved().filter(|saved| !saved.contains(&"HTTPRoute a".into()))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_api_server_that_only_hangs_is_waited_for_but_not_for_long() {
    let world = World::new().await;
    let first = world.start().ready(READY);
    world.has_saved("HTTPRoute a").await;
    assert!(first.terminate(ENDS).success());
    world.server.hold(Kind::Secret);
    let began = Instant::now();
    let transom = world.start().ready(READY);
    assert!(began.elapsed() > Duration::from_secs(2), "it is given a chance: {:?}", began.elapsed());
    assert_eq!(world.answer("/a").unwrap(), "one");
    world.route("b", "/b");
    world.server.release(Kind::Secret);
    world.serves("/b", "one").await;
    assert!(is_ready(&transom));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_cluster_that_goes_away_takes_nothing_with_it() {
    let world = World::new().await;
    let transom = world.start().ready(READY);
    world.serves("/a", "one").await;
    world.server.go_away().await;
    eventually("the loss is known", || world.log().contains("what it had shown stays").then_some(())).await;
    assert_eq!(world.answer("/a").unwrap(), "one");
    assert!(is_ready(&transom), "{:?}", transom.get("/readyz"));
    world.route("b", "/b");
    world.server.come_back().await;
    world.serves("/b", "one").await;
    assert!(is_ready(&transom));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_nobody_refers_to_is_not_saved_and_a_broken_file_is_replaced() {
    let world = World::new().await;
    let secret = |name: &str| {
        world.server.apply(Kind::Secret, "n", name, json!({"data": {"tls.key": "c2VjcmV0"}, "type": "Opaque"}));
    };
    secret("unused");
    secret("used");
    world.server.apply(Kind::Service, "n", "unused", json!({"spec": {"ports": [{"port": 80}]}}));
    world.server.apply(Kind::ConfigMap, "n", "unused", json!({"data": {"a": "b"}}));
    world.server.apply(Kind::Namespace, "", "unused", json!({}));
    let mut gateway = world.server.find(Kind::Gateway, "n", "g").unwrap();
    let tls = json!({"certificateRefs": [{"name": "used"}]});
    let listener = json!({"name": "tls", "port": free_port(), "protocol": "HTTPS", "tls": tls});
    gateway["spec"]["listeners"].as_array_mut().unwrap().push(listener);
    world.server.apply(Kind::Gateway, "n", "g", gateway);
    fs::write(world.path("state.json"), r#"{"format": 1, "objects": [{"kind": "Secret", "object": {"data": "c2Vj"#)
        .unwrap();
    fs::set_permissions(world.path("state.json"), PermissionsExt::from_mode(0o644)).unwrap();
    let _transom = world.start().ready(READY);
    let saved = eventually("a good file", || {
        fs::read_to_string(world.path("state.json")).ok().filter(|text| text.ends_with('}'))?;
        world.saved()
    })
    .await;
    let names = ["EndpointSlice web-1", "Gateway g", "GatewayClass c", "HTTPRoute a", "Secret used", "Service web"];
    let mut saved: Vec<String> = saved.into_iter().filter(|name| !name.starts_with("Namespace")).collect();
    saved.sort();
    assert_eq!(saved, names);
    assert_eq!(fs::metadata(world.path("state.json")).unwrap().permissions().mode() & 0o777, 0o600);
    let log = world.log();
    assert!(log.contains("saved state ignored") && !log.contains("c2Vj"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_port_that_somebody_holds_is_a_condition_with_his_name_and_no_end_of_the_process() {
    let world = World::new().await;
    let held = TcpListener::bind(("127.0.0.1", world.port)).unwrap();
    let transom = world.start();
    let message = eventually("the condition", || {
        let gateway = world.server.find(Kind::Gateway, "n", "g")?;
        let conditions = gateway["status"]["listeners"][0]["conditions"].as_array()?.clone();
        let found = conditions.into_iter().find(|condition| condition["reason"] == "PortUnavailable")?;
        found["message"].as_str().map(str::to_owned)
    })
    .await;
    assert!(message.contains(&format!("(pid {})", std::process::id())), "{message}");
    assert!(!is_ready(&transom));
    drop(held);
    world.serves("/a", "one").await;
    transom.ready(READY);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_storm_of_changes_is_one_write_a_second_and_the_last_change_is_kept() {
    let world = World::new().await;
    let transom = world.start().ready(READY);
    world.has_saved("HTTPRoute a").await;
    let (began, mut inodes) = (Instant::now(), Vec::new());
    let mut n = 0;
    while began.elapsed() < Duration::from_millis(1500) {
        n += 1;
        world.route("a", &format!("/{n}"));
        inodes.push(fs::metadata(world.path("state.json")).unwrap().ino());
        world.serves(&format!("/{n}"), "one").await;
    }
    inodes.dedup();
    assert!(n > 5 && inodes.len() <= 3, "{n} changes, {} files", inodes.len());
    world.route("last", "/last");
    world.serves("/last", "one").await;
    assert!(transom.terminate(ENDS).success());
    assert!(world.saved().unwrap().contains(&"HTTPRoute last".into()), "the end waits for no pause");
}
