//! The access log: each preset is what its readers expect, whatever a client sends; settings choose which requests are
//! logged and what of their headers.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod support {
    pub mod process;
}

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;
use regex::Regex;
use serde_json::Value;
use support::process::{Transom, binary, free_port, get};
use transom::telemetry::access_log::{Format, HeaderRules, Options, Treatment};
use transom::telemetry::{AccessLog, BuildLabels, Headers, Reason, RequestRecord, Telemetry};

const PATIENCE: Duration = Duration::from_secs(20);
const HEADERS: [&str; 3] = ["user-agent", "x-a", "x-b"];

#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a log of this format has of a record.
fn logged(format: Format, record: &RequestRecord<'_>) -> String {
    let memory = Memory::default();
    let options = Options { format, headers: HeaderRules::new(Vec::new(), Treatment::Keep), ..Options::default() };
    let telemetry = Telemetry::new(BuildLabels::default(), AccessLog::start(options, memory.clone()).unwrap());
    telemetry.recorder(0).record(record);
    assert!(telemetry.close(PATIENCE));
    let bytes = memory.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

/// Apache's `%h %l %u %t "%r" %>s %b`, field by field.
fn common() -> Regex {
    Regex::new(concat!(
        r"^([0-9a-f.:]+|-) - - \[\d{2}/[A-Z][a-z]{2}/\d{4}:\d{2}:\d{2}:\d{2} \+0000\] ",
        r#""(?:-|([!-~]+) ([!-~]+) (HTTP/[0-9.]+))" ([1-5]\d\d|-) (\d+|-)$"#
    ))
    .unwrap()
}

/// Text that tries to be more than one field, or more than one line.
fn hostile() -> impl Strategy<Value = String> {
    let pieces = prop::collection::vec(
        prop_oneof![
            Just("\"".to_owned()),
            Just("\\".to_owned()),
            Just("\n".to_owned()),
            Just("\r\n127.0.0.1 - - [".to_owned()),
            Just("\",\"status\":200}".to_owned()),
            Just(" ".to_owned()),
            Just("\u{2028}".to_owned()),
            Just("\u{1b}[31m".to_owned()),
            ".{0,5}",
            "[a-z/%]{0,8}",
        ],
        0..6,
    );
    pieces.prop_map(|pieces| pieces.concat())
}

fn value() -> impl Strategy<Value = HeaderValue> {
    let allowed = |bytes: Vec<u8>| HeaderValue::from_bytes(&bytes).ok();
    prop::collection::vec(any::<u8>(), 0..40).prop_filter_map("no control characters", allowed)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_is_sent_a_line_stays_one_line_and_its_fields_stay_apart(
        (method, host, path, error) in (hostile(), hostile(), hostile(), prop::option::of(hostile())),
        code in prop_oneof![Just(0_u16), 100..600_u16],
        bytes_sent in any::<u32>(),
        lines in prop::collection::vec((0..HEADERS.len(), value()), 0..5),
    ) {
        let mut headers = HeaderMap::new();
        for (at, value) in lines {
            headers.append(HeaderName::from_static(HEADERS[at]), value);
        }
        let record = RequestRecord {
            listener: None,
            route: None,
            method: &method,
            host: &host,
            path: &path,
            protocol: "HTTP/2",
            tls: false,
            code,
            reason: Reason::None,
            client: "[2001:db8::1]:4711".parse().ok(),
            request_id: "",
            upstream: None,
            duration: Duration::from_millis(1),
            upstream_duration: Duration::ZERO,
            bytes_received: 0,
            bytes_sent: bytes_sent.into(),
            trace_id: None,
            error: error.as_deref(),
            headers: Headers { request: Some(&headers), response: Some(&headers) },
        };
        let bare = path.split('?').next().unwrap();

        let json = logged(Format::Json, &record);
        prop_assert_eq!(json.matches('\n').count(), 1);
        let read: Value = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(&read["method"], &method);
        prop_assert_eq!(&read["host"], &host);
        prop_assert_eq!(&read["path"], bare);
        prop_assert_eq!(&read["status"], code);
        prop_assert_eq!(read["error"].as_str(), error.as_deref());
        for name in HEADERS {
            let sent: Vec<_> = headers.get_all(name).iter().map(|v| String::from_utf8_lossy(v.as_bytes())).collect();
            let shown = (!sent.is_empty()).then(|| sent.join(", "));
            prop_assert_eq!(read["request_headers"][name].as_str(), shown.as_deref());
            prop_assert_eq!(read["response_headers"][name].as_str(), shown.as_deref());
        }
        prop_assert_eq!(read.get("request_headers").is_some(), !headers.is_empty());

        let line = logged(Format::Common, &record);
        let fields = common().captures(line.strip_suffix('\n').unwrap());
        prop_assert!(fields.is_some(), "{}", line);
        let fields = fields.unwrap();
        prop_assert_eq!(&fields[1], "2001:db8::1");
        let status = if code == 0 { "-".to_owned() } else { code.to_string() };
        prop_assert_eq!(&fields[5], status.as_str());
        let plain = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && !b"\"\\".contains(&b));
        if plain(&method) && plain(bare) {
            prop_assert_eq!((&fields[2], &fields[3], &fields[4]), (method.as_str(), bare, "HTTP/2.0"));
        }

        let text = logged(Format::Text, &record);
        prop_assert_eq!(text.matches('\n').count(), 1);
        prop_assert!(!text.trim_end_matches('\n').contains(char::is_control));
        prop_assert_eq!(text.matches('"').count() % 2, 0);
    }
}

const MANIFESTS: &str = r#"
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: transom}
spec: {controllerName: transom.dev/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: transom
  addresses: [{value: 127.0.0.1}]
  listeners: [{name: web, protocol: HTTP, port: PORT}]
---
apiVersion: v1
kind: Service
metadata: {name: backend}
spec: {ports: [{name: web, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: backend, labels: {kubernetes.io/service-name: backend}}
addressType: IPv4
ports: [{name: web, port: BACKEND}]
endpoints: [{addresses: [127.0.0.1]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: app}
spec:
  parentRefs: [{name: edge}]
  rules:
    - matches: [{path: {value: /limited}}]
      timeouts: {request: 300ms}
      backendRefs: [{name: backend, port: 80}]
    - backendRefs: [{name: backend, port: 80}]
"#;

/// Answers by path: `/status/N`; `/limited` begins an answer and never ends it.
fn backend() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || answer(stream.unwrap()));
        }
    });
    address
}

fn answer(mut stream: TcpStream) {
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        seen.extend_from_slice(&buffer[..count]);
        if !seen.ends_with(b"\r\n\r\n") {
            continue;
        }
        let text = String::from_utf8(std::mem::take(&mut seen)).unwrap();
        let path = text.split([' ', '?']).nth(1).unwrap();
        let headers = "Set-Cookie: session=s3cret\r\nX-Kept: seen\r\n";
        if path.starts_with("/limited") {
            let _ = write!(stream, "HTTP/1.1 200 OK\r\n{headers}Content-Length: 100\r\n\r\nbegun");
            continue;
        }
        let status = path.strip_prefix("/status/").unwrap_or("200");
        let _ = write!(stream, "HTTP/1.1 {status} Status\r\n{headers}Content-Length: 2\r\n\r\nok");
    }
}

/// A gateway with its access log in a file.
struct Setup {
    _space: tempfile::TempDir,
    transom: Transom,
    address: SocketAddr,
    log: PathBuf,
}

impl Setup {
    fn start(arguments: &[&str]) -> Setup {
        let space = tempfile::tempdir().unwrap();
        let manifests = space.path().join("all.yaml");
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let text = MANIFESTS.replace("PORT", &address.port().to_string());
        fs::write(&manifests, text.replace("BACKEND", &backend().port().to_string())).unwrap();
        let log = space.path().join("access.log");
        let given = ["-f", manifests.to_str().unwrap()];
        let all = [&given[..], arguments].concat();
        let transom = Transom::logging(&all, &log, &space.path().join("events.log")).ready(PATIENCE);
        let begun = Instant::now();
        while !fs::read_to_string(&log).unwrap().contains("Ctrl-C") {
            assert!(begun.elapsed() < PATIENCE, "it never says that it serves");
            std::thread::sleep(Duration::from_millis(5));
        }
        Setup { _space: space, transom, address, log }
    }

    fn get(&self, path: &str) {
        get(self.address, "a.example", path).unwrap();
    }

    /// Sends a request as it stands and reads what comes, until the connection ends.
    fn raw(&self, request: &str) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    }

    /// The lines of requests, once there are `count` of them and no more.
    fn lines(&self, count: usize) -> Vec<String> {
        let begun = Instant::now();
        loop {
            let text = fs::read_to_string(&self.log).unwrap();
            // above them stands what the start has to tell
            let announced = text.lines().skip_while(|line| !line.starts_with("Ctrl-C")).skip(1);
            let lines: Vec<String> = announced.filter(|line| !line.is_empty()).map(str::to_owned).collect();
            assert!(lines.len() <= count, "{lines:#?}");
            if lines.len() == count {
                return lines;
            }
            assert!(begun.elapsed() < PATIENCE, "{count} lines: {text}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn by_default_every_request_has_a_json_line_without_headers() {
    let setup = Setup::start(&[]);
    setup.raw("GET /status/404?token=s3cret HTTP/1.1\r\nHost: a.example\r\nUser-Agent: x\r\nConnection: close\r\n\r\n");
    let lines = setup.lines(1);
    let line: Value = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!(line["status"], 404);
    assert_eq!(line["path"], "/status/404");
    assert!(line.get("request_headers").is_none() && line.get("response_headers").is_none(), "{line}");
    assert!(!lines[0].contains("s3cret") && !lines[0].contains("seen"), "{line}");
    let (whole, upstream) = (line["duration_ms"].as_f64().unwrap(), line["upstream_duration_ms"].as_f64().unwrap());
    assert!(whole >= upstream && upstream > 0.0, "{line}");
}

#[test]
fn common_is_the_common_log_format() {
    let setup = Setup::start(&["--access-log", "common"]);
    setup.get("/status/201?token=s3cret");
    let lines = setup.lines(1);
    let fields = common().captures(&lines[0]).unwrap_or_else(|| panic!("{lines:?}"));
    let fields: Vec<&str> = fields.iter().skip(1).map(|field| field.unwrap().as_str()).collect();
    assert_eq!(fields, ["127.0.0.1", "GET", "/status/201", "HTTP/1.1", "201", "2"]);
}

#[test]
fn either_filter_takes_a_request_and_the_draw_spares_failures() {
    let setup = Setup::start(&["--access-log-status", "4xx,201,503", "--access-log-sample", "0"]);
    for code in [200, 201, 404, 500, 503] {
        setup.get(&format!("/status/{code}"));
    }
    let lines = setup.lines(1);
    assert!(lines[0].contains("/status/503"), "{lines:?}");
    let page = setup.transom.get("/metrics").unwrap();
    assert!(page.contains("code=\"404\""), "metrics know of all: {page}");

    let setup = Setup::start(&["--access-log-status", "404", "--access-log-min-duration", "250ms"]);
    setup.get("/status/200");
    setup.get("/status/404");
    setup.raw("GET /limited HTTP/1.1\r\nHost: a.example\r\n\r\n"); // it is cut
    let lines = setup.lines(2);
    assert!(lines[0].contains("/status/404") && lines[1].contains("/limited"), "{lines:?}");
}

#[test]
fn headers_are_shown_as_the_setting_says() {
    let shown = "user-agent,Referer,authorization,set-cookie,cookie=keep,x-kept=redact,x-none";
    let setup = Setup::start(&["--access-log-headers", shown]);
    let request = "GET /PATH HTTP/1.1\r\nHost: a.example\r\nUser-Agent: Mozilla \"x\"\r\nX-Other: seen\r\n\
                   Referer: https://b.example/x?token=s3cret\r\nAuthorization: Bearer s3cret\r\nCookie: a=b\r\n\
                   Connection: close\r\n\r\n";
    setup.raw(&request.replace("PATH", "status/200"));
    // one whose answer is cut at the limit has ended without its session
    setup.raw(&request.replace("PATH", "limited"));
    let lines = setup.lines(2);
    for (at, line) in lines.iter().enumerate() {
        let line: Value = serde_json::from_str(line).unwrap();
        let asked = serde_json::json!({
            "user-agent": "Mozilla \"x\"",
            "referer": "https://b.example/x",
            "authorization": "REDACTED",
            "cookie": "a=b",
        });
        assert_eq!(line["request_headers"], asked, "{line}");
        let answered = serde_json::json!({"set-cookie": "REDACTED", "x-kept": "REDACTED"});
        if at == 0 {
            assert_eq!(line["response_headers"], answered, "{line}");
        }
    }
    assert!(!lines.concat().contains("s3cret"));

    let setup = Setup::start(&["--access-log", "text", "--access-log-headers", "*,x-kept=drop"]);
    setup.raw(&request.replace("PATH", "status/200"));
    let line = setup.lines(1).remove(0);
    for part in [
        "request.user-agent=\"Mozilla \\u{22}x\\u{22}\"",
        "request.x-other=\"seen\"",
        "request.cookie=\"REDACTED\"",
        "response.set-cookie=\"REDACTED\"",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert!(!line.contains("s3cret") && !line.contains("x-kept"), "{line}");
}

#[test]
fn settings_that_cannot_be_are_refused_in_words() {
    for (arguments, words) in [
        (&["--access-log", "combined"][..], "possible values: json, common, text, off"),
        (&["--access-log-status", "9xx"], "404,500-504,2xx"),
        (&["--access-log-sample", "2"], "a number from 0 to 1"),
        (&["--access-log-headers", "a=show"], "=keep, =redact or =drop"),
        (&["--access-log", "common", "--access-log-headers", "user-agent"], "`common` has no place for headers"),
    ] {
        let output = Command::new(binary()).arg("run").args(arguments).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains(words), "{words}: {told}");
    }
}
