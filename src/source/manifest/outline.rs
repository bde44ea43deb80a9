//! The lines of a document's fields, and which texts stand without quotes: what a JSON value does not tell.
//!
//! Read only once something is to be said of a field, or a text might be a truth value of YAML 1.1.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::Value;

use super::value::legacy_truth;
use crate::source::schema::path::Segment;

/// Where each value of a document stands.
#[derive(Debug, Default)]
pub struct Outline<'t> {
    nodes: Vec<Node<'t>>,
}

#[derive(Debug)]
struct Node<'t> {
    line: u32,
    shape: Shape<'t>,
}

#[derive(Debug)]
enum Shape<'t> {
    /// A scalar; plain ones stand without quotes.
    Leaf { plain: bool },
    /// An alias of the value at this place among the nodes, if it is known.
    Alias(Option<usize>),
    /// Elements, by their place among the nodes.
    List(Vec<usize>),
    /// Keys with their lines, and their values by their place among the nodes.
    Mapping(Vec<Field<'t>>),
}

#[derive(Debug)]
struct Field<'t> {
    key: Cow<'t, str>,
    /// Whether the key stands without quotes.
    plain: bool,
    line: u32,
    value: usize,
}

/// A list or mapping that has begun and not ended.
struct Open<'t> {
    at: usize,
    /// Of a mapping: the key whose value comes next, whether it is plain, and its line.
    key: Option<(Cow<'t, str>, bool, u32)>,
}

impl<'t> Outline<'t> {
    /// Reads a document's text; of one that breaks off, as far as it goes. Lines count from 1.
    pub fn read(text: &'t str) -> Outline<'t> {
        let mut outline = Outline::default();
        let mut open: Vec<Open<'t>> = Vec::new();
        let mut anchors = HashMap::new();
        for event in Parser::new_from_str(text) {
            let Ok((event, span)) = event else { break };
            let line = u32::try_from(span.start.line()).unwrap_or(u32::MAX);
            let (shape, anchor) = match event {
                Event::Scalar(scalar, style, anchor, _) => {
                    let plain = style == ScalarStyle::Plain;
                    if let Some(waiting) = open.last_mut()
                        && waiting.key.is_none()
                        && outline.is_mapping(waiting.at)
                    {
                        waiting.key = Some((scalar, plain, line));
                        continue;
                    }
                    (Shape::Leaf { plain }, anchor)
                }
                Event::Alias(anchor) => (Shape::Alias(anchors.get(&anchor).copied()), 0),
                Event::SequenceStart(anchor, _) => (Shape::List(Vec::new()), anchor),
                Event::MappingStart(anchor, _) => (Shape::Mapping(Vec::new()), anchor),
                Event::SequenceEnd | Event::MappingEnd => {
                    open.pop();
                    continue;
                }
                Event::DocumentEnd => break,
                Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) => continue,
            };
            let opens = matches!(shape, Shape::List(_) | Shape::Mapping(_));
            let at = outline.add(&mut open, line, shape);
            if anchor > 0 {
                anchors.insert(anchor, at);
            }
            if opens {
                open.push(Open { at, key: None });
            }
        }
        outline
    }

    /// Whether a text has more levels of lists and mappings than these.
    pub fn depth_exceeds(text: &str, most: usize) -> bool {
        let mut depth = 0_usize;
        for event in Parser::new_from_str(text) {
            match event {
                Ok((Event::SequenceStart(..) | Event::MappingStart(..), _)) => depth += 1,
                Ok((Event::SequenceEnd | Event::MappingEnd, _)) => depth = depth.saturating_sub(1),
                Ok(_) => {}
                // The parser looks ahead, and has a bound of its own (255 brackets).
                Err(error) => return error.info().contains("recursion limit"),
            }
            if depth > most {
                return true;
            }
        }
        false
    }

    /// The line of a field, or of the nearest value around it.
    pub fn line_of<'s>(&self, path: impl Iterator<Item = Segment<'s>>) -> Option<u32> {
        let mut node = self.nodes.first()?;
        let mut line = node.line;
        for segment in path {
            let shape = match &node.shape {
                Shape::Alias(Some(target)) => self.nodes.get(*target).map_or(&node.shape, |node| &node.shape),
                shape => shape,
            };
            let next = match (shape, segment) {
                (Shape::List(elements), Segment::Item(at)) => elements.get(at).copied().map(|at| (at, None)),
                (Shape::Mapping(fields), Segment::Field(name) | Segment::Key(name)) => field(fields, name),
                // A key of the user's choice that looks like a number.
                (Shape::Mapping(fields), Segment::Item(number)) => field(fields, &number.to_string()),
                _ => None,
            };
            let Some((at, key_line)) = next else { break };
            let Some(next) = self.nodes.get(at) else { break };
            line = key_line.unwrap_or(next.line);
            node = next;
        }
        Some(line)
    }

    /// The first key that stands a second time in its mapping, and its line.
    pub fn duplicate(&self) -> Option<(&str, u32)> {
        let second = |node: &'_ Node<'t>| -> Option<(u32, usize)> {
            let Shape::Mapping(fields) = &node.shape else { return None };
            let mut seen = HashSet::with_capacity(fields.len());
            let (at, field) = fields.iter().enumerate().find(|(_, field)| !seen.insert(field.key.as_ref()))?;
            Some((field.line, at))
        };
        let seconds = self.nodes.iter().filter_map(|node| second(node).map(|(line, at)| (line, at, node)));
        let (line, at, node) = seconds.min_by_key(|(line, ..)| *line)?;
        let Shape::Mapping(fields) = &node.shape else { return None };
        Some((fields.get(at)?.key.as_ref(), line))
    }

    /// Makes truth values of the plain texts that YAML 1.1, and so `kubectl`, takes for some: `yes`, `off` …
    pub fn read_legacy_truths(&self, value: &mut Value) {
        self.read_truths(0, value);
    }

    fn read_truths(&self, at: usize, value: &mut Value) {
        match (self.nodes.get(at).map(|node| &node.shape), value) {
            (Some(Shape::Leaf { plain: true }), value) => {
                if let Some(truth) = value.as_str().and_then(legacy_truth) {
                    *value = Value::Bool(truth);
                }
            }
            // An alias stands after its anchor's value: the walk only ever goes back, and so ends.
            (Some(Shape::Alias(Some(target))), value) if *target < at => self.read_truths(*target, value),
            (Some(Shape::List(nodes)), Value::Array(elements)) => {
                for (node, element) in nodes.iter().zip(elements) {
                    self.read_truths(*node, element);
                }
            }
            (Some(Shape::Mapping(fields)), Value::Object(entries)) => {
                for field in fields {
                    if let Some(entry) = entries.get_mut(field.key.as_ref()) {
                        self.read_truths(field.value, entry);
                    }
                }
                let truth_of = |field: &Field<'_>| legacy_truth(&field.key).filter(|_| field.plain);
                if fields.iter().any(|field| truth_of(field).is_some()) {
                    let truths: HashMap<&str, bool> =
                        fields.iter().filter_map(|field| Some((field.key.as_ref(), truth_of(field)?))).collect();
                    let renamed = std::mem::take(entries)
                        .into_iter()
                        .map(|(key, value)| (truths.get(key.as_str()).map_or(key, ToString::to_string), value));
                    *entries = renamed.collect();
                }
            }
            _ => {}
        }
    }

    fn is_mapping(&self, at: usize) -> bool {
        matches!(self.nodes.get(at), Some(Node { shape: Shape::Mapping(_), .. }))
    }

    /// Adds a value to what is open, as its next element or as the value of its key.
    fn add(&mut self, open: &mut [Open<'t>], line: u32, shape: Shape<'t>) -> usize {
        let at = self.nodes.len();
        self.nodes.push(Node { line, shape });
        if let Some(parent) = open.last_mut() {
            match self.nodes.get_mut(parent.at).map(|node| &mut node.shape) {
                Some(Shape::List(elements)) => elements.push(at),
                Some(Shape::Mapping(fields)) => match parent.key.take() {
                    Some((key, plain, line)) => fields.push(Field { key, plain, line, value: at }),
                    // A list or mapping as a key, which is refused elsewhere.
                    None => parent.key = Some((Cow::Borrowed(""), false, line)),
                },
                _ => {}
            }
        }
        at
    }
}

/// Of a mapping: the place of a field's value, and the line of its key.
fn field(fields: &[Field<'_>], name: &str) -> Option<(usize, Option<u32>)> {
    fields.iter().find(|field| field.key == name).map(|field| (field.value, Some(field.line)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::schema::path::segments;

    const TEXT: &str = "# c\n---\nkind: X\nspec:\n  rules:\n  - a: 1\n    b:\n      c.d: 2\n  - {a: 1,\n     b: 2}\n  text: |\n    x: 1\n  last: &x [1,\n    2]\n  again: *x\n";

    #[test]
    fn every_field_has_its_line() {
        let outline = Outline::read(TEXT);
        for (path, line) in [
            ("kind", 3),
            ("spec", 4),
            ("spec.rules[0]", 6),
            ("spec.rules[0].b[c.d]", 8),
            ("spec.rules[1].b", 10),
            ("spec.rules[2]", 5),
            ("spec.text", 11),
            ("spec.last[1]", 14),
            ("spec.again", 15),
            ("spec.missing.deeper", 4),
            ("", 3),
        ] {
            assert_eq!(outline.line_of(segments(path).into_iter()), Some(line), "{path}");
        }
    }

    #[test]
    fn a_key_that_stands_twice_is_found() {
        assert_eq!(Outline::read("a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\n").duplicate(), Some(("c", 5)));
        assert_eq!(Outline::read("a: {b: 1}\nb: {b: 1}\n").duplicate(), None);
    }

    #[test]
    fn json_has_lines_too() {
        let outline = Outline::read("{\n\t\"a\": {\n\t\t\"b\": [1,\n\t\t2]\n\t}\n}");
        assert_eq!(outline.line_of(segments("a.b[1]").into_iter()), Some(4));
    }
}
