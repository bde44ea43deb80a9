//! Graph -> what people are told: statuses for the API, findings for `check` and the log.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::api::gateway::GatewayStatus;
use crate::api::gateway_class::GatewayClassStatus;
use crate::api::{ObjectKey, ObjectRef, RouteStatus};

/// The status of every object that is ours to report on: only our own entries and conditions.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Statuses {
    /// By name.
    pub gateway_classes: BTreeMap<ObjectKey, GatewayClassStatus>,
    /// By namespace and name.
    pub gateways: BTreeMap<ObjectKey, GatewayStatus>,
    /// Routes of every kind.
    pub routes: BTreeMap<ObjectRef, RouteStatus>,
}

/// Something to tell a person about an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// Whose.
    pub object: ObjectRef,
    /// Path of the field, as `spec.rules[0].backendRefs[1].name`; empty for the object as a whole.
    pub field: String,
    /// Problem or note.
    pub severity: Severity,
    /// The reason of the condition that says the same, or one word.
    pub reason: String,
    /// What was found and what is allowed.
    pub message: String,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Severity {
    /// Not as asked: `check` exits with 1.
    Problem,
    /// Worth knowing; nothing is wrong.
    Note,
}
