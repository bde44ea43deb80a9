//! Judging: an [`Expression`] over a [`Term`], step by step, with a bound on the steps.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::net::IpAddr;

use super::duration;
use super::term::Term;
use super::{Expression, Function, Macro, Operator};
use crate::source::schema::name;

/// Most steps of one judgement. The costliest rule of the CRDs, pairs of 64 listeners or of 32 parents with a
/// dozen comparisons each, takes about 100,000.
const MAX_STEPS: u32 = 4_000_000;

/// Why a rule cannot be judged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A field that the rule reads is absent.
    #[error("the field {0} is missing")]
    Missing(String),
    /// A value is not of the type that the rule takes it for.
    #[error("a value is not of the type that the rule expects")]
    WrongType,
    /// A text is not a duration.
    #[error("{0:?} is not a duration")]
    NoDuration(String),
    /// A position outside of a list or text, or a number out of range.
    #[error("a position or number is out of range")]
    OutOfRange,
    /// More than the bound of steps.
    #[error("it takes too many steps")]
    TooCostly,
}

/// One judgement under way.
pub struct Evaluation<'v> {
    slots: Vec<Term<'v>>,
    steps: u32,
}

type Answer<'v> = Result<Term<'v>, Fault>;

impl<'v> Evaluation<'v> {
    /// With `self` in slot 0.
    pub fn new(this: Term<'v>) -> Self {
        Evaluation { slots: vec![this], steps: 0 }
    }

    /// The position of the first element for which the predicate does not hold.
    ///
    /// # Errors
    /// When the predicate cannot be told for some element and holds for all others.
    pub fn first_broken(
        &mut self,
        elements: impl Iterator<Item = Term<'v>>,
        predicate: &'v Expression,
    ) -> Result<Option<usize>, Fault> {
        let mut unclear = None;
        for (at, element) in elements.enumerate() {
            match self.holds(element, predicate) {
                Ok(true) => {}
                Ok(false) => return Ok(Some(at)),
                Err(fault) => unclear = unclear.or(Some(fault)),
            }
        }
        unclear.map_or(Ok(None), Err)
    }

    pub fn evaluate(&mut self, expression: &'v Expression) -> Answer<'v> {
        self.steps += 1;
        if self.steps > MAX_STEPS {
            return Err(Fault::TooCostly);
        }
        match expression {
            Expression::Bool(b) => Ok(Term::Bool(*b)),
            Expression::Int(i) => Ok(Term::Int(*i)),
            Expression::Double(d) => Ok(Term::Double(*d)),
            Expression::Text(text) => Ok(Term::Text(Cow::Borrowed(text))),
            Expression::Null => Ok(Term::Null),
            Expression::Variable(slot) => self.slots.get(*slot).cloned().ok_or(Fault::WrongType),
            Expression::Field(operand, field) => match self.evaluate(operand)? {
                Term::Fields(fields) => fields.get(field).map(Term::from).ok_or_else(|| Fault::Missing(field.clone())),
                _ => Err(Fault::WrongType),
            },
            Expression::Has(operand, field) => match self.evaluate(operand)? {
                Term::Fields(fields) => Ok(Term::Bool(fields.contains_key(field))),
                _ => Err(Fault::WrongType),
            },
            Expression::Index(operand, index) => index_into(self.evaluate(operand)?, &self.evaluate(index)?),
            Expression::List(elements) => {
                elements.iter().map(|e| self.evaluate(e)).collect::<Result<_, _>>().map(Term::List)
            }
            Expression::Not(operand) => self.truth(operand).map(|b| Term::Bool(!b)),
            // A side that cannot be told does not matter where the other decides (CEL, logical operators).
            Expression::And(a, b) => self.decide(a, b, false),
            Expression::Or(a, b) => self.decide(a, b, true),
            Expression::If(condition, yes, no) => {
                if self.truth(condition)? {
                    self.evaluate(yes)
                } else {
                    self.evaluate(no)
                }
            }
            Expression::Operation(operator, a, b) => operate(*operator, self.evaluate(a)?, self.evaluate(b)?),
            Expression::Macro(kind, range, predicate) => {
                let range = self.evaluate(range)?;
                self.expand(*kind, range, predicate)
            }
            Expression::Call(function, arguments) => {
                let mut arguments = arguments.iter();
                let first = arguments.next().map(|a| self.evaluate(a)).transpose()?.ok_or(Fault::WrongType)?;
                let second = arguments.next().map(|a| self.evaluate(a)).transpose()?;
                let third = arguments.next().map(|a| self.evaluate(a)).transpose()?;
                call(*function, first, second, third.as_ref())
            }
            Expression::Matches(subject, pattern) => match self.evaluate(subject)? {
                Term::Text(text) => Ok(Term::Bool(pattern.0.is_match(&text))),
                _ => Err(Fault::WrongType),
            },
        }
    }

    fn truth(&mut self, expression: &'v Expression) -> Result<bool, Fault> {
        match self.evaluate(expression)? {
            Term::Bool(b) => Ok(b),
            _ => Err(Fault::WrongType),
        }
    }

    fn decide(&mut self, a: &'v Expression, b: &'v Expression, deciding: bool) -> Answer<'v> {
        match self.truth(a) {
            Ok(value) if value == deciding => Ok(Term::Bool(deciding)),
            Ok(_) => self.truth(b).map(Term::Bool),
            Err(fault) => match self.truth(b) {
                Ok(value) if value == deciding => Ok(Term::Bool(deciding)),
                _ => Err(fault),
            },
        }
    }

    fn holds(&mut self, element: Term<'v>, predicate: &'v Expression) -> Result<bool, Fault> {
        self.slots.push(element);
        let held = self.truth(predicate);
        self.slots.pop();
        held
    }

    fn expand(&mut self, kind: Macro, range: Term<'v>, predicate: &'v Expression) -> Answer<'v> {
        match range {
            Term::Elements(elements) => self.expand_over(kind, elements.iter().map(Term::from), predicate),
            Term::Fields(fields) => {
                self.expand_over(kind, fields.keys().map(|k| Term::Text(Cow::Borrowed(k))), predicate)
            }
            Term::List(elements) => self.expand_over(kind, elements.into_iter(), predicate),
            _ => Err(Fault::WrongType),
        }
    }

    fn expand_over(
        &mut self,
        kind: Macro,
        elements: impl Iterator<Item = Term<'v>>,
        predicate: &'v Expression,
    ) -> Answer<'v> {
        match kind {
            Macro::All => self.first_broken(elements, predicate).map(|at| Term::Bool(at.is_none())),
            Macro::Exists => {
                let mut unclear = None;
                for element in elements {
                    match self.holds(element, predicate) {
                        Ok(true) => return Ok(Term::Bool(true)),
                        Ok(false) => {}
                        Err(fault) => unclear = unclear.or(Some(fault)),
                    }
                }
                unclear.map_or(Ok(Term::Bool(false)), Err)
            }
            Macro::ExistsOne => {
                let mut count = 0_u32;
                for element in elements {
                    count += u32::from(self.holds(element, predicate)?);
                }
                Ok(Term::Bool(count == 1))
            }
            Macro::Filter => {
                let mut kept = Vec::new();
                for element in elements {
                    if self.holds(element.clone(), predicate)? {
                        kept.push(element);
                    }
                }
                Ok(Term::List(kept))
            }
        }
    }
}

fn index_into<'v>(operand: Term<'v>, index: &Term<'v>) -> Answer<'v> {
    match (operand, index) {
        (Term::Elements(elements), Term::Int(at)) => {
            usize::try_from(*at).ok().and_then(|at| elements.get(at)).map(Term::from).ok_or(Fault::OutOfRange)
        }
        (Term::List(elements), Term::Int(at)) => {
            usize::try_from(*at).ok().and_then(|at| elements.into_iter().nth(at)).ok_or(Fault::OutOfRange)
        }
        (Term::Fields(fields), Term::Text(key)) => {
            fields.get(key.as_ref()).map(Term::from).ok_or_else(|| Fault::Missing(key.to_string()))
        }
        _ => Err(Fault::WrongType),
    }
}

fn operate<'v>(operator: Operator, a: Term<'v>, b: Term<'v>) -> Answer<'v> {
    let ordered =
        |wanted: &[Ordering]| a.compare(&b).map(|found| Term::Bool(wanted.contains(&found))).ok_or(Fault::WrongType);
    match operator {
        Operator::Equal => Ok(Term::Bool(a.equals(&b))),
        Operator::NotEqual => Ok(Term::Bool(!a.equals(&b))),
        Operator::Less => ordered(&[Ordering::Less]),
        Operator::LessOrEqual => ordered(&[Ordering::Less, Ordering::Equal]),
        Operator::Greater => ordered(&[Ordering::Greater]),
        Operator::GreaterOrEqual => ordered(&[Ordering::Greater, Ordering::Equal]),
        Operator::In => match &b {
            Term::Elements(elements) => Ok(Term::Bool(elements.iter().any(|e| a.equals(&Term::from(e))))),
            Term::List(elements) => Ok(Term::Bool(elements.iter().any(|e| a.equals(e)))),
            Term::Fields(fields) => match &a {
                Term::Text(key) => Ok(Term::Bool(fields.contains_key(key.as_ref()))),
                _ => Ok(Term::Bool(false)),
            },
            _ => Err(Fault::WrongType),
        },
        Operator::Add | Operator::Subtract | Operator::Multiply => calculate(operator, a, b),
    }
}

fn calculate<'v>(operator: Operator, a: Term<'v>, b: Term<'v>) -> Answer<'v> {
    let whole = |a: i64, b: i64| {
        match operator {
            Operator::Add => a.checked_add(b),
            Operator::Subtract => a.checked_sub(b),
            _ => a.checked_mul(b),
        }
        .ok_or(Fault::OutOfRange)
    };
    match (a, b) {
        (Term::Int(a), Term::Int(b)) => whole(a, b).map(Term::Int),
        (Term::Duration(a), Term::Duration(b)) if operator != Operator::Multiply => whole(a, b).map(Term::Duration),
        (Term::Double(a), Term::Double(b)) => Ok(Term::Double(match operator {
            Operator::Add => a + b,
            Operator::Subtract => a - b,
            _ => a * b,
        })),
        (Term::Text(a), Term::Text(b)) if operator == Operator::Add => Ok(Term::Text(a + b)),
        _ => Err(Fault::WrongType),
    }
}

fn call<'v>(function: Function, first: Term<'v>, second: Option<Term<'v>>, third: Option<&Term<'v>>) -> Answer<'v> {
    if function == Function::Size {
        let size = match &first {
            Term::Elements(elements) => elements.len(),
            Term::List(elements) => elements.len(),
            Term::Fields(fields) => fields.len(),
            Term::Text(text) => text.chars().count(),
            _ => return Err(Fault::WrongType),
        };
        return i64::try_from(size).map(Term::Int).map_err(|_| Fault::OutOfRange);
    }
    let Term::Text(text) = first else { return Err(Fault::WrongType) };
    match (function, second) {
        (Function::StartsWith, Some(Term::Text(part))) => Ok(Term::Bool(text.starts_with(part.as_ref()))),
        (Function::EndsWith, Some(Term::Text(part))) => Ok(Term::Bool(text.ends_with(part.as_ref()))),
        (Function::Contains, Some(Term::Text(part))) => Ok(Term::Bool(text.contains(part.as_ref()))),
        (Function::Split, Some(Term::Text(by))) if !by.is_empty() => {
            Ok(Term::List(text.split(by.as_ref()).map(|part| Term::Text(Cow::Owned(part.to_owned()))).collect()))
        }
        (Function::Substring, Some(Term::Int(from))) => substring(&text, from, third),
        (Function::Duration, None) => {
            duration::parse(&text).map(Term::Duration).ok_or_else(|| Fault::NoDuration(text.into_owned()))
        }
        (Function::IsIp, None) => Ok(Term::Bool(is_ip(&text))),
        (Function::IsNotSubdomain, None) => Ok(Term::Bool(!name::is_dns_subdomain(&text))),
        (Function::IsNotQualifiedName, None) => Ok(Term::Bool(!name::is_qualified_name(&text))),
        _ => Err(Fault::WrongType),
    }
}

/// Positions count characters, as in CEL.
fn substring<'v>(text: &str, from: i64, to: Option<&Term<'v>>) -> Answer<'v> {
    let length = text.chars().count();
    let from = usize::try_from(from).map_err(|_| Fault::OutOfRange)?;
    let to = match to {
        None => length,
        Some(Term::Int(to)) => usize::try_from(*to).map_err(|_| Fault::OutOfRange)?,
        Some(_) => return Err(Fault::WrongType),
    };
    if from > to || to > length {
        return Err(Fault::OutOfRange);
    }
    Ok(Term::Text(Cow::Owned(text.chars().skip(from).take(to - from).collect())))
}

/// `isIP`: an IPv4 or IPv6 address, without a zone, and no IPv4 address mapped into IPv6.
fn is_ip(text: &str) -> bool {
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => true,
        Ok(IpAddr::V6(v6)) => v6.to_ipv4_mapped().is_none(),
        Err(_) => false,
    }
}
