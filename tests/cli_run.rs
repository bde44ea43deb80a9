//! `transom run`: what it prints when it is ready is true, and it ends as it should.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod cli_support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use cli_support::{Folder, quickstart};
use serde_json::Value;
use transom::config::Config;
use transom::proxy;

/// A run, which is ended with the value.
struct Running {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Running {
    fn start(folder: &Path, arguments: &[&str]) -> Running {
        let mut child = Command::new(env!("CARGO_BIN_EXE_transom"))
            .arg("run")
            .args(arguments)
            .args(["--workers", "1", "--admin-address", "127.0.0.1:0", "--access-log", "off", "--drain-grace", "0s"])
            .current_dir(folder)
            .env_clear()
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Running { child, out }
    }

    /// What is printed up to the last line of the announcement; the end of the process fails the test.
    fn announcement(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if self.out.read_line(&mut line).unwrap() == 0 {
                let mut error = String::new();
                self.child.stderr.take().unwrap().read_to_string(&mut error).unwrap();
                panic!("ended before it was ready: {lines:#?}\n{error}");
            }
            lines.push(line.trim_end().to_owned());
            if line.starts_with("Ctrl-C") {
                return lines;
            }
        }
    }

    fn interrupt(mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        assert!(Command::new("sh").args(["-c", &format!("kill -INT {pid}")]).status().unwrap().success());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a line prints.
fn shell(line: &str) -> String {
    let output = Command::new("sh").args(["-c", &line.replacen("curl ", "curl -sS ", 1)]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// The quick start on loopback and on ports that are free.
fn folder() -> Folder {
    let held = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let mut ports = held.each_ref().map(|listener| listener.local_addr().unwrap().port());
    ports.sort_unstable(); // lines to try stand in the order of ports, HTTP first as in the original
    let [http, https] = ports;
    let folder = Folder::new();
    let class = "gatewayClassName: transom";
    let here = format!("{class}\n  addresses:\n    - value: 127.0.0.1");
    let text = quickstart().replace(class, &here).replace("port: 8080", &format!("port: {http}"));
    folder.write("q.yaml", text.replace("port: 8443", &format!("port: {https}")));
    folder
}

#[test]
fn every_line_to_try_works_as_printed_and_an_interrupt_ends_with_0() {
    let folder = folder();
    let mut running = Running::start(folder.path(), &["-f", "q.yaml"]);
    let lines = running.announcement();
    let text = lines.join("\n");
    assert!(!text.contains('\x1b'), "no colours into a pipe");
    assert!(text.contains("default/quickstart  http"), "{text}");
    assert!(text.contains("shop-v1:80 90%, shop-v2:80 10%"), "{text}");
    assert!(text.contains("301 redirect: host shop.localhost"), "{text}");
    assert!(text.contains("URLRewrite prefix /v1 -> /"), "{text}");
    assert!(!text.contains("Problems"), "{text}");

    let tries: Vec<&str> =
        lines.iter().filter_map(|line| line.strip_prefix("  ")).filter(|l| l.starts_with("curl")).collect();
    assert_eq!(tries.len(), 11, "{text}");
    let mut answered: BTreeMap<String, usize> = BTreeMap::new();
    let (by_head, by_body): (Vec<&str>, Vec<&str>) = tries.iter().partition(|line| line.contains(" -i "));
    for line in by_body {
        let output = Command::new("sh").args(["-c", &line.replace("curl ", "curl -sS --fail ")]).output().unwrap();
        let answer: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{line}: {error}: {}", String::from_utf8_lossy(&output.stderr)));
        *answered.entry(answer["service"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    for service in ["apps", "chat", "orders", "orders-write", "shop-v2", "welcome"] {
        assert!(answered.contains_key(service), "{service}: {answered:?}");
    }
    let heads: Vec<String> = by_head.iter().map(|line| shell(line)).collect();
    let [redirect, socket] = &heads[..] else { panic!("{heads:?}") };
    let port = tries.iter().find_map(|line| line.strip_prefix("curl http://shop.localhost:")).unwrap();
    assert!(redirect.starts_with("HTTP/1.1 301 "), "{redirect}");
    assert!(
        redirect.to_ascii_lowercase().contains(&format!("location: http://shop.localhost:{port}\r\n")),
        "{redirect}"
    );
    assert!(socket.starts_with("HTTP/1.1 101 "), "{socket}");
    assert!(socket.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "RFC 6455's own answer to its own key: {socket}");

    let admin = lines.iter().find_map(|line| line.strip_prefix("Admin:")).unwrap().split_whitespace().next().unwrap();
    let admin = admin.trim_end_matches("/metrics");
    let url = format!("http://shop.localhost:{port}");
    let asked = folder.run(&["explain", "GET", &url, "-H", "x-version: v2", "--admin", admin, "-o", "json"]);
    assert_eq!(asked.code, 0, "{asked:?}");
    let explained: Value = serde_json::from_str(&asked.out).unwrap();
    assert_eq!(explained["rule"]["name"], "preview");
    let endpoint = explained["backends"][0]["endpoints"][0].as_str().unwrap();
    assert!(endpoint.starts_with("127.0.0.1:"), "{endpoint}");
    assert_eq!(folder.run(&["explain", "GET", &url, "--admin", admin]).code, 0);
    assert_eq!(running.interrupt(), Some(0));
}

#[test]
fn what_is_wrong_is_told_with_file_and_line_and_the_rest_is_served() {
    let folder = folder();
    let text = std::fs::read_to_string(folder.path().join("q.yaml")).unwrap();
    let at = text.lines().position(|line| line.contains("name: orders-write")).unwrap() + 1;
    folder.write("q.yaml", text.replacen("name: orders-write", "name: nobody", 1));
    let mut running = Running::start(folder.path(), &["-f", "q.yaml"]);
    let told = running.announcement().join("\n");
    let place = format!("q.yaml:{at}: problem: HTTPRoute default/api: spec.rules[1].backendRefs[0]");
    assert!(told.contains(&place), "{place}\n{told}");
    assert!(told.contains("500 invalid_backend"), "{told}");
    assert_eq!(running.interrupt(), Some(0));
}

#[test]
fn an_admin_address_that_is_taken_is_exit_code_3() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let folder = folder();
    let run = folder.run(&["run", "-f", "q.yaml", "--admin-address", &address]);
    assert_eq!(run.code, 3, "{run:?}");
    assert!(run.err.contains(&address), "{run:?}");
}

#[test]
fn the_defaults_of_the_settings_are_those_of_the_data_plane() {
    let (config, proxy) = (Config::default(), proxy::Settings::default());
    assert_eq!(config.first_byte_timeout.0, proxy.first_byte_timeout);
    assert_eq!(config.header_timeout.0, proxy.header_timeout);
    assert_eq!(config.header_limit.0 as usize, proxy.header_limit);
    assert_eq!(config.header_limit.0, proxy.h2_header_limit);
    assert_eq!(config.handshake_timeout.0, proxy.handshake_timeout);
    assert_eq!(config.keepalive_timeout.0, proxy.keepalive_timeout);
    assert_eq!(config.http2_streams.0, proxy.h2_streams);
    assert_eq!(config.connect_timeout.0, proxy.connect_timeout);
    assert_eq!(config.upstream_idle_timeout.0, proxy.upstream_idle_timeout);
    assert_eq!(config.upstream_pool.0, proxy.upstream_pool);
    assert_eq!(config.tcp_keepalive.0, proxy.tcp_keepalive);
    assert_eq!(config.workers.0, 0);
    assert_eq!(proxy.workers, None);
}
