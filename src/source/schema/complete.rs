//! What an API server does to a new object before it judges it: nulls that are no values go, defaults come.

use serde_json::Value;

use super::node::{Node, Type};

/// Drops nulls and fills in defaults, in place.
pub fn complete(node: &Node, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if fields.values().any(Value::is_null) {
                // An unknown field stays, to be reported as one.
                fields
                    .retain(|name, field| !field.is_null() || field_node(node, name).is_none_or(|node| node.nullable));
            }
            for (name, property) in &node.properties {
                if let Some(default) = &property.default
                    && !fields.contains_key(name)
                {
                    fields.insert(name.clone(), default.clone());
                }
            }
            for (name, field) in fields {
                if let Some(node) = field_node(node, name) {
                    complete(node, field);
                }
            }
        }
        Value::Array(elements) => {
            if let Some(items) = &node.items {
                for element in elements {
                    complete(items, element);
                }
            }
        }
        // `80.0` is a whole number: written as one, it fits its type.
        Value::Number(number) if matches!(node.kind, Some(Type::Integer | Type::IntOrString)) => {
            if let Some(whole) = number.as_f64().filter(|_| number.is_f64()).and_then(whole) {
                *value = Value::from(whole);
            }
        }
        _ => {}
    }
}

#[allow(clippy::cast_possible_truncation, reason = "within the whole numbers that a double holds exactly")]
fn whole(number: f64) -> Option<i64> {
    (number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0).then_some(number as i64)
}

fn field_node<'n>(node: &'n Node, name: &str) -> Option<&'n Node> {
    node.properties.get(name).or(node.values.as_deref())
}
