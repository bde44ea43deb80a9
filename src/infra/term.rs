//! What is done while this process leads: shelves are filled, and once they are in step, the writer and the fleet look
//! at them whenever something changes.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Client;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep};

use super::fleet::Fleet;
use super::peer::{self, Heard};
use super::plan::Terms;
use super::pods::{DataPlane, data_planes};
use super::reach::{Probes, doors, led};
use super::shelf::{Shelf, Tick, Watching};
use super::writer::Writer;
use super::{Exposure, Facts, Install, Observation, Setup, nodes};
use crate::api::object::key_of;
use crate::api::{ObjectKey, label};
use crate::telemetry::ClusterMetrics;

/// Changes that come this close together are looked at together.
const GATHER: Duration = Duration::from_millis(20);
/// Answers of other data planes that may wait.
const QUEUED: usize = 64;

/// Runs for as long as it is not dropped, and leaves nothing running behind.
pub async fn term(
    client: Client,
    setup: &Setup,
    metrics: ClusterMetrics,
    facts: watch::Receiver<Option<Facts>>,
    observations: mpsc::Sender<Observation>,
) {
    let tick = Tick::new(());
    let mut tasks = JoinSet::new();
    let mut watching = Watching { client: &client, tick: &tick, tasks: &mut tasks };
    let Install { namespace, selector, .. } = &setup.install;
    let pods = Shelf::<Pod>::of_namespaces(std::slice::from_ref(namespace), selector, &mut watching);
    let mut round = Round { setup, pods, services: None, slices: None, nodes: None, facts, observations };
    let writer = match &setup.exposure {
        Exposure::Services(pattern) => {
            let controller = label::fingerprint(&setup.controller_name);
            let labels = format!("{}={controller}", label::CONTROLLER);
            let services = Shelf::<Service>::of_namespaces(&setup.namespaces, &labels, &mut watching);
            let slices = Shelf::<EndpointSlice>::of_namespaces(&setup.namespaces, &labels, &mut watching);
            services.in_step().await;
            slices.in_step().await;
            (round.services, round.slices) = (Some(services), Some(slices));
            let terms =
                Terms { controller, pattern: (**pattern).clone(), namespace: namespace.clone(), linger: setup.linger };
            let manager = manager(&setup.controller_name);
            Some(Writer::new(client.clone(), manager, terms, metrics, seed()))
        }
        Exposure::Nodes => {
            let nodes = Shelf::<Node>::of_cluster(&mut watching);
            nodes.in_step().await;
            round.nodes = Some(nodes);
            None
        }
        Exposure::Given => None,
    };
    round.pods.in_step().await;
    match writer {
        Some(writer) => {
            tokio::join!(round.write(writer, &tick), round.ask(&tick));
        }
        None => round.ask(&tick).await,
    }
}

/// What the writer and the fleet look at.
struct Round<'a> {
    setup: &'a Setup,
    pods: Shelf<Pod>,
    services: Option<Shelf<Service>>,
    slices: Option<Shelf<EndpointSlice>>,
    nodes: Option<Shelf<Node>>,
    facts: watch::Receiver<Option<Facts>>,
    observations: mpsc::Sender<Observation>,
}

impl Round<'_> {
    fn planes(&self) -> Vec<DataPlane> {
        let pods = self.pods.all();
        data_planes(pods.iter().map(AsRef::as_ref))
    }

    fn services(&self) -> Vec<Arc<Service>> {
        self.services.as_ref().map(Shelf::all).unwrap_or_default()
    }

    fn slices(&self) -> Vec<Arc<EndpointSlice>> {
        self.slices.as_ref().map(Shelf::all).unwrap_or_default()
    }

    async fn write(&self, mut writer: Writer, tick: &Tick) {
        let (mut ticks, mut facts) = (tick.subscribe(), self.facts.clone());
        loop {
            ticks.mark_unchanged();
            let latest = facts.borrow_and_update().clone();
            if let Some(facts) = latest {
                writer.look(&facts.infrastructure, &self.services(), &self.slices(), &self.planes());
            }
            tokio::select! {
                Ok(()) = ticks.changed() => {}
                Ok(()) = facts.changed() => {}
                () = writer.changed() => {}
            }
            sleep(GATHER).await;
        }
    }

    async fn ask(&self, tick: &Tick) {
        let (mut ticks, mut facts) = (tick.subscribe(), self.facts.clone());
        let (sender, mut heard) = mpsc::channel(QUEUED);
        let mut others = Others { asked: BTreeMap::new(), tasks: JoinSet::new(), heard: sender };
        let (mut fleet, mut probes, mut shown) = (Fleet::default(), Probes::new(), None);
        loop {
            ticks.mark_unchanged();
            let latest = facts.borrow_and_update().clone();
            let (planes, now) = (self.planes(), Instant::now());
            let ready: Vec<&DataPlane> = planes.iter().filter(|plane| plane.is_ready()).collect();
            others.are(&ready, &self.setup.install);
            let names = others.asked.keys().filter_map(|uid| ready.iter().find(|plane| plane.uid == *uid));
            let names = names.map(|plane| (plane.uid.clone(), plane.name.clone())).collect();
            fleet.consists_of(&names, now.into_std());
            if let Some(facts) = latest
                && self.settle(&facts, &mut fleet, &mut probes)
                && self.observations.send(Observation::Applied(fleet.everywhere().clone())).await.is_err()
            {
                return;
            }
            // while no pod is ready, the addresses that were stay: there are no better ones
            if let Some(nodes) = self.nodes.as_ref().filter(|_| !ready.is_empty()) {
                let addresses = nodes::addresses(&planes, &nodes.all());
                if shown.as_ref() != Some(&addresses) {
                    shown = Some(addresses.clone());
                    if self.observations.send(Observation::HostAddresses(addresses)).await.is_err() {
                        return;
                    }
                }
            }
            tokio::select! {
                Ok(()) = ticks.changed() => {}
                Ok(()) = facts.changed() => {}
                Some(Heard { uid, told }) = heard.recv() => fleet.heard(&uid, told, Instant::now().into_std()),
                () = probes.next() => {}
                () = super::at(fleet.next().map(Instant::from_std)) => {}
            }
            sleep(GATHER).await;
            while let Ok(Heard { uid, told }) = heard.try_recv() {
                fleet.heard(&uid, told, Instant::now().into_std());
            }
        }
    }

    /// Takes up what every data plane serves; of a Gateway with a Service, once that one's address was tried.
    fn settle(&self, facts: &Facts, fleet: &mut Fleet, probes: &mut Probes) -> bool {
        let services: BTreeMap<ObjectKey, Arc<Service>> =
            self.services().into_iter().map(|service| (key_of(&service.metadata), service)).collect();
        let wishes = facts.infrastructure.services.iter();
        let wished: BTreeMap<&str, ObjectKey> = wishes
            .map(|(gateway, wish)| {
                (wish.owner_uid.as_str(), ObjectKey::new(gateway.namespace.clone(), wish.name.clone()))
            })
            .collect();
        let uids: BTreeSet<&str> = wished.keys().copied().collect();
        probes.keep(&uids);
        let slices = self.slices();
        let led = led(slices.iter().map(AsRef::as_ref));
        let lets = |uid: &str| match wished.get(uid) {
            None => true,
            Some(key) => {
                let doors = services.get(key).and_then(|service| doors(service, &facts.ports, led.get(key)));
                doors.is_some_and(|doors| probes.tried(uid, &doors))
            }
        };
        fleet.settle(&facts.applied, &uids, lets, Instant::now().into_std())
    }
}

/// The other ready data planes, each of which is asked by a task of its own.
struct Others {
    asked: BTreeMap<String, AbortHandle>,
    tasks: JoinSet<()>,
    heard: mpsc::Sender<Heard>,
}

impl Others {
    fn are(&mut self, ready: &[&DataPlane], install: &Install) {
        let others: BTreeMap<&String, &&DataPlane> =
            ready.iter().filter(|plane| plane.name != install.own_name).map(|plane| (&plane.uid, plane)).collect();
        self.asked.retain(|uid, task| {
            let stays = others.contains_key(uid);
            if !stays {
                task.abort();
            }
            stays
        });
        while self.tasks.try_join_next().is_some() {} // those that were ended
        for (uid, plane) in others {
            let Some(address) = plane.addresses.first().filter(|_| !self.asked.contains_key(uid)) else { continue };
            let admin = SocketAddr::new(*address, install.admin_port);
            let task = self.tasks.spawn(peer::listen(uid.clone(), admin, self.heard.clone()));
            self.asked.insert(uid.clone(), task);
        }
    }
}

/// The field manager: the controllerName, unless that is longer than one may be.
fn manager(controller_name: &str) -> String {
    const LONGEST: usize = 128;
    if controller_name.len() <= LONGEST {
        return controller_name.to_owned();
    }
    format!("transom-{}", label::fingerprint(controller_name))
}

/// Differs from leader to leader.
fn seed() -> u16 {
    let random = RandomState::new().build_hasher().finish();
    u16::try_from(random % u64::from(u16::MAX)).unwrap_or_default()
}
