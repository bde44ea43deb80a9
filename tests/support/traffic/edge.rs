//! A gateway before a [`Recording`], and clients that send bytes: what they are answered, and what reaches the upstream.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use transom::proxy::Settings;

use super::config::{Config, ListenerSpec};
use super::http1::{Response, responses};
use super::recording::Recording;
use super::{Gateway, eventually, free_address};

/// The request behind the one that is looked at.
pub const BEHIND: &str = "GET /behind HTTP/1.1\r\nHost: a.com\r\nConnection: close\r\n\r\n";

/// A gateway of one worker: every host and path goes to the upstream but `/none`, whose rule has no backend, and
/// `nowhere.com`, which has no rule.
pub struct Edge {
    pub gateway: Gateway,
    pub address: SocketAddr,
    pub upstream: Recording,
}

impl Edge {
    pub async fn start() -> Edge {
        Edge::with(Settings::default()).await
    }

    pub async fn with(settings: Settings) -> Edge {
        let upstream = Recording::start().await;
        let mut gateway = Gateway::with(Settings { workers: NonZeroUsize::new(1), ..settings });
        let mut config = Config::default();
        let (all, none) = (config.to("all", upstream.address), config.invalid("none"));
        let address = free_address();
        let routes = vec![(None, "/", all), (None, "/none", none)];
        let listeners = vec![
            ListenerSpec { name: "all", hostname: None, tls: None, routes },
            ListenerSpec { name: "nowhere", hostname: Some("nowhere.com"), tls: None, routes: vec![] },
        ];
        gateway.serve(config.http(address, listeners).build()).await;
        Edge { gateway, address, upstream }
    }

    /// What is answered to these bytes, up to the end of the connection, all of them sent at once.
    pub async fn say(&self, bytes: impl AsRef<[u8]>) -> Vec<Response> {
        self.say_in(bytes, usize::MAX).await
    }

    /// In pieces of so many bytes.
    pub async fn say_in(&self, bytes: impl AsRef<[u8]>, piece: usize) -> Vec<Response> {
        let bytes = bytes.as_ref();
        let tcp = TcpStream::connect(self.address).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        let (mut reader, mut writer) = tcp.into_split();
        let sent = bytes.to_vec();
        let writing = tokio::spawn(async move {
            for piece in sent.chunks(piece) {
                if writer.write_all(piece).await.is_err() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            writer // an end of it would be a word, too
        });
        let mut seen = Vec::new();
        let end = tokio::time::timeout(Duration::from_secs(15), reader.read_to_end(&mut seen)).await;
        assert!(end.is_ok(), "still open: {} -> {}", shown(bytes), shown(&seen));
        drop(writing.await);
        responses(&seen).unwrap_or_else(|error| panic!("{}: {error}", shown(bytes)))
    }

    /// Says bytes and another request behind them: the statuses, and whether the request behind was served.
    pub async fn say_and_more(&self, bytes: impl AsRef<[u8]>, piece: usize) -> (Vec<Response>, bool) {
        let mut answers = self.say_in([bytes.as_ref(), BEHIND.as_bytes()].concat(), piece).await;
        let is_behind = |answer: &Response| answer.body == "GET /behind";
        let served = answers.last().is_some_and(is_behind);
        if served {
            answers.pop();
        }
        (answers, served)
    }

    /// Each of these is answered with `status` in the gateway's own words, ends its connection, and neither it nor
    /// what is behind it reaches the upstream as a whole.
    pub async fn refuses(&self, status: u16, word: &str, cases: &[impl AsRef<[u8]>]) {
        for case in cases.iter().map(AsRef::as_ref) {
            for piece in [usize::MAX, 1] {
                let what = shown(case);
                let (answers, served) = self.say_and_more(case, piece).await;
                let [answer] = &answers[..] else { panic!("{what}: {answers:?}") };
                assert_eq!(answer.status, status, "{what}: {answer:?}");
                assert_eq!(answer.body, format!("{status} {word}\n"), "{what}");
                assert_eq!(answer.header("connection"), Some("close"), "{what}");
                assert!(answer.header("date").is_some() && answer.header("server").is_none(), "{what}: {answer:?}");
                assert!(!served, "{what}: what was behind it was served");
                assert_eq!(self.upstream.take(), [""; 0], "{what}");
            }
        }
        self.counts(status, word).await;
    }

    /// The same word stands in the metrics.
    pub async fn counts(&self, status: u16, word: &str) {
        let labels = [format!("code=\"{status}\""), format!("reason=\"{word}\"")];
        eventually(&format!("{labels:?} in the metrics"), || async {
            let text = self.gateway.telemetry.metrics_text();
            let mut lines = text.lines().filter(|line| line.starts_with("transom_http_requests_total"));
            lines.any(|line| labels.iter().all(|label| line.contains(label))).then_some(())
        })
        .await;
    }

    /// Each of these is served, is the one request that reaches the upstream, and so is what is behind it.
    pub async fn serves(&self, cases: &[(&str, &str)]) {
        for (case, expected) in cases {
            for piece in [usize::MAX, 1] {
                let (answers, served) = self.say_and_more(case, piece).await;
                let finals: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
                assert_eq!(finals, [200], "{case:?}: {answers:?}");
                assert!(served, "{case:?}: what was behind it was not served");
                assert_eq!(self.upstream.take(), [*expected, "GET /behind"], "{case:?}");
            }
        }
    }
}

fn shown(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(300)].escape_ascii().to_string()
}
