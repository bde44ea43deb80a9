//! Entries of `spec.addresses`, as they are read: which value is asked for, and from where it is to be reached
//! (GEP-5093). Whether it can be had is not known here.

use std::net::IpAddr;

use crate::api::gateway::GatewaySpecAddress;

/// An entry of type `IPAddress`.
#[derive(Debug, Clone, Copy)]
pub struct SpecAddress<'a> {
    /// Its place in the list.
    pub index: usize,
    /// Which address.
    pub value: SpecValue<'a>,
    /// From where it is to be reached.
    pub routability: Routability<'a>,
}

/// `value`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpecValue<'a> {
    /// Whichever there is.
    Any,
    /// This one.
    Ip(IpAddr),
    /// No address at all.
    NotIp(&'a str),
}

/// `routability`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Routability<'a> {
    /// "an omitted or empty spec value does not constrain routability"
    Any,
    /// A cluster IP of the Gateway's Service.
    Cluster,
    /// Reserved for conformance, "it carries no routability guarantee": an address as for [`Routability::Any`], which
    /// is told under this name.
    Sentinel,
    /// "MUST treat an unrecognized routability value as unsatisfiable"
    Unknown(&'a str),
}

impl<'a> SpecAddress<'a> {
    /// Reads an entry of type `IPAddress`.
    pub fn read(index: usize, entry: &'a GatewaySpecAddress) -> Self {
        // GatewaySpecAddress.value: "If empty, the implementation may assign any available address of the type".
        let value = match entry.value.as_deref().filter(|value| !value.is_empty()) {
            None => SpecValue::Any,
            Some(value) => match value.parse::<IpAddr>() {
                // 0.0.0.0 and :: both ask for all of them: one socket, so that Gateways there meet and are judged
                Ok(ip) if ip.is_unspecified() => SpecValue::Any,
                Ok(ip) => SpecValue::Ip(ip),
                Err(_) => SpecValue::NotIp(value),
            },
        };
        let routability = match entry.routability.as_deref().unwrap_or_default() {
            "" => Routability::Any,
            Routability::CLUSTER => Routability::Cluster,
            Routability::SENTINEL => Routability::Sentinel,
            other => Routability::Unknown(other),
        };
        SpecAddress { index, value, routability }
    }

    /// Whether another entry asks for this very address, written in another way perhaps.
    pub fn repeats(&self, other: &SpecAddress<'_>) -> bool {
        matches!(self.value, SpecValue::Ip(_)) && self.value == other.value && self.routability == other.routability
    }

    /// The address, if it is one that the implementation is to find in its own way: of the load balancer, where there
    /// is one.
    pub fn ordinary_ip(&self) -> Option<IpAddr> {
        match (self.value, self.routability) {
            (SpecValue::Ip(ip), Routability::Any | Routability::Sentinel) => Some(ip),
            _ => None,
        }
    }

    /// The address, if the cluster is to give it.
    pub fn cluster_ip(&self) -> Option<IpAddr> {
        match (self.value, self.routability) {
            (SpecValue::Ip(ip), Routability::Cluster) => Some(ip),
            _ => None,
        }
    }
}

impl Routability<'_> {
    /// "an explicit empty value for the default behavior".
    pub const DEFAULT: &'static str = "";
    /// As the API writes [`Routability::Cluster`].
    pub const CLUSTER: &'static str = "Cluster";
    /// As the API writes [`Routability::Sentinel`].
    pub const SENTINEL: &'static str = "testing.x-k8s.io/sentinel";

    /// Whether an address from outside the cluster may satisfy it.
    pub fn may_be_outside(self) -> bool {
        matches!(self, Routability::Any | Routability::Sentinel)
    }
}
