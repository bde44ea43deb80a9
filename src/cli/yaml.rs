//! A value as YAML that readers of YAML 1.1, kubectl among them, read as it was meant.
//!
//! The emitter leaves a text without quotes where YAML 1.2 takes it for one: `on`, `no`, `2026-01-31`. To readers
//! of YAML 1.1 these are truth values and times, so such texts are quoted here.

use serde_json::{Map, Value};

/// One document, with its marker in front.
#[must_use]
pub fn document(value: &Value) -> String {
    let mut text = "---\n".to_owned();
    let plain = value.to_string();
    // A character of the private use area that stands for a quote until all is written.
    let Some(mark) = ('\u{e000}'..='\u{f8ff}').find(|mark| !plain.contains(*mark)) else {
        text.push_str(&plain);
        text.push('\n');
        return text;
    };
    // a JSON value with text keys is always YAML
    let yaml = serde_yaml::to_string(&marked(value, mark)).unwrap_or_default();
    text.push_str(&yaml.replace(mark, "\""));
    text
}

fn marked(value: &Value, mark: char) -> Value {
    let word = |text: &String| if is_other_in_yaml_1_1(text) { format!("{mark}{text}{mark}") } else { text.clone() };
    match value {
        Value::String(text) => Value::String(word(text)),
        Value::Array(elements) => elements.iter().map(|element| marked(element, mark)).collect(),
        Value::Object(fields) => {
            Value::Object(fields.iter().map(|(key, field)| (word(key), marked(field, mark))).collect::<Map<_, _>>())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

/// Whether a text without quotes is a truth value, a time or a number of YAML 1.1 and none of YAML 1.2.
fn is_other_in_yaml_1_1(text: &str) -> bool {
    if matches!(text.to_ascii_lowercase().as_str(), "y" | "n" | "yes" | "no" | "on" | "off") {
        return true;
    }
    let year = text.bytes().take_while(u8::is_ascii_digit).count() == 4 && text.as_bytes().get(4) == Some(&b'-');
    // 190:20:30 counts minutes and seconds, 1_000 is a thousand, 0b11 is three
    let digits = text.trim_start_matches(['+', '-']);
    let number = digits.starts_with(|c: char| c.is_ascii_digit())
        && digits.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'_' | b':' | b'.'))
        && digits.contains(['_', ':']);
    let binary = digits.strip_prefix("0b").is_some_and(|bits| bits.bytes().all(|b| matches!(b, b'0' | b'1' | b'_')));
    // `: ` needs quotes anyway
    let time = year
        && !text.contains(": ")
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || matches!(b, b'-' | b':' | b'.' | b'+' | b'T' | b't' | b'Z' | b'z' | b' '));
    time || number || binary
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts_that_yaml_1_1_takes_for_something_else_stand_in_quotes() {
        let value = json!({"name": "on", "y": ["no", "OFF", "2026-01-31", "2026-01-31T12:00:00Z", "1:30", "1_000", "0b1"],
            "plain": ["one", "10s", "1.2.3.4", "/on", "2026-fall", "\u{e000}on\u{e000}", "2026-01-31: 1"], "lines": "a\nno\n"});
        let text = document(&value);
        for quoted in [
            "name: \"on\"",
            "\"y\":",
            "- \"no\"",
            "- \"OFF\"",
            "- \"2026-01-31\"",
            "\"2026-01-31T12:00:00Z\"",
            "\"1:30\"",
            "\"1_000\"",
            "\"0b1\"",
            "- one\n",
            "- 10s\n",
            "- 1.2.3.4\n",
            "- /on\n",
            "- 2026-fall\n",
        ] {
            assert!(text.contains(quoted), "{quoted} in {text}");
        }
        assert_eq!(serde_yaml::from_str::<Value>(&text).unwrap(), value);
    }
}
