//! The text of one document -> a JSON value, in bounded memory and time, or what is wrong with the text.
//!
//! As `kubectl` reads it: mappings have texts for keys, and a number or truth value as a key becomes its text;
//! `<<` merges; a key that stands twice, `.nan` and `.inf` are errors. Aliases are expanded, within the bounds.

use std::cell::{Cell, RefCell};
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::outline::Outline;
use super::{MAX_DEPTH, MAX_DOCUMENT, MAX_NODES};

/// What is wrong with a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// What was found and what is allowed.
    pub message: String,
    /// Line within the document, from 1, where it is known.
    pub line: Option<u32>,
    /// A key stands twice in a mapping: the line is that of the mapping.
    pub twice: bool,
}

impl Malformed {
    fn new(message: String, line: Option<u32>) -> Self {
        Malformed { twice: message.contains(TWICE), message, line }
    }
}

const TWICE: &str = " twice in one mapping, allowed once";

/// What is left of the bounds while a document is read, and what was found on the way.
struct Budget {
    nodes: Cell<usize>,
    bytes: Cell<usize>,
    /// Why the reading was broken off, in our words: the parsers put paths and places around theirs.
    broken: RefCell<Option<String>>,
    /// A text was read that YAML 1.1 takes for a truth value unless it stands in quotes.
    truths: Cell<bool>,
}

impl Budget {
    fn new() -> Self {
        Budget {
            nodes: Cell::new(MAX_NODES),
            bytes: Cell::new(MAX_DOCUMENT),
            broken: RefCell::new(None),
            truths: Cell::new(false),
        }
    }

    fn fail<E: serde::de::Error>(&self, message: String) -> E {
        let error = E::custom(&message);
        self.broken.replace(Some(message));
        error
    }

    fn node<E: serde::de::Error>(&self) -> Result<(), E> {
        let left = self.nodes.get().checked_sub(1);
        left.map(|left| self.nodes.set(left)).ok_or_else(|| {
            self.fail(format!("found more than {MAX_NODES} values once aliases are expanded, allowed up to that"))
        })
    }

    fn text<E: serde::de::Error>(&self, text: &str) -> Result<(), E> {
        if text.len() <= 3 && legacy_truth(text).is_some() {
            self.truths.set(true);
        }
        let left = self.bytes.get().checked_sub(text.len());
        left.map(|left| self.bytes.set(left)).ok_or_else(|| {
            self.fail(format!("found more than {MAX_DOCUMENT} bytes once aliases are expanded, allowed up to that"))
        })
    }

    /// What is wrong, in our words if it was us who broke off.
    fn malformed(&self, error: &impl fmt::Display, line: Option<u32>) -> Malformed {
        let message = self.broken.take().unwrap_or_else(|| {
            let message = strip_place(&error.to_string());
            if message.contains("repetition limit exceeded") {
                return format!("found aliases that expand to a great many values, allowed up to {MAX_NODES}");
            }
            if message.contains("recursion limit exceeded") { too_deep() } else { without_texts(&message) }
        });
        Malformed::new(message, line)
    }
}

/// The truth values that YAML 1.1 knows beside `true` and `false`, as `kubectl` reads them.
pub fn legacy_truth(text: &str) -> Option<bool> {
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Some(true),
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => Some(false),
        _ => None,
    }
}

/// A part of a document's text that is one value.
#[derive(Debug)]
pub struct Part<'t> {
    /// The text of the value.
    pub text: &'t str,
    /// Lines of the document before the text.
    pub lines_before: u32,
    /// The value.
    pub value: Result<Value, Malformed>,
}

/// Which grammar a text is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grammar {
    /// YAML, or JSON, which most of the time is YAML too.
    Yaml,
    /// JSON by the file's name: its errors are told in JSON's words.
    Json,
}

/// Reads a document: one YAML value, or JSON objects in a row, as `kubectl` takes them.
pub fn read(text: &str, grammar: Grammar) -> Vec<Part<'_>> {
    let whole = |value| vec![Part { text, lines_before: 0, value }];
    if text.len() > MAX_DOCUMENT {
        let message = format!("found a document of {} bytes, allowed at most {MAX_DOCUMENT}", text.len());
        return whole(Err(Malformed::new(message, None)));
    }
    let body = text.strip_prefix("---").unwrap_or(text).trim_start();
    if (grammar == Grammar::Json || body.starts_with('{'))
        && let Some(parts) = read_json(text, body, grammar)
    {
        return parts;
    }
    whole(read_yaml(text))
}

/// None if the text is not JSON, but perhaps YAML that begins with a brace.
fn read_json<'t>(text: &'t str, body: &'t str, grammar: Grammar) -> Option<Vec<Part<'t>>> {
    let mut parts = Vec::new();
    let mut rest = body;
    while !rest.is_empty() {
        let lines_before = lines_of(text.get(..text.len() - rest.len()).unwrap_or_default().as_bytes());
        let budget = Budget::new();
        let mut deserializer = serde_json::Deserializer::from_str(rest);
        match (Node { budget: &budget, depth: 0 }).deserialize(&mut deserializer) {
            Ok(value) => {
                // How far the value reaches is told by a second, cheap reading.
                let mut stream = serde_json::Deserializer::from_str(rest).into_iter::<serde::de::IgnoredAny>();
                stream.next();
                let (text, after) = rest.split_at_checked(stream.byte_offset())?;
                parts.push(Part { text, lines_before, value: Ok(value) });
                rest = after.trim_start();
            }
            // What JSON does not know, YAML may: single quotes, comments, trailing commas.
            Err(error) if !error.is_data() && grammar == Grammar::Yaml && parts.is_empty() => return None,
            Err(error) => {
                let line = u32::try_from(error.line()).ok();
                let value = Err(budget.malformed(&error, line));
                parts.push(Part { text: rest, lines_before, value });
                break;
            }
        }
    }
    Some(parts)
}

/// How many lines end in these bytes.
pub fn lines_of(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.split(|byte| *byte == b'\n').count().saturating_sub(1)).unwrap_or(u32::MAX)
}

fn read_yaml(text: &str) -> Result<Value, Malformed> {
    let marks = marks(text);
    if marks > MAX_NODES {
        let message = format!("found a document of more than {MAX_NODES} values or lines, allowed up to that");
        return Err(Malformed::new(message, None));
    }
    if may_be_deep(text) && Outline::depth_exceeds(text, MAX_DEPTH) {
        return Err(Malformed::new(too_deep(), None));
    }
    let mut documents = serde_yaml::Deserializer::from_str(text);
    let Some(document) = documents.next() else { return Ok(Value::Null) };
    let budget = Budget::new();
    let mut value = (Node { budget: &budget, depth: 0 }).deserialize(document).map_err(|error| {
        let line = error.location().and_then(|location| u32::try_from(location.line()).ok());
        let mut malformed = budget.malformed(&error, line);
        if line.and_then(|line| text.lines().nth((line as usize).saturating_sub(1))).is_some_and(is_tabbed) {
            malformed.message = format!("found a tab in the indentation, allowed spaces ({})", malformed.message);
        }
        malformed
    })?;
    if documents.next().is_some() {
        return Err(Malformed::new("found a second document without --- before it".to_owned(), None));
    }
    if budget.truths.get() {
        Outline::read(text).read_legacy_truths(&mut value);
    }
    Ok(value)
}

fn is_tabbed(line: &str) -> bool {
    line.trim_start_matches(' ').starts_with('\t')
}

fn too_deep() -> String {
    format!("found more than {MAX_DEPTH} levels of lists and mappings, allowed up to that")
}

/// Whether brackets, or dashes on one line, could nest too deep: the parser's time grows with the square of the
/// depth, and it keeps everything before the depth can be counted.
fn may_be_deep(text: &str) -> bool {
    let (mut brackets, mut on_line) = (0_usize, 0_usize);
    text.bytes().any(|byte| {
        match byte {
            b'[' | b'{' => brackets += 1,
            b']' | b'}' => brackets = brackets.saturating_sub(1),
            b'-' | b'?' | b':' => on_line += 1,
            b'\n' => on_line = 0,
            _ => {}
        }
        brackets > MAX_DEPTH || on_line > MAX_DEPTH
    })
}

/// An upper bound of half the values of a YAML text: the parser keeps all of them before they can be counted.
fn marks(text: &str) -> usize {
    let bytes = text.as_bytes();
    let next_blank = bytes.iter().skip(1).map(u8::is_ascii_whitespace).chain([true]);
    bytes
        .iter()
        .zip(next_blank)
        .filter(|(byte, next_blank)| match **byte {
            b'\n' | b',' | b'[' | b'{' => true,
            b':' | b'-' | b'?' => *next_blank,
            _ => false,
        })
        .count()
}

/// Without the place that the parser names: it counts from the document's start, we from the file's.
fn strip_place(message: &str) -> String {
    let mut out = String::new();
    let mut rest = message;
    while let Some((before, after)) = rest.split_once(" at line ") {
        let digits = |text: &'_ str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let after = after.get(digits(after)..).unwrap_or_default();
        let after = after.strip_prefix(" column ").map_or(after, |a| a.get(digits(a)..).unwrap_or_default());
        out.push_str(before);
        rest = after;
    }
    out.push_str(rest);
    out
}

/// A message of serde without the texts that it quotes: they may be a Secret's.
fn without_texts(message: &str) -> String {
    const MARK: &str = "string \"";
    let mut out = String::new();
    let mut rest = message;
    while let Some((before, quoted)) = rest.split_once(MARK) {
        out.push_str(before);
        out.push_str("a text");
        let mut escaped = false;
        let end = quoted.find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        rest = end.and_then(|end| quoted.get(end + 1..)).unwrap_or_default();
    }
    out.push_str(rest);
    out
}

/// Reads one value and what is beneath it.
#[derive(Clone, Copy)]
struct Node<'b> {
    budget: &'b Budget,
    depth: usize,
}

impl Node<'_> {
    fn beneath<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth >= MAX_DEPTH {
            return Err(self.budget.fail(too_deep()));
        }
        Ok(Node { depth: self.depth + 1, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.budget.node()?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| self.budget.fail(format!("found the number {value}, allowed finite numbers")))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Value, E> {
        self.budget.text(value)?;
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E: serde::de::Error>(self, value: String) -> Result<Value, E> {
        self.budget.text(&value)?;
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_enum<A: EnumAccess<'de>>(self, _: A) -> Result<Value, A::Error> {
        Err(self.budget.fail("found a tag of its own (!name), allowed the tags of YAML".to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let beneath = self.beneath()?;
        let mut out = Vec::new();
        while let Some(element) = elements.next_element_seed(beneath)? {
            out.push(element);
        }
        Ok(Value::Array(out))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let beneath = self.beneath()?;
        let mut out = Map::new();
        let mut merged = None;
        while let Some(key) = entries.next_key_seed(Key(self.budget))? {
            let value = entries.next_value_seed(beneath)?;
            if key == "<<" && (value.is_object() || value.is_array()) {
                merged = Some(value);
            } else if out.contains_key(&key) {
                let shown: String = key.chars().take(80).collect();
                return Err(self.budget.fail(format!("found the key {shown:?}{TWICE}")));
            } else {
                out.insert(key, value);
            }
        }
        match merged {
            Some(Value::Object(fields)) => merge(&mut out, fields),
            // Of several, the first that has a key gives its value (YAML 1.1, merge keys).
            Some(Value::Array(sources)) => {
                for source in sources {
                    let Value::Object(fields) = source else {
                        let message = "found << with something other than mappings, allowed mappings";
                        return Err(self.budget.fail(message.to_owned()));
                    };
                    merge(&mut out, fields);
                }
            }
            _ => {}
        }
        Ok(Value::Object(out))
    }
}

fn merge(into: &mut Map<String, Value>, fields: Map<String, Value>) {
    for (key, value) in fields {
        if !into.contains_key(&key) {
            into.insert(key, value);
        }
    }
}

/// Reads a key as text.
struct Key<'b>(&'b Budget);

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Key<'_> {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text as a key")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<String, E> {
        self.0.text(key)?;
        Ok(key.to_owned())
    }

    fn visit_string<E: serde::de::Error>(self, key: String) -> Result<String, E> {
        self.0.text(&key)?;
        Ok(key)
    }

    fn visit_i64<E>(self, key: i64) -> Result<String, E> {
        Ok(key.to_string())
    }

    fn visit_u64<E>(self, key: u64) -> Result<String, E> {
        Ok(key.to_string())
    }

    fn visit_f64<E>(self, key: f64) -> Result<String, E> {
        Ok(key.to_string())
    }

    fn visit_bool<E>(self, key: bool) -> Result<String, E> {
        Ok(key.to_string())
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<String, E> {
        Err(self.0.fail("found null as a key, allowed text".to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<String, A::Error> {
        Err(self.0.fail("found a list as a key, allowed text".to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<String, A::Error> {
        Err(self
            .0
            .fail("found a mapping as a key, allowed text; a value that begins with { stands in quotes".to_owned()))
    }
}
