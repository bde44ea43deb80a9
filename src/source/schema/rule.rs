//! The rules of the CRDs by their identity, each with a sentence of ours for when it is broken.
//!
//! `config/schema/rules.json` holds their texts (facts of the CRDs) and our words; `tools/schema` keeps it.

use std::collections::HashMap;
use std::sync::{LazyLock, OnceLock};

use serde::Deserialize;
use serde_json::Value;

use super::cel::{Program, Unsupported, Verdict};
use super::wording;

/// A rule of the CRDs.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The CEL expression.
    #[serde(rename = "rule")]
    pub text: String,
    /// The field of the judged value that it is about, as `tls.mode`; the value itself if empty.
    #[serde(default)]
    at: String,
    /// What is found and what is allowed; `{x}` stands for the value's field x, `{}` for the value.
    #[serde(default)]
    says: String,
    #[serde(skip)]
    program: OnceLock<Result<Program, Unsupported>>,
}

/// Where under the judged value a rule is broken, and what is to be said of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Breach {
    /// Of a list: the first element that breaks it.
    pub element: Option<usize>,
    /// Of a mapping: the first key that breaks it.
    pub key: Option<String>,
    /// The field beneath, as `tls.mode`; may be empty.
    pub at: &'static str,
    /// The sentence.
    pub message: String,
}

static RULES: LazyLock<HashMap<String, Rule>> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../../config/schema/rules.json")).unwrap_or_default());

/// The rule of this identity.
pub fn find(id: &str) -> Option<&'static Rule> {
    RULES.get(id)
}

/// The texts of all rules.
#[cfg(test)]
pub fn all() -> impl Iterator<Item = &'static str> {
    RULES.values().map(|rule| rule.text.as_str())
}

impl Rule {
    /// Judges a value; none if it keeps the rule.
    pub fn breach(&'static self, value: &Value) -> Option<Breach> {
        let program = match self.program.get_or_init(|| Program::compile(&self.text)) {
            Ok(program) => program,
            Err(unsupported) => {
                let message = format!("the rule {} cannot be judged: {unsupported}", self.text);
                return Some(Breach { element: None, key: None, at: "", message });
            }
        };
        let (element, key, judged, fault) = match program.judge(value) {
            Verdict::Holds => return None,
            Verdict::Broken => (None, None, None, None),
            Verdict::BrokenAt(at) => (Some(at), None, value.get(at).cloned(), None),
            Verdict::BrokenAtKey(key) => (None, Some(key.to_owned()), Some(Value::String(key.to_owned())), None),
            Verdict::Unclear(fault) => (None, None, None, Some(fault)),
        };
        let mut message = if self.says.is_empty() {
            format!("found {}, which breaks the rule {}", wording::found(value), self.text)
        } else {
            wording::fill(&self.says, judged.as_ref().unwrap_or(value))
        };
        if let Some(fault) = fault {
            message = format!("{message} ({fault})");
        }
        // A key that breaks a rule has no fields beneath it.
        let at = if key.is_some() { "" } else { self.at.as_str() };
        Some(Breach { element, key, at, message })
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn every_rule_compiles_and_has_a_sentence() {
        assert!(RULES.len() >= 116, "{}", RULES.len());
        for (id, rule) in RULES.iter() {
            Program::compile(&rule.text).unwrap_or_else(|e| panic!("{id}: {e}: {}", rule.text));
            let says = &rule.says;
            assert!(says.contains("found") && says.contains("allowed"), "{id} says {says:?} of {}", rule.text);
        }
    }

    #[test]
    fn the_identity_of_a_rule_is_the_hash_of_its_text() {
        for (id, rule) in RULES.iter() {
            let hash = Sha256::digest(rule.text.as_bytes());
            let hex = hash.iter().take(4).fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
            assert_eq!(*id, hex, "{}", rule.text);
        }
    }
}
