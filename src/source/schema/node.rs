//! One place of a schema: what a value there may be. Read once from the embedded JSON, immutable after.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock, OnceLock};

use regex::Regex;
use serde::Deserialize;
use serde_json::Value;

use super::rule::{self, Rule};

/// The constraints on a value. Each part judges only values of its own type; `kind` says which type it must be.
#[derive(Debug, Default)]
pub struct Node {
    /// The type; none where any will do.
    pub kind: Option<Type>,
    /// Whether `null` is a value; otherwise it counts as absent.
    pub nullable: bool,
    /// What an absent value is.
    pub default: Option<Value>,
    /// The only values allowed, if any are listed.
    pub allowed: Vec<Value>,
    /// Form of a text or number.
    pub format: Option<Format>,
    /// Of texts, in characters.
    pub length: Bounds,
    /// Of texts.
    pub pattern: Option<Arc<Pattern>>,
    /// Of numbers.
    pub range: Range,
    /// Of lists: how many.
    pub count: Bounds,
    /// Of lists.
    pub items: Option<Box<Node>>,
    /// Of lists: fields that tell elements apart; an empty list of fields compares whole elements.
    pub unique: Option<Vec<String>>,
    /// Of mappings.
    pub properties: BTreeMap<String, Node>,
    /// Of mappings: fields that must be there.
    pub required: Vec<String>,
    /// Of mappings with keys of the user's choice: their values.
    pub values: Option<Box<Node>>,
    /// Of mappings: how many keys.
    pub size: Bounds,
    /// Must not fit.
    pub not: Option<Box<Node>>,
    /// Exactly one must fit.
    pub one_of: Vec<Node>,
    /// At least one must fit.
    pub any_of: Vec<Node>,
    /// Rules of the CRD, judged once everything else fits.
    pub rules: Vec<&'static Rule>,
}

/// The types of JSON that schemas name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Type {
    /// A mapping.
    Object,
    /// A list.
    Array,
    /// A text.
    String,
    /// A whole number; `80.0` is one.
    Integer,
    /// Any number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// A whole number or a text: `IntOrString` of Kubernetes.
    IntOrString,
}

/// The forms of values that are judged; the others are for documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// 32 bits, signed.
    Int32,
    /// 64 bits, signed.
    Int64,
    /// RFC 3339.
    DateTime,
    /// An IPv4 address.
    Ipv4,
    /// An IPv6 address.
    Ipv6,
    /// Base64 with padding.
    Byte,
}

/// At least and at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bounds {
    /// At least; 0 where nothing is said.
    pub least: usize,
    /// At most.
    pub most: Option<usize>,
}

impl Bounds {
    /// Whether a number of things is within.
    pub fn admit(self, count: usize) -> bool {
        count >= self.least && self.most.is_none_or(|most| count <= most)
    }
}

/// The least and the greatest number.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Range {
    /// Least.
    pub least: Option<f64>,
    /// Greatest.
    pub most: Option<f64>,
}

/// A pattern, compiled when it is first needed.
#[derive(Debug)]
pub struct Pattern {
    /// As in the schema.
    pub text: String,
    /// What it allows, in words; the pattern itself where there are none.
    pub words: String,
    regex: OnceLock<Option<Regex>>,
}

static WORDS: LazyLock<HashMap<String, String>> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../../config/schema/patterns.json")).unwrap_or_default());

impl Pattern {
    fn new(text: String) -> Self {
        let words = WORDS.get(&text).cloned().unwrap_or_else(|| format!("text that matches {text}"));
        Pattern { text, words, regex: OnceLock::new() }
    }

    /// Whether it is found anywhere in the text, as Go's `MatchString` searches. One that does not compile
    /// (a test proves that there is none) is found nowhere.
    pub fn found_in(&self, text: &str) -> bool {
        self.regex.get_or_init(|| Regex::new(&self.text).ok()).as_ref().is_some_and(|regex| regex.is_match(text))
    }
}

/// A node as it is written in the embedded JSON.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    #[serde(rename = "type")]
    kind: Option<Type>,
    #[serde(default)]
    nullable: bool,
    default: Option<Value>,
    #[serde(default, rename = "enum")]
    allowed: Vec<Value>,
    format: Option<Format>,
    #[serde(default)]
    min_length: usize,
    max_length: Option<usize>,
    pattern: Option<String>,
    minimum: Option<f64>,
    maximum: Option<f64>,
    #[serde(default)]
    min_items: usize,
    max_items: Option<usize>,
    #[serde(default)]
    min_properties: usize,
    max_properties: Option<usize>,
    items: Option<Box<Written>>,
    unique: Option<Vec<String>>,
    #[serde(default)]
    properties: BTreeMap<String, Written>,
    #[serde(default)]
    required: Vec<String>,
    additional_properties: Option<Box<Written>>,
    not: Option<Box<Written>>,
    #[serde(default)]
    one_of: Vec<Written>,
    #[serde(default)]
    any_of: Vec<Written>,
    #[serde(default)]
    rules: Vec<String>,
}

/// Patterns by their text: the same few stand in many places.
type Patterns = HashMap<String, Arc<Pattern>>;

impl Node {
    /// Reads a node and everything beneath it.
    ///
    /// # Errors
    /// When the JSON has a constraint that is not known here, which a test rules out for what is embedded.
    pub fn read(json: &str) -> Result<Node, serde_json::Error> {
        Ok(serde_json::from_str::<Written>(json)?.into_node(&mut Patterns::new()))
    }
}

impl Written {
    fn into_node(self, patterns: &mut Patterns) -> Node {
        let boxed = |written: Option<Box<Written>>, patterns: &mut Patterns| {
            written.map(|written| Box::new(written.into_node(patterns)))
        };
        Node {
            kind: self.kind,
            nullable: self.nullable,
            default: self.default,
            allowed: self.allowed,
            format: self.format,
            length: Bounds { least: self.min_length, most: self.max_length },
            pattern: self
                .pattern
                .map(|text| Arc::clone(patterns.entry(text.clone()).or_insert_with(|| Arc::new(Pattern::new(text))))),
            range: Range { least: self.minimum, most: self.maximum },
            count: Bounds { least: self.min_items, most: self.max_items },
            items: boxed(self.items, patterns),
            unique: self.unique,
            properties: self.properties.into_iter().map(|(name, node)| (name, node.into_node(patterns))).collect(),
            required: self.required,
            values: boxed(self.additional_properties, patterns),
            size: Bounds { least: self.min_properties, most: self.max_properties },
            not: boxed(self.not, patterns),
            one_of: self.one_of.into_iter().map(|node| node.into_node(patterns)).collect(),
            any_of: self.any_of.into_iter().map(|node| node.into_node(patterns)).collect(),
            rules: self.rules.iter().filter_map(|id| rule::find(id)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns<'n>(node: &'n Node, out: &mut Vec<&'n Pattern>) {
        out.extend(node.pattern.as_deref());
        let beneath = node.items.iter().chain(&node.values).chain(&node.not).map(|node| &**node);
        for node in beneath.chain(node.properties.values()).chain(&node.one_of).chain(&node.any_of) {
            patterns(node, out);
        }
    }

    #[test]
    fn every_pattern_compiles_and_has_words() {
        let mut count = 0;
        for kind in crate::source::schema::kinds() {
            for version in kind.versions() {
                let schema = kind.version(version).unwrap();
                let mut found = Vec::new();
                patterns(schema.root, &mut found);
                count += found.len();
                for pattern in found {
                    assert!(Regex::new(&pattern.text).is_ok(), "{}", pattern.text);
                    assert!(!pattern.words.contains("text that matches"), "{}", pattern.text);
                }
            }
        }
        assert!(count > 200, "{count}");
    }
}
