//! A translation as people read it: conditions and routes a line each. This is what `out.yaml` holds.

use std::fmt::Write;

use transom::api::Condition;
use transom::router::{RouteEntry, RouteMatch, ValueMatch};
use transom::snapshot::{Action, Bind, LocalAnswer, RuleIndex, Snapshot};
use transom::translate::{Severity, Statuses, Translation};

/// The whole translation.
pub fn render(translation: &Translation) -> String {
    let mut out = String::new();
    statuses(&mut out, &translation.statuses);
    snapshot(&mut out, &translation.snapshot);
    out.push_str("findings:\n");
    for finding in &translation.findings {
        let severity = if finding.severity == Severity::Problem { "Problem" } else { "Note" };
        let field = if finding.field.is_empty() { "-" } else { &finding.field };
        let line = format!("{severity} {} {field} {}: {}", finding.object, finding.reason, finding.message);
        item(&mut out, 1, &line);
    }
    out
}

fn statuses(out: &mut String, statuses: &Statuses) {
    out.push_str("statuses:\n");
    for (key, status) in &statuses.gateway_classes {
        writeln!(out, "  GatewayClass {key}:").unwrap();
        conditions(out, 2, &status.conditions);
        let names: Vec<_> = status.supported_features.iter().map(|feature| feature.name.as_str()).collect();
        assert!(names.is_sorted(), "supportedFeatures ascend");
    }
    for (key, status) in &statuses.gateways {
        writeln!(out, "  Gateway {key}:").unwrap();
        let addresses: Vec<_> = status.addresses.iter().map(|a| format!("{} {}", a.kind, a.value)).collect();
        writeln!(out, "    addresses: {addresses:?}").unwrap();
        conditions(out, 2, &status.conditions);
        for listener in &status.listeners {
            let kinds: Vec<_> = listener.supported_kinds.iter().map(|kind| kind.kind.as_str()).collect();
            writeln!(out, "    listener {}:", listener.name).unwrap();
            writeln!(out, "      supportedKinds: {kinds:?}").unwrap();
            writeln!(out, "      attachedRoutes: {}", listener.attached_routes).unwrap();
            conditions(out, 3, &listener.conditions);
        }
    }
    for (key, status) in &statuses.listener_sets {
        writeln!(out, "  ListenerSet {key}:").unwrap();
        conditions(out, 2, &status.conditions);
    }
    for (object, status) in &statuses.routes {
        writeln!(out, "  {object}:").unwrap();
        for parent in &status.parents {
            let reference = &parent.parent_ref;
            let namespace = reference.namespace.as_deref().map(|n| format!("{n}/")).unwrap_or_default();
            let section = reference.section_name.as_deref().map(|s| format!(" section {s}")).unwrap_or_default();
            let port = reference.port.map(|port| format!(" port {port}")).unwrap_or_default();
            writeln!(out, "    parent {namespace}{}{section}{port}:", reference.name).unwrap();
            conditions(out, 3, &parent.conditions);
        }
    }
    for (key, status) in &statuses.policies {
        writeln!(out, "  BackendTLSPolicy {key}:").unwrap();
        for ancestor in &status.ancestors {
            let reference = &ancestor.ancestor_ref;
            writeln!(out, "    ancestor {}/{}:", reference.namespace.as_deref().unwrap_or("-"), reference.name)
                .unwrap();
            conditions(out, 3, &ancestor.conditions);
        }
    }
}

fn conditions(out: &mut String, depth: usize, conditions: &[Condition]) {
    assert!(conditions.len() <= 8, "the CRDs allow 8 conditions");
    writeln!(out, "{}conditions:", "  ".repeat(depth)).unwrap();
    for condition in conditions {
        assert!(condition.message.len() <= 32 * 1024 && !condition.reason.is_empty());
        let generation = condition.observed_generation.map_or("-".to_owned(), |g| g.to_string());
        let Condition { kind, status, reason, message, .. } = condition;
        item(out, depth + 1, &format!("{kind}={status} {reason} @{generation}: {message}"));
    }
}

fn snapshot(out: &mut String, snapshot: &Snapshot) {
    out.push_str("binds:\n");
    for (address, bind) in &snapshot.binds {
        writeln!(out, "  '{address}':").unwrap();
        writeln!(out, "    protocol: {:?}", bind.protocol).unwrap();
        listeners(out, snapshot, bind);
    }
    out.push_str("upstreams:\n");
    for upstream in &snapshot.upstreams {
        let id = &upstream.id;
        let endpoints: Vec<_> = upstream.endpoints.load().endpoints.iter().map(|e| e.address.to_string()).collect();
        let line = format!("{}/{}:{} {:?} {endpoints:?}", id.namespace, id.service, id.port, id.protocol);
        item(out, 1, &line);
    }
}

fn listeners(out: &mut String, snapshot: &Snapshot, bind: &Bind) {
    for (index, listener) in bind.listeners.iter().enumerate() {
        let id = &listener.id;
        let host = listener.hostname.as_ref().map_or("*".to_owned(), ToString::to_string);
        let found = bind.by_host.sorted().into_iter().find(|(_, i)| **i as usize == index).map(|(host, _)| host);
        assert_eq!(found, Some(listener.hostname.clone()), "by_host leads to the listener");
        writeln!(out, "    listener {}/{}/{}:", id.namespace, id.gateway, id.listener).unwrap();
        writeln!(out, "      host: '{host}'").unwrap();
        writeln!(out, "      port: {}", listener.port).unwrap();
        if let Some(tls) = &listener.tls {
            let names: Vec<_> = tls.certificates.iter().map(|c| c.names.join("+")).collect();
            writeln!(out, "      certificates: {names:?}").unwrap();
        }
        writeln!(out, "      routes:").unwrap();
        for entry in listener.routes.entries() {
            item(out, 4, &route(snapshot, entry));
        }
    }
}

fn route(snapshot: &Snapshot, entry: &RouteEntry<RuleIndex>) -> String {
    let host = entry.hostname.as_ref().map_or("*".to_owned(), ToString::to_string);
    let rule = snapshot.rule(entry.value).expect("a rule of the snapshot");
    let name = rule.name.as_deref().map(|name| format!(" ({name})")).unwrap_or_default();
    let whose = format!("{} {}/{} rule {}{name}", rule.route.kind, rule.route.namespace, rule.route.name, rule.index);
    format!("{host} {} -> {whose}: {}", matches(&entry.matches), action(snapshot, &rule.action))
}

fn matches(matches: &RouteMatch) -> String {
    let mut text = matches.path.to_string();
    let value = |value: &ValueMatch| match value {
        ValueMatch::Exact(value) => format!("={value}"),
        ValueMatch::Regex(pattern) => format!("~{pattern}"),
    };
    if let Some(method) = &matches.method {
        write!(text, " {method}").unwrap();
    }
    for header in &matches.headers {
        write!(text, " {}{}", header.name, value(&header.value)).unwrap();
    }
    for param in &matches.query {
        write!(text, " ?{}{}", param.name, value(&param.value)).unwrap();
    }
    text
}

fn action(snapshot: &Snapshot, action: &Action) -> String {
    match action {
        Action::Answer(LocalAnswer::InvalidBackend) => "500 invalid_backend".to_owned(),
        Action::Answer(LocalAnswer::FilterFailed) => "500 filter_failed".to_owned(),
        Action::Redirect(redirect) => format!("{} redirect", redirect.status),
        Action::Forward(upstreams) => {
            let share = |share: &transom::snapshot::Share| {
                let upstream = share.target.upstream().map(|index| &snapshot.upstream(index).expect("an upstream").id);
                let to = upstream.map_or("500".to_owned(), |id| format!("{}/{}:{}", id.namespace, id.service, id.port));
                format!("{} {to}", share.weight)
            };
            upstreams.shares().iter().map(share).collect::<Vec<_>>().join(", ")
        }
    }
}

fn item(out: &mut String, depth: usize, line: &str) {
    let quoted = line.replace('\'', "''").replace('\n', " ");
    writeln!(out, "{}- '{quoted}'", "  ".repeat(depth)).unwrap();
}
