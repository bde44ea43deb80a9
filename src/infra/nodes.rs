//! PURE. The addresses at which listeners on the host's network are reached: those of the nodes with a ready pod.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Node;

use super::pods::DataPlane;

/// Kinds of addresses, the best first; all that are shown are of one kind.
const KINDS: [&str; 2] = ["ExternalIP", "InternalIP"];

/// The addresses, sorted.
pub fn addresses<N: AsRef<Node>>(planes: &[DataPlane], nodes: &[N]) -> Vec<String> {
    let used: BTreeSet<&str> =
        planes.iter().filter(|plane| plane.is_ready()).filter_map(|plane| plane.node.as_deref()).collect();
    let nodes = nodes.iter().map(AsRef::as_ref);
    let nodes = nodes.filter(|node| node.metadata.name.as_deref().is_some_and(|name| used.contains(name)));
    let all: Vec<_> = nodes.filter_map(|node| node.status.as_ref()?.addresses.as_ref()).flatten().collect();
    let of = |kind: &str| -> BTreeSet<String> {
        all.iter().filter(|address| address.type_ == kind).map(|address| address.address.clone()).collect()
    };
    let best = KINDS.into_iter().map(of).find(|found| !found.is_empty());
    best.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    fn node(name: &str, addresses: &[(&str, &str)]) -> Arc<Node> {
        let addresses: Vec<_> = addresses.iter().map(|(kind, a)| json!({"type": kind, "address": a})).collect();
        Arc::new(
            serde_json::from_value(json!({"metadata": {"name": name}, "status": {"addresses": addresses}})).unwrap(),
        )
    }

    fn on(node: &str, serves: bool) -> DataPlane {
        DataPlane {
            name: node.to_owned(),
            uid: node.to_owned(),
            addresses: vec!["10.0.0.1".parse().unwrap()],
            node: Some(node.to_owned()),
            zone: None,
            serves,
            terminates: false,
        }
    }

    #[test]
    fn nodes_with_a_ready_pod_show_the_best_kind_of_address() {
        let nodes = [
            node("a", &[("Hostname", "a"), ("InternalIP", "10.0.0.1")]),
            node("b", &[("InternalIP", "10.0.0.2"), ("ExternalIP", "192.0.2.2")]),
            node("c", &[("InternalIP", "10.0.0.3")]),
        ];
        assert_eq!(addresses(&[on("a", true), on("c", false)], &nodes), ["10.0.0.1"]);
        assert_eq!(addresses(&[on("a", true), on("b", true)], &nodes), ["192.0.2.2"]);
        assert_eq!(addresses(&[on("c", true), on("a", true)], &nodes), ["10.0.0.1", "10.0.0.3"]);
        assert_eq!(addresses(&[], &nodes), [""; 0]);
    }
}
