//! The addresses under which a Gateway is reached, beside those that were asked for.
//!
//! Where listeners are bound on the host these are addresses of machines; behind a Service, those of the Service.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use super::bind::BindOutcome;
use super::gateway::{ANY, GatewayNode};
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
    pub published: Vec<Address>,
    /// What is missing.
    pub lacks: Vec<AddressLack<'a>>,
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
    /// One that was asked for is not among those of the Service.
    NotOfService { asked: IpAddr, service: ObjectKey, kind: &'a str, has: Vec<Address> },
    /// No node is known to serve.
    NoNode,
    /// The Service is not there yet.
    NoService,
    /// The Service, of this type, has no address yet.
    Unassigned { service: ObjectKey, kind: &'a str },
    /// An IP address was asked for, and there are only names.
    OnlyNames,
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
    for ip in &node.addresses {
        if *ip == ANY {
            let every = match settings.origin {
                Origin::Files => vec![Address::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST))],
                Origin::Kubernetes => of_nodes(node, resources, settings),
            };
            if every.is_empty() {
                found.lacks.push(AddressLack::NoNode);
            }
            found.publish(every, node);
            continue;
        }
        let binds = node.listeners.iter().flat_map(|listener| &listener.binds);
        let refusal = binds.filter(|(address, _)| address.ip() == *ip).find_map(|(_, outcome)| match outcome {
            BindOutcome::NoSuchAddress(words) => Some(*words),
            _ => None,
        });
        match refusal {
            Some(words) => found.lacks.push(AddressLack::NotOfMachine(*ip, words)),
            None => found.publish([Address::Ip(*ip)], node),
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

fn of_service<'a>(node: &GatewayNode<'a>) -> Addresses<'a> {
    let mut found = Addresses::default();
    let service = node.service.as_ref().and_then(|node| Some((node.key.clone()?, node.found?)));
    let Some((key, service)) = service else {
        found.lacks.push(AddressLack::NoService);
        return found;
    };
    let (kind, has) = of_object(service);
    for ip in node.requested() {
        let asked = Address::Ip(ip);
        if has.contains(&asked) {
            found.publish([asked], node);
        } else {
            let (service, has) = (key.clone(), has.clone());
            found.lacks.push(AddressLack::NotOfService { asked: ip, service, kind, has });
        }
    }
    if node.addresses.contains(&ANY) {
        let none = has.is_empty();
        found.publish(has, node);
        if none {
            found.lacks.push(AddressLack::Unassigned { service: key, kind });
        } else if found.published.is_empty() {
            found.lacks.push(AddressLack::OnlyNames);
        }
    }
    found
}

/// Type of a Service, and the addresses under which its ports are served. That is what a load balancer was given;
/// else the cluster's own addresses, on which the ports are those of the listeners. A node's address would need the
/// node port, which no status can tell.
fn of_object(service: &Service) -> (&str, Vec<Address>) {
    let spec = service.spec.as_ref();
    let kind = spec.and_then(|spec| spec.type_.as_deref()).unwrap_or("ClusterIP");
    let texts: Vec<&str> = match kind {
        "LoadBalancer" => {
            let balancer = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
            let ingress = balancer.into_iter().flat_map(|balancer| balancer.ingress.iter().flatten());
            ingress.flat_map(|one| [one.ip.as_deref(), one.hostname.as_deref()]).flatten().collect()
        }
        "ClusterIP" | "NodePort" => {
            let all = spec.into_iter().flat_map(|spec| spec.cluster_ips.iter().flatten().map(String::as_str));
            spec.and_then(|spec| spec.cluster_ip.as_deref()).into_iter().chain(all).filter(|ip| *ip != "None").collect()
        }
        _ => Vec::new(),
    };
    (kind, texts.into_iter().filter(|text| !text.is_empty()).map(Address::parse).collect())
}

impl Addresses<'_> {
    /// Adds those of a type that was asked for: where addresses were asked for, only that of IP is supported.
    fn publish(&mut self, addresses: impl IntoIterator<Item = Address>, node: &GatewayNode<'_>) {
        for address in addresses {
            let fits = node.gateway.spec.addresses.is_empty() || matches!(address, Address::Ip(_));
            if fits && !self.published.contains(&address) {
                self.published.push(address);
            }
        }
    }
}
