//! PURE. Which target port stands behind each port of each Service: on the pods that all Gateways share, no two may
//! be the same.
//!
//! The Services are the record: what one has it keeps, whoever leads. New ports go round, so that one that has become
//! free is not given again while connections of its old listener drain.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use crate::api::ObjectKey;

/// The ports that are given.
pub const TARGETS: RangeInclusive<u16> = 20_000..=29_999;
/// For how long a port that has become free is not given.
pub const REST: Duration = Duration::from_mins(5);

/// A Service's own port, and the target port behind it.
pub type Targets = BTreeMap<u16, u16>;

/// What a Service records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The Service.
    pub service: ObjectKey,
    /// When it was made: seconds since 1970.
    pub created: i64,
    /// Its ports.
    pub targets: Targets,
}

/// Who has what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allocation {
    /// By Service; a port that could not be given a target is not there.
    pub targets: BTreeMap<ObjectKey, Targets>,
    /// Ports that have none, because every one is taken or rests.
    pub without: BTreeSet<(ObjectKey, u16)>,
}

/// Gives target ports.
#[derive(Debug)]
pub struct Ports {
    /// What was given, also where no Service shows it yet.
    given: BTreeMap<(ObjectKey, u16), u16>,
    /// Ports in use, when last looked at.
    busy: BTreeSet<u16>,
    /// Until when.
    resting: BTreeMap<u16, Instant>,
    /// Where the search for the next port begins.
    next: u16,
}

impl Ports {
    /// Nothing is given yet. The first new port is searched from `seed` on: one that begins elsewhere than the leader
    /// before it does not give at once what that one has just freed.
    #[must_use]
    pub fn new(seed: u16) -> Self {
        let next = TARGETS.start() + seed % (TARGETS.end() - TARGETS.start() + 1);
        Ports { given: BTreeMap::new(), busy: BTreeSet::new(), resting: BTreeMap::new(), next }
    }

    /// Says who has what, for the Services and ports that are wanted.
    pub fn allocate(
        &mut self,
        mut recorded: Vec<Recorded>,
        wanted: &BTreeMap<ObjectKey, BTreeSet<u16>>,
        now: Instant,
    ) -> Allocation {
        // "two Services with one target: the older keeps it"
        recorded.sort_by(|a, b| (a.created, &a.service).cmp(&(b.created, &b.service)));
        let mut busy: BTreeSet<u16> = recorded.iter().flat_map(|record| record.targets.values().copied()).collect();
        let mut given: BTreeMap<(ObjectKey, u16), u16> = BTreeMap::new();
        let mut taken = BTreeSet::new();
        for record in recorded {
            let Some(ports) = wanted.get(&record.service) else { continue };
            for (port, target) in record.targets {
                if ports.contains(&port) && TARGETS.contains(&target) && taken.insert(target) {
                    given.insert((record.service.clone(), port), target);
                }
            }
        }
        let mut allocation = Allocation::default();
        self.resting.retain(|_, until| *until > now);
        let places = wanted.iter().flat_map(|(service, ports)| ports.iter().map(|port| (service.clone(), *port)));
        let mut missing = Vec::new();
        for place in places.filter(|place| !given.contains_key(place)).collect::<Vec<_>>() {
            match self.given.get(&place).copied().filter(|target| !busy.contains(target)) {
                Some(target) => {
                    busy.insert(target);
                    given.insert(place, target);
                }
                None => missing.push(place),
            }
        }
        for place in missing {
            let Some(target) = self.search(&busy) else {
                allocation.without.insert(place);
                continue;
            };
            busy.insert(target);
            given.insert(place, target);
        }
        for freed in self.busy.difference(&busy) {
            self.resting.insert(*freed, now + REST);
        }
        for ((service, port), target) in &given {
            allocation.targets.entry(service.clone()).or_default().insert(*port, *target);
        }
        (self.given, self.busy) = (given, busy);
        allocation
    }

    /// The next port that nobody has and that does not rest.
    fn search(&mut self, busy: &BTreeSet<u16>) -> Option<u16> {
        let found = (self.next..=*TARGETS.end())
            .chain(*TARGETS.start()..self.next)
            .find(|port| !busy.contains(port) && !self.busy.contains(port) && !self.resting.contains_key(port))?;
        self.next = if found == *TARGETS.end() { *TARGETS.start() } else { found + 1 };
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new("n", name)
    }

    fn wanted(services: &[(&str, &[u16])]) -> BTreeMap<ObjectKey, BTreeSet<u16>> {
        services.iter().map(|(name, ports)| (key(name), ports.iter().copied().collect())).collect()
    }

    fn recorded(name: &str, created: i64, targets: &[(u16, u16)]) -> Recorded {
        Recorded { service: key(name), created, targets: targets.iter().copied().collect() }
    }

    fn targets(allocation: &Allocation, name: &str) -> Vec<(u16, u16)> {
        allocation.targets.get(&key(name)).into_iter().flatten().map(|(port, target)| (*port, *target)).collect()
    }

    #[test]
    fn what_a_service_records_it_keeps() {
        let mut ports = Ports::new(0);
        let records = vec![recorded("a", 1, &[(80, 20_007), (443, 20_000)])];
        let found = ports.allocate(records, &wanted(&[("a", &[80, 443]), ("b", &[80])]), Instant::now());
        assert_eq!(targets(&found, "a"), [(80, 20_007), (443, 20_000)]);
        assert_eq!(targets(&found, "b"), [(80, 20_001)]);
    }

    #[test]
    fn what_is_not_shown_yet_is_remembered() {
        let (mut ports, now) = (Ports::new(5), Instant::now());
        let first = ports.allocate(vec![], &wanted(&[("a", &[80])]), now);
        assert_eq!(targets(&first, "a"), [(80, 20_005)]);
        assert_eq!(ports.allocate(vec![], &wanted(&[("a", &[80]), ("b", &[80])]), now).targets[&key("a")][&80], 20_005);
    }

    #[test]
    fn of_two_with_one_target_the_older_keeps_it() {
        let (mut ports, now) = (Ports::new(0), Instant::now());
        let records = || vec![recorded("a", 9, &[(80, 20_000)]), recorded("b", 3, &[(80, 20_000)])];
        let want = wanted(&[("a", &[80]), ("b", &[80])]);
        let found = ports.allocate(records(), &want, now);
        assert_eq!((targets(&found, "b"), targets(&found, "a")), (vec![(80, 20_000)], vec![(80, 20_001)]));
        let again = ports.allocate(records(), &want, now);
        assert_eq!(found, again, "the same until the Services show it");
    }

    #[test]
    fn a_target_out_of_range_is_replaced() {
        let records = vec![recorded("a", 1, &[(80, 8080)])];
        let found = Ports::new(0).allocate(records, &wanted(&[("a", &[80])]), Instant::now());
        assert_eq!(targets(&found, "a"), [(80, 20_000)]);
    }

    #[test]
    fn a_port_that_became_free_rests() {
        let (mut ports, now) = (Ports::new(9_999), Instant::now());
        let last = vec![recorded("a", 1, &[(80, 20_000)])];
        ports.allocate(last.clone(), &wanted(&[("a", &[80])]), now);
        // the listener is gone, and the Service still shows it; then no longer
        ports.allocate(last, &wanted(&[]), now);
        ports.allocate(vec![], &wanted(&[]), now);
        let found = ports.allocate(vec![], &wanted(&[("b", &[80, 81])]), now + REST - Duration::from_secs(1));
        assert_eq!(targets(&found, "b"), [(80, 29_999), (81, 20_001)], "it goes round, and leaves out what rests");
        ports.next = 20_000;
        let found = ports.allocate(vec![], &wanted(&[("b", &[80, 81, 82])]), now + REST);
        assert_eq!(targets(&found, "b")[2], (82, 20_000));
    }

    #[test]
    fn a_new_port_is_not_one_that_has_just_become_free() {
        let (mut ports, now) = (Ports::new(0), Instant::now());
        ports.allocate(vec![], &wanted(&[("a", &[80])]), now);
        ports.next = 20_000;
        let found = ports.allocate(vec![], &wanted(&[("b", &[80])]), now);
        assert_eq!(targets(&found, "b"), [(80, 20_001)]);
    }

    #[test]
    fn when_every_port_is_taken_the_rest_are_named() {
        let mut ports = Ports::new(0);
        let all: Vec<u16> = (1..=10_002).collect();
        let found = ports.allocate(vec![], &wanted(&[("a", &all)]), Instant::now());
        assert_eq!(found.targets[&key("a")].len(), 10_000);
        assert_eq!(found.without, BTreeSet::from([(key("a"), 10_001), (key("a"), 10_002)]));
    }
}
