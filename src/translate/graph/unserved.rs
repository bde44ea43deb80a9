//! Kinds that parse and are not served yet: each says so, instead of silence.

use super::asked::RuleAsked;
use super::gateway::GatewayNode;
use super::problem::Remark;
use super::route::RouteNode;
use super::tls_policy::TlsPolicies;
use super::{Remarks, Settings};
use crate::api::kind::GATEWAY_GROUP;
use crate::api::{Kind, ObjectKey, ObjectMeta, ParentReference};
use crate::store::Resources;
use crate::translate::Origin;

/// An object of a kind that is not served, with the Gateways of ours that it is about.
#[derive(Debug)]
pub struct UnservedNode<'a> {
    /// Its kind.
    pub kind: Kind,
    /// Namespace and name.
    pub key: &'a ObjectKey,
    /// Its metadata.
    pub metadata: &'a ObjectMeta,
    /// parentRefs to Gateways of ours; for a policy, the Gateways through which its targets are reached.
    pub parents: Vec<ParentReference>,
}

/// Finds every object of those kinds. One that has nothing to do with a Gateway of ours is another controller's
/// business; from files there is no other controller, so it is said of all.
pub fn unserved<'a>(
    resources: &'a Resources,
    settings: &Settings,
    gateways: &[GatewayNode<'a>],
    routes: &[RouteNode<'a>],
    policies: &TlsPolicies<'a>,
    remarks: &mut Remarks<'a>,
) -> Vec<UnservedNode<'a>> {
    let ours = |namespace: &str, reference: &ParentReference| {
        reference.group == GATEWAY_GROUP
            && reference.kind == Kind::Gateway.name()
            && gateways.iter().any(|node| {
                node.key.namespace == reference.namespace.as_deref().unwrap_or(namespace)
                    && node.key.name == reference.name
            })
    };
    let mut nodes = Vec::new();
    let mut add = |kind: Kind, key: &'a ObjectKey, metadata: &'a ObjectMeta, parents: Vec<ParentReference>| {
        nodes.push(UnservedNode { kind, key, metadata, parents });
    };
    macro_rules! routes_of {
        ($kind:expr, $map:expr) => {
            for (key, route) in $map {
                let parents = route.spec.parent_refs.iter().filter(|reference| ours(&key.namespace, reference));
                add($kind, key, &route.metadata, parents.cloned().collect());
            }
        };
    }
    for (key, set) in &resources.listener_sets {
        let parent = &set.spec.parent_ref;
        let reference = ParentReference {
            group: parent.group.clone(),
            kind: parent.kind.clone(),
            namespace: parent.namespace.clone(),
            name: parent.name.clone(),
            section_name: None,
            port: None,
        };
        let parents = Some(reference).into_iter().filter(|reference| ours(&key.namespace, reference));
        add(Kind::ListenerSet, key, &set.metadata, parents.collect());
    }
    routes_of!(Kind::TlsRoute, &resources.tls_routes);
    routes_of!(Kind::TcpRoute, &resources.tcp_routes);
    routes_of!(Kind::UdpRoute, &resources.udp_routes);
    for (key, policy) in &resources.backend_tls_policies {
        add(Kind::BackendTlsPolicy, key, &policy.metadata, ancestors(key, gateways, routes, policies));
    }
    nodes.retain(|node| !node.parents.is_empty() || settings.origin == Origin::Files);
    for node in &nodes {
        remarks.add(node.kind, node.key, Remark::KindNotServed(node.kind));
    }
    nodes
}

/// The Gateways through which routes reach what a policy targets: at most 16, as the CRD allows.
fn ancestors(
    policy: &ObjectKey,
    gateways: &[GatewayNode<'_>],
    routes: &[RouteNode<'_>],
    policies: &TlsPolicies<'_>,
) -> Vec<ParentReference> {
    let targeted = |route: &&RouteNode<'_>| {
        let shares = route.asked.rules().flat_map(RuleAsked::backends);
        shares.map(|asked| &asked.backend.object).any(|reference| {
            reference.namespace.as_deref().unwrap_or(&route.key.namespace) == policy.namespace
                && policies.services(policy).any(|service| service == reference.name)
        })
    };
    let mut reached: Vec<usize> = routes
        .iter()
        .filter(targeted)
        .flat_map(|route| route.parents.iter().filter(|parent| parent.outcome.is_ok()).map(|parent| parent.gateway))
        .collect();
    reached.sort_unstable();
    reached.dedup();
    let reference = |node: &GatewayNode<'_>| ParentReference {
        group: GATEWAY_GROUP.to_owned(),
        kind: Kind::Gateway.name().to_owned(),
        namespace: Some(node.key.namespace.clone()),
        name: node.key.name.clone(),
        section_name: None,
        port: None,
    };
    reached.into_iter().take(16).filter_map(|index| gateways.get(index).map(reference)).collect()
}
