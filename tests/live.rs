//! The written-out quick start is live: what an editor saves is served within a second, no request fails meanwhile,
//! a file that stops parsing keeps what was good, and a port that is taken is told and waited for.

mod support {
    pub mod process;
}

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use support::process::{Transom, binary, free_port, get};

const HOST: &str = "shop.localhost";

/// A written-out quick start on ports of its own.
struct QuickStart {
    _space: tempfile::TempDir,
    file: PathBuf,
    http: SocketAddr,
}

impl QuickStart {
    fn write() -> QuickStart {
        let space = tempfile::tempdir().unwrap();
        let file = space.path().join("quickstart.yaml");
        let written =
            std::process::Command::new(binary()).args(["run", "--write-quickstart"]).arg(&file).output().unwrap();
        assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
        let (http, https) = (free_port(), free_port());
        let text = fs::read_to_string(&file).unwrap();
        let text =
            text.replace("port: 8080", &format!("port: {http}")).replace("port: 8443", &format!("port: {https}"));
        fs::write(&file, text).unwrap();
        QuickStart { _space: space, file, http: ([127, 0, 0, 1], http).into() }
    }

    /// As editors save: whole, by rename.
    fn save(&self, text: &str) {
        let temporary = self.file.with_extension("swp");
        fs::write(&temporary, text).unwrap();
        fs::rename(&temporary, &self.file).unwrap();
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.file).unwrap()
    }
}

/// A client that asks without pause and counts what is no 200.
struct Load {
    stop: Arc<AtomicBool>,
    ended: JoinHandle<(usize, Vec<String>)>,
}

impl Load {
    fn start(address: SocketAddr) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let ended = std::thread::spawn(move || {
            let (mut good, mut bad) = (0, Vec::new());
            while !stopped.load(Ordering::Relaxed) {
                match get(address, HOST, "/") {
                    Some(answer) if answer.starts_with("HTTP/1.1 200") && answer.ends_with("}\n") => good += 1,
                    other => bad.push(format!("{other:?}")),
                }
            }
            (good, bad)
        });
        Load { stop, ended }
    }

    fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        let (good, bad) = self.ended.join().unwrap();
        assert!(bad.is_empty(), "failed requests: {bad:?}");
        assert!(good > 20, "only {good} requests");
    }
}

fn service(address: SocketAddr) -> String {
    let answer = get(address, HOST, "/").unwrap_or_default();
    ["shop-v1", "shop-v2"]
        .into_iter()
        .find(|name| answer.contains(&format!("\"service\": \"{name}\"")))
        .unwrap_or("?")
        .to_owned()
}

/// How long until `what` holds; at most ten seconds.
fn until(what: &str, holds: impl Fn() -> bool) -> Duration {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(10), "not within ten seconds: {what}");
        std::thread::yield_now();
    }
    begun.elapsed()
}

fn all(address: SocketAddr, wanted: &str) -> bool {
    (0..12).all(|_| service(address) == wanted)
}

#[test]
fn an_edit_of_the_written_quick_start_is_served_within_a_second_and_fails_no_request() {
    let quick = QuickStart::write();
    let transom = Transom::start(&quick.file, &[]).ready(Duration::from_secs(20));
    let load = Load::start(quick.http);
    let original = quick.text();

    for (weights, wanted) in [((0, 10), "shop-v2"), ((90, 0), "shop-v1"), ((0, 1), "shop-v2")] {
        let edited = original
            .replace("weight: 90", &format!("weight: {}", weights.0))
            .replace("weight: 10", &format!("weight: {}", weights.1));
        quick.save(&edited);
        let took = until("the edit is served", || all(quick.http, wanted));
        assert!(took < Duration::from_secs(1), "{weights:?} took {took:?}");
    }

    // what stops parsing keeps what was good, and is told
    quick.save(&original.replace("weight: 90", "weight: [90"));
    until("the broken file is told", || transom.get("/config").is_some_and(|dump| dump.contains("quickstart.yaml:")));
    assert!(all(quick.http, "shop-v2"), "the last good routes are served");
    quick.save(&original.replace("weight: 90", "weight: 1").replace("weight: 10", "weight: 0"));
    until("the mended file is served", || all(quick.http, "shop-v1"));

    load.end();
    assert!(transom.terminate(Duration::from_secs(40)).success());
}

#[test]
fn a_port_that_is_taken_is_told_and_waited_for_while_the_rest_serves() {
    let quick = QuickStart::write();
    let taken = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let text = quick.text();
    let at = text.find("    - name: https\n").unwrap();
    quick.save(&format!("{}    - name: taken\n      protocol: HTTP\n      port: {port}\n{}", &text[..at], &text[at..]));

    let transom = Transom::start(&quick.file, &[]);
    until("the other listeners serve", || service(quick.http) != "?");
    let said = transom.get("/readyz").unwrap();
    assert!(said.starts_with("HTTP/1.1 503") && said.contains("ports"), "{said}");
    until("the status says so", || {
        let dump = transom.get("/config").unwrap();
        dump.contains("PortUnavailable") && dump.contains("in use")
    });
    drop(taken);
    let transom = transom.ready(Duration::from_secs(10));
    let answer = get(([127, 0, 0, 1], port).into(), HOST, "/").unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    until("the status is mended", || !transom.get("/config").unwrap().contains("PortUnavailable"));
}

#[test]
fn without_any_port_the_process_ends_with_3_and_says_why() {
    let quick = QuickStart::write();
    let text = quick.text();
    let ports: Vec<u16> = text.lines().filter_map(|line| line.trim().strip_prefix("port: ")?.parse().ok()).collect();
    let held: Vec<TcpListener> =
        ports.iter().filter(|port| **port > 1024).map(|port| TcpListener::bind(("0.0.0.0", *port)).unwrap()).collect();
    assert_eq!(held.len(), 2);
    let output = run_to_end(&quick.file);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    for listener in &held {
        assert!(said.contains(&listener.local_addr().unwrap().port().to_string()), "{said}");
    }
}

fn run_to_end(file: &Path) -> std::process::Output {
    let admin = format!("127.0.0.1:{}", free_port());
    let mut command = std::process::Command::new(binary());
    command.args(["run", "-f"]).arg(file).args(["--admin-address", &admin]).output().unwrap()
}
