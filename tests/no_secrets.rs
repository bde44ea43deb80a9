//! No secret in any output: key material from Secrets, good and broken, and the tokens of requests, answers and
//! malformed bytes pass through a real process, at every level of its log and in every preset of its access log; then
//! all that it said is searched for each of them, also as base64, hex and lists of bytes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/process.rs"]
mod process;
#[path = "support/traffic/mod.rs"]
mod traffic;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use process::{Transom, binary, free_port};
use rcgen::{CertificateParams, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use traffic::client::Client;
use traffic::tls;

const PATIENCE: Duration = Duration::from_secs(30);

/// Every secret, by what it is.
#[derive(Default)]
struct Secrets(BTreeMap<String, Vec<u8>>);

impl Secrets {
    /// A token that nothing else contains.
    fn token(&mut self, name: &str) -> String {
        let word: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
        let token = format!("zq{}{word}xv{}", self.0.len(), std::process::id());
        self.0.insert(name.to_owned(), token.clone().into_bytes());
        token
    }

    /// A certificate and its key, whose every line is a secret.
    fn pair(&mut self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["a.example".to_owned()]).unwrap().self_signed(&key).unwrap();
        let pem = key.serialize_pem();
        let body: Vec<&str> = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        for (at, line) in body.iter().enumerate() {
            // what every P-256 key begins with is none
            let line = if at == 0 { &line[48..] } else { line };
            self.0.insert(format!("{name}, line {at}"), line.as_bytes().to_vec());
        }
        // PKCS#8 of P-256: the private scalar stands at 36
        let scalar = &key.serialized_der()[36..68];
        self.0.insert(format!("{name}, scalar"), scalar.to_vec());
        (certificate.pem(), pem)
    }

    /// What of them is in each text, and how.
    fn found_in<'t>(&self, texts: impl IntoIterator<Item = (&'t str, &'t [u8])>) -> Vec<String> {
        let mut known: BTreeMap<Vec<u8>, String> = BTreeMap::new();
        for (name, secret) in &self.0 {
            known.extend(forms(secret).into_iter().map(|(form, needle)| (needle, format!("{name} as {form}"))));
        }
        // one search for all of them: a log at level `trace` is long
        let any: Vec<String> = known.keys().map(|needle| regex::escape(std::str::from_utf8(needle).unwrap())).collect();
        let any = regex::bytes::RegexBuilder::new(&any.join("|")).size_limit(1 << 28).build().unwrap();
        let mut found = Vec::new();
        for (output, text) in texts {
            for seen in any.find_iter(text) {
                let around = &text[seen.start().saturating_sub(100)..(seen.end() + 20).min(text.len())];
                let what = &known[seen.as_bytes()];
                found.push(format!("{output}: {what}: …{}…", String::from_utf8_lossy(around)));
            }
        }
        found.sort();
        found.dedup_by_key(|leak| leak.split('…').next().map(str::to_owned));
        found
    }
}

/// A secret as it may be written.
fn forms(secret: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let hex = |upper| {
        secret.iter().fold(String::new(), |mut text, byte| {
            let _ = if upper { write!(text, "{byte:02X}") } else { write!(text, "{byte:02x}") };
            text
        })
    };
    let decimal: Vec<String> = secret.iter().map(u8::to_string).collect();
    let mut forms = vec![
        ("itself", secret.to_vec()),
        ("hex", hex(false).into_bytes()),
        ("hex", hex(true).into_bytes()),
        ("bytes", decimal.join(", ").into_bytes()),
        ("bytes", decimal.join(",").into_bytes()),
    ];
    for before in 0..3 {
        // within something longer: only whole characters of four are the same wherever it begins
        let mut padded = vec![0; before];
        padded.extend_from_slice(secret);
        let whole = padded.len() / 3 * 3;
        let text = base64(&padded[..whole]);
        forms.push(("base64", text.as_bytes()[if before == 0 { 0 } else { 4 }..].to_vec()));
    }
    // what is no text by itself, a key's number, cannot be in one
    forms.retain(|(_, form)| form.len() >= 12 && std::str::from_utf8(form).is_ok());
    forms
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits = three.iter().enumerate().fold(0_u32, |bits, (at, byte)| bits | u32::from(*byte) << (16 - 8 * at));
        for at in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * at)) as usize & 63];
            text.push(if at <= three.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

#[test]
fn the_search_finds_what_it_is_to_find() {
    assert_eq!(base64(b"Many hands"), "TWFueSBoYW5kcw==");
    let mut secrets = Secrets::default();
    let token = secrets.token("example");
    for text in [
        format!("x {token} y"),
        format!("Basic {}", base64(format!("me:{token}").as_bytes())),
        base64(format!("1{token}").as_bytes()),
        format!("{:?}", token.as_bytes()),
        token.bytes().map(|byte| format!("{byte:02x}")).collect::<String>(),
    ] {
        assert_eq!(secrets.found_in([("it", text.as_bytes())]).len(), 1, "{text}");
    }
    assert!(secrets.found_in([("it", &b"nothing of the kind"[..])]).is_empty());
}

const ROUTES: &str = r#"
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
  listeners:
    - {name: web, protocol: HTTP, port: HTTP}
    - {name: secure, protocol: HTTPS, port: HTTPS, tls: {certificateRefs: [{name: good}]}}
    - {name: other, protocol: HTTPS, port: HTTPS, hostname: b.example, tls: {certificateRefs: [{name: mismatched}]}}
    - {name: third, protocol: HTTPS, port: HTTPS, hostname: c.example, tls: {certificateRefs: [{name: garbage}]}}
    - {name: fourth, protocol: HTTPS, port: HTTPS, hostname: d.example, tls: {certificateRefs: [{name: opaque}]}}
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
apiVersion: v1
kind: Service
metadata: {name: dead}
spec: {ports: [{name: web, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: dead, labels: {kubernetes.io/service-name: dead}}
addressType: IPv4
ports: [{name: web, port: DEAD}]
endpoints: [{addresses: [127.0.0.1]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: app}
spec:
  parentRefs: [{name: edge}]
  rules:
    - matches: [{path: {value: /dead}}]
      backendRefs: [{name: dead, port: 80}]
    - matches: [{path: {value: /moved}}]
      filters: [{type: RequestRedirect, requestRedirect: {hostname: moved.example, statusCode: 302}}]
    - matches: [{path: {value: /slow}}]
      timeouts: {request: 200ms}
      backendRefs: [{name: backend, port: 80}]
    - matches: [{path: {value: /token}, headers: [{name: x-never, value: "1"}], queryParams: [{name: token, value: "1"}]}]
      backendRefs: [{name: backend, port: 80}]
    - retry: {codes: [503], attempts: 1, backoff: 10ms}
      filters: [{type: RequestMirror, requestMirror: {backendRef: {name: backend, port: 80}}}]
      backendRefs: [{name: backend, port: 80}]
"#;

/// Documents with secrets in them, each in a file of its own.
fn documents(secrets: &mut Secrets) -> Vec<(&'static str, String)> {
    let (certificate, key) = secrets.pair("good key");
    let (_, other) = secrets.pair("key of another");
    let secret = |name: &str, kind: &str, data: &str| {
        format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\ntype: {kind}\n{data}\n")
    };
    let pair = |certificate: &str, key: &str| {
        format!("data: {{tls.crt: {}, tls.key: {}}}", base64(certificate.as_bytes()), base64(key.as_bytes()))
    };
    let tls = "kubernetes.io/tls";
    let copy = format!(
        "  annotations:\n    kubectl.kubernetes.io/last-applied-configuration: '{{\"data\":{{\"tls.key\":\"{}\"}}}}'\n",
        base64(key.as_bytes())
    );
    let good = secret("good", tls, &pair(&certificate, &key))
        .replace("metadata: {name: good}\n", &format!("metadata:\n  name: good\n{copy}"));
    let mut token = |name: &str| secrets.token(name);
    vec![
        ("good.yaml", good),
        ("mismatched.yaml", secret("mismatched", tls, &pair(&certificate, &other))),
        ("garbage.yaml", secret("garbage", tls, &pair(&certificate, &token("garbage in place of a key")))),
        (
            "opaque.yaml",
            secret("opaque", "Opaque", &format!("data: {{password: {}}}", base64(token("opaque").as_bytes()))),
        ),
        ("not-base64.yaml", secret("plain", tls, &format!("data: {{tls.key: '{}!'}}", token("what is no base64")))),
        ("string-data.yaml", secret("strings", tls, &format!("stringData: {{tls.key: '{}'}}", token("stringData")))),
        ("text.yaml", secret("text", tls, &format!("data: {}", token("text in place of data")))),
        ("list.yaml", secret("list", tls, &format!("data: [{}]", token("list in place of data")))),
        (
            "nested.yaml",
            secret("nested", tls, &format!("data: {{tls.key: {{a: {}}}}}", token("mapping in place of a value"))),
        ),
        ("typo.yaml", secret("typo", tls, &format!("dat: {{tls.key: {}}}", token("unknown field")))),
        ("kind.yaml", secret("kind", &format!("[{}]", token("list in place of a type")), "data: {}")),
        ("immutable.yaml", secret("immutable", tls, &format!("immutable: {}", token("text in place of a boolean")))),
        ("syntax.yaml", secret("syntax", tls, &format!("data: {{tls.key: \"{}", token("no end")))),
        ("tag.yaml", secret("tag", tls, &format!("data: {{tls.key: !!int {}}}", token("wrong tag")))),
        ("twice.yaml", secret("twice", tls, &format!("data: {{a: {}, a: b}}", token("twice")))),
        ("anchor.yaml", secret("anchor", tls, &format!("data: {{a: *{}}}", token("alias")))),
        (
            "broken.json",
            format!("{{\"apiVersion\": \"v1\", \"kind\": \"Secret\", \"data\": {{\"a\": {}}}}}", token("no JSON")),
        ),
    ]
}

/// What came to the backend.
type Seen = Arc<Mutex<Vec<u8>>>;

/// Answers by path, with secrets of its own.
fn backend(secrets: &mut Secrets) -> (SocketAddr, Seen) {
    let seen = Seen::default();
    let kept = seen.clone();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let ok = format!(
        "HTTP/1.1 200 OK\r\nSet-Cookie: session={}; HttpOnly\r\nLocation: https://me:{}@x.example/?code={}\r\n\
         X-Api-Key: {}\r\nContent-Length: {}\r\n\r\n",
        secrets.token("set-cookie"),
        secrets.token("user of a location"),
        secrets.token("query of a location"),
        secrets.token("x-api-key of an answer"),
        20
    );
    let answers = [
        ("/fails", ok.replace("200 OK", "503 Unavailable")),
        ("/line", format!("{} nonsense\r\n\r\n", secrets.token("garbage for an answer"))),
        ("/status", format!("HTTP/1.1 {} OK\r\n\r\n", secrets.token("garbage for a status"))),
        ("/field", format!("HTTP/1.1 200 OK\r\nSet-Cookie {}\r\n\r\n", secrets.token("a header without colon"))),
        ("/length", format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", secrets.token("garbage for a length"))),
        (
            "/chunk",
            format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{}\r\n",
                secrets.token("garbage for a chunk")
            ),
        ),
        ("/cut", format!("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{}", secrets.token("body that is cut"))),
        ("/switch", format!("HTTP/1.1 101 Switching\r\nUpgrade: {}\r\n\r\n", secrets.token("protocol"))),
        (
            "/large",
            format!("HTTP/1.1 200 OK\r\nX: {}{}\r\n\r\n", secrets.token("header without end"), "x".repeat(2_000_000)),
        ),
    ];
    let body = secrets.token("body of an answer");
    let ok = format!("{ok}{:<20.20}", body);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (kept, answers, ok) = (kept.clone(), answers.clone(), ok.clone());
            std::thread::spawn(move || {
                let mut stream = stream.unwrap();
                let mut request = Vec::new();
                let mut buffer = [0; 65_536];
                while let Ok(count @ 1..) = stream.read(&mut buffer) {
                    kept.lock().unwrap().extend_from_slice(&buffer[..count]);
                    request.extend_from_slice(&buffer[..count]);
                    if !request.windows(4).any(|four| four == b"\r\n\r\n") {
                        continue;
                    }
                    let text = String::from_utf8_lossy(&std::mem::take(&mut request)).into_owned();
                    let path = text.split([' ', '?']).nth(1).unwrap_or_default();
                    if path.starts_with("/slow") {
                        continue;
                    }
                    let broken = answers.iter().find(|(prefix, _)| path.starts_with(prefix));
                    let answer = broken.map_or(ok.as_str(), |(_, answer)| answer.as_str());
                    if stream.write_all(answer.as_bytes()).is_err() || broken.is_some() {
                        return;
                    }
                }
            });
        }
    });
    (address, seen)
}

/// Takes every export of traces, and keeps all bytes of it.
fn collector() -> (SocketAddr, Seen) {
    let seen = Seen::default();
    let kept = seen.clone();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (kept, mut stream) = (kept.clone(), BufReader::new(stream.unwrap()));
            std::thread::spawn(move || {
                let (mut line, mut length) = (String::new(), 0);
                while stream.read_line(&mut line).is_ok_and(|count| count > 0) {
                    kept.lock().unwrap().extend_from_slice(line.as_bytes());
                    if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                    if line == "\r\n" {
                        let mut body = vec![0; std::mem::take(&mut length)];
                        stream.read_exact(&mut body).unwrap();
                        kept.lock().unwrap().extend_from_slice(&body);
                        stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
                    }
                    line.clear();
                }
            });
        }
    });
    (address, seen)
}

/// One process, its traffic, and all that it said.
struct Run {
    outputs: BTreeMap<String, Vec<u8>>,
}

/// Sends bytes as they are, reads what comes for a moment.
fn raw(address: SocketAddr, bytes: &[u8]) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(600))).unwrap();
    let _ = stream.write_all(bytes);
    let _ = stream.read_to_end(&mut Vec::new());
}

const PATHS: [&str; 13] = [
    "/", "/dead", "/moved", "/slow", "/fails", "/line", "/status", "/field", "/length", "/chunk", "/cut", "/switch",
    "/large",
];

async fn traffic(http: SocketAddr, https: SocketAddr, secrets: &mut Secrets) {
    let fields = [
        ("authorization", format!("Bearer {}", secrets.token("authorization"))),
        ("proxy-authorization", format!("Basic {}", base64(format!("me:{}", secrets.token("basic")).as_bytes()))),
        ("cookie", format!("session={}", secrets.token("cookie"))),
        ("x-api-key", secrets.token("x-api-key")),
        ("x-auth-token", secrets.token("x-auth-token")),
        (
            "referer",
            format!("https://me:{}@b.example/?token={}", secrets.token("user of a referer"), secrets.token("referer")),
        ),
    ];
    let query = secrets.token("query");
    let body = secrets.token("body of a request");
    let ask = Arc::new(move |path: &str, method: &str| {
        let uri = format!("http://a.example{path}?token={query}&access_token={query}");
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in &fields {
            request = request.header(*name, value);
        }
        let body = if method == "POST" { Bytes::from(body.clone()) } else { Bytes::new() };
        request.body(Full::new(body)).unwrap()
    });
    let mut asked = tokio::task::JoinSet::new();
    for path in PATHS {
        let ask = ask.clone();
        asked.spawn(async move {
            for method in ["GET", "POST"] {
                let _ = Client::h1(http).await.send(ask(path, method)).await;
            }
            let _ = Client::h2(http).await.send(ask(path, "GET")).await;
            for alpn in ["h2", "http/1.1"] {
                let stream = tls::connect(https, "a.example", &tls::client(&[alpn])).await.unwrap();
                let client = if alpn == "h2" { Client::h2_over(stream).await } else { Client::h1_over(stream).await };
                let _ = client.unwrap().send(ask(path, "POST")).await;
            }
        });
    }
    asked.join_all().await;
    // certificates that are not there, and bytes that are no handshake
    for name in ["b.example", "c.example", "d.example"] {
        let _ = tls::connect(https, name, &tls::client(&["h2"])).await;
    }
    let mut stream = tokio::net::TcpStream::connect(https).await.unwrap();
    let plain = format!(
        "GET /?token={} HTTP/1.1\r\nAuthorization: {}\r\n\r\n",
        secrets.token("query in the clear"),
        secrets.token("header in the clear")
    );
    stream.write_all(plain.as_bytes()).await.unwrap();
    let _ = stream.read_to_end(&mut Vec::new()).await;

    let mut token = |name: &str| secrets.token(name);
    let host = "Host: a.example\r\n";
    let malformed = [
        format!("GET /?{} HTTP/9.9\r\n{host}\r\n", token("query of another version")),
        format!("GET /?{}\r\n{host}\r\n", token("query without a version")),
        format!("GET / HTTP/1.1\r\n{host}Authorization {}\r\n\r\n", token("header without colon")),
        format!("GET / HTTP/1.1\r\n{host}Authorization: a\u{1}{}\r\n\r\n", token("header with a control")),
        format!("GET / HTTP/1.1\r\n{host}Cookie: a\r\n {}\r\n\r\n", token("folded header")),
        format!("GET / HTTP/1.1\r\n{host}Content-Length: {}\r\n\r\n", token("length")),
        format!("POST / HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n{}\r\n", token("chunk")),
        format!("POST / HTTP/1.1\r\n{host}Transfer-Encoding: {}\r\n\r\n", token("transfer-encoding")),
        format!("GET / HTTP/1.1\r\nHost: me:{}@a.example\r\n\r\n", token("user of a host")),
        format!("GET http://me:{}@a.example/ HTTP/1.1\r\n{host}\r\n", token("user of a target")),
        format!("GET / HTTP/1.1\r\n{host}{host}Authorization: {}\r\n\r\n", token("two hosts")),
        format!("GET / HTTP/1.1\r\n{host}Cookie: {}{}\r\n\r\n", token("cookie without end"), "x".repeat(100_000)),
        format!("GET /?{}{} HTTP/1.1\r\n{host}\r\n", token("target without end"), "x".repeat(20_000)),
        format!(
            "GET /?t={} HTTP/1.0\r\nAuthorization: {}\r\n\r\n",
            token("query of the old version"),
            token("header of the old version")
        ),
        format!(
            "GET /nowhere?t={} HTTP/1.1\r\nHost: nobody.example\r\nCookie: {}\r\n\r\n",
            token("query for nobody"),
            token("cookie for nobody")
        ),
        format!("CONNECT me:{}@a.example:443 HTTP/1.1\r\n\r\n", token("user of a tunnel")),
        format!("TRACE / HTTP/1.1\r\n{host}Cookie: {}\r\n\r\n", token("trace")),
        format!("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{}", token("frames")),
        format!("GET / HTTP/1.1\r\n{host}Authorization: {}", token("header that is not finished")),
    ];
    let sent = malformed.into_iter().map(|bytes| tokio::task::spawn_blocking(move || raw(http, bytes.as_bytes())));
    for one in sent.collect::<Vec<_>>() {
        one.await.unwrap();
    }
}

/// Runs a process with these settings, sends it everything, and gathers what it said.
async fn run(
    space: &Path,
    folder: &Path,
    ports: (SocketAddr, SocketAddr),
    secrets: &mut Secrets,
    arguments: &[&str],
) -> Run {
    let name = arguments.len();
    let (out, log) = (space.join(format!("{name}.out")), space.join(format!("{name}.err")));
    let given = ["-f", folder.to_str().unwrap(), "--drain-grace", "0s", "--drain-limit", "1s", "--workers", "2"];
    let transom = Transom::logging(&[&given[..], arguments].concat(), &out, &log).ready(PATIENCE);
    traffic(ports.0, ports.1, secrets).await;
    let mut outputs = BTreeMap::new();
    let explained = format!(
        "/explain?method=GET&url=http://a.example/token&header=authorization:{}",
        secrets.token("explained header")
    );
    for path in ["/metrics", "/config", "/readyz", &explained] {
        let answer = transom.get(path).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        outputs.insert(path.split('?').next().unwrap().to_owned(), answer.into_bytes());
    }
    assert!(transom.terminate(PATIENCE).success());
    outputs.insert("stdout".to_owned(), fs::read(out).unwrap());
    outputs.insert("stderr".to_owned(), fs::read(log).unwrap());
    Run { outputs }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_passes_through_is_said_anywhere() {
    let mut secrets = Secrets::default();
    let space = tempfile::tempdir().unwrap();
    let folder = space.path().join("manifests");
    fs::create_dir(&folder).unwrap();
    let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let (http, https) = (local(free_port()), local(free_port()));
    let (backend, seen) = backend(&mut secrets);
    let routes = ROUTES
        .replace("port: HTTPS", &format!("port: {}", https.port()))
        .replace("port: HTTP", &format!("port: {}", http.port()))
        .replace("BACKEND", &backend.port().to_string())
        .replace("DEAD", &free_port().to_string());
    fs::write(folder.join("routes.yaml"), routes).unwrap();
    for (name, document) in documents(&mut secrets) {
        fs::write(folder.join(name), document).unwrap();
    }

    let (collector, spans) = collector();
    let endpoint = format!("--tracing-otlp-endpoint=http://{collector}");
    let mut outputs: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for arguments in [
        &["--log-level", "trace", "--access-log-headers", "*"][..],
        &["--log-level", "debug", "--access-log", "text", "--access-log-headers", "*", "--log-format", "json"],
        &["--access-log", "common"],
    ] {
        let all = [arguments, &[endpoint.as_str()]].concat();
        let run = run(space.path(), &folder, (http, https), &mut secrets, &all).await;
        // what is searched is what was meant: requests, headers, problems, certificates
        let said = |name: &str| text(&run.outputs[name]);
        assert!(said("stdout").contains("/moved"), "{}", said("stdout"));
        assert_eq!(said("stdout").contains("REDACTED"), arguments.contains(&"*"));
        assert!(said("stderr").contains("mismatched"), "{}", said("stderr"));
        assert!(said("/config").contains("fingerprint") && said("/config").contains("garbage"), "{}", said("/config"));
        assert!(said("/metrics").contains("upstream_reset"), "{}", said("/metrics"));
        assert!(said("/explain").contains("\"listener\""), "{}", said("/explain"));
        outputs.extend(run.outputs.into_iter().map(|(name, bytes)| (format!("{name} of {arguments:?}"), bytes)));
    }
    let settings = Command::new(binary())
        .arg("config")
        .env("OTEL_EXPORTER_OTLP_HEADERS", format!("authorization={}", secrets.token("header for a collector")))
        .output()
        .unwrap();
    assert!(text(&settings.stdout).contains("accessLogHeaders"), "{}", text(&settings.stdout));
    outputs.insert("config".to_owned(), [settings.stdout, settings.stderr].concat());
    for arguments in [
        &["check", "-o", "text"][..],
        &["check", "-o", "json"],
        &["check", "-o", "yaml"],
        &["routes"],
        &["explain", "GET", "http://a.example/token?token=2", "-H", "authorization: x"],
    ] {
        let output = Command::new(binary()).args(arguments).arg("-f").arg(&folder).output().unwrap();
        assert!(output.stdout.len() + output.stderr.len() > 300, "{arguments:?}: {}", text(&output.stderr));
        outputs.insert(format!("stdout of {arguments:?}"), output.stdout);
        outputs.insert(format!("stderr of {arguments:?}"), output.stderr);
    }

    let spans = spans.lock().unwrap().clone();
    assert!(spans.windows(6).any(|six| six == b"/moved"), "no traces: {}", text(&spans));
    outputs.insert("traces".to_owned(), spans);

    // and they did pass through
    let arrived = seen.lock().unwrap().clone();
    for name in ["authorization", "cookie", "query", "body of a request", "referer", "header of the old version"] {
        let token = &secrets.0[name];
        assert!(arrived.windows(token.len()).any(|window| window == token), "{name} never came to the backend");
    }
    let leaks = secrets.found_in(outputs.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())));
    assert!(leaks.is_empty(), "{} leaks:\n{}", leaks.len(), leaks.join("\n"));
}
