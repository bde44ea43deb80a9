//! The chart: what its presets render to, and that values, schema and README say the same.
//!
//! `tests/chart/` holds each preset of `helm/transom/ci` as rendered; `tools/chart.sh --check` (in `make lint`) holds
//! those to the templates, so that nothing here needs helm.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_yaml::{Mapping, Value};
use transom::config::{Config, Field, Layers};
use transom::infra::ServicePattern;
use transom::source::kubernetes::permission::{Reached, Undertaking, needs};

/// Flags of `transom run` that are no settings.
const OF_RUN: &[&str] = &["kubernetes"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn yaml(path: &str) -> Value {
    serde_yaml::from_str(&text(path)).unwrap()
}

/// The objects of each preset.
fn presets() -> BTreeMap<String, Vec<Value>> {
    let files = std::fs::read_dir(root().join("helm/transom/ci")).unwrap().map(|entry| entry.unwrap().file_name());
    let names = files.map(|name| name.into_string().unwrap().replace("-values.yaml", ""));
    names.map(|name| (name.clone(), objects(&name))).collect()
}

/// The same, and what comes of values that no preset sets.
fn rendered() -> BTreeMap<String, Vec<Value>> {
    let mut all = presets();
    all.insert("everything".to_owned(), objects("everything"));
    all
}

fn objects(name: &str) -> Vec<Value> {
    serde_yaml::Deserializer::from_str(&text(format!("tests/chart/{name}.yaml")))
        .map(|document| Value::deserialize(document).unwrap())
        .filter(|object| !object.is_null())
        .collect()
}

fn of_kind<'a>(objects: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    objects.iter().filter(move |object| object["kind"] == kind)
}

fn workload(objects: &[Value]) -> &Value {
    objects.iter().find(|object| object["kind"] == "Deployment" || object["kind"] == "DaemonSet").unwrap()
}

fn pod(objects: &[Value]) -> &Value {
    &workload(objects)["spec"]["template"]["spec"]
}

fn container(objects: &[Value]) -> &Value {
    let containers = pod(objects)["containers"].as_sequence().unwrap();
    containers.iter().find(|container| container["name"] == "transom").unwrap()
}

fn texts(value: &Value) -> BTreeSet<&str> {
    value.as_sequence().into_iter().flatten().map(|value| value.as_str().unwrap()).collect()
}

fn arguments(objects: &[Value]) -> Vec<(&str, &str)> {
    let all = container(objects)["args"].as_sequence().unwrap().iter().map(|value| value.as_str().unwrap());
    all.skip(1)
        .map(|argument| argument.strip_prefix("--").unwrap())
        .map(|a| a.split_once('=').unwrap_or((a, "")))
        .collect()
}

fn argument<'a>(objects: &'a [Value], flag: &str) -> Option<&'a str> {
    arguments(objects).into_iter().find_map(|(name, value)| (name == flag).then_some(value))
}

/// A group, a resource, where (none is everywhere), and a verb.
type Permission = (String, String, Option<String>, String);

/// What the roles of the install grant.
fn granted(objects: &[Value]) -> BTreeSet<Permission> {
    let mut all = BTreeSet::new();
    for role in of_kind(objects, "ClusterRole").chain(of_kind(objects, "Role")) {
        let namespace = role["metadata"]["namespace"].as_str().map(str::to_owned);
        for rule in role["rules"].as_sequence().unwrap() {
            for group in texts(&rule["apiGroups"]) {
                for resource in texts(&rule["resources"]) {
                    let verbs = texts(&rule["verbs"]).into_iter();
                    all.extend(verbs.map(|verb| (group.into(), resource.into(), namespace.clone(), verb.into())));
                }
            }
        }
    }
    all
}

/// What the program asks of an API server when it is started as the install starts it.
fn needed(objects: &[Value]) -> BTreeSet<Permission> {
    let reached = match (argument(objects, "expose"), argument(objects, "publish-addresses")) {
        (Some("service"), _) => Reached::ByService,
        (_, Some(_)) => Reached::ByHost,
        (_, None) => Reached::ByNodes,
    };
    let undertaking = Undertaking {
        namespaces: argument(objects, "namespaces").into_iter().flat_map(|n| n.split(',')).map(str::to_owned).collect(),
        own_namespace: workload(objects)["metadata"]["namespace"].as_str().unwrap().to_owned(),
        lease: "any".to_owned(),
        reached,
        fleet: argument(objects, "pod-selector").is_some(),
    };
    let needs = needs(&undertaking).into_iter();
    needs.map(|need| (need.group.to_owned(), need.resource, need.namespace, need.verb.to_owned())).collect()
}

#[test]
fn every_argument_is_a_setting_with_a_value_that_it_takes() {
    for (preset, objects) in rendered() {
        assert_eq!(container(&objects)["args"][0], "run", "{preset}");
        for address in ["10.244.0.7", "fd00:10:244::7"] {
            let mut layers = Layers::default();
            for (flag, value) in arguments(&objects).into_iter().filter(|(flag, _)| !OF_RUN.contains(flag)) {
                let field = Config::FIELDS.iter().find(|field| field.flag() == flag);
                let field: &Field = field.unwrap_or_else(|| panic!("{preset}: `transom run` has no --{flag}"));
                layers.set_flag(field, &value.replace("$(POD_IP)", address));
            }
            let config = Config::resolve(&layers).unwrap_or_else(|error| panic!("{preset}: {error}"));
            let port = container(&objects)["ports"][0]["containerPort"].as_u64().unwrap();
            assert_eq!(config.admin_address.0.ip().to_string(), address, "{preset}");
            assert_eq!(u64::from(config.admin_address.0.port()), port, "{preset}");
        }
    }
}

#[test]
fn settings_of_ports_reach_the_program_with_ports_for_names() {
    let default = &presets()["default"];
    assert_eq!(argument(default, "ports"), None);
    let all = &rendered()["everything"];
    let given: serde_json::Value = serde_json::from_str(argument(all, "ports").unwrap()).unwrap();
    let expected = serde_json::json!({
        "80": {"redirections": {"entryPoint": {"to": 443}}},
        "443": {
            "proxyProtocol": {"trustedIPs": ["10.0.0.0/8", "fd00::7"], "mode": "required"},
            "forwardedHeaders": {"trustedIPs": ["192.0.2.1"]},
        },
        "8080": {"redirections": {"entryPoint": {"to": 8443, "scheme": "http", "permanent": false}}},
    });
    assert_eq!(given, expected);
}

#[test]
fn a_pod_has_time_to_drain() {
    let drain = Config::default().drain_grace.0 + Config::default().drain_limit.0;
    for (preset, objects) in presets() {
        let given = pod(&objects)["terminationGracePeriodSeconds"].as_u64().unwrap();
        assert!(given >= drain.as_secs() + 10, "{preset}: {given} s for a drain of {drain:?}");
    }
}

#[test]
fn an_install_may_do_what_the_program_does_and_nothing_else() {
    for (preset, objects) in presets() {
        let mut needed = needed(&objects);
        // `transom check` in a pod: which bundle of the Gateway API the cluster has
        let crds = ["apiextensions.k8s.io", "customresourcedefinitions", "get"].map(str::to_owned);
        let [group, resource, verb] = crds;
        needed.insert((group, resource, None, verb));
        let granted = granted(&objects);
        assert_eq!(granted.difference(&needed).collect::<Vec<_>>(), Vec::<&Permission>::new(), "{preset}: too many");
        assert_eq!(needed.difference(&granted).collect::<Vec<_>>(), Vec::<&Permission>::new(), "{preset}: too few");
    }
}

#[test]
fn no_role_has_a_wildcard_or_writes_secrets_or_config_maps() {
    for (preset, objects) in presets() {
        let granted = granted(&objects);
        assert!(!granted.is_empty(), "{preset}");
        for (group, resource, _, verb) in granted {
            assert!(![&group, &resource, &verb].contains(&&"*".to_owned()), "{preset}: {group}/{resource} {verb}");
            if ["secrets", "configmaps", "nodes", "pods", "namespaces"].contains(&resource.as_str()) {
                assert!(["list", "watch"].contains(&verb.as_str()), "{preset}: {verb} {resource}");
            }
        }
    }
}

#[test]
fn a_namespaced_install_reads_no_secret_outside_of_its_namespaces() {
    let objects = &presets()["namespaced"];
    let granted = granted(objects);
    let secrets: BTreeSet<&str> =
        granted.iter().filter(|p| p.1 == "secrets").map(|(_, _, namespace, _)| namespace.as_deref().unwrap()).collect();
    assert_eq!(secrets, BTreeSet::from(["team-gateway", "team-search", "team-shop"]));
}

#[test]
fn the_pattern_of_services_is_one_that_the_program_reads() {
    for (name, objects) in rendered() {
        let host = argument(&objects, "expose") == Some("host");
        assert_eq!(pod(&objects)["hostNetwork"].as_bool().unwrap_or(false), host, "{name}");
        assert_eq!(argument(&objects, "service-template").is_some(), !host, "{name}");
        let maps: Vec<&str> =
            of_kind(&objects, "ConfigMap").filter_map(|map| map["data"]["service.yaml"].as_str()).collect();
        assert_eq!(maps.len(), usize::from(!host), "{name}");
        for text in maps {
            ServicePattern::parse(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
}

#[test]
fn pods_pass_the_restricted_standard_save_for_the_host_network() {
    for (preset, objects) in presets() {
        let (pod, container) = (pod(&objects), container(&objects));
        let security = &container["securityContext"];
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{preset}");
        assert!(pod["securityContext"]["runAsUser"].as_u64().unwrap() > 0, "{preset}");
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault", "{preset}");
        assert_eq!(security["allowPrivilegeEscalation"], false, "{preset}");
        assert_eq!(security["readOnlyRootFilesystem"], true, "{preset}");
        assert_eq!(texts(&security["capabilities"]["drop"]), BTreeSet::from(["ALL"]), "{preset}");
        let host = pod["hostNetwork"] == true;
        let added = if host { BTreeSet::from(["NET_BIND_SERVICE"]) } else { BTreeSet::new() };
        assert_eq!(texts(&security["capabilities"]["add"]), added, "{preset}");
        assert!(pod["hostPID"].is_null() && pod["hostIPC"].is_null(), "{preset}");
        for volume in pod["volumes"].as_sequence().unwrap() {
            assert!(!volume["emptyDir"].is_null() || !volume["configMap"].is_null(), "{preset}: {volume:?}");
        }
        if host {
            assert_eq!(pod["dnsPolicy"], "ClusterFirstWithHostNet", "{preset}");
            assert_eq!(workload(&objects)["spec"]["updateStrategy"]["rollingUpdate"]["maxSurge"], 0, "{preset}");
        }
    }
}

#[test]
fn the_pod_selector_selects_the_pods() {
    for (preset, objects) in rendered() {
        let labels = workload(&objects)["spec"]["template"]["metadata"]["labels"].as_mapping().unwrap().clone();
        let selector = argument(&objects, "pod-selector").unwrap();
        let asked: Mapping =
            selector.split(',').map(|pair| pair.split_once('=').unwrap()).map(|(k, v)| (k.into(), v.into())).collect();
        assert_eq!(&asked, workload(&objects)["spec"]["selector"]["matchLabels"].as_mapping().unwrap(), "{preset}");
        assert!(asked.iter().all(|(key, value)| labels.get(key) == Some(value)), "{preset}");
    }
}

#[test]
fn two_installs_share_nothing_in_the_cluster() {
    let presets = presets();
    let (dmz, lan) = (&presets["bare-metal-dmz"], &presets["bare-metal-lan"]);
    for flag in ["controller-name", "admin-address", "pod-selector"] {
        assert_ne!(argument(dmz, flag), argument(lan, flag), "--{flag}");
    }
    let identities = |objects: &[Value]| -> BTreeSet<String> {
        let named = |o: &Value| format!("{:?} {:?}/{:?}", o["kind"], o["metadata"]["namespace"], o["metadata"]["name"]);
        objects.iter().map(named).collect()
    };
    assert_eq!(identities(dmz).intersection(&identities(lan)).next(), None);
    for objects in presets.values() {
        for class in of_kind(objects, "GatewayClass") {
            assert_eq!(class["spec"]["controllerName"].as_str(), argument(objects, "controller-name"));
        }
    }
}

#[test]
fn image_and_chart_name_one_user() {
    let user = yaml("helm/transom/values.yaml")["podSecurityContext"]["runAsUser"].as_u64().unwrap();
    assert!(text("Dockerfile").contains(&format!("\nUSER {user}:{user}\n")));
}

#[test]
fn our_own_crds_come_with_the_chart_and_are_those_of_config() {
    let names = |folder: &str| -> BTreeSet<_> {
        std::fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    };
    assert_eq!(names("config/crd"), names("helm/transom/crds"));
    for name in names("config/crd") {
        let (ours, shipped) = (Path::new("config/crd").join(&name), Path::new("helm/transom/crds").join(&name));
        assert_eq!(text(&ours), text(&shipped), "cp {} {}", ours.display(), shipped.display());
    }
}

#[test]
fn the_rules_of_the_chart_are_those_of_config() {
    let (ours, shipped) = ("config/prometheus-rules.yaml", "helm/transom/files/prometheus-rules.yaml");
    assert_eq!(text(ours), text(shipped), "cp {ours} {shipped}");
    let groups = yaml(ours)["groups"].as_sequence().unwrap().clone();
    for (name, count) in [("high-availability", 0), ("everything", 1)] {
        let objects = objects(name);
        let rule = of_kind(&objects, "PrometheusRule").next().unwrap_or_else(|| panic!("{name} has no PrometheusRule"));
        let made = rule["spec"]["groups"].as_sequence().unwrap();
        assert_eq!(made[..groups.len()], groups[..], "{name}");
        assert_eq!(made.len(), groups.len() + count, "{name}");
    }
}

#[test]
fn chart_and_program_have_one_version() {
    let chart = yaml("helm/transom/Chart.yaml");
    assert_eq!(chart["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
}

/// The keys that the schema knows by name, as the paths of values: blocks of ours, not of Kubernetes.
fn known(schema: &serde_json::Value, node: &serde_json::Value, path: &str, into: &mut BTreeSet<String>) {
    let node = match node["$ref"].as_str() {
        Some(reference) => &schema["definitions"][reference.trim_start_matches("#/definitions/")],
        None => node,
    };
    let properties = node["properties"].as_object();
    // probes: what Kubernetes has a default for need not stand in values.yaml
    if properties.is_none() || path.ends_with("Probe") || ["updateStrategy", "gateway.infrastructure"].contains(&path) {
        into.insert(path.to_owned());
        return;
    }
    assert_eq!(node["additionalProperties"], false, "{path}: unknown keys must be refused");
    for (name, node) in properties.unwrap() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        known(schema, node, &path, into);
    }
}

#[test]
fn schema_and_values_know_the_same_keys_and_each_is_documented() {
    let schema: serde_json::Value = serde_json::from_str(&text("helm/transom/values.schema.json")).unwrap();
    let mut known_keys = BTreeSet::new();
    known(&schema, &schema, "", &mut known_keys);
    known_keys.remove("global"); // helm's own
    let documented: BTreeSet<String> = documentation().into_iter().map(|line| line.path).collect();
    assert_eq!(documented, known_keys);
}

/// A line of the README.
struct Documented {
    path: String,
    words: String,
    default: Value,
}

/// What stands behind `# --` in values.yaml, with the path and default of the key beneath it.
fn documentation() -> Vec<Documented> {
    let values = text("helm/transom/values.yaml");
    let defaults = yaml("helm/transom/values.yaml");
    let mut path: Vec<&str> = Vec::new();
    let mut words = None;
    let mut lines = Vec::new();
    for line in values.lines() {
        let (depth, rest) = ((line.len() - line.trim_start().len()) / 2, line.trim_start());
        if let Some(said) = rest.strip_prefix("# -- ") {
            words = Some(said.to_owned());
        } else if let Some((key, _)) = rest.split_once(':').filter(|_| !rest.starts_with(['#', '-'])) {
            path.truncate(depth);
            path.push(key);
            if let Some(words) = words.take() {
                let default = path.iter().fold(&defaults, |value, key| &value[*key]).clone();
                lines.push(Documented { path: path.join("."), words, default });
            }
        }
    }
    lines
}

#[test]
fn the_readme_is_made_of_the_values() {
    const BEGIN: &str = "<!-- values: made by `UPDATE_CHART=1 cargo test --test chart` -->\n";
    let path = root().join("helm/transom/README.md");
    let readme = std::fs::read_to_string(&path).unwrap();
    let (before, _) = readme.split_once(BEGIN).unwrap();
    let mut made = format!("{before}{BEGIN}\n| value | default | what |\n|---|---|---|\n");
    for Documented { path, words, default } in documentation() {
        let default = serde_json::to_string(&default).unwrap();
        made.push_str(&format!("| `{path}` | `{default}` | {} |\n", words.replace('|', "\\|")));
    }
    if std::env::var_os("UPDATE_CHART").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let readme = std::fs::read_to_string(&path).unwrap();
    let other = readme.lines().zip(made.lines()).find(|(kept, made)| kept != made);
    assert!(readme == made, "helm/transom/README.md is not made of values.yaml, refresh with make chart: {other:?}");
}
