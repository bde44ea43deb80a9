//! What is ignored, and why: objects outside of namespaces and selectors, Gateways of other controllers' classes,
//! routes that lead to none of ours. Pure: what there is and what is seen of it come in, diagnostics go out.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::api::kind::GATEWAY_GROUP;
use crate::api::{Kind, ObjectKey, ObjectRef};
use crate::cli::diagnostic::{Diagnostic, Severity};
use crate::source::kubernetes::Selectors;

/// Most objects that are named of a kind.
const MOST_NAMED: usize = 5;

/// Objects by identity, as the API server holds them.
pub type Objects = BTreeMap<ObjectRef, Value>;

/// A cluster, and what is seen of it.
#[derive(Debug, Clone, Copy)]
pub struct Sight<'a> {
    /// Objects of kinds with a status, everywhere.
    pub all: &'a Objects,
    /// Those of them that are watched.
    pub seen: &'a Objects,
    /// What the watches ask for.
    pub selectors: &'a Selectors,
    /// Our controllerName.
    pub controller: &'a str,
}

impl Sight<'_> {
    /// Everything that is ignored.
    pub fn diagnose(self) -> Vec<Diagnostic> {
        let mut told = self.left_out();
        let ours: Vec<&ObjectRef> = self.classes(|controller| controller == self.controller).collect();
        if ours.is_empty() {
            let message = format!(
                "no GatewayClass that is seen has controllerName {}: no Gateway is served; make one, or give --controller-name",
                self.controller
            );
            told.push(Diagnostic::new("", Severity::Problem, "NoGatewayClass", message));
        }
        let mut gateways = BTreeSet::new();
        let mut foreign: BTreeMap<(&str, Option<&str>), Vec<&ObjectKey>> = BTreeMap::new();
        for (gateway, object) in self.seen.iter().filter(|(object, _)| object.kind == Kind::Gateway) {
            let class = text(object, "/spec/gatewayClassName");
            if ours.iter().any(|ours| ours.key.name == class) {
                gateways.insert(&gateway.key);
            } else {
                foreign.entry((class, self.controller_of(class))).or_default().push(&gateway.key);
            }
        }
        told.extend(
            foreign.into_iter().map(|((class, controller), gateways)| self.of_class(class, controller, &gateways)),
        );
        if gateways.is_empty() && !ours.is_empty() {
            let message = "no Gateway that is seen is of a class of ours: nothing is served yet".to_owned();
            told.push(Diagnostic::new("", Severity::Note, "NoGateway", message));
        }
        told.extend(self.without_parent(&gateways));
        told
    }

    fn classes(&self, wanted: impl Fn(&str) -> bool) -> impl Iterator<Item = &ObjectRef> {
        let classes = self.seen.iter().filter(|(object, _)| object.kind == Kind::GatewayClass);
        classes.filter(move |(_, class)| wanted(text(class, "/spec/controllerName"))).map(|(object, _)| object)
    }

    /// The controller of a class, seen or not.
    fn controller_of(&self, class: &str) -> Option<&str> {
        let object = ObjectRef { kind: Kind::GatewayClass, key: ObjectKey::new("", class) };
        self.all.get(&object).map(|class| text(class, "/spec/controllerName"))
    }

    fn left_out(&self) -> Vec<Diagnostic> {
        let mut left: BTreeMap<(Kind, bool), Vec<&ObjectKey>> = BTreeMap::new();
        for object in self.all.keys().filter(|object| !self.seen.contains_key(object)) {
            let namespaces = &self.selectors.namespaces;
            let elsewhere =
                object.kind.namespaced() && !namespaces.is_empty() && !namespaces.contains(&object.key.namespace);
            left.entry((object.kind, elsewhere)).or_default().push(&object.key);
        }
        let tell = |((kind, elsewhere), objects): ((Kind, bool), Vec<&ObjectKey>)| {
            let selector = match kind {
                Kind::GatewayClass => ("--gateway-class-selector", &self.selectors.gateway_classes),
                Kind::Gateway => ("--gateway-selector", &self.selectors.gateways),
                _ => ("--route-selector", &self.selectors.routes),
            };
            let why = match selector {
                _ if elsewhere => format!("not in a namespace of --namespaces {}", self.selectors.namespaces.join(",")),
                (flag, Some(selector)) => format!("without the labels of {flag} '{selector}'"),
                // no selector leaves it out: it was made between two questions
                (_, None) => return None,
            };
            let message = format!("ignored, {why}: {}", named(&objects));
            Some(Diagnostic::new(counted(objects.len(), kind), Severity::Note, "LeftOut", message))
        };
        left.into_iter().filter_map(tell).collect()
    }

    fn of_class(&self, class: &str, controller: Option<&str>, gateways: &[&ObjectKey]) -> Diagnostic {
        let (severity, reason, why) = match controller {
            None => (Severity::Problem, "ClassNotFound", "which is not in the cluster".to_owned()),
            Some(controller) if controller == self.controller => {
                (Severity::Note, "LeftOut", "which --gateway-class-selector leaves out".to_owned())
            }
            Some(controller) => (Severity::Note, "ForeignClass", format!("which belongs to {controller}")),
        };
        let message = format!("ignored, of class {class:?}, {why}: {}", named(gateways));
        Diagnostic::new(counted(gateways.len(), Kind::Gateway), severity, reason, message)
    }

    /// Routes and sets of listeners that name no Gateway of ours.
    fn without_parent(&self, gateways: &BTreeSet<&ObjectKey>) -> Vec<Diagnostic> {
        let mut without: BTreeMap<Kind, Vec<&ObjectKey>> = BTreeMap::new();
        for (object, value) in self.seen {
            let parents = match object.kind {
                Kind::ListenerSet => value.pointer("/spec/parentRef").map(std::slice::from_ref),
                Kind::HttpRoute | Kind::GrpcRoute | Kind::TlsRoute | Kind::TcpRoute | Kind::UdpRoute => {
                    value.pointer("/spec/parentRefs").and_then(Value::as_array).map(Vec::as_slice)
                }
                _ => continue,
            };
            let ours = |parent: &Value| {
                let or = |field: &str, default| parent.get(field).and_then(Value::as_str).unwrap_or(default).to_owned();
                let key = ObjectKey::new(or("namespace", &object.key.namespace), or("name", ""));
                // where a set of listeners leads is said of the set
                or("group", GATEWAY_GROUP) == GATEWAY_GROUP
                    && (or("kind", "Gateway") == Kind::ListenerSet.name()
                        || or("kind", "Gateway") == Kind::Gateway.name() && gateways.contains(&key))
            };
            if !parents.unwrap_or_default().iter().any(ours) {
                without.entry(object.kind).or_default().push(&object.key);
            }
        }
        let tell = |(kind, objects): (Kind, Vec<&ObjectKey>)| {
            let message = format!("ignored, without a Gateway of ours as parent: {}", named(&objects));
            Diagnostic::new(counted(objects.len(), kind), Severity::Note, "ForeignParent", message)
        };
        without.into_iter().map(tell).collect()
    }
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn counted(count: usize, kind: Kind) -> String {
    match (count, kind) {
        (1, kind) => format!("1 {kind}"),
        (count, Kind::GatewayClass) => format!("{count} GatewayClasses"),
        (count, Kind::BackendTlsPolicy) => format!("{count} BackendTLSPolicies"),
        (count, Kind::UpstreamPolicy) => format!("{count} UpstreamPolicies"),
        (count, kind) => format!("{count} {kind}s"),
    }
}

fn named(objects: &[&ObjectKey]) -> String {
    let mut names: Vec<String> = objects.iter().take(MOST_NAMED).map(ToString::to_string).collect();
    if objects.len() > MOST_NAMED {
        names.push(format!("and {} more", objects.len() - MOST_NAMED));
    }
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn objects(list: &[(Kind, &str, &str, Value)]) -> Objects {
        let of = |(kind, namespace, name, spec): &(Kind, &str, &str, Value)| {
            (ObjectRef { kind: *kind, key: ObjectKey::new(*namespace, *name) }, json!({"spec": spec}))
        };
        list.iter().map(of).collect()
    }

    fn told(all: &Objects, seen: &Objects, selectors: &Selectors) -> Vec<String> {
        let sight = Sight { all, seen, selectors, controller: "transom.dev/x" };
        sight.diagnose().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn gateways_of_other_classes_and_routes_of_other_gateways_are_told_by_kind() {
        let all = objects(&[
            (Kind::GatewayClass, "", "ours", json!({"controllerName": "transom.dev/x"})),
            (Kind::GatewayClass, "", "theirs", json!({"controllerName": "example.com/y"})),
            (Kind::Gateway, "n", "a", json!({"gatewayClassName": "ours"})),
            (Kind::Gateway, "n", "b", json!({"gatewayClassName": "theirs"})),
            (Kind::Gateway, "n", "c", json!({"gatewayClassName": "gone"})),
            (Kind::HttpRoute, "n", "to-a", json!({"parentRefs": [{"name": "a"}]})),
            (Kind::HttpRoute, "m", "to-a", json!({"parentRefs": [{"name": "a", "namespace": "n"}]})),
            (Kind::HttpRoute, "n", "to-b", json!({"parentRefs": [{"name": "b"}]})),
            (Kind::HttpRoute, "n", "to-set", json!({"parentRefs": [{"name": "s", "kind": "ListenerSet"}]})),
            (Kind::GrpcRoute, "n", "mesh", json!({"parentRefs": [{"name": "a", "kind": "Service", "group": ""}]})),
        ]);
        assert_eq!(
            told(&all, &all, &Selectors::default()),
            [
                "problem: 1 Gateway: ignored, of class \"gone\", which is not in the cluster: n/c [ClassNotFound]",
                "note: 1 Gateway: ignored, of class \"theirs\", which belongs to example.com/y: n/b [ForeignClass]",
                "note: 1 HTTPRoute: ignored, without a Gateway of ours as parent: n/to-b [ForeignParent]",
                "note: 1 GRPCRoute: ignored, without a Gateway of ours as parent: n/mesh [ForeignParent]",
            ]
        );
    }

    #[test]
    fn what_selectors_and_namespaces_leave_out_is_told_with_the_flag() {
        let class = (Kind::GatewayClass, "", "ours", json!({"controllerName": "transom.dev/x"}));
        let gateway = |namespace| (Kind::Gateway, namespace, "g", json!({"gatewayClassName": "ours"}));
        let all = objects(&[class.clone(), gateway("a"), gateway("b"), gateway("c")]);
        let selectors = Selectors {
            gateways: Some("tier=edge".into()),
            namespaces: vec!["a".into(), "b".into()],
            ..Selectors::default()
        };
        assert_eq!(
            told(&all, &objects(&[class, gateway("a")]), &selectors),
            [
                "note: 1 Gateway: ignored, without the labels of --gateway-selector 'tier=edge': b/g [LeftOut]",
                "note: 1 Gateway: ignored, not in a namespace of --namespaces a,b: c/g [LeftOut]",
            ]
        );
    }

    #[test]
    fn no_class_of_ours_is_a_problem_and_no_gateway_a_note() {
        let none = Objects::new();
        assert!(told(&none, &none, &Selectors::default())[0].starts_with("problem: no GatewayClass that is seen has"));
        let class = objects(&[(Kind::GatewayClass, "", "ours", json!({"controllerName": "transom.dev/x"}))]);
        let all = told(&class, &class, &Selectors::default());
        assert_eq!(all, ["note: no Gateway that is seen is of a class of ours: nothing is served yet [NoGateway]"]);
        let gateway = objects(&[(Kind::Gateway, "n", "g", json!({"gatewayClassName": "ours"}))]);
        let both = class.into_iter().chain(gateway.clone()).collect();
        let selectors = Selectors { gateway_classes: Some("a=b".into()), ..Selectors::default() };
        let all = told(&both, &gateway, &selectors).join("\n");
        assert!(
            all.contains("1 GatewayClass: ignored, without the labels of --gateway-class-selector 'a=b': ours"),
            "{all}"
        );
        assert!(all.contains("of class \"ours\", which --gateway-class-selector leaves out: n/g"), "{all}");
    }

    #[test]
    fn of_many_a_few_are_named() {
        let names: Vec<String> = (0..8).map(|n| format!("r{n}")).collect();
        let routes: Vec<_> = names.iter().map(|name| (Kind::HttpRoute, "n", name.as_str(), json!({}))).collect();
        let all = objects(&routes);
        let all = told(&all, &all, &Selectors::default()).join("\n");
        assert!(
            all.contains(
                "8 HTTPRoutes: ignored, without a Gateway of ours as parent: n/r0, n/r1, n/r2, n/r3, n/r4, and 3 more"
            ),
            "{all}"
        );
    }
}
