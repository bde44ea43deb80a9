//! The addresses under which a Gateway is reached, beside those that were asked for.
//!
//! Where listeners are bound on the host these are addresses of machines; behind a Service, those of the Service.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use super::bind::BindOutcome;
use super::gateway::{ANY, GatewayNode};
use super::spec_address::{Routability, SpecAddress, SpecValue};
use crate::api::gateway::GatewayStatusAddress;
use crate::api::{ObjectKey, Service};
use crate::store::Resources;
use crate::translate::{Exposure, Origin, Settings};

/// The most addresses that a status may hold.
const MOST: usize = 16;

/// What a Gateway has of addresses.
#[derive(Debug, Default)]
pub struct Addresses<'a> {
    /// Under which it is reached, without doubles.
    pub published: Vec<Published>,
    /// What is missing.
    pub lacks: Vec<AddressLack<'a>>,
}

/// An address, and from where it is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Itself.
    pub address: Address,
    /// `routability`, where it is told.
    pub routability: Option<&'static str>,
}

/// An address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// Of IP.
    Ip(IpAddr),
    /// A name, as some load balancers give.
    Hostname(String),
}

/// Why an address is not there.
#[derive(Debug)]
pub enum AddressLack<'a> {
    /// One that was asked for is not of this machine; the words of the system.
    NotOfMachine(IpAddr, &'a str),
    /// One that was asked for is not among those of the Service, or stands for another entry already. `has` are those
    /// that it could have been.
    NotOfService { asked: SpecAddress<'a>, service: ObjectKey, kind: &'a str, has: Vec<Address> },
    /// No node is known to serve.
    NoNode,
    /// The Service is not there yet.
    NoService,
    /// The Service, of this type, has no address yet.
    Unassigned { service: ObjectKey, kind: &'a str },
}

/// What a Service has.
struct Offer<'a> {
    kind: &'a str,
    /// Under which clients come, unless they ask for others.
    ordinary: Vec<Address>,
    /// "a ClusterIP in Kubernetes Service terms".
    inside: Vec<Address>,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Ip(ip) => ip.fmt(f),
            Address::Hostname(name) => name.fmt(f),
        }
    }
}

impl Address {
    fn parse(text: &str) -> Self {
        text.parse().map_or_else(|_| Address::Hostname(text.to_owned()), Address::Ip)
    }

    fn is_ip(&self) -> bool {
        matches!(self, Address::Ip(_))
    }

    fn of_status(status: &GatewayStatusAddress) -> Self {
        Address::parse(&status.value)
    }
}

/// Finds the addresses of a Gateway whose listeners are bound, or try to.
pub fn addresses<'a>(node: &GatewayNode<'a>, resources: &'a Resources, settings: &Settings) -> Addresses<'a> {
    let mut addresses = match settings.exposure {
        _ if !node.accepted() => Addresses::default(),
        Exposure::Host => of_host(node, resources, settings),
        Exposure::Service => of_service(node),
    };
    addresses.published.truncate(MOST);
    addresses
}

/// Those asked for that this machine has, and for all of them the addresses of the nodes. From files, a Gateway on
/// every address is reachable at least from this machine.
fn of_host<'a>(node: &GatewayNode<'a>, resources: &Resources, settings: &Settings) -> Addresses<'a> {
    let mut found = Addresses::default();
    for ip in node.host_ips() {
        if ip == ANY {
            let every = match settings.origin {
                Origin::Files => vec![Address::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST))],
                Origin::Kubernetes => of_nodes(node, resources, settings),
            };
            if every.is_empty() {
                found.lacks.push(AddressLack::NoNode);
            }
            let fitting = every.into_iter().filter(|address| node.asked.is_empty() || address.is_ip());
            found.publish(fitting.map(|address| Published { address, routability: None }));
            continue;
        }
        let binds = node.listeners.iter().flat_map(|listener| &listener.binds);
        let refusal = binds.filter(|(address, _)| address.ip() == ip).find_map(|(_, outcome)| match outcome {
            BindOutcome::NoSuchAddress(words) => Some(*words),
            _ => None,
        });
        match refusal {
            Some(words) => found.lacks.push(AddressLack::NotOfMachine(ip, words)),
            None => found.publish([Published { address: Address::Ip(ip), routability: None }]),
        }
    }
    found
}

/// Of the nodes that serve, or those that are to be shown in their place. While no node is known, which is so at
/// every start and while no pod is ready, what was said of this generation before is not taken back.
fn of_nodes(node: &GatewayNode<'_>, resources: &Resources, settings: &Settings) -> Vec<Address> {
    let told = [&settings.publish_addresses, &resources.host_addresses].into_iter().find(|list| !list.is_empty());
    if let Some(told) = told {
        return told.iter().map(|text| Address::parse(text)).collect();
    }
    let status = node.gateway.status.as_ref().filter(|_| node.was_programmed);
    status.into_iter().flat_map(|status| &status.addresses).map(Address::of_status).collect()
}

/// Those of the Service: all ordinary ones, or "exactly one distinct matching address for every satisfied spec entry".
fn of_service<'a>(node: &GatewayNode<'a>) -> Addresses<'a> {
    let mut found = Addresses::default();
    let service = node.service.as_ref().and_then(|node| Some((node.key.clone()?, node.found?)));
    let Some((key, service)) = service else {
        found.lacks.push(AddressLack::NoService);
        return found;
    };
    let offer = Offer::of(service);
    if node.gateway.spec.addresses.is_empty() {
        found.publish(offer.ordinary.iter().map(|address| offer.published(address, Routability::Any)));
        if found.published.is_empty() {
            found.lacks.push(AddressLack::Unassigned { service: key, kind: offer.kind });
        }
        return found;
    }
    // those with a value first, so that no other entry takes what only they can have
    let mut asked: Vec<&SpecAddress<'_>> = node.asked.iter().collect();
    asked.sort_by_key(|asked| (!matches!(asked.value, SpecValue::Ip(_)), asked.index));
    for asked in asked {
        match offer.choose(asked, &found.published) {
            Some(published) => found.published.push(published),
            None => found.lacks.push(AddressLack::NotOfService {
                asked: *asked,
                service: key.clone(),
                kind: offer.kind,
                has: if asked.routability.may_be_outside() { &offer.ordinary } else { &offer.inside }.clone(),
            }),
        }
    }
    found
}

impl<'a> Offer<'a> {
    /// The addresses under which the ports of a Service are served. That is what a load balancer was given; else the
    /// cluster's own addresses, on which the ports are those of the listeners. A node's address would need the node
    /// port, which no status can tell.
    fn of(service: &'a Service) -> Self {
        let spec = service.spec.as_ref();
        let kind = spec.and_then(|spec| spec.type_.as_deref()).unwrap_or("ClusterIP");
        let parsed = |texts: Vec<&str>| -> Vec<Address> {
            let mut seen = Vec::new();
            for text in texts.into_iter().filter(|text| !text.is_empty() && *text != "None") {
                let address = Address::parse(text);
                if !seen.contains(&address) {
                    seen.push(address);
                }
            }
            seen
        };
        let all = spec.into_iter().flat_map(|spec| spec.cluster_ips.iter().flatten().map(String::as_str));
        let inside = spec.and_then(|spec| spec.cluster_ip.as_deref()).into_iter().chain(all).collect();
        let balancer = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
        let ingress = balancer.into_iter().flat_map(|balancer| balancer.ingress.iter().flatten());
        let given = ingress.flat_map(|one| [one.ip.as_deref(), one.hostname.as_deref()]).flatten().collect();
        let (ordinary, inside) = match kind {
            "LoadBalancer" => (parsed(given), parsed(inside)),
            "ClusterIP" | "NodePort" => (parsed(inside.clone()), parsed(inside)),
            _ => (Vec::new(), Vec::new()),
        };
        Offer { kind, ordinary, inside }
    }

    /// An address for an entry, of those that are not taken. "Implementations MUST NOT substitute a different scope",
    /// while "an unset or empty request matches either an explicit empty value or `Cluster`".
    fn choose(&self, asked: &SpecAddress<'_>, taken: &[Published]) -> Option<Published> {
        let none: &[Address] = &[];
        let (first, second) = match (asked.routability, asked.value) {
            (_, SpecValue::NotIp(_)) | (Routability::Unknown(_), _) => (none, none),
            (Routability::Cluster, _) => (&*self.inside, none),
            (Routability::Any, SpecValue::Ip(_)) => (&*self.ordinary, &*self.inside),
            (Routability::Any | Routability::Sentinel, _) => (&*self.ordinary, none),
        };
        let fits = |address: &&Address| match (asked.value, address) {
            (SpecValue::Ip(ip), address) => **address == Address::Ip(ip),
            (_, address) => address.is_ip(),
        };
        let is_free = |address: &&Address| !taken.iter().any(|published| published.address == **address);
        let address = first.iter().chain(second).filter(fits).find(is_free)?;
        Some(self.published(address, asked.routability))
    }

    fn published(&self, address: &Address, asked: Routability<'_>) -> Published {
        let routability = match asked {
            Routability::Sentinel => Routability::SENTINEL,
            _ if self.inside.contains(address) => Routability::CLUSTER,
            _ => Routability::DEFAULT,
        };
        Published { address: address.clone(), routability: Some(routability) }
    }
}

impl Addresses<'_> {
    fn publish(&mut self, addresses: impl IntoIterator<Item = Published>) {
        for published in addresses {
            if !self.published.contains(&published) {
                self.published.push(published);
            }
        }
    }
}
