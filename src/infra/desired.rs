//! PURE. The objects that a Gateway is to have, as they are applied: its Service, and the EndpointSlices that bring
//! connections to the pods.
//!
//! They are JSON and not typed, so that nothing is said that is not meant: what server-side apply is not told of
//! belongs to others.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::allocate::Targets;
use super::pattern::{ServicePattern, ServiceType};
use super::pods::DataPlane;
use crate::api::{ObjectKey, Service, label};
use crate::translate::report::MANAGED_BY;
use crate::translate::{Audience, GatewayService};

/// Holds the fingerprint of everything that was applied, so that a field which is no longer wanted is seen, too.
pub const APPLIED: &str = "transom.dev/applied";
/// Addresses asked of a load balancer, separated by commas: the one way to ask for several.
const ASKED_ADDRESSES: &str = "metallb.io/loadBalancerIPs";
/// The field of a Service that holds its address in the cluster.
const CLUSTER_IP: &str = "clusterIP";
/// Says who keeps an EndpointSlice; the cluster's own controller leaves it alone.
const SLICE_MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// Endpoints of a slice.
const ENDPOINTS: usize = 1000;
/// Ports of a slice.
const PORTS: usize = 100;

/// Whose objects they are.
#[derive(Debug, Clone, Copy)]
pub struct Owner<'a> {
    /// The Gateway.
    pub gateway: &'a ObjectKey,
    /// Its uid.
    pub uid: &'a str,
    /// Name of its class.
    pub class: &'a str,
    /// The value of [`label::CONTROLLER`].
    pub controller: &'a str,
}

/// The name of a Service's port, and of the slices' ports that belong to it.
#[must_use]
pub fn port_name(port: u16) -> String {
    format!("p{port}")
}

/// The Service of a Gateway. `before` is the one that there is.
#[must_use]
pub fn service(
    owner: Owner<'_>,
    wish: &GatewayService,
    targets: &Targets,
    pattern: &ServicePattern,
    before: Option<&Service>,
) -> Value {
    let mut labels = pattern.labels.clone();
    labels.extend(wish.labels.clone());
    labels.extend(owner.labels());
    let mut annotations = pattern.annotations.clone();
    annotations.extend(wish.annotations.clone());
    let ports = wish.ports.iter().filter_map(|(port, of)| {
        let target = targets.get(port)?;
        Some(json!({"name": port_name(*port), "port": port, "targetPort": target, "protocol": "TCP", "appProtocol": of.app_protocol}))
    });
    let mut spec = Map::new();
    let kind = match wish.audience {
        Audience::Everyone => pattern.r#type,
        Audience::Cluster => ServiceType::ClusterIP,
    };
    spec.insert("type".into(), kind.as_str().into());
    spec.insert("ports".into(), ports.collect());
    let of_before = before.and_then(|service| service.spec.as_ref());
    let had = |ip: &IpAddr| of_before.is_none_or(|spec| spec.cluster_ip.as_deref() == Some(&ip.to_string()));
    if let Some(ip) = wish.cluster_ip.filter(had) {
        spec.insert(CLUSTER_IP.into(), ip.to_string().into());
    }
    if let Some(policy) = pattern.external_traffic_policy.filter(|_| kind != ServiceType::ClusterIP) {
        spec.insert("externalTrafficPolicy".into(), policy.as_str().into());
    }
    if kind == ServiceType::LoadBalancer {
        // "once set, it can not be changed"
        let of_before = of_before.filter(|spec| spec.type_.as_deref() == Some("LoadBalancer"));
        let class_before = of_before.and_then(|spec| spec.load_balancer_class.as_ref());
        if let Some(class) = class_before.or(pattern.load_balancer_class.as_ref()) {
            spec.insert("loadBalancerClass".into(), class.as_str().into());
        }
        if !pattern.load_balancer_source_ranges.is_empty() {
            let ranges = pattern.load_balancer_source_ranges.iter().map(ToString::to_string);
            spec.insert("loadBalancerSourceRanges".into(), ranges.collect());
        }
        let asked: Vec<String> = wish.requested.iter().map(ToString::to_string).collect();
        match asked.as_slice() {
            [] => {}
            // the one way that every load balancer knows; MetalLB refuses it together with the annotation
            [one] => drop(spec.insert("loadBalancerIP".into(), one.as_str().into())),
            several => drop(annotations.insert(ASKED_ADDRESSES.to_owned(), several.join(","))),
        }
    }
    let metadata = owner.metadata(&wish.name, &labels, &annotations);
    stamped(json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}))
}

/// Takes away the cluster IP that a new Service was to have. Whether there was one.
pub fn give_up_cluster_ip(service: &mut Value) -> bool {
    let spec = service.pointer_mut("/spec").and_then(Value::as_object_mut);
    spec.and_then(|spec| spec.remove(CLUSTER_IP)).is_some()
}

/// The slices of a Service that records these targets, by name. `namespace` is the one of the pods.
#[must_use]
pub fn slices(
    owner: Owner<'_>,
    service: &str,
    targets: &Targets,
    planes: &[DataPlane],
    namespace: &str,
) -> BTreeMap<String, Value> {
    let mut labels = owner.labels();
    labels.insert(label::SERVICE_NAME.to_owned(), service.to_owned());
    labels.insert(SLICE_MANAGED_BY.to_owned(), "transom.dev".to_owned());
    labels.remove(MANAGED_BY.0); // it has a label of its own for that
    let targets: Vec<(&u16, &u16)> = targets.iter().collect();
    let mut slices = BTreeMap::new();
    for (family, short, is_v4) in [("IPv4", "v4", true), ("IPv6", "v6", false)] {
        let endpoints: Vec<Value> = planes
            .iter()
            .filter_map(|plane| {
                let address = plane.addresses.iter().find(|address| address.is_ipv4() == is_v4)?;
                Some(endpoint(plane, *address, namespace))
            })
            .collect();
        let parts = endpoints.chunks(ENDPOINTS).flat_map(|part| targets.chunks(PORTS).map(move |ports| (part, ports)));
        for (number, (endpoints, ports)) in parts.enumerate() {
            let name = format!("{service}-{short}-{number}");
            let port =
                |(port, target): &(&u16, &u16)| json!({"name": port_name(**port), "port": target, "protocol": "TCP"});
            let ports: Vec<Value> = ports.iter().map(port).collect();
            let metadata = owner.metadata(&name, &labels, &BTreeMap::new());
            let slice = json!({
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": metadata,
                "addressType": family,
                "ports": ports,
                "endpoints": endpoints,
            });
            slices.insert(name, stamped(slice));
        }
    }
    slices
}

/// Whether what is there lacks something of what is wanted, or has something that was wanted before.
#[must_use]
pub fn differs(live: &Value, wanted: &Value) -> bool {
    !holds(live, wanted)
}

fn endpoint(plane: &DataPlane, address: IpAddr, namespace: &str) -> Value {
    let mut endpoint = json!({
        "addresses": [address.to_string()],
        "conditions": {"ready": plane.is_ready(), "serving": plane.serves, "terminating": plane.terminates},
        "targetRef": {"kind": "Pod", "namespace": namespace, "name": plane.name, "uid": plane.uid},
    });
    for (field, value) in [("nodeName", &plane.node), ("zone", &plane.zone)] {
        if let (Some(value), Some(fields)) = (value, endpoint.as_object_mut()) {
            fields.insert(field.to_owned(), value.as_str().into());
        }
    }
    endpoint
}

/// Everything of `wanted` is there. A list is as long as it is wanted: there, others add nothing.
fn holds(live: &Value, wanted: &Value) -> bool {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => {
            wanted.iter().all(|(name, wanted)| live.get(name).is_some_and(|live| holds(live, wanted)))
        }
        (Value::Array(live), Value::Array(wanted)) => {
            live.len() == wanted.len() && live.iter().zip(wanted).all(|(live, wanted)| holds(live, wanted))
        }
        _ => live == wanted,
    }
}

/// Writes the fingerprint into the object that it is of.
fn stamped(mut object: Value) -> Value {
    let fingerprint = label::fingerprint(&object.to_string());
    let annotations = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut);
    if let Some(annotations) = annotations {
        annotations.insert(APPLIED.to_owned(), fingerprint.into());
    }
    object
}

impl Owner<'_> {
    fn labels(&self) -> BTreeMap<String, String> {
        let labels = [
            (label::GATEWAY_NAME, label::fitting(&self.gateway.name)),
            (label::GATEWAY_CLASS_NAME, label::fitting(self.class)),
            (MANAGED_BY.0, MANAGED_BY.1.to_owned()),
            (label::CONTROLLER, self.controller.to_owned()),
        ];
        labels.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// The Gateway takes what it owns along when it goes, and nobody waits for that: `blockOwnerDeletion` would ask for
    /// more permissions.
    fn metadata(&self, name: &str, labels: &BTreeMap<String, String>, annotations: &BTreeMap<String, String>) -> Value {
        json!({
            "name": name,
            "namespace": self.gateway.namespace,
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [{
                "apiVersion": "gateway.networking.k8s.io/v1",
                "kind": "Gateway",
                "name": self.gateway.name,
                "uid": self.uid,
                "controller": true,
            }],
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::translate::ServicePort;

    use super::*;

    fn gateway() -> ObjectKey {
        ObjectKey::new("shop", "web")
    }

    fn owner(gateway: &ObjectKey) -> Owner<'_> {
        Owner { gateway, uid: "u1", class: "edge", controller: "0123456789" }
    }

    fn wish() -> GatewayService {
        GatewayService {
            name: "web-edge".to_owned(),
            class: "edge".to_owned(),
            owner_uid: "u1".to_owned(),
            ports: [(80, "http"), (443, "https")]
                .map(|(port, app_protocol)| (port, ServicePort { app_protocol }))
                .into(),
            labels: BTreeMap::from([("team".to_owned(), "gateway".to_owned())]),
            annotations: BTreeMap::from([("a".to_owned(), "gateway".to_owned())]),
            requested: ["10.0.0.9", "10.0.0.8"].map(|text| text.parse().unwrap()).into(),
            cluster_ip: None,
            audience: Audience::Everyone,
        }
    }

    fn plane(name: &str, addresses: &[&str], serves: bool, terminates: bool) -> DataPlane {
        DataPlane {
            name: name.to_owned(),
            uid: format!("{name}-uid"),
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            node: Some("node0".to_owned()),
            zone: None,
            serves,
            terminates,
        }
    }

    #[test]
    fn the_gateway_s_words_stand_over_the_pattern_s_and_ours_over_both() {
        let pattern = ServicePattern::parse("labels: {team: pattern, other: pattern, app.kubernetes.io/managed-by: x}\nannotations: {a: pattern, b: pattern}").unwrap();
        let found = service(owner(&gateway()), &wish(), &Targets::from([(80, 20_001), (443, 20_002)]), &pattern, None);
        let metadata = &found["metadata"];
        assert_eq!(
            metadata["labels"],
            json!({
                "team": "gateway", "other": "pattern", "app.kubernetes.io/managed-by": "transom",
                "gateway.networking.k8s.io/gateway-name": "web", "gateway.networking.k8s.io/gateway-class-name": "edge",
                "transom.dev/controller": "0123456789",
            })
        );
        assert_eq!(
            (&metadata["annotations"]["a"], &metadata["annotations"]["b"]),
            (&json!("gateway"), &json!("pattern"))
        );
        assert_eq!(
            metadata["ownerReferences"],
            json!([{"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
            "name": "web", "uid": "u1", "controller": true}])
        );
        assert_eq!(
            found["spec"],
            json!({"type": "LoadBalancer", "ports": [
                {"name": "p80", "port": 80, "targetPort": 20001, "protocol": "TCP", "appProtocol": "http"},
                {"name": "p443", "port": 443, "targetPort": 20002, "protocol": "TCP", "appProtocol": "https"},
            ]})
        );
    }

    #[test]
    fn one_address_is_asked_for_by_the_field_and_several_by_the_annotation() {
        let (gateway, pattern) = (gateway(), ServicePattern::default());
        let asked = |requested: &[&str], pattern: &ServicePattern| {
            let wish =
                GatewayService { requested: requested.iter().map(|text| text.parse().unwrap()).collect(), ..wish() };
            let found = service(owner(&gateway), &wish, &Targets::new(), pattern, None);
            (found["spec"]["loadBalancerIP"].clone(), found["metadata"]["annotations"][ASKED_ADDRESSES].clone())
        };
        assert_eq!(asked(&[], &pattern), (Value::Null, Value::Null));
        assert_eq!(asked(&["10.0.0.8"], &pattern), (json!("10.0.0.8"), Value::Null));
        assert_eq!(asked(&["10.0.0.9", "10.0.0.8"], &pattern), (Value::Null, json!("10.0.0.8,10.0.0.9")));
        let inside = ServicePattern::parse("type: ClusterIP").unwrap();
        assert_eq!(asked(&["10.0.0.8"], &inside), (Value::Null, Value::Null));
    }

    #[test]
    fn what_a_load_balancer_has_of_the_pattern() {
        let text = "externalTrafficPolicy: Local\nloadBalancerClass: a/b\nloadBalancerSourceRanges: [10.0.0.0/8]";
        let pattern = ServicePattern::parse(text).unwrap();
        let gateway = gateway();
        let found = |class: Option<&str>| {
            let spec = json!({"type": "LoadBalancer", "loadBalancerClass": class});
            let before = class.map(|_| serde_json::from_value(json!({"spec": spec})).unwrap());
            service(owner(&gateway), &wish(), &Targets::new(), &pattern, before.as_ref())["spec"].clone()
        };
        assert_eq!(found(None)["externalTrafficPolicy"], "Local");
        assert_eq!(found(None)["loadBalancerSourceRanges"], json!(["10.0.0.0/8"]));
        assert_eq!(
            (&found(None)["loadBalancerClass"], &found(Some("c/d"))["loadBalancerClass"]),
            (&json!("a/b"), &json!("c/d"))
        );
    }

    #[test]
    fn what_is_for_the_cluster_alone_has_no_load_balancer_and_keeps_its_cluster_ip() {
        let text = "externalTrafficPolicy: Local\nloadBalancerClass: a/b\nloadBalancerSourceRanges: [10.0.0.0/8]";
        let pattern = ServicePattern::parse(text).unwrap();
        let gateway = gateway();
        let asked = |ip: &str, audience| GatewayService { cluster_ip: ip.parse().ok(), audience, ..wish() };
        let found = |wish: &GatewayService, before: Option<&str>| {
            let spec = |ip| json!({"spec": {"type": "LoadBalancer", "loadBalancerClass": "a/b", "clusterIP": ip}});
            let before = before.map(|ip| serde_json::from_value(spec(ip)).unwrap());
            service(owner(&gateway), wish, &Targets::new(), &pattern, before.as_ref())["spec"].clone()
        };
        let inside = asked("10.96.0.7", Audience::Cluster);
        let only = json!({"type": "ClusterIP", "ports": [], "clusterIP": "10.96.0.7"});
        assert_eq!(found(&inside, None), only);
        assert_eq!(found(&inside, Some("10.96.0.7")), only);
        assert_eq!(found(&inside, Some("10.96.0.8")), json!({"type": "ClusterIP", "ports": []}), "it cannot change");
        let both = found(&asked("10.96.0.7", Audience::Everyone), None);
        assert_eq!((&both["type"], &both["clusterIP"]), (&json!("LoadBalancer"), &json!("10.96.0.7")));
    }

    #[test]
    fn each_family_has_slices_and_who_goes_down_is_not_ready() {
        let planes = [plane("a", &["10.0.0.1", "fd00::1"], true, false), plane("b", &["10.0.0.2"], true, true)];
        let found = slices(owner(&gateway()), "web-edge", &Targets::from([(80, 20_001)]), &planes, "edge");
        assert_eq!(found.keys().collect::<Vec<_>>(), ["web-edge-v4-0", "web-edge-v6-0"]);
        let slice = &found["web-edge-v4-0"];
        assert_eq!(slice["addressType"], "IPv4");
        assert_eq!(slice["ports"], json!([{"name": "p80", "port": 20001, "protocol": "TCP"}]));
        assert_eq!(
            slice["endpoints"][1],
            json!({"addresses": ["10.0.0.2"], "nodeName": "node0",
            "conditions": {"ready": false, "serving": true, "terminating": true},
            "targetRef": {"kind": "Pod", "namespace": "edge", "name": "b", "uid": "b-uid"}})
        );
        assert_eq!(slice["metadata"]["labels"]["kubernetes.io/service-name"], "web-edge");
        assert_eq!(slice["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"], "transom.dev");
        assert_eq!(found["web-edge-v6-0"]["endpoints"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn a_slice_has_as_many_endpoints_and_ports_as_it_may() {
        let planes: Vec<DataPlane> =
            (0..1001).map(|n| plane(&format!("p{n:04}"), &["10.0.0.1"], true, false)).collect();
        let targets: Targets = (1..=101).map(|port| (port, 20_000 + port)).collect();
        let found = slices(owner(&gateway()), "s", &targets, &planes, "edge");
        let count = |slice: &Value, list: &str| slice[list].as_array().unwrap().len();
        let sizes: Vec<_> = found.values().map(|slice| (count(slice, "endpoints"), count(slice, "ports"))).collect();
        assert_eq!(sizes, [(1000, 100), (1000, 1), (1, 100), (1, 1)]);
    }

    #[test]
    fn what_the_api_server_adds_is_no_difference_and_what_is_no_longer_wanted_is() {
        let (gateway, pattern, targets) =
            (gateway(), ServicePattern::default(), Targets::from([(80, 20_001), (443, 20_002)]));
        let wanted = service(owner(&gateway), &wish(), &targets, &pattern, None);
        let mut live = wanted.clone();
        live["metadata"]["uid"] = json!("x");
        live["spec"]["clusterIP"] = json!("10.96.0.9");
        live["spec"]["ports"][0]["nodePort"] = json!(30_001);
        assert!(!differs(&live, &wanted));
        let less = GatewayService { annotations: BTreeMap::new(), ..wish() };
        assert!(differs(&live, &service(owner(&gateway), &less, &targets, &pattern, None)));
        live["spec"]["ports"][1]["targetPort"] = json!(8080);
        assert!(differs(&live, &wanted), "somebody changed it");
        let mut live = wanted.clone();
        live["spec"]["ports"].as_array_mut().unwrap().pop();
        assert!(differs(&live, &wanted));
    }
}
