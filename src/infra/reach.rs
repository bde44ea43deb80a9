//! Whether a Gateway's address can be connected to yet: a first connection that is made too early can spoil the next
//! ones for half a minute, so a Gateway is shown as programmed only after one has been made, or a while has passed
//! (some load balancers cannot be reached from inside).

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::plan::targets_of;
use crate::api::{ObjectKey, label};

/// For one connection.
const CONNECT: Duration = Duration::from_secs(1);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(100);
/// For all tries together.
const IN_ALL: Duration = Duration::from_secs(5);
/// Gateways that are tried at a time.
const AT_ONCE: usize = 32;

/// Where a Gateway is to be reached.
pub type Doors = BTreeSet<SocketAddr>;

/// Tries each Gateway's doors once.
#[derive(Debug)]
pub struct Probes {
    /// By uid of the Gateway, the doors of which it is enough.
    tried: BTreeMap<String, Doors>,
    trying: BTreeMap<String, Doors>,
    tasks: JoinSet<(String, Doors)>,
    places: Arc<Semaphore>,
}

/// The doors of a Service behind which there is one of the ports that are `served`; none before it has an address and
/// leads to all of those. Names instead of addresses are not tried.
pub fn doors(service: &Service, served: &BTreeSet<u16>, led: Option<&BTreeSet<u16>>) -> Option<Doors> {
    let spec = service.spec.as_ref()?;
    let addresses: Vec<&str> = if spec.type_.as_deref() == Some("LoadBalancer") {
        let status = service.status.as_ref()?.load_balancer.as_ref()?;
        let ingress = status.ingress.as_ref().filter(|ingress| !ingress.is_empty())?;
        ingress.iter().filter_map(|point| point.ip.as_deref()).collect()
    } else {
        spec.cluster_ips.iter().flatten().map(String::as_str).collect()
    };
    let addresses: Vec<IpAddr> = addresses.into_iter().filter_map(|text| text.parse().ok()).collect();
    let targets = targets_of(service);
    let targets = targets.iter().filter(|(_, target)| served.contains(target));
    if !targets.clone().all(|(_, target)| led.is_some_and(|led| led.contains(target))) {
        return None;
    }
    let doors = targets
        .map(|(port, _)| *port)
        .flat_map(|port| addresses.iter().map(move |address| SocketAddr::new(*address, port)));
    Some(doors.collect())
}

/// The target ports to which the slices of each Service bring connections.
pub fn led<'s>(slices: impl Iterator<Item = &'s EndpointSlice>) -> BTreeMap<ObjectKey, BTreeSet<u16>> {
    let mut led: BTreeMap<ObjectKey, BTreeSet<u16>> = BTreeMap::new();
    for slice in slices {
        let labels = slice.metadata.labels.as_ref();
        let Some(service) = labels.and_then(|labels| labels.get(label::SERVICE_NAME)) else { continue };
        let ready = |endpoint: &Endpoint| endpoint.conditions.as_ref().is_some_and(|c| c.ready == Some(true));
        if slice.endpoints.iter().flatten().any(ready) {
            let key = ObjectKey::new(slice.metadata.namespace.clone().unwrap_or_default(), service.clone());
            let ports = slice.ports.iter().flatten().filter_map(|port| u16::try_from(port.port?).ok());
            led.entry(key).or_default().extend(ports);
        }
    }
    led
}

impl Probes {
    /// Nothing is tried yet.
    pub fn new() -> Self {
        Probes {
            tried: BTreeMap::new(),
            trying: BTreeMap::new(),
            tasks: JoinSet::new(),
            places: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// Whether these doors were tried; if not, that begins.
    pub fn tried(&mut self, gateway: &str, doors: &Doors) -> bool {
        if doors.is_empty() || self.tried.get(gateway) == Some(doors) {
            return true;
        }
        if self.trying.get(gateway) != Some(doors) {
            self.trying.insert(gateway.to_owned(), doors.clone());
            let (gateway, doors, places) = (gateway.to_owned(), doors.clone(), Arc::clone(&self.places));
            self.tasks.spawn(async move {
                let place = places.acquire_owned().await;
                if timeout(IN_ALL, knock(&doors)).await.is_err() {
                    tracing::debug!(gateway, ?doors, "cannot be connected to from here");
                }
                drop(place);
                (gateway, doors)
            });
        }
        false
    }

    /// Forgets every other Gateway.
    pub fn keep(&mut self, gateways: &BTreeSet<&str>) {
        self.tried.retain(|gateway, _| gateways.contains(gateway.as_str()));
        self.trying.retain(|gateway, _| gateways.contains(gateway.as_str()));
    }

    /// Waits until some doors were tried, and takes up all that were.
    pub async fn next(&mut self) {
        let Some(first) = self.tasks.join_next().await else { return std::future::pending().await };
        let mut next = Some(first);
        while let Some(ended) = next {
            if let Ok((gateway, doors)) = ended
                && self.trying.get(&gateway) == Some(&doors)
            {
                self.trying.remove(&gateway);
                self.tried.insert(gateway, doors);
            }
            next = self.tasks.try_join_next();
        }
    }
}

/// Until every door has opened once.
async fn knock(doors: &Doors) {
    for door in doors {
        while !matches!(timeout(CONNECT, TcpStream::connect(door)).await, Ok(Ok(_))) {
            sleep(PAUSE).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn found(spec: &Value, status: &Value) -> Option<Vec<String>> {
        let service = serde_json::from_value(json!({"spec": spec, "status": status})).unwrap();
        let (served, led) = (BTreeSet::from([20_001, 20_002]), BTreeSet::from([20_001, 20_002]));
        assert_eq!(doors(&service, &served, Some(&BTreeSet::from([20_002]))), None, "it leads to one of them alone");
        Some(doors(&service, &served, Some(&led))?.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_service_leads_where_its_slices_have_somebody_ready() {
        let slice = |name: &str, service: &str, ready: bool, port: u16| -> EndpointSlice {
            let endpoint = json!({"addresses": ["10.0.0.1"], "conditions": {"ready": ready}});
            let labels = json!({label::SERVICE_NAME: service});
            let metadata = json!({"name": name, "namespace": "n", "labels": labels});
            let slice = json!({"metadata": metadata, "addressType": "IPv4", "ports": [{"port": port}], "endpoints": [endpoint]});
            serde_json::from_value(slice).unwrap()
        };
        let slices =
            [slice("a", "s", true, 1), slice("b", "s", true, 2), slice("c", "s", false, 3), slice("d", "t", false, 4)];
        assert_eq!(led(slices.iter()), BTreeMap::from([(ObjectKey::new("n", "s"), BTreeSet::from([1, 2]))]));
    }

    #[test]
    fn a_load_balancer_has_doors_once_it_has_an_address() {
        let spec = json!({"type": "LoadBalancer", "clusterIPs": ["10.96.0.1"], "ports": [
            {"port": 80, "targetPort": 20001}, {"port": 443, "targetPort": 20002}, {"port": 444, "targetPort": 20003},
        ]});
        assert_eq!(found(&spec, &json!({"loadBalancer": {}})), None);
        let status = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}});
        assert_eq!(found(&spec, &status).unwrap(), ["192.0.2.1:80", "192.0.2.1:443"]);
        let named = json!({"loadBalancer": {"ingress": [{"hostname": "lb.example"}]}});
        assert_eq!(found(&spec, &named).unwrap(), [""; 0]);
        let inside =
            json!({"type": "ClusterIP", "clusterIPs": ["10.96.0.1"], "ports": [{"port": 80, "targetPort": 20001}]});
        assert_eq!(found(&inside, &json!({})).unwrap(), ["10.96.0.1:80"]);
    }

    #[tokio::test(start_paused = true)]
    async fn doors_are_tried_once_and_only_for_a_while() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = Doors::from([listener.local_addr().unwrap()]);
        let mut probes = Probes::new();
        assert!(probes.tried("empty", &Doors::new()));
        assert!(!probes.tried("g", &open));
        probes.next().await;
        assert!(probes.tried("g", &open));
        let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let closed = Doors::from([closed]);
        let started = tokio::time::Instant::now();
        assert!(!probes.tried("g", &closed), "other doors are tried anew");
        probes.next().await;
        assert!(probes.tried("g", &closed));
        assert_eq!(started.elapsed().as_secs(), IN_ALL.as_secs());
    }
}
