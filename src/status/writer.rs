//! Writes what differs.
//!
//! ```text
//!   statuses change ─┐
//!   an object is seen├─▶ what differs? ─▶ first-time statuses first ─▶ patch over the version seen ─▶ done
//!   we lead          ┘        ▲                                             │
//!                             └── conflict: the next sighting; other fault: later, longer each time ◀┘
//! ```

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
use crate::translate::Statuses;

/// Patches on their way at a time.
const AT_ONCE: usize = 8;
/// For one patch.
const PATIENCE: Duration = Duration::from_secs(15);
/// First wait after a fault; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// Longest wait after a fault.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// How a write ended, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It is there.
    Written,
    /// Somebody else was faster.
    Conflict,
    /// The object is gone.
    Gone,
    /// It failed, and is tried again.
    Failed,
}

/// Writes statuses as long as this process leads.
pub struct StatusWriter {
    client: Client,
    controller: String,
    live: Live,
    statuses: Arc<Statuses>,
    /// Written, and not yet seen so.
    pending: BTreeSet<ObjectRef>,
    /// Failed: not again before then.
    later: BTreeMap<ObjectRef, (Instant, Duration)>,
    told: fn(Kind, Written),
}

impl StatusWriter {
    /// A writer for the statuses of `controller`, telling `told` of each write.
    pub fn new(client: Client, controller: String, told: fn(Kind, Written)) -> Self {
        StatusWriter {
            client,
            controller,
            live: Live::default(),
            statuses: Arc::default(),
            pending: BTreeSet::new(),
            later: BTreeMap::new(),
            told,
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
        loop {
            let next = self.later.values().map(|(at, _)| *at).min();
            tokio::select! {
                seen = sightings.recv() => {
                    let Some(seen) = seen else { break };
                    for sighting in seen {
                        self.pending.remove(&sighting.0);
                        self.live.take_up(sighting);
                    }
                }
                Ok(()) = reports.changed() => {
                    if let Some(statuses) = reports.borrow_and_update().clone() {
                        self.statuses = statuses;
                    }
                }
                Ok(()) = leading.changed() => {
                    leading.borrow_and_update();
                }
                Some(done) = writes.join_next() => {
                    if let Ok((object, outcome)) = done {
                        self.settle(object, outcome);
                    }
                }
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
            }
            if *leading.borrow() && reports.borrow().is_some() {
                self.begin(&mut writes);
            }
        }
    }

    /// Starts as many of the writes that are due as there is room for.
    fn begin(&mut self, writes: &mut JoinSet<(ObjectRef, Result<Seen, Error>)>) {
        let room = AT_ONCE.saturating_sub(writes.len());
        if room == 0 {
            return;
        }
        let (instant, now) = (Instant::now(), merge::now());
        let mut due: Vec<(bool, ObjectRef, Seen, Value)> = Vec::new();
        for (object, seen) in self.live.iter() {
            let waits = self.later.get(object).is_some_and(|(at, _)| *at > instant);
            if waits || self.pending.contains(object) {
                continue;
            }
            let Some(wanted) = merge::merged(object, seen.status.as_ref(), &self.statuses, &self.controller, &now)
            else {
                continue;
            };
            if seen.status.as_ref() != Some(&wanted) {
                due.push((self.is_known(object, seen), object.clone(), seen.clone(), wanted));
            }
        }
        // "priority to first-time statuses": somebody waits for them
        due.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        for (_, object, seen, wanted) in due.into_iter().take(room) {
            self.pending.insert(object.clone());
            let client = self.client.clone();
            writes.spawn(async move {
                let outcome = write(&client, &object, &seen, &wanted).await;
                (object, outcome)
            });
        }
    }

    fn is_known(&self, object: &ObjectRef, seen: &Seen) -> bool {
        let none = Statuses::default();
        merge::merged(object, seen.status.as_ref(), &none, &self.controller, "").is_some()
            || seen.status.as_ref().is_some_and(|status| status.to_string().contains("\"observedGeneration\""))
    }

    fn settle(&mut self, object: ObjectRef, outcome: Result<Seen, Error>) {
        let kind = object.kind;
        match outcome {
            Ok(seen) => {
                (self.told)(kind, Written::Written);
                self.later.remove(&object);
                self.pending.remove(&object);
                // what the answer holds is newer than any sighting that is still on its way
                if self.live.find(&object).is_some() {
                    self.live.take_up((object, Some(seen)));
                }
            }
            Err(Error::Api(status)) if status.code == 409 => {
                (self.told)(kind, Written::Conflict);
                self.put_off(object, "the object has moved on");
            }
            Err(Error::Api(status)) if status.code == 404 => {
                (self.told)(kind, Written::Gone);
                self.pending.remove(&object);
                self.live.take_up((object, None));
            }
            Err(error) => {
                (self.told)(kind, Written::Failed);
                tracing::warn!(%object, %error, "status not written; it is tried again");
                self.put_off(object, "failed");
            }
        }
    }

    fn put_off(&mut self, object: ObjectRef, why: &'static str) {
        let wait = self.later.get(&object).map_or(FIRST_WAIT, |(_, wait)| (*wait * 2).min(LONGEST_WAIT));
        tracing::debug!(%object, ?wait, why, "status put off");
        self.pending.remove(&object);
        self.later.insert(object, (Instant::now() + wait, wait));
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

/// A merge patch that makes `wanted` of `live`: fields that are to go are said with null.
fn over(live: Option<&Value>, wanted: &Value) -> Value {
    let mut patch = wanted.clone();
    let gone = live.and_then(Value::as_object).into_iter().flat_map(|fields| fields.keys());
    if let Some(fields) = patch.as_object_mut() {
        for name in gone {
            if !fields.contains_key(name) {
                fields.insert(name.clone(), Value::Null);
            }
        }
    }
    patch
}
