//! Resources: every object held, by kind, and the facts observed in the world.
//!
//! Events come in, one batch at a time; what each batch changed comes out as a [`Change`], so that the
//! controller knows whether routes must be translated anew or only endpoints moved. No I/O, no meaning.

mod event;
mod meaning;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;

use crate::api::backend_tls_policy::BackendTlsPolicy;
use crate::api::gateway::Gateway;
use crate::api::gateway_class::GatewayClass;
use crate::api::grpc_route::GrpcRoute;
use crate::api::http_route::HttpRoute;
use crate::api::l4_route::{TcpRoute, UdpRoute};
use crate::api::listener_set::ListenerSet;
use crate::api::reference_grant::ReferenceGrant;
use crate::api::tls_route::TlsRoute;
use crate::api::upstream_policy::UpstreamPolicy;
use crate::api::{
    ConfigMap, EndpointSlice, Kind, Namespace, Object, ObjectKey, ObjectMeta, ObjectRef, Secret, Service, label,
};

pub use event::{Batch, BindState, Event, Freshness};

use meaning::Meaning;

/// Every object held, by kind and key, and the observed facts. Its `Debug` tells how many there are of each kind:
/// what a Secret holds is in no log.
#[derive(Clone, Default)]
#[allow(missing_docs, reason = "one map a kind, named as the kind")]
pub struct Resources {
    pub gateway_classes: BTreeMap<ObjectKey, GatewayClass>,
    pub gateways: BTreeMap<ObjectKey, Gateway>,
    pub listener_sets: BTreeMap<ObjectKey, ListenerSet>,
    pub http_routes: BTreeMap<ObjectKey, HttpRoute>,
    pub grpc_routes: BTreeMap<ObjectKey, GrpcRoute>,
    pub tls_routes: BTreeMap<ObjectKey, TlsRoute>,
    pub tcp_routes: BTreeMap<ObjectKey, TcpRoute>,
    pub udp_routes: BTreeMap<ObjectKey, UdpRoute>,
    pub reference_grants: BTreeMap<ObjectKey, ReferenceGrant>,
    pub backend_tls_policies: BTreeMap<ObjectKey, BackendTlsPolicy>,
    pub upstream_policies: BTreeMap<ObjectKey, UpstreamPolicy>,
    pub namespaces: BTreeMap<ObjectKey, Namespace>,
    pub services: BTreeMap<ObjectKey, Service>,
    pub endpoint_slices: BTreeMap<ObjectKey, EndpointSlice>,
    pub secrets: BTreeMap<ObjectKey, Secret>,
    pub config_maps: BTreeMap<ObjectKey, ConfigMap>,
    /// EndpointSlices of each Service (by [`label::SERVICE_NAME`], same namespace).
    pub slices_of: BTreeMap<ObjectKey, BTreeSet<ObjectKey>>,
    /// What became of each address that was to be bound.
    pub binds: BTreeMap<SocketAddr, BindState>,
    /// By uid of the Gateway, the generation that every ready data plane serves.
    pub applied: BTreeMap<String, i64>,
    /// Addresses of the nodes that serve.
    pub host_addresses: Vec<String>,
    /// Whose view of the world this is; files do not say.
    pub freshness: Freshness,
}

/// What a batch changed. `routes` says that the graph must be translated anew; `objects` may ask for it, if somebody
/// refers to one of them; otherwise only the endpoints of `services` moved (architecture.md, invariant 13).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// Something changed that means something by itself.
    pub routes: bool,
    /// Objects changed that mean something only to who refers to them: Namespaces, Services, Secrets, ConfigMaps.
    pub objects: BTreeSet<ObjectRef>,
    /// Services whose EndpointSlices changed.
    pub services: BTreeSet<ObjectKey>,
}

impl Change {
    /// Whether nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.asks_to_translate() && self.services.is_empty()
    }

    /// Whether something changed that may ask for a translation.
    #[must_use]
    pub fn asks_to_translate(&self) -> bool {
        self.routes || !self.objects.is_empty()
    }

    fn note(&mut self, object: ObjectRef) {
        match object.kind {
            Kind::Namespace | Kind::Service | Kind::Secret | Kind::ConfigMap => {
                self.objects.insert(object);
            }
            _ => self.routes = true,
        }
    }

    /// Whether EndpointSlices of this Service changed.
    #[must_use]
    pub fn moved(&self, namespace: &str, service: &str) -> bool {
        self.services.contains(&ObjectKey::new(namespace, service))
    }
}

/// Every kind with its map, handed to a macro.
macro_rules! kinds {
    ($of:ident) => {
        $of! {
            GatewayClass(gateway_classes),
            Gateway(gateways),
            ListenerSet(listener_sets),
            HttpRoute(http_routes),
            GrpcRoute(grpc_routes),
            TlsRoute(tls_routes),
            TcpRoute(tcp_routes),
            UdpRoute(udp_routes),
            ReferenceGrant(reference_grants),
            BackendTlsPolicy(backend_tls_policies),
            UpstreamPolicy(upstream_policies),
            Namespace(namespaces),
            Service(services),
            EndpointSlice(endpoint_slices),
            Secret(secrets),
            ConfigMap(config_maps),
        }
    };
}

impl Resources {
    /// Applies one event and adds to `change` what it changed. An object that means the same as the one held
    /// (its status and `resourceVersion` may differ) takes its place and changes nothing.
    pub fn apply(&mut self, event: Event, change: &mut Change) {
        match event {
            Event::Apply(Object::EndpointSlice(slice)) => self.apply_slice(*slice, change),
            Event::Delete(ObjectRef { kind: Kind::EndpointSlice, key }) => {
                if let Some(old) = self.endpoint_slices.remove(&key) {
                    self.unlink_slice(&key, &old, change);
                }
            }
            Event::Apply(object) => {
                let object_ref = object.object_ref();
                if self.insert(object) {
                    change.note(object_ref);
                }
            }
            Event::Delete(object_ref) => {
                if self.remove(&object_ref) {
                    change.note(object_ref);
                }
            }
            Event::Binds(binds) => {
                change.routes |= self.binds != binds;
                self.binds = binds;
            }
            // also where nothing changed: a new leader begins with it, to judge over the statuses that there are now
            Event::Applied(applied) => {
                change.routes = true;
                self.applied = applied;
            }
            Event::HostAddresses(addresses) => {
                change.routes |= self.host_addresses != addresses;
                self.host_addresses = addresses;
            }
            Event::Freshness(freshness) => {
                change.routes |= self.freshness != freshness;
                self.freshness = freshness;
            }
        }
    }

    /// How many objects of each kind are held.
    #[must_use]
    pub fn counts(&self) -> Vec<(&'static str, usize)> {
        macro_rules! count {
            ($($kind:ident($map:ident)),* $(,)?) => { vec![$((Kind::$kind.name(), self.$map.len())),*] };
        }
        kinds!(count)
    }

    /// Shows the identity and metadata of every object.
    pub fn each(&self, mut show: impl FnMut(Kind, &ObjectKey, &ObjectMeta)) {
        macro_rules! each {
            ($($kind:ident($map:ident)),* $(,)?) => {
                $(for (key, object) in &self.$map {
                    show(Kind::$kind, key, &object.metadata);
                })*
            };
        }
        kinds!(each);
    }

    /// Copies of the objects that `wanted` names, sorted by kind and key.
    pub fn copies(&self, wanted: impl Fn(&ObjectRef) -> bool) -> Vec<Object> {
        let mut found = Vec::new();
        macro_rules! copy {
            ($($kind:ident($map:ident)),* $(,)?) => {
                $(for (key, object) in &self.$map {
                    if wanted(&ObjectRef { kind: Kind::$kind, key: key.clone() }) {
                        found.push(Object::$kind(Box::new(object.clone())));
                    }
                })*
            };
        }
        kinds!(copy);
        found
    }

    fn apply_slice(&mut self, slice: EndpointSlice, change: &mut Change) {
        let key = crate::api::object::key_of(&slice.metadata);
        let service = service_of(&slice);
        let same = self.endpoint_slices.get(&key).is_some_and(|held| held.means_the_same_as(&slice));
        let old = self.endpoint_slices.insert(key.clone(), slice);
        if same {
            return;
        }
        if let Some(old) = old {
            self.unlink_slice(&key, &old, change);
        }
        if let Some(service) = service {
            self.slices_of.entry(service.clone()).or_default().insert(key);
            change.services.insert(service);
        }
    }

    fn unlink_slice(&mut self, key: &ObjectKey, old: &EndpointSlice, change: &mut Change) {
        let Some(service) = service_of(old) else { return };
        if let Some(slices) = self.slices_of.get_mut(&service) {
            slices.remove(key);
            if slices.is_empty() {
                self.slices_of.remove(&service);
            }
        }
        change.services.insert(service);
    }

    fn insert(&mut self, object: Object) -> bool {
        let key = object.key();
        macro_rules! insert {
            ($($kind:ident($map:ident)),* $(,)?) => {
                match object { $(Object::$kind(object) => put(&mut self.$map, key, *object),)* }
            };
        }
        kinds!(insert)
    }

    fn remove(&mut self, ObjectRef { kind, key }: &ObjectRef) -> bool {
        macro_rules! remove {
            ($($kind:ident($map:ident)),* $(,)?) => {
                match kind { $(Kind::$kind => self.$map.remove(key).is_some(),)* }
            };
        }
        kinds!(remove)
    }
}

impl fmt::Debug for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut resources = f.debug_struct("Resources");
        for (kind, count) in self.counts() {
            resources.field(kind, &count);
        }
        resources.field("binds", &self.binds).finish_non_exhaustive()
    }
}

/// The Service that an EndpointSlice belongs to, by its label.
#[must_use]
pub fn service_of(slice: &EndpointSlice) -> Option<ObjectKey> {
    let name = slice.metadata.labels.as_ref()?.get(label::SERVICE_NAME)?;
    Some(ObjectKey::new(slice.metadata.namespace.clone().unwrap_or_default(), name.clone()))
}

fn put<T: Meaning>(map: &mut BTreeMap<ObjectKey, T>, key: ObjectKey, object: T) -> bool {
    let same = map.get(&key).is_some_and(|held| held.means_the_same_as(&object));
    map.insert(key, object);
    !same
}
