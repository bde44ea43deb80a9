//! Descriptors are few: what is connected goes on being served, what comes beyond is let go at once, and nothing spins.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::format_push_string,
    reason = "parts of tests fail as tests do"
)]

#[path = "support/process.rs"]
mod process;
#[path = "support/traffic/mod.rs"]
mod support;

use std::io::ErrorKind::WouldBlock;
use std::net::SocketAddr;
use std::path::PathBuf;

use std::time::{Duration, Instant};

use process::{Transom, free_port, manifest};
use support::client::{Client, Wire};
use support::eventually;
use support::script::{Actor, Step, say};
use support::upstream::Echo;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// For a process on a machine that has other things to do.
const SOON: Duration = Duration::from_secs(20);

struct Served {
    transom: Transom,
    address: SocketAddr,
    _space: tempfile::TempDir,
}

fn serve(descriptors: u32, extra: &[&str], upstreams: &[(&str, SocketAddr)]) -> Served {
    let port = free_port();
    let space = tempfile::tempdir().unwrap();
    let file = space.path().join("all.yaml");
    std::fs::write(&file, manifest(port, upstreams)).unwrap();
    let log: PathBuf = space.path().join("log");
    let arguments = [&["-f", file.to_str().unwrap(), "--workers", "2"], extra].concat();
    let transom = Transom::run_within(descriptors, &arguments, &log).ready(Duration::from_secs(30));
    Served { transom, address: ([127, 0, 0, 1], port).into(), _space: space }
}

fn shed(transom: &Transom, cause: &str) -> u64 {
    let metrics = transom.get("/metrics").unwrap_or_default();
    let line = format!("transom_connections_shed_total{{cause=\"{cause}\"}} ");
    metrics.lines().find_map(|found| found.strip_prefix(&line)?.parse().ok()).unwrap_or_default()
}

/// Processor time of a process so far, in hundredths of a second.
fn processor_time(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// Connects so often, and gives the connections that the other side leaves open: a number that is as asked.
async fn connect(address: SocketAddr, count: usize, is_right: impl Fn(usize) -> bool) -> Vec<TcpStream> {
    let mut open = Vec::new();
    for _ in 0..count {
        open.push(TcpStream::connect(address).await.unwrap());
    }
    let until = Instant::now() + SOON;
    loop {
        let is_open = |tcp: &TcpStream| matches!(tcp.try_read(&mut [0; 1]), Err(e) if e.kind() == WouldBlock);
        tokio::time::sleep(Duration::from_millis(50)).await;
        open.retain(is_open);
        if is_right(open.len()) {
            return open;
        }
        assert!(Instant::now() < until, "{} of {count} are open", open.len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_descriptors_what_is_connected_is_served_and_the_rest_is_let_go() {
    const DESCRIPTORS: u32 = 72;
    let echo = Echo::start("a").await;
    // closes after each answer: every request needs a descriptor of its own
    let closing =
        vec![Step::Head, say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"), Step::Finish];
    let once = Actor::always(closing).await;
    let upstreams = [("/", echo.address), ("/once", once.address)];
    let Served { transom, address, .. } = &serve(DESCRIPTORS, &["--max-connections", "1000"], &upstreams);
    let mut kept = Client::h1(*address).await;
    let mut wire = Wire::connect(*address).await;
    assert_eq!(kept.get("http://a.com/").await.unwrap().summary(), "200 a");
    assert_eq!(wire.ask("GET", "/once").await.unwrap().status(), 200);

    let held = connect(*address, 200, |open| open < DESCRIPTORS as usize).await;
    assert!(held.len() > 5, "{} of 200 are open", held.len());
    assert_eq!(kept.get("http://a.com/").await.unwrap().summary(), "200 a");
    let mut more = Vec::new();
    loop {
        let answer = wire.ask("GET", "/once").await.unwrap();
        if answer.status() != 200 {
            assert_eq!(answer.summary(), "503 503 overloaded", "an endpoint is not to blame");
            break;
        }
        // one descriptor was left
        assert!(more.len() < 500);
        more.extend(connect(*address, 5, |_| true).await);
    }

    // More of them, again and again: each is let go, and there is no hurry about it.
    let before = processor_time(transom.pid());
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(2) {
        connect(*address, 10, |open| open <= 1).await;
        assert_eq!(kept.get("http://a.com/").await.unwrap().summary(), "200 a");
    }
    let share = (processor_time(transom.pid()) - before) * 100 / (begun.elapsed().as_millis() as u64 / 10);
    assert!(share < 40, "{share} % of a core");

    drop((held, more, kept));
    eventually("room again", || async {
        let mut client = Wire::connect(*address).await;
        client.ask("GET", "/once").await.ok().filter(|answer| answer.status() == 200)
    })
    .await;
    assert!(shed(transom, "descriptors") > 50, "{}", shed(transom, "descriptors"));
    assert_eq!(shed(transom, "limit"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_of_the_descriptors_are_kept_for_endpoints() {
    const SEATS: usize = (128 - 64 - 2 * 8) / 2;
    let echo = Echo::held("a", 0).await;
    let served = serve(128, &[], &[("/", echo.address)]);
    let (transom, address) = (served.transom, served.address);
    let held = connect(address, 3 * SEATS, |open| open == SEATS).await;
    drop(held);
    eventually("the seats to be free", || async {
        let metrics = transom.get("/metrics").unwrap_or_default();
        let all = metrics.lines().filter(|line| line.starts_with("transom_connections{"));
        all.into_iter().all(|line| line.ends_with(" 0")).then_some(())
    })
    .await;
    assert_eq!(shed(&transom, "limit"), 2 * SEATS as u64);

    // Each of them has its request forwarded at the same time.
    let mut requests = Vec::new();
    for _ in 0..SEATS {
        let mut client = Client::h1(address).await;
        requests.push(tokio::spawn(async move { client.get("http://a.com/").await.unwrap().summary() }));
    }
    eventually("all in flight", || async { (echo.requests() == SEATS).then_some(()) }).await;
    let mut beyond = TcpStream::connect(address).await.unwrap();
    let end = timeout(SOON, beyond.read(&mut [0; 1])).await.expect("soon");
    assert!(end.is_err() || end.is_ok_and(|count| count == 0));
    echo.release();
    for request in requests {
        assert_eq!(request.await.unwrap(), "200 a");
    }
    assert_eq!(shed(&transom, "descriptors"), 0);
    assert!(transom.terminate(Duration::from_secs(40)).success());
}
