//! Label selectors: whether an object is seen by who asks with one.

use serde_json::Value;

use super::objects::Change;

/// Of the text `a=b,c in (d,e),f,!g`; empty is everything.
#[derive(Debug, Clone, Default)]
pub struct Selector(Vec<Requirement>);

#[derive(Debug, Clone)]
enum Requirement {
    In(String, Vec<String>),
    Exists(String),
    Absent(String),
}

impl Selector {
    pub fn parse(text: &str) -> Selector {
        let mut requirements = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let end = match rest.find(['(', ',']) {
                Some(at) if rest[at..].starts_with('(') => rest.find(')').unwrap() + 1,
                Some(at) => at,
                None => rest.len(),
            };
            let (one, after) = rest.split_at(end);
            rest = after.trim_start_matches(',');
            requirements.push(Requirement::parse(one.trim()));
        }
        Selector(requirements)
    }

    pub fn selects(&self, object: &Value) -> bool {
        let label = |name: &str| object["metadata"]["labels"][name].as_str();
        self.0.iter().all(|requirement| match requirement {
            Requirement::In(name, values) => label(name).is_some_and(|value| values.iter().any(|v| v == value)),
            Requirement::Exists(name) => label(name).is_some(),
            Requirement::Absent(name) => label(name).is_none(),
        })
    }

    /// What a change is to who asks with this selector: an object that leaves it is as good as deleted.
    pub fn sees(&self, change: &Change) -> Option<&'static str> {
        let before = change.before.as_ref().is_some_and(|before| self.selects(before));
        let after = change.event != "DELETED" && self.selects(&change.object);
        match (before, after) {
            (false, true) => Some("ADDED"),
            (true, true) => Some("MODIFIED"),
            (true, false) => Some("DELETED"),
            (false, false) => None,
        }
    }
}

impl Requirement {
    fn parse(text: &str) -> Requirement {
        let list = |values: &str| values.split(',').map(|value| value.trim().to_owned()).collect();
        if let Some((name, values)) = text.split_once(" in (") {
            return Requirement::In(name.to_owned(), list(values.trim_end_matches(')')));
        }
        match (text.split_once('='), text.strip_prefix('!')) {
            (Some((name, value)), _) => Requirement::In(name.to_owned(), list(value)),
            (None, Some(name)) => Requirement::Absent(name.to_owned()),
            (None, None) => Requirement::Exists(text.to_owned()),
        }
    }
}
