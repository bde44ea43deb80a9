//! Permissions: what this configuration does in the cluster and may not do. Pure: answers come in, diagnostics go
//! out, one for each thing that is done, whatever resources, verbs and namespaces it is about.

use std::collections::BTreeMap;

use crate::cli::diagnostic::{Diagnostic, Severity};
use crate::source::kubernetes::permission::{Answer, Need};

/// Most namespaces that are named.
const MOST_NAMED: usize = 5;

/// One resource that is needed, and how.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Lack<'a> {
    purpose: &'a str,
    verbs: Vec<&'a str>,
    /// Namespaces; an empty name is everywhere.
    places: Vec<&'a str>,
    /// Else the API server does not say whether it may be done.
    denied: bool,
    why: &'a str,
}

/// Everything that may not be done.
pub fn diagnose(answers: &[(Need, Answer)], user: &str) -> Vec<Diagnostic> {
    let mut resources: BTreeMap<_, Lack<'_>> = BTreeMap::new();
    for (need, answer) in answers {
        let (denied, why) = match answer {
            Answer::Allowed => continue,
            Answer::Denied(why) => (true, why.as_str()),
            Answer::Unsaid(why) => (false, why.as_str()),
        };
        let (purpose, place) = (need.purpose, need.namespace.as_deref().unwrap_or_default());
        let key = (purpose, need.group, need.resource.as_str(), need.name.as_deref(), denied, why);
        let lack = Lack { purpose, verbs: Vec::new(), places: Vec::new(), denied, why };
        let lack = resources.entry(key).or_insert(lack);
        if !lack.verbs.contains(&need.verb) {
            lack.verbs.push(need.verb);
        }
        if !lack.places.contains(&place) {
            lack.places.push(place);
        }
    }
    let mut lacks: BTreeMap<Lack<'_>, Vec<String>> = BTreeMap::new();
    for ((_, group, resource, name, ..), lack) in resources {
        let group = if group.is_empty() { String::new() } else { format!(".{group}") };
        let name = name.map_or_else(String::new, |name| format!(" {name}"));
        lacks.entry(lack).or_default().push(format!("{resource}{group}{name}"));
    }
    lacks.into_iter().map(|(lack, resources)| lack.tell(user, &resources)).collect()
}

impl Lack<'_> {
    fn tell(&self, user: &str, resources: &[String]) -> Diagnostic {
        let what = format!("{} {}{}", self.verbs.join(", "), resources.join(", "), within(&self.places));
        let why = if self.why.is_empty() { String::new() } else { format!(" ({})", self.why) };
        let purpose = self.purpose;
        let (reason, message) = if self.denied {
            ("Forbidden", format!("{user} may not {what}, needed to {purpose}{why}"))
        } else {
            ("Unsaid", format!("the API server does not say whether {user} may {what}, needed to {purpose}{why}"))
        };
        Diagnostic::new("", Severity::Problem, reason, message)
    }
}

fn within(places: &[&str]) -> String {
    let named: Vec<&str> = places.iter().copied().filter(|place| !place.is_empty()).collect();
    match named.as_slice() {
        [] => String::new(),
        [one] => format!(" in namespace {one}"),
        some if some.len() <= MOST_NAMED => format!(" in namespaces {}", some.join(", ")),
        many => {
            let first: Vec<&str> = many.iter().take(MOST_NAMED).copied().collect();
            format!(" in namespaces {} and {} more", first.join(", "), many.len() - MOST_NAMED)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::kubernetes::permission::{Reached, Undertaking, needs};

    fn undertaking(namespaces: &[&str]) -> Undertaking {
        Undertaking {
            namespaces: namespaces.iter().map(|name| (*name).to_owned()).collect(),
            own_namespace: "gw".into(),
            lease: "transom-x".into(),
            reached: Reached::ByService,
            fleet: true,
        }
    }

    fn told(undertaking: &Undertaking, deny: impl Fn(&Need) -> bool) -> Vec<String> {
        let answer = |need: Need| {
            let answer = if deny(&need) { Answer::Denied(String::new()) } else { Answer::Allowed };
            (need, answer)
        };
        let answers: Vec<_> = needs(undertaking).into_iter().map(answer).collect();
        diagnose(&answers, "jane").iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_allowed_is_not_told() {
        assert_eq!(told(&undertaking(&[]), |_| false), Vec::<String>::new());
    }

    #[test]
    fn what_is_done_is_told_once_whatever_resources_verbs_and_namespaces() {
        assert_eq!(
            told(&undertaking(&["a", "b"]), |need| need.resource == "secrets"),
            [
                "problem: jane may not list, watch secrets in namespaces a, b, needed to see what is to be served [Forbidden]"
            ]
        );
        assert_eq!(
            told(&undertaking(&[]), |need| need.resource == "leases" && need.name.is_some()),
            [
                "problem: jane may not get, update leases.coordination.k8s.io transom-x in namespace gw, needed to choose who \
              writes statuses [Forbidden]"
            ]
        );
        assert_eq!(
            told(&undertaking(&["a"]), |need| need.resource == "secrets" || need.resource == "httproutes"),
            [
                "problem: jane may not list, watch secrets, httproutes.gateway.networking.k8s.io in namespace a, needed to see \
              what is to be served [Forbidden]"
            ]
        );
        let unsaid: Vec<_> = needs(&undertaking(&[]))
            .into_iter()
            .filter(|need| need.resource == "pods")
            .map(|need| (need, Answer::Unsaid("webhook away".to_owned())))
            .collect();
        assert_eq!(
            diagnose(&unsaid, "jane")[0].to_string(),
            "problem: the API server does not say whether jane may list, watch pods in namespace gw, needed to find the pods \
             of this install (webhook away) [Unsaid]"
        );
        let many: Vec<String> = (0..7).map(|n| format!("n{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let all = told(&undertaking(&many), |need| need.resource == "httproutes/status");
        assert!(
            all[0].contains(
                "patch httproutes/status.gateway.networking.k8s.io in namespaces n0, n1, n2, n3, n4 and 2 more"
            ),
            "{all:?}"
        );
    }

    #[test]
    fn only_what_the_configuration_does_is_asked_for() {
        let asked = |undertaking: &Undertaking| -> Vec<String> {
            needs(undertaking).iter().map(|need| format!("{} {}", need.verb, need.resource)).collect()
        };
        let service = asked(&undertaking(&[]));
        for need in [
            "get services",
            "create services",
            "patch endpointslices",
            "delete services",
            "watch pods",
            "patch gateways/status",
        ] {
            assert!(service.iter().any(|asked| asked == need), "{need}");
        }
        let host = asked(&Undertaking { reached: Reached::ByNodes, ..undertaking(&[]) });
        assert!(!host.iter().any(|asked| asked == "create services") && host.iter().any(|asked| asked == "list nodes"));
        let alone = asked(&Undertaking { reached: Reached::ByHost, fleet: false, ..undertaking(&[]) });
        assert!(!alone.iter().any(|asked| asked.ends_with("pods") || asked.ends_with("nodes")));
        let all = needs(&undertaking(&["a"]));
        let everywhere = all.iter().filter(|need| need.namespace.is_none()).map(|need| need.resource.as_str());
        let everywhere: std::collections::BTreeSet<&str> = everywhere.collect();
        assert_eq!(Vec::from_iter(everywhere), ["gatewayclasses", "gatewayclasses/status", "namespaces"]);
        assert!(!all.iter().any(|need| need.verb == "get" && need.resource == "secrets"));
    }
}
