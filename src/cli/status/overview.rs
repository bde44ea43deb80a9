//! Objects as the API server holds them -> what is told of them. Pure; knows every controller's entries alike.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;
use serde_json::Value;

use crate::api::kind::GATEWAY_GROUP;
use crate::api::{Kind, ObjectKey, ObjectRef};

/// Objects by identity.
pub type Objects = BTreeMap<ObjectRef, Value>;

/// Everything that is told.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Overview {
    /// By name.
    pub gateway_classes: Vec<ClassView>,
    /// By namespace and name.
    pub gateways: Vec<GatewayView>,
    /// ListenerSets, by namespace and name.
    pub listener_sets: Vec<SetView>,
    /// Routes of every kind, by kind, namespace and name.
    pub routes: Vec<AttachedView>,
    /// Policies of every kind, by kind, namespace and name.
    pub policies: Vec<AttachedView>,
}

/// Who an object is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// When it was made, as RFC 3339 writes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
}

/// A GatewayClass.
#[derive(Debug, Serialize)]
pub struct ClassView {
    /// Who.
    #[serde(flatten)]
    pub identity: Identity,
    /// Its controllerName.
    pub controller: String,
    /// What is said of it.
    pub conditions: Vec<ConditionView>,
}

/// A Gateway.
#[derive(Debug, Serialize)]
pub struct GatewayView {
    /// Who.
    #[serde(flatten)]
    pub identity: Identity,
    /// Name of its GatewayClass.
    pub class: String,
    /// The controllerName of the class; none if there is no such class, or it may not be read.
    pub controller: Option<String>,
    /// Where it is reached.
    pub addresses: Vec<String>,
    /// What is said of it.
    pub conditions: Vec<ConditionView>,
    /// Its listeners, in the order of the spec.
    pub listeners: Vec<ListenerView>,
}

/// A ListenerSet.
#[derive(Debug, Serialize)]
pub struct SetView {
    /// Who.
    #[serde(flatten)]
    pub identity: Identity,
    /// Its Gateway, `namespace/name`.
    pub gateway: String,
    /// What is said of it.
    pub conditions: Vec<ConditionView>,
    /// Its listeners, in the order of the spec.
    pub listeners: Vec<ListenerView>,
}

/// A listener.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerView {
    /// Its name.
    pub name: String,
    /// Its port.
    pub port: Option<u64>,
    /// Its protocol.
    pub protocol: String,
    /// Its hostname; none is every host.
    pub hostname: Option<String>,
    /// How many routes are attached to it; none if nobody has said.
    pub attached_routes: Option<u64>,
    /// What is said of it.
    pub conditions: Vec<ConditionView>,
}

/// A route or a policy: what controllers say of it, one entry for each parent or ancestor and controller.
#[derive(Debug, Serialize)]
pub struct AttachedView {
    /// Who.
    #[serde(flatten)]
    pub identity: Identity,
    /// Hostnames of a route, targets of a policy.
    pub of: Vec<String>,
    /// What is said, and towards whom.
    pub entries: Vec<EntryView>,
}

/// What one controller says towards one parent.
#[derive(Debug, Serialize)]
pub struct EntryView {
    /// The parent or ancestor: `name`, `namespace/name`, `name/section`, `name:port`; another kind than Gateway is in
    /// front of it.
    pub towards: String,
    /// Who says it; none: nobody has answered for this parent.
    pub controller: Option<String>,
    /// What is said.
    pub conditions: Vec<ConditionView>,
}

/// A condition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConditionView {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// One word.
    pub reason: String,
    /// In words.
    pub message: String,
    /// Whether it was said of an older generation of the object.
    pub stale: bool,
}

impl Overview {
    /// What is told of these objects. Without `every_class`, of the classes only those that a Gateway here is of.
    pub fn of(objects: &Objects, every_class: bool) -> Overview {
        let mut overview = Overview::default();
        for (object, value) in objects {
            let identity = Identity {
                kind: object.kind,
                namespace: object.key.namespace.clone(),
                name: object.key.name.clone(),
                created: find(value, "/metadata/creationTimestamp").map(str::to_owned),
            };
            match object.kind {
                Kind::GatewayClass => overview.gateway_classes.push(ClassView {
                    identity,
                    controller: text(value, "/spec/controllerName"),
                    conditions: conditions(value, value.pointer("/status")),
                }),
                Kind::Gateway => overview.gateways.push(gateway(identity, value, objects)),
                Kind::ListenerSet => overview.listener_sets.push(SetView {
                    identity,
                    gateway: towards(value.pointer("/spec/parentRef"), &object.key.namespace),
                    conditions: conditions(value, value.pointer("/status")),
                    listeners: listeners(value),
                }),
                Kind::BackendTlsPolicy | Kind::UpstreamPolicy => overview.policies.push(AttachedView {
                    identity,
                    of: list(value, "/spec/targetRefs").iter().map(target_of).collect(),
                    entries: entries(value, &object.key, "ancestors", "ancestorRef"),
                }),
                Kind::HttpRoute | Kind::GrpcRoute | Kind::TlsRoute | Kind::TcpRoute | Kind::UdpRoute => {
                    let hostnames = list(value, "/spec/hostnames").iter().filter_map(Value::as_str);
                    overview.routes.push(AttachedView {
                        identity,
                        of: hostnames.map(str::to_owned).collect(),
                        entries: route_entries(value, &object.key),
                    });
                }
                _ => {}
            }
        }
        let Overview { gateway_classes, gateways, .. } = &mut overview;
        gateway_classes
            .retain(|class| every_class || gateways.iter().any(|gateway| gateway.class == class.identity.name));
        overview
    }

    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        let Overview { gateway_classes, gateways, listener_sets, routes, policies } = self;
        gateway_classes.is_empty()
            && gateways.is_empty()
            && listener_sets.is_empty()
            && routes.is_empty()
            && policies.is_empty()
    }
}

impl ConditionView {
    /// Whether it says that something is not as asked. Of types that the Gateway API does not have nothing is known.
    pub fn is_bad(&self) -> bool {
        match self.kind.as_str() {
            "Accepted" | "Programmed" | "ResolvedRefs" | "SupportedVersion" | "AddressesAssigned" => {
                self.status != "True"
            }
            "Conflicted" | "PartiallyInvalid" | "OverlappingTLSConfig" | "InsecureFrontendValidationMode" => {
                self.status != "False"
            }
            _ => false,
        }
    }
}

fn gateway(identity: Identity, value: &Value, objects: &Objects) -> GatewayView {
    let class = text(value, "/spec/gatewayClassName");
    let its_class = ObjectRef { kind: Kind::GatewayClass, key: ObjectKey::new("", class.clone()) };
    GatewayView {
        identity,
        controller: objects.get(&its_class).map(|class| text(class, "/spec/controllerName")),
        class,
        addresses: list(value, "/status/addresses").iter().map(|address| text(address, "/value")).collect(),
        conditions: conditions(value, value.pointer("/status")),
        listeners: listeners(value),
    }
}

fn listeners(value: &Value) -> Vec<ListenerView> {
    let said = list(value, "/status/listeners");
    let listener = |listener: &Value| {
        let name = text(listener, "/name");
        let status = said.iter().find(|status| find(status, "/name") == Some(&name));
        ListenerView {
            port: listener.get("port").and_then(Value::as_u64),
            protocol: text(listener, "/protocol"),
            hostname: find(listener, "/hostname").filter(|hostname| !hostname.is_empty()).map(str::to_owned),
            attached_routes: status.and_then(|status| status.get("attachedRoutes")?.as_u64()),
            conditions: conditions(value, status),
            name,
        }
    };
    list(value, "/spec/listeners").iter().map(listener).collect()
}

/// What is said of a route, and a line for each parent that nobody has answered for.
fn route_entries(value: &Value, key: &ObjectKey) -> Vec<EntryView> {
    let mut entries = entries(value, key, "parents", "parentRef");
    for parent in list(value, "/spec/parentRefs") {
        let towards = towards(Some(parent), &key.namespace);
        if !entries.iter().any(|entry| entry.towards == towards) {
            entries.push(EntryView { towards, controller: None, conditions: Vec::new() });
        }
    }
    entries
}

fn entries(value: &Value, key: &ObjectKey, field: &str, of: &str) -> Vec<EntryView> {
    let entry = |entry: &Value| EntryView {
        towards: towards(entry.get(of), &key.namespace),
        controller: find(entry, "/controllerName").map(str::to_owned),
        conditions: conditions(value, Some(entry)),
    };
    list(value, &format!("/status/{field}")).iter().map(entry).collect()
}

/// The conditions of a part of a status.
fn conditions(object: &Value, part: Option<&Value>) -> Vec<ConditionView> {
    let generation = object.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or(0);
    let condition = |condition: &Value| ConditionView {
        kind: text(condition, "/type"),
        status: text(condition, "/status"),
        reason: text(condition, "/reason"),
        message: text(condition, "/message"),
        stale: condition.get("observedGeneration").and_then(Value::as_i64).is_some_and(|seen| seen < generation),
    };
    part.map(|part| list(part, "/conditions").iter().map(condition).collect()).unwrap_or_default()
}

/// A parent as `Kind/namespace/name/section:port`, without what is so by default.
fn towards(reference: Option<&Value>, namespace: &str) -> String {
    let Some(reference) = reference else { return String::new() };
    let part = |field: &str| reference.get(field).and_then(Value::as_str).filter(|text| !text.is_empty());
    let mut words = String::new();
    if part("kind").is_some_and(|kind| kind != "Gateway") || part("group").is_some_and(|group| group != GATEWAY_GROUP) {
        words.push_str(part("kind").unwrap_or("Gateway"));
        words.push(' ');
    }
    if let Some(other) = part("namespace").filter(|other| *other != namespace) {
        words.push_str(other);
        words.push('/');
    }
    words.push_str(part("name").unwrap_or_default());
    if let Some(section) = part("sectionName") {
        words.push('#');
        words.push_str(section);
    }
    if let Some(port) = reference.get("port").and_then(Value::as_u64) {
        let _ = write!(words, ":{port}");
    }
    words
}

fn target_of(target: &Value) -> String {
    let section = find(target, "/sectionName").map_or_else(String::new, |section| format!("#{section}"));
    format!("{} {}{section}", text(target, "/kind"), text(target, "/name"))
}

fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn find<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer).and_then(Value::as_str)
}

fn text(value: &Value, pointer: &str) -> String {
    find(value, pointer).unwrap_or_default().to_owned()
}
