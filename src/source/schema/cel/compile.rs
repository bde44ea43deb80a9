//! The crate's syntax tree -> our [`Expression`]: macros recognised, names resolved, patterns compiled.

use cel::common::ast::{CallExpr, ComprehensionExpr, Expr, IdedExpr, LiteralValue, operators};

use super::{Expression, Function, Macro, Operator, Pattern};

/// Why a rule cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsupported {
    /// Not CEL.
    #[error("this is not a CEL expression: {0}")]
    Syntax(String),
    /// CEL of a kind that no rule of a CRD known here uses.
    #[error("this part of CEL is not known: {0}")]
    Construct(String),
    /// A pattern that does not compile.
    #[error("this pattern does not compile: {0}")]
    Pattern(String),
}

/// Reads a rule; also whether it judges changes (`oldSelf`).
pub fn compile(text: &str) -> Result<(Expression, bool), Unsupported> {
    let tree = cel::parser::Parser::default().parse(text).map_err(|e| Unsupported::Syntax(e.to_string()))?;
    let mut scope = Scope { names: vec!["self".to_owned()], old_self: false };
    let root = scope.expression(&tree)?;
    Ok((root, scope.old_self))
}

struct Scope {
    names: Vec<String>,
    old_self: bool,
}

fn other(what: impl Into<String>) -> Unsupported {
    Unsupported::Construct(what.into())
}

impl Scope {
    fn boxed(&mut self, tree: &IdedExpr) -> Result<Box<Expression>, Unsupported> {
        self.expression(tree).map(Box::new)
    }

    fn expression(&mut self, tree: &IdedExpr) -> Result<Expression, Unsupported> {
        Ok(match &tree.expr {
            Expr::Literal(literal) => literal_of(literal)?,
            Expr::Ident(name) if name == "oldSelf" => {
                self.old_self = true;
                Expression::Null
            }
            Expr::Ident(name) => Expression::Variable(
                self.names.iter().rposition(|n| n == name).ok_or_else(|| other(format!("the name {name}")))?,
            ),
            Expr::Select(select) => {
                let operand = self.boxed(&select.operand)?;
                let field = unescape(&select.field);
                if select.test { Expression::Has(operand, field) } else { Expression::Field(operand, field) }
            }
            Expr::List(list) => {
                Expression::List(list.elements.iter().map(|e| self.expression(e)).collect::<Result<_, _>>()?)
            }
            Expr::Comprehension(comprehension) => self.comprehension(comprehension)?,
            Expr::Call(call) => self.call(call)?,
            Expr::Map(_) | Expr::Struct(_) | Expr::Unspecified => return Err(other("mappings and messages")),
        })
    }

    /// The macros, by the shape that the parser expands them to.
    fn comprehension(&mut self, c: &ComprehensionExpr) -> Result<Expression, Unsupported> {
        let Expr::Call(step) = &c.loop_step.expr else { return Err(other("a macro")) };
        let (kind, predicate) = match (&c.accu_init.expr, step.func_name.as_str(), step.args.as_slice()) {
            (Expr::Literal(LiteralValue::Boolean(_)), operators::LOGICAL_AND, [_, predicate]) => {
                (Macro::All, predicate)
            }
            (Expr::Literal(LiteralValue::Boolean(_)), operators::LOGICAL_OR, [_, predicate]) => {
                (Macro::Exists, predicate)
            }
            (Expr::Literal(LiteralValue::Int(_)), operators::CONDITIONAL, [predicate, _, _]) => {
                (Macro::ExistsOne, predicate)
            }
            (Expr::List(_), operators::CONDITIONAL, [predicate, add, _]) if keeps_element(add, &c.iter_var) => {
                (Macro::Filter, predicate)
            }
            _ => return Err(other("a macro other than all, exists, exists_one and filter")),
        };
        if c.iter_var2.is_some() {
            return Err(other("a macro with two variables"));
        }
        let range = self.boxed(&c.iter_range)?;
        self.names.push(c.iter_var.clone());
        let predicate = self.boxed(predicate);
        self.names.pop();
        Ok(Expression::Macro(kind, range, predicate?))
    }

    fn call(&mut self, call: &CallExpr) -> Result<Expression, Unsupported> {
        if let Some(invalid) = self.format_check(call)? {
            return Ok(invalid);
        }
        let mut arguments = Vec::with_capacity(call.args.len() + 1);
        for argument in call.target.as_deref().into_iter().chain(&call.args) {
            arguments.push(self.expression(argument)?);
        }
        let name = call.func_name.as_str();
        let function = match (name, arguments.len(), call.target.is_some()) {
            ("size", 1, _) => Function::Size,
            ("startsWith", 2, true) => Function::StartsWith,
            ("endsWith", 2, true) => Function::EndsWith,
            ("contains", 2, true) => Function::Contains,
            ("split", 2, true) => Function::Split,
            ("substring", 2 | 3, true) => Function::Substring,
            ("duration", 1, false) => Function::Duration,
            ("isIP", 1, false) => Function::IsIp,
            ("matches", 2, _) => return matches(arguments),
            _ => return operation(name, arguments),
        };
        Ok(Expression::Call(function, arguments))
    }

    /// `format.NAME().validate(x).hasValue()`: whether x is *not* of that form.
    fn format_check(&mut self, call: &CallExpr) -> Result<Option<Expression>, Unsupported> {
        let Some(validate) = target_call(call, "hasValue") else { return Ok(None) };
        let Some(Expr::Call(form)) = validate.target.as_deref().map(|t| &t.expr) else { return Ok(None) };
        let [argument] = validate.args.as_slice() else { return Ok(None) };
        let function = match form.func_name.as_str() {
            "dns1123Subdomain" => Function::IsNotSubdomain,
            "qualifiedName" => Function::IsNotQualifiedName,
            name => return Err(other(format!("the format {name}"))),
        };
        Ok(Some(Expression::Call(function, vec![self.expression(argument)?])))
    }
}

/// The call that is the target of a call of this name.
fn target_call<'t>(call: &'t CallExpr, name: &str) -> Option<&'t CallExpr> {
    match call.target.as_deref().map(|t| &t.expr) {
        Some(Expr::Call(inner)) if call.func_name == name && inner.func_name == "validate" => Some(inner),
        _ => None,
    }
}

/// Whether a step is `result + [variable]`, as `filter` has it and `map` has not.
fn keeps_element(step: &IdedExpr, variable: &str) -> bool {
    let Expr::Call(CallExpr { func_name, args, .. }) = &step.expr else { return false };
    let [_, IdedExpr { expr: Expr::List(list), .. }] = args.as_slice() else { return false };
    func_name == operators::ADD
        && matches!(list.elements.as_slice(), [IdedExpr { expr: Expr::Ident(name), .. }] if name == variable)
}

fn matches(arguments: Vec<Expression>) -> Result<Expression, Unsupported> {
    match <[Expression; 2]>::try_from(arguments) {
        Ok([subject, Expression::Text(pattern)]) => {
            let pattern = regex::Regex::new(&pattern).map_err(|e| Unsupported::Pattern(e.to_string()))?;
            Ok(Expression::Matches(Box::new(subject), Pattern(pattern)))
        }
        _ => Err(other("a pattern that is not a literal")),
    }
}

fn operation(name: &str, arguments: Vec<Expression>) -> Result<Expression, Unsupported> {
    let mut boxes = arguments.into_iter().map(Box::new);
    let (first, second, third) = (boxes.next(), boxes.next(), boxes.next());
    Ok(match (name, first, second, third) {
        (operators::LOGICAL_NOT, Some(a), None, None) => Expression::Not(a),
        (operators::LOGICAL_AND, Some(a), Some(b), None) => Expression::And(a, b),
        (operators::LOGICAL_OR, Some(a), Some(b), None) => Expression::Or(a, b),
        (operators::CONDITIONAL, Some(a), Some(b), Some(c)) => Expression::If(a, b, c),
        (operators::INDEX, Some(a), Some(b), None) => Expression::Index(a, b),
        (_, Some(a), Some(b), None) => Expression::Operation(operator(name)?, a, b),
        _ => return Err(other(format!("the function {name}"))),
    })
}

fn operator(name: &str) -> Result<Operator, Unsupported> {
    Ok(match name {
        operators::EQUALS => Operator::Equal,
        operators::NOT_EQUALS => Operator::NotEqual,
        operators::LESS => Operator::Less,
        operators::LESS_EQUALS => Operator::LessOrEqual,
        operators::GREATER => Operator::Greater,
        operators::GREATER_EQUALS => Operator::GreaterOrEqual,
        operators::IN => Operator::In,
        operators::ADD => Operator::Add,
        operators::SUBSTRACT => Operator::Subtract,
        operators::MULTIPLY => Operator::Multiply,
        _ => return Err(other(format!("the function {name}"))),
    })
}

fn literal_of(literal: &LiteralValue) -> Result<Expression, Unsupported> {
    Ok(match literal {
        LiteralValue::Boolean(b) => Expression::Bool(*b.inner()),
        LiteralValue::Int(i) => Expression::Int(*i.inner()),
        LiteralValue::Double(d) => Expression::Double(*d.inner()),
        LiteralValue::String(s) => Expression::Text(s.inner().to_owned()),
        LiteralValue::Null => Expression::Null,
        LiteralValue::UInt(_) | LiteralValue::Bytes(_) => return Err(other("unsigned numbers and bytes")),
    })
}

/// Field names that are not CEL identifiers stand escaped in rules: `__namespace__` is the field `namespace`.
fn unescape(field: &str) -> String {
    if let Some(word) = field.strip_prefix("__").and_then(|f| f.strip_suffix("__"))
        && !word.is_empty()
        && word.bytes().all(|b| b.is_ascii_lowercase())
        && !matches!(word, "underscores" | "dot" | "dash" | "slash")
    {
        return word.to_owned();
    }
    field.replace("__dot__", ".").replace("__dash__", "-").replace("__slash__", "/").replace("__underscores__", "__")
}
