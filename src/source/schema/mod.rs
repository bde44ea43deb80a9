//! What an API server would refuse is refused here too, and what it would fill in is filled in.
//!
//! A value of a known kind comes in; its defaults and a list of [`Finding`]s go out. The schemas are those of the
//! CRDs of Gateway API v1.7.0 and of our own in `config/crd`, reduced by `tools/schema` to `config/schema/*.json`:
//! types, bounds, patterns, defaults and CEL rules, without a sentence of theirs; the words are ours. Core kinds
//! (Service, EndpointSlice, Secret, ConfigMap, Namespace) and `metadata` have a schema written by hand in the same
//! form. This room does not know what an object means, nor where it was written.
//!
//! The experimental channel is the base: it has every field of the standard one. Three things are wider than in
//! the standard CRDs: parentRefs may differ in `port` alone, `wellKnownCACertificates` may be empty text, and
//! the experimental fields exist. Rules that compare with an earlier version of the object (`oldSelf`) do not
//! apply: a manifest is judged as if it were new.

mod cel;
mod check;
mod complete;
mod format;
pub mod name;
mod nearest;
mod node;
pub mod path;
mod rule;
mod wording;

use std::collections::BTreeMap;
use std::sync::{LazyLock, OnceLock};

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

pub use check::{Finding, Show, Weight};
pub use nearest::nearest;

use check::Check;
use node::Node;

/// A kind that has a schema.
#[derive(Debug)]
pub struct KindSchema {
    /// API group; empty for core.
    pub group: &'static str,
    /// Kind.
    pub kind: &'static str,
    /// Whether its objects live in a namespace.
    pub namespaced: bool,
    versions: Vec<(&'static str, usize)>,
    sources: Vec<Source>,
}

/// The schema of one version of a kind.
#[derive(Debug, Clone, Copy)]
pub struct Schema {
    kind: &'static KindSchema,
    root: &'static Node,
}

/// A schema as it is embedded, read when it is first needed: most folders hold few of the kinds.
#[derive(Debug)]
struct Source {
    json: &'static str,
    node: OnceLock<Node>,
}

#[derive(Deserialize)]
struct Bundle {
    #[serde(borrow)]
    kinds: BTreeMap<&'static str, KindEntry>,
    #[serde(rename = "schemas")]
    _schemas: IgnoredAny,
}

#[derive(Deserialize)]
struct KindEntry {
    namespaced: bool,
    #[serde(borrow)]
    versions: BTreeMap<&'static str, &'static str>,
}

static GATEWAY_API: &str = include_str!("../../../config/schema/gateway-api-v1.7.0.json");
static TRANSOM: &str = include_str!("../../../config/schema/transom.json");
static CORE: &str = include_str!("../../../config/schema/core-v1.json");

static KINDS: LazyLock<Vec<KindSchema>> =
    LazyLock::new(|| [GATEWAY_API, TRANSOM, CORE].into_iter().flat_map(kinds_of).collect());
static METADATA: LazyLock<Node> =
    LazyLock::new(|| Node::read(include_str!("../../../config/schema/metadata.json")).unwrap_or_default());

fn kinds_of(json: &'static str) -> Vec<KindSchema> {
    // A test reads every schema: what is embedded can be read.
    let Ok(bundle) = serde_json::from_str::<Bundle>(json) else { return Vec::new() };
    let kind = |(name, entry): (&'static str, KindEntry)| {
        let (group, kind) = name.rsplit_once('/').unwrap_or(("", name));
        let source = |schema: &str| Some(Source { json: line_of(json, schema)?, node: OnceLock::new() });
        let mut schemas: Vec<(&'static str, Source)> = Vec::new();
        let mut versions = Vec::new();
        for (version, schema) in entry.versions {
            let known = schemas.iter().position(|(name, _)| *name == schema);
            let at = known.or_else(|| {
                schemas.push((schema, source(schema)?));
                Some(schemas.len() - 1)
            });
            versions.extend(at.map(|at| (version, at)));
        }
        let sources = schemas.into_iter().map(|(_, source)| source).collect();
        KindSchema { group, kind, namespaced: entry.namespaced, versions, sources }
    };
    bundle.kinds.into_iter().map(kind).collect()
}

/// The schema of this name: `tools/schema` writes each on a line of its own, so that only those needed are read.
fn line_of(json: &'static str, name: &str) -> Option<&'static str> {
    let line = json.lines().find_map(|line| line.strip_prefix('"')?.strip_prefix(name)?.strip_prefix("\":"))?;
    Some(line.trim_end_matches(','))
}

/// Every kind that has a schema.
#[must_use]
pub fn kinds() -> &'static [KindSchema] {
    &KINDS
}

/// The kind of this group and name.
#[must_use]
pub fn find(group: &str, kind: &str) -> Option<&'static KindSchema> {
    KINDS.iter().find(|known| known.group == group && known.kind == kind)
}

impl KindSchema {
    /// The schema of a version; none if the kind has no such version.
    #[must_use]
    pub fn version(&'static self, version: &str) -> Option<Schema> {
        let (_, at) = self.versions.iter().find(|(name, _)| *name == version)?;
        let source = self.sources.get(*at)?;
        Some(Schema { kind: self, root: source.node.get_or_init(|| Node::read(source.json).unwrap_or_default()) })
    }

    /// The versions, oldest last.
    pub fn versions(&self) -> impl Iterator<Item = &'static str> {
        let mut names: Vec<&'static str> = self.versions.iter().map(|(name, _)| *name).collect();
        names.sort_by_key(|name| (name.len(), std::cmp::Reverse(*name)));
        names.into_iter()
    }
}

impl Schema {
    /// Does to an object what an API server does before it judges it: nulls go, defaults come. `status` is left
    /// alone: an API server ignores it in what people write.
    pub fn complete(&self, object: &mut Value) {
        let Value::Object(fields) = object else { return };
        if let Some(metadata) = fields.get_mut("metadata") {
            complete::complete(&METADATA, metadata);
        }
        for (name, property) in &self.root.properties {
            if matches!(name.as_str(), "metadata" | "status") {
                continue;
            }
            if let Some(field) = fields.get_mut(name) {
                if field.is_null() && !property.nullable {
                    fields.shift_remove(name);
                } else {
                    complete::complete(property, field);
                }
            }
            if let Some(default) = &property.default
                && !fields.contains_key(name)
            {
                fields.insert(name.clone(), default.clone());
            }
        }
    }

    /// Everything that does not fit in an object, `status` aside.
    #[must_use]
    pub fn check(&self, object: &Value) -> Vec<Finding> {
        // The values of a Secret are in no message.
        let show = if self.kind.kind == "Secret" { Show::Types } else { Show::Values };
        let mut check = Check::new("", show);
        check.object(self.root, object, &METADATA);
        check.into_findings()
    }

    /// Whether a `status` fits: one that does not is set aside.
    #[must_use]
    pub fn admits_status(&self, status: &Value) -> bool {
        let Some(node) = self.root.properties.get("status") else { return true };
        let mut check = Check::new("status", Show::Values);
        check.value(node, status)
    }
}

#[cfg(test)]
mod tests;
