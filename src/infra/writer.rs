//! Writes Services and EndpointSlices: what differs, and nothing else.
//!
//! ```text
//!   wishes, Services, slices, pods ──▶ plan (pure) ──▶ what differs and neither is on its way nor waits ──▶ apply
//!              ▲                                                                                             │
//!              └────── the watch shows the version written; a fault waits, longer each time ◀────────────────┘
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Client, Error};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::allocate::Ports;
use super::desired;
use super::plan::{self, Change, Item, Live, Plan, Sort, Terms};
use super::pods::DataPlane;
use crate::telemetry::{ClusterMetrics, InfrastructureWrite};
use crate::translate::Infrastructure;

/// Requests on their way at a time.
const AT_ONCE: usize = 8;
/// For one write.
const PATIENCE: Duration = Duration::from_secs(15);
/// First wait after a fault; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// Longest wait after a fault; and for the watch to show what was written.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Longest wait where somebody else keeps changing what we write.
const LONGEST_QUARREL: Duration = Duration::from_mins(5);
/// When ports may be free again.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// Writes for as long as it is asked to: while this process leads.
pub struct Writer {
    client: Client,
    manager: String,
    terms: Terms,
    metrics: ClusterMetrics,
    ports: Ports,
    writes: JoinSet<Done>,
    standing: BTreeMap<Item, Standing>,
    /// Since when nobody wishes for them.
    unwished: BTreeMap<Item, Instant>,
    /// Ports without a target that were told of.
    without: usize,
    again: Option<Instant>,
}

/// How it stands with an object that was written, or was to be.
#[derive(Debug, Default)]
struct Standing {
    /// On its way.
    pending: bool,
    /// Not before this.
    until: Option<Instant>,
    /// How long the last wait for a fault was.
    wait: Duration,
    /// What was written last, until it differs again.
    written: Option<Written>,
    /// How often somebody else has changed what was written.
    quarrels: u32,
    /// The fault that was told of.
    told: Option<String>,
}

/// What was written.
#[derive(Debug)]
struct Written {
    /// Its fingerprint; none if it was deleted.
    applied: Option<String>,
    /// The version that it became.
    version: u128,
    /// Whether the watch has shown it.
    shown: bool,
}

struct Done {
    item: Item,
    /// Fingerprint of what was applied; none for what was deleted.
    applied: Option<String>,
    outcome: Result<u128, Fault>,
}

#[derive(Debug)]
enum Fault {
    /// There is an object of this name that is not ours.
    Foreign,
    /// It is there and ours, and the watch has not shown it yet.
    Unseen,
    Api(Error),
}

impl Writer {
    /// A writer for the objects of `manager`, a controllerName.
    pub fn new(client: Client, manager: String, terms: Terms, metrics: ClusterMetrics, seed: u16) -> Self {
        Writer {
            client,
            manager,
            terms,
            metrics,
            ports: Ports::new(seed),
            writes: JoinSet::new(),
            standing: BTreeMap::new(),
            unwished: BTreeMap::new(),
            without: 0,
            again: None,
        }
    }

    /// Compares everything, and begins as many writes as there is room for.
    pub fn look(
        &mut self,
        wishes: &Infrastructure,
        services: &[Arc<Service>],
        slices: &[Arc<EndpointSlice>],
        planes: &[DataPlane],
    ) {
        let now = Instant::now();
        let live = Live { services, slices, planes };
        let Plan { changes, unwished, without, .. } =
            plan::plan(wishes, &live, &self.terms, &mut self.ports, now.into_std());
        self.again = (!without.is_empty()).then(|| now + LOOK_AGAIN);
        if without.len() != self.without {
            self.without = without.len();
            for (service, port) in without.iter().take(10) {
                tracing::error!(%service, port, "no target port is free for a listener's port; it cannot be reached");
            }
        }
        let versions = services.iter().map(|service| (Sort::Service, &service.metadata));
        let versions = versions.chain(slices.iter().map(|slice| (Sort::EndpointSlice, &slice.metadata)));
        let versions: BTreeMap<Item, u128> = versions
            .map(|(sort, metadata)| {
                (
                    Item { sort, key: crate::api::object::key_of(metadata) },
                    version(metadata.resource_version.as_deref()),
                )
            })
            .collect();
        self.standing
            .retain(|item, standing| standing.pending || changes.contains_key(item) || versions.contains_key(item));
        for (item, standing) in &mut self.standing {
            let Some(written) = standing.written.as_mut().filter(|written| !written.shown) else { continue };
            let version = versions.get(item).copied();
            written.shown = match written.applied {
                Some(_) => version.is_some_and(|shown| shown >= written.version),
                None => version.is_none(),
            };
            if written.shown {
                standing.until = None;
            }
        }
        self.unwished.retain(|item, _| unwished.contains_key(item));
        for (item, change) in changes {
            self.consider(item, change, now);
        }
        for (item, uid) in unwished {
            let due = *self.unwished.entry(item.clone()).or_insert(now) + self.terms.linger;
            if due <= now {
                self.consider(item, Change::Delete { uid }, now);
            } else {
                self.wake_at(due);
            }
        }
    }

    /// Waits for something that asks for another look.
    pub async fn changed(&mut self) {
        tokio::select! {
            Some(done) = self.writes.join_next() => {
                if let Ok(done) = done {
                    self.settle(done);
                }
            }
            () = super::at(self.again) => {}
        }
    }

    fn wake_at(&mut self, at: Instant) {
        self.again = Some(self.again.map_or(at, |before| before.min(at)));
    }

    /// Begins to write an object, unless there is something to wait for.
    fn consider(&mut self, item: Item, change: Change, now: Instant) {
        let standing = self.standing.entry(item.clone()).or_default();
        if standing.pending {
            return;
        }
        let fingerprint = match &change {
            Change::Apply { object, .. } => fingerprint(object),
            Change::Delete { .. } => None,
        };
        if let Some(written) = standing.written.take_if(|written| written.shown) {
            if fingerprint.is_some() && written.applied == fingerprint {
                let wait = FIRST_WAIT.saturating_mul(1 << standing.quarrels.min(16)).min(LONGEST_QUARREL);
                standing.quarrels += 1;
                standing.until = Some(now + wait);
                tracing::info!(object = %item, put_right_after = ?wait, "changed by somebody else");
            } else {
                standing.quarrels = 0;
            }
        }
        if let Some(until) = standing.until.filter(|until| *until > now) {
            self.wake_at(until);
            return;
        }
        if self.writes.len() >= AT_ONCE {
            return; // the next one that ends asks for another look
        }
        standing.pending = true;
        let (client, manager, controller) = (self.client.clone(), self.manager.clone(), self.terms.controller.clone());
        self.writes.spawn(async move {
            let write = write(&client, &manager, &controller, &item, change);
            let outcome =
                timeout(PATIENCE, write).await.unwrap_or_else(|late| Err(Fault::Api(Error::Service(Box::new(late)))));
            Done { item, applied: fingerprint, outcome }
        });
    }

    fn settle(&mut self, Done { item, applied, outcome }: Done) {
        let standing = self.standing.entry(item.clone()).or_default();
        standing.pending = false;
        let now = Instant::now();
        let (result, fault) = match outcome {
            Ok(version) => {
                // until the watch shows it; or for a while, should it never
                (standing.wait, standing.until) = (Duration::ZERO, Some(now + LONGEST_WAIT));
                standing.written = Some(Written { applied, version, shown: false });
                if standing.told.take().is_some() {
                    tracing::info!(object = %item, "written at last");
                }
                tracing::debug!(object = %item, "written");
                (InfrastructureWrite::Written, None)
            }
            Err(Fault::Foreign) => {
                let why = "an object of this name is there that Transom did not make; it is left alone";
                (InfrastructureWrite::Conflict, Some((why.to_owned(), LONGEST_WAIT)))
            }
            // newer than what we looked at, or another of the same name: the watch shows it
            Err(Fault::Unseen) => {
                standing.until = Some(now + FIRST_WAIT);
                (InfrastructureWrite::Conflict, None)
            }
            Err(Fault::Api(Error::Api(status))) if status.code == 409 => {
                standing.until = Some(now + FIRST_WAIT);
                (InfrastructureWrite::Conflict, None)
            }
            // its namespace goes or has gone, we may not, or a value of the pattern or of the Gateway is not allowed
            Err(Fault::Api(Error::Api(status))) if matches!(status.code, 400 | 403 | 404 | 422) => {
                (InfrastructureWrite::Refused, Some((status.message.clone(), LONGEST_WAIT)))
            }
            Err(Fault::Api(error)) => {
                let wait = (standing.wait * 2).clamp(FIRST_WAIT, LONGEST_WAIT);
                (InfrastructureWrite::Failed, Some((error.to_string(), wait)))
            }
        };
        if let Some((why, wait)) = fault {
            (standing.wait, standing.until) = (wait, Some(now + wait));
            // once for each reason, not for each try
            if standing.told.as_ref() != Some(&why) {
                tracing::warn!(object = %item, why, "infrastructure not written; it is tried again");
            }
            standing.told = Some(why);
        }
        self.metrics.infrastructure_written(item.sort.name(), result);
    }
}

async fn write(client: &Client, manager: &str, controller: &str, item: &Item, change: Change) -> Result<u128, Fault> {
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &item.key.namespace, &resource(item.sort));
    let name = &item.key.name;
    match change {
        Change::Apply { mut object, uid } => {
            if uid.is_none() {
                // server-side apply makes no difference between an object that is not there and one of somebody else
                match api.get_opt(name).await.map_err(Fault::Api)? {
                    Some(there) if plan::is_ours(&there.metadata, controller) => return Err(Fault::Unseen),
                    Some(_) => return Err(Fault::Foreign),
                    None => {}
                }
            }
            // with a uid, an object that is gone meanwhile is not made anew, and another is not touched
            if let (Some(uid), Some(metadata)) = (uid, object.pointer_mut("/metadata").and_then(Value::as_object_mut)) {
                metadata.insert("uid".to_owned(), uid.into());
            }
            let parameters = PatchParams::apply(manager).force();
            let written = match api.patch(name, &parameters, &Patch::Apply(&object)).await {
                // A new Service cannot have the cluster IP that is asked for: it is not one, or taken. The others are
                // not to wait for it; the Gateway's status says what became of it.
                Err(Error::Api(status)) if status.code == 422 && desired::give_up_cluster_ip(&mut object) => {
                    tracing::info!(object = %item, why = status.message, "made without the cluster IP asked for");
                    api.patch(name, &parameters, &Patch::Apply(&object)).await
                }
                written => written,
            };
            let written = written.map_err(Fault::Api)?;
            Ok(version(written.metadata.resource_version.as_deref()))
        }
        Change::Delete { uid } => {
            let only = Preconditions { uid: Some(uid), ..Preconditions::default() };
            match api.delete(name, &DeleteParams::default().preconditions(only)).await {
                Ok(_) => Ok(u128::MAX),
                Err(Error::Api(status)) if status.code == 404 => Ok(u128::MAX),
                Err(error) => Err(Fault::Api(error)),
            }
        }
    }
}

fn resource(sort: Sort) -> ApiResource {
    let (group, plural) = match sort {
        Sort::Service => ("", "services"),
        Sort::EndpointSlice => ("discovery.k8s.io", "endpointslices"),
    };
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, "v1", sort.name()), plural)
}

fn fingerprint(object: &Value) -> Option<String> {
    let annotation = object.pointer("/metadata/annotations")?.get(desired::APPLIED)?;
    annotation.as_str().map(str::to_owned)
}

/// Versions of one resource are numbers that grow.
fn version(text: Option<&str>) -> u128 {
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}
