//! Which endpoint is chosen: by each way of balancing, by health, by ejection and by limits.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::balance::{Nobody, Pick, Ticket, Ties, UpstreamLoad};
use super::ring::{RingCell, Rings};
use super::seat::Choice;
use crate::proxy::serving::WorkerState;
use crate::snapshot::policy::{Balance, Ejection, HashKey};
use crate::snapshot::upstream::EndpointCell;
use crate::snapshot::{Endpoint, EndpointSet, Policy, Publisher, Snapshot, Upstream, UpstreamId, UpstreamProtocol};
use crate::telemetry::UpstreamSeries;

const START: Duration = Duration::from_hours(1);

fn at(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

fn set(ports: &[u16]) -> EndpointSet {
    EndpointSet { endpoints: ports.iter().map(|port| Endpoint::new(at(*port))).collect() }
}

fn upstream(policy: Policy, ports: &[u16]) -> Upstream {
    let (namespace, service) = ("n".to_owned(), "s".to_owned());
    let id = UpstreamId { namespace, service, port: 80, protocol: UpstreamProtocol::Http1 };
    Upstream { id, policy, endpoints: EndpointCell::new(set(ports)) }
}

fn ties() -> Ties {
    Ties { series: UpstreamSeries::unread("n", "s", 80), ring: Arc::default(), worker: 0, h2_streams: 2 }
}

/// An upstream as one worker sees it, at a time that the test sets.
struct World {
    upstream: Upstream,
    load: UpstreamLoad,
    state: WorkerState,
    now: Duration,
}

impl World {
    fn new(policy: Policy, ports: &[u16]) -> World {
        let upstream = upstream(policy, ports);
        let load = UpstreamLoad::new(&upstream, ties());
        World { upstream, load, state: WorkerState::new(), now: START }
    }

    fn balanced(balance: Balance, ports: &[u16]) -> World {
        World::new(Policy { balance, ..Policy::default() }, ports)
    }

    fn sibling(&self) -> UpstreamLoad {
        UpstreamLoad::new(&self.upstream, ties())
    }

    fn pick<'a>(&self, tried: &'a [SocketAddr]) -> Pick<'a> {
        Pick { ticket: self.state.random(), hash: None, tried }
    }

    fn choose(&self, tried: &[SocketAddr]) -> Result<Choice, Nobody> {
        self.load.choose_at(self.pick(tried), &|| self.now)
    }

    fn port(&self, tried: &[SocketAddr]) -> u16 {
        self.choose(tried).unwrap().address.port()
    }

    fn seen(&self, times: usize) -> BTreeMap<u16, usize> {
        let mut seen = BTreeMap::new();
        (0..times).for_each(|_| *seen.entry(self.port(&[])).or_default() += 1);
        seen
    }

    fn health(&self, port: u16) -> Arc<crate::snapshot::EndpointHealth> {
        let set = self.upstream.endpoints.load();
        set.endpoints.iter().find(|one| one.address.port() == port).unwrap().health.clone()
    }

    /// Requests go on until `times` of them went to `port`, and those failed; the others were answered.
    fn fail(&self, port: u16, times: usize) {
        let mut failed = 0;
        while failed < times {
            let choice = self.choose(&[]).unwrap();
            if choice.address.port() == port {
                choice.failed_at(self.now);
                failed += 1;
            } else {
                choice.answered_at(|| self.now);
            }
        }
    }
}

#[test]
fn no_endpoint_no_choice() {
    assert_eq!(World::new(Policy::default(), &[]).choose(&[]).unwrap_err(), Nobody::NoEndpoints);
    let one = World::new(Policy::default(), &[1]);
    assert_eq!(one.choose(&[at(1)]).unwrap_err(), Nobody::AllTried);
    assert!(one.load.has_other_than(&[]) && !one.load.has_other_than(&[at(1)]));
}

#[test]
fn idle_endpoints_are_drawn_evenly() {
    let seen = World::new(Policy::default(), &[1, 2, 3]).seen(9000);
    // 9000 draws at 1/3: sigma is 44.7
    assert!(seen.len() == 3 && seen.values().all(|count| count.abs_diff(3000) < 225), "{seen:?}");
}

#[test]
fn work_in_flight_stays_level() {
    let world = World::new(Policy::default(), &[1, 2, 3, 4]);
    let held: Vec<_> = (0..400).map(|_| world.choose(&[]).unwrap()).collect();
    let counts: Vec<_> = (1..=4).map(|port| world.load.in_flight(at(port))).collect();
    assert!(counts.iter().all(|count| (90..=110).contains(count)), "{counts:?}");
    drop(held);
    assert!((1..=4).all(|port| world.load.in_flight(at(port)) == 0));
}

#[test]
fn what_was_tried_is_not_tried_again() {
    for balance in [Balance::LeastRequest, Balance::RoundRobin] {
        let world = World::balanced(balance, &[1, 2, 3]);
        for _ in 0..50 {
            assert_eq!(world.port(&[at(1), at(3)]), 2);
        }
    }
}

#[test]
fn in_turn_every_endpoint_has_exactly_its_turns() {
    let world = World::balanced(Balance::RoundRobin, &[1, 2, 3, 4]);
    let first: Vec<u16> = (0..4).map(|_| world.port(&[])).collect();
    for round in 0..5 {
        let next: Vec<u16> = (0..4).map(|_| world.port(&[])).collect();
        assert_eq!(first, next, "round {round}");
    }
    // One that is left out gives its turn to nobody: the others stay even.
    world.health(2).judge(false);
    assert_eq!(world.seen(300), BTreeMap::from([(1, 100), (3, 100), (4, 100)]));
}

#[test]
fn workers_do_not_all_begin_with_the_same_turn() {
    let world = World::balanced(Balance::RoundRobin, &[1, 2, 3, 4]);
    let first = |load: &UpstreamLoad| load.choose_at(world.pick(&[]), &|| START).unwrap().address.port();
    let seen: std::collections::BTreeSet<u16> = (0..64).map(|_| first(&world.sibling())).collect();
    assert!(seen.len() > 1, "{seen:?}");
}

#[test]
fn an_unhealthy_endpoint_is_not_chosen_unless_all_are() {
    for balance in [Balance::LeastRequest, Balance::RoundRobin] {
        let world = World::balanced(balance, &[1, 2, 3]);
        world.health(1).judge(false);
        world.health(2).judge(false);
        assert_eq!(world.seen(100), BTreeMap::from([(3, 100)]));
        assert_eq!(world.choose(&[at(3)]).unwrap_err(), Nobody::AllTried, "not even for want of a better one");
        assert!(!world.load.has_other_than(&[at(3)]));
        world.health(3).judge(false);
        assert_eq!(world.seen(300).len(), 3, "a wrong check must not take a service down");
        assert!(world.load.has_other_than(&[at(3)]));
        world.health(1).judge(true);
        assert_eq!(world.seen(100), BTreeMap::from([(1, 100)]));
    }
}

#[test]
fn failures_in_a_row_eject_and_an_answer_in_between_does_not() {
    let world = World::new(Policy::default(), &[1, 2]);
    world.fail(1, 4);
    while world.choose(&[at(2)]).map(|choice| choice.answered_at(|| world.now)).is_err() {}
    world.fail(1, 4);
    assert_eq!(world.seen(100).len(), 2, "four, an answer, and four more");
    world.fail(1, 1);
    assert_eq!(world.seen(100), BTreeMap::from([(2, 100)]));
    // It is for the first try to avoid it; there is no better one for the second.
    assert_eq!(world.port(&[at(2)]), 1);
}

#[test]
fn what_neither_answered_nor_failed_says_nothing() {
    let world = World::new(Policy::default(), &[1, 2]);
    world.fail(1, 4);
    (0..100).for_each(|_| drop(world.choose(&[])));
    world.fail(1, 1);
    assert_eq!(world.seen(100), BTreeMap::from([(2, 100)]));
}

#[test]
fn an_answer_that_broke_off_was_none() {
    let world = World::new(Policy::default(), &[1, 2]);
    world.fail(1, 4);
    let choice = std::iter::repeat_with(|| world.choose(&[]).unwrap()).find(|one| one.address == at(1)).unwrap();
    choice.answered_at(|| world.now);
    choice.failed_at(world.now);
    choice.failed_at(world.now);
    assert_eq!(world.seen(100), BTreeMap::from([(2, 100)]));
}

#[test]
fn failures_are_counted_over_all_workers_and_all_see_the_ejection() {
    let world = World::new(Policy::default(), &[1, 2]);
    let workers = [world.sibling(), world.sibling(), world.sibling()];
    let choose = |load: &UpstreamLoad| load.choose_at(world.pick(&[]), &|| world.now).unwrap();
    for load in workers.iter().chain(workers.iter().take(2)) {
        std::iter::repeat_with(|| choose(load)).find(|one| one.address == at(1)).unwrap().failed_at(world.now);
    }
    for load in &workers {
        assert!((0..50).all(|_| choose(load).address == at(2)));
    }
}

#[test]
fn an_ejected_endpoint_is_tried_by_one_request_at_a_time_and_an_answer_brings_it_back() {
    let mut world = World::new(Policy::default(), &[1, 2]);
    world.fail(1, 5);
    world.now += Duration::from_millis(4_999);
    assert_eq!(world.seen(100), BTreeMap::from([(2, 100)]));
    world.now += Duration::from_millis(1);
    let probes: Vec<Choice> = (0..100).map(|_| world.choose(&[]).unwrap()).filter(|one| one.address == at(1)).collect();
    assert_eq!(probes.len(), 1);
    probes[0].failed_at(world.now);
    drop(probes);
    // Twice as long now.
    world.now += Duration::from_millis(9_999);
    assert_eq!(world.seen(100), BTreeMap::from([(2, 100)]));
    world.now += Duration::from_millis(1);
    let probes: Vec<Choice> = (0..100).map(|_| world.choose(&[]).unwrap()).filter(|one| one.address == at(1)).collect();
    assert_eq!(probes.len(), 1);
    probes[0].answered_at(|| world.now);
    drop(probes);
    assert_eq!(world.seen(100).len(), 2);
    world.fail(1, 4);
    assert_eq!(world.seen(100).len(), 2, "it begins anew");
}

#[test]
fn the_last_endpoint_is_never_ejected() {
    let one = World::new(Policy::default(), &[1]);
    one.fail(1, 50);
    assert_eq!(one.seen(10), BTreeMap::from([(1, 10)]));
    let two = World::new(Policy::default(), &[1, 2]);
    two.fail(1, 5);
    (0..50).for_each(|_| two.choose(&[]).unwrap().failed_at(two.now));
    assert_eq!(two.seen(10), BTreeMap::from([(2, 10)]));
    // One that checks hold for unhealthy is none that could stand in.
    let checked = World::new(Policy::default(), &[1, 2]);
    checked.health(1).judge(false);
    checked.fail(2, 50);
    assert_eq!(checked.seen(10), BTreeMap::from([(2, 10)]));
}

#[test]
fn where_all_are_out_all_are_chosen_among_and_an_answer_counts_at_once() {
    let world = World::new(Policy::default(), &[1, 2]);
    world.fail(1, 5);
    world.health(2).judge(false);
    let choices: Vec<Choice> = (0..100).map(|_| world.choose(&[]).unwrap()).collect();
    assert!(choices.iter().any(|one| one.address == at(1)) && choices.iter().any(|one| one.address == at(2)));
    let failed = choices.iter().filter(|one| one.address == at(1));
    failed.for_each(|one| one.failed_at(world.now)); // and no time is added for it
    drop(choices);
    let answered = std::iter::repeat_with(|| world.choose(&[]).unwrap()).find(|one| one.address == at(1)).unwrap();
    answered.answered_at(|| world.now);
    assert_eq!(world.seen(50), BTreeMap::from([(1, 50)]));
}

#[test]
fn a_policy_without_ejection_ejects_nobody() {
    let ejection = Ejection { consecutive_failures: None, ..Ejection::default() };
    let world = World::new(Policy { ejection, ..Policy::default() }, &[1, 2]);
    world.fail(1, 100);
    assert_eq!(world.seen(100).len(), 2);
    // Nor does one that replaces a policy under which it was.
    let world = World::new(Policy::default(), &[1, 2]);
    world.fail(1, 5);
    let load = world.load.under(Policy {
        ejection: Ejection { consecutive_failures: None, ..Ejection::default() },
        ..Policy::default()
    });
    assert!((0..50).any(|_| load.choose(world.pick(&[])).unwrap().address == at(1)));
}

#[test]
fn connections_are_limited_over_all_workers_and_freed() {
    let policy = Policy { max_connections: NonZeroU32::new(2), ..Policy::default() };
    let world = World::new(policy, &[1, 2]);
    let workers = [world.sibling(), world.sibling()];
    let choose = |worker: usize| workers[worker].choose(world.pick(&[]));
    let mut held: Vec<Choice> = (0..4).map(|number| choose(number % 2).unwrap()).collect();
    assert_eq!((choose(0).unwrap_err(), choose(1).unwrap_err()), (Nobody::AtLimit, Nobody::AtLimit));
    let freed = held.pop().unwrap().address;
    assert_eq!(choose(0).unwrap().address, freed);
    assert_eq!(choose(1).unwrap().address, freed);
    drop(held);
    let again: Vec<Choice> = (0..4).map(|_| choose(0).unwrap()).collect();
    assert_eq!(choose(1).unwrap_err(), Nobody::AtLimit);
    // Without a limit what is held is given back as it ends.
    let free = workers[0].under(Policy::default());
    let more = free.choose(world.pick(&[])).unwrap();
    drop((again, more));
    let all: Vec<Choice> = (0..4).map(|_| choose(1).unwrap()).collect();
    assert_eq!(choose(0).unwrap_err(), Nobody::AtLimit);
    drop(all);
}

#[test]
fn a_limit_that_comes_counts_what_is_in_flight_already() {
    let world = World::new(Policy::default(), &[1]);
    let held: Vec<Choice> = (0..3).map(|_| world.choose(&[]).unwrap()).collect();
    let limited = world.load.under(Policy { max_connections: NonZeroU32::new(3), ..Policy::default() });
    assert_eq!(limited.choose(world.pick(&[])).unwrap_err(), Nobody::AtLimit);
    drop(held);
    let again: Vec<Choice> = (0..3).map(|_| limited.choose(world.pick(&[])).unwrap()).collect();
    assert_eq!(limited.choose(world.pick(&[])).unwrap_err(), Nobody::AtLimit);
    drop(again);
}

#[test]
fn http2_requests_share_connections() {
    let mut upstream = upstream(Policy { max_connections: NonZeroU32::new(2), ..Policy::default() }, &[1]);
    upstream.id.protocol = UpstreamProtocol::H2c;
    let state = WorkerState::new();
    // Two streams a connection. A worker's own connections are not its sibling's.
    let workers = [UpstreamLoad::new(&upstream, ties()), UpstreamLoad::new(&upstream, ties())];
    let choose = |worker: usize| workers[worker].choose(Pick { ticket: state.random(), hash: None, tried: &[] });
    let one = choose(0).unwrap();
    let other = choose(1).unwrap();
    let shared = choose(0).unwrap();
    assert_eq!(choose(0).unwrap_err(), Nobody::AtLimit);
    drop(one);
    assert_eq!(choose(1).map(drop), Ok(()), "the second stream of its connection");
    drop(shared);
    let three: Vec<Choice> = [1, 0, 0].map(|worker| choose(worker).unwrap()).into();
    assert_eq!((choose(0).unwrap_err(), choose(1).unwrap_err()), (Nobody::AtLimit, Nobody::AtLimit));
    drop((three, other));
}

#[test]
fn counts_survive_that_an_endpoint_leaves_and_returns() {
    let (mut publisher, reader) = Publisher::new();
    let upstream = upstream(Policy::default(), &[1]);
    let id = upstream.id.clone();
    publisher.publish(Snapshot { upstreams: vec![upstream], ..Default::default() });
    let load = UpstreamLoad::new(&reader.current().upstreams[0], ties());
    let state = WorkerState::new();
    let choose = || load.choose(Pick { ticket: state.random(), hash: None, tried: &[] }).unwrap();
    let held = choose();
    publisher.publish_endpoints(&id, set(&[2]));
    assert_eq!(choose().address, at(2));
    publisher.publish_endpoints(&id, set(&[1, 2]));
    assert_eq!(load.in_flight(at(1)), 1);
    for _ in 0..50 {
        assert_eq!(choose().address, at(2), "the idle one is taken");
    }
    drop(held);
    assert_eq!(load.in_flight(at(1)), 0);
}

#[test]
fn health_and_ejection_survive_snapshots_and_moves_of_other_endpoints() {
    let (mut publisher, reader) = Publisher::new();
    publisher.publish(Snapshot { upstreams: vec![upstream(Policy::default(), &[1, 2, 3])], ..Default::default() });
    let id = reader.current().upstreams[0].id.clone();
    let load = UpstreamLoad::new(&reader.current().upstreams[0], ties());
    let state = WorkerState::new();
    let choose = || load.choose(Pick { ticket: state.random(), hash: None, tried: &[] }).unwrap();
    reader.current().upstreams[0].endpoints.load().endpoints[0].health.judge(false);
    for _ in 0..5 {
        std::iter::repeat_with(choose).find(|one| one.address == at(2)).unwrap().failed();
    }
    publisher.publish_endpoints(&id, set(&[1, 2, 3, 4]));
    publisher.publish(Snapshot { upstreams: vec![upstream(Policy::default(), &[1, 2, 3])], ..Default::default() });
    for _ in 0..100 {
        assert_eq!(choose().address, at(3));
    }
}

/// Whom each of 5,000 keys finds.
fn keys(load: &UpstreamLoad) -> Vec<u16> {
    let hash = |key: u64| Some(key.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let choose = |key| load.choose(Pick { ticket: Ticket(0), hash: hash(key), tried: &[] }).unwrap();
    (0..5_000).map(|key| choose(key).address.port()).collect()
}

fn moved(before: &[u16], after: &[u16]) -> usize {
    before.iter().zip(after).filter(|(before, after)| before != after).count()
}

#[test]
fn keys_stay_and_few_move_when_an_endpoint_goes() {
    let balance = Balance::ConsistentHash(HashKey::ClientAddress);
    let ports: Vec<u16> = (1..=10).collect();
    let mut upstream = upstream(Policy { balance, ..Policy::default() }, &ports);
    let ring = Arc::new(RingCell::default());
    let load = UpstreamLoad::new(&upstream, Ties { ring: ring.clone(), ..ties() });
    ring.store(Rings::build(upstream.endpoints.load().clone(), 1));
    let before = keys(&load);
    assert_eq!(before, keys(&load), "the same key, the same endpoint");
    let on = |port: u16| before.iter().filter(|at| **at == port).count();
    assert!(ports.iter().all(|port| on(*port) > 0), "all have some");

    // It turns unhealthy: its keys go, all others stay; and they come back with it.
    upstream.endpoints.load().endpoints[3].health.judge(false);
    let without = keys(&load);
    assert_eq!(moved(&before, &without), on(4), "only the keys of the one that is out move");
    assert!(on(4) <= 2 * 5_000 / 10, "{}", on(4));
    assert!(!without.contains(&4));
    upstream.endpoints.load().endpoints[3].health.judge(true);
    assert_eq!(moved(&before, &keys(&load)), 0);

    // It leaves, with the old ring and then with the new one: the same.
    let (mut publisher, reader) = Publisher::new();
    let id = upstream.id.clone();
    upstream.endpoints = reader_of(&mut publisher, &reader, upstream.clone());
    let load = UpstreamLoad::new(&upstream, Ties { ring: ring.clone(), ..ties() });
    let nine: Vec<u16> = ports.iter().copied().filter(|port| *port != 4).collect();
    publisher.publish_endpoints(&id, set(&nine));
    assert!(!ring.is_of(&upstream.endpoints.load()));
    assert_eq!(keys(&load), without, "the old ring serves");
    ring.store(Rings::build(upstream.endpoints.load().clone(), 1));
    assert!(ring.is_of(&upstream.endpoints.load()));
    assert_eq!(keys(&load), without, "the new ring moves nothing more");
    publisher.publish_endpoints(&id, set(&ports));
    ring.store(Rings::build(upstream.endpoints.load().clone(), 1));
    assert_eq!(keys(&load), before, "they come back with it");
}

fn reader_of(publisher: &mut Publisher, reader: &crate::snapshot::Reader, upstream: Upstream) -> EndpointCell {
    publisher.publish(Snapshot { upstreams: vec![upstream], ..Default::default() });
    reader.current().upstreams[0].endpoints.clone()
}

#[test]
fn a_request_without_key_or_ring_is_balanced_by_least_request() {
    let world = World::balanced(Balance::ConsistentHash(HashKey::ClientAddress), &[1, 2, 3]);
    assert_eq!(world.seen(200).len(), 3);
    let choose = || world.load.choose(Pick { hash: Some(7), ..world.pick(&[]) }).unwrap().address;
    let seen: std::collections::BTreeSet<SocketAddr> = (0..200).map(|_| choose()).collect();
    assert_eq!(seen.len(), 3, "there is no ring yet");
    let ring = &world.load.ties().ring;
    ring.store(Rings::build(world.upstream.endpoints.load().clone(), 1));
    let seen: std::collections::BTreeSet<SocketAddr> = (0..200).map(|_| choose()).collect();
    assert_eq!(seen.len(), 1);
    assert_eq!(world.seen(200).len(), 3);
}

#[test]
fn a_key_whose_endpoint_was_tried_goes_on_along_the_ring() {
    let world = World::balanced(Balance::ConsistentHash(HashKey::ClientAddress), &[1, 2, 3, 4]);
    world.load.ties().ring.store(Rings::build(world.upstream.endpoints.load().clone(), 1));
    let mut tried = Vec::new();
    for _ in 0..4 {
        let choose = || world.load.choose(Pick { hash: Some(7), ..world.pick(&tried) }).unwrap().address;
        let next = choose();
        assert!((0..20).all(|_| choose() == next), "always the same next one");
        assert!(!tried.contains(&next));
        tried.push(next);
    }
    let pick = Pick { hash: Some(7), ..world.pick(&tried) };
    assert_eq!(world.load.choose(pick).unwrap_err(), Nobody::AllTried);
}
