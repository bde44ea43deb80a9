//! Filters under mutation: whatever is written, what is served is sound, a filter is never skipped, and none makes
//! a rule match more.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};
use transom::api::{Kind, Object};
use transom::snapshot::filter::{Cors, HeaderChanges, Names, Origins, PathChange};
use transom::snapshot::{Action, Filter, Filters, LocalAnswer, Redirect, Retry, Rule, Snapshot, Target, Timeouts};
use transom::translate::{Severity, Translation, translate};

use crate::load;
use crate::properties::{Choices, mutate, said};

/// Names that no filter may touch.
const FRAMING: &[&str] = &[
    "connection",
    "content-length",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// No invalid state crosses the bridge: what the data plane is given, it need not judge.
pub fn assert_sound(snapshot: &Snapshot) {
    for rule in &snapshot.rules {
        filters(snapshot, &rule.filters);
        timing(&rule.timeouts, rule.retry.as_ref());
        match &rule.action {
            Action::Answer(LocalAnswer::FilterFailed) => {
                assert!(rule.filters.is_empty() && rule.timeouts.is_none() && rule.retry.is_none());
            }
            Action::Answer(LocalAnswer::InvalidBackend) => {}
            Action::Redirect(found) => redirect(found),
            Action::Forward(upstreams) => {
                for share in upstreams.shares() {
                    if let Target::Upstream(index, of) = &share.target {
                        assert!(snapshot.upstream(*index).is_some());
                        assert!(of.cors().is_none(), "CORS at a backendRef");
                        filters(snapshot, of);
                    }
                }
            }
        }
    }
}

fn filters(snapshot: &Snapshot, filters: &Filters) {
    for filter in filters {
        match filter {
            Filter::RequestHeaders(changes) => {
                headers(changes);
                let host = |name: &http::HeaderName| name == "host";
                assert!(!changes.add.iter().any(|(name, _)| host(name)) && !changes.remove.iter().any(host));
            }
            Filter::ResponseHeaders(changes) => headers(changes),
            Filter::Rewrite(rewrite) => {
                host(rewrite.host.as_deref());
                path(rewrite.path.as_ref());
            }
            Filter::Mirror(mirror) => {
                assert!(snapshot.upstream(mirror.upstream).is_some());
                assert!(mirror.numerator > 0 && mirror.numerator <= mirror.denominator);
            }
            Filter::Cors(cors) => cors_filter(cors),
        }
    }
    assert!(filters.iter().filter(|filter| matches!(filter, Filter::Cors(_))).count() <= 1);
}

fn headers(changes: &HeaderChanges) {
    assert_ne!(*changes, HeaderChanges::default(), "one that changes nothing is none");
    let pairs = |list: &[(http::HeaderName, http::HeaderValue)]| list.iter().map(|(name, _)| name.clone()).collect();
    let lists: [Vec<http::HeaderName>; 3] = [pairs(&changes.set), pairs(&changes.add), changes.remove.to_vec()];
    for mut names in lists {
        assert!(names.iter().all(|name| !FRAMING.contains(&name.as_str())));
        let all = names.len();
        names.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        names.dedup();
        assert_eq!(names.len(), all, "a name stands once in a list");
    }
}

fn host(host: Option<&str>) {
    assert!(host.is_none_or(|host| !host.is_empty() && !host.contains(['*', ':', '/']) && host == host.to_lowercase()));
}

fn path(change: Option<&PathChange>) {
    let sound = |path: &str| transom::router::path::normalise(path).as_deref() == Ok(path) && path.starts_with('/');
    match change {
        None => {}
        Some(PathChange::Full(path)) => assert!(sound(path)),
        Some(PathChange::Prefix(path)) => assert!(path.is_empty() || (sound(path) && !path.ends_with('/'))),
    }
}

fn redirect(redirect: &Redirect) {
    assert!([301, 302, 303, 307, 308].contains(&redirect.status));
    host(redirect.host.as_deref());
    path(redirect.path.as_ref());
}

fn cors_filter(cors: &Cors) {
    assert!(cors.max_age > 0);
    if let Origins::Listed(list) = &cors.origins {
        assert!(list.iter().all(|origin| ["http", "https"].contains(&&*origin.scheme) && origin.port > Some(0)));
    }
    for names in [&cors.methods, &cors.headers, &cors.expose] {
        if let Names::Listed(names) = names {
            assert!(names.iter().all(|name| http::HeaderName::from_bytes(name.as_bytes()).is_ok() && &**name != "*"));
        }
    }
}

fn timing(timeouts: &Timeouts, retry: Option<&Retry>) {
    assert!(timeouts.request != Some(Duration::ZERO) && timeouts.backend != Some(Duration::ZERO));
    if let (Some(request), Some(backend)) = (timeouts.request, timeouts.backend) {
        assert!(backend <= request);
    }
    if let Some(retry) = retry {
        assert!(retry.codes.windows(2).all(|two| two[0] < two[1]));
        assert!(retry.codes.iter().all(|code| (400..600).contains(code)));
    }
}

/// One sound filter of each kind, with every field of it.
fn palette() -> Vec<Value> {
    let headers = json!({"set": [{"name": "a", "value": "b"}], "add": [{"name": "c", "value": "d"}], "remove": ["e"]});
    let prefix = json!({"type": "ReplacePrefixMatch", "replacePrefixMatch": "/p"});
    let full = json!({"type": "ReplaceFullPath", "replaceFullPath": "/f"});
    let web = json!({"name": "web", "port": 80});
    vec![
        json!({"type": "RequestHeaderModifier", "requestHeaderModifier": headers}),
        json!({"type": "ResponseHeaderModifier", "responseHeaderModifier": headers}),
        json!({"type": "URLRewrite", "urlRewrite": {"hostname": "a.example.com", "path": prefix}}),
        json!({"type": "URLRewrite", "urlRewrite": {"path": full}}),
        json!({"type": "RequestMirror", "requestMirror": {"backendRef": web, "percent": 50}}),
        json!({"type": "RequestMirror", "requestMirror": {"backendRef": web, "fraction": {"numerator": 1, "denominator": 3}}}),
        json!({"type": "RequestRedirect", "requestRedirect":
            {"scheme": "https", "hostname": "a.example.com", "port": 8443, "path": prefix, "statusCode": 301}}),
        json!({"type": "CORS", "cors": {"allowOrigins": ["https://a.example.com"], "allowMethods": ["GET"],
            "allowHeaders": ["x-a"], "exposeHeaders": ["x-b"], "maxAge": 10, "allowCredentials": true}}),
        json!({"type": "ExtensionRef", "extensionRef": {"group": "example.com", "kind": "Auth", "name": "a"}}),
        json!({"type": "ExternalAuth"}),
    ]
}

/// Where a list of filters stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Rule,
    Backend,
}

/// A world with one route of one rule; `None` if the filters do not even parse.
fn world(filters: &Value, at: At, forwards: bool) -> Option<Translation> {
    let class = json!({"metadata": {"name": "c"}, "spec": {"controllerName": "transom.dev/gateway-controller"}});
    let gateway = json!({
        "metadata": {"name": "gw", "namespace": "default"},
        "spec": {"gatewayClassName": "c", "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]},
    });
    let service = json!({
        "metadata": {"name": "web", "namespace": "default"}, "spec": {"ports": [{"name": "http", "port": 80}]},
    });
    let mut rule = json!({"matches": [{"path": {"type": "PathPrefix", "value": "/a"}, "method": "GET"}]});
    if forwards {
        rule["backendRefs"] = json!([{"name": "web", "port": 80}, {"name": "web", "port": 80}]);
    }
    match at {
        At::Rule => rule["filters"] = filters.clone(),
        At::Backend => rule["backendRefs"][1]["filters"] = filters.clone(),
    }
    let route = json!({
        "metadata": {"name": "r", "namespace": "default"}, "spec": {"parentRefs": [{"name": "gw"}], "rules": [rule]},
    });
    let route = Object::from_value(Kind::HttpRoute, route).ok()?;
    let objects = [(Kind::GatewayClass, class), (Kind::Gateway, gateway), (Kind::Service, service)];
    let objects = objects.into_iter().map(|(kind, value)| Object::from_value(kind, value).expect("an object"));
    let settings = load::settings(&load::CaseSettings::default());
    Some(translate(&load::resources(objects.chain([route])), &settings))
}

/// Fields of filters that are not as asked, but for references of mirrors, which are left out and said elsewhere.
fn refused(translation: &Translation) -> Vec<&str> {
    let problems = translation.findings.iter().filter(|finding| finding.severity == Severity::Problem);
    let fields = problems.map(|finding| finding.field.as_str());
    fields.filter(|field| field.contains("filters") && !field.ends_with("requestMirror.backendRef")).collect()
}

/// How many filters of the snapshot a list comes to, by type and by what is written alone.
fn expected(filters: &Value, translation: &Translation) -> usize {
    let some = |value: &Value| value.as_array().is_some_and(|list| !list.is_empty());
    let changes = |value: &Value| some(&value["set"]) || some(&value["add"]) || some(&value["remove"]);
    let list = filters.as_array().expect("a list").iter().enumerate();
    let served = list.filter(|(index, filter)| match filter["type"].as_str().expect("a type") {
        "RequestHeaderModifier" => changes(&filter["requestHeaderModifier"]),
        "ResponseHeaderModifier" => changes(&filter["responseHeaderModifier"]),
        "URLRewrite" => !filter["urlRewrite"]["hostname"].is_null() || !filter["urlRewrite"]["path"].is_null(),
        "RequestMirror" => {
            let mirror = &filter["requestMirror"];
            let unresolved = format!("filters[{index}].requestMirror.backendRef");
            mirror["percent"] != json!(0)
                && mirror["fraction"]["numerator"] != json!(0)
                && !translation.findings.iter().any(|finding| finding.field.ends_with(&unresolved))
        }
        "CORS" => true,
        "RequestRedirect" => false,
        other => panic!("{other} is taken as served"),
    });
    served.count()
}

fn assert_served(rule: &Rule, at: At, written: &Value, translation: &Translation) {
    let redirects = written.as_array().expect("a list").iter().any(|filter| filter["type"] == "RequestRedirect");
    let count = expected(written, translation);
    match (&rule.action, at) {
        (Action::Redirect(_), At::Rule) => assert!(redirects && rule.filters.iter().count() == count),
        (Action::Forward(_) | Action::Answer(LocalAnswer::InvalidBackend), At::Rule) => {
            assert!(!redirects);
            assert_eq!(rule.filters.iter().count(), count);
        }
        (Action::Forward(upstreams), At::Backend) => match &upstreams.shares()[1].target {
            Target::Upstream(_, filters) => assert_eq!(filters.iter().count(), count),
            Target::Invalid { .. } => panic!("nothing is said of a share that is refused"),
        },
        (action, _) => panic!("nothing is said of {action:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_filter_is_served_or_its_rule_or_share_fails_and_none_matches_more(
        picked in proptest::collection::vec(any::<proptest::sample::Index>(), 1..4),
        numbers in proptest::collection::vec(any::<u32>(), 1..40), mutations in 0usize..3, backend: bool, forwards: bool
    ) {
        let palette = palette();
        let mut written = Value::Array(picked.iter().map(|index| palette[index.index(palette.len())].clone()).collect());
        let mut choices = Choices(numbers.iter());
        for _ in 0..mutations {
            mutate(&mut written, &mut choices);
        }
        let at = if backend { At::Backend } else { At::Rule };
        let Some(translation) = world(&written, at, forwards || backend) else { return Ok(()) };
        assert_sound(&translation.snapshot);
        let again = world(&written, at, forwards || backend).expect("the same");
        prop_assert_eq!(said(&translation), said(&again));

        let bind = translation.snapshot.binds.values().next().expect("a bind");
        let entries: Vec<_> = bind.listeners[0].routes.entries().collect();
        prop_assert_eq!(entries.len(), 1);
        prop_assert_eq!(entries[0].matches.path.to_string(), "PathPrefix /a");
        prop_assert_eq!(&entries[0].matches.method, &Some(http::Method::GET));

        let rule = translation.snapshot.rule(entries[0].value).expect("a rule");
        let refused = refused(&translation);
        if refused.is_empty() {
            assert_served(rule, at, &written, &translation);
        } else if at == At::Rule {
            prop_assert_eq!(&rule.action, &Action::Answer(LocalAnswer::FilterFailed), "{:?}", refused);
        } else {
            let Action::Forward(upstreams) = &rule.action else { panic!("{:?}", rule.action) };
            let [first, second] = upstreams.shares() else { panic!("two shares") };
            prop_assert!(first.target.upstream().is_some());
            let failed = matches!(second.target, Target::Invalid { answer: LocalAnswer::FilterFailed, .. });
            prop_assert!(failed, "{:?}", refused);
        }
    }
}
