//! A cluster asked once, instead of followed: every kind listed, by the table that the watches go by.
//!
//! What comes in: which cluster, and what is seen of it. What goes out: the objects as one batch, and what could not
//! be had of them, as data. Bounded in time: a server that does not answer is an error, and is not waited for.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::fmt;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use kube::api::{Api, DynamicObject, ListParams};
use kube::{Client, Error};
use serde_json::{Value, json};

use super::served::{Served, is_not_found, served};
use super::watch::Scope;
use super::{Access, AccessError, Selectors, configure, table};
use crate::api::object::key_of;
use crate::api::{Kind, Object, ObjectRef};
use crate::store::{Batch, Event};

/// For one answer of the API server.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Questions that are open at a time.
pub(super) const AT_ONCE: usize = 8;
/// Objects of one answer.
const PAGE: u32 = 500;
/// How often a list whose pages have expired is begun anew.
const ANEW: usize = 3;

/// A way to a cluster that is asked once.
pub struct Connection {
    pub(super) client: Client,
    /// Address of the API server, as the kubeconfig or the pod's environment has it.
    pub server: String,
    /// The namespace that is meant where none is named: that of the context, or of the pod.
    pub namespace: String,
}

/// The API server does not answer, fails, or does not know who asks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("API server {server}: {why}")]
pub struct Unreachable {
    /// Its address.
    pub server: String,
    /// What happened.
    pub why: String,
}

/// A kind that may not be listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The kind.
    pub kind: Kind,
    /// Where; none is everywhere.
    pub namespace: Option<String>,
    /// In the words of the API server.
    pub why: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} of namespace {namespace}: {}", self.kind, self.why),
            None => write!(f, "{}: {}", self.kind, self.why),
        }
    }
}

/// Objects as the API server holds them. Without `Debug`: there are Secrets among them.
#[derive(Default)]
pub struct Listed {
    /// Every object, with its `apiVersion` and `kind`.
    pub objects: BTreeMap<ObjectRef, Value>,
    /// Kinds that the cluster does not have.
    pub missing: Vec<Kind>,
    /// Kinds that may not be read.
    pub refused: Vec<Refused>,
}

/// A cluster as it was when it was read.
#[derive(Debug, Default)]
pub struct Once {
    /// Every object that could be read, to be applied as the first batch of a watched cluster is.
    pub batch: Batch,
    /// The objects that may have a status of ours, as the API server holds them.
    pub written: BTreeMap<ObjectRef, Value>,
    /// Objects that fit no type of ours, and why.
    pub unreadable: Vec<(ObjectRef, String)>,
    /// Kinds that the cluster does not have.
    pub missing: Vec<Kind>,
    /// Kinds that may not be read.
    pub refused: Vec<Refused>,
}

/// What became of one kind in one scope.
enum Outcome {
    Objects(Vec<Value>),
    Missing,
    Refused(String),
}

impl Connection {
    /// A way to the cluster. Nothing is asked of it yet.
    ///
    /// # Errors
    /// No configuration, or one that cannot be used.
    pub async fn open(access: &Access) -> Result<Connection, AccessError> {
        let mut config = configure(access).await?;
        config.read_timeout = Some(ANSWER_TIMEOUT);
        let (server, namespace) = (config.cluster_url.to_string(), config.default_namespace.clone());
        let client = Client::try_from(config)?;
        Ok(Connection { client, server: server.trim_end_matches('/').to_owned(), namespace })
    }

    /// Lists these kinds, as far as the selectors see them.
    ///
    /// # Errors
    /// The API server does not answer. A kind that it does not have, or does not show, is none.
    pub async fn list(&self, kinds: &[Kind], selectors: &Selectors) -> Result<Listed, Unreachable> {
        let scopes = kinds
            .iter()
            .flat_map(|kind| Scope::all(*kind, &selectors.namespaces).into_iter().map(move |scope| (*kind, scope)));
        let lists = stream::iter(scopes.map(|(kind, scope)| async move {
            let labels = table::labels(kind, selectors);
            let outcome = self.list_one(kind, &scope, labels).await;
            outcome.map(|outcome| (kind, scope, outcome)).map_err(|error| self.unreachable(&error))
        }));
        let lists: Vec<_> = lists.buffer_unordered(AT_ONCE).try_collect().await?;
        let mut listed = Listed::default();
        for (kind, scope, outcome) in lists {
            match outcome {
                Outcome::Objects(objects) => {
                    let named = objects.into_iter().filter_map(|object| Some((reference(kind, &object)?, object)));
                    listed.objects.extend(named);
                }
                Outcome::Missing if listed.missing.contains(&kind) => {}
                Outcome::Missing => listed.missing.push(kind),
                Outcome::Refused(why) => {
                    let namespace = scope.namespace().map(str::to_owned);
                    listed.refused.push(Refused { kind, namespace, why });
                }
            }
        }
        listed.missing.sort_unstable();
        listed.refused.sort_by(|a, b| (a.kind, &a.namespace).cmp(&(b.kind, &b.namespace)));
        Ok(listed)
    }

    /// Reads every kind, as `follow` does before its first batch.
    ///
    /// # Errors
    /// The API server does not answer.
    pub async fn read(&self, selectors: &Selectors) -> Result<Once, Unreachable> {
        let Listed { objects, missing, refused } = self.list(&Kind::ALL, selectors).await?;
        let mut once = Once { missing, refused, ..Once::default() };
        for (reference, value) in objects {
            if reference.kind.has_status() {
                once.written.insert(reference.clone(), value.clone());
            }
            match Object::from_value(reference.kind, value) {
                Ok(object) => once.batch.push(Event::Apply(object)),
                Err(error) => once.unreadable.push((reference, error.to_string())),
            }
        }
        Ok(once)
    }

    /// The fault of a question, which says nothing of what was asked for.
    pub(super) fn unreachable(&self, error: &Error) -> Unreachable {
        Unreachable { server: self.server.clone(), why: words(error) }
    }

    async fn list_one(&self, kind: Kind, scope: &Scope, labels: Option<&str>) -> Result<Outcome, Error> {
        let version = match served(&self.client, kind).await {
            Ok(Served::In(version)) => version,
            Ok(Served::Not) => return Ok(Outcome::Missing),
            Err(error) => return refused(error),
        };
        let resource = table::resource(kind, version);
        let api = table::api(&self.client, &resource, scope.namespace());
        let mut tries = 0;
        loop {
            match pages(&api, kind, labels).await {
                Ok(objects) => {
                    let written = |object| written(object, &resource.api_version, kind);
                    return Ok(Outcome::Objects(objects.into_iter().filter_map(written).collect()));
                }
                // what changed between two pages is no longer known
                Err(Error::Api(status)) if status.code == 410 && tries < ANEW => tries += 1,
                Err(error) if is_not_found(&error) => return Ok(Outcome::Missing),
                Err(error) => return refused(error),
            }
        }
    }
}

/// Every object of a collection, page by page.
async fn pages(api: &Api<DynamicObject>, kind: Kind, labels: Option<&str>) -> Result<Vec<DynamicObject>, Error> {
    let mut parameters = ListParams::default().limit(PAGE);
    parameters.label_selector = labels.map(str::to_owned);
    parameters.field_selector = table::fields(kind).map(str::to_owned);
    let mut objects = Vec::new();
    loop {
        let page = api.list(&parameters).await?;
        objects.extend(page.items);
        match page.metadata.continue_.filter(|next| !next.is_empty()) {
            Some(next) => parameters.continue_token = Some(next),
            None => return Ok(objects),
        }
    }
}

/// The object as `kubectl get -o json` has it: a list leaves out of its items what all have in common.
fn written(mut object: DynamicObject, version: &str, kind: Kind) -> Option<Value> {
    object.types = None;
    object.metadata.managed_fields = None;
    let mut value = json!({"apiVersion": version, "kind": kind.name()});
    let fields = value.as_object_mut()?;
    // a value that was read as JSON a moment ago is JSON
    fields.extend(serde_json::to_value(object).ok()?.as_object().cloned()?);
    Some(value)
}

fn reference(kind: Kind, object: &Value) -> Option<ObjectRef> {
    let metadata = serde_json::from_value(object.get("metadata")?.clone()).ok()?;
    Some(ObjectRef { kind, key: key_of(&metadata) })
}

/// "Forbidden" is an answer about one kind; anything else is a fault.
fn refused(error: Error) -> Result<Outcome, Error> {
    match error {
        Error::Api(status) if status.code == 403 => Ok(Outcome::Refused(status.message)),
        error => Err(error),
    }
}

/// What happened, down to its cause: kube's errors name only their outermost layer.
pub(super) fn words(error: &Error) -> String {
    match error {
        Error::Api(status) if status.code == 401 => {
            "does not know who asks (401): the credentials are refused".to_owned()
        }
        Error::Api(status) => format!("answered {}: {}", status.code, status.message),
        error => {
            let mut words = Vec::new();
            let mut next = error.source();
            while let Some(cause) = next {
                words.push(cause.to_string());
                next = cause.source();
            }
            words.dedup();
            if words.is_empty() { error.to_string() } else { words.join(": ") }
        }
    }
}
