//! An overview as tables, as kubectl prints them, and below them every condition that is not as one would wish.

use jiff::Timestamp;

use super::overview::{AttachedView, ConditionView, EntryView, Identity, ListenerView, Overview};
use crate::cli::paint::Paint;
use crate::cli::table::Table;

/// Stands where nobody has said anything.
const NOTHING: &str = "-";
/// Most hostnames or targets in a cell.
const MOST_NAMED: usize = 3;

/// How it is shown.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    /// Whether the objects are of several namespaces.
    pub namespaces: bool,
    /// Colour or none.
    pub paint: Paint,
    /// The time that ages are counted from.
    pub now: Timestamp,
}

impl Overview {
    /// The tables, one under the other.
    pub fn text(&self, style: Style) -> String {
        let parts = [
            self.classes(style),
            self.gateways(style),
            self.listeners(style),
            self.routes(style),
            self.policies(style),
        ];
        let mut parts: Vec<String> = parts.into_iter().flatten().collect();
        parts.extend(self.bad(style));
        parts.join("\n")
    }

    fn classes(&self, style: Style) -> Option<String> {
        let rows = self.gateway_classes.iter().map(|class| {
            let name = class.identity.name.clone();
            vec![name, class.controller.clone(), cell(&class.conditions, "Accepted"), style.age(&class.identity)]
        });
        table(&["GATEWAYCLASS", "CONTROLLER", "ACCEPTED", "AGE"], rows, style)
    }

    fn gateways(&self, style: Style) -> Option<String> {
        let rows = self.gateways.iter().map(|gateway| {
            let addresses = if gateway.addresses.is_empty() { NOTHING.to_owned() } else { gateway.addresses.join(",") };
            vec![
                gateway.identity.namespace.clone(),
                gateway.identity.name.clone(),
                gateway.class.clone(),
                gateway.controller.clone().unwrap_or_else(|| NOTHING.to_owned()),
                addresses,
                cell(&gateway.conditions, "Accepted"),
                cell(&gateway.conditions, "Programmed"),
                style.age(&gateway.identity),
            ]
        });
        let headings = ["NAMESPACE", "GATEWAY", "CLASS", "CONTROLLER", "ADDRESS", "ACCEPTED", "PROGRAMMED", "AGE"];
        table(&headings, rows, style)
    }

    fn listeners(&self, style: Style) -> Option<String> {
        let gateways = self.gateways.iter().flat_map(|gateway| {
            gateway.listeners.iter().map(|listener| (&gateway.identity, gateway.identity.name.clone(), listener))
        });
        let sets = self.listener_sets.iter().flat_map(|set| {
            let name = format!("{} (ListenerSet)", set.identity.name);
            set.listeners.iter().map(move |listener| (&set.identity, name.clone(), listener))
        });
        let row = |(identity, of, listener): (&Identity, String, &ListenerView)| {
            vec![
                identity.namespace.clone(),
                of,
                listener.name.clone(),
                listener.port.map_or_else(|| NOTHING.to_owned(), |port| port.to_string()),
                listener.protocol.clone(),
                listener.hostname.clone().unwrap_or_else(|| "*".to_owned()),
                listener.attached_routes.map_or_else(|| NOTHING.to_owned(), |routes| routes.to_string()),
                cell(&listener.conditions, "Accepted"),
                cell(&listener.conditions, "Programmed"),
                cell(&listener.conditions, "ResolvedRefs"),
            ]
        };
        let headings = [
            "NAMESPACE",
            "GATEWAY",
            "LISTENER",
            "PORT",
            "PROTOCOL",
            "HOSTNAME",
            "ROUTES",
            "ACCEPTED",
            "PROGRAMMED",
            "RESOLVED",
        ];
        table(&headings, gateways.chain(sets).map(row), style)
    }

    fn routes(&self, style: Style) -> Option<String> {
        let headings = ["NAMESPACE", "ROUTE", "HOSTNAMES", "PARENT", "CONTROLLER", "ACCEPTED", "RESOLVED", "AGE"];
        attached(&self.routes, &headings, "*", style)
    }

    fn policies(&self, style: Style) -> Option<String> {
        let headings = ["NAMESPACE", "POLICY", "TARGETS", "ANCESTOR", "CONTROLLER", "ACCEPTED", "RESOLVED", "AGE"];
        attached(&self.policies, &headings, NOTHING, style)
    }

    /// A line for each condition that is not as one would wish, and for each that is of an older generation.
    fn bad(&self, style: Style) -> Option<String> {
        let mut lines = Vec::new();
        let mut add = |whose: &str, conditions: &[ConditionView]| {
            for condition in conditions.iter().filter(|condition| condition.is_bad() || condition.stale) {
                let ConditionView { kind, status, reason, message, stale } = condition;
                let stale = if *stale { ", of an older generation" } else { "" };
                lines.push(format!("  {whose}: {kind}={status} ({reason}){stale}: {message}\n"));
            }
        };
        for class in &self.gateway_classes {
            add(&who(&class.identity), &class.conditions);
        }
        let gateways = self.gateways.iter().map(|gateway| (&gateway.identity, &gateway.conditions, &gateway.listeners));
        let sets = self.listener_sets.iter().map(|set| (&set.identity, &set.conditions, &set.listeners));
        for (identity, conditions, listeners) in gateways.chain(sets) {
            add(&who(identity), conditions);
            for listener in listeners {
                add(&format!("{}, listener {}", who(identity), listener.name), &listener.conditions);
            }
        }
        for attached in self.routes.iter().chain(&self.policies) {
            for entry in &attached.entries {
                let says = entry.controller.as_deref().unwrap_or_default();
                add(&format!("{} towards {}, says {says}", who(&attached.identity), entry.towards), &entry.conditions);
            }
        }
        (!lines.is_empty()).then(|| format!("{}\n{}", style.paint.bad("Not as asked"), lines.concat()))
    }
}

impl Style {
    fn age(self, identity: &Identity) -> String {
        let made = identity.created.as_deref().and_then(|text| text.parse::<Timestamp>().ok());
        made.map_or_else(|| NOTHING.to_owned(), |made| age(self.now.as_second().saturating_sub(made.as_second())))
    }
}

/// One line for each entry; a route that names no parent, or a policy that nobody answered, has one too.
fn attached(views: &[AttachedView], headings: &[&'static str], none: &str, style: Style) -> Option<String> {
    let row = |view: &AttachedView, entry: Option<&EntryView>| {
        let nothing = || NOTHING.to_owned();
        vec![
            view.identity.namespace.clone(),
            format!("{} {}", view.identity.kind, view.identity.name),
            few(&view.of, none),
            entry.map_or_else(nothing, |entry| entry.towards.clone()),
            entry.and_then(|entry| entry.controller.clone()).unwrap_or_else(nothing),
            entry.map_or_else(nothing, |entry| cell(&entry.conditions, "Accepted")),
            entry.map_or_else(nothing, |entry| cell(&entry.conditions, "ResolvedRefs")),
            style.age(&view.identity),
        ]
    };
    let rows = views.iter().flat_map(|view| match view.entries.as_slice() {
        [] => vec![row(view, None)],
        entries => entries.iter().map(|entry| row(view, Some(entry))).collect(),
    });
    table(headings, rows, style)
}

/// A table with the column of namespaces only where there are several; none without rows.
fn table(headings: &[&'static str], rows: impl Iterator<Item = Vec<String>>, style: Style) -> Option<String> {
    let skip = usize::from(!style.namespaces && headings.first() == Some(&"NAMESPACE"));
    let headings: Vec<&'static str> = headings.iter().skip(skip).copied().collect();
    let mut table = Table::new(&headings);
    for row in rows {
        table.push(row.into_iter().skip(skip).collect());
    }
    (!table.is_empty()).then(|| table.render(0, style.paint))
}

/// A condition in a cell: its status, with the reason where it is not as one would wish.
fn cell(conditions: &[ConditionView], kind: &str) -> String {
    let Some(condition) = conditions.iter().find(|condition| condition.kind == kind) else {
        return NOTHING.to_owned();
    };
    let stale = if condition.stale { ", stale" } else { "" };
    if condition.is_bad() {
        format!("{} ({}){stale}", condition.status, condition.reason)
    } else {
        format!("{}{stale}", condition.status)
    }
}

fn few(names: &[String], none: &str) -> String {
    let mut shown: Vec<&str> = names.iter().take(MOST_NAMED).map(String::as_str).collect();
    let more = format!("+{}", names.len().saturating_sub(MOST_NAMED));
    if names.len() > MOST_NAMED {
        shown.push(&more);
    }
    if shown.is_empty() { none.to_owned() } else { shown.join(",") }
}

fn who(identity: &Identity) -> String {
    let Identity { kind, namespace, name, .. } = identity;
    if namespace.is_empty() { format!("{kind} {name}") } else { format!("{kind} {namespace}/{name}") }
}

/// A span of time in one or two units, as kubectl shortens it.
fn age(seconds: i64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        ..120 => format!("{}s", seconds.max(0)),
        120..600 if seconds % 60 != 0 => format!("{minutes}m{}s", seconds % 60),
        120..10_800 => format!("{minutes}m"),
        10_800..28_800 if minutes % 60 != 0 => format!("{hours}h{}m", minutes % 60),
        10_800..172_800 => format!("{hours}h"),
        172_800..691_200 if hours % 24 != 0 => format!("{days}d{}h", hours % 24),
        172_800..63_072_000 => format!("{days}d"),
        63_072_000.. => format!("{}y{}d", days / 365, days % 365),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::overview::Objects;
    use super::*;
    use crate::api::{Kind, ObjectKey, ObjectRef};

    fn object(kind: Kind, namespace: &str, name: &str, mut value: Value) -> (ObjectRef, Value) {
        value["metadata"]["generation"] = json!(2);
        value["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
        (ObjectRef { kind, key: ObjectKey::new(namespace, name) }, value)
    }

    fn said(kind: &str, status: &str, reason: &str, generation: i64) -> Value {
        json!({"type": kind, "status": status, "reason": reason, "message": "words", "observedGeneration": generation})
    }

    fn objects() -> Objects {
        let class = json!({"spec": {"controllerName": "example.com/c"}, "status": {"conditions": [said("Accepted", "True", "Accepted", 2)]}});
        let other = json!({"spec": {"controllerName": "example.com/d"}});
        let gateway = json!({
            "spec": {"gatewayClassName": "c", "listeners": [
                {"name": "web", "port": 80, "protocol": "HTTP"},
                {"name": "tls", "port": 443, "protocol": "HTTPS", "hostname": "*.example.com"}]},
            "status": {
                "addresses": [{"value": "192.0.2.1"}, {"value": "192.0.2.2"}],
                "conditions": [said("Accepted", "True", "Accepted", 2), said("Programmed", "True", "Programmed", 1)],
                "listeners": [{"name": "web", "attachedRoutes": 3, "conditions": [said("ResolvedRefs", "False", "RefNotPermitted", 2)]}]}});
        let parent = |name: &str, controller: &str, condition: Value| json!({"parentRef": {"name": name, "sectionName": "web"}, "controllerName": controller, "conditions": [condition]});
        let route = json!({
            "spec": {"hostnames": ["a", "b", "c", "d"], "parentRefs": [{"name": "g", "sectionName": "web"}, {"name": "h", "namespace": "m", "port": 80}]},
            "status": {"parents": [
                parent("g", "example.com/c", said("Accepted", "True", "Accepted", 2)),
                parent("g", "example.com/d", said("Accepted", "False", "NotAllowed", 2))]}});
        let policy = json!({"spec": {"targetRefs": [{"kind": "Service", "name": "s", "sectionName": "p"}]}});
        Objects::from([
            object(Kind::GatewayClass, "", "c", class),
            object(Kind::GatewayClass, "", "d", other),
            object(Kind::Gateway, "n", "g", gateway),
            object(Kind::HttpRoute, "n", "r", route),
            object(Kind::BackendTlsPolicy, "n", "p", policy),
        ])
    }

    fn shown(namespaces: bool) -> String {
        let now = "2026-01-01T00:05:00Z".parse().unwrap();
        Overview::of(&objects(), namespaces).text(Style { namespaces, paint: Paint::Plain, now })
    }

    #[test]
    fn each_kind_has_its_table_and_what_is_not_as_asked_stands_below() {
        let expected = "\
GATEWAYCLASS  CONTROLLER     ACCEPTED  AGE
c             example.com/c  True      5m

GATEWAY  CLASS  CONTROLLER     ADDRESS              ACCEPTED  PROGRAMMED   AGE
g        c      example.com/c  192.0.2.1,192.0.2.2  True      True, stale  5m

GATEWAY  LISTENER  PORT  PROTOCOL  HOSTNAME       ROUTES  ACCEPTED  PROGRAMMED  RESOLVED
g        web       80    HTTP      *              3       -         -           False (RefNotPermitted)
g        tls       443   HTTPS     *.example.com  -       -         -           -

ROUTE        HOSTNAMES  PARENT  CONTROLLER     ACCEPTED            RESOLVED  AGE
HTTPRoute r  a,b,c,+1   g#web   example.com/c  True                -         5m
HTTPRoute r  a,b,c,+1   g#web   example.com/d  False (NotAllowed)  -         5m
HTTPRoute r  a,b,c,+1   m/h:80  -              -                   -         5m

POLICY              TARGETS      ANCESTOR  CONTROLLER  ACCEPTED  RESOLVED  AGE
BackendTLSPolicy p  Service s#p  -         -           -         -         5m

Not as asked
  Gateway n/g: Programmed=True (Programmed), of an older generation: words
  Gateway n/g, listener web: ResolvedRefs=False (RefNotPermitted): words
  HTTPRoute n/r towards g#web, says example.com/d: Accepted=False (NotAllowed): words
";
        assert_eq!(shown(false), expected);
    }

    #[test]
    fn namespaces_and_every_class_are_shown_where_all_are_asked_for() {
        let text = shown(true);
        assert!(text.contains("\nNAMESPACE  GATEWAY  CLASS") && text.contains("\nn          g        c"), "{text}");
        assert!(text.contains("\nd             example.com/d  -         5m"), "{text}");
    }

    #[test]
    fn ages_are_short() {
        let shown: Vec<String> =
            [-1, 59, 119, 120, 305, 3_600, 10_800, 13_000, 90_000, 180_000, 1_000_000, 70_000_000].map(age).to_vec();
        assert_eq!(shown, ["0s", "59s", "119s", "2m", "5m5s", "60m", "3h", "3h36m", "25h", "2d2h", "11d", "2y80d"]);
    }
}
