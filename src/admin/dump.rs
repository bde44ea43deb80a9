//! `/config`: what is served, what was reported, and what is wrong, as one JSON object. Secrets are redacted by the
//! types that hold them.

use std::fmt;
use std::sync::Arc;

use serde::ser::SerializeSeq;
use serde::{Serialize, Serializer};

use crate::snapshot::Snapshot;
use crate::translate::{Finding, Statuses};

/// The state of the configuration at one moment. Made of shared parts: cheap to make.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigDump {
    /// Number of the snapshot; 0 before the first.
    pub generation: u64,
    /// What a source could not read; its last good objects are kept.
    pub source_problems: Vec<SourceProblem>,
    /// Problems and notes of the translator.
    #[serde(serialize_with = "shared")]
    pub findings: Arc<Vec<Finding>>,
    /// What is told to the API about each object.
    #[serde(serialize_with = "statuses")]
    pub statuses: Arc<Statuses>,
    /// What the data plane has.
    #[serde(serialize_with = "shared")]
    pub snapshot: Arc<Snapshot>,
}

/// Something a source could not read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceProblem {
    /// File, with line where known (`routes.yaml:12`), or the watch that failed.
    pub place: String,
    /// What was found and what is allowed.
    pub message: String,
}

/// JSON has no keys of several parts, hence a list.
#[derive(Serialize)]
struct Entry<'a, S> {
    kind: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    namespace: &'a str,
    name: &'a str,
    status: &'a S,
}

fn shared<T: Serialize, S: Serializer>(value: &Arc<T>, serializer: S) -> Result<S::Ok, S::Error> {
    value.as_ref().serialize(serializer)
}

fn statuses<S: Serializer>(statuses: &Statuses, serializer: S) -> Result<S::Ok, S::Error> {
    let Statuses { gateway_classes, gateways, routes, listener_sets, policies } = statuses;
    let length = gateway_classes.len() + gateways.len() + routes.len() + listener_sets.len() + policies.len();
    let mut list = serializer.serialize_seq(Some(length))?;
    for (key, status) in gateway_classes {
        list.serialize_element(&Entry { kind: "GatewayClass", namespace: "", name: &key.name, status })?;
    }
    for (key, status) in gateways {
        list.serialize_element(&Entry { kind: "Gateway", namespace: &key.namespace, name: &key.name, status })?;
    }
    for (route, status) in routes {
        let (namespace, name) = (&route.key.namespace, &route.key.name);
        list.serialize_element(&Entry { kind: route.kind.name(), namespace, name, status })?;
    }
    for (key, status) in listener_sets {
        list.serialize_element(&Entry { kind: "ListenerSet", namespace: &key.namespace, name: &key.name, status })?;
    }
    for (policy, status) in policies {
        let (namespace, name) = (&policy.key.namespace, &policy.key.name);
        list.serialize_element(&Entry { kind: policy.kind.name(), namespace, name, status })?;
    }
    list.end()
}

impl fmt::Display for SourceProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}
