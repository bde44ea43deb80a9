//! Mirroring: a copy of a request for somebody else, whose answer nobody reads. In come the request, which
//! passes the same filters as what is forwarded, and its body piece by piece; out go copies over connections of their own, and a
//! count of what became of each.
//!
//! The request itself never waits for a copy and never fails by one: pieces of the body are handed over by
//! reference into a queue that is bounded in bytes, and a copy whose queue is full is cut. Each copy is one task of
//! the worker that serves the request. What is not known here: what the request's own upstream answers.
//!
//! | bound | of what |
//! |---|---|
//! | [`QUEUE_LIMIT`](queue::QUEUE_LIMIT) | body of one copy that waits to be sent |
//! | [`WORKER_QUEUE_LIMIT`](queue::WORKER_QUEUE_LIMIT) | the same, of all copies of a worker |
//! | [`COPY_LIMIT`] | copies of a worker under way |
//! | [`TIME_LIMIT`](exchange::TIME_LIMIT) | from a piece's coming to its sending, and from the last one to the answer |
//! | [`ANSWER_LIMIT`](exchange::ANSWER_LIMIT) | bytes of an answer's body that are read, and thrown away |

mod exchange;
mod header;
mod queue;
mod task;

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use http::header::UPGRADE;
use pingora::connectors::ConnectorOptions;
use pingora::connectors::http::Connector;
use pingora::http::RequestHeader;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use queue::Mirroring;
use queue::Tee;
use task::{Copy, Prepared, Tally};

use super::context::{Level, Matched};
use super::filter;
use super::settings::Settings;
use super::upstream::peer::TRUSTED;
use super::upstream::{Nobody, Pick, Ticket, key};
use crate::snapshot::filter::Mirror;
use crate::snapshot::{Snapshot, UpstreamIndex};
use crate::telemetry::{MirrorMeter, MirrorResult, Recorder};

/// Copies of one worker that may be under way.
pub const COPY_LIMIT: usize = 1024;

/// All that a worker keeps for mirroring: connections of its own, and the tasks that send copies.
pub struct Mirrors {
    connector: Connector,
    settings: Arc<Settings>,
    meter: Arc<MirrorMeter>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// A request that is about to pass its filters and to be forwarded.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// As the client sent it.
    pub received: &'a RequestHeader,
    /// As it passes the filters.
    pub request: &'a RequestHeader,
    /// The client.
    pub client: IpAddr,
    /// What follows.
    pub content: Content,
}

/// What follows a request's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Nothing.
    None,
    /// A body, of whatever length.
    Body,
}

impl Mirrors {
    /// Nothing under way.
    pub fn new(settings: Arc<Settings>, recorder: &Recorder) -> Self {
        let unused = settings.upstream_pool.div_ceil(settings.worker_count()).max(1);
        let options = ConnectorOptions { ca_file: Some(TRUSTED.to_owned()), ..ConnectorOptions::new(unused) };
        Mirrors {
            connector: Connector::new(Some(options)),
            settings,
            meter: recorder.mirror_meter(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        }
    }

    /// Sends a copy to each mirror that is drawn for a request. It is called for every try of the request; copies are
    /// sent once.
    pub fn forward(
        self: &Arc<Self>,
        source: Source<'_>,
        matched: &Matched,
        mirroring: &mut Mirroring,
        mut random: impl FnMut() -> Ticket,
    ) {
        if !matched.is_filtered() || mirroring.again() {
            return;
        }
        for (level, mirror) in matched.mirrors() {
            let tee = takes(mirror, random()).then(|| {
                let tally = Tally::begin(self.meter.clone(), matched.view().clone(), mirror.upstream);
                match self.prepare(source, matched, level, mirror.upstream, random()) {
                    Ok(prepared) => self.send(prepared, source.content, tally),
                    Err(why) => tally.end(why),
                }
            });
            mirroring.begin(tee.flatten());
        }
    }

    fn prepare(
        &self,
        source: Source<'_>,
        matched: &Matched,
        level: Level,
        to: UpstreamIndex,
        ticket: Ticket,
    ) -> Result<Prepared, MirrorResult> {
        if source.request.headers.contains_key(UPGRADE) {
            // Both sides talk on such a connection; what one says is no use without hearing the other.
            return Err(MirrorResult::Skipped);
        }
        if self.stop.is_cancelled() {
            return Err(MirrorResult::Aborted);
        }
        // This one is counted already.
        if self.meter.active.load(Relaxed) > COPY_LIMIT {
            return Err(MirrorResult::DroppedOverload);
        }
        let upstream = matched.view().upstream(to).ok_or(MirrorResult::NoEndpoints)?;
        let hash = key(&upstream.policy().balance, source.received, source.client);
        let pick = Pick { ticket, hash, tried: &[] };
        let choice = upstream.choose(pick).map_err(|nobody| match nobody {
            Nobody::AtLimit => MirrorResult::DroppedOverload,
            Nobody::NoEndpoints | Nobody::AllTried => MirrorResult::NoEndpoints,
        })?;
        let mut copy = header::copy(source.request);
        filter::on_request(&mut copy, matched, level).map_err(|_| MirrorResult::Failed)?;
        let header = header::fit(copy, upstream.protocol(), source.content).ok_or(MirrorResult::Failed)?;
        Ok(Prepared { upstream: upstream.clone(), choice, header })
    }

    /// Starts a copy; what takes its body, if there is one.
    fn send(self: &Arc<Self>, prepared: Prepared, content: Content, tally: Tally) -> Option<Tee> {
        let (tee, body) = match content {
            Content::None => (None, None),
            Content::Body => {
                let (tee, pieces) = queue::queue(self.meter.clone());
                (Some(tee), Some(pieces))
            }
        };
        self.tasks.spawn(Copy { mirrors: self.clone(), prepared, body, tally }.run());
        tee
    }

    /// Forgets what was counted for Services that are gone.
    pub fn retain(&self, snapshot: &Snapshot) {
        if !self.meter.is_empty() {
            let here: HashSet<_> = snapshot.upstreams.iter().map(|upstream| task::labels(&upstream.id)).collect();
            self.meter.retain(|labels| here.contains(&labels));
        }
    }

    /// Cuts what is under way, and waits until it is gone, which takes no time.
    pub async fn end(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Whether a random number falls on the mirror's fraction: exactly 0 of 1 is never, n of n is always.
fn takes(mirror: &Mirror, ticket: Ticket) -> bool {
    let place = (u128::from(ticket.0) * u128::from(mirror.denominator)) >> 64;
    place < u128::from(mirror.numerator)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::serving::WorkerState;

    fn mirror(numerator: u32, denominator: u32) -> Mirror {
        Mirror { upstream: UpstreamIndex(0), numerator, denominator }
    }

    #[test]
    fn none_is_never_and_all_is_always() {
        for ticket in [0, 1, u64::MAX / 2, u64::MAX] {
            for denominator in [1, 7, 100, u32::MAX] {
                assert!(!takes(&mirror(0, denominator), Ticket(ticket)));
                assert!(takes(&mirror(denominator, denominator), Ticket(ticket)));
            }
        }
    }

    #[test]
    fn a_fraction_is_what_it_says() {
        let state = WorkerState::new();
        for (numerator, denominator) in [(1, 2), (1, 3), (50, 100), (1, 1000), (999, 1000)] {
            let count = (0..100_000).filter(|_| takes(&mirror(numerator, denominator), state.random())).count();
            let p = f64::from(numerator) / f64::from(denominator);
            let sigma = (100_000.0 * p * (1.0 - p)).sqrt();
            let off = (f64::from(u32::try_from(count).unwrap()) - 100_000.0 * p).abs();
            assert!(off < 5.0 * sigma, "{numerator} of {denominator}: {count}");
        }
    }
}
