//! Resources -> Graph: every reference resolved, every problem kept as data. Nothing is written here: the
//! snapshot and the statuses are both read off the graph afterwards.

pub mod address;
mod asked;
pub mod attach;
pub mod backend;
pub mod bind;
mod certificate;
pub mod class;
mod conflict;
mod cors;
mod duration;
pub mod endpoint;
pub mod filter;
pub mod filter_fault;
pub mod gateway;
pub mod gateway_service;
mod grant;
mod header;
pub mod listener;
mod matching;
pub mod mirror;
mod namespace;
pub mod policy;
pub mod problem;
mod reading;
pub mod route;
pub mod spec_address;
mod timing;
mod tls_policy;
mod treatment;
pub mod unserved;
mod url;

use std::collections::BTreeMap;

use super::{References, Settings};
use crate::api::{Kind, ObjectKey, ObjectMeta};
use crate::store::Resources;

use asked::RouteAsked;
use backend::UpstreamNode;
use certificate::Certificates;
use class::ClassNode;
use gateway::GatewayNode;
use grant::Grants;
use policy::Policies;
use problem::Remark;
use route::RouteNode;
use tls_policy::TlsPolicies;
use unserved::UnservedNode;

/// Everything resolved.
#[derive(Debug)]
pub struct Graph<'a> {
    /// Our GatewayClasses, by name.
    pub classes: BTreeMap<&'a str, ClassNode<'a>>,
    /// Our Gateways, by key.
    pub gateways: Vec<GatewayNode<'a>>,
    /// HTTPRoutes, then GRPCRoutes, with a parent of ours, each by key.
    pub routes: Vec<RouteNode<'a>>,
    /// What they forward to, in the order of [`backend::UpstreamRef`].
    pub upstreams: Vec<UpstreamNode>,
    /// UpstreamPolicies, and what they say of upstreams.
    pub policies: Policies<'a>,
    /// Objects of kinds that are not served.
    pub unserved: Vec<UnservedNode<'a>>,
    /// What else is to be said.
    pub remarks: Remarks<'a>,
    /// What was looked at.
    pub references: References,
}

/// Things to say about objects that have no condition for it.
#[derive(Debug, Default)]
pub struct Remarks<'a>(Vec<(Kind, &'a ObjectKey, Remark<'a>)>);

impl<'a> Remarks<'a> {
    /// Adds one.
    pub fn add(&mut self, kind: Kind, key: &'a ObjectKey, remark: Remark<'a>) {
        self.0.push((kind, key, remark));
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &(Kind, &'a ObjectKey, Remark<'a>)> {
        self.0.iter()
    }
}

/// Resolves everything, from what others rest on to what rests on others: classes, Gateways with their listeners,
/// routes with their backends.
pub fn resolve<R>(resources: &Resources, settings: &Settings, read: impl FnOnce(Graph<'_>) -> R) -> R {
    let grants = Grants::new(resources);
    let policies = TlsPolicies::new(resources);
    let mut remarks = Remarks::default();
    let mut certificates = Certificates::new(resources, &grants);
    let classes = class::classes(resources, settings, &mut remarks);
    let mut gateways = gateway::gateways(resources, settings, &classes, &mut certificates, &mut remarks);

    let namespaces = namespace::Namespaces::new(resources, settings);
    let parents = attach::Parents::new(resources, settings.origin, namespaces, &gateways);
    let mut patterns = matching::Patterns::default();
    let mut backends = backend::Backends::new(resources, &grants, &policies);
    let mut resolving = route::Resolving { patterns: &mut patterns, backends: &mut backends, remarks: &mut remarks };
    let mut routes = Vec::with_capacity(resources.http_routes.len() + resources.grpc_routes.len());
    let http = resources.http_routes.iter().map(|(key, route)| (key, RouteAsked::Http(route)));
    let grpc = resources.grpc_routes.iter().map(|(key, route)| (key, RouteAsked::Grpc(route)));
    for entry in http.chain(grpc) {
        routes.extend(route::route(entry, &parents, &mut gateways, &mut resolving));
    }
    let mut treatments = Policies::new(resources);
    treatments.reach(&routes, &grants);
    let unserved = unserved::unserved(resources, settings, &gateways, &routes, &policies, &mut remarks);
    let mut references = References::default();
    certificates.note(&mut references);
    backends.note(&mut references);
    treatments.note(&mut references);
    namespace::note(&gateways, &mut references);
    gateway_service::note(&gateways, &mut references);
    let (upstreams, policies) = (backends.upstreams, treatments);
    read(Graph { classes, gateways, routes, upstreams, policies, unserved, remarks, references })
}

/// When an object was made, in nanoseconds since 1970. Unknown counts as the youngest.
pub fn created(metadata: &ObjectMeta) -> i128 {
    metadata.creation_timestamp.as_ref().map_or(i128::MAX, |time| time.0.as_nanosecond())
}
