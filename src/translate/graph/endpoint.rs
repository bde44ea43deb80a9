//! Endpoints: EndpointSlices alone say where a Service port is, found by the *name* of the port.
//!
//! This is the endpoints' own road (architecture.md, invariant 13): it looks at the slices of one Service and at
//! nothing else, whatever the number of routes.

use std::net::{IpAddr, SocketAddr};

use super::Remarks;
use super::problem::Remark;
use crate::api::{EndpointSlice, Kind, ObjectKey, Service};
use crate::snapshot::{Endpoint, EndpointSet, UpstreamId};
use crate::store::Resources;

/// The endpoints of an upstream, from scratch.
pub fn of_upstream(resources: &Resources, id: &UpstreamId) -> EndpointSet {
    let key = ObjectKey::new(id.namespace.as_str(), id.service.as_str());
    let Some(name) = resources.services.get(&key).and_then(|service| port_name(service, id.port)) else {
        return EndpointSet::default();
    };
    endpoints(resources, &key, name)
}

/// The endpoints of the port of that name: the ready ones; if none is, those that serve while terminating.
pub fn endpoints(resources: &Resources, service: &ObjectKey, port_name: &str) -> EndpointSet {
    let mut ready = Vec::new();
    let mut leaving = Vec::new();
    for slice in slices(resources, service) {
        let Some(port) = port_number(slice, port_name) else { continue };
        for endpoint in slice.endpoints.iter().flatten() {
            // EndpointSlice: "No semantics are defined for additional addresses beyond the first".
            let Some(ip) = endpoint.addresses.first().and_then(|text| address(slice, text)) else { continue };
            let found = Endpoint::new(SocketAddr::new(ip, port));
            let conditions = endpoint.conditions.as_ref();
            // "A nil value should be interpreted as 'true'" (ready), "defer to the ready condition" (serving).
            let is_ready = conditions.and_then(|c| c.ready).unwrap_or(true);
            let is_serving = conditions.and_then(|c| c.serving).unwrap_or(is_ready);
            if is_ready {
                ready.push(found);
            } else if is_serving && conditions.and_then(|c| c.terminating).unwrap_or(false) {
                leaving.push(found);
            }
        }
    }
    let mut chosen = if ready.is_empty() { leaving } else { ready };
    chosen.sort_unstable();
    chosen.dedup();
    EndpointSet { endpoints: chosen.into_boxed_slice() }
}

/// Says what of a Service's slices is not used.
pub fn remark_slices<'a>(resources: &'a Resources, service: &ObjectKey, remarks: &mut Remarks<'a>) {
    for key in resources.slices_of.get(service).into_iter().flatten() {
        match resources.endpoint_slices.get(key).map(|slice| slice.address_type.as_str()) {
            None | Some("IPv4" | "IPv6") => {}
            Some("FQDN") => remarks.add(Kind::EndpointSlice, key, Remark::FqdnSlice),
            Some(other) => remarks.add(Kind::EndpointSlice, key, Remark::SliceAddressType(other)),
        }
    }
}

fn slices<'a>(resources: &'a Resources, service: &ObjectKey) -> impl Iterator<Item = &'a EndpointSlice> {
    let keys = resources.slices_of.get(service).into_iter().flatten();
    keys.filter_map(|key| resources.endpoint_slices.get(key))
}

fn port_name(service: &Service, number: u16) -> Option<&str> {
    let ports = service.spec.as_ref()?.ports.as_ref()?;
    let tcp = |protocol: Option<&str>| protocol.is_none_or(|protocol| protocol == "TCP");
    let port = ports.iter().find(|port| port.port == i32::from(number) && tcp(port.protocol.as_deref()))?;
    Some(port.name.as_deref().unwrap_or_default())
}

fn port_number(slice: &EndpointSlice, name: &str) -> Option<u16> {
    let named = slice.ports.iter().flatten().find(|port| {
        port.name.as_deref().unwrap_or_default() == name && port.protocol.as_deref().is_none_or(|p| p == "TCP")
    })?;
    named.port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0)
}

/// An address of the family that the slice is of.
fn address(slice: &EndpointSlice, text: &str) -> Option<IpAddr> {
    match slice.address_type.as_str() {
        "IPv4" => text.parse().ok().map(IpAddr::V4),
        "IPv6" => text.parse().ok().map(IpAddr::V6),
        _ => None,
    }
}
