//! Manifests of a case -> Resources. Deliberately not `source/`: the translator is tested without it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use serde::Deserialize;
use transom::api::{Kind, Object, ObjectMeta};
use transom::store::{BindState, Change, Event, Resources};
use transom::translate::{Binds, Exposure, Fleet, Origin, Settings};

/// What `settings.yaml` of a case may say; everything else is as for `transom check`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CaseSettings {
    /// Objects come from an API server.
    #[serde(default)]
    pub kubernetes: bool,
    /// What became of each address; absent takes every bind to succeed. `ok` is bound, else the system's words.
    pub binds: Option<BTreeMap<SocketAddr, String>>,
    /// Added to ports below 1024.
    #[serde(default)]
    pub port_offset: u16,
    /// Listeners are exposed by a Service for each Gateway.
    #[serde(default)]
    pub services: bool,
    /// Every ready data plane must serve a Gateway.
    #[serde(default)]
    pub fleet: bool,
    /// By uid of the Gateway, the generation that all of them serve.
    #[serde(default)]
    pub applied: BTreeMap<String, i64>,
    /// Addresses of the nodes that run a ready pod.
    #[serde(default)]
    pub host_addresses: Vec<String>,
    /// Addresses to show instead.
    #[serde(default)]
    pub publish_addresses: Vec<String>,
}

/// The settings of a case.
pub fn settings(case: &CaseSettings) -> Settings {
    Settings {
        controller_name: "transom.dev/gateway-controller".to_owned(),
        origin: if case.kubernetes { Origin::Kubernetes } else { Origin::Files },
        binds: if case.binds.is_some() { Binds::Observed } else { Binds::Assumed },
        port_offset: case.port_offset,
        exposure: if case.services { Exposure::Service } else { Exposure::Host },
        publish_addresses: case.publish_addresses.clone(),
        fleet: if case.fleet { Fleet::Shared } else { Fleet::Alone },
    }
}

/// Every document of a manifest.
pub fn documents(text: &str) -> Vec<serde_json::Value> {
    serde_yaml::Deserializer::from_str(text)
        .map(|document| serde_json::Value::deserialize(document).expect("a YAML document"))
        .filter(|value| !value.is_null())
        .collect()
}

/// The object of a document.
pub fn object(value: serde_json::Value) -> Result<Object, String> {
    let text = |field: &str| value.get(field).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
    let (version, kind) = (text("apiVersion"), text("kind"));
    let group = version.split_once('/').map_or("", |(group, _)| group);
    let known = Kind::find(group, &kind).ok_or_else(|| format!("unknown kind {version} {kind}"))?;
    let mut object = Object::from_value(known, value).map_err(|error| format!("{kind}: {error}"))?;
    if known.namespaced() {
        default_namespace(&mut object);
    }
    Ok(object)
}

fn default_namespace(object: &mut Object) {
    metadata(object).namespace.get_or_insert_with(|| "default".to_owned());
}

/// Puts an object into another namespace.
pub fn move_to(object: &mut Object, namespace: &str) {
    metadata(object).namespace = Some(namespace.to_owned());
}

/// Of several objects with one identity the last one.
pub fn latest(objects: Vec<Object>) -> Vec<Object> {
    let by_identity: BTreeMap<_, _> = objects.into_iter().map(|object| (object.object_ref(), object)).collect();
    by_identity.into_values().collect()
}

fn metadata(object: &mut Object) -> &mut ObjectMeta {
    macro_rules! each {
        ($($kind:ident),* $(,)?) => {
            match object { $(Object::$kind(o) => &mut o.metadata,)* }
        };
    }
    each!(
        GatewayClass,
        Gateway,
        ListenerSet,
        HttpRoute,
        GrpcRoute,
        TlsRoute,
        TcpRoute,
        UdpRoute,
        ReferenceGrant,
        BackendTlsPolicy,
        UpstreamPolicy,
        Namespace,
        Service,
        EndpointSlice,
        Secret,
        ConfigMap,
    )
}

/// Resources of these objects.
pub fn resources(objects: impl IntoIterator<Item = Object>) -> Resources {
    let mut resources = Resources::default();
    let mut change = Change::default();
    for object in objects {
        resources.apply(Event::Apply(object), &mut change);
    }
    resources
}

/// Resources and settings of the case in a folder.
pub fn case(folder: &Path) -> (Resources, Settings) {
    let text = std::fs::read_to_string(folder.join("in.yaml")).expect("in.yaml");
    let objects = documents(&text).into_iter().map(|value| object(value).expect("an object"));
    let mut resources = resources(objects);
    let case: CaseSettings = std::fs::read_to_string(folder.join("settings.yaml"))
        .map(|text| serde_yaml::from_str(&text).expect("settings.yaml"))
        .unwrap_or_default();
    let state = |words: &String| if words == "ok" { BindState::Bound } else { BindState::Failed(words.clone()) };
    if let Some(binds) = &case.binds {
        let binds = binds.iter().map(|(address, words)| (*address, state(words))).collect();
        resources.apply(Event::Binds(binds), &mut Change::default());
    }
    resources.apply(Event::Applied(case.applied.clone()), &mut Change::default());
    resources.apply(Event::HostAddresses(case.host_addresses.clone()), &mut Change::default());
    let settings = settings(&case);
    (resources, settings)
}
