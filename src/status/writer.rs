//! Writes what differs.
//!
//! ```text
//!   statuses change ─┐
//!   an object is seen├─▶ does it differ? ─▶ due, first-time statuses first ─▶ patch over the version seen ─▶ done
//!   a wait is over   ┘        ▲                (while we lead)                          │
//!                             └── conflict: the next sighting; other fault: later, longer each time ◀┘
//! ```
//!
//! Only what changed is looked at: a sighting costs one comparison, however many objects there are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Client, Error};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::live::Live;
use super::merge;
use crate::api::{Kind, ObjectRef, Seen, Sighting};
use crate::telemetry::{ClusterMetrics, StatusWrite};
use crate::translate::Statuses;

/// Patches on their way at a time.
const AT_ONCE: usize = 8;
/// For one patch.
const PATIENCE: Duration = Duration::from_secs(15);
/// First wait after a fault; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// Longest wait after a fault; and for the sighting that a conflict announces.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Writes statuses as long as this process leads.
pub struct StatusWriter {
    client: Client,
    controller: String,
    metrics: ClusterMetrics,
    live: Live,
    /// None before the first report.
    statuses: Option<Arc<Statuses>>,
    /// What differs, and neither is on its way nor waits.
    due: BTreeSet<(Turn, ObjectRef)>,
    /// On their way.
    pending: BTreeSet<ObjectRef>,
    /// Not written; not to be tried again now.
    later: BTreeMap<ObjectRef, Later>,
    /// Where the API server keeps less than was written: the CRD of an older bundle does not have every field.
    short: BTreeMap<ObjectRef, Short>,
}

/// Who is served first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    /// An object without a status of ours: somebody waits for it.
    First,
    /// Any other.
    Again,
}

/// A wait.
#[derive(Debug)]
struct Later {
    /// None: it is over, and what remains is how long it was.
    until: Option<Instant>,
    wait: Duration,
    ends: Ends,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    /// With a new sighting; a write over the old one cannot succeed.
    WhenSeen,
    /// With time.
    InTime,
}

/// A status that was answered, and what it would have become once more.
#[derive(Debug, PartialEq)]
struct Short {
    answered: Option<Value>,
    again: Value,
}

/// A write that ended.
struct Done {
    object: ObjectRef,
    /// The version it was over.
    over: String,
    /// What it was written for.
    statuses: Option<Arc<Statuses>>,
    outcome: Result<Seen, Error>,
}

impl StatusWriter {
    /// A writer for the statuses of `controller`.
    pub fn new(client: Client, controller: String, metrics: ClusterMetrics) -> Self {
        StatusWriter {
            client,
            controller,
            metrics,
            live: Live::default(),
            statuses: None,
            due: BTreeSet::new(),
            pending: BTreeSet::new(),
            later: BTreeMap::new(),
            short: BTreeMap::new(),
        }
    }

    /// Writes until every sender of sightings is gone. Nothing is written before the first report: until then we do
    /// not know what is ours.
    pub async fn run(
        mut self,
        mut sightings: mpsc::Receiver<Vec<Sighting>>,
        mut reports: watch::Receiver<Option<Arc<Statuses>>>,
        mut leading: watch::Receiver<bool>,
    ) {
        let mut writes = JoinSet::new();
        reports.mark_changed();
        loop {
            let next = self.later.values().filter_map(|later| later.until).min();
            tokio::select! {
                seen = sightings.recv() => {
                    let Some(seen) = seen else { break };
                    for sighting in seen {
                        self.see(sighting);
                    }
                }
                Ok(()) = reports.changed() => {
                    let latest = reports.borrow_and_update().clone();
                    if let Some(statuses) = latest {
                        self.report(&statuses);
                    }
                }
                Ok(()) = leading.changed() => {
                    leading.borrow_and_update();
                }
                Some(done) = writes.join_next() => {
                    if let Ok(done) = done {
                        self.settle(done);
                    }
                }
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => self.wake(),
            }
            if *leading.borrow() {
                self.begin(&mut writes);
            }
        }
    }

    fn see(&mut self, sighting: Sighting) {
        let object = sighting.0.clone();
        let gone = sighting.1.is_none();
        if !self.live.take_up(sighting) {
            return;
        }
        if gone {
            self.later.remove(&object);
            self.short.remove(&object);
        } else if let Some(later) = self.later.get_mut(&object).filter(|later| later.ends == Ends::WhenSeen) {
            later.until = None;
        }
        self.judge(object);
    }

    fn report(&mut self, statuses: &Arc<Statuses>) {
        let before = self.statuses.replace(Arc::clone(statuses));
        let differs = |object: &&ObjectRef| before.as_ref().is_none_or(|before| !same(object, before, statuses));
        let changed: Vec<ObjectRef> = self.live.objects().filter(differs).cloned().collect();
        for object in changed {
            self.judge(object);
        }
    }

    fn wake(&mut self) {
        let now = Instant::now();
        let mut over = Vec::new();
        for (object, later) in &mut self.later {
            if later.until.is_some_and(|until| until <= now) {
                later.until = None;
                over.push(object.clone());
            }
        }
        for object in over {
            self.judge(object);
        }
    }

    /// Makes an object due, or not due.
    fn judge(&mut self, object: ObjectRef) {
        for turn in [Turn::First, Turn::Again] {
            self.due.remove(&(turn, object.clone()));
        }
        let waits = self.later.get(&object).is_some_and(|later| later.until.is_some());
        if waits || self.pending.contains(&object) {
            return;
        }
        if let Some(turn) = self.turn(&object) {
            self.due.insert((turn, object));
        }
    }

    fn turn(&self, object: &ObjectRef) -> Option<Turn> {
        let status = self.live.find(object)?.status.as_ref();
        let wanted = self.wanted(object, status, "")?;
        let is_short = |short: &Short| short.answered.as_ref() == status && short.again == wanted;
        if status == Some(&wanted) || self.short.get(object).is_some_and(is_short) {
            return None;
        }
        Some(if merge::has_ours(object, status, &self.controller) { Turn::Again } else { Turn::First })
    }

    fn wanted(&self, object: &ObjectRef, live: Option<&Value>, now: &str) -> Option<Value> {
        merge::merged(object, live, self.statuses.as_ref()?, &self.controller, now)
    }

    /// Starts as many of the writes that are due as there is room for.
    fn begin(&mut self, writes: &mut JoinSet<Done>) {
        let now = merge::now();
        while writes.len() < AT_ONCE {
            // "priority to first-time statuses": they come first in the order of `Turn`
            let Some((_, object)) = self.due.pop_first() else { return };
            let Some(seen) = self.live.find(&object).cloned() else { continue };
            let Some(wanted) = self.wanted(&object, seen.status.as_ref(), &now) else { continue };
            self.pending.insert(object.clone());
            let (client, statuses) = (self.client.clone(), self.statuses.clone());
            writes.spawn(async move {
                let outcome = write(&client, &object, &seen, &wanted).await;
                Done { object, over: seen.resource_version, statuses, outcome }
            });
        }
    }

    fn settle(&mut self, Done { object, over, statuses, outcome }: Done) {
        self.pending.remove(&object);
        let result = match outcome {
            Ok(seen) => {
                self.later.remove(&object);
                self.take_answer(&object, seen, statuses.as_deref());
                StatusWrite::Written
            }
            Err(Error::Api(status)) if status.code == 409 => {
                // if the newer version was seen meanwhile, there is nothing to wait for
                let waits = self.live.find(&object).is_some_and(|seen| seen.resource_version == over);
                let until = waits.then(|| Instant::now() + LONGEST_WAIT);
                self.later.insert(object.clone(), Later { until, wait: FIRST_WAIT, ends: Ends::WhenSeen });
                StatusWrite::Conflict
            }
            Err(Error::Api(status)) if status.code == 404 => {
                self.later.remove(&object);
                self.short.remove(&object);
                self.live.take_up((object.clone(), None));
                StatusWrite::Gone
            }
            Err(error) => {
                let wait = self.later.get(&object).map_or(FIRST_WAIT, |later| (later.wait * 2).min(LONGEST_WAIT));
                tracing::warn!(%object, %error, retry_after = ?wait, "status not written");
                let until = Some(Instant::now() + wait);
                self.later.insert(object.clone(), Later { until, wait, ends: Ends::InTime });
                StatusWrite::Failed
            }
        };
        self.metrics.status_written(object.kind.name(), result);
        self.judge(object);
    }

    fn take_answer(&mut self, object: &ObjectRef, seen: Seen, written_for: Option<&Statuses>) {
        let answered = seen.status.clone();
        if self.live.find(object).is_none() || !self.live.take_up((object.clone(), Some(seen))) {
            return;
        }
        self.short.remove(object);
        let again =
            written_for.and_then(|for_it| merge::merged(object, answered.as_ref(), for_it, &self.controller, ""));
        if let Some(again) = again.filter(|again| answered.as_ref() != Some(again)) {
            tracing::debug!(%object, "the API server keeps less of the status than was written");
            self.short.insert(object.clone(), Short { answered, again });
        }
    }
}

/// Whether both reports say the same of an object.
fn same(object: &ObjectRef, a: &Statuses, b: &Statuses) -> bool {
    match object.kind {
        Kind::GatewayClass => a.gateway_classes.get(&object.key) == b.gateway_classes.get(&object.key),
        Kind::Gateway => a.gateways.get(&object.key) == b.gateways.get(&object.key),
        Kind::ListenerSet => a.listener_sets.get(&object.key) == b.listener_sets.get(&object.key),
        Kind::BackendTlsPolicy | Kind::UpstreamPolicy => a.policies.get(object) == b.policies.get(object),
        _ => a.routes.get(object) == b.routes.get(object),
    }
}

/// Patches one status over the version that was seen.
async fn write(client: &Client, object: &ObjectRef, seen: &Seen, wanted: &Value) -> Result<Seen, Error> {
    let gvk = GroupVersionKind::gvk(object.kind.group(), &seen.version, object.kind.name());
    let resource = ApiResource::from_gvk_with_plural(&gvk, object.kind.plural());
    let api: Api<DynamicObject> = if object.kind.namespaced() {
        Api::namespaced_with(client.clone(), &object.key.namespace, &resource)
    } else {
        Api::all_with(client.clone(), &resource)
    };
    let patch = Patch::Merge(json!({
        "metadata": {"resourceVersion": seen.resource_version},
        "status": over(seen.status.as_ref(), wanted),
    }));
    let parameters = PatchParams::default();
    let written = api.patch_status(&object.key.name, &parameters, &patch);
    let written = timeout(PATIENCE, written).await.map_err(|late| Error::Service(Box::new(late)))??;
    Ok(Seen {
        resource_version: written.metadata.resource_version.unwrap_or_default(),
        version: seen.version.clone(),
        status: written.data.get("status").cloned(),
    })
}

/// A merge patch that makes `wanted` of `live`: fields that stay are not said, fields that are to go are said with
/// null.
fn over(live: Option<&Value>, wanted: &Value) -> Value {
    let mut patch = wanted.clone();
    let stays = |name: &str, value: &Value| live.and_then(|live| live.get(name)) == Some(value);
    let gone = live.and_then(Value::as_object).into_iter().flat_map(|fields| fields.keys());
    if let Some(fields) = patch.as_object_mut() {
        for name in gone {
            if !fields.contains_key(name) {
                fields.insert(name.clone(), Value::Null);
            }
        }
        fields.retain(|name, value| !stays(name, value));
    }
    patch
}
