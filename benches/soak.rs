//! Slow peers in full beside normal load, and what a connection costs in memory: `make soak`. Prints how it was run.
//!
//! `EACH` slow clients of each kind (2,000) for `SECONDS_EACH` (60); fewer where descriptors do not suffice, which is
//! said. Fails if the normal load's p99 is beyond twice itself alone, or the memory does not come back.

#[path = "../tests/support/process.rs"]
mod process;
#[path = "../tests/support/slow_peers.rs"]
mod slow_peers;

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use process::binary;
use slow_peers::{Kind, World, idle_h1, idle_h2, raise_descriptors, stopped_uploads};

/// A worker gives back for two minutes after a crowd, for timers that outlive their connections.
const GIVEN_BACK: Duration = Duration::from_secs(150);

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
}

fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

fn main() -> ExitCode {
    let version = Command::new(binary()).arg("version").output().expect("transom version");
    print!("{}", String::from_utf8_lossy(&version.stdout));
    let descriptors = raise_descriptors();
    let (asked, time) = (setting("EACH", 2000), Duration::from_secs(setting("SECONDS_EACH", 60)));
    // here, a client's end of each, and an upstream's of two kinds
    let each = asked.min((descriptors - 500) / 8);
    println!("slow clients: {each} of each kind for {time:?} ({asked} asked for, {descriptors} descriptors)");
    println!(
        "kinds: {:?}; normal load: 4 clients, one request every 5 ms each; 2 workers; slow clients have the time nobody else wants",
        Kind::ALL
    );
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let fine = runtime.block_on(async {
        let is_fair = slow_peers(usize::try_from(each).expect("few"), time).await;
        let descriptors = usize::try_from(descriptors).expect("few");
        costs(descriptors).await;
        is_fair
    });
    if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Whether the normal load and the memory are as they should be.
async fn slow_peers(each: usize, time: Duration) -> bool {
    let world = World::start().await;
    world.load(Duration::from_secs(5)).await;
    let alone = world.load(time / 2).await;
    let (baseline, resident) = (world.memory(), world.resident());
    println!("alone              p50 {:?}, p99 {:?}; memory {:.1} MiB", alone.0, alone.1, mib(baseline));
    let crowd = world.crowd(&Kind::ALL, each).await;
    let beside = world.load(time).await;
    let (most, connected) = (world.memory(), crowd.connected());
    println!(
        "beside slow peers  p50 {:?}, p99 {:?}; memory {:.1} MiB, {connected} slow peers",
        beside.0,
        beside.1,
        mib(most)
    );
    crowd.leave().await;
    let allowed = baseline * 6 / 5;
    let gone = Instant::now();
    let after = world.memory_once(|kib| kib <= allowed, GIVEN_BACK).await;
    let (took, resident_after) = (gone.elapsed(), world.resident());
    let again = world.load(time / 2).await;
    println!("after them         p50 {:?}, p99 {:?}; memory {:.1} MiB {took:.0?} later", again.0, again.1, mib(after));
    println!(
        "with the pages of the program: {:.1} MiB before, {:.1} after, {:.2} of it",
        mib(resident),
        mib(resident_after),
        resident_after as f64 / resident as f64
    );
    let ratio = beside.1.as_secs_f64() / alone.1.max(again.1).as_secs_f64();
    println!(
        "p99 beside ÷ alone {ratio:.2} (at most 2); memory after ÷ before {:.2} (at most 1.2)",
        after as f64 / baseline as f64
    );
    assert!(world.transom.terminate(Duration::from_secs(60)).success());
    ratio <= 2.0 && after <= allowed
}

async fn costs(descriptors: usize) {
    let many = 10_000.min(descriptors / 2 - 500);
    cost("idle HTTP/1.1 connections", many, |world| Box::pin(async move { idle_h1(world.http, many).await })).await;
    cost("stopped uploads", 1000, |world| Box::pin(async move { stopped_uploads(world.http, 1000).await })).await;
    cost("idle HTTP/2 connections", 1000, |world| Box::pin(async move { idle_h2(world.http, 1000).await })).await;
}

type Opening<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + 'a>>;

/// Prints what so many connections cost in a fresh gateway, and what of it is given back.
async fn cost<T>(what: &str, count: usize, open: impl Fn(&World) -> Opening<'_, T>) {
    let world = World::start().await;
    world.load(Duration::from_secs(2)).await;
    let before = world.memory();
    let held = open(&world).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let with = world.memory();
    drop(held);
    let after = world.memory_once(|kib| kib <= before * 6 / 5, GIVEN_BACK).await;
    let bytes = with.saturating_sub(before) * 1024 / count as u64;
    println!(
        "{count:>6} {what:<26} {bytes:>7} bytes each; memory {:.1} MiB before, {:.1} with, {:.1} after",
        mib(before),
        mib(with),
        mib(after)
    );
    assert!(world.transom.terminate(Duration::from_secs(60)).success());
}
