//! One search for an endpoint: the ways of balancing, and what is done where few endpoints are open to choose from.

use std::time::Duration;

use super::balance::{Loads, Pick, Ticket, UpstreamLoad};
use super::seat::{Choice, Way};
use crate::snapshot::health::Standing;
use crate::snapshot::policy::Balance;

/// Pairs that are drawn at random before the endpoints are looked through.
const DRAWS: usize = 4;
/// Nodes of a ring that are walked for one request.
const WALK: usize = 4096;

/// Whom to choose among.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Among {
    /// Those that take part.
    Available,
    /// Those that are not known to be unhealthy; ejected ones, too.
    Healthy,
    /// All.
    Any,
}

/// One search for an endpoint.
pub struct Search<'a> {
    /// Of this upstream.
    pub load: &'a UpstreamLoad,
    /// Its seats now.
    pub loads: &'a Loads,
    /// What it goes by.
    pub pick: Pick<'a>,
    /// Whom it finds.
    pub among: Among,
    /// Tells the time, if it matters.
    pub now: &'a dyn Fn() -> Duration,
}

/// What came of it.
pub enum Found {
    /// An endpoint.
    One(Choice),
    /// There are some, but all of their connections are in use.
    Full,
    /// There is none.
    None,
}

impl Search<'_> {
    /// Chooses by the upstream's policy, or whomever there is.
    pub fn run(&self) -> Found {
        if let Some(choice) = self.by_policy() {
            return Found::One(choice);
        }
        // Few endpoints are open, or none: they are looked through.
        let mut open: Vec<usize> = (0..self.loads.seats.len()).filter(|at| self.is_open(*at)).collect();
        let mut ticket = self.pick.ticket;
        while let Some((first, second)) = two_of(ticket, open.len()) {
            let at = self.less_busy(open.get(first).copied(), open.get(second).copied());
            if let Some(choice) = at.and_then(|at| self.take(at)) {
                return Found::One(choice);
            }
            let before = open.len();
            open.retain(|one| Some(*one) != at);
            if open.len() == before {
                break;
            }
            ticket = ticket.next();
            if open.is_empty() && self.load.policy().max_connections.is_some() {
                return Found::Full;
            }
        }
        Found::None
    }

    /// Whether there is anybody to choose.
    pub fn is_hopeful(&self) -> bool {
        (0..self.loads.seats.len()).any(|at| self.is_open(at))
    }

    fn by_policy(&self) -> Option<Choice> {
        match (&self.load.policy().balance, self.pick.hash) {
            (Balance::RoundRobin, _) => self.in_turn(),
            (Balance::ConsistentHash(_), Some(hash)) => self.along_the_ring(hash),
            (Balance::LeastRequest | Balance::ConsistentHash(_), _) => self.at_random(),
        }
    }

    fn at_random(&self) -> Option<Choice> {
        let mut ticket = self.pick.ticket;
        for _ in 0..DRAWS {
            let (first, second) = two_of(ticket, self.loads.seats.len())?;
            let open = |at: usize| self.is_open(at).then_some(at);
            if let Some(choice) = self.less_busy(open(first), open(second)).and_then(|at| self.take(at)) {
                return Some(choice);
            }
            ticket = ticket.next();
        }
        None
    }

    /// A turn that is skipped is used up: the next endpoint in line does not get it on top of its own.
    fn in_turn(&self) -> Option<Choice> {
        let total = self.loads.seats.len();
        (0..total).find_map(|_| {
            let at = self.load.next_turn() as usize % total;
            self.is_open(at).then(|| self.take(at)).flatten()
        })
    }

    fn along_the_ring(&self, hash: u64) -> Option<Choice> {
        let ties = self.load.ties();
        let mut walk = ties.ring.walk(ties.worker, hash)?;
        (0..self.loads.seats.len().saturating_mul(4).min(WALK)).find_map(|_| {
            let at = self.loads.position(walk.next()?)?;
            self.is_open(at).then(|| self.take(at)).flatten()
        })
    }

    fn is_open(&self, at: usize) -> bool {
        let Some(seat) = self.loads.seats.get(at) else { return false };
        let fits = match self.among {
            Among::Available => seat.health.is_healthy() && self.load.standing(seat, self.now) != Standing::Ejected,
            Among::Healthy => seat.health.is_healthy(),
            Among::Any => true,
        };
        fits && !self.pick.tried.contains(&seat.address)
    }

    fn less_busy(&self, one: Option<usize>, other: Option<usize>) -> Option<usize> {
        let busy = |at: usize| self.loads.seats.get(at).map_or(u32::MAX, |seat| seat.busy());
        match (one, other) {
            (Some(first), Some(second)) if busy(second) < busy(first) => Some(second),
            (first, second) => first.or(second),
        }
    }

    /// Takes an endpoint, unless it is at its limit or somebody else tries it just now.
    fn take(&self, at: usize) -> Option<Choice> {
        let seat = self.loads.seats.get(at)?;
        let policy = self.load.policy();
        let in_flight = seat.begin(policy.max_connections.map(std::num::NonZeroU32::get))?;
        let way = match self.load.standing(seat, self.now) {
            Standing::Admitted => Way::Ordinary,
            Standing::Due | Standing::Ejected if self.among != Among::Available => Way::Forced,
            Standing::Due if seat.health.try_again(policy.ejection.base_time, (self.now)()) => Way::Probing,
            Standing::Due | Standing::Ejected => return None,
        };
        Some(Choice::new(in_flight, way, policy.ejection.clone()))
    }
}

impl Ticket {
    /// Another random number from this one.
    #[must_use]
    fn next(self) -> Ticket {
        // An odd factor maps the numbers one to one; the halves trade places since the low bits mix least.
        Ticket(self.0.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(0xD1B5_4A32_D192_ED03).rotate_left(32))
    }
}

/// Two different positions below `total`, or the only one twice.
fn two_of(ticket: Ticket, total: usize) -> Option<(usize, usize)> {
    let count = u64::try_from(total).ok().filter(|count| *count > 0)?;
    // Multiply and shift is fair to within 2^-32, where a remainder would favour small numbers.
    let below = |random: u64, bound: u64| usize::try_from(((random & 0xFFFF_FFFF) * bound) >> 32).unwrap_or(0);
    let first = below(ticket.0 >> 32, count);
    if count == 1 {
        return Some((first, first));
    }
    let step = 1 + below(ticket.0, count - 1);
    Some((first, (first + step) % total))
}
