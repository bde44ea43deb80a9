//! Start, memory and propagation with 5,000 HTTPRoutes over 500 hosts, from files, through the real binary.
//!
//! Prints how it was run. Refuses a debug build. Figures: time from exec to ready (`/readyz` 200, port bound),
//! resident memory then, and the time from an edit of one route's file to the first answer by the edited rule,
//! each probe seeing the answer of before first.

#[path = "../tests/support/process.rs"]
mod process;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use process::{Transom, binary, free_port, get};

const ROUTES: usize = 5_000;
const HOSTS: usize = 500;
const STARTS: usize = 5;
const EDITS: usize = 100;

fn main() {
    let version = Command::new(binary()).arg("version").output().expect("transom version");
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    println!("transom run -f FOLDER, {ROUTES} HTTPRoutes over {HOSTS} hosts, one file a route");
    print!("{version}");
    assert!(version.contains("release"), "measure a release build: make bench");

    let space = tempfile::tempdir().expect("temporary folder");
    let folder = space.path().join("manifests");
    fs::create_dir(&folder).expect("folder");
    let port = free_port();
    write_world(&folder, port);

    let mut starts = Vec::new();
    let mut memory = Vec::new();
    for _ in 0..STARTS {
        let begun = Instant::now();
        let transom = Transom::start(&folder, &[]).ready(Duration::from_secs(60));
        starts.push(begun.elapsed());
        let last = format!("h{}.example.com", HOSTS - 1);
        let answer = get(([127, 0, 0, 1], port).into(), &last, &format!("/r{}", ROUTES - 1)).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 503"), "the last route is served: {answer}");
        memory.push(resident_kib(transom.pid()));
        assert!(transom.terminate(Duration::from_secs(60)).success());
    }
    report("start to ready", &mut starts);
    memory.sort_unstable();
    println!("resident memory    median {:.1} MiB, most {:.1} MiB", mib(memory[STARTS / 2]), mib(memory[STARTS - 1]));

    let transom = Transom::start(&folder, &[]).ready(Duration::from_secs(60));
    let mut edits: Vec<Duration> = (0..EDITS).map(|number| edit(&folder, port, number * 37 % ROUTES)).collect();
    report("edit to served", &mut edits);
    println!("resident memory after {EDITS} edits {:.1} MiB", mib(resident_kib(transom.pid())));
}

/// Changes the route between "no backend" (500) and "no endpoint" (503) and waits for the change.
fn edit(folder: &Path, port: u16, route: usize) -> Duration {
    let (host, path) = (format!("h{}.example.com", route % HOSTS), format!("/r{route}"));
    let ask = || get(([127, 0, 0, 1], port).into(), &host, &path).expect("an answer");
    assert!(ask().starts_with("HTTP/1.1 503"), "before the edit: {}", ask());
    let begun = Instant::now();
    write_route(folder, route, false);
    while !ask().starts_with("HTTP/1.1 500") {
        assert!(begun.elapsed() < Duration::from_secs(10), "the edit of route {route} was not served: {}", ask());
    }
    let took = begun.elapsed();
    write_route(folder, route, true);
    while !ask().starts_with("HTTP/1.1 503") {
        assert!(begun.elapsed() < Duration::from_secs(20), "the second edit of route {route} was not served");
    }
    took
}

fn write_world(folder: &Path, port: u16) {
    let text = format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {{name: transom}}\nspec: {{controllerName: transom.dev/gateway-controller}}\n---\n\
         apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: edge, namespace: default}}\nspec:\n  gatewayClassName: transom\n  addresses: [{{type: IPAddress, value: 127.0.0.1}}]\n  listeners: [{{name: http, port: {port}, protocol: HTTP}}]\n"
    );
    fs::write(folder.join("gateway.yaml"), text).expect("written");
    let mut services = String::new();
    for service in 0..100 {
        write!(services, "---\napiVersion: v1\nkind: Service\nmetadata: {{name: s{service}, namespace: default}}\nspec: {{ports: [{{name: web, port: 80}}]}}\n").expect("text");
    }
    fs::write(folder.join("services.yaml"), services).expect("written");
    for route in 0..ROUTES {
        write_route(folder, route, true);
    }
}

fn write_route(folder: &Path, route: usize, backend: bool) {
    let backends = if backend {
        format!("\n    backendRefs:\n    - name: s{}\n      port: 80", route % 100)
    } else {
        String::new()
    };
    let text = format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata:\n  name: r{route}\n  namespace: default\n  labels:\n    app.kubernetes.io/name: r{route}\nspec:\n  parentRefs:\n  - name: edge\n    sectionName: http\n  hostnames:\n  - h{}.example.com\n  rules:\n  - matches:\n    - path:\n        type: PathPrefix\n        value: /r{route}{backends}\n",
        route % HOSTS
    );
    let temporary = folder.join(".edit");
    fs::write(&temporary, text).expect("written");
    fs::rename(&temporary, folder.join(format!("r{route}.yaml"))).expect("renamed");
}

fn report(what: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share).round() as usize];
    println!("{what:<18} p50 {:?}, p99 {:?}, most {:?} ({} samples)", at(0.5), at(0.99), at(1.0), times.len());
}

fn resident_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("/proc");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}

fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}
