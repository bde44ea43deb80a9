//! A gateway in a process of its own, slow clients of every kind beside normal ones, and what that costs: the latency
//! of the normal ones and the gateway's memory. For the test of slow peers and for the soak (`make soak`).
#![allow(dead_code, reason = "test and soak use a part each")]

use std::convert::Infallible;
use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::process::{Transom, free_port};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const NO_SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

/// Clients that take their time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A header that drips.
    Header,
    /// A body that drips, once a second.
    Body,
    /// An answer of which little is read, once a second.
    Reading,
    /// Half a ClientHello.
    Handshake,
    /// HTTP/2 without a request.
    IdleH2,
    /// Half the preface of HTTP/2.
    HalfPreface,
}

impl Kind {
    pub const ALL: [Kind; 6] =
        [Kind::Header, Kind::Body, Kind::Reading, Kind::Handshake, Kind::IdleH2, Kind::HalfPreface];
}

/// The gateway, its upstream and where both are.
pub struct World {
    pub transom: Transom,
    pub http: SocketAddr,
    pub https: SocketAddr,
    space: tempfile::TempDir,
}

/// Slow clients at work, in a thread of their own.
pub struct Crowd {
    stop: CancellationToken,
    thread: JoinHandle<()>,
    connected: Arc<AtomicUsize>,
}

/// Runs in a thread of its own: what is measured is how the gateway treats normal clients, and not how one thread of the
/// test treats them and thousands of slow ones. `idle`: with the time that nobody else wants, as if on another machine.
fn apart<F: Future<Output = ()>>(idle: bool, begin: impl FnOnce() -> F + Send + 'static) -> JoinHandle<()> {
    std::thread::spawn(move || {
        if idle {
            take_only_idle_time();
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(begin());
    })
}

/// For this thread alone. A lower priority would not do: the scheduler lets any thread finish its slice of some
/// milliseconds, in which a normal client would wait.
#[allow(unsafe_code, reason = "there is no safe way to ask for it")]
fn take_only_idle_time() {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: reads the parameters, and sets nothing but the policy of the thread that calls it
    let done = unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const parameters) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

/// Lets this process, and the gateway that it starts, have as many descriptors as the system allows; how many.
pub fn raise_descriptors() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).expect("the hard limit");
    limit.maximum.unwrap_or(u64::MAX)
}

impl World {
    /// Starts both. The gateway has two workers.
    pub async fn start() -> World {
        let (upstream, slow) = (start_upstream(false), start_upstream(true));
        let space = tempfile::tempdir().expect("temporary folder");
        let folder = space.path().join("manifests");
        fs::create_dir(&folder).expect("folder");
        let (http, https) = (free_port(), free_port());
        fs::write(folder.join("world.yaml"), manifest(http, https, upstream, slow)).expect("written");
        let transom =
            Transom::start(&folder, &["--workers", "2", "--max-connections", "15000"]).ready(Duration::from_secs(60));
        let on = |port| SocketAddr::from(([127, 0, 0, 1], port));
        World { transom, http: on(http), https: on(https), space }
    }

    /// What the gateway has logged so far that is a warning or worse; the first few lines of it.
    pub fn complaints(&self) -> Vec<String> {
        let log = fs::read_to_string(self.space.path().join("manifests.log")).expect("a log");
        let complains = |line: &&str| line.contains(" WARN ") || line.contains(" ERROR ");
        log.lines().filter(complains).take(5).map(str::to_owned).collect()
    }

    /// Memory of the gateway that is its alone, in KiB.
    pub fn memory(&self) -> u64 {
        self.status("RssAnon:")
    }

    /// The same, and what of its program is in memory, which is the system's to drop.
    pub fn resident(&self) -> u64 {
        self.status("VmRSS:")
    }

    fn status(&self, key: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.transom.pid())).expect("/proc");
        let line = status.lines().find(|line| line.starts_with(key)).expect("known to Linux");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
    }

    /// Waits until the gateway's memory, in KiB, is as it should be, or `limit` is over; what it is then.
    pub async fn memory_once(&self, fits: impl Fn(u64) -> bool, limit: Duration) -> u64 {
        let until = Instant::now() + limit;
        while !fits(self.memory()) && Instant::now() < until {
            sleep(Duration::from_millis(50)).await;
        }
        self.memory()
    }

    /// Normal load for a while: four clients, each of which asks again every 5 ms. The 50th and 99th percentile.
    pub async fn load(&self, time: Duration) -> (Duration, Duration) {
        let http = self.http;
        let (sender, times) = tokio::sync::oneshot::channel();
        apart(false, move || async move {
            let clients: Vec<_> = (0..4).map(|_| tokio::spawn(normal_client(http, time))).collect();
            let mut times = Vec::new();
            for client in clients {
                times.extend(client.await.expect("a client"));
            }
            times.sort_unstable();
            sender.send((times[times.len() / 2], times[times.len() * 99 / 100])).expect("somebody who waits");
        });
        times.await.expect("normal load")
    }

    /// Slow clients, so many of each kind. One that is ended by the gateway comes again.
    pub async fn crowd(&self, kinds: &[Kind], each: usize) -> Crowd {
        let (stop, connected) = (CancellationToken::new(), Arc::new(AtomicUsize::new(0)));
        let (http, https) = (self.http, self.https);
        let (kinds, ended, counted) = (kinds.to_vec(), stop.clone(), connected.clone());
        let count = kinds.len() * each;
        let thread = apart(true, move || async move {
            let tasks = TaskTracker::new();
            for (at, kind) in kinds.into_iter().enumerate() {
                let to = if kind == Kind::Handshake { https } else { http };
                // Not all from one address: its ports would run out.
                let from = SocketAddr::from(([127, 0, u8::try_from(at + 1).expect("few kinds"), 1], 0));
                for number in 0..each {
                    let slow = come_again(kind, number, from, to, counted.clone());
                    tasks.spawn(ended.clone().run_until_cancelled_owned(slow));
                }
            }
            tasks.close();
            tasks.wait().await;
        });
        let crowd = Crowd { stop, thread, connected };
        crowd.wait(count).await;
        crowd
    }
}

/// A slow client that comes again when the gateway has had enough.
async fn come_again(kind: Kind, number: usize, from: SocketAddr, to: SocketAddr, connected: Arc<AtomicUsize>) {
    sleep(Duration::from_millis(number as u64 % 1000)).await; // not all in one moment
    loop {
        let Ok(tcp) = connect(from, to).await else {
            sleep(Duration::from_secs(1)).await;
            continue;
        };
        connected.fetch_add(1, Ordering::Relaxed);
        be_slow(kind, tcp).await;
        connected.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Crowd {
    /// How many are connected now.
    pub fn connected(&self) -> usize {
        self.connected.load(Ordering::Relaxed)
    }

    async fn wait(&self, count: usize) {
        let until = Instant::now() + Duration::from_secs(60);
        // one that comes again does so in an instant
        while self.connected() < count - count / 20 {
            assert!(Instant::now() < until, "{} of {count} slow clients", self.connected());
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends them all.
    pub async fn leave(self) {
        self.stop.cancel();
        tokio::task::spawn_blocking(|| self.thread.join().expect("slow clients")).await.expect("joined");
    }
}

async fn connect(from: SocketAddr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.set_recv_buffer_size(4096)?;
    socket.bind(from)?;
    socket.connect(to).await
}

/// Is slow until the gateway has had enough.
async fn be_slow(kind: Kind, mut tcp: TcpStream) {
    let hello = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    let begin: &[u8] = match kind {
        Kind::Header => b"GET / HTTP/1.1\r\nHost: a.com\r\n",
        Kind::Body => b"POST /slow HTTP/1.1\r\nHost: a.com\r\nContent-Length: 1000000\r\n\r\n",
        Kind::Reading => b"GET /big HTTP/1.1\r\nHost: a.com\r\n\r\n",
        Kind::Handshake => &hello,
        Kind::IdleH2 => &[PREFACE, NO_SETTINGS].concat(),
        Kind::HalfPreface => &PREFACE[..10],
    };
    if tcp.write_all(begin).await.is_err() {
        return;
    }
    let mut some = [0; 512];
    loop {
        match kind {
            Kind::Reading => {
                sleep(Duration::from_secs(1)).await;
                if !matches!(tcp.read(&mut some).await, Ok(1..)) {
                    return;
                }
            }
            _ => {
                // whatever is said, and the end
                match timeout(Duration::from_secs(1), tcp.read(&mut some)).await {
                    Ok(Ok(1..)) => {}
                    Ok(_) => return,
                    Err(_) => {
                        let drip: &[u8] = match kind {
                            Kind::Header => b"a: b\r\n",
                            Kind::Body => b"x",
                            _ => continue,
                        };
                        if tcp.write_all(drip).await.is_err() {
                            return;
                        }
                    }
                }
            }
        }
    }
}

async fn normal_client(http: SocketAddr, time: Duration) -> Vec<Duration> {
    let mut times = Vec::new();
    let mut tcp = TcpStream::connect(http).await.expect("connected");
    tcp.set_nodelay(true).expect("a socket");
    let until = Instant::now() + time;
    let mut answer = vec![0; 4096];
    while Instant::now() < until {
        let begun = Instant::now();
        tcp.write_all(b"GET / HTTP/1.1\r\nHost: a.com\r\n\r\n").await.expect("asked");
        let mut count = 0;
        while !answer[..count].ends_with(b"\r\n\r\nok") {
            let read =
                timeout(Duration::from_secs(30), tcp.read(&mut answer[count..])).await.expect("an answer in time");
            let read = read.expect("an answer");
            assert_ne!(read, 0, "closed after {:?}", String::from_utf8_lossy(&answer[..count]));
            count += read;
        }
        times.push(begun.elapsed());
        sleep(Duration::from_millis(5)).await;
    }
    times
}

/// Connections that have had one answer each and stay; as many as `count`.
pub async fn idle_h1(http: SocketAddr, count: usize) -> Vec<TcpStream> {
    let mut all = Vec::with_capacity(count);
    for number in 0..count {
        let from = SocketAddr::from(([127, 0, 20, u8::try_from(number / 5000 + 1).expect("few")], 0));
        let mut tcp = connect(from, http).await.expect("connected");
        tcp.write_all(b"GET / HTTP/1.1\r\nHost: a.com\r\n\r\n").await.expect("asked");
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\nok") {
            assert_ne!(tcp.read_buf(&mut answer).await.expect("an answer"), 0);
        }
        all.push(tcp);
    }
    all
}

/// Uploads that stopped after 100 KiB.
pub async fn stopped_uploads(http: SocketAddr, count: usize) -> Vec<TcpStream> {
    let head = b"POST /slow HTTP/1.1\r\nHost: a.com\r\nContent-Length: 1000000\r\n\r\n";
    let mut all = Vec::with_capacity(count);
    for _ in 0..count {
        let mut tcp = connect(([127, 0, 30, 1], 0).into(), http).await.expect("connected");
        tcp.write_all(&[&head[..], &[b'x'; 100 * 1024]].concat()).await.expect("sent");
        all.push(tcp);
    }
    all
}

/// Connections of HTTP/2 that have had one answer each and stay.
pub async fn idle_h2(http: SocketAddr, count: usize) -> Vec<h2::client::SendRequest<Bytes>> {
    let mut all = Vec::with_capacity(count);
    for _ in 0..count {
        let tcp = connect(([127, 0, 40, 1], 0).into(), http).await.expect("connected");
        let (mut sender, connection) = h2::client::handshake(tcp).await.expect("h2");
        tokio::spawn(connection);
        let request = Request::get("http://a.com/").body(()).expect("a request");
        let answer = sender.send_request(request, true).expect("sent").0.await.expect("an answer");
        assert_eq!(answer.into_body().data().await.expect("a body").expect("a piece"), "ok");
        all.push(sender);
    }
    all
}

/// Answers `ok`; `/big` with 8 MiB; `/slow` once the body has come.
fn start_upstream(idle: bool) -> SocketAddr {
    static BIG: [u8; 8 << 20] = [b'x'; 8 << 20];
    async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let body = match request.uri().path() {
            "/big" => Bytes::from_static(&BIG),
            "/slow" => {
                let mut body = request.into_body();
                while let Some(Ok(_)) = body.frame().await {}
                Bytes::from_static(b"ok")
            }
            _ => Bytes::from_static(b"ok"),
        };
        Ok(Response::new(Full::new(body)))
    }
    let (sender, address) = std::sync::mpsc::channel();
    apart(idle, move || async move {
        let socket = TcpSocket::new_v4().expect("a socket");
        // The kernel's memory for all sockets is what would run out, and this end of it is not the gateway's.
        socket.set_send_buffer_size(64 * 1024).expect("a size");
        socket.bind(([127, 0, 0, 1], 0).into()).expect("loopback");
        let listener = socket.listen(4096).expect("loopback");
        sender.send(listener.local_addr().expect("bound")).expect("somebody who waits");
        while let Ok((tcp, _)) = listener.accept().await {
            let _ = tcp.set_nodelay(true);
            tokio::spawn(async move {
                let _ = auto::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(tcp), service_fn(answer))
                    .await;
            });
        }
    });
    address.recv().expect("an upstream")
}

fn manifest(http: u16, https: u16, upstream: SocketAddr, slow: SocketAddr) -> String {
    let service = |name: &str, port: u16| {
        format!(
            "\
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: default}}
spec: {{ports: [{{name: web, port: 80}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}-1, namespace: default, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: IPv4
endpoints: [{{addresses: [127.0.0.1], conditions: {{ready: true}}}}]
ports: [{{name: web, port: {port}, protocol: TCP}}]
"
        )
    };
    let (web, slow) = (service("web", upstream.port()), service("slow", slow.port()));
    format!(
        "\
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {{name: transom}}
spec: {{controllerName: transom.dev/gateway-controller}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: edge, namespace: default}}
spec:
  gatewayClassName: transom
  addresses: [{{type: IPAddress, value: 127.0.0.1}}]
  listeners:
  - {{name: http, port: {http}, protocol: HTTP}}
  - {{name: https, port: {https}, protocol: HTTPS, tls: {{certificateRefs: [{{name: cert}}]}}}}
---
apiVersion: v1
kind: Secret
metadata: {{name: cert, namespace: default, annotations: {{transom.dev/self-signed: a.com}}}}
---
{web}---
{slow}---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: all, namespace: default}}
spec:
  parentRefs: [{{name: edge}}]
  rules:
  - {{backendRefs: [{{name: web, port: 80}}]}}
  - matches: [{{path: {{type: Exact, value: /big}}}}, {{path: {{type: Exact, value: /slow}}}}]
    backendRefs: [{{name: slow, port: 80}}]
"
    )
}
