//! The lines of a document's fields: read only once something is to be said of one of them.

use std::borrow::Cow;
use std::collections::HashSet;

use saphyr_parser::{Event, Parser};

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
    Leaf,
    /// Elements, by their place among the nodes.
    List(Vec<usize>),
    /// Keys with their lines, and their values by their place among the nodes.
    Mapping(Vec<(Cow<'t, str>, u32, usize)>),
}

/// A list or mapping that has begun and not ended.
struct Open<'t> {
    at: usize,
    /// Of a mapping: the key whose value comes next.
    key: Option<(Cow<'t, str>, u32)>,
}

impl<'t> Outline<'t> {
    /// Reads a document's text; of one that breaks off, as far as it goes. Lines count from 1.
    pub fn read(text: &'t str) -> Outline<'t> {
        let mut outline = Outline::default();
        let mut open: Vec<Open<'t>> = Vec::new();
        for event in Parser::new_from_str(text) {
            let Ok((event, span)) = event else { break };
            let line = u32::try_from(span.start.line()).unwrap_or(u32::MAX);
            match event {
                Event::Scalar(scalar, ..) => {
                    if let Some(waiting) = open.last_mut()
                        && waiting.key.is_none()
                        && outline.is_mapping(waiting.at)
                    {
                        waiting.key = Some((scalar, line));
                    } else {
                        outline.add(&mut open, line, Shape::Leaf);
                    }
                }
                Event::Alias(_) => {
                    outline.add(&mut open, line, Shape::Leaf);
                }
                Event::SequenceStart(..) => {
                    let at = outline.add(&mut open, line, Shape::List(Vec::new()));
                    open.push(Open { at, key: None });
                }
                Event::MappingStart(..) => {
                    let at = outline.add(&mut open, line, Shape::Mapping(Vec::new()));
                    open.push(Open { at, key: None });
                }
                Event::SequenceEnd | Event::MappingEnd => {
                    open.pop();
                }
                Event::DocumentEnd => break,
                Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) => {}
            }
        }
        outline
    }

    /// The line of a field, or of the nearest value around it.
    pub fn line_of<'s>(&self, path: impl Iterator<Item = Segment<'s>>) -> Option<u32> {
        let mut node = self.nodes.first()?;
        let mut line = node.line;
        for segment in path {
            let next = match (&node.shape, segment) {
                (Shape::List(elements), Segment::Item(at)) => {
                    let Some(next) = elements.get(at).and_then(|at| self.nodes.get(*at)) else { break };
                    line = next.line;
                    next
                }
                (Shape::Mapping(fields), Segment::Field(name) | Segment::Key(name)) => {
                    let Some((_, at_line, at)) = fields.iter().find(|(key, ..)| key == name) else { break };
                    line = *at_line;
                    let Some(next) = self.nodes.get(*at) else { break };
                    next
                }
                // A key of the user's choice that looks like a number.
                (Shape::Mapping(fields), Segment::Item(number)) => {
                    let name = number.to_string();
                    let Some((_, at_line, _)) = fields.iter().find(|(key, ..)| *key == name) else { break };
                    line = *at_line;
                    break;
                }
                _ => break,
            };
            node = next;
        }
        Some(line)
    }

    /// The first key that stands a second time in its mapping, and its line.
    pub fn duplicate(&self) -> Option<(&str, u32)> {
        let second = |node: &'_ Node<'t>| {
            let Shape::Mapping(fields) = &node.shape else { return None };
            let mut seen = HashSet::with_capacity(fields.len());
            fields.iter().find(|(key, ..)| !seen.insert(key.as_ref())).map(|(_, line, at)| (*line, *at))
        };
        let (line, at) = self.nodes.iter().filter_map(second).min()?;
        let key = self.nodes.iter().find_map(|node| match &node.shape {
            Shape::Mapping(fields) => fields.iter().find(|(_, _, value)| *value == at).map(|(key, ..)| key.as_ref()),
            _ => None,
        })?;
        Some((key, line))
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
                    Some((key, key_line)) => fields.push((key, key_line, at)),
                    // A list or mapping as a key, which is refused elsewhere.
                    None => parent.key = Some((Cow::Borrowed(""), line)),
                },
                Some(Shape::Leaf) | None => {}
            }
        }
        at
    }
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
