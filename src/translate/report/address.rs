//! Addresses of a Gateway in its status, and the words for those that are missing.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::condition::{ADDRESSES_ASSIGNED, FALSE, PROGRAMMED, TRUE, Telling, condition};
use super::wording;
use crate::api::gateway::GatewayStatusAddress;
use crate::api::{Condition, ObjectKey};
use crate::translate::graph::address::{Address, AddressLack};
use crate::translate::graph::gateway::GatewayNode;
use crate::translate::graph::gateway_service::{TARGET_PORTS, TargetLack};
use crate::translate::graph::spec_address::{Routability, SpecAddress, SpecValue};

/// The addresses of a status.
pub fn status(node: &GatewayNode<'_>) -> Vec<GatewayStatusAddress> {
    let own = node.reached.published.iter().map(|published| {
        let (kind, value) = match &published.address {
            Address::Ip(ip) => ("IPAddress", ip.to_string()),
            Address::Hostname(name) => ("Hostname", name.clone()),
        };
        let routability = published.routability.map(str::to_owned);
        GatewayStatusAddress { kind: kind.to_owned(), value, routability }
    });
    own.collect()
}

/// Addresses that were asked for and cannot be had. Where any would do, nothing is wrong: one may still come.
///
/// GEP-5093 lets a Gateway be programmed with the addresses that it has, and the conformance suite does not, where a
/// value without routability is missing (`GatewayStaticAddresses`); so those alone speak against `Programmed`.
pub fn unusable(node: &GatewayNode<'_>) -> impl Iterator<Item = Telling> {
    node.reached.lacks.iter().filter_map(|lack| match lack {
        AddressLack::NotOfMachine(ip, _) => {
            let asks = |asked: &&SpecAddress<'_>| asked.value == SpecValue::Ip(*ip);
            let index = node.asked.iter().find(asks).map(|asked| asked.index);
            let field = index.map_or("spec.addresses".to_owned(), |index| format!("spec.addresses[{index}].value"));
            Some(Telling::no(PROGRAMMED, "AddressNotUsable", field, missing(lack)))
        }
        AddressLack::NotOfService { asked, .. } => {
            let at = |field: &str| format!("spec.addresses[{}].{field}", asked.index);
            let message = missing(lack);
            if asked.ordinary_ip().is_some() {
                Some(Telling::no(PROGRAMMED, "AddressNotUsable", at("value"), message))
            } else if asked.routability.may_be_outside() {
                None
            } else {
                Some(Telling::no(ADDRESSES_ASSIGNED, unassigned_reason(node), at("routability"), message))
            }
        }
        _ => None,
    })
}

/// Whether the Gateway has the addresses that are asked for (GEP-5093). Nothing where listeners are bound on the host,
/// and nothing before there is a Service: "MUST be omitted until the controller has reconciled address assignment".
pub fn assigned(node: &GatewayNode<'_>, generation: Option<i64>) -> Option<Condition> {
    node.service.as_ref()?.found?;
    if node.reached.lacks.is_empty() {
        let message = "every address that is asked for is assigned";
        return Some(condition(ADDRESSES_ASSIGNED, TRUE, "AddressesAssigned", message, generation));
    }
    Some(condition(ADDRESSES_ASSIGNED, FALSE, unassigned_reason(node), unassigned(node), generation))
}

fn unassigned_reason(node: &GatewayNode<'_>) -> &'static str {
    if node.reached.published.is_empty() { "NotAssigned" } else { "PartiallyAssigned" }
}

/// Why addresses are missing, one sentence for each.
pub fn unassigned(node: &GatewayNode<'_>) -> String {
    let mut lacks: Vec<_> = node.reached.lacks.iter().map(|lack| (place(lack), missing(lack))).collect();
    lacks.sort();
    let sentence = |(index, message): (Option<usize>, String)| match index {
        Some(index) => format!("spec.addresses[{index}]: {message}"),
        None => message,
    };
    let told: Vec<String> = lacks.into_iter().map(sentence).collect();
    if told.is_empty() { "no address is assigned to the Gateway yet".to_owned() } else { wording::sentences(&told) }
}

fn place(lack: &AddressLack<'_>) -> Option<usize> {
    match lack {
        AddressLack::NotOfService { asked, .. } => Some(asked.index),
        _ => None,
    }
}

fn missing(lack: &AddressLack<'_>) -> String {
    match lack {
        AddressLack::NotOfMachine(ip, words) => {
            format!("{ip} cannot be used on this machine: {}", wording::clip(words))
        }
        AddressLack::NoNode => "no node is known yet to run a ready pod, so there is no address".to_owned(),
        AddressLack::NoService => "the Gateway has no Service yet, so there is no address".to_owned(),
        AddressLack::Unassigned { service, kind } => without(service, kind),
        AddressLack::NotOfService { asked, service, kind, has } => {
            let list: Vec<String> = has.iter().map(ToString::to_string).collect();
            let list: Vec<&str> = list.iter().map(String::as_str).collect();
            let list = if list.is_empty() { "no address yet".to_owned() } else { wording::names(&list) };
            match (asked.value, asked.routability) {
                (_, Routability::Unknown(found)) => {
                    format!("routability {found:?} cannot be had; allowed: none given, {}", Routability::CLUSTER)
                }
                (SpecValue::NotIp(found), _) => format!("{found:?} is not an IP address"),
                (SpecValue::Ip(ip), Routability::Cluster) => {
                    format!("{ip} is not a cluster IP of Service {service}, which got {list} when it was made")
                }
                (SpecValue::Ip(ip), _) => format!("{ip} is not assigned: Service {service} of type {kind} has {list}"),
                (SpecValue::Any, Routability::Cluster) if has.is_empty() => {
                    format!("Service {service} of type {kind} has no cluster IP")
                }
                (SpecValue::Any, _) if has.is_empty() => without(service, kind),
                (SpecValue::Any, _) if !has.iter().any(|address| matches!(address, Address::Ip(_))) => {
                    "an IPAddress is asked for, and the Gateway's Service has only names".to_owned()
                }
                (SpecValue::Any, _) => {
                    format!("Service {service} of type {kind} has no further address; it has {list}")
                }
            }
        }
    }
}

fn without(service: &ObjectKey, kind: &str) -> String {
    match kind {
        "LoadBalancer" => format!("waiting for an address from the load balancer of Service {service}"),
        _ => format!("Service {service} of type {kind} has no address of its own"),
    }
}

/// Why a listener has no port to bind yet.
pub fn target(lack: &TargetLack<'_>) -> String {
    match lack {
        TargetLack::Service(service) => format!("waiting for Service {service} to be written"),
        TargetLack::Names(taken) => {
            let names: Vec<String> = taken.iter().map(ObjectKey::to_string).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            format!(
                "the Gateway's Service cannot be written: others own {}; delete or rename one",
                wording::names(&names)
            )
        }
        TargetLack::Port(service) => format!("waiting for Service {service} to have the port"),
        TargetLack::Foreign(service, found) => {
            let found = match found {
                None => "none".to_owned(),
                Some(IntOrString::Int(found)) => found.to_string(),
                Some(IntOrString::String(found)) => format!("{found:?}"),
            };
            let (first, last) = (TARGET_PORTS.start(), TARGET_PORTS.end());
            format!("Service {service} has target port {found} for it, which is not bound; allowed: {first} to {last}")
        }
        TargetLack::Held { service, target, by, port } => format!(
            "target port {target} of Service {service} is taken by port {port} of Gateway {by}; waiting for another one"
        ),
        TargetLack::Leaving => "the Gateway is being deleted, and its Service is gone".to_owned(),
    }
}
