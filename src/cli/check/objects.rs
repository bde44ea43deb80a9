//! `-o yaml`: every object with the status that a cluster would show.

use serde_json::{Value, json};

use crate::api::{Kind, ObjectRef};
use crate::cli::sources::Loaded;
use crate::cli::yaml;
use crate::status::merge;

const REDACTED: &str = "<redacted>";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The objects in the order of their files, one document each.
#[must_use]
pub fn yaml(loaded: &Loaded, controller: &str) -> String {
    let mut text = String::new();
    let now = merge::now();
    for (object, given) in &loaded.written {
        let statuses = &loaded.translation.statuses;
        let status = |written: Option<&Value>| merge::merged(object, written, statuses, controller, &now);
        text.push_str(&yaml::document(&shown(object, given.clone(), status)));
    }
    text
}

fn shown(object: &ObjectRef, mut written: Value, status: impl FnOnce(Option<&Value>) -> Option<Value>) -> Value {
    let status = status(written.get("status"));
    if let Some(metadata) = written.get_mut("metadata").and_then(Value::as_object_mut)
        && object.kind.namespaced()
    {
        metadata.entry("namespace").or_insert_with(|| json!(object.key.namespace));
    }
    if object.kind == Kind::Secret {
        redact(&mut written);
    }
    if let (Some(status), Some(fields)) = (status, written.as_object_mut()) {
        fields.insert("status".to_owned(), status);
    }
    written
}

/// Keeps the names of a Secret's values and nothing of the values, also where kubectl keeps a copy of them.
fn redact(secret: &mut Value) {
    for name in ["data", "stringData"] {
        if let Some(values) = secret.get_mut(name).and_then(Value::as_object_mut) {
            values.values_mut().for_each(|value| *value = json!(REDACTED));
        } else if let Some(value) = secret.get_mut(name) {
            *value = json!(REDACTED);
        }
    }
    if let Some(copy) = secret.pointer_mut("/metadata/annotations").and_then(|all| all.get_mut(LAST_APPLIED)) {
        *copy = json!(REDACTED);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::ObjectKey;

    #[test]
    fn nothing_of_a_secrets_values_is_shown() {
        let object = ObjectRef { kind: Kind::Secret, key: ObjectKey::new("n", "s") };
        let secret = json!({"kind": "Secret", "metadata": {"name": "s", "annotations": {LAST_APPLIED: "hunter2"}},
            "data": {"tls.key": "hunter2"}, "stringData": {"a": "hunter2"}});
        let shown = shown(&object, secret, |_| None).to_string();
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("tls.key") && shown.contains(r#""namespace":"n""#));
    }
}
