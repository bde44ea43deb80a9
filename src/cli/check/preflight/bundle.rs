//! The CRDs: which release and channel of the Gateway API they are of, what is missing, and what that takes away.
//! Pure: a survey comes in, diagnostics go out. Only kinds that Transom knows are looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

use crate::api::Kind;
use crate::api::kind::{GATEWAY_GROUP, GATEWAY_X_GROUP, TRANSOM_GROUP};
use crate::cli::diagnostic::{Diagnostic, Severity};
use crate::source::kubernetes::survey::{self, Definition, Survey};

/// The release whose objects Transom understands.
const KNOWN: Release = Release([1, 7, 0]);
/// The oldest release that Transom is tried with.
const OLDEST: Release = Release([1, 4, 0]);
/// Our own CRD, as this binary knows it.
const OWN: &str = include_str!("../../../../config/crd/upstreampolicies.yaml");
/// Without these nothing can be served.
const CORE: [Kind; 3] = [Kind::GatewayClass, Kind::Gateway, Kind::HttpRoute];

/// Fields that Transom serves and that not every CRD since [`OLDEST`] has: what is lost without them, and which have
/// them.
const FIELDS: [(Kind, &str, &str, &str); 3] = [
    (
        Kind::HttpRoute,
        "spec.rules[].retry",
        "no route can ask for retries",
        "the standard channel since v1.7.0, the experimental one before",
    ),
    (
        Kind::HttpRoute,
        "spec.rules[].filters[].cors",
        "no route can have the CORS filter",
        "the standard channel since v1.5.0, the experimental one before",
    ),
    (Kind::HttpRoute, "spec.rules[].name", "rules cannot be named", "both channels since v1.4.0"),
];

/// A release of the Gateway API; what stands behind a dash (`-rc.1`) is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Release([u32; 3]);

impl Release {
    fn parse(text: &str) -> Option<Release> {
        let numbers = text.strip_prefix('v')?.split(['-', '+']).next()?;
        let numbers: Vec<u32> = numbers.split('.').map(str::parse).collect::<Result<_, _>>().ok()?;
        numbers.try_into().ok().map(Release)
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Release([major, minor, patch]) = self;
        write!(f, "v{major}.{minor}.{patch}")
    }
}

/// Everything that is to be said of the CRDs.
pub fn diagnose(survey: &Survey) -> Vec<Diagnostic> {
    let mut told = missing(survey);
    if let Some(why) = &survey.unread {
        let message = format!("CRDs may not be read, so nothing is known of their release and fields: {why}");
        told.push(Diagnostic::new("", Severity::Note, "Forbidden", message));
    }
    let gateway: Vec<(Kind, &Definition)> =
        survey.definitions.iter().filter(|(kind, _)| kind.group() == GATEWAY_GROUP).map(|(k, d)| (*k, d)).collect();
    told.extend(releases(&gateway));
    told.extend(channels(&gateway));
    told.extend(fields(survey));
    told.extend(own(survey.definitions.get(&Kind::UpstreamPolicy)));
    told.extend(unknown(survey));
    told
}

/// In short, for the head of the report: `v1.7.0 standard`.
pub fn brief(survey: &Survey) -> String {
    let mut bundles: BTreeSet<String> = BTreeSet::new();
    for (_, definition) in survey.definitions.iter().filter(|(kind, _)| kind.group() == GATEWAY_GROUP) {
        let part = |part: &Option<String>| part.clone().unwrap_or_else(|| "unknown".to_owned());
        bundles.insert(format!("{} {}", part(&definition.bundle), part(&definition.channel)));
    }
    let kinds = Kind::ALL.into_iter().filter_map(|kind| {
        let versions = survey.served.get(&(kind.group().to_owned(), kind.name().to_owned()))?;
        Some(format!("{kind} {}", versions.join("/")))
    });
    let kinds: Vec<String> = kinds.collect();
    let bundles = if bundles.is_empty() {
        "unknown release".to_owned()
    } else {
        bundles.into_iter().collect::<Vec<_>>().join(" and ")
    };
    if kinds.is_empty() { "not installed".to_owned() } else { format!("{bundles}: {}", kinds.join(", ")) }
}

fn missing(survey: &Survey) -> Vec<Diagnostic> {
    let of_group = |group: &'static str| Kind::ALL.into_iter().filter(move |kind| kind.group() == group);
    if !of_group(GATEWAY_GROUP).any(|kind| survey.serves(kind)) {
        let message =
            format!("the CRDs of the Gateway API are not in the cluster: install those of {KNOWN}, standard channel");
        return vec![Diagnostic::new("", Severity::Problem, "KindMissing", message)];
    }
    let missing = of_group(GATEWAY_GROUP).chain(of_group(TRANSOM_GROUP)).filter(|kind| !survey.serves(*kind));
    let tell = |kind: Kind| {
        let severity = if CORE.contains(&kind) { Severity::Problem } else { Severity::Note };
        let understood = kind.versions().join(", ");
        let message = match survey.served.get(&(kind.group().to_owned(), kind.name().to_owned())) {
            Some(others) => format!("is served as {}; understood: {understood}", others.join(", ")),
            None if kind.group() == TRANSOM_GROUP => {
                "is not in the cluster: no policy can be given; the CRD is config/crd/upstreampolicies.yaml".to_owned()
            }
            None => format!("is not in the cluster: there can be no {kind}s"),
        };
        Diagnostic::new(definition(kind), severity, "KindMissing", message)
    };
    missing.map(tell).collect()
}

fn releases(definitions: &[(Kind, &Definition)]) -> Vec<Diagnostic> {
    let mut by_release: BTreeMap<&str, Vec<Kind>> = BTreeMap::new();
    let mut told = Vec::new();
    for (kind, found) in definitions {
        if let Some(bundle) = &found.bundle {
            by_release.entry(bundle).or_default().push(*kind);
        } else {
            let message = "does not say which release of the Gateway API it is of".to_owned();
            told.push(Diagnostic::new(definition(*kind), Severity::Note, "ReleaseUnknown", message));
        }
    }
    if by_release.len() > 1 {
        let parts: Vec<String> =
            by_release.iter().map(|(release, kinds)| format!("{release} ({})", names(kinds))).collect();
        let message = format!("the CRDs are of several releases, where one is meant: {}", parts.join(", "));
        told.push(Diagnostic::new("", Severity::Problem, "ReleasesMixed", message));
    }
    for bundle in by_release.keys() {
        let (reason, message) = match Release::parse(bundle) {
            None => ("ReleaseUnknown", format!("{bundle:?} is no release of the Gateway API as v1.7.0 is")),
            Some(release) if release > KNOWN => {
                let message = format!(
                    "{bundle} is newer than {KNOWN}: fields that it added mean nothing to this version of Transom"
                );
                ("ReleaseNewer", message)
            }
            Some(release) if release < OLDEST => (
                "ReleaseOlder",
                format!("{bundle} is older than {OLDEST}, the oldest that Transom is tried with; best is {KNOWN}"),
            ),
            Some(release) if release < KNOWN => {
                ("ReleaseOlder", format!("{bundle} is older than {KNOWN}: what its CRDs do not have cannot be used"))
            }
            Some(_) => continue,
        };
        told.push(Diagnostic::new("", Severity::Note, reason, message));
    }
    told
}

fn channels(definitions: &[(Kind, &Definition)]) -> Option<Diagnostic> {
    let in_channel = |channel: &str| -> Vec<Kind> {
        let of = definitions.iter().filter(|(_, definition)| definition.channel.as_deref() == Some(channel));
        of.map(|(kind, _)| *kind).collect()
    };
    let (experimental, standard) = (in_channel("experimental"), in_channel("standard"));
    let tell = |reason, message: String| Some(Diagnostic::new("", Severity::Note, reason, message));
    match (experimental.is_empty(), standard.is_empty()) {
        (true, _) => None,
        (false, true) => tell(
            "ExperimentalChannel",
            "the CRDs are of the experimental channel: its fields that Transom does not serve are refused by name"
                .to_owned(),
        ),
        (false, false) => {
            tell("ChannelsMixed", format!("the CRDs are of both channels: experimental are {}", names(&experimental)))
        }
    }
}

fn fields(survey: &Survey) -> Vec<Diagnostic> {
    let lacks = |kind: Kind, path: &str| {
        survey.definitions.get(&kind).is_some_and(|found| !found.fields.is_empty() && !found.fields.contains(path))
    };
    let lacking = FIELDS.into_iter().filter(|(kind, path, ..)| lacks(*kind, path));
    let tell = |(kind, path, lost, which): (Kind, &str, &str, &str)| Diagnostic {
        field: path.to_owned(),
        ..Diagnostic::new(
            definition(kind),
            Severity::Note,
            "FieldMissing",
            format!("is not known to the API server, which drops it: {lost}; in {which}"),
        )
    };
    lacking.map(tell).collect()
}

/// Our own CRD may be that of another version of Transom.
fn own(found: Option<&Definition>) -> Option<Diagnostic> {
    let found = found.filter(|found| !found.fields.is_empty())?;
    let crd: Value = serde_yaml::from_str(OWN).ok()?;
    let known = survey::fields(crd.pointer("/spec/versions/0/schema/openAPIV3Schema")?);
    let lacking: Vec<&str> = known.difference(&found.fields).map(String::as_str).collect();
    // the outermost say it all
    let outer = lacking.iter().filter(|path| !lacking.iter().any(|other| path.starts_with(&format!("{other}."))));
    let outer: Vec<&str> = outer.copied().collect();
    if outer.is_empty() {
        return None;
    }
    let message = format!(
        "is older than this Transom, without {}: apply config/crd/upstreampolicies.yaml again",
        outer.join(", ")
    );
    Some(Diagnostic::new(definition(Kind::UpstreamPolicy), Severity::Problem, "FieldMissing", message))
}

/// Kinds of the Gateway API that Transom has not heard of.
fn unknown(survey: &Survey) -> Option<Diagnostic> {
    let unknown = survey.served.keys().filter(|(group, kind)| {
        [GATEWAY_GROUP, GATEWAY_X_GROUP].contains(&group.as_str()) && Kind::find(group, kind).is_none()
    });
    let unknown: Vec<&str> = unknown.map(|(_, kind)| kind.as_str()).collect();
    if unknown.is_empty() {
        return None;
    }
    let message = format!("kinds of the Gateway API that Transom does not serve: {}", unknown.join(", "));
    Some(Diagnostic::new("", Severity::Note, "KindNotServed", message))
}

fn definition(kind: Kind) -> String {
    format!("CustomResourceDefinition {}.{}", kind.plural(), kind.group())
}

fn names(kinds: &[Kind]) -> String {
    kinds.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cluster with these CRDs, all of this bundle; `lacking` names fields that they do not have.
    fn cluster(bundle: &str, channel: &str, kinds: &[Kind], lacking: &[&str]) -> Survey {
        let mut survey = Survey::default();
        for kind in kinds {
            let versions = kind.versions().iter().map(|version| (*version).to_owned()).collect();
            survey.served.insert((kind.group().to_owned(), kind.name().to_owned()), versions);
            let paths = FIELDS.iter().map(|(_, path, ..)| *path).filter(|path| !lacking.contains(path));
            let definition = Definition {
                bundle: Some(bundle.to_owned()),
                channel: Some(channel.to_owned()),
                fields: paths.map(str::to_owned).collect(),
            };
            survey.definitions.insert(*kind, definition);
        }
        survey.definitions.remove(&Kind::UpstreamPolicy);
        survey
    }

    fn told(survey: &Survey) -> Vec<String> {
        diagnose(survey).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_known_release_in_the_standard_channel_is_nothing_to_speak_of() {
        let survey = cluster("v1.7.0", "standard", &Kind::ALL, &[]);
        assert_eq!(told(&survey), Vec::<String>::new());
        assert!(
            brief(&survey).starts_with("v1.7.0 standard: GatewayClass v1/v1beta1, Gateway v1/v1beta1"),
            "{}",
            brief(&survey)
        );
    }

    #[test]
    fn an_older_release_is_named_with_what_it_takes_away() {
        let old = [
            Kind::GatewayClass,
            Kind::Gateway,
            Kind::HttpRoute,
            Kind::GrpcRoute,
            Kind::ReferenceGrant,
            Kind::BackendTlsPolicy,
        ];
        let all = told(&cluster("v1.4.0", "standard", &old, &["spec.rules[].retry", "spec.rules[].filters[].cors"]))
            .join("\n");
        for words in [
            "note: v1.4.0 is older than v1.7.0: what its CRDs do not have cannot be used [ReleaseOlder]",
            "note: CustomResourceDefinition httproutes.gateway.networking.k8s.io: spec.rules[].retry: is not known",
            "no route can have the CORS filter",
            "note: CustomResourceDefinition tlsroutes.gateway.networking.k8s.io: is not in the cluster",
            "note: CustomResourceDefinition upstreampolicies.transom.dev: is not in the cluster: no policy can be given",
        ] {
            assert!(all.contains(words), "{words} in {all}");
        }
        assert!(!all.contains("problem"), "{all}");
        assert!(told(&cluster("v1.2.0", "standard", &old, &[])).join("\n").contains("v1.2.0 is older than v1.4.0"));
    }

    #[test]
    fn newer_experimental_and_mixed_bundles_are_told() {
        let mut survey = cluster("v1.8.0-rc.1", "experimental", &Kind::ALL, &[]);
        let all = told(&survey).join("\n");
        assert!(all.contains("v1.8.0-rc.1 is newer than v1.7.0") && all.contains("[ExperimentalChannel]"), "{all}");
        let gateway = survey.definitions.get_mut(&Kind::Gateway).unwrap();
        (gateway.bundle, gateway.channel) = (Some("v1.7.0".to_owned()), Some("standard".to_owned()));
        let all = told(&survey).join("\n");
        assert!(
            all.contains(
                "problem: the CRDs are of several releases, where one is meant: v1.7.0 (Gateway), v1.8.0-rc.1"
            ),
            "{all}"
        );
        assert!(all.contains("experimental are GatewayClass, ListenerSet"), "{all}");
        survey.definitions.get_mut(&Kind::Gateway).unwrap().bundle = Some("main".to_owned());
        assert!(told(&survey).join("\n").contains("\"main\" is no release"));
    }

    #[test]
    fn what_nothing_can_be_served_without_is_a_problem() {
        let all = told(&Survey::default());
        assert_eq!(
            all,
            [
                "problem: the CRDs of the Gateway API are not in the cluster: install those of v1.7.0, standard channel [KindMissing]"
            ]
        );
        assert_eq!(brief(&Survey::default()), "not installed");
        let mut survey = cluster("v1.7.0", "standard", &Kind::ALL, &[]);
        survey.served.insert((GATEWAY_GROUP.to_owned(), "Gateway".to_owned()), vec!["v2".to_owned()]);
        survey.served.insert((GATEWAY_X_GROUP.to_owned(), "XMesh".to_owned()), vec!["v1alpha1".to_owned()]);
        let all = told(&survey).join("\n");
        assert!(all.contains("problem: CustomResourceDefinition gateways.gateway.networking.k8s.io: is served as v2; understood: v1, v1beta1"), "{all}");
        assert!(all.contains("kinds of the Gateway API that Transom does not serve: XMesh"), "{all}");
    }

    #[test]
    fn an_own_crd_of_another_version_is_told_by_its_outermost_fields() {
        let crd: Value = serde_yaml::from_str(OWN).unwrap();
        let mut definition = Definition {
            fields: survey::fields(&crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]),
            ..Definition::default()
        };
        assert_eq!(own(Some(&definition)), None);
        definition.fields.retain(|path| !path.starts_with("spec.healthCheck"));
        let told = own(Some(&definition)).unwrap().to_string();
        assert!(told.contains("without spec.healthCheck: apply"), "{told}");
    }
}
