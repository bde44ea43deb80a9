//! A status as a cluster would hold it: ours merged into what was there, as the status writer would.
//!
//! "keeps other controllers' entries byte for byte … moves `lastTransitionTime` only when a condition's status
//! flips" (architecture.md, invariant 9).

use k8s_openapi::jiff::{Timestamp, Unit};
use serde_json::{Map, Value, json};

use crate::api::Kind;
use crate::api::ObjectRef;
use crate::translate::Statuses;

/// The status of an object, out of the one that was written with it and ours; `None` leaves what was written.
#[must_use]
pub fn merged(object: &ObjectRef, written: Option<&Value>, statuses: &Statuses, controller: &str) -> Option<Value> {
    let ours = match object.kind {
        Kind::GatewayClass => to_value(statuses.gateway_classes.get(&object.key)?),
        Kind::Gateway => to_value(statuses.gateways.get(&object.key)?),
        Kind::ListenerSet => to_value(statuses.listener_sets.get(&object.key)?),
        Kind::BackendTlsPolicy | Kind::UpstreamPolicy => {
            let ours = to_value(statuses.policies.get(object)?);
            return entries(written, &ours, &POLICY, controller);
        }
        _ => return entries(written, &to_value(statuses.routes.get(object)?), &ROUTE, controller),
    };
    let now = now();
    let mut status = written.and_then(Value::as_object).cloned().unwrap_or_default();
    let before = Value::Object(status.clone());
    for (name, value) in ours.as_object()? {
        let value = match name.as_str() {
            "conditions" => conditions(before.get("conditions"), value, &now),
            "listeners" => listeners(before.get("listeners"), value, &now),
            _ => value.clone(),
        };
        status.insert(name.clone(), value);
    }
    Some(Value::Object(status))
}

/// A list of entries of which each controller owns its own.
struct Shared {
    list: &'static str,
    of: &'static str,
}

/// `RouteStatus`: one entry a parent and controller.
const ROUTE: Shared = Shared { list: "parents", of: "parentRef" };
/// `PolicyStatus`: one entry an ancestor and controller.
const POLICY: Shared = Shared { list: "ancestors", of: "ancestorRef" };

/// The entries of other controllers stay, ours are replaced.
fn entries(written: Option<&Value>, ours: &Value, shared: &Shared, controller: &str) -> Option<Value> {
    let now = now();
    let before = written.and_then(|status| status.get(shared.list)).and_then(Value::as_array);
    let before = before.map(Vec::as_slice).unwrap_or_default();
    let is_ours = |entry: &Value| entry.get("controllerName").and_then(Value::as_str) == Some(controller);
    let mut all: Vec<Value> = before.iter().filter(|entry| !is_ours(entry)).cloned().collect();
    for entry in ours.get(shared.list)?.as_array()? {
        let same = before.iter().find(|old| is_ours(old) && old.get(shared.of) == entry.get(shared.of));
        all.push(with_conditions(entry, same, &now));
    }
    let mut status = written.and_then(Value::as_object).cloned().unwrap_or_default();
    status.insert(shared.list.to_owned(), Value::Array(all));
    Some(Value::Object(status))
}

fn listeners(before: Option<&Value>, ours: &Value, now: &str) -> Value {
    let before = before.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let ours = ours.as_array().map(Vec::as_slice).unwrap_or_default();
    let entry = |entry: &Value| {
        let same = before.iter().find(|old| old.get("name") == entry.get("name"));
        with_conditions(entry, same, now)
    };
    Value::Array(ours.iter().map(entry).collect())
}

fn with_conditions(entry: &Value, before: Option<&Value>, now: &str) -> Value {
    let mut entry = entry.clone();
    if let Some(slot) = entry.get_mut("conditions") {
        *slot = conditions(before.and_then(|old| old.get("conditions")), slot, now);
    }
    entry
}

/// Ours by type over those that were there; types that are not ours stay.
fn conditions(before: Option<&Value>, ours: &Value, now: &str) -> Value {
    let before = before.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let ours = ours.as_array().map(Vec::as_slice).unwrap_or_default();
    let kind = |condition: &Value| condition.get("type").cloned();
    let foreign = before.iter().filter(|old| !ours.iter().any(|new| kind(new) == kind(old))).cloned();
    let dated = |new: &Value| {
        let old = before.iter().find(|old| kind(old) == kind(new) && old.get("status") == new.get("status"));
        let since = old.and_then(|old| old.get("lastTransitionTime")).cloned().unwrap_or_else(|| json!(now));
        let mut condition: Map<String, Value> = new.as_object().cloned().unwrap_or_default();
        condition.insert("lastTransitionTime".to_owned(), since);
        Value::Object(condition)
    };
    Value::Array(foreign.chain(ours.iter().map(dated)).collect())
}

/// Now, in whole seconds, as the API server writes times.
fn now() -> String {
    Timestamp::now().round(Unit::Second).unwrap_or(Timestamp::UNIX_EPOCH).to_string()
}

fn to_value(status: &impl serde::Serialize) -> Value {
    // of these types none can fail: their keys are texts
    serde_json::to_value(status).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{ObjectKey, ParentReference, ParentRouteStatus, RouteStatus};

    const OURS: &str = "transom.dev/gateway-controller";

    fn accepted(status: &str) -> crate::api::Condition {
        crate::api::Condition {
            kind: "Accepted".into(),
            status: status.into(),
            reason: "Accepted".into(),
            message: String::new(),
            observed_generation: Some(1),
        }
    }

    fn route(written: &Value, status: &str) -> Value {
        let object = ObjectRef { kind: Kind::HttpRoute, key: ObjectKey::new("n", "r") };
        let parent_ref: ParentReference = serde_json::from_value(json!({"name": "g"})).unwrap();
        let entry = ParentRouteStatus { parent_ref, controller_name: OURS.into(), conditions: vec![accepted(status)] };
        let mut statuses = Statuses::default();
        statuses.routes.insert(object.clone(), RouteStatus { parents: vec![entry] });
        merged(&object, Some(written), &statuses, OURS).unwrap()
    }

    #[test]
    fn entries_of_other_controllers_stay_as_they_were_written() {
        let other = json!({"controllerName": "other.example/c", "parentRef": {"name": "g"}, "extra": {"a": [1]},
            "conditions": [{"type": "Accepted", "status": "True", "lastTransitionTime": "2020-01-01T00:00:00Z"}]});
        let stale = json!({"controllerName": OURS, "parentRef": {"name": "gone"}, "conditions": []});
        let status = route(&json!({"parents": [other, stale]}), "True");
        let parents = status["parents"].as_array().unwrap();
        assert_eq!(parents.len(), 2);
        assert_eq!(parents[0], other);
        assert_eq!(parents[1]["controllerName"], OURS);
        assert!(parents[1]["conditions"][0]["lastTransitionTime"].as_str().unwrap().ends_with('Z'));
    }

    #[test]
    fn the_transition_time_moves_only_when_the_status_flips_and_foreign_conditions_stay() {
        let parent = to_value(&serde_json::from_value::<ParentReference>(json!({"name": "g"})).unwrap());
        let written = json!({"parents": [{"controllerName": OURS, "parentRef": parent, "conditions": [
            {"type": "Accepted", "status": "True", "reason": "Old", "lastTransitionTime": "2020-01-01T00:00:00Z"},
            {"type": "example.com/Own", "status": "True", "lastTransitionTime": "2021-01-01T00:00:00Z"}]}]});
        let conditions = |status: &Value| status["parents"][0]["conditions"].as_array().unwrap().clone();
        let kept = conditions(&route(&written, "True"));
        assert_eq!(kept[0]["type"], "example.com/Own");
        assert_eq!(kept[1]["lastTransitionTime"], "2020-01-01T00:00:00Z");
        assert_eq!(kept[1]["reason"], "Accepted");
        assert_ne!(conditions(&route(&written, "False"))[1]["lastTransitionTime"], "2020-01-01T00:00:00Z");
    }
}
