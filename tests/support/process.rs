//! A `transom` process on loopback: started on free ports, waited for, ended by its own pid.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A running `transom run -f …`. Killed when dropped.
pub struct Transom {
    child: Child,
    pub admin: SocketAddr,
}

/// The binary under test: `BINARY_UNDER_TEST` if set (the release build, in benchmarks), else the one cargo built.
pub fn binary() -> PathBuf {
    std::env::var_os("BINARY_UNDER_TEST").map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_transom")), PathBuf::from)
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("loopback").local_addr().expect("bound").port()
}

impl Transom {
    /// Starts `transom run -f folder` with its output in `folder.log`, without waiting.
    pub fn start(folder: &Path, extra: &[&str]) -> Transom {
        let folder_argument = folder.to_str().expect("UTF-8");
        Transom::run(&[&["-f", folder_argument], extra].concat(), &folder.with_extension("log"))
    }

    /// Starts `transom run` with its output in `log`, without waiting.
    pub fn run(arguments: &[&str], log: &Path) -> Transom {
        let log = File::create(log).expect("log file");
        let out = log.try_clone().expect("log file");
        Transom::spawn(Command::new(binary()), &[&["--access-log", "off"], arguments].concat(), out, log)
    }

    /// Starts `transom run` with what it logs of requests in `out`, and of all else in `log`, without waiting.
    pub fn logging(arguments: &[&str], out: &Path, log: &Path) -> Transom {
        let file = |path| File::create(path).expect("log file");
        Transom::spawn(Command::new(binary()), arguments, file(out), file(log))
    }

    /// Starts `transom run` with at most so many file descriptors and no access log, without waiting.
    pub fn run_within(descriptors: u32, arguments: &[&str], log: &Path) -> Transom {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit -n {descriptors} && exec \"$0\" \"$@\"")]).arg(binary());
        let log = File::create(log).expect("log file");
        let out = log.try_clone().expect("log file");
        Transom::spawn(shell, &[&["--access-log", "off"], arguments].concat(), out, log)
    }

    fn spawn(mut command: Command, arguments: &[&str], out: File, log: File) -> Transom {
        let admin = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let child = command
            .arg("run")
            .args(["--admin-address", &admin.to_string()])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(log)
            .spawn()
            .expect("transom starts");
        Transom { child, admin }
    }

    /// Waits until `/readyz` says 200.
    pub fn ready(mut self, within: Duration) -> Transom {
        let until = Instant::now() + within;
        loop {
            if self.get("/readyz").is_some_and(|answer| answer.starts_with("HTTP/1.1 200")) {
                return self;
            }
            if let Some(status) = self.child.try_wait().expect("wait") {
                panic!("transom ended with {status} before it was ready");
            }
            assert!(Instant::now() < until, "not ready within {within:?}: {:?}", self.get("/readyz"));
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// An answer of the admin server, head and body; `None` while it does not listen.
    pub fn get(&self, path: &str) -> Option<String> {
        get(self.admin, "admin", path)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal, as `TERM`.
    pub fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().expect("kill").success());
    }

    /// SIGTERM, then the exit status, within the bound.
    pub fn terminate(self, within: Duration) -> ExitStatus {
        self.signal("TERM");
        self.wait(within)
    }

    /// The exit status, within the bound.
    pub fn wait(mut self, within: Duration) -> ExitStatus {
        let until = Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait().expect("wait") {
                return status;
            }
            assert!(Instant::now() < until, "still running after {within:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Transom {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A Gateway on 127.0.0.1 with one HTTP listener, whose requests go by path prefix to upstreams on loopback.
pub fn manifest(port: u16, upstreams: &[(&str, SocketAddr)]) -> String {
    let mut yaml = format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {{name: c}}\n\
         spec: {{controllerName: transom.dev/gateway-controller}}\n---\n\
         apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: g, namespace: edge}}\n\
         spec:\n  gatewayClassName: c\n  addresses: [{{value: 127.0.0.1}}]\n  \
         listeners: [{{name: l, port: {port}, protocol: HTTP}}]\n"
    );
    for (number, (prefix, to)) in upstreams.iter().enumerate() {
        let (ip, port) = (to.ip(), to.port());
        yaml += &format!(
            "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n\
             metadata: {{name: r{number}, namespace: edge}}\nspec:\n  parentRefs: [{{name: g}}]\n  \
             rules: [{{matches: [{{path: {{type: PathPrefix, value: {prefix}}}}}], \
             backendRefs: [{{name: s{number}, port: 80}}]}}]\n---\n\
             apiVersion: v1\nkind: Service\nmetadata: {{name: s{number}, namespace: edge}}\n\
             spec: {{ports: [{{port: 80, targetPort: {port}}}]}}\n---\n\
             apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
             metadata: {{name: s{number}, namespace: edge, labels: {{kubernetes.io/service-name: s{number}}}}}\n\
             addressType: IPv4\nports: [{{port: {port}}}]\n\
             endpoints: [{{addresses: [{ip}], conditions: {{ready: true}}}}]\n"
        );
    }
    yaml
}

/// One request on a connection of its own; the whole answer as text, `None` if there is none.
pub fn get(address: SocketAddr, host: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    (!answer.is_empty()).then_some(answer)
}
