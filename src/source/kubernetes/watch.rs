//! One watch: a kind in one scope, followed for as long as the process lives.

use std::time::Duration;

use futures_util::{Stream, StreamExt, pin_mut};
use kube::api::DynamicObject;
use kube::runtime::watcher::{self, Event, InitialListStrategy};
use kube::{Client, Error};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tracing::Instrument;

use super::pace::paced;
use super::picture::{Decoded, Picture, Shown};
use super::served::{Served, is_not_found, served};
use super::{Following, table};
use crate::api::{Kind, Object, ObjectKey, ObjectRef, Seen, Sighting};
use crate::store::{self, Batch};
use crate::telemetry::{ClusterMetrics, WatchRestart};

/// Wait before a watch that was cut goes on from where it was.
const INTERRUPTED: Duration = Duration::from_millis(100);
/// First wait after a watch failed; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// Longest wait after a watch failed.
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// Where a kind is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Everywhere, with one watch.
    Cluster,
    /// In one namespace.
    Namespace(String),
}

/// What a watch tells.
#[derive(Debug)]
pub struct Told {
    /// What changed.
    pub batch: Batch,
    /// Statuses as they are now.
    pub seen: Vec<Sighting>,
    /// Whether the watch is in step from now on, and was not before.
    pub first: bool,
}

/// A watch.
pub struct Watch {
    client: Client,
    kind: Kind,
    scope: Scope,
    labels: Option<String>,
    look_again: Duration,
    silence: Duration,
    metrics: ClusterMetrics,
    told: mpsc::Sender<Told>,
    picture: Picture,
    in_step: bool,
    /// Statuses that were seen since something was told.
    seen: Vec<Sighting>,
    /// Streaming lists, until the API server says that it has none.
    strategy: InitialListStrategy,
}

/// Why a watch ended.
enum End {
    /// Nobody listens.
    Unheard,
    /// The cluster no longer serves the kind.
    NotServed,
    /// The API server has no streaming lists: it begins anew without.
    OtherWay,
    /// It must begin anew, for this reason, and had brought something since it began.
    Failed { error: watcher::Error, was_good: bool },
}

impl Scope {
    /// The scopes in which a kind is watched.
    pub fn all(kind: Kind, namespaces: &[String]) -> Vec<Scope> {
        if namespaces.is_empty() || !kind.namespaced() {
            return vec![Scope::Cluster];
        }
        namespaces.iter().cloned().map(Scope::Namespace).collect()
    }

    /// The namespace; none is everywhere.
    pub fn namespace(&self) -> Option<&str> {
        match self {
            Scope::Cluster => None,
            Scope::Namespace(name) => Some(name),
        }
    }
}

impl Watch {
    /// A watch that has not begun.
    pub fn new(client: Client, kind: Kind, scope: Scope, following: &Following, told: mpsc::Sender<Told>) -> Self {
        Watch {
            client: paced(client, following.pause),
            kind,
            scope,
            labels: table::labels(kind, &following.selectors).map(str::to_owned),
            look_again: following.look_again,
            silence: following.silence,
            metrics: following.metrics.clone(),
            told,
            picture: Picture::new(kind),
            in_step: false,
            seen: Vec::new(),
            strategy: InitialListStrategy::StreamingList,
        }
    }

    /// Follows the kind until nobody listens.
    pub async fn run(mut self) {
        let namespace = self.scope.namespace().unwrap_or_default();
        let span = tracing::info_span!("watch", kind = %self.kind, namespace);
        async {
            let mut wait = FIRST_WAIT;
            let mut missing = false;
            loop {
                match served(&self.client, self.kind).await {
                    Ok(Served::In(version)) => {
                        if std::mem::take(&mut missing) {
                            tracing::info!(version, "the cluster serves it now");
                        }
                        match self.follow(version).await {
                            End::Unheard => return,
                            End::NotServed => {}
                            End::OtherWay => continue,
                            End::Failed { error, was_good } => {
                                if was_good {
                                    wait = FIRST_WAIT;
                                }
                                self.metrics.watch_restarted(self.kind.name(), WatchRestart::Failed);
                                tracing::warn!(%error, retry_after = ?wait, "watch lost; what it had shown stays");
                            }
                        }
                    }
                    Ok(Served::Not) => {
                        if !std::mem::replace(&mut missing, true) {
                            tracing::info!("the cluster does not have this kind; looking again while it is missing");
                        }
                        let batch = self.picture.clear();
                        if !self.tell(batch, true).await {
                            return;
                        }
                        sleep(self.look_again).await;
                        continue;
                    }
                    Err(error) => tracing::warn!(%error, retry_after = ?wait, "the API server does not say"),
                }
                sleep(wait).await;
                wait = (wait * 2).min(LONGEST_WAIT);
            }
        }
        .instrument(span)
        .await;
    }

    async fn follow(&mut self, version: &str) -> End {
        let events = self.events(version);
        pin_mut!(events);
        let mut was_good = false;
        let mut wait = FIRST_WAIT;
        loop {
            let streams = self.strategy == InitialListStrategy::StreamingList && self.picture.is_listing();
            let next = if streams { timeout(self.silence, events.next()).await } else { Ok(events.next().await) };
            let Ok(event) = next else { return self.list_in_pages("a streaming list that does not end") };
            let Some(event) = event else { return End::Unheard };
            let shown = match event {
                Ok(Event::Init) if streams => return self.list_in_pages("a streaming list that ends too early"),
                Ok(Event::Init) => Shown::Begun,
                Ok(Event::InitApply(object) | Event::Apply(object)) => {
                    let (key, decoded) = self.decode(object, version);
                    Shown::Held(key, decoded)
                }
                Ok(Event::Delete(object)) => Shown::Gone(key_of(&object)),
                Ok(Event::InitDone) => {
                    was_good = true;
                    Shown::Complete
                }
                Err(error) if not_served(&error) => return End::NotServed,
                Err(error) if self.refuses_streaming(&error) => return self.list_in_pages(&error.to_string()),
                // the watcher goes on by itself, from where it was; a list that is too old it makes anew
                Err(error @ (watcher::Error::WatchFailed(_) | watcher::Error::WatchError(_))) if was_good => {
                    self.metrics.watch_restarted(self.kind.name(), reason(&error));
                    tracing::debug!(%error, "watch interrupted");
                    sleep(INTERRUPTED).await;
                    continue;
                }
                // an API server that is away for a while need not list everything again when it is back
                Err(error) if was_good && is_fault(&error) => {
                    self.metrics.watch_restarted(self.kind.name(), WatchRestart::Failed);
                    tracing::warn!(%error, retry_after = ?wait, "watch interrupted; what it had shown stays");
                    sleep(wait).await;
                    wait = (wait * 2).min(LONGEST_WAIT);
                    continue;
                }
                Err(error) => return End::Failed { error, was_good },
            };
            wait = FIRST_WAIT;
            let complete = matches!(shown, Shown::Complete);
            let batch = self.picture.take_up(shown);
            if (batch.is_some() || !self.picture.is_listing()) && !self.tell(batch.unwrap_or_default(), complete).await
            {
                return End::Unheard;
            }
        }
    }

    /// An API server that does not know streaming lists may refuse them, or take no notice of what it does not know:
    /// then the end of the list is never told, or the watch is over before it.
    fn list_in_pages(&mut self, why: &str) -> End {
        tracing::debug!(why, "no streaming lists here; listing in pages");
        self.strategy = InitialListStrategy::ListWatch;
        End::OtherWay
    }

    fn events(&self, version: &str) -> impl Stream<Item = watcher::Result<Event<DynamicObject>>> + use<> {
        let resource = table::resource(self.kind, version);
        let api = table::api(&self.client, &resource, self.scope.namespace());
        let config = watcher::Config {
            label_selector: self.labels.clone(),
            field_selector: table::fields(self.kind).map(str::to_owned),
            initial_list_strategy: self.strategy.clone(),
            ..watcher::Config::default()
        };
        watcher::watcher(api, config)
    }

    /// Reads an object; one that fits no type of ours is named and left alone.
    fn decode(&mut self, mut object: DynamicObject, version: &str) -> (ObjectKey, Decoded) {
        let key = key_of(&object);
        object.metadata.managed_fields = None; // often the greater part of an object, and of no meaning to us
        if self.kind.has_status() {
            let fields = object.data.as_object_mut();
            let status = match self.kind {
                // what a Gateway was said to be is not taken back for want of news: the translator looks at it
                Kind::Gateway => fields.and_then(|fields| fields.get("status").cloned()),
                _ => fields.and_then(|fields| fields.shift_remove("status")),
            };
            let seen = Seen::new(&object.metadata, version, status);
            self.seen.push((ObjectRef { kind: self.kind, key: key.clone() }, Some(seen)));
        }
        let read = serde_json::to_value(object).and_then(|value: Value| Object::from_value(self.kind, value));
        match read {
            Ok(object) => (key, Decoded::Object(object)),
            Err(error) => {
                // the words of an error repeat what was read
                let why = if self.kind == Kind::Secret { "not said of a Secret".to_owned() } else { error.to_string() };
                tracing::warn!(object = %key, why, "cannot be read; what was known of it stays");
                (key, Decoded::Unreadable)
            }
        }
    }

    async fn tell(&mut self, batch: Batch, in_step: bool) -> bool {
        let first = in_step && !self.in_step;
        self.in_step |= in_step;
        let mut seen = std::mem::take(&mut self.seen);
        if self.kind.has_status() {
            let gone = batch.iter().filter_map(|event| match event {
                store::Event::Delete(object) => Some((object.clone(), None)),
                _ => None,
            });
            seen.extend(gone);
        }
        (batch.is_empty() && seen.is_empty() && !first) || self.told.send(Told { batch, seen, first }).await.is_ok()
    }

    fn refuses_streaming(&self, error: &watcher::Error) -> bool {
        let watcher::Error::WatchStartFailed(Error::Api(status)) = error else { return false };
        self.strategy == InitialListStrategy::StreamingList && matches!(status.code, 400 | 422)
    }
}

fn not_served(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error) => is_not_found(error),
        _ => false,
    }
}

/// Whether the API server cannot be asked, or fails: the version that was seen last may still be good.
fn is_fault(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::WatchStartFailed(Error::Api(status)) => {
            status.code >= 500 || matches!(status.code, 401 | 403 | 429)
        }
        watcher::Error::WatchStartFailed(_) => true,
        _ => false,
    }
}

fn reason(error: &watcher::Error) -> WatchRestart {
    match error {
        watcher::Error::WatchError(status) if status.code == 410 => WatchRestart::Expired,
        _ => WatchRestart::Interrupted,
    }
}

fn key_of(object: &DynamicObject) -> ObjectKey {
    crate::api::object::key_of(&object.metadata)
}
