//! PURE. What is there and what is wished for come in; what is to be written comes out.
//!
//! A Service is the record of its target ports, so its slices are made from what it shows, not from what it is to
//! become: pods come and go there also while the Service itself cannot be written.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

use super::allocate::{Ports, Recorded, Targets};
use super::desired::{self, Owner};
use super::pattern::ServicePattern;
use super::pods::DataPlane;
use crate::api::object::key_of;
use crate::api::{ObjectKey, label};
use crate::translate::Infrastructure;

/// What can be written, in the order of what is written first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sort {
    /// An EndpointSlice: connections go to a pod that is gone, or the Service that is there leads nowhere.
    EndpointSlice,
    /// A Service.
    Service,
}

/// One object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Item {
    /// Its kind.
    pub sort: Sort,
    /// Namespace and name.
    pub key: ObjectKey,
}

/// What is to become of an object.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// It is to be so. The uid is the one of the object that is there.
    Apply { object: Value, uid: Option<String> },
    /// It is to go, if it is still this one.
    Delete { uid: String },
}

/// What there is in the cluster: objects of ours, and the pods.
#[derive(Debug, Clone, Copy)]
pub struct Live<'a, S, E> {
    /// Services with our label.
    pub services: &'a [S],
    /// EndpointSlices with our label.
    pub slices: &'a [E],
    /// The pods that serve.
    pub planes: &'a [DataPlane],
}

/// What does not change.
#[derive(Debug, Clone)]
pub struct Terms {
    /// The value of [`label::CONTROLLER`].
    pub controller: String,
    /// The pattern of Services.
    pub pattern: ServicePattern,
    /// The namespace of the pods.
    pub namespace: String,
    /// A Service that nobody wishes for goes after this long.
    pub linger: Duration,
}

/// What is to be written.
#[derive(Debug, Default)]
pub struct Plan {
    /// Each object that differs.
    pub changes: BTreeMap<Item, Change>,
    /// Services of ours that nobody wishes for, with their slices: they go after a while.
    pub unwished: BTreeMap<Item, String>,
    /// Ports that no target port could be given, by Service.
    pub without: BTreeSet<(ObjectKey, u16)>,
    /// Slices that are to be there.
    wanted: BTreeSet<ObjectKey>,
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.sort.name(), self.key)
    }
}

impl Sort {
    /// The kind's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Sort::Service => "Service",
            Sort::EndpointSlice => "EndpointSlice",
        }
    }
}

/// Compares everything.
pub fn plan<S: AsRef<Service>, E: AsRef<EndpointSlice>>(
    wishes: &Infrastructure,
    live: &Live<'_, S, E>,
    terms: &Terms,
    ports: &mut Ports,
    now: Instant,
) -> Plan {
    let services =
        live.services.iter().map(AsRef::as_ref).filter(|service| is_ours(&service.metadata, &terms.controller));
    let services: BTreeMap<ObjectKey, &Service> =
        services.map(|service| (key_of(&service.metadata), service)).collect();
    let key = |gateway: &ObjectKey, name: &str| ObjectKey::new(gateway.namespace.clone(), name);
    let wished = wishes.services.iter().map(|(gateway, wish)| (key(gateway, &wish.name), wish));
    let wanted = wished.map(|(key, wish)| (key, wish.ports.keys().copied().collect())).collect();
    let allocation =
        ports.allocate(services.iter().map(|(key, service)| recorded(key, service)).collect(), &wanted, now);
    let mut plan = Plan { without: allocation.without, ..Plan::default() };
    let mut kept = BTreeMap::new();
    for (gateway, wish) in &wishes.services {
        let key = key(gateway, &wish.name);
        let owner = Owner { gateway, uid: &wish.owner_uid, class: &wish.class, controller: &terms.controller };
        let there = services.get(&key).copied();
        let item = Item { sort: Sort::Service, key: key.clone() };
        if let Some(service) = there {
            if service.metadata.deletion_timestamp.is_some() {
                continue; // it is made anew once it is gone
            }
            if owner_of(&service.metadata) != Some(gateway.name.as_str()) {
                let uid = service.metadata.uid.clone().unwrap_or_default();
                plan.changes.insert(item, Change::Delete { uid });
                continue;
            }
            kept.insert(key.clone(), owner);
        }
        let Some(targets) = allocation.targets.get(&key) else { continue };
        let object = desired::service(owner, wish, targets, &terms.pattern, there);
        plan.compare(item, object, there.map(|service| (value(service), service.metadata.uid.clone())));
    }
    let slices = live.slices.iter().map(AsRef::as_ref).filter(|slice| is_ours(&slice.metadata, &terms.controller));
    let slices = slices.map(|slice| (key_of(&slice.metadata), slice)).collect();
    for (key, owner) in &kept {
        let mut targets = services.get(key).copied().map(targets_of).unwrap_or_default();
        // Where two Services show one target, only the one that keeps it leads there: tenants never meet.
        let given = allocation.targets.get(key);
        targets.retain(|port, target| given.and_then(|given| given.get(port)).is_none_or(|given| given == target));
        plan.slices_of(&slices, key, desired::slices(*owner, &key.name, &targets, live.planes, &terms.namespace));
    }
    plan.surplus(slices, &kept);
    for (key, service) in services {
        if !wanted.contains_key(&key) && service.metadata.deletion_timestamp.is_none() {
            let uid = service.metadata.uid.clone().unwrap_or_default();
            plan.unwished.insert(Item { sort: Sort::Service, key }, uid);
        }
    }
    plan
}

/// The target port behind each port that a Service shows.
pub fn targets_of(service: &Service) -> Targets {
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    let pairs = ports.filter_map(|port| match port.target_port {
        Some(IntOrString::Int(target)) => Some((u16::try_from(port.port).ok()?, u16::try_from(target).ok()?)),
        _ => None,
    });
    pairs.collect()
}

impl Plan {
    fn compare(&mut self, item: Item, object: Value, there: Option<(Value, Option<String>)>) {
        match there {
            Some((live, uid)) if desired::differs(&live, &object) => {
                self.changes.insert(item, Change::Apply { object, uid });
            }
            Some(_) => {}
            None => {
                self.changes.insert(item, Change::Apply { object, uid: None });
            }
        }
    }

    fn slices_of(
        &mut self,
        there: &BTreeMap<ObjectKey, &EndpointSlice>,
        service: &ObjectKey,
        wanted: BTreeMap<String, Value>,
    ) {
        for (name, object) in wanted {
            let key = ObjectKey::new(service.namespace.clone(), name);
            let slice = there.get(&key).copied();
            if slice.is_none_or(|slice| slice.metadata.deletion_timestamp.is_none()) {
                let slice = slice.map(|slice| (value(slice), slice.metadata.uid.clone()));
                self.compare(Item { sort: Sort::EndpointSlice, key: key.clone() }, object, slice);
            }
            self.wanted.insert(key);
        }
    }

    /// A slice that its Service no longer wants goes at once, any other with its Service.
    fn surplus(&mut self, there: BTreeMap<ObjectKey, &EndpointSlice>, kept: &BTreeMap<ObjectKey, Owner<'_>>) {
        for (key, slice) in there.into_iter().filter(|(_, slice)| slice.metadata.deletion_timestamp.is_none()) {
            if self.wanted.contains(&key) {
                continue;
            }
            let service = slice.metadata.labels.as_ref().and_then(|labels| labels.get(label::SERVICE_NAME));
            let service = service.map(|name| ObjectKey::new(key.namespace.clone(), name.clone()));
            let uid = slice.metadata.uid.clone().unwrap_or_default();
            let item = Item { sort: Sort::EndpointSlice, key };
            if service.is_some_and(|service| kept.contains_key(&service)) {
                self.changes.insert(item, Change::Delete { uid });
            } else {
                self.unwished.insert(item, uid);
            }
        }
    }
}

/// Whether an object is of this [`label::CONTROLLER`].
pub fn is_ours(metadata: &ObjectMeta, controller: &str) -> bool {
    metadata.labels.as_ref().and_then(|labels| labels.get(label::CONTROLLER)).is_some_and(|value| value == controller)
}

fn recorded(key: &ObjectKey, service: &Service) -> Recorded {
    let created = service.metadata.creation_timestamp.as_ref().map_or(i64::MAX, |time| time.0.as_second());
    Recorded { service: key.clone(), created, targets: targets_of(service) }
}

/// Name of the Gateway that an object belongs to.
fn owner_of(metadata: &ObjectMeta) -> Option<&str> {
    let owner = metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))?;
    (owner.kind == "Gateway").then_some(owner.name.as_str())
}

fn value(object: &impl serde::Serialize) -> Value {
    serde_json::to_value(object).unwrap_or_default() // the types of k8s-openapi can all be written
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::translate::{Audience, GatewayService, ServicePort};

    /// A cluster that takes every change at once.
    struct World {
        wishes: Infrastructure,
        objects: BTreeMap<Item, Value>,
        planes: Vec<DataPlane>,
        ports: Ports,
    }

    fn wish(name: &str, gateway: &str, ports: &[u16]) -> (ObjectKey, GatewayService) {
        let of = |port: &u16| (*port, ServicePort { app_protocol: "http" });
        let wish = GatewayService {
            name: name.to_owned(),
            class: "c".to_owned(),
            owner_uid: format!("{gateway}-uid"),
            ports: ports.iter().map(of).collect(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            requested: BTreeSet::new(),
            cluster_ip: None,
            audience: Audience::Everyone,
        };
        (ObjectKey::new("n", gateway), wish)
    }

    fn plane(name: &str, address: &str) -> DataPlane {
        DataPlane {
            name: name.to_owned(),
            uid: name.to_owned(),
            addresses: vec![address.parse().unwrap()],
            node: None,
            zone: None,
            serves: true,
            terminates: false,
        }
    }

    fn item(sort: Sort, name: &str) -> Item {
        Item { sort, key: ObjectKey::new("n", name) }
    }

    impl World {
        fn new() -> World {
            let services = BTreeMap::from([wish("web-c", "web", &[80])]);
            let planes = vec![plane("a", "10.0.0.1")];
            World { wishes: Infrastructure { services }, objects: BTreeMap::new(), planes, ports: Ports::new(0) }
        }

        fn plan(&mut self) -> Plan {
            let of = |sort| self.objects.iter().filter(move |(item, _)| item.sort == sort).map(|(_, object)| object);
            let services: Vec<Arc<Service>> =
                of(Sort::Service).map(|o| Arc::new(serde_json::from_value(o.clone()).unwrap())).collect();
            let slices: Vec<Arc<EndpointSlice>> =
                of(Sort::EndpointSlice).map(|o| Arc::new(serde_json::from_value(o.clone()).unwrap())).collect();
            let live = Live { services: &services, slices: &slices, planes: &self.planes };
            let terms = Terms {
                controller: "x".to_owned(),
                pattern: ServicePattern::default(),
                namespace: "edge".to_owned(),
                linger: Duration::ZERO,
            };
            plan(&self.wishes, &live, &terms, &mut self.ports, Instant::now())
        }

        /// Does what the plan says; what it changed.
        fn write(&mut self) -> Vec<String> {
            let plan = self.plan();
            let changed = plan.changes.iter().map(|(item, change)| match change {
                Change::Apply { .. } => format!("+{item}"),
                Change::Delete { .. } => format!("-{item}"),
            });
            let changed = changed.collect();
            for (item, change) in plan.changes {
                match change {
                    Change::Apply { mut object, .. } => {
                        object["metadata"]["uid"] = json!(item.to_string());
                        self.objects.insert(item, object);
                    }
                    Change::Delete { .. } => drop(self.objects.remove(&item)),
                }
            }
            changed
        }
    }

    #[test]
    fn a_service_first_then_its_slices_then_nothing() {
        let mut world = World::new();
        assert_eq!(world.write(), ["+Service n/web-c"]);
        assert_eq!(world.write(), ["+EndpointSlice n/web-c-v4-0"]);
        assert_eq!(world.write(), [""; 0]);
        let slice = &world.objects[&item(Sort::EndpointSlice, "web-c-v4-0")];
        assert_eq!(slice["ports"], json!([{"name": "p80", "port": 20000, "protocol": "TCP"}]));
    }

    #[test]
    fn slices_bring_what_the_service_shows_and_not_what_it_is_to_become() {
        let mut world = World::new();
        while !world.write().is_empty() {}
        world.wishes.services.extend([wish("web-c", "web", &[80, 81])]);
        world.planes.push(plane("b", "10.0.0.2"));
        let plan = world.plan();
        let Change::Apply { object, uid } = &plan.changes[&item(Sort::EndpointSlice, "web-c-v4-0")] else { panic!() };
        assert_eq!(object["ports"].as_array().unwrap().len(), 1);
        assert_eq!(uid.as_deref(), Some("EndpointSlice n/web-c-v4-0"));
        let Change::Apply { object, .. } = &plan.changes[&item(Sort::Service, "web-c")] else { panic!() };
        assert_eq!(object["spec"]["ports"][1]["targetPort"], 20_001);
    }

    #[test]
    fn of_two_services_that_show_one_target_only_the_older_leads_there() {
        let mut world = World::new();
        world.wishes.services.extend([wish("a-c", "a", &[80])]);
        while !world.write().is_empty() {}
        let of = |world: &World, name: &str| {
            world.objects[&item(Sort::Service, name)]["spec"]["ports"][0]["targetPort"].clone()
        };
        let first = of(&world, "web-c");
        for (name, year) in [("web-c", 2025), ("a-c", 2026)] {
            let service = world.objects.get_mut(&item(Sort::Service, name)).unwrap();
            service["metadata"]["creationTimestamp"] = json!(format!("{year}-01-01T00:00:00Z"));
            service["spec"]["ports"][0]["targetPort"] = first.clone();
        }
        world.write();
        let leads = |world: &World, name: &str| {
            world.objects.get(&item(Sort::EndpointSlice, name)).is_some_and(|slice| slice["ports"][0]["port"] == first)
        };
        assert!(leads(&world, "web-c-v4-0") && !leads(&world, "a-c-v4-0"), "{:?}", world.objects);
        while !world.write().is_empty() {}
        assert_eq!(of(&world, "web-c"), first);
        assert_ne!(of(&world, "a-c"), first);
        assert!(world.objects.contains_key(&item(Sort::EndpointSlice, "a-c-v4-0")));
    }

    #[test]
    fn a_family_that_no_pod_has_any_more_loses_its_slices() {
        let mut world = World::new();
        while !world.write().is_empty() {}
        world.planes = vec![plane("a", "fd00::1")];
        assert_eq!(world.write(), ["-EndpointSlice n/web-c-v4-0", "+EndpointSlice n/web-c-v6-0"]);
    }

    #[test]
    fn what_nobody_wishes_for_is_named_with_its_slices_and_not_changed() {
        let mut world = World::new();
        while !world.write().is_empty() {}
        world.wishes.services.clear();
        let plan = world.plan();
        assert!(plan.changes.is_empty());
        let items: Vec<String> = plan.unwished.keys().map(ToString::to_string).collect();
        assert_eq!(items, ["EndpointSlice n/web-c-v4-0", "Service n/web-c"]);
        for object in world.objects.values_mut() {
            object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        assert!(world.plan().unwished.is_empty(), "it goes already");
    }

    #[test]
    fn what_goes_is_not_written_to() {
        let mut world = World::new();
        while !world.write().is_empty() {}
        let service = world.objects.get_mut(&item(Sort::Service, "web-c")).unwrap();
        service["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        world.wishes.services.extend([wish("web-c", "web", &[80, 81])]);
        world.planes.clear();
        assert_eq!(world.write(), [""; 0]);
    }

    #[test]
    fn a_gateway_without_ports_keeps_the_service_that_it_has() {
        let mut world = World::new();
        while !world.write().is_empty() {}
        world.wishes.services.extend([wish("web-c", "web", &[]), wish("other-c", "other", &[])]);
        let plan = world.plan();
        assert!(plan.changes.is_empty() && plan.unwished.is_empty(), "{plan:?}");
    }

    #[test]
    fn an_object_of_another_gateway_makes_room_and_one_of_somebody_else_is_not_ours() {
        let mut world = World::new();
        while !world.write().is_empty() {}
        world.wishes.services = BTreeMap::from([wish("web-c", "we", &[80])]);
        assert_eq!(world.write(), ["-Service n/web-c"]);
        let mut world = World::new();
        while !world.write().is_empty() {}
        let service = world.objects.get_mut(&item(Sort::Service, "web-c")).unwrap();
        service["metadata"]["labels"][label::CONTROLLER] = json!("y");
        world.wishes.services.clear();
        assert!(!world.plan().unwished.contains_key(&item(Sort::Service, "web-c")));
    }
}
