//! PURE. The data planes of this install, read off its pods.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::Pod;

/// Set on a pod from its node, where the cluster does so.
const ZONE: &str = "topology.kubernetes.io/zone";

/// A pod that serves, or did, or will.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataPlane {
    /// Name of the pod.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Its addresses, at least one, the first of them its main one.
    pub addresses: Vec<IpAddr>,
    /// Name of its node.
    pub node: Option<String>,
    /// Zone of its node.
    pub zone: Option<String>,
    /// Whether it answers requests, as its probe says.
    pub serves: bool,
    /// Whether it is going down, and should get no new connections.
    pub terminates: bool,
}

impl DataPlane {
    /// Whether it is to get new connections.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.serves && !self.terminates
    }

    /// Reads a pod; none before it has an address, and after its end.
    fn of(pod: &Pod) -> Option<DataPlane> {
        let status = pod.status.as_ref()?;
        if matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
            return None;
        }
        let all = status.pod_ips.iter().flatten().map(|ip| ip.ip.as_str()).chain(status.pod_ip.as_deref());
        let mut addresses: Vec<IpAddr> = Vec::new();
        for address in all.filter_map(|text| text.parse().ok()) {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        if addresses.is_empty() {
            return None;
        }
        let conditions = status.conditions.iter().flatten();
        let labels = pod.metadata.labels.as_ref();
        Some(DataPlane {
            name: pod.metadata.name.clone()?,
            uid: pod.metadata.uid.clone().unwrap_or_default(),
            addresses,
            node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
            zone: labels.and_then(|labels| labels.get(ZONE)).cloned(),
            serves: conditions.into_iter().any(|c| c.type_ == "Ready" && c.status == "True"),
            terminates: pod.metadata.deletion_timestamp.is_some(),
        })
    }
}

/// The data planes among pods, by name.
pub fn data_planes<'p>(pods: impl Iterator<Item = &'p Pod>) -> Vec<DataPlane> {
    let mut planes: Vec<DataPlane> = pods.filter_map(DataPlane::of).collect();
    planes.sort_by(|a, b| a.name.cmp(&b.name));
    planes
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(name: &str, metadata: &Value, status: &Value) -> Pod {
        let mut pod = json!({"metadata": {"name": name, "uid": name}, "spec": {"nodeName": "node0", "containers": []}});
        pod["metadata"].as_object_mut().unwrap().extend(metadata.as_object().unwrap().clone());
        pod["status"] = status.clone();
        serde_json::from_value(pod).unwrap()
    }

    #[test]
    fn pods_without_an_address_or_past_their_end_are_none() {
        let ready = json!([{"type": "Ready", "status": "True"}]);
        let ips = json!([{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]);
        let pods = [
            pod("b", &json!({}), &json!({"phase": "Running", "podIP": "10.0.0.1", "podIPs": ips, "conditions": ready})),
            pod(
                "a",
                &json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}),
                &json!({"podIP": "10.0.0.2", "conditions": ready}),
            ),
            pod("c", &json!({}), &json!({"phase": "Failed", "podIP": "10.0.0.3"})),
            pod("d", &json!({}), &json!({"phase": "Pending"})),
            pod("e", &json!({}), &json!({"podIP": "10.0.0.5", "conditions": [{"type": "Ready", "status": "False"}]})),
        ];
        let planes = data_planes(pods.iter());
        let seen: Vec<_> =
            planes.iter().map(|p| (p.name.as_str(), p.addresses.len(), p.serves, p.is_ready())).collect();
        assert_eq!(seen, [("a", 1, true, false), ("b", 2, true, true), ("e", 1, false, false)]);
        assert_eq!(planes[0].node.as_deref(), Some("node0"));
    }
}
