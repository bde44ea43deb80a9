//! Ours into what is there. Pure: the status that an object has and the one that it is to have come in, the status
//! to write goes out. `check -o yaml` shows the very same.
//!
//! "keeps other controllers' entries byte for byte … moves `lastTransitionTime` only when a condition's status
//! flips" (architecture.md, invariant 9). What stays, stays in its place: two controllers that each put their own
//! entry last would write for ever.

use k8s_openapi::jiff::{Timestamp, Unit};
use serde_json::{Map, Value, json};

use crate::api::{Kind, ObjectRef};
use crate::translate::Statuses;

/// Conditions that are ours to take away, where a status of ours had them.
const OWN_CONDITIONS: [&str; 9] = [
    "Accepted",
    "AddressesAssigned",
    "Conflicted",
    "InsecureFrontendValidationMode",
    "OverlappingTLSConfig",
    "PartiallyInvalid",
    "Programmed",
    "ResolvedRefs",
    "SupportedVersion",
];
/// Fields of a whole status that are ours, also when we have nothing to say in them.
const OWN_FIELDS: [&str; 5] = ["addresses", "attachedListenerSets", "conditions", "listeners", "supportedFeatures"];

/// A list of entries of which each controller owns its own.
struct Shared {
    list: &'static str,
    of: &'static str,
}

/// `RouteStatus`: one entry a parent and controller.
const ROUTE: Shared = Shared { list: "parents", of: "parentRef" };
/// `PolicyStatus`: one entry an ancestor and controller.
const POLICY: Shared = Shared { list: "ancestors", of: "ancestorRef" };

/// The status of an object, out of the one that it has and ours; `None` if nothing in it is or was ours.
/// `now` is the time of a condition that flips, as [`now`] writes it.
#[must_use]
pub fn merged(
    object: &ObjectRef,
    live: Option<&Value>,
    statuses: &Statuses,
    controller: &str,
    now: &str,
) -> Option<Value> {
    match object.kind {
        Kind::GatewayClass => Some(whole(live, &to_value(statuses.gateway_classes.get(&object.key)?), now)),
        Kind::Gateway => Some(whole(live, &to_value(statuses.gateways.get(&object.key)?), now)),
        Kind::ListenerSet => Some(whole(live, &to_value(statuses.listener_sets.get(&object.key)?), now)),
        Kind::BackendTlsPolicy | Kind::UpstreamPolicy => {
            let ours = statuses.policies.get(object).map(to_value);
            entries(live, ours.as_ref(), &POLICY, controller, now)
        }
        _ => entries(live, statuses.routes.get(object).map(to_value).as_ref(), &ROUTE, controller, now),
    }
}

/// Whether a status has something of ours already.
#[must_use]
pub fn has_ours(object: &ObjectRef, live: Option<&Value>, controller: &str) -> bool {
    let list = |name: &str| live.and_then(|status| status.get(name)).and_then(Value::as_array).into_iter().flatten();
    let of_ours = |entry: &Value| entry.get("controllerName").and_then(Value::as_str) == Some(controller);
    match object.kind {
        // the CRDs put conditions there by default, which nobody has observed anything for
        Kind::GatewayClass | Kind::Gateway | Kind::ListenerSet => list("conditions")
            .any(|condition| condition.get("observedGeneration").and_then(Value::as_i64).is_some_and(|seen| seen > 0)),
        Kind::BackendTlsPolicy | Kind::UpstreamPolicy => list(POLICY.list).any(of_ours),
        _ => list(ROUTE.list).any(of_ours),
    }
}

/// A status that is ours as a whole, but for conditions of other types and fields that we do not know.
fn whole(live: Option<&Value>, ours: &Value, now: &str) -> Value {
    let mut status = live.and_then(Value::as_object).cloned().unwrap_or_default();
    for field in OWN_FIELDS {
        let before = status.shift_remove(field);
        let value = match (field, ours.get(field)) {
            ("conditions", ours) => Some(conditions(before.as_ref(), ours.unwrap_or(&json!([])), now)),
            ("listeners", Some(ours)) => Some(listeners(before.as_ref(), ours, now)),
            (_, ours) => ours.cloned(),
        };
        if let Some(value) = value {
            status.insert(field.to_owned(), value);
        }
    }
    Value::Object(status)
}

/// The entries of other controllers stay, ours are replaced where they stand.
fn entries(live: Option<&Value>, ours: Option<&Value>, shared: &Shared, controller: &str, now: &str) -> Option<Value> {
    let before = live.and_then(|status| status.get(shared.list)).and_then(Value::as_array);
    let before = before.map(Vec::as_slice).unwrap_or_default();
    let ours = ours.and_then(|status| status.get(shared.list)).and_then(Value::as_array);
    let ours = ours.map(Vec::as_slice).unwrap_or_default();
    let is_ours = |entry: &Value| entry.get("controllerName").and_then(Value::as_str) == Some(controller);
    let same = |a: &Value, b: &Value| a.get(shared.of) == b.get(shared.of);
    if ours.is_empty() && !before.iter().any(is_ours) {
        return None;
    }
    let stay = before.iter().filter_map(|old| {
        if !is_ours(old) {
            return Some(old.clone());
        }
        ours.iter().find(|new| same(new, old)).map(|new| with_conditions(new, Some(old), now))
    });
    let mut all: Vec<Value> = stay.collect();
    let fresh = ours.iter().filter(|new| !before.iter().any(|old| is_ours(old) && same(new, old)));
    all.extend(fresh.map(|new| with_conditions(new, None, now)));
    let mut status = live.and_then(Value::as_object).cloned().unwrap_or_default();
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

/// Ours by type in the place of those that were there; types that are not ours stay.
fn conditions(before: Option<&Value>, ours: &Value, now: &str) -> Value {
    let before = before.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let ours = ours.as_array().map(Vec::as_slice).unwrap_or_default();
    let kind = |condition: &Value| condition.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    let dated = |new: &Value, old: Option<&Value>| {
        let old = old.filter(|old| old.get("status") == new.get("status"));
        let since = old.and_then(|old| old.get("lastTransitionTime")).cloned().unwrap_or_else(|| json!(now));
        let mut condition: Map<String, Value> = new.as_object().cloned().unwrap_or_default();
        condition.insert("lastTransitionTime".to_owned(), since);
        Value::Object(condition)
    };
    let stay = before.iter().filter_map(|old| match ours.iter().find(|new| kind(new) == kind(old)) {
        Some(new) => Some(dated(new, Some(old))),
        None => (!OWN_CONDITIONS.contains(&kind(old).as_str())).then(|| old.clone()),
    });
    let fresh = ours.iter().filter(|new| !before.iter().any(|old| kind(old) == kind(new)));
    Value::Array(stay.chain(fresh.map(|new| dated(new, None))).collect())
}

/// Now, in whole seconds, as the API server writes times.
#[must_use]
pub fn now() -> String {
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
    const NOW: &str = "2026-01-01T00:00:00Z";

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
        merged(&object, Some(written), &statuses, OURS, NOW).unwrap()
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
        assert_eq!(kept[0]["lastTransitionTime"], "2020-01-01T00:00:00Z");
        assert_eq!(kept[0]["reason"], "Accepted");
        assert_eq!(kept[1], written["parents"][0]["conditions"][1]);
        assert_eq!(conditions(&route(&written, "False"))[0]["lastTransitionTime"], NOW);
    }

    #[test]
    fn what_stays_stays_in_its_place_and_a_second_merge_changes_nothing() {
        let parent = to_value(&serde_json::from_value::<ParentReference>(json!({"name": "g"})).unwrap());
        let own = json!({"controllerName": OURS, "parentRef": parent, "conditions": []});
        let other = json!({"controllerName": "other.example/c", "parentRef": {"name": "g"}, "conditions": []});
        let once = route(&json!({"parents": [own, other]}), "True");
        assert_eq!(once["parents"][0]["controllerName"], OURS);
        assert_eq!(once["parents"][1], other);
        assert_eq!(route(&once, "True"), once);
    }

    #[test]
    fn a_route_that_is_no_longer_ours_loses_our_entry_alone() {
        let object = ObjectRef { kind: Kind::HttpRoute, key: ObjectKey::new("n", "r") };
        let other = json!({"controllerName": "other.example/c", "parentRef": {"name": "g"}, "conditions": []});
        let own = json!({"controllerName": OURS, "parentRef": {"name": "g"}, "conditions": []});
        let none = Statuses::default();
        let left = merged(&object, Some(&json!({"parents": [own, other]})), &none, OURS, NOW).unwrap();
        assert_eq!(left, json!({"parents": [other]}));
        assert_eq!(merged(&object, Some(&left), &none, OURS, NOW), None, "nothing of it is ours");
        assert_eq!(merged(&object, None, &none, OURS, NOW), None);
    }

    #[test]
    fn a_condition_of_ours_that_no_longer_holds_goes_and_one_of_others_stays() {
        let parent = to_value(&serde_json::from_value::<ParentReference>(json!({"name": "g"})).unwrap());
        let written = json!({"parents": [{"controllerName": OURS, "parentRef": parent, "conditions": [
            {"type": "PartiallyInvalid", "status": "True", "lastTransitionTime": "2020-01-01T00:00:00Z"},
            {"type": "example.com/Own", "status": "True", "lastTransitionTime": "2021-01-01T00:00:00Z"}]}]});
        let status = route(&written, "True");
        let kinds: Vec<_> = status["parents"][0]["conditions"].as_array().unwrap().iter().map(|c| &c["type"]).collect();
        assert_eq!(kinds, ["example.com/Own", "Accepted"]);
    }
}
