//! An endpoint as one worker sees it, and what a request holds of it while it is tried.
//!
//! A [`Seat`] is a worker's own: what it counts no other core touches. Behind it stands the health that all share,
//! which is written only where something changes. A [`Choice`] tells it how the try ended.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use pingora::protocols::Digest;
use pingora::{Error, ErrorType};

use crate::snapshot::health::Standing;
use crate::snapshot::policy::Ejection;
use crate::snapshot::upstream::EndpointCell;
use crate::snapshot::{EndpointHealth, UpstreamId};
use crate::telemetry::{AttemptResult, ConnectResult, UpstreamSeries};

/// What every seat of an upstream knows of it.
#[derive(Debug)]
pub struct Whose {
    /// Who it is.
    pub id: UpstreamId,
    /// Where its endpoints are now.
    pub cell: EndpointCell,
    /// What the worker counts of it.
    pub series: Arc<UpstreamSeries>,
    /// Requests that share one connection.
    pub streams: u32,
}

/// A worker's side of one endpoint.
#[derive(Debug)]
pub struct Seat {
    /// Where it is.
    pub address: SocketAddr,
    /// How it is doing.
    pub health: Arc<EndpointHealth>,
    in_flight: Arc<AtomicU32>,
    /// Of the connections in use that all workers share out, those that this one has taken.
    connections: AtomicU32,
    whose: Arc<Whose>,
}

/// An endpoint that was chosen. Dropping it ends the try; one that was told neither way counts neither way.
#[derive(Debug)]
pub struct Choice {
    /// Where to connect.
    pub address: SocketAddr,
    /// Counts until it is dropped.
    pub in_flight: InFlight,
    way: Way,
    ejection: Ejection,
    verdict: AtomicU8,
    /// Failures that its answer took back.
    forgiven: AtomicU32,
}

/// One piece of work in flight; dropping it ends it, exactly once.
#[derive(Debug)]
pub struct InFlight(Arc<Seat>);

/// How an endpoint came to be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// It takes part.
    Ordinary,
    /// The time of its ejection was over, and this request tries it.
    Probing,
    /// It is ejected, but there is no better one.
    Forced,
}

const PENDING: u8 = 0;
const ANSWERED: u8 = 1;
const FAILED: u8 = 2;

/// The time, since the first time that it was asked for.
pub fn now() -> Duration {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

impl Seat {
    /// Of an endpoint on which `in_flight` counts.
    pub fn new(address: SocketAddr, health: Arc<EndpointHealth>, in_flight: Arc<AtomicU32>, whose: Arc<Whose>) -> Self {
        Seat { address, health, in_flight, connections: AtomicU32::new(0), whose }
    }

    /// Work in flight, as this worker knows it.
    pub fn busy(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// The counter of work in flight, for the seat that takes this one's place.
    pub fn counter(&self) -> &Arc<AtomicU32> {
        &self.in_flight
    }

    /// Begins a piece of work, unless all connections that `limit` allows are in use.
    pub fn begin(self: &Arc<Self>, limit: Option<u32>) -> Option<InFlight> {
        // Made first: dropping it takes back whatever was taken.
        let before = self.in_flight.fetch_add(1, Relaxed);
        let in_flight = InFlight(self.clone());
        if let Some(limit) = limit {
            let needed = self.connections_for(before.saturating_add(1));
            while self.connections.load(Relaxed) < needed {
                if !self.health.take_connection(limit) {
                    return None;
                }
                self.connections.fetch_add(1, Relaxed);
            }
        }
        Some(in_flight)
    }

    fn end(&self) {
        let left = self.in_flight.fetch_sub(1, Relaxed).saturating_sub(1);
        while self.connections.load(Relaxed) > self.connections_for(left) {
            self.connections.fetch_sub(1, Relaxed);
            self.health.give_connection_back();
        }
    }

    fn connections_for(&self, in_flight: u32) -> u32 {
        in_flight.div_ceil(self.whose.streams.max(1))
    }

    /// Whether the upstream has another endpoint that takes part.
    fn is_not_the_last(&self, now: Duration) -> bool {
        self.whose.cell.load().endpoints.iter().any(|other| {
            other.address != self.address
                && other.health.is_healthy()
                && other.health.standing(|| now) == Standing::Admitted
        })
    }

    fn tell_ejected(&self, time: Duration) {
        self.whose.series.ejected();
        let UpstreamId { namespace, service, port, .. } = &self.whose.id;
        tracing::warn!(namespace, service, port, endpoint = %self.address, ?time, "endpoint ejected: requests fail on it");
    }

    fn tell_readmitted(&self) {
        let UpstreamId { namespace, service, port, .. } = &self.whose.id;
        tracing::info!(namespace, service, port, endpoint = %self.address, "endpoint takes part again");
    }
}

impl Choice {
    /// A try that begins.
    pub fn new(in_flight: InFlight, way: Way, ejection: Ejection) -> Self {
        let address = in_flight.0.address;
        Choice { address, in_flight, way, ejection, verdict: AtomicU8::new(PENDING), forgiven: AtomicU32::new(0) }
    }

    /// There is a connection; one that was kept from before is not counted.
    pub fn connected(&self, reused: bool, digest: Option<&Digest>) {
        if !reused {
            let transport = digest.and_then(|digest| digest.timing_digest.iter().flatten().next());
            let took = transport.and_then(|timing| timing.establishment_duration);
            self.seat().whose.series.connect(ConnectResult::Connected, took);
        }
    }

    /// No connection could be had.
    pub fn not_connected(&self, error: &Error) {
        let result = match error.etype() {
            ErrorType::ConnectTimedout => ConnectResult::Timeout,
            _ => ConnectResult::Failed,
        };
        self.seat().whose.series.connect(result, None);
    }

    /// No connection came in the time that its user had.
    pub fn timed_out(&self) {
        self.seat().whose.series.connect(ConnectResult::Timeout, None);
    }

    /// The endpoint has answered, with whatever status.
    pub fn answered(&self) {
        self.answered_at(now);
    }

    /// The endpoint could not be connected to, broke off, or was too slow.
    pub fn failed(&self) {
        self.failed_at(now());
    }

    /// [`answered`](Self::answered), at a time since some moment that is the same for all.
    pub fn answered_at(&self, now: impl FnOnce() -> Duration) {
        if self.verdict.compare_exchange(PENDING, ANSWERED, Relaxed, Relaxed).is_err() {
            return;
        }
        let health = &self.seat().health;
        match self.way {
            Way::Ordinary => self.forgiven.store(health.forgive(), Relaxed),
            Way::Probing | Way::Forced => {
                if health.readmit(now()) {
                    self.seat().tell_readmitted();
                }
            }
        }
    }

    /// [`failed`](Self::failed), at a time since some moment that is the same for all. What had answered before it
    /// failed has not answered well: what that took back counts again.
    pub fn failed_at(&self, now: Duration) {
        let before = self.verdict.swap(FAILED, Relaxed);
        let Some(threshold) = self.ejection.consecutive_failures.filter(|_| before != FAILED) else { return };
        let seat = self.seat();
        let ejected = match self.way {
            Way::Probing if before == PENDING => {
                seat.is_not_the_last(now).then(|| seat.health.eject_again(&self.ejection, now)).flatten()
            }
            Way::Forced if before == PENDING => None, // it is out already, and nobody gains by a longer time
            _ => {
                let failures = seat.health.fail(1 + self.forgiven.swap(0, Relaxed));
                (failures >= threshold.get() && seat.is_not_the_last(now))
                    .then(|| seat.health.eject(&self.ejection, now))
                    .flatten()
            }
        };
        if let Some(time) = ejected {
            seat.tell_ejected(time);
        }
    }

    fn seat(&self) -> &Seat {
        &self.in_flight.0
    }
}

impl Drop for Choice {
    fn drop(&mut self) {
        let result = match *self.verdict.get_mut() {
            PENDING => AttemptResult::Abandoned,
            ANSWERED => AttemptResult::Answered,
            _ => AttemptResult::Failed,
        };
        self.seat().whose.series.attempt(result);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.end();
    }
}
