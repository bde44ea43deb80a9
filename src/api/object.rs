//! Any object held, and how it is named.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;

use serde::{Deserialize, Serialize, Serializer};

use super::backend_tls_policy::BackendTlsPolicy;
use super::gateway::Gateway;
use super::gateway_class::GatewayClass;
use super::grpc_route::GrpcRoute;
use super::http_route::HttpRoute;
use super::l4_route::{TcpRoute, UdpRoute};
use super::listener_set::ListenerSet;
use super::reference_grant::ReferenceGrant;
use super::tls_route::TlsRoute;
use super::upstream_policy::UpstreamPolicy;
use super::{ConfigMap, EndpointSlice, Kind, Namespace, ObjectMeta, Secret, Service};

/// Namespace and name. Cluster-scoped objects have an empty namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ObjectKey {
    /// The namespace; empty for cluster-scoped kinds.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl ObjectKey {
    /// A key of these two parts.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        ObjectKey { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() { f.write_str(&self.name) } else { write!(f, "{}/{}", self.namespace, self.name) }
    }
}

/// Who: the kind and the key. One identity is one object, whatever version it was written in.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ObjectRef {
    /// The kind.
    pub kind: Kind,
    /// Namespace and name.
    pub key: ObjectKey,
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.key)
    }
}

macro_rules! objects {
    ($($kind:ident($type:ty)),* $(,)?) => {
        /// Any object that Transom holds. Its `Debug` is kind and key: what a Secret holds is in no log.
        #[derive(Clone, PartialEq)]
        #[allow(missing_docs, reason = "one variant a kind, named as the kind")]
        pub enum Object {
            $($kind(Box<$type>),)*
        }

        /// What the object says, Secrets included; its kind is said elsewhere, as [`Object::from_value`] wants it.
        impl Serialize for Object {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self { $(Object::$kind(o) => o.serialize(serializer),)* }
            }
        }

        impl Object {
            /// The kind of the object.
            #[must_use]
            pub fn kind(&self) -> Kind {
                match self { $(Object::$kind(_) => Kind::$kind,)* }
            }

            /// The object's metadata.
            #[must_use]
            pub fn metadata(&self) -> &ObjectMeta {
                match self { $(Object::$kind(o) => &o.metadata,)* }
            }

            /// A hash of everything that the object says, the same for equal objects. Good for telling whether an
            /// object changed without keeping it; never stored, never compared across versions.
            #[must_use]
            pub fn fingerprint(&self) -> u64 {
                let mut hash = HashWriter(DefaultHasher::new());
                self.kind().hash(&mut hash.0);
                // neither the writer nor a type of ours or k8s-openapi's can fail to serialise
                let _ = serde_json::to_writer(&mut hash, self);
                hash.0.finish()
            }

            /// Reads a JSON value as an object of the given kind.
            ///
            /// # Errors
            /// What serde says of the first part that does not fit the kind's type.
            pub fn from_value(kind: Kind, value: serde_json::Value) -> Result<Object, serde_json::Error> {
                match kind {
                    $(Kind::$kind => Ok(Object::$kind(Box::new(serde_json::from_value(value)?))),)*
                }
            }
        }
    };
}

objects! {
    GatewayClass(GatewayClass),
    Gateway(Gateway),
    ListenerSet(ListenerSet),
    HttpRoute(HttpRoute),
    GrpcRoute(GrpcRoute),
    TlsRoute(TlsRoute),
    TcpRoute(TcpRoute),
    UdpRoute(UdpRoute),
    ReferenceGrant(ReferenceGrant),
    BackendTlsPolicy(BackendTlsPolicy),
    UpstreamPolicy(UpstreamPolicy),
    Namespace(Namespace),
    Service(Service),
    EndpointSlice(EndpointSlice),
    Secret(Secret),
    ConfigMap(ConfigMap),
}

impl Object {
    /// Namespace and name of the object.
    #[must_use]
    pub fn key(&self) -> ObjectKey {
        key_of(self.metadata())
    }

    /// The identity of the object.
    #[must_use]
    pub fn object_ref(&self) -> ObjectRef {
        ObjectRef { kind: self.kind(), key: self.key() }
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Object({})", self.object_ref())
    }
}

/// Hashes what is written to it.
struct HashWriter(DefaultHasher);

impl io::Write for HashWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Namespace and name as metadata gives them.
#[must_use]
pub fn key_of(metadata: &ObjectMeta) -> ObjectKey {
    ObjectKey {
        namespace: metadata.namespace.clone().unwrap_or_default(),
        name: metadata.name.clone().unwrap_or_default(),
    }
}
