//! Which endpoint. By default power of two choices on work in flight: of two endpoints drawn at random the less busy
//! one is taken, which is close to the best choice and needs no order to be kept. Or in turn; or by a key, along a
//! [ring](super::ring).
//!
//! Endpoints that active checks hold for unhealthy, or that are ejected, are left out while another one takes part.
//! Where none does all are chosen among: a wrong health check must not take a service down.
//!
//! The counts are a worker's own: no core waits for another's. They belong to the address and survive endpoint
//! changes, snapshots and policies; one that leaves with work in flight and comes back finds its count again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};

use super::ring::RingCell;
use super::search::{Among, Found, Search};
use super::seat::{Choice, Seat, Whose, now};
use crate::snapshot::health::Standing;
use crate::snapshot::upstream::EndpointCell;
use crate::snapshot::{EndpointSet, Policy, Upstream, UpstreamProtocol};
use crate::telemetry::UpstreamSeries;

/// A random number.
#[derive(Debug, Clone, Copy)]
pub struct Ticket(pub u64);

/// What an endpoint is chosen by.
#[derive(Debug, Clone, Copy)]
pub struct Pick<'a> {
    /// A random number.
    pub ticket: Ticket,
    /// Hash of the request's key, where the upstream is balanced by one and the request has it.
    pub hash: Option<u64>,
    /// Endpoints that were tried before, the last one last.
    pub tried: &'a [SocketAddr],
}

/// Why no endpoint was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nobody {
    /// There is none.
    NoEndpoints,
    /// Every one that may be chosen was tried.
    AllTried,
    /// All connections that the policy allows are in use.
    AtLimit,
}

/// What an upstream's state is tied to beside its endpoints.
#[derive(Debug, Clone)]
pub struct Ties {
    /// What the worker counts of it.
    pub series: Arc<UpstreamSeries>,
    /// Where its ring stands.
    pub ring: Arc<RingCell>,
    /// Number of the worker.
    pub worker: usize,
    /// Requests that share an HTTP/2 connection.
    pub h2_streams: u32,
}

/// A worker's state of one upstream under one policy.
#[derive(Debug)]
pub struct UpstreamLoad {
    policy: Policy,
    state: Arc<State>,
}

/// What outlives a policy.
#[derive(Debug)]
struct State {
    whose: Arc<Whose>,
    ties: Ties,
    pool_key: u64,
    /// Counts turns, for choosing in turn.
    turn: AtomicU32,
    loads: ArcSwap<Loads>,
}

/// Seats of the endpoints of a set, in its order.
#[derive(Debug)]
pub struct Loads {
    set: Arc<EndpointSet>,
    /// One for each.
    pub seats: Box<[Arc<Seat>]>,
    /// Of endpoints that left with work in flight.
    departed: Vec<Arc<Seat>>,
}

impl UpstreamLoad {
    /// An idle upstream.
    #[must_use]
    pub fn new(upstream: &Upstream, ties: Ties) -> Self {
        // Never given twice, so that two upstreams never share a pool, not even by a collision of hashes.
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let streams = match upstream.id.protocol {
            UpstreamProtocol::Http1 => 1,
            UpstreamProtocol::H2c => ties.h2_streams,
        };
        let whose =
            Whose { id: upstream.id.clone(), cell: upstream.endpoints.clone(), series: ties.series.clone(), streams };
        // Workers that all began with the first endpoint would meet there.
        let turn = std::hash::BuildHasher::hash_one(&std::collections::hash_map::RandomState::new(), 0u8);
        let loads = Loads { set: Arc::default(), seats: Box::default(), departed: Vec::new() };
        let state = State {
            whose: Arc::new(whose),
            ties,
            pool_key: NEXT.fetch_add(1, Ordering::Relaxed),
            turn: AtomicU32::new(u32::try_from(turn >> 40).unwrap_or(0)),
            loads: ArcSwap::from_pointee(loads),
        };
        UpstreamLoad { policy: upstream.policy.clone(), state: Arc::new(state) }
    }

    /// The same upstream under another policy: its endpoints keep what is in flight, its connections are kept.
    #[must_use]
    pub fn under(&self, policy: Policy) -> Self {
        UpstreamLoad { policy, state: self.state.clone() }
    }

    /// Whether it reads this very cell.
    #[must_use]
    pub fn follows(&self, cell: &EndpointCell) -> bool {
        Arc::ptr_eq(self.state.whose.cell.shared(), cell.shared())
    }

    /// What it is tied to, for the state that takes its place.
    #[must_use]
    pub fn ties(&self) -> &Ties {
        &self.state.ties
    }

    /// How it is treated.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// What keeps this upstream's connections apart from all others.
    #[must_use]
    pub fn pool_key(&self) -> u64 {
        self.state.pool_key
    }

    /// How it is spoken to.
    #[must_use]
    pub fn protocol(&self) -> UpstreamProtocol {
        self.state.whose.id.protocol
    }

    /// Chooses an endpoint that is not among those tried.
    ///
    /// # Errors
    /// Why there is none.
    pub fn choose(&self, pick: Pick<'_>) -> Result<Choice, Nobody> {
        self.choose_at(pick, &now)
    }

    /// Whether there is an endpoint beside `tried` that may be chosen.
    #[must_use]
    pub fn has_other_than(&self, tried: &[SocketAddr]) -> bool {
        let loads = self.current();
        let pick = Pick { ticket: Ticket(0), hash: None, tried };
        let search = |among| Search { load: self, loads: &loads, pick, among, now: &now };
        search(Among::Available).is_hopeful() || search(self.second_best(&loads, &now)).is_hopeful()
    }

    /// Work in flight on an endpoint, as this worker knows it.
    #[must_use]
    pub fn in_flight(&self, address: SocketAddr) -> u32 {
        self.current().seat(address).map_or(0, |seat| seat.busy())
    }

    /// The number of the next turn.
    pub fn next_turn(&self) -> u32 {
        self.state.turn.fetch_add(1, Ordering::Relaxed)
    }

    /// [`choose`](Self::choose), at a time since some moment that is the same for all.
    ///
    /// # Errors
    /// Why there is none.
    pub fn choose_at(&self, pick: Pick<'_>, now: &dyn Fn() -> Duration) -> Result<Choice, Nobody> {
        let loads = self.current();
        if loads.seats.is_empty() {
            return Err(Nobody::NoEndpoints);
        }
        let search = |among| Search { load: self, loads: &loads, pick, among, now }.run();
        match search(Among::Available) {
            Found::One(choice) => Ok(choice),
            Found::Full => Err(Nobody::AtLimit),
            Found::None => match search(self.second_best(&loads, now)) {
                Found::One(choice) => Ok(choice),
                Found::Full => Err(Nobody::AtLimit),
                Found::None => Err(Nobody::AllTried),
            },
        }
    }

    /// Whom to choose among where all that take part were tried, or where none takes part.
    fn second_best(&self, loads: &Loads, now: &dyn Fn() -> Duration) -> Among {
        let takes_part = |seat: &Arc<Seat>| seat.health.is_healthy() && self.standing(seat, now) == Standing::Admitted;
        if loads.seats.iter().any(takes_part) { Among::Healthy } else { Among::Any }
    }

    /// Where an endpoint stands under this policy.
    pub fn standing(&self, seat: &Seat, now: &dyn Fn() -> Duration) -> Standing {
        match self.policy.ejection.consecutive_failures {
            Some(_) => seat.health.standing(now),
            None => Standing::Admitted, // whatever the policy was before
        }
    }

    fn current(&self) -> Guard<Arc<Loads>> {
        let set = self.state.whose.cell.load();
        let loads = self.state.loads.load();
        if Arc::ptr_eq(&set, &loads.set) {
            return loads;
        }
        self.state.loads.store(Arc::new(loads.moved_to(&set, &self.state.whose)));
        self.state.loads.load()
    }
}

impl Loads {
    /// Where the seat of an address is.
    pub fn position(&self, address: SocketAddr) -> Option<usize> {
        position(&self.set, address)
    }

    fn seat(&self, address: SocketAddr) -> Option<&Arc<Seat>> {
        let here = self.position(address).and_then(|at| self.seats.get(at));
        here.or_else(|| self.departed.iter().find(|seat| seat.address == address))
    }

    fn moved_to(&self, set: &Arc<EndpointSet>, whose: &Arc<Whose>) -> Loads {
        let seats = set.endpoints.iter().map(|endpoint| match self.seat(endpoint.address) {
            Some(seat) if Arc::ptr_eq(&seat.health, &endpoint.health) => seat.clone(),
            before => {
                let in_flight = before.map(|seat| seat.counter().clone()).unwrap_or_default();
                Arc::new(Seat::new(endpoint.address, endpoint.health.clone(), in_flight, whose.clone()))
            }
        });
        let before = self.seats.iter().chain(&self.departed);
        let is_gone = |seat: &&Arc<Seat>| position(set, seat.address).is_none();
        let departed = before.filter(|seat| seat.busy() > 0).filter(is_gone).cloned().collect();
        Loads { set: set.clone(), seats: seats.collect(), departed }
    }
}

fn position(set: &EndpointSet, address: SocketAddr) -> Option<usize> {
    set.endpoints.binary_search_by(|endpoint| endpoint.address.cmp(&address)).ok()
}
