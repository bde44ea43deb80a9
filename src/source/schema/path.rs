//! Paths of fields, `spec.rules[0].matches[1].path.type`: built while walking, written only when needed.
//!
//! Keys of the user's choice stand in brackets: `metadata.labels[app.kubernetes.io/name]`.

use std::fmt;

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Segment<'v> {
    /// A field of a mapping.
    Field(&'v str),
    /// A key of the user's choice.
    Key(&'v str),
    /// An item of a list, from 0.
    Item(usize),
}

/// Where the walk stands.
#[derive(Debug, Clone, Default)]
pub struct Path<'v>(Vec<Segment<'v>>);

impl<'v> Path<'v> {
    /// One step down.
    pub fn push(&mut self, segment: Segment<'v>) {
        self.0.push(segment);
    }

    /// One step up.
    pub fn pop(&mut self) {
        self.0.pop();
    }

    /// The path of a field beneath.
    pub fn child(&self, name: &str) -> String {
        if self.0.is_empty() { name.to_owned() } else { format!("{self}.{name}") }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Field(name) if at == 0 => f.write_str(name)?,
                Segment::Field(name) => write!(f, ".{name}")?,
                Segment::Key(key) => write!(f, "[{key}]")?,
                Segment::Item(item) => write!(f, "[{item}]")?,
            }
        }
        Ok(())
    }
}

/// Takes a written path apart again.
#[must_use]
pub fn segments(path: &str) -> Vec<Segment<'_>> {
    let mut out = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('[') {
            // Keys hold no brackets where an API server takes them; the first one closes.
            let (inner, after) = after.split_once(']').unwrap_or((after, ""));
            out.push(inner.parse().map_or(Segment::Key(inner), Segment::Item));
            rest = after.strip_prefix('.').unwrap_or(after);
        } else {
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            let (name, after) = rest.split_at(end);
            if !name.is_empty() {
                out.push(Segment::Field(name));
            }
            rest = after.strip_prefix('.').unwrap_or(after);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_path_comes_apart_as_it_was_built() {
        for text in
            ["spec.rules[0].matches[1].path.type", "metadata.labels[app.kubernetes.io/name]", "items[3].kind", ""]
        {
            let path = Path(segments(text));
            assert_eq!(path.to_string(), text);
        }
        assert_eq!(
            segments("a[x.y].b[2]"),
            [Segment::Field("a"), Segment::Key("x.y"), Segment::Field("b"), Segment::Item(2),]
        );
    }

    #[test]
    fn any_text_comes_apart() {
        for text in ["[", "]", "..", "a.", "[]", "a[", "a]b", "[0", "ä[ö"] {
            let _ = segments(text);
        }
    }
}
