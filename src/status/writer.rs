//! Writes what differs.
//!
//! ```text
//!   statuses change ─┐
//!   an object is seen├─▶ does it differ? ─▶ due, first-time statuses first ─▶ patch over the version seen ─▶ done
//!   a wait is over   ┘        ▲                (while we lead)                          │
//!                             └── conflict: the next sighting; other fault: later, longer each time ◀┘
//! ```
//!
//! A verdict is true of the objects that it was made of: one that was recreated under the same name, or changed since,
//! waits for its own. Only what changed is looked at: a sighting costs one comparison, however many objects there are.

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
use super::{finalizer, merge};
use crate::api::{Kind, ObjectRef, Seen, Sighting};
use crate::telemetry::{ClusterMetrics, StatusWrite};
use crate::translate::{Judged, Statuses};

/// Patches on their way at a time.
const AT_ONCE: usize = 8;
/// For one patch.
const PATIENCE: Duration = Duration::from_secs(15);
/// First wait after a fault; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// Longest wait after a fault; and for the sighting that a conflict announces.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// What a translation said, and of which objects.
#[derive(Debug, Clone, Default)]
pub struct Verdicts {
    /// What objects of ours are to say.
    pub statuses: Arc<Statuses>,
    /// The versions that it is true of; nothing is written to any other.
    pub judged: Arc<Judged>,
}

/// Writes statuses as long as this process leads.
pub struct StatusWriter {
    client: Client,
    controller: String,
    metrics: ClusterMetrics,
    live: Live,
    /// None before the first report.
    verdicts: Option<Verdicts>,
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

/// What is to be written.
#[derive(Debug)]
enum Write {
    Status(Value),
    /// All that the object is to have.
    Finalizers(Vec<String>),
}

/// A write that ended.
struct Done {
    object: ObjectRef,
    /// The version it was over.
    over: String,
    /// What it was written for.
    verdicts: Option<Verdicts>,
    /// Whether it was a status.
    counts: bool,
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
            verdicts: None,
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
        mut reports: watch::Receiver<Option<Verdicts>>,
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
                    if let Some(verdicts) = latest {
                        self.report(&verdicts);
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
        // the echo of a write of ours tells nothing, and ends no wait
        if !gone && self.live.find(&object) == sighting.1.as_ref() {
            return;
        }
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

    fn report(&mut self, verdicts: &Verdicts) {
        let before = self.verdicts.replace(verdicts.clone());
        let differs = |(object, seen): &(&ObjectRef, &Seen)| {
            before.as_ref().is_none_or(|before| !same(object, seen, before, verdicts))
        };
        let changed: Vec<ObjectRef> = self.live.all().filter(differs).map(|(object, _)| object.clone()).collect();
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
        let seen = self.live.find(object)?;
        let is_first = || !merge::has_ours(object, seen.status.as_ref(), &self.controller);
        Some(match self.next(object, seen, "")? {
            Write::Status(_) if is_first() => Turn::First,
            Write::Status(_) | Write::Finalizers(_) => Turn::Again,
        })
    }

    /// What is to be written over what was seen, if anything differs. A condition that flips does so `now`.
    fn next(&self, object: &ObjectRef, seen: &Seen, now: &str) -> Option<Write> {
        let verdicts = self.verdicts.as_ref()?;
        // an object that was recreated or changed since is another one, of which nothing is said yet
        if !verdicts.judged.has(object, &seen.uid, seen.generation) {
            return None;
        }
        let status = seen.status.as_ref();
        let merged = |now| merge::merged(object, status, &verdicts.statuses, &self.controller, now);
        let is_short = |short: &Short| short.answered.as_ref() == status && Some(&short.again) == merged("").as_ref();
        let status = merged(now)
            .filter(|wanted| status != Some(wanted) && !self.short.get(object).is_some_and(is_short))
            .map(Write::Status);
        status.or_else(|| finalizer::wanted(object, seen, verdicts).map(Write::Finalizers))
    }

    /// Starts as many of the writes that are due as there is room for.
    fn begin(&mut self, writes: &mut JoinSet<Done>) {
        let now = merge::now();
        while writes.len() < AT_ONCE {
            // "priority to first-time statuses": they come first in the order of `Turn`
            let Some((_, object)) = self.due.pop_first() else { return };
            let Some(seen) = self.live.find(&object).cloned() else { continue };
            let Some(wanted) = self.next(&object, &seen, &now) else { continue };
            self.pending.insert(object.clone());
            let (client, verdicts) = (self.client.clone(), self.verdicts.clone());
            writes.spawn(async move {
                let outcome = write(&client, &object, &seen, &wanted).await;
                let counts = matches!(wanted, Write::Status(_));
                Done { object, over: seen.resource_version, verdicts, counts, outcome }
            });
        }
    }

    fn settle(&mut self, Done { object, over, verdicts, counts, outcome }: Done) {
        self.pending.remove(&object);
        let result = match outcome {
            Ok(seen) => {
                self.later.remove(&object);
                self.take_answer(&object, seen, verdicts.as_ref());
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
                tracing::warn!(%object, %error, retry_after = ?wait, "not written");
                let until = Some(Instant::now() + wait);
                self.later.insert(object.clone(), Later { until, wait, ends: Ends::InTime });
                StatusWrite::Failed
            }
        };
        if counts {
            self.metrics.status_written(object.kind.name(), result);
        }
        self.judge(object);
    }

    fn take_answer(&mut self, object: &ObjectRef, seen: Seen, written_for: Option<&Verdicts>) {
        let answered = seen.status.clone();
        if self.live.find(object).is_none() || !self.live.take_up((object.clone(), Some(seen))) {
            return;
        }
        self.short.remove(object);
        let again =
            written_for.and_then(|v| merge::merged(object, answered.as_ref(), &v.statuses, &self.controller, ""));
        if let Some(again) = again.filter(|again| answered.as_ref() != Some(again)) {
            tracing::debug!(%object, "the API server keeps less of the status than was written");
            self.short.insert(object.clone(), Short { answered, again });
        }
    }
}

/// Whether both reports say the same of an object.
fn same(object: &ObjectRef, seen: &Seen, a: &Verdicts, b: &Verdicts) -> bool {
    let judged = |verdicts: &Verdicts| verdicts.judged.has(object, &seen.uid, seen.generation);
    judged(a) == judged(b) && says_the_same(object, a, b)
}

fn says_the_same(object: &ObjectRef, one: &Verdicts, other: &Verdicts) -> bool {
    let (a, b) = (&one.statuses, &other.statuses);
    match object.kind {
        Kind::GatewayClass => {
            let name = &object.key.name;
            a.gateway_classes.get(&object.key) == b.gateway_classes.get(&object.key)
                && one.judged.is_in_use(name) == other.judged.is_in_use(name)
        }
        Kind::Gateway => a.gateways.get(&object.key) == b.gateways.get(&object.key),
        Kind::ListenerSet => a.listener_sets.get(&object.key) == b.listener_sets.get(&object.key),
        Kind::BackendTlsPolicy | Kind::UpstreamPolicy => a.policies.get(object) == b.policies.get(object),
        _ => a.routes.get(object) == b.routes.get(object),
    }
}

/// Patches one object over the version that was seen.
async fn write(client: &Client, object: &ObjectRef, seen: &Seen, wanted: &Write) -> Result<Seen, Error> {
    let gvk = GroupVersionKind::gvk(object.kind.group(), &seen.version, object.kind.name());
    let resource = ApiResource::from_gvk_with_plural(&gvk, object.kind.plural());
    let api: Api<DynamicObject> = if object.kind.namespaced() {
        Api::namespaced_with(client.clone(), &object.key.namespace, &resource)
    } else {
        Api::all_with(client.clone(), &resource)
    };
    let (name, parameters, version) = (&object.key.name, PatchParams::default(), &seen.resource_version);
    let writing = async {
        match wanted {
            Write::Status(wanted) => {
                let status = over(seen.status.as_ref(), wanted);
                let patch = json!({"metadata": {"resourceVersion": version}, "status": status});
                api.patch_status(name, &parameters, &Patch::Merge(patch)).await
            }
            Write::Finalizers(finalizers) => {
                let patch = json!({"metadata": {"resourceVersion": version, "finalizers": finalizers}});
                api.patch(name, &parameters, &Patch::Merge(patch)).await
            }
        }
    };
    let written = timeout(PATIENCE, writing).await.map_err(|late| Error::Service(Box::new(late)))??;
    Ok(Seen::new(&written.metadata, &seen.version, written.data.get("status").cloned()))
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
