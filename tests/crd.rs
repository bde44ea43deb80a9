//! Our own CRDs, the schemas and rules embedded for them, and the kinds of `api` say the same.
//!
//! `tools/schema` makes `config/schema/transom.json` of `config/crd`; what it does is done here again, apart from it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use transom::api::Kind;
use transom::api::kind::TRANSOM_GROUP;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn crds() -> Vec<Value> {
    let files = std::fs::read_dir(root().join("config/crd")).unwrap().map(|entry| entry.unwrap().path());
    files.map(|path| serde_yaml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()).collect()
}

fn json_of(path: impl AsRef<Path>) -> Value {
    serde_json::from_str(&std::fs::read_to_string(root().join(path)).unwrap()).unwrap()
}

fn rule_id(rule: &str) -> String {
    Sha256::digest(rule.as_bytes()).iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

/// The constraints of a schema, without a word for people.
fn reduced(node: &Value) -> Value {
    let mut out = Map::new();
    for (key, value) in node.as_object().unwrap() {
        let value = match key.as_str() {
            "properties" => {
                value.as_object().unwrap().iter().map(|(name, node)| (name.clone(), reduced(node))).collect()
            }
            "items" => reduced(value),
            "x-kubernetes-validations" => {
                let rules = value.as_array().unwrap().iter().map(|rule| rule_id(rule["rule"].as_str().unwrap()));
                out.insert("rules".to_owned(), rules.collect());
                continue;
            }
            "x-kubernetes-list-map-keys" => {
                out.insert("unique".to_owned(), value.clone());
                continue;
            }
            "description" | "x-kubernetes-list-type" => continue,
            _ => value.clone(),
        };
        out.insert(key.clone(), value);
    }
    Value::Object(out)
}

#[test]
fn the_embedded_schemas_are_those_of_the_crds() {
    let mut kinds = Map::new();
    let mut schemas = Map::new();
    for crd in crds() {
        let kind = crd["spec"]["names"]["kind"].as_str().unwrap();
        let mut versions = Map::new();
        for version in crd["spec"]["versions"].as_array().unwrap() {
            let name = format!("{kind}/{}", version["name"].as_str().unwrap());
            versions.insert(version["name"].as_str().unwrap().to_owned(), json!(name));
            schemas.insert(name, reduced(&version["schema"]["openAPIV3Schema"]));
        }
        let namespaced = crd["spec"]["scope"] == "Namespaced";
        let group = crd["spec"]["group"].as_str().unwrap();
        kinds.insert(format!("{group}/{kind}"), json!({"namespaced": namespaced, "versions": versions}));
    }
    let expected = json!({"bundle": "transom", "kinds": kinds, "schemas": schemas});
    assert_eq!(json_of("config/schema/transom.json"), expected, "run `make schema`");
}

#[test]
fn every_rule_of_the_crds_is_embedded() {
    let embedded = json_of("config/schema/rules.json");
    let mut count = 0;
    for crd in crds() {
        each_node(&crd["spec"], &mut |node| {
            for rule in node["x-kubernetes-validations"].as_array().into_iter().flatten() {
                let text = rule["rule"].as_str().unwrap();
                assert_eq!(embedded[rule_id(text)]["rule"], text, "run `make schema`");
                assert!(rule["message"].is_string(), "{text}");
                count += 1;
            }
        });
    }
    assert!(count > 10);
}

#[test]
fn every_own_kind_has_a_crd_of_its_group_scope_and_versions() {
    let crds = crds();
    let own: BTreeSet<&str> =
        Kind::ALL.into_iter().filter(|kind| kind.group() == TRANSOM_GROUP).map(Kind::name).collect();
    let there: BTreeSet<&str> = crds.iter().map(|crd| crd["spec"]["names"]["kind"].as_str().unwrap()).collect();
    assert_eq!(own, there);
    for crd in &crds {
        let names = &crd["spec"]["names"];
        let kind = Kind::find(TRANSOM_GROUP, names["kind"].as_str().unwrap()).unwrap();
        assert_eq!(crd["spec"]["group"], kind.group());
        assert_eq!(crd["spec"]["scope"] == "Namespaced", kind.namespaced());
        let plural = names["plural"].as_str().unwrap();
        assert_eq!(crd["metadata"]["name"], format!("{plural}.{}", kind.group()));
        let versions = crd["spec"]["versions"].as_array().unwrap();
        let served: Vec<&str> = versions.iter().map(|version| version["name"].as_str().unwrap()).collect();
        assert_eq!(served, kind.versions());
        assert_eq!(versions.iter().filter(|version| version["storage"] == true).count(), 1);
        assert!(versions.iter().all(|version| version["subresources"]["status"].is_object()));
        // GEP-713: the label by which tools find policies.
        assert_eq!(crd["metadata"]["labels"]["gateway.networking.k8s.io/policy"], "Direct");
    }
}

#[test]
fn everything_is_described_and_bounded() {
    for crd in crds() {
        for version in crd["spec"]["versions"].as_array().unwrap() {
            let spec = &version["schema"]["openAPIV3Schema"]["properties"]["spec"];
            each_node(spec, &mut |node| {
                let Some(kind) = node["type"].as_str() else { return };
                assert!(node["description"].as_str().is_some_and(|text| text.ends_with('.')), "{node}");
                let bounds: &[&str] = match kind {
                    "string" => &["maxLength", "enum", "pattern"],
                    "array" => &["maxItems"],
                    "integer" => &["minimum"],
                    _ => return,
                };
                assert!(bounds.iter().any(|bound| !node[bound].is_null()), "{node}");
            });
        }
    }
}

/// Every schema within a value.
fn each_node(value: &Value, visit: &mut impl FnMut(&Value)) {
    match value {
        Value::Object(fields) => {
            visit(value);
            // names of fields are no schemas, what they stand for is
            fields.values().for_each(|value| each_node(value, visit));
        }
        Value::Array(elements) => elements.iter().for_each(|value| each_node(value, visit)),
        _ => {}
    }
}
