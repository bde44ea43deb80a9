//! The rules of the CRDs, written in CEL, judged over JSON values.
//!
//! The text of a rule comes in once and becomes a [`Program`]; a value comes in and a [`Verdict`] goes out. The
//! `cel` crate parses; judging is ours, over borrowed JSON, because the crate copies every value into its own
//! and compiles a pattern anew at each `matches` (13 µs; a whole HTTPRoute is to take less than 60). Only what
//! rules of CRDs are written in is known: anything else is an error when it is compiled, never a wrong verdict.

mod compile;
mod duration;
mod evaluate;
mod term;

use serde_json::Value;

pub use compile::Unsupported;
pub use evaluate::Fault;

use evaluate::Evaluation;
use term::Term;

/// A rule, ready to judge values.
#[derive(Debug)]
pub struct Program {
    root: Expression,
    /// A rule that compares with `oldSelf` only judges changes; a manifest is judged as if it were new.
    transition: bool,
}

/// What a rule says of a value.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict<'v> {
    /// The rule holds, or only judges changes.
    Holds,
    /// It does not, for the value as a whole.
    Broken,
    /// It does not, first for this element of the list.
    BrokenAt(usize),
    /// It does not, first for this key of the mapping.
    BrokenAtKey(&'v str),
    /// It cannot be told, which counts as broken: as an API server, which refuses the object.
    Unclear(Fault),
}

/// A rule's expression, names resolved to slots, patterns compiled.
#[derive(Debug)]
enum Expression {
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(String),
    Null,
    /// The variable in this slot: 0 is `self`, then those of the macros around.
    Variable(usize),
    Field(Box<Expression>, String),
    Has(Box<Expression>, String),
    Index(Box<Expression>, Box<Expression>),
    List(Vec<Expression>),
    Not(Box<Expression>),
    And(Box<Expression>, Box<Expression>),
    Or(Box<Expression>, Box<Expression>),
    If(Box<Expression>, Box<Expression>, Box<Expression>),
    Operation(Operator, Box<Expression>, Box<Expression>),
    Macro(Macro, Box<Expression>, Box<Expression>),
    Call(Function, Vec<Expression>),
    Matches(Box<Expression>, Pattern),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    Add,
    Subtract,
    Multiply,
}

/// A macro over a list's elements or a mapping's keys, with one variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Macro {
    All,
    Exists,
    ExistsOne,
    Filter,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Function {
    Size,
    StartsWith,
    EndsWith,
    Contains,
    Split,
    Substring,
    Duration,
    IsIp,
    /// `!format.dns1123Subdomain().validate(x).hasValue()` is that this is false.
    IsNotSubdomain,
    /// The same of `format.qualifiedName()`.
    IsNotQualifiedName,
}

/// A compiled pattern: unanchored, as RE2 and an API server search.
#[derive(Debug)]
struct Pattern(regex::Regex);

impl Program {
    /// Reads a rule.
    ///
    /// # Errors
    /// When the text is not CEL, or uses a part of it that is not known here.
    pub fn compile(text: &str) -> Result<Program, Unsupported> {
        let (root, transition) = compile::compile(text)?;
        Ok(Program { root, transition })
    }

    /// Judges a value. Takes a bounded number of steps, whatever the value.
    #[must_use]
    pub fn judge<'v>(&'v self, value: &'v Value) -> Verdict<'v> {
        if self.transition {
            return Verdict::Holds;
        }
        let mut evaluation = Evaluation::new(Term::from(value));
        if let Expression::Macro(Macro::All, range, predicate) = &self.root
            && matches!(**range, Expression::Variable(0))
        {
            return match value {
                Value::Array(elements) => evaluation
                    .first_broken(elements.iter().map(Term::from), predicate)
                    .map_or_else(Verdict::Unclear, |at| at.map_or(Verdict::Holds, Verdict::BrokenAt)),
                Value::Object(fields) => {
                    let keys = fields.keys().map(|key| Term::Text(key.as_str().into()));
                    match evaluation.first_broken(keys, predicate) {
                        Ok(None) => Verdict::Holds,
                        Ok(Some(at)) => fields.keys().nth(at).map_or(Verdict::Broken, |key| Verdict::BrokenAtKey(key)),
                        Err(fault) => Verdict::Unclear(fault),
                    }
                }
                _ => Verdict::Unclear(Fault::WrongType),
            };
        }
        match evaluation.evaluate(&self.root) {
            Ok(Term::Bool(true)) => Verdict::Holds,
            Ok(Term::Bool(false)) => Verdict::Broken,
            Ok(_) => Verdict::Unclear(Fault::WrongType),
            Err(fault) => Verdict::Unclear(fault),
        }
    }
}
