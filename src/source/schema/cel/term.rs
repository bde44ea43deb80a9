//! A value while a rule is judged: borrowed from the JSON wherever it can be.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::{Map, Value};

/// A value of CEL.
#[derive(Debug, Clone)]
pub enum Term<'v> {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(Cow<'v, str>),
    /// Nanoseconds.
    Duration(i64),
    /// A list of the JSON.
    Elements(&'v [Value]),
    /// A list made by the rule.
    List(Vec<Term<'v>>),
    /// A mapping of the JSON.
    Fields(&'v Map<String, Value>),
}

impl<'v> From<&'v Value> for Term<'v> {
    fn from(value: &'v Value) -> Self {
        match value {
            Value::Null => Term::Null,
            Value::Bool(b) => Term::Bool(*b),
            Value::Number(n) => n.as_i64().map_or_else(|| Term::Double(n.as_f64().unwrap_or(f64::NAN)), Term::Int),
            Value::String(s) => Term::Text(Cow::Borrowed(s)),
            Value::Array(elements) => Term::Elements(elements),
            Value::Object(fields) => Term::Fields(fields),
        }
    }
}

impl Term<'_> {
    /// `==` of CEL: numbers by value, everything else by type and value.
    pub fn equals(&self, other: &Term<'_>) -> bool {
        match (self, other) {
            (Term::Null, Term::Null) => true,
            (Term::Bool(a), Term::Bool(b)) => a == b,
            (Term::Text(a), Term::Text(b)) => a == b,
            (Term::Fields(a), Term::Fields(b)) => a == b,
            (Term::Elements(a), Term::Elements(b)) => a == b,
            (Term::Elements(a), Term::List(b)) | (Term::List(b), Term::Elements(a)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| b.equals(&Term::from(a)))
            }
            (Term::List(a), Term::List(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.equals(b)),
            _ => self.compare(other) == Some(Ordering::Equal),
        }
    }

    /// The order of numbers, texts and durations; none between other types.
    pub fn compare(&self, other: &Term<'_>) -> Option<Ordering> {
        match (self, other) {
            (Term::Int(a), Term::Int(b)) | (Term::Duration(a), Term::Duration(b)) => Some(a.cmp(b)),
            (Term::Double(a), Term::Double(b)) => a.partial_cmp(b),
            (Term::Int(a), Term::Double(b)) => widen(*a).partial_cmp(b),
            (Term::Double(a), Term::Int(b)) => a.partial_cmp(&widen(*b)),
            (Term::Text(a), Term::Text(b)) => Some(a.cmp(b)),
            _ => None,
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "only to compare with a number that is a double already")]
fn widen(int: i64) -> f64 {
    int as f64
}
