//! What the API server holds: objects, their history, and what it has been told to do with requests.

use std::collections::{BTreeMap, BTreeSet};

use http::StatusCode;
use serde_json::{Value, json};

use super::selector::Selector;
use super::{Asked, Cut};

/// Plural, namespace, name.
pub type Key = (String, String, String);

#[derive(Default)]
pub struct State {
    pub revision: u64,
    pub objects: BTreeMap<Key, Value>,
    pub history: Vec<Change>,
    /// Plurals by "v1" or "group/version".
    pub served: BTreeMap<String, BTreeSet<String>>,
    /// Plurals whose lists and watches wait.
    pub held: BTreeSet<String>,
    pub streaming: Streaming,
    /// Watches of these plurals end as soon as they have told what there is.
    pub brief: BTreeSet<String>,
    pub page: Option<usize>,
    /// How many times they were cut, how last, and at which revision.
    pub cuts: BTreeMap<String, (u64, Option<Cut>, u64)>,
    /// Status fields that are dropped, as a CRD without them drops them.
    pub pruned: BTreeSet<String>,
    /// Answers to come for status patches, instead of doing them.
    pub refusals: Vec<StatusCode>,
    /// Lists and watches of a plural that are still to be answered with 503.
    pub failing: BTreeMap<String, usize>,
    /// Verbs on resources that who asks may not do.
    pub denied: BTreeSet<(String, String)>,
    pub asked: Vec<Asked>,
    /// What each field manager applied last.
    pub applied: BTreeMap<(Key, String), Value>,
}

/// What the server makes of `sendInitialEvents`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Streaming {
    #[default]
    Served,
    /// 422, as before Kubernetes 1.32 by default.
    Refused,
    /// A parameter like any other that it does not know.
    Ignored,
}

pub struct Change {
    pub revision: u64,
    pub plural: String,
    pub event: &'static str,
    pub object: Value,
    pub before: Option<Value>,
}

/// One object or a collection, as a path names it.
pub struct Target {
    pub served_as: String,
    pub plural: String,
    pub namespace: Option<String>,
    pub name: Option<String>,
    pub status: bool,
}

impl State {
    pub fn of(&self, plural: &str, namespace: Option<&str>) -> impl Iterator<Item = &Value> {
        let of = self.objects.iter().filter(move |(key, _)| key.0 == plural && namespace.is_none_or(|n| n == key.1));
        of.map(|(_, object)| object)
    }

    pub fn fails(&mut self, plural: &str) -> bool {
        let left = self.failing.entry(plural.to_owned()).or_default();
        let fails = *left > 0;
        *left = left.saturating_sub(1);
        fails
    }

    pub fn list(&self, target: &Target, selector: &Selector, limit: Option<String>, next: Option<String>) -> Value {
        let limit = self.page.or(limit.and_then(|limit| limit.parse().ok())).unwrap_or(usize::MAX);
        let skip: usize = next.and_then(|next| next.parse().ok()).unwrap_or(0);
        let all = self.of(&target.plural, target.namespace.as_deref()).filter(|object| selector.selects(object));
        let all: Vec<&Value> = all.collect();
        let page: Vec<&Value> = all.iter().copied().skip(skip).take(limit).collect();
        let mut metadata = json!({"resourceVersion": self.revision.to_string()});
        if skip + page.len() < all.len() {
            metadata["continue"] = json!((skip + page.len()).to_string());
        }
        json!({"apiVersion": "v1", "kind": "List", "metadata": metadata, "items": page})
    }

    pub fn put(&mut self, key: Key, mut object: Value) -> Value {
        let before = self.objects.get(&key).cloned();
        let old = before.as_ref().map_or(&Value::Null, |before| &before["metadata"]);
        for field in ["resourceVersion", "uid", "generation", "deletionTimestamp"] {
            object["metadata"][field] = old[field].clone();
        }
        if before.as_ref() == Some(&object) {
            return object; // as etcd3 does: no change, no revision
        }
        self.revision += 1;
        match &before {
            None => object["metadata"]["uid"] = json!(format!("uid-{}", self.revision)),
            Some(before) if before["spec"] == object["spec"] => {}
            Some(_) => object["metadata"]["generation"] = Value::Null,
        }
        if object["metadata"]["generation"].is_null() {
            object["metadata"]["generation"] = json!(old["generation"].as_i64().unwrap_or(0) + 1);
        }
        if !object["metadata"]["deletionTimestamp"].is_null() && finalizers(&object).is_empty() {
            self.objects.insert(key.clone(), object.clone());
            self.remove(&key);
            return object;
        }
        object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        let event = if before.is_some() { "MODIFIED" } else { "ADDED" };
        let plural = key.0.clone();
        self.objects.insert(key, object.clone());
        self.history.push(Change { revision: self.revision, plural, event, object: object.clone(), before });
        object
    }

    /// Takes the object away, or marks it, while finalizers hold it.
    pub fn remove(&mut self, key: &Key) {
        self.revision += 1;
        let mut object = self.objects.remove(key).unwrap();
        let before = Some(object.clone());
        object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        let event = if finalizers(&object).is_empty() { "DELETED" } else { "MODIFIED" };
        if event == "MODIFIED" {
            object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            self.objects.insert(key.clone(), object.clone());
        }
        self.history.push(Change { revision: self.revision, plural: key.0.clone(), event, object, before });
    }

    pub fn write(&mut self, method: &str, target: &Target, body: Value) -> Result<Value, StatusCode> {
        let mut key = target.key();
        if method == "POST" {
            body["metadata"]["name"].as_str().unwrap_or_default().clone_into(&mut key.2);
            return if self.objects.contains_key(&key) { Err(StatusCode::CONFLICT) } else { Ok(self.put(key, body)) };
        }
        if let Some(code) = (method == "PATCH").then(|| self.refusals.pop()).flatten() {
            return Err(code);
        }
        let before = self.objects.get(&key).cloned().ok_or(StatusCode::NOT_FOUND)?;
        let wanted = &body["metadata"]["resourceVersion"];
        if !wanted.is_null() && *wanted != before["metadata"]["resourceVersion"] {
            return Err(StatusCode::CONFLICT);
        }
        if method == "PUT" {
            return Ok(self.put(key, body));
        }
        let mut after = before;
        if !target.status {
            let fields: Vec<&String> = body["metadata"].as_object().unwrap().keys().collect();
            assert_eq!(fields, ["resourceVersion", "finalizers"], "of the rest only finalizers are patched: {body}");
            let added = finalizers(&body).iter().any(|finalizer| !finalizers(&after).contains(finalizer));
            if added && !after["metadata"]["deletionTimestamp"].is_null() {
                return Err(StatusCode::UNPROCESSABLE_ENTITY);
            }
            after["metadata"]["finalizers"] = body["metadata"]["finalizers"].clone();
            return Ok(self.put(key, after));
        }
        if after["status"].is_null() {
            after["status"] = json!({});
        }
        merge(&mut after["status"], &body["status"]);
        if let Some(status) = after["status"].as_object_mut() {
            status.retain(|field, _| !self.pruned.contains(field));
            for (list, field) in self.pruned.iter().filter_map(|path| path.split_once('.')) {
                for entry in status.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
                    entry.as_object_mut().unwrap().remove(field);
                }
            }
        }
        Ok(self.put(key, after))
    }
}

impl Target {
    pub fn parse(path: &str) -> Option<Target> {
        let mut parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let served_as = match parts.first().copied()? {
            "api" => parts.drain(..2.min(parts.len())).skip(1).collect::<Vec<_>>().join("/"),
            _ => parts.drain(..3.min(parts.len())).skip(1).collect::<Vec<_>>().join("/"),
        };
        let mut namespace = None;
        if parts.first() == Some(&"namespaces") && parts.len() > 2 {
            namespace = parts.drain(..2).nth(1).map(str::to_owned);
        }
        Some(Target {
            served_as,
            plural: (*parts.first()?).to_owned(),
            namespace,
            name: parts.get(1).map(|&name| name.to_owned()),
            status: parts.get(2) == Some(&"status"),
        })
    }

    pub fn key(&self) -> Key {
        (self.plural.clone(), self.namespace.clone().unwrap_or_default(), self.name.clone().unwrap_or_default())
    }
}

fn finalizers(object: &Value) -> Vec<Value> {
    object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default()
}

/// RFC 7396.
pub fn merge(target: &mut Value, patch: &Value) {
    let Some(fields) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, value) in fields {
        match (value.is_null(), target.as_object_mut()) {
            (true, Some(target)) => drop(target.shift_remove(name)),
            _ => merge(&mut target[name], value),
        }
    }
}
