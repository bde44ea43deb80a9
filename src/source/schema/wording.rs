//! What was found and what is allowed, in words. Values are shortened, never split within a character.

use std::fmt::Write as _;

use serde_json::Value;

use super::node::{Bounds, Format, Node, Range, Type};

/// Most characters of a value in a message.
const SHOWN: usize = 80;

/// A value as it was found: `"abc"`, `99999`, `a list of 3 items`.
pub fn found(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => {
            let mut shown: String = text.chars().take(SHOWN).collect();
            if shown.len() < text.len() {
                shown.push('…');
            }
            Value::String(shown).to_string()
        }
        Value::Array(elements) => format!("a list of {}", counted(elements.len(), "item", "items")),
        Value::Object(fields) => format!("a mapping of {}", counted(fields.len(), "field", "fields")),
    }
}

/// The type of a value, where the value itself must not be shown.
pub fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

/// A sentence with `{x}` replaced by the value's field x (`{a.b}` by that of its field a), `{}` by the value.
pub fn fill(sentence: &str, value: &Value) -> String {
    let mut out = String::new();
    let mut rest = sentence;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((path, after)) = after.split_once('}') else { break };
        out.push_str(before);
        let field = path.split('.').filter(|name| !name.is_empty()).try_fold(value, |value, name| value.get(name));
        out.push_str(&field.map_or_else(|| "none".to_owned(), found));
        rest = after;
    }
    out.push_str(rest);
    out
}

/// What a node allows: `1 to 65535`, `one of Exact, PathPrefix`, `a list of 1 to 16 items`.
pub fn allowed(node: &Node) -> String {
    if !node.allowed.is_empty() {
        return listed(&node.allowed);
    }
    match node.kind {
        Some(Type::Integer | Type::Number) => numbers(node.range, node.kind),
        Some(Type::Boolean) => "true or false".to_owned(),
        Some(Type::String) => texts(node),
        Some(Type::IntOrString) => "a whole number or text".to_owned(),
        Some(Type::Array) => format!("a list{}", bounded(node.count, " of ", "item", "items")),
        Some(Type::Object) => {
            let mut text = format!("a mapping{}", bounded(node.size, " of ", "field", "fields"));
            if !node.required.is_empty() {
                let _ = write!(text, " with {}", node.required.join(", "));
            }
            text
        }
        None => node.format.map_or("a value", form).to_owned(),
    }
}

/// The values of an enumeration.
pub fn listed(values: &[Value]) -> String {
    let shown: Vec<String> = values
        .iter()
        .map(|value| match value {
            Value::String(text) if text.is_empty() => "\"\"".to_owned(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        })
        .collect();
    shown.join(", ")
}

/// A number of things with bounds: `1 to 16 items`, `at most 8 fields`.
pub fn bounded(bounds: Bounds, before: &str, one: &str, many: &str) -> String {
    match (bounds.least, bounds.most) {
        (0, None) => String::new(),
        (0, Some(most)) => format!("{before}at most {}", counted(most, one, many)),
        (least, None) => format!("{before}at least {}", counted(least, one, many)),
        (least, Some(most)) if least == most => format!("{before}{}", counted(least, one, many)),
        (least, Some(most)) => format!("{before}{least} to {}", counted(most, one, many)),
    }
}

/// `1 item`, `3 items`.
pub fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// A range of numbers.
pub fn numbers(range: Range, kind: Option<Type>) -> String {
    let noun = if kind == Some(Type::Number) { "a number" } else { "a whole number" };
    match (range.least, range.most) {
        (None, None) => noun.to_owned(),
        (Some(least), None) => format!("{noun} of at least {least}"),
        (None, Some(most)) => format!("{noun} of at most {most}"),
        (Some(least), Some(most)) => format!("{least} to {most}"),
    }
}

/// A format in words.
pub fn form(format: Format) -> &'static str {
    match format {
        Format::Int32 => "a whole number of 32 bits",
        Format::Int64 => "a whole number of 64 bits",
        Format::DateTime => "a time such as 2026-01-31T12:00:00Z",
        Format::Ipv4 => "an IPv4 address",
        Format::Ipv6 => "an IPv6 address",
        Format::Byte => "base64",
    }
}

fn texts(node: &Node) -> String {
    let length = bounded(node.length, "", "character", "characters");
    match (&node.pattern, length.is_empty()) {
        (Some(pattern), true) => pattern.words.clone(),
        (Some(pattern), false) => format!("{length}: {}", pattern.words),
        (None, true) => node.format.map_or("text", form).to_owned(),
        (None, false) => format!("text of {length}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sentences_show_the_fields_of_the_value() {
        let value = json!({"type": "CORS", "tls": {"mode": "Passthrough"}, "port": 8});
        assert_eq!(fill("{type}, {tls.mode}, {port}, {gone}", &value), r#""CORS", "Passthrough", 8, none"#);
        assert_eq!(fill("it is {}", &json!("x")), r#"it is "x""#);
        assert_eq!(fill("an open {brace", &json!(1)), "an open {brace");
    }

    #[test]
    fn long_values_are_shortened() {
        let shown = found(&json!("ä".repeat(1000)));
        assert_eq!(shown.chars().count(), SHOWN + 3);
        assert_eq!(found(&json!([1, 2])), "a list of 2 items");
    }
}
