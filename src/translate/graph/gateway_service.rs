//! The Service of each Gateway, where listeners are exposed by one: its name, whether it is there, and the target
//! ports that it records.
//!
//! The Service stands in the Gateway's namespace, where others may write too: what it says is judged, not believed.
//! Who writes it, and who chooses its target ports, is not known here.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::RangeInclusive;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use sha2::{Digest, Sha256};

use super::gateway::{ANY, GatewayNode};
use crate::api::{Kind, ObjectKey, Service};
use crate::store::Resources;
use crate::translate::{Binds, References};

/// The target ports that may be bound for a Service.
pub const TARGET_PORTS: RangeInclusive<u16> = 20_000..=29_999;
/// Label of every Service of ours, and its value.
pub const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "transom");

/// Longest name of a Service: a label of DNS.
const LONGEST: usize = 63;

/// The Service of a Gateway.
#[derive(Debug)]
pub struct ServiceNode<'a> {
    /// Names that it may have, the preferred one first.
    candidates: Vec<ObjectKey>,
    /// The one that it has or is to have; `None` if others have taken all of them.
    pub key: Option<ObjectKey>,
    /// The object, once it is there.
    pub found: Option<&'a Service>,
    /// By port, what it records.
    targets: BTreeMap<u16, Target<'a>>,
}

/// What a Service records for one of its ports.
#[derive(Debug, Clone)]
enum Target<'a> {
    Assigned(u16),
    Lacking(TargetLack<'a>),
}

/// Why a listener has no port to bind yet.
#[derive(Debug, Clone)]
pub enum TargetLack<'a> {
    /// The Service is not there, or not labelled as ours.
    Service(ObjectKey),
    /// Every name that the Service may have belongs to a Service of somebody else.
    Names(Vec<ObjectKey>),
    /// The Service has no such port yet.
    Port(ObjectKey),
    /// A target port that is not one of [`TARGET_PORTS`].
    Foreign(ObjectKey, Option<&'a IntOrString>),
    /// This port of the Service of an older Gateway, or an earlier one of this Service, has the same target port.
    Held { service: ObjectKey, target: u16, by: &'a ObjectKey, port: u16 },
    /// The Gateway is being deleted, and its Service went before it.
    Leaving,
}

/// Gives every Gateway its Service and every listener the address that the Service leads to. Gateways come oldest
/// first: no two of them ever share a target port, or one tenant's clients would meet another's routes.
///
/// Before an install runs (`transom check --kubernetes` and its like), any free target port stands for one that is
/// still to be chosen.
pub fn expose<'a>(by_age: &mut [&mut GatewayNode<'a>], resources: &'a Resources, binds: Binds) {
    find(by_age, resources);
    let mut claims = BTreeMap::new();
    for node in &mut *by_age {
        let Some(service) = &mut node.service else { continue };
        let leaves = node.gateway.metadata.deletion_timestamp.is_some();
        service.read_targets(node.key, &mut claims);
        for listener in &mut node.listeners {
            let Some(port) = listener.port else { continue };
            match service.target(port) {
                Target::Assigned(target) => listener.addresses = vec![SocketAddr::new(ANY, target)],
                Target::Lacking(TargetLack::Service(_)) if leaves => listener.lacks_target = Some(TargetLack::Leaving),
                Target::Lacking(lack) => listener.lacks_target = Some(lack),
            }
        }
    }
    if binds == Binds::Foreseen {
        assume(by_age, &claims);
    }
}

/// Lets free ports stand for those that nobody has chosen yet: one for each port of a Gateway.
fn assume(by_age: &mut [&mut GatewayNode<'_>], claims: &BTreeMap<u16, (&ObjectKey, u16)>) {
    let mut free = TARGET_PORTS.filter(|target| !claims.contains_key(target));
    for node in by_age {
        let mut assumed = BTreeMap::new();
        for listener in &mut node.listeners {
            let awaited = matches!(listener.lacks_target, Some(TargetLack::Service(_) | TargetLack::Port(_)));
            let Some(port) = listener.port.filter(|_| awaited) else { continue };
            let Some(target) = assumed.get(&port).copied().or_else(|| free.next()) else { return };
            assumed.insert(port, target);
            listener.addresses = vec![SocketAddr::new(ANY, target)];
            listener.lacks_target = None;
        }
    }
}

/// Notes every Service that decides something.
pub fn note(gateways: &[GatewayNode<'_>], references: &mut References) {
    for key in gateways.iter().filter_map(|node| node.service.as_ref()).flat_map(|service| &service.candidates) {
        references.add(Kind::Service, &key.namespace, &key.name);
    }
}

/// A Gateway keeps the Service that it has. Who has none takes the first name that nobody has: neither another
/// object, nor another Gateway (`a-b` of class `c` would meet `a` of class `b-c`).
fn find<'a>(by_age: &mut [&mut GatewayNode<'a>], resources: &'a Resources) {
    let mut taken = BTreeSet::new();
    for node in &mut *by_age {
        let candidates = candidates(node.key, &node.gateway.spec.gateway_class_name);
        let uid = node.gateway.metadata.uid.as_deref();
        let owned = |key: &&ObjectKey| resources.services.get(*key).is_some_and(|service| owns(service, uid));
        let key = candidates.iter().find(owned).cloned();
        let found = key.as_ref().and_then(|key| resources.services.get(key)).filter(|service| is_labelled(service));
        taken.extend(key.clone());
        node.service = Some(ServiceNode { candidates, key, found, targets: BTreeMap::new() });
    }
    for service in by_age.iter_mut().filter_map(|node| node.service.as_mut()).filter(|s| s.key.is_none()) {
        let free = |key: &&ObjectKey| !taken.contains(*key) && !resources.services.contains_key(*key);
        service.key = service.candidates.iter().find(free).cloned();
        taken.extend(service.key.clone());
    }
}

fn owns(service: &Service, uid: Option<&str>) -> bool {
    let mut owners = service.metadata.owner_references.iter().flatten();
    uid.is_some_and(|uid| owners.any(|owner| owner.controller == Some(true) && owner.uid == uid))
}

fn is_labelled(service: &Service) -> bool {
    let (label, value) = MANAGED_BY;
    service.metadata.labels.as_ref().and_then(|labels| labels.get(label)).is_some_and(|found| found == value)
}

impl<'a> ServiceNode<'a> {
    /// Lets every port of the Service claim its target port, also those that no listener has any more: clients of
    /// theirs may still come.
    fn read_targets(&mut self, owner: &'a ObjectKey, claims: &mut BTreeMap<u16, (&'a ObjectKey, u16)>) {
        let (Some(service), Some(key)) = (self.found, &self.key) else { return };
        let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
        let tcp = ports.filter(|port| port.protocol.as_deref().is_none_or(|protocol| protocol == "TCP"));
        let mut ports: Vec<_> =
            tcp.filter_map(|p| Some((u16::try_from(p.port).ok()?, p.target_port.as_ref()))).collect();
        ports.sort_by_key(|(port, _)| *port);
        for (port, found) in ports {
            let number = match found {
                Some(IntOrString::Int(number)) => u16::try_from(*number).ok().filter(|n| TARGET_PORTS.contains(n)),
                _ => None,
            };
            let target = match number {
                None => Target::Lacking(TargetLack::Foreign(key.clone(), found)),
                Some(number) => match *claims.entry(number).or_insert((owner, port)) {
                    (holder, held) if holder == owner && held == port => Target::Assigned(number),
                    (by, held) => {
                        Target::Lacking(TargetLack::Held { service: key.clone(), target: number, by, port: held })
                    }
                },
            };
            self.targets.insert(port, target);
        }
    }

    fn target(&self, port: u16) -> Target<'a> {
        let Some(key) = &self.key else { return Target::Lacking(TargetLack::Names(self.candidates.clone())) };
        if self.found.is_none() {
            return Target::Lacking(TargetLack::Service(key.clone()));
        }
        self.targets.get(&port).cloned().unwrap_or_else(|| Target::Lacking(TargetLack::Port(key.clone())))
    }
}

/// `<gateway>-<class>` (GEP-1762) where a Service may be named so, then a name that holds a hash of both.
fn candidates(gateway: &ObjectKey, class: &str) -> Vec<ObjectKey> {
    let plain = format!("{}-{class}", gateway.name);
    let mut names = Vec::with_capacity(2);
    if is_service_name(&plain) {
        names.push(plain.clone());
    }
    names.push(hashed(&plain, gateway, class));
    names.into_iter().map(|name| ObjectKey::new(gateway.namespace.clone(), name)).collect()
}

/// RFC 1035: a letter, then letters, digits and hyphens, not a hyphen at the end. Gateways may have dots and be longer.
fn is_service_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    name.len() <= LONGEST
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('-')
        && name.chars().all(allowed)
}

/// Cut, with eight digits of a hash behind it. Never change this: it would move every Gateway that is named so.
fn hashed(plain: &str, gateway: &ObjectKey, class: &str) -> String {
    let digest = Sha256::digest(format!("{}/{}/{class}", gateway.namespace, gateway.name));
    let hash = format!("{:08x}", digest.iter().take(4).fold(0, |hash: u32, byte| (hash << 8) | u32::from(*byte)));
    let letter = |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' };
    let mut stem: String = plain.chars().map(letter).collect();
    if !stem.starts_with(|c: char| c.is_ascii_lowercase()) {
        stem.insert_str(0, "gw-");
    }
    stem.truncate(LONGEST - hash.len() - 1);
    format!("{}-{hash}", stem.trim_end_matches('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(gateway: &str, class: &str) -> Vec<String> {
        candidates(&ObjectKey::new("shop", gateway), class).into_iter().map(|key| key.name).collect()
    }

    #[test]
    fn a_name_that_fits_stands_first_and_a_hash_is_the_same_in_every_version() {
        assert_eq!(names("gw", "transom"), ["gw-transom", "gw-transom-740d70b7"]);
    }

    #[test]
    fn every_name_is_one_that_a_service_may_have() {
        let (long, dotted) = ("a".repeat(253), "a.b.example.com");
        for gateway in [&long, dotted, "2048", "-", "", "Ä", "a-", &"é".repeat(40)] {
            for class in ["transom", "x.y", "9", "", &long] {
                let found = names(gateway, class);
                assert!(!found.is_empty() && found.iter().all(|name| is_service_name(name)), "{found:?}");
            }
        }
        assert_eq!(names(dotted, "transom").len(), 1, "a dot has no place in the name of a Service");
    }

    #[test]
    fn gateways_that_are_cut_alike_are_named_apart() {
        let long = |end: &str| names(&format!("{}{end}", "a".repeat(252)), "transom");
        assert_ne!(long("b"), long("c"));
        let same = ObjectKey::new("other", "gw");
        assert_ne!(candidates(&same, "c").last(), candidates(&ObjectKey::new("shop", "gw"), "c").last());
    }
}
