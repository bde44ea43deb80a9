//! A gateway before an [`Actor`]: what a bad answer does to its client, and to the next request.

use std::net::SocketAddr;
use std::num::NonZeroUsize;

use transom::proxy::Settings;

use super::config::{Config, listener};
use super::script::{Actor, Step, say};
use super::{Gateway, eventually, free_address};

/// A gateway of one worker in front of an upstream whose first connection plays something and would answer
/// `reused` from then on; all others answer `fresh`.
pub struct Stage {
    pub gateway: Gateway,
    pub address: SocketAddr,
    pub actor: Actor,
}

pub const REUSED: &str = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nreused";
pub const FRESH: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfresh";

/// Answers the same to as many requests as a test sends over one connection; the one after them would wait for ever.
pub fn again(bytes: &str) -> Vec<Step> {
    std::iter::repeat_n([Step::Head, say(bytes)], 100).flatten().collect()
}

impl Stage {
    /// These steps after the first request's header.
    pub async fn first(steps: Vec<Step>) -> Stage {
        let first = [vec![Step::Head], steps, again(REUSED)].concat();
        Stage::with(Actor::play(vec![first, again(FRESH)]).await).await
    }

    /// Before an upstream of one's own.
    pub async fn with(actor: Actor) -> Stage {
        let settings = Settings { workers: NonZeroUsize::new(1), ..Settings::default() };
        Stage::with_settings(actor, settings).await
    }

    /// And with settings of one's own.
    pub async fn with_settings(actor: Actor, settings: Settings) -> Stage {
        let mut gateway = Gateway::with(settings);
        let mut config = Config::default();
        let rule = config.to("a", actor.address);
        let address = free_address();
        gateway.serve(config.http(address, vec![listener("l", None, rule)]).build()).await;
        Stage { gateway, address, actor }
    }

    /// These bytes as the first answer.
    pub async fn answers(bytes: impl AsRef<[u8]>) -> Stage {
        Stage::first(vec![say(bytes)]).await
    }

    /// Waits until a request with this code and reason is counted.
    pub async fn counted(&self, code: u16, reason: &str) {
        self.counted_with(&[format!("code=\"{code}\""), format!("reason=\"{reason}\"")]).await;
    }

    /// Waits until a request with this reason is counted.
    pub async fn counted_any(&self, reason: &str) {
        self.counted_with(&[format!("reason=\"{reason}\"")]).await;
    }

    async fn counted_with(&self, labels: &[String]) {
        eventually(&format!("{labels:?} in the metrics"), || async {
            let text = self.gateway.telemetry.metrics_text();
            let mut lines = text.lines().filter(|line| line.starts_with("transom_http_requests_total"));
            lines.any(|line| labels.iter().all(|label| line.contains(label))).then_some(())
        })
        .await;
    }
}
