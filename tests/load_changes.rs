//! Thirty seconds of load while everything changes twenty times a second: no request fails.
//!
//! A real `transom run -f` process, changed by editing its files. 64 keep-alive clients and 16 that open a
//! connection for each request, over HTTP/1.1, h2c and TLS (h1 and h2). Routes come and go, weights move,
//! endpoints appear and disappear (their servers stop), listeners are added and removed, the certificate in use
//! is replaced. A request fails if it gets no complete answer, a status other than 200, or a body that no
//! backend of its route sends.

mod support {
    pub mod process;
}

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body_util::{BodyExt, Empty, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use support::process::{Transom, free_port};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

const LOAD: Duration = Duration::from_secs(30);
const CHANGES_PER_SECOND: u32 = 20;
const KEEP_ALIVE: usize = 64;
const NEW_CONNECTION: usize = 16;

#[test]
fn no_request_fails_while_everything_changes() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(load());
}

async fn load() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let space = tempfile::tempdir().unwrap();
    let folder = space.path().join("manifests");
    fs::create_dir(&folder).unwrap();

    let mut world = World::new(&folder).await;
    let transom = Transom::start(&folder, &["--workers", "2"]).ready(Duration::from_secs(20));

    let stop = Arc::new(AtomicBool::new(false));
    let tally = Arc::new(Tally::default());
    let mut clients = Vec::new();
    for number in 0..KEEP_ALIVE + NEW_CONNECTION {
        let client = Client {
            way: [Way::H1, Way::H2c, Way::TlsH1, Way::TlsH2][number % 4],
            fresh: number >= KEEP_ALIVE,
            http: world.http,
            https: world.https,
            stop: stop.clone(),
            tally: tally.clone(),
        };
        clients.push(tokio::spawn(client.run(number)));
    }

    let started = Instant::now();
    let mut changes = 0;
    while started.elapsed() < LOAD {
        world.change(changes).await;
        changes += 1;
        if changes % CHANGES_PER_SECOND == 0 {
            world.stop_leaving(&transom.get("/config").expect("the admin server answers"));
        }
        tokio::time::sleep_until((started + Duration::from_secs(1) * changes / CHANGES_PER_SECOND).into()).await;
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }

    let failures = tally.failures.lock().unwrap().clone();
    let by_way = tally.by_way.lock().unwrap().clone();
    println!(
        "{changes} changes in {:?}; good answers: {by_way:?}; failed: {}",
        started.elapsed(),
        failures.values().sum::<u64>()
    );
    assert!(failures.is_empty(), "failed requests: {failures:#?}");
    assert!(changes >= 20 * 29, "only {changes} changes were made");
    for way in ["H1", "H2c", "TlsH1", "TlsH2"] {
        for kind in ["kept", "fresh"] {
            let count = by_way.get(&format!("{way} {kind}")).copied().unwrap_or_default();
            assert!(count > 100, "only {count} requests over {way} {kind}");
        }
    }
    assert!(tally.certificates.lock().unwrap().len() > 5, "the certificate was not seen to change");
    let status = transom.terminate(Duration::from_secs(40));
    assert!(status.success(), "{status}");
}

/// The manifests, the servers behind them, and how they change.
struct World {
    folder: std::path::PathBuf,
    http: SocketAddr,
    https: SocketAddr,
    extra_port: u16,
    steady: Vec<Backend>,
    passing: Vec<Backend>,
    /// Out of the manifests, and still up until the gateway has seen that: as a Pod that terminates.
    leaving: Vec<Backend>,
}

struct Backend {
    address: SocketAddr,
    stop: CancellationToken,
}

impl World {
    async fn new(folder: &Path) -> World {
        let world = World {
            folder: folder.to_owned(),
            http: ([127, 0, 0, 1], free_port()).into(),
            https: ([127, 0, 0, 1], free_port()).into(),
            extra_port: free_port(),
            steady: vec![Backend::start("one").await, Backend::start("two").await],
            passing: Vec::new(),
            leaving: Vec::new(),
        };
        world.write_gateway(false);
        world.write_certificate();
        world.write_routes(0);
        world.write_endpoints();
        world
    }

    async fn change(&mut self, number: u32) {
        match number % 5 {
            0 => self.write_routes(number),
            1 => self.write_certificate(),
            2 => self.write_gateway(number.is_multiple_of(2)),
            3 => {
                self.passing.push(Backend::start("one").await);
                self.write_endpoints();
            }
            _ => {
                let gone = std::mem::take(&mut self.passing);
                self.write_endpoints();
                self.leaving.extend(gone);
            }
        }
    }

    /// Stops the servers that the gateway does not know any more.
    fn stop_leaving(&mut self, config: &str) {
        self.leaving.retain(|backend| {
            let known = config.contains(&format!("\"{}\"", backend.address));
            if !known {
                backend.stop.cancel();
            }
            known
        });
    }

    /// As editors do: whole, by rename.
    fn write(&self, name: &str, text: &str) {
        let temporary = self.folder.join(format!(".{name}.tmp"));
        fs::write(&temporary, text).unwrap();
        fs::rename(&temporary, self.folder.join(name)).unwrap();
    }

    fn write_gateway(&self, extra: bool) {
        let mut text = format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {{name: transom}}\nspec: {{controllerName: transom.dev/gateway-controller}}\n---\n\
             apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: edge, namespace: default}}\nspec:\n  gatewayClassName: transom\n  addresses: [{{type: IPAddress, value: 127.0.0.1}}]\n  listeners:\n  - {{name: http, port: {}, protocol: HTTP}}\n  - {{name: https, port: {}, protocol: HTTPS, hostname: '*.example.com', tls: {{certificateRefs: [{{name: certificate}}]}}}}\n",
            self.http.port(),
            self.https.port()
        );
        if extra {
            writeln!(text, "  - {{name: extra, port: {}, protocol: HTTP}}", self.extra_port).unwrap();
        }
        self.write("gateway.yaml", &text);
    }

    fn write_certificate(&self) {
        let made = rcgen::generate_simple_self_signed(["*.example.com".to_owned()]).unwrap();
        let indent = |pem: String| pem.lines().map(|line| format!("    {line}\n")).collect::<String>();
        self.write(
            "certificate.yaml",
            &format!(
                "apiVersion: v1\nkind: Secret\nmetadata: {{name: certificate, namespace: default}}\ntype: kubernetes.io/tls\nstringData:\n  tls.crt: |\n{}  tls.key: |\n{}",
                indent(made.cert.pem()), indent(made.signing_key.serialize_pem())
            ),
        );
    }

    /// The weights move, and a second route comes and goes.
    fn write_routes(&self, number: u32) {
        let (one, two) = (number % 100 + 1, 100 - number % 100);
        let mut text = format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: steady, namespace: default}}\nspec:\n  parentRefs: [{{name: edge}}]\n  hostnames: [a.example.com]\n  rules:\n  - backendRefs: [{{name: one, port: 80, weight: {one}}}, {{name: two, port: 80, weight: {two}}}]\n"
        );
        if number.is_multiple_of(2) {
            text.push_str("---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: passing, namespace: default}\nspec:\n  parentRefs: [{name: edge}]\n  hostnames: [a.example.com]\n  rules:\n  - matches: [{path: {value: /two}}]\n    backendRefs: [{name: two, port: 80}]\n");
        }
        self.write("routes.yaml", &text);
    }

    fn write_endpoints(&self) {
        let mut text = String::new();
        for (index, name) in ["one", "two"].iter().enumerate() {
            write!(text, "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: default}}\nspec: {{ports: [{{name: web, port: 80}}]}}\n---\n").unwrap();
            let mut slices = vec![self.steady[index].address];
            if *name == "one" {
                slices.extend(self.passing.iter().map(|backend| backend.address));
            }
            for (slice, address) in slices.iter().enumerate() {
                write!(text, "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {name}-{slice}, namespace: default, labels: {{kubernetes.io/service-name: {name}}}}}\naddressType: IPv4\nports: [{{name: web, port: {}}}]\nendpoints: [{{addresses: ['{}']}}]\n---\n", address.port(), address.ip()).unwrap();
            }
        }
        self.write("endpoints.yaml", &text);
    }
}

impl Backend {
    /// A server that answers its name. On stop it accepts what still comes for a moment, as a Pod that got SIGTERM does,
    /// closes idle connections and lets what is in flight finish.
    async fn start(name: &'static str) -> Backend {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let stopped = stop.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = tokio::select! {
                    accepted = listener.accept() => accepted.unwrap(),
                    () = last_call(&stopped) => return,
                };
                let stopped = stopped.clone();
                tokio::spawn(async move {
                    let answer = hyper::service::service_fn(move |_| async move {
                        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(name.as_bytes()))))
                    });
                    let mut connection = std::pin::pin!(
                        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer)
                    );
                    tokio::select! {
                        _ = connection.as_mut() => {}
                        () = last_call(&stopped) => {
                            connection.as_mut().graceful_shutdown();
                            let _ = connection.await;
                        }
                    }
                });
            }
        });
        Backend { address, stop }
    }
}

/// Over when the grace of a stopped Pod is (Kubernetes gives 30 s): until then it goes on serving what reaches it.
async fn last_call(stopped: &CancellationToken) {
    stopped.cancelled().await;
    tokio::time::sleep(Duration::from_secs(3)).await;
}

#[derive(Default)]
struct Tally {
    failures: Mutex<BTreeMap<String, u64>>,
    by_way: Mutex<BTreeMap<String, u64>>,
    certificates: Mutex<std::collections::BTreeSet<Vec<u8>>>,
    requests: AtomicU64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    H1,
    H2c,
    TlsH1,
    TlsH2,
}

struct Client {
    way: Way,
    fresh: bool,
    http: SocketAddr,
    https: SocketAddr,
    stop: Arc<AtomicBool>,
    tally: Arc<Tally>,
}

enum Sender {
    H1(hyper::client::conn::http1::SendRequest<Empty<Bytes>>),
    H2(hyper::client::conn::http2::SendRequest<Empty<Bytes>>),
}

impl Client {
    async fn run(self, number: usize) {
        let name = format!("{:?} {}", self.way, if self.fresh { "fresh" } else { "kept" });
        let mut sender = None;
        let mut good = 0;
        while !self.stop.load(Ordering::Relaxed) {
            let path = if number % 8 < 4 { "/" } else { "/two" };
            match self.request(&mut sender, path).await {
                Ok(()) => good += 1,
                Err(why) => {
                    *self.tally.failures.lock().unwrap().entry(format!("{name} {path}: {why}")).or_default() += 1
                }
            }
            self.tally.requests.fetch_add(1, Ordering::Relaxed);
            if self.fresh {
                sender = None;
            }
        }
        *self.tally.by_way.lock().unwrap().entry(name).or_default() += good;
    }

    async fn request(&self, sender: &mut Option<Sender>, path: &str) -> Result<(), String> {
        // A connection that the gateway closed between two answers is no failure: the client sees it before it asks.
        if match sender {
            Some(Sender::H1(s)) => s.ready().await.is_err(),
            Some(Sender::H2(s)) => s.ready().await.is_err(),
            None => true,
        } {
            *sender = Some(self.connect().await.map_err(|e| format!("connect: {e}"))?);
        }
        let answer = tokio::time::timeout(Duration::from_secs(10), async {
            match sender.as_mut().expect("connected") {
                Sender::H1(s) => s.send_request(self.build(path, Version::HTTP_11)).await,
                Sender::H2(s) => s.send_request(self.build(path, Version::HTTP_2)).await,
            }
        })
        .await
        .map_err(|_| "no answer in 10 s".to_owned())?;
        let answer = match answer {
            Ok(answer) => answer,
            Err(e) => {
                *sender = None;
                return Err(format!("send: {e:?}"));
            }
        };
        let status = answer.status();
        let body = answer.into_body().collect().await.map_err(|e| format!("body: {e:?}"))?.to_bytes();
        let allowed: &[&[u8]] = &[b"one", b"two"];
        if status != 200 || !allowed.contains(&body.as_ref()) {
            return Err(format!("{status} {}", String::from_utf8_lossy(&body)));
        }
        Ok(())
    }

    fn build(&self, path: &str, version: Version) -> Request<Empty<Bytes>> {
        let request = Request::builder().version(version);
        let scheme = if matches!(self.way, Way::TlsH1 | Way::TlsH2) { "https" } else { "http" };
        let request = match version {
            Version::HTTP_2 => request.uri(format!("{scheme}://a.example.com{path}")),
            _ => request.uri(path).header("host", "a.example.com"),
        };
        request.body(Empty::new()).unwrap()
    }

    async fn connect(&self) -> Result<Sender, Box<dyn std::error::Error + Send + Sync>> {
        let tls = matches!(self.way, Way::TlsH1 | Way::TlsH2);
        let tcp = TcpStream::connect(if tls { self.https } else { self.http }).await?;
        tcp.set_nodelay(true)?;
        if !tls {
            return self.handshake(tcp).await;
        }
        let mut config = rustls::ClientConfig::builder()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate(self.tally.clone())))
            .with_no_client_auth();
        config.alpn_protocols = vec![if self.way == Way::TlsH2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
        let name = ServerName::try_from("a.example.com")?;
        let stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, tcp).await?;
        self.handshake(stream).await
    }

    async fn handshake<S>(&self, stream: S) -> Result<Sender, Box<dyn std::error::Error + Send + Sync>>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let io = TokioIo::new(stream);
        if matches!(self.way, Way::H2c | Way::TlsH2) {
            let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await?;
            tokio::spawn(connection);
            Ok(Sender::H2(sender))
        } else {
            let (sender, connection) = hyper::client::conn::http1::handshake(io).await?;
            tokio::spawn(connection);
            Ok(Sender::H1(sender))
        }
    }
}

/// The certificate changes all the time; this test counts them instead of trusting one.
#[derive(Debug)]
struct AnyCertificate(Arc<Tally>);

impl std::fmt::Debug for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tally")
    }
}

impl rustls::client::danger::ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        self.0.certificates.lock().unwrap().insert(leaf.to_vec());
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
