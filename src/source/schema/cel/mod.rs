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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::source::schema::rule;

    fn verdict(rule: &str, value: &Value) -> Verdict<'static> {
        let program: &'static Program = Box::leak(Box::new(Program::compile(rule).unwrap()));
        program.judge(Box::leak(Box::new(value.clone())))
    }

    /// Every value within a value, and each mapping once more without each of its fields.
    fn within(value: &Value, out: &mut Vec<Value>) {
        out.push(value.clone());
        match value {
            Value::Array(elements) => {
                out.push(Value::Array([elements.as_slice(), elements].concat()));
                for element in elements {
                    within(element, out);
                }
            }
            Value::Object(fields) => {
                for name in fields.keys() {
                    let mut without = fields.clone();
                    without.remove(name);
                    out.push(Value::Object(without));
                }
                for field in fields.values() {
                    within(field, out);
                }
            }
            _ => {}
        }
    }

    #[test]
    fn verdicts_are_those_of_the_crates_own_evaluation() {
        let sample = json!([
            {"parentRefs": [{"group": "g", "kind": "k", "name": "n"}, {"group": "g", "kind": "k", "name": "n", "sectionName": "s", "port": 80}]},
            {"hostnames": ["*.a.b", "a.*", "a_b", "10.0.0.1"]},
            {"listeners": [
                {"name": "a", "port": 80, "protocol": "HTTP", "hostname": "a.b"}, {"name": "a", "port": 80, "protocol": "HTTP"},
                {"name": "t", "port": 443, "protocol": "TLS", "tls": {"mode": "Terminate", "certificateRefs": [], "options": {}}},
                {"name": "u", "port": 1, "protocol": "UDP", "hostname": "", "tls": {"mode": ""}}]},
            {"rules": [{
                "name": "r", "matches": [{"path": {"type": "PathPrefix", "value": "/a/../b"}}, {"path": {"type": "Exact", "value": "a//%2f#/."}}],
                "filters": [{"type": "URLRewrite", "urlRewrite": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/x"}}},
                    {"type": "RequestRedirect", "requestRedirect": {"path": {"type": "ReplaceFullPath", "replaceFullPath": "/x"}}}],
                "backendRefs": [{"group": "", "kind": "Service", "name": "s", "filters": [{"type": "CORS", "cors": {"allowHeaders": ["*", "b"]}}]}],
                "timeouts": {"request": "10s", "backendRequest": "1m"},
                "sessionPersistence": {"type": "Cookie", "cookie": {"lifetimeType": "Permanent"}}}]},
            {"method": {"type": "Exact", "service": "a.b", "method": "1"}, "addresses": [{"type": "Hostname", "value": "a.b"}, {"type": "IPAddress", "value": "::1"}]},
            {"percent": 1, "fraction": {"numerator": 2, "denominator": 1}, "annotations": {"a/b": "c", "_": "d"}},
            {"type": "URI", "uri": "", "hostname": "h", "caCertificateRefs": [], "wellKnownCACertificates": "System", "mode": "Enabled"},
            "5s", "90m", "", "x", 5, true
        ]);
        let mut values = Vec::new();
        within(&sample, &mut values);
        // Functions of Kubernetes, which the crate has not, and changes, which we do not judge.
        let left_out = ["isIP", "format.", "oldSelf", "substring", "split", "__namespace__"];
        let programs: Vec<_> = rule::all()
            .filter(|rule| !left_out.iter().any(|word| rule.contains(word)))
            .map(|rule| (rule, cel::Program::compile(rule).unwrap(), Program::compile(rule).unwrap()))
            .collect();
        let (mut compared, mut held) = (0, 0);
        for value in &values {
            let mut context = cel::Context::default();
            context.add_variable("self", value).unwrap();
            for (rule, theirs, ours) in &programs {
                let expected = theirs.execute(&context);
                let verdict = ours.judge(value);
                match expected {
                    Ok(cel::Value::Bool(true)) => assert_eq!(verdict, Verdict::Holds, "{rule} of {value}"),
                    Ok(cel::Value::Bool(false)) => {
                        assert!(
                            matches!(verdict, Verdict::Broken | Verdict::BrokenAt(_) | Verdict::BrokenAtKey(_)),
                            "{verdict:?}: {rule} of {value}"
                        );
                    }
                    other => {
                        assert!(
                            matches!(verdict, Verdict::Unclear(_)),
                            "{verdict:?}, not {other:?}: {rule} of {value}"
                        );
                    }
                }
                compared += 1;
                held += u32::from(verdict == Verdict::Holds);
            }
        }
        assert!(compared > 10_000 && held > 1000, "{compared} {held}");
    }

    #[test]
    fn a_side_that_cannot_be_told_does_not_matter_where_the_other_decides() {
        assert_eq!(verdict("self.a || true", &json!({})), Verdict::Holds);
        assert_eq!(verdict("self.a && false", &json!({})), Verdict::Broken);
        assert_eq!(verdict("self.a || false", &json!({})), Verdict::Unclear(Fault::Missing("a".to_owned())));
    }

    #[test]
    fn the_first_broken_element_is_named() {
        assert_eq!(verdict("self.all(x, x < 3)", &json!([1, 5, 7])), Verdict::BrokenAt(1));
        assert_eq!(verdict("self.all(k, k != 'b')", &json!({"a": 1, "b": 2})), Verdict::BrokenAtKey("b"));
    }

    #[test]
    fn functions_of_kubernetes_are_known() {
        let subdomain = "!format.dns1123Subdomain().validate(self).hasValue()";
        assert_eq!(verdict(subdomain, &json!("a.b")), Verdict::Holds);
        assert_eq!(verdict(subdomain, &json!("A")), Verdict::Broken);
        assert_eq!(verdict("isIP(self)", &json!("::1")), Verdict::Holds);
        assert_eq!(verdict("isIP(self)", &json!("::ffff:1.2.3.4")), Verdict::Broken);
        assert_eq!(verdict("self.substring(2) == 'c'", &json!("äbc")), Verdict::Holds);
        assert_eq!(verdict("self.split('/')[0].size() == 1", &json!("a/b")), Verdict::Holds);
        assert_eq!(verdict("self.__namespace__ == 'n'", &json!({"namespace": "n"})), Verdict::Holds);
    }

    #[test]
    fn what_is_not_known_is_an_error_when_compiled() {
        for rule in [
            "self.map(x, x) == []",
            "self.foo()",
            "other == 1",
            "self +",
            "{'a': 1} == self",
            "self.matches(self)",
            "self.matches('(')",
        ] {
            assert!(Program::compile(rule).is_err(), "{rule}");
        }
    }

    #[test]
    fn a_judgement_has_an_end() {
        let value = json!((0..3000).collect::<Vec<_>>());
        assert_eq!(
            verdict("self.all(a, self.all(b, self.all(c, a < 5000)))", &value),
            Verdict::Unclear(Fault::TooCostly)
        );
    }
}
