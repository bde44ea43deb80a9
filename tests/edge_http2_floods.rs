//! HTTP/2 clients that only keep us busy: each flood ends its connection, is told why, leaves a trace, and costs
//! nobody else anything.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "parts of tests fail as tests do")]

#[path = "support/traffic/mod.rs"]
mod support;
#[path = "support/tries.rs"]
mod tries;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use support::client::Client;
use support::config::{Config, listener};
use support::frames::{
    CALM, CANCEL, CONTINUATION, DATA, END, Fate, Frames, GOAWAY, HEADERS, PING, PRIORITY, PROTOCOL_ERROR,
    REFUSED_STREAM, RST_STREAM, SETTINGS, block, frame, get, headers, request, reset, settings, window_update,
};
use support::upstream::Echo;
use support::{Gateway, free_address};
use transom::proxy::Settings;
use tries::Log;

/// What a flood sends for each number, the first one before all others.
type Flood = fn(u32) -> Vec<u8>;

async fn before(echo: &Echo, settings: Settings) -> (Gateway, Log, SocketAddr) {
    let (mut gateway, log) = tries::logged(settings);
    let mut config = Config::default();
    let rule = config.to("a", echo.address);
    let address = free_address();
    gateway.serve(config.http(address, vec![listener("l", None, rule)]).build()).await;
    (gateway, log, address)
}

fn post(stream: u32) -> Vec<u8> {
    headers(stream, 0, &request("POST", "/", &[]))
}

/// Sends up to `most` of a flood: what became of the connection.
async fn flood(address: SocketAddr, most: u32, make: Flood) -> Result<(), Fate> {
    let mut client = Frames::connect(address, &[]).await;
    for number in 0..most {
        if !client.try_send(make(number)).await {
            break;
        }
        if number % 50 == 49 {
            client.lives().await?; // what the gateway has to say to it is said before it hears more
        }
    }
    client.lives().await
}

#[tokio::test]
async fn each_flood_ends_its_connection_with_a_goaway_and_a_line_in_the_log() {
    const CONTROL: &str = "too many frames that are neither request nor body";
    const RESETS: &str = "too many streams were reset";
    const CALM_DOWN: &str = "HTTP/2 connection error ENHANCE_YOUR_CALM";
    let floods: &[(&str, u32, &str, Flood)] = &[
        ("ping", 1500, CONTROL, |_| frame(PING, 0, 0, b"12345678")),
        ("pong", 1500, CONTROL, |_| frame(PING, END, 0, b"12345678")),
        ("settings", 1500, CONTROL, |_| settings(&[])),
        ("settings that change windows", 1500, CONTROL, |n| settings(&[(4, 65_535 - n % 2)])),
        ("priority", 1500, CONTROL, |n| frame(PRIORITY, 0, 2 * n + 1, &[0, 0, 0, 0, 1])),
        ("window updates", 1500, CONTROL, |_| window_update(0, 1)),
        ("frames that nobody knows", 1500, CONTROL, |_| frame(0x77, 0, 0, b"")),
        ("rapid reset", 400, RESETS, |n| [get(2 * n + 1, "/"), reset(2 * n + 1, CANCEL)].concat()),
        ("resets that we are made to send", 400, RESETS, |n| {
            [post(2 * n + 1), window_update(2 * n + 1, 0x7fff_ffff)].concat()
        }),
        ("requests that are none", 400, RESETS, |n| headers(2 * n + 1, END, &[(":method", "GET")])),
        ("streams beyond the limit", 1500, CALM_DOWN, |n| post(2 * n + 1)),
        ("header blocks without an end", 100, CALM_DOWN, |n| match n {
            0 => frame(HEADERS, 0, 1, &block(&request("GET", "/", &[]))),
            _ => frame(CONTINUATION, 0, 1, b""),
        }),
        ("empty pieces of a body", 400, CALM_DOWN, |n| if n == 0 { post(1) } else { frame(DATA, 0, 1, b"") }),
        ("an acknowledgement of nothing", 3, "HTTP/2 connection error PROTOCOL_ERROR", |_| {
            frame(SETTINGS, END, 0, b"")
        }),
    ];
    let echo = Echo::start("a").await;
    let (gateway, log, address) = before(&echo, Settings::default()).await;
    for (name, most, why, make) in floods {
        let code = if why.contains("PROTOCOL") { PROTOCOL_ERROR } else { CALM };
        match flood(address, *most, *make).await {
            Err(Fate::GoAway(seen, _)) => assert_eq!(seen, code, "{name}"),
            other => panic!("{name}: {other:?}"),
        }
        let line = log.line(name, |line| line["error"].as_str().is_some_and(|error| error.starts_with(why))).await;
        assert_eq!((&line["reason"], &line["protocol"]), (&"request_invalid".into(), &"HTTP/2".into()), "{line}");
        log.clear();
    }
    let text = gateway.telemetry.metrics_text();
    let counted = text.lines().filter(|line| {
        line.starts_with("transom_http_requests_total") && line.contains("code=\"0\",reason=\"request_invalid\"")
    });
    let counted: u64 = counted.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum();
    assert_eq!(counted, floods.len() as u64);
}

#[tokio::test]
async fn what_the_bounds_are_can_be_set() {
    let echo = Echo::start("a").await;
    let settings = Settings { h2_resets: 5, h2_control_frames: 20, h2_streams: 3, ..Settings::default() };
    let (_gateway, _, address) = before(&echo, settings).await;
    let pings: Flood = |_| frame(PING, 0, 0, b"12345678");
    let rapid: Flood = |n| [get(2 * n + 1, "/"), reset(2 * n + 1, CANCEL)].concat();
    for (make, bound) in [(pings, 18), (rapid, 5)] {
        // the settings of the preface, and the last ping, are two frames of control
        assert_eq!(flood(address, bound, make).await, Ok(()));
        assert!(flood(address, bound + 3, make).await.is_err());
    }
    let mut client = Frames::connect(address, &[]).await;
    for stream in [1, 3, 5, 7] {
        client.send(post(stream)).await;
    }
    assert_eq!(client.fate(7).await, Fate::Reset(REFUSED_STREAM));
    client.send(frame(DATA, END, 1, b"x")).await;
    assert_eq!(client.fate(1).await, Fate::Status(200), "what was within the limit is served");
}

#[tokio::test]
async fn a_client_that_works_may_ping_cancel_and_update_its_windows_as_it_likes() {
    let echo = Echo::start("a").await;
    let (_gateway, _, address) = before(&echo, Settings::default()).await;
    let mut client = Frames::connect(address, &[]).await;
    for number in 0..600 {
        let stream = 4 * number + 1;
        let cancelled = [get(stream + 2, "/"), reset(stream + 2, CANCEL)].concat();
        client.send([get(stream, "/bytes/100"), frame(PING, 0, 0, b"12345678"), cancelled].concat()).await;
        client.send([window_update(0, 100), window_update(stream, 100)].concat()).await;
        loop {
            let got = client.next().await.expect("the connection stands");
            assert!(got.kind != GOAWAY && (got.kind != RST_STREAM || got.stream != stream), "{number}: {got:?}");
            if got.stream == stream && got.ends() {
                break;
            }
        }
    }
}

/// The median time of some requests.
async fn median(client: &mut Client, count: usize) -> Duration {
    let mut times = Vec::new();
    for _ in 0..count {
        let begun = Instant::now();
        assert_eq!(client.get("http://a.com/").await.unwrap().summary(), "200 a");
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    times[count / 2]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_on_one_connection_does_not_move_the_latency_of_another() {
    let echo = Echo::start("a").await;
    let settings = Settings { workers: std::num::NonZeroUsize::new(1), ..Settings::default() };
    let (_gateway, _, address) = before(&echo, settings).await;
    let mut client = Client::h2(address).await;
    median(&mut client, 50).await;
    let floods: [(&str, Flood); 3] = [
        ("rapid reset", |n| [get(2 * n + 1, "/"), reset(2 * n + 1, CANCEL)].concat()),
        ("ping", |_| frame(PING, 0, 0, b"12345678")),
        ("streams", |n| post(2 * n + 1)),
    ];
    for (name, make) in floods {
        let mut tries = Vec::new();
        // Once it was ended, the flood is over: what is left is noise, of which there is much where tests run.
        while tries.last().is_none_or(|(alone, beside)| *beside >= *alone * 2) {
            assert!(tries.len() < 6, "{name}: alone and beside a flood {tries:?}");
            let alone = median(&mut client, 300).await;
            let flooder = tokio::spawn(flood(address, 100_000, make));
            let beside = median(&mut client, 300).await;
            assert!(flooder.await.unwrap().is_err(), "{name}");
            tries.push((alone, beside));
        }
    }
}
