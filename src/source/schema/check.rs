//! A value against a node: everything that does not fit, each with the path of its field.
//!
//! Rules are judged where everything beneath them fits, as an API server judges them only then.

use serde_json::Value;

use super::format::fits;
use super::nearest::nearest;
use super::node::{Node, Type};
use super::path::{Path, Segment};
use super::wording;

/// Something that does not fit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Path of the field, as `spec.rules[0].matches[1].path.type`.
    pub field: String,
    /// What was found and what is allowed.
    pub message: String,
    /// What it means for the object.
    pub weight: Weight,
}

/// What a finding means for the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// An API server refuses the object.
    Refused,
    /// A field that the schema does not have; an API server drops it.
    UnknownField,
}

/// Whether values may be shown in messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Show {
    /// As they are, shortened.
    Values,
    /// Only their types: Secrets.
    Types,
}

/// Most findings of one object: past this a person mends the first ones first.
const MAX_FINDINGS: usize = 100;

/// A check under way.
pub struct Check<'v> {
    path: Path<'v>,
    show: Show,
    findings: Vec<Finding>,
}

impl<'v> Check<'v> {
    /// A check of a value that stands at `prefix`, a field of the object.
    pub fn new(prefix: &'v str, show: Show) -> Self {
        let mut path = Path::default();
        if !prefix.is_empty() {
            path.push(Segment::Field(prefix));
        }
        Check { path, show, findings: Vec::new() }
    }

    /// What was found, in order.
    pub fn into_findings(self) -> Vec<Finding> {
        self.findings
    }

    fn found(&self, value: &Value) -> String {
        match self.show {
            Show::Values => wording::found(value),
            Show::Types => wording::type_of(value).to_owned(),
        }
    }

    fn refuse(&mut self, message: String) {
        self.add(self.path.to_string(), message, Weight::Refused);
    }

    fn add(&mut self, field: String, message: String, weight: Weight) {
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(Finding { field, message, weight });
        }
    }

    /// Judges a value and everything beneath it; whether all of it fits.
    pub fn value(&mut self, node: &Node, value: &'v Value) -> bool {
        if value.is_null() && node.nullable {
            return true;
        }
        if let Some(kind) = node.kind
            && !is_of(kind, value)
        {
            let quotes = kind == Type::String && (value.is_number() || value.is_boolean());
            let hint = if quotes { "; put it in quotes" } else { "" };
            self.refuse(format!("found {}, allowed {}{hint}", self.found(value), wording::allowed(node)));
            return false;
        }
        let mut fits = self.enumeration(node, value);
        fits &= match value {
            Value::String(text) => self.text(node, value, text),
            Value::Number(number) => self.number(node, value, number.as_f64()),
            Value::Array(elements) => self.list(node, elements),
            Value::Object(_) => self.mapping(node, value),
            Value::Null | Value::Bool(_) => true,
        };
        fits &= self.combinations(node, value);
        if fits {
            fits &= self.rules(node, value);
        }
        fits
    }

    /// Judges an object: its metadata against the one schema of all metadata, its status not at all.
    pub fn object(&mut self, root: &Node, object: &'v Value, metadata: &Node) {
        let Value::Object(fields) = object else {
            self.refuse(format!("found {}, allowed a mapping", self.found(object)));
            return;
        };
        let mut fits = self.present(root, object);
        for (name, field) in fields {
            if name == "status" {
                continue;
            }
            self.path.push(Segment::Field(name));
            if name == "metadata" {
                fits &= self.value(metadata, field);
            } else if let Some(property) = root.properties.get(name) {
                fits &= self.value(property, field);
            } else {
                self.path.pop();
                self.unknown(root, name);
                continue;
            }
            self.path.pop();
        }
        if fits {
            self.rules(root, object);
        }
    }

    fn enumeration(&mut self, node: &Node, value: &Value) -> bool {
        if node.allowed.is_empty() || node.allowed.contains(value) {
            return true;
        }
        self.refuse(format!("found {}, allowed {}", self.found(value), wording::listed(&node.allowed)));
        false
    }

    fn text(&mut self, node: &Node, value: &Value, text: &str) -> bool {
        let before = self.findings.len();
        // A byte is at least a quarter of a character: count only where it can matter.
        if node.length.least > 0 || node.length.most.is_some_and(|most| text.len() > most) {
            let length = text.chars().count();
            if !node.length.admit(length) {
                let found = wording::counted(length, "character", "characters");
                let allowed = wording::bounded(node.length, "", "character", "characters");
                self.refuse(format!("found {found}, allowed {allowed}"));
            }
        }
        if let Some(pattern) = &node.pattern
            && self.findings.len() == before
            && !pattern.found_in(text)
        {
            self.refuse(format!("found {}, allowed {}", self.found(value), pattern.words));
        }
        if let Some(format) = node.format
            && !fits(format, value)
        {
            self.refuse(format!("found {}, allowed {}", self.found(value), wording::form(format)));
        }
        self.findings.len() == before
    }

    fn number(&mut self, node: &Node, value: &Value, number: Option<f64>) -> bool {
        let before = self.findings.len();
        let too_low = node.range.least.is_some_and(|least| number.is_none_or(|n| n < least));
        let too_high = node.range.most.is_some_and(|most| number.is_none_or(|n| n > most));
        if too_low || too_high {
            self.refuse(format!("found {}, allowed {}", self.found(value), wording::numbers(node.range, node.kind)));
        } else if let Some(format) = node.format
            && !fits(format, value)
        {
            self.refuse(format!("found {}, allowed {}", self.found(value), wording::form(format)));
        }
        self.findings.len() == before
    }

    fn list(&mut self, node: &Node, elements: &'v [Value]) -> bool {
        let before = self.findings.len();
        if !node.count.admit(elements.len()) {
            let found = wording::counted(elements.len(), "item", "items");
            let allowed = wording::bounded(node.count, "", "item", "items");
            self.refuse(format!("found {found}, allowed {allowed}"));
            // Nobody reads what is wrong with item 10,001 of a list of 16, and judging pairs would take long.
            return false;
        }
        let mut fits = true;
        if let Some(items) = &node.items {
            for (at, element) in elements.iter().enumerate() {
                self.path.push(Segment::Item(at));
                fits &= self.value(items, element);
                self.path.pop();
            }
        }
        if let Some(keys) = &node.unique {
            self.duplicates(node, keys, elements);
        }
        fits && self.findings.iter().skip(before).all(|finding| finding.weight != Weight::Refused)
    }

    /// List types `set` and `map`: no two elements are equal, or equal in their key fields.
    fn duplicates(&mut self, node: &Node, keys: &[String], elements: &'v [Value]) {
        if elements.len() < 2 {
            return;
        }
        let default = |key: &String| node.items.as_ref().and_then(|items| items.properties.get(key)?.default.as_ref());
        let identity = |element: &'v Value| -> String {
            if keys.is_empty() {
                return element.to_string();
            }
            let parts = keys.iter().map(|key| element.get(key).or_else(|| default(key)));
            parts.map(|part| part.map_or_else(|| "-".to_owned(), Value::to_string)).collect::<Vec<_>>().join(" ")
        };
        let mut seen = std::collections::HashMap::with_capacity(elements.len());
        for (at, element) in elements.iter().enumerate() {
            if let Some(first) = seen.insert(identity(element), at) {
                self.path.push(Segment::Item(at));
                let found = match keys {
                    [] => self.found(element),
                    [key] => format!("{key} {}", element.get(key).map_or_else(|| "none".to_owned(), |v| self.found(v))),
                    keys => format!("the same {}", keys.join(", ")),
                };
                self.refuse(format!("found {found} again, as in item {first}; allowed once in this list"));
                self.path.pop();
            }
        }
    }

    fn mapping(&mut self, node: &Node, value: &'v Value) -> bool {
        let Value::Object(fields) = value else { return true };
        let before = self.findings.len();
        if !node.size.admit(fields.len()) {
            let found = wording::counted(fields.len(), "field", "fields");
            let allowed = wording::bounded(node.size, "", "field", "fields");
            self.refuse(format!("found {found}, allowed {allowed}"));
        }
        let mut fits = self.present(node, value);
        for (name, field) in fields {
            if let Some(property) = node.properties.get(name) {
                self.path.push(Segment::Field(name));
                fits &= self.value(property, field);
                self.path.pop();
            } else if let Some(values) = &node.values {
                self.path.push(Segment::Key(name));
                fits &= self.value(values, field);
                self.path.pop();
            } else if !node.properties.is_empty() && node.kind.is_some() {
                self.unknown(node, name);
            }
        }
        fits && self.findings.iter().skip(before).all(|finding| finding.weight != Weight::Refused)
    }

    fn present(&mut self, node: &Node, value: &Value) -> bool {
        let missing = |name: &&String| value.get(name.as_str()).is_none();
        for name in node.required.iter().filter(missing) {
            let allowed = node.properties.get(name).map_or_else(|| "a value".to_owned(), wording::allowed);
            self.add(self.path.child(name), format!("found none, allowed {allowed}"), Weight::Refused);
        }
        !node.required.iter().any(|name| missing(&name))
    }

    fn unknown(&mut self, node: &Node, name: &str) {
        let hint = nearest(name, node.properties.keys().map(String::as_str)).map_or_else(
            || format!("known here: {}", node.properties.keys().cloned().collect::<Vec<_>>().join(", ")),
            |near| format!("did you mean {near}?"),
        );
        self.add(self.path.child(name), format!("found an unknown field; {hint}"), Weight::UnknownField);
    }

    fn combinations(&mut self, node: &Node, value: &'v Value) -> bool {
        let before = self.findings.len();
        if let Some(not) = &node.not
            && self.attempt(not, value).is_empty()
        {
            self.refuse(format!("found {}, allowed anything but {}", self.found(value), wording::allowed(not)));
        }
        if !node.any_of.is_empty() && !node.any_of.iter().any(|any| self.attempt(any, value).is_empty()) {
            let allowed: Vec<String> = node.any_of.iter().map(wording::allowed).collect();
            self.refuse(format!("found {}, allowed {}", self.found(value), allowed.join(" or ")));
        }
        if !node.one_of.is_empty() {
            let attempts: Vec<Vec<Finding>> = node.one_of.iter().map(|one| self.attempt(one, value)).collect();
            match attempts.iter().filter(|findings| findings.is_empty()).count() {
                1 => {}
                // The alternative that comes closest, the first of equals, says what is missing.
                0 => self.findings.extend(attempts.into_iter().min_by_key(Vec::len).unwrap_or_default()),
                _ => self.refuse(format!("found {}, which fits several forms; allowed one", self.found(value))),
            }
        }
        self.findings.len() == before
    }

    /// What would be found here, without keeping it.
    fn attempt(&mut self, node: &Node, value: &'v Value) -> Vec<Finding> {
        let kept = std::mem::take(&mut self.findings);
        self.value(node, value);
        std::mem::replace(&mut self.findings, kept)
    }

    fn rules(&mut self, node: &Node, value: &'v Value) -> bool {
        let mut kept = true;
        for rule in &node.rules {
            let Some(breach) = rule.breach(value) else { continue };
            kept = false;
            let mut field = self.path.to_string();
            if let Some(at) = breach.element {
                field = format!("{field}[{at}]");
            }
            if let Some(key) = &breach.key {
                field = format!("{field}[{key}]");
            }
            if !breach.at.is_empty() {
                field = if field.is_empty() { breach.at.to_owned() } else { format!("{field}.{}", breach.at) };
            }
            self.add(field, breach.message, Weight::Refused);
        }
        kept
    }
}

fn is_of(kind: Type, value: &Value) -> bool {
    match kind {
        Type::Object => value.is_object(),
        Type::Array => value.is_array(),
        Type::String => value.is_string(),
        Type::Boolean => value.is_boolean(),
        Type::Number => value.is_number(),
        Type::Integer => is_whole(value),
        Type::IntOrString => value.is_string() || is_whole(value),
    }
}

/// `80.0` is a whole number, as to an API server.
fn is_whole(value: &Value) -> bool {
    value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|n| n.fract() == 0.0)
}
