//! Addresses of a Gateway in its status, and the words for those that are missing.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::condition::{PROGRAMMED, Telling};
use super::wording;
use crate::api::ObjectKey;
use crate::api::gateway::GatewayStatusAddress;
use crate::translate::graph::address::{Address, AddressLack};
use crate::translate::graph::gateway::GatewayNode;
use crate::translate::graph::gateway_service::{TARGET_PORTS, TargetLack};

/// The addresses of a status.
pub fn status(node: &GatewayNode<'_>) -> Vec<GatewayStatusAddress> {
    let own = node.reached.published.iter().map(|address| {
        let (kind, value) = match address {
            Address::Ip(ip) => ("IPAddress", ip.to_string()),
            Address::Hostname(name) => ("Hostname", name.clone()),
        };
        GatewayStatusAddress { kind: kind.to_owned(), value, routability: None }
    });
    own.collect()
}

/// Addresses that were asked for and cannot be had.
pub fn unusable(node: &GatewayNode<'_>) -> impl Iterator<Item = Telling> {
    node.reached.lacks.iter().filter_map(|lack| {
        let (ip, message) = match lack {
            AddressLack::NotOfMachine(ip, words) => {
                (ip, format!("{ip} cannot be used on this machine: {}", wording::clip(words)))
            }
            AddressLack::NotOfService { asked, service, kind, has } => {
                let has: Vec<String> = has.iter().map(ToString::to_string).collect();
                let has: Vec<&str> = has.iter().map(String::as_str).collect();
                let has = if has.is_empty() { "no address yet".to_owned() } else { wording::names(&has) };
                (asked, format!("{asked} is not assigned: Service {service} of type {kind} has {has}"))
            }
            _ => return None,
        };
        let asks = |value: &String| value.parse() == Ok(*ip);
        let index = node.gateway.spec.addresses.iter().position(|address| address.value.as_ref().is_some_and(asks));
        let field = index.map_or("spec.addresses".to_owned(), |index| format!("spec.addresses[{index}].value"));
        Some(Telling::no(PROGRAMMED, "AddressNotUsable", field, message))
    })
}

/// Why there is no address at all.
pub fn unassigned(node: &GatewayNode<'_>) -> String {
    match node.reached.lacks.first() {
        Some(AddressLack::NoNode) => "no node is known yet to run a ready pod, so there is no address".to_owned(),
        Some(AddressLack::NoService) => "the Gateway has no Service yet, so there is no address".to_owned(),
        Some(AddressLack::Unassigned { service, kind }) if *kind == "LoadBalancer" => {
            format!("waiting for an address from the load balancer of Service {service}")
        }
        Some(AddressLack::Unassigned { service, kind }) => {
            format!("Service {service} of type {kind} has no address of its own")
        }
        Some(AddressLack::OnlyNames) => {
            "an IPAddress is asked for, and the Gateway's Service has only names".to_owned()
        }
        _ => "no address is assigned to the Gateway yet".to_owned(),
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
