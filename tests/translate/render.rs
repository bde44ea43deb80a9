//! A translation as people read it: conditions and routes a line each. This is what `out.yaml` holds.

use std::fmt::Write;

use transom::api::Condition;
use transom::router::{RouteEntry, RouteMatch, ValueMatch};
use transom::snapshot::filter::{HeaderChanges, Names, Origin, Origins, PathChange, Scheme};
use transom::snapshot::{
    Action, Bind, Filter, Filters, LocalAnswer, Retry, Rule, RuleIndex, Share, Snapshot, Target, UpstreamIndex,
};
use transom::translate::{Audience, GatewayService, Infrastructure, Severity, Statuses, Translation};

/// The whole translation.
pub fn render(translation: &Translation) -> String {
    let mut out = String::new();
    statuses(&mut out, &translation.statuses);
    infrastructure(&mut out, &translation.infrastructure);
    if !translation.applied.is_empty() {
        writeln!(out, "applied: {:?}", translation.applied).unwrap();
    }
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
        let routability = |text: &String| format!(" ({text})");
        let addresses = status
            .addresses
            .iter()
            .map(|a| format!("{} {}{}", a.kind, a.value, a.routability.as_ref().map(routability).unwrap_or_default()));
        let addresses: Vec<_> = addresses.collect();
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
    for (object, status) in &statuses.policies {
        assert!(!status.ancestors.is_empty() && status.ancestors.len() <= 16, "the CRDs allow 16 ancestors");
        writeln!(out, "  {object}:").unwrap();
        for ancestor in &status.ancestors {
            let reference = &ancestor.ancestor_ref;
            writeln!(out, "    ancestor {}/{}:", reference.namespace.as_deref().unwrap_or("-"), reference.name)
                .unwrap();
            conditions(out, 3, &ancestor.conditions);
        }
    }
}

/// The Services wished for; nothing if there are none.
fn infrastructure(out: &mut String, infrastructure: &Infrastructure) {
    if infrastructure.services.is_empty() {
        return;
    }
    out.push_str("infrastructure:\n");
    for (key, GatewayService { name, class, owner_uid, ports, labels, annotations, requested, cluster_ip, audience }) in
        &infrastructure.services
    {
        writeln!(out, "  Gateway {key}:").unwrap();
        writeln!(out, "    service: {name}").unwrap();
        writeln!(out, "    class: {class}").unwrap();
        writeln!(out, "    owner: {owner_uid}").unwrap();
        let ports: Vec<_> = ports.iter().map(|(number, port)| format!("{number} {}", port.app_protocol)).collect();
        writeln!(out, "    ports: {ports:?}").unwrap();
        if !labels.is_empty() || !annotations.is_empty() {
            writeln!(out, "    labels: {labels:?}").unwrap();
            writeln!(out, "    annotations: {annotations:?}").unwrap();
        }
        if !requested.is_empty() {
            let requested: Vec<_> = requested.iter().map(ToString::to_string).collect();
            writeln!(out, "    requested: {requested:?}").unwrap();
        }
        if let Some(ip) = cluster_ip {
            writeln!(out, "    clusterIP: {ip}").unwrap();
        }
        if *audience != Audience::Everyone {
            writeln!(out, "    audience: {audience:?}").unwrap();
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
        let mut line = format!("{}/{}:{} {:?} {endpoints:?}", id.namespace, id.service, id.port, id.protocol);
        if !upstream.policy.is_default() {
            write!(line, " {}", serde_json::to_string(&upstream.policy).unwrap()).unwrap();
        }
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
    let on_the_way = filters(snapshot, &rule.filters) + &timing(rule);
    format!("{host} {} -> {whose}{on_the_way}: {}", matches(&entry.matches), action(snapshot, &rule.action))
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
        Action::Answer(answer) => local(*answer).to_owned(),
        Action::Redirect(redirect) => {
            let scheme = redirect.scheme.map_or("-", Scheme::as_str);
            let host = redirect.host.as_deref().unwrap_or("-");
            let port = redirect.port.map_or("-".to_owned(), |port| port.to_string());
            format!("{} redirect {scheme}://{host}:{port}{}", redirect.status, path(redirect.path.as_ref()))
        }
        Action::Forward(upstreams) => {
            let share = |share: &Share| match &share.target {
                Target::Invalid { backend, answer } => format!("{} {} for {backend}", share.weight, local(*answer)),
                Target::Upstream(index, of) => {
                    format!("{} {}{}", share.weight, upstream(snapshot, *index), filters(snapshot, of))
                }
            };
            upstreams.shares().iter().map(share).collect::<Vec<_>>().join(", ")
        }
    }
}

fn local(answer: LocalAnswer) -> &'static str {
    match answer {
        LocalAnswer::InvalidBackend => "500 invalid_backend",
        LocalAnswer::FilterFailed => "500 filter_failed",
    }
}

fn upstream(snapshot: &Snapshot, index: UpstreamIndex) -> String {
    let id = &snapshot.upstream(index).expect("an upstream of the snapshot").id;
    format!("{}/{}:{}", id.namespace, id.service, id.port)
}

/// ` [one; two]`, in the order of the route; nothing if there is none.
fn filters(snapshot: &Snapshot, filters: &Filters) -> String {
    let filter = |filter: &Filter| match filter {
        Filter::RequestHeaders(changes) => format!("request {}", headers(changes)),
        Filter::ResponseHeaders(changes) => format!("response {}", headers(changes)),
        Filter::Rewrite(rewrite) => {
            format!("rewrite {}{}", rewrite.host.as_deref().unwrap_or("-"), path(rewrite.path.as_ref()))
        }
        Filter::Mirror(mirror) => {
            format!("mirror {}/{} to {}", mirror.numerator, mirror.denominator, upstream(snapshot, mirror.upstream))
        }
        Filter::Cors(cors) => format!(
            "cors {} credentials={} methods={} headers={} expose={} {}s",
            origins(&cors.origins),
            cors.credentials,
            names(&cors.methods),
            names(&cors.headers),
            names(&cors.expose),
            cors.max_age
        ),
    };
    if filters.is_empty() {
        return String::new();
    }
    format!(" [{}]", filters.iter().map(filter).collect::<Vec<_>>().join("; "))
}

fn headers(changes: &HeaderChanges) -> String {
    let pairs = |sign: &'static str, list: &[(http::HeaderName, http::HeaderValue)]| -> Vec<String> {
        list.iter()
            .map(|(name, value)| format!("{sign}{name}: {}", String::from_utf8_lossy(value.as_bytes())))
            .collect()
    };
    let removed = changes.remove.iter().map(|name| format!("-{name}"));
    [pairs("=", &changes.set), pairs("+", &changes.add), removed.collect()].concat().join(" ")
}

fn path(change: Option<&PathChange>) -> String {
    match change {
        None => String::new(),
        Some(PathChange::Full(path)) => format!(" path {path}"),
        Some(PathChange::Prefix(path)) => format!(" prefix \"{path}\""),
    }
}

fn names(names: &Names) -> String {
    match names {
        Names::Any => "*".to_owned(),
        Names::Listed(names) => names.join("|"),
    }
}

fn origins(origins: &Origins) -> String {
    let one = |origin: &Origin| {
        let host = origin.host.as_ref().map_or("*".to_owned(), ToString::to_string);
        format!("{}://{host}:{}", origin.scheme, origin.port.map_or("-".to_owned(), |port| port.to_string()))
    };
    match origins {
        Origins::Any => "*".to_owned(),
        Origins::Listed(list) => format!("({})", list.iter().map(one).collect::<Vec<_>>().join(" ")),
    }
}

/// Bounds in time and retry; nothing if there is none.
fn timing(rule: &Rule) -> String {
    let mut text = String::new();
    if let Some(request) = rule.timeouts.request {
        write!(text, " request {request:?}").unwrap();
    }
    if let Some(backend) = rule.timeouts.backend {
        write!(text, " backend {backend:?}").unwrap();
    }
    if let Some(Retry { codes, attempts, backoff }) = &rule.retry {
        write!(text, " retry {attempts} on {codes:?} after {backoff:?}").unwrap();
    }
    text
}

fn item(out: &mut String, depth: usize, line: &str) {
    let quoted = line.replace('\'', "''").replace('\n', " ");
    writeln!(out, "{}- '{quoted}'", "  ".repeat(depth)).unwrap();
}
