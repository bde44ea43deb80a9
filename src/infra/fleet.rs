//! PURE. What every data plane of the install serves, from what each of them tells.
//!
//! A generation of a Gateway counts once every ready data plane serves it or a later one. It only grows: a data plane
//! that joins has everything before it is ready. One that does not answer holds the others up for a while, and is
//! then left out until it answers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// By uid of the Gateway, a generation.
pub type Generations = BTreeMap<String, i64>;

/// For how long a data plane that does not answer is waited for.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// For how long a Gateway that nobody speaks of is remembered.
const MEMORY: Duration = Duration::from_mins(1);

/// The other data planes, and what all of them serve.
#[derive(Debug, Default)]
pub struct Fleet {
    /// By uid of the pod.
    peers: BTreeMap<String, Peer>,
    everywhere: Generations,
    /// Since when nobody has spoken of a Gateway.
    unmentioned: BTreeMap<String, Instant>,
}

#[derive(Debug)]
struct Peer {
    name: String,
    serves: Option<Generations>,
    /// Since when it has not answered.
    silent_since: Option<Instant>,
    /// Whether it was told that it is left out.
    left_out: bool,
}

impl Peer {
    fn is_left_out(&self, now: Instant) -> bool {
        self.silent_since.is_some_and(|since| now.saturating_duration_since(since) >= PATIENCE)
    }
}

impl Fleet {
    /// The ready data planes besides this one are these, by uid, with their names.
    pub fn consists_of(&mut self, ready: &BTreeMap<String, String>, now: Instant) {
        self.peers.retain(|uid, _| ready.contains_key(uid));
        for (uid, name) in ready {
            self.peers.entry(uid.clone()).or_insert_with(|| Peer {
                name: name.clone(),
                serves: None,
                silent_since: Some(now),
                left_out: false,
            });
        }
    }

    /// A data plane tells what it serves, or why it does not.
    pub fn heard(&mut self, uid: &str, told: Result<Generations, String>, now: Instant) {
        let Some(peer) = self.peers.get_mut(uid) else { return };
        match told {
            Ok(serves) => {
                if std::mem::take(&mut peer.left_out) {
                    tracing::info!(pod = peer.name, "data plane answers again, and is waited for again");
                }
                (peer.serves, peer.silent_since) = (Some(serves), None);
            }
            Err(why) => {
                let since = *peer.silent_since.get_or_insert(now);
                tracing::debug!(pod = peer.name, why, ?since, "data plane does not answer");
            }
        }
    }

    /// Whether every data plane has answered, or is left out.
    pub fn is_complete(&self, now: Instant) -> bool {
        self.peers.values().all(|peer| peer.serves.is_some() || peer.is_left_out(now))
    }

    /// When the next data plane will be left out.
    pub fn next(&self) -> Option<Instant> {
        let waiting = self.peers.values().filter(|peer| !peer.left_out);
        waiting.filter_map(|peer| Some(peer.silent_since? + PATIENCE)).min()
    }

    /// Takes up what grew, as far as `lets` agrees. `own` is what this process serves; Gateways of `wished` are
    /// remembered also while nobody serves them. Whether anything changed.
    pub fn settle(
        &mut self,
        own: &Generations,
        wished: &BTreeSet<&str>,
        mut lets: impl FnMut(&str) -> bool,
        now: Instant,
    ) -> bool {
        let before = self.everywhere.clone();
        for peer in self.peers.values_mut().filter(|peer| !peer.left_out) {
            if peer.is_left_out(now) {
                peer.left_out = true;
                tracing::warn!(pod = peer.name, "ready data plane does not tell what it serves; it is not waited for");
            }
        }
        let asked: Vec<&Peer> = self.peers.values().filter(|peer| !peer.left_out).collect();
        for (uid, generation) in own {
            let others = asked.iter().map(|peer| peer.serves.as_ref().and_then(|serves| serves.get(uid)).copied());
            let Some(everywhere) = others.chain([Some(*generation)]).collect::<Option<Vec<_>>>() else { continue };
            let Some(least) = everywhere.into_iter().min() else { continue };
            if self.everywhere.get(uid).is_none_or(|before| *before < least) && lets(uid) {
                self.everywhere.insert(uid.clone(), least);
            }
        }
        self.forget(own, wished, now);
        self.everywhere != before
    }

    /// What every data plane serves.
    pub fn everywhere(&self) -> &Generations {
        &self.everywhere
    }

    /// A Gateway whose listener is just being bound is nobody's for a moment, and still there.
    fn forget(&mut self, own: &Generations, wished: &BTreeSet<&str>, now: Instant) {
        let peers = &self.peers;
        let mentioned = |uid: &str| {
            own.contains_key(uid)
                || wished.contains(uid)
                || peers.values().any(|peer| peer.serves.as_ref().is_some_and(|serves| serves.contains_key(uid)))
        };
        let unmentioned = &mut self.unmentioned;
        self.everywhere.retain(|uid, _| {
            if mentioned(uid) {
                unmentioned.remove(uid);
                return true;
            }
            now.saturating_duration_since(*unmentioned.entry(uid.clone()).or_insert(now)) < MEMORY
        });
        let known = &self.everywhere;
        self.unmentioned.retain(|uid, _| known.contains_key(uid));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generations(of: &[(&str, i64)]) -> Generations {
        of.iter().map(|(uid, generation)| ((*uid).to_owned(), *generation)).collect()
    }

    fn pods(names: &[&str]) -> BTreeMap<String, String> {
        names.iter().map(|name| (format!("{name}-uid"), (*name).to_owned())).collect()
    }

    fn settle(fleet: &mut Fleet, own: &[(&str, i64)], now: Instant) -> Vec<(String, i64)> {
        fleet.settle(&generations(own), &BTreeSet::new(), |_| true, now);
        fleet.everywhere().clone().into_iter().collect()
    }

    fn is(found: &[(String, i64)], wanted: &[(&str, i64)]) {
        let found: Vec<(&str, i64)> = found.iter().map(|(uid, generation)| (uid.as_str(), *generation)).collect();
        assert_eq!(found, wanted);
    }

    #[test]
    fn alone_it_is_what_this_one_serves() {
        let (mut fleet, now) = (Fleet::default(), Instant::now());
        assert!(fleet.is_complete(now));
        is(&settle(&mut fleet, &[("g", 3)], now), &[("g", 3)]);
    }

    #[test]
    fn a_generation_counts_once_everyone_serves_it_and_never_shrinks() {
        let (mut fleet, now) = (Fleet::default(), Instant::now());
        fleet.consists_of(&pods(&["a", "b"]), now);
        fleet.heard("a-uid", Ok(generations(&[("g", 2), ("h", 1)])), now);
        is(&settle(&mut fleet, &[("g", 2), ("h", 1)], now), &[]);
        assert!(!fleet.is_complete(now));
        fleet.heard("b-uid", Ok(generations(&[("g", 1)])), now);
        assert!(fleet.is_complete(now));
        is(&settle(&mut fleet, &[("g", 2), ("h", 1)], now), &[("g", 1)]);
        fleet.heard("b-uid", Ok(generations(&[("g", 5), ("h", 1)])), now);
        is(&settle(&mut fleet, &[("g", 2), ("h", 1)], now), &[("g", 2), ("h", 1)]);
        // one that has just begun again
        fleet.heard("b-uid", Ok(generations(&[])), now);
        is(&settle(&mut fleet, &[("g", 2), ("h", 1)], now), &[("g", 2), ("h", 1)]);
    }

    #[test]
    fn who_leaves_is_not_waited_for() {
        let (mut fleet, now) = (Fleet::default(), Instant::now());
        fleet.consists_of(&pods(&["a"]), now);
        is(&settle(&mut fleet, &[("g", 1)], now), &[]);
        fleet.consists_of(&pods(&[]), now);
        is(&settle(&mut fleet, &[("g", 1)], now), &[("g", 1)]);
    }

    #[test]
    fn who_does_not_answer_is_left_out_after_a_while_and_taken_in_again() {
        let (mut fleet, now) = (Fleet::default(), Instant::now());
        fleet.consists_of(&pods(&["a"]), now);
        fleet.heard("a-uid", Ok(generations(&[("g", 1)])), now);
        is(&settle(&mut fleet, &[("g", 2)], now), &[("g", 1)]);
        assert_eq!(fleet.next(), None);
        fleet.heard("a-uid", Err("refused".into()), now);
        fleet.heard("a-uid", Err("refused".into()), now + PATIENCE / 2);
        assert_eq!(fleet.next(), Some(now + PATIENCE));
        is(&settle(&mut fleet, &[("g", 2)], now + PATIENCE / 2), &[("g", 1)]);
        is(&settle(&mut fleet, &[("g", 2)], now + PATIENCE), &[("g", 2)]);
        assert_eq!(fleet.next(), None, "it was told once");
        fleet.heard("a-uid", Ok(generations(&[("g", 2)])), now + PATIENCE);
        is(&settle(&mut fleet, &[("g", 3)], now + PATIENCE * 3), &[("g", 2)]);
    }

    #[test]
    fn what_is_not_let_through_waits_and_what_nobody_speaks_of_is_forgotten_later() {
        let (mut fleet, now) = (Fleet::default(), Instant::now());
        let own = generations(&[("g", 1)]);
        assert!(!fleet.settle(&own, &BTreeSet::new(), |_| false, now));
        assert!(fleet.settle(&own, &BTreeSet::new(), |_| true, now));
        assert!(!fleet.settle(&own, &BTreeSet::new(), |_| panic!("nothing grew"), now));
        assert!(!fleet.settle(&Generations::new(), &BTreeSet::new(), |_| true, now));
        assert!(!fleet.settle(&Generations::new(), &BTreeSet::from(["g"]), |_| true, now + MEMORY), "wished for");
        assert!(!fleet.settle(&Generations::new(), &BTreeSet::new(), |_| true, now + MEMORY));
        assert!(fleet.settle(&Generations::new(), &BTreeSet::new(), |_| true, now + MEMORY * 2));
        assert!(fleet.everywhere().is_empty());
    }
}
