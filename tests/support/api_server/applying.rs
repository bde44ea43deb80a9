//! Server-side apply, as far as one field manager needs it, and deletion; objects of kinds that Transom does not hold.

use http::StatusCode;
use serde_json::{Value, json};

use super::ApiServer;
use super::objects::{State, Target, merge};

impl ApiServer {
    /// Serves a kind of the core group that has no place in [`transom::api::Kind`].
    pub fn serve_core(&self, plural: &str) {
        self.lock().served.entry("v1".into()).or_default().insert(plural.into());
    }

    /// Writes an object of such a kind, or of another, by its plural.
    pub fn put(&self, plural: &str, namespace: &str, name: &str, mut object: Value) {
        object["metadata"]["name"] = json!(name);
        if !namespace.is_empty() {
            object["metadata"]["namespace"] = json!(namespace);
        }
        self.lock().put((plural.into(), namespace.into(), name.into()), object);
        self.tick();
    }

    pub fn look(&self, plural: &str, namespace: &str, name: &str) -> Option<Value> {
        self.lock().objects.get(&(plural.into(), namespace.into(), name.into())).cloned()
    }

    pub fn remove(&self, plural: &str, namespace: &str, name: &str) {
        self.lock().remove(&(plural.into(), namespace.into(), name.into()));
        self.tick();
    }
}

impl State {
    pub fn apply(&mut self, target: &Target, manager: &str, mut body: Value) -> Result<Value, StatusCode> {
        if let Some(code) = self.refusals.pop() {
            return Err(code);
        }
        let key = target.key();
        let before = self.objects.get(&key).cloned();
        let uid = before.as_ref().map_or(Value::Null, |before| before["metadata"]["uid"].clone());
        let asked = body["metadata"].as_object_mut().and_then(|metadata| metadata.remove("uid"));
        if asked.is_some_and(|asked| asked != uid) {
            return Err(StatusCode::CONFLICT);
        }
        let mut after = before.unwrap_or_else(|| {
            let uid = format!("uid-{}", self.revision + 1);
            json!({"metadata": {"uid": uid, "creationTimestamp": "2026-01-01T00:00:00Z"}})
        });
        if let Some(old) = self.applied.insert((key.clone(), manager.to_owned()), body.clone()) {
            drop_fields(&mut after, &old, &body);
        }
        merge(&mut after, &body);
        Ok(self.put(key, after))
    }

    pub fn delete(&mut self, target: &Target, options: &Value) -> Result<Value, StatusCode> {
        let key = target.key();
        let before = self.objects.get(&key).cloned().ok_or(StatusCode::NOT_FOUND)?;
        let uid = &options["preconditions"]["uid"];
        if !uid.is_null() && *uid != before["metadata"]["uid"] {
            return Err(StatusCode::CONFLICT);
        }
        self.remove(&key);
        Ok(before)
    }
}

/// Fields that a manager applied before and does not any more.
fn drop_fields(target: &mut Value, old: &Value, new: &Value) {
    let (Some(target), Some(old)) = (target.as_object_mut(), old.as_object()) else { return };
    for (name, old) in old {
        match new.get(name) {
            None => drop(target.shift_remove(name)),
            Some(new) => {
                if let Some(target) = target.get_mut(name) {
                    drop_fields(target, old, new);
                }
            }
        }
    }
}
