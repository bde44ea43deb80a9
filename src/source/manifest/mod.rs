//! The text of a file -> objects, each with its place, or what is wrong with it.
//!
//! Bytes of a `.yaml`, `.yml` or `.json` file come in; one [`Document`] an object goes out, `kind: List` taken
//! apart. One bad document never hides its siblings, and no bytes whatever make [`parse`] fail or panic. This
//! room reads no files and follows no references; it knows shapes (`source/schema`), not meaning.
//!
//! Bounds, each answered by a problem that names it: a file is at most [`MAX_FILE`] bytes, a document at most
//! [`MAX_DOCUMENT`] bytes, [`MAX_DEPTH`] levels and [`MAX_NODES`] values after aliases are expanded.

mod admission;
mod outline;
mod reader;
mod split;
mod value;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use crate::api::{Object, ObjectRef};

/// Most bytes of a file.
pub const MAX_FILE: usize = 64 << 20;
/// Most bytes of one document, a `List` of many objects included; also of its strings once aliases are expanded.
pub const MAX_DOCUMENT: usize = 8 << 20;
/// Most levels of lists and mappings.
pub const MAX_DEPTH: usize = 64;
/// Most values of one document once aliases are expanded.
pub const MAX_NODES: usize = 1 << 20;
/// Most objects of one file.
pub const MAX_OBJECTS: usize = 1 << 18;
/// Most objects of one file that cannot be used: past these a person mends the first ones first.
pub const MAX_REFUSED: usize = 1000;

/// Where an object stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    /// The file, as it was named to [`parse`].
    pub file: Arc<Path>,
    /// First line of the object, from 1.
    pub line: u32,
    /// Which document of the file, from 0.
    pub document: u32,
    /// Which item of a `List`, from 0, and of a list in it; empty for an object of its own.
    pub items: Vec<u32>,
}

/// One object of a file, or what is wrong with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// Where it stands.
    pub location: Location,
    /// What came of it.
    pub outcome: Outcome,
    /// What is wrong or not known. [`Severity::Refused`] is there exactly when the outcome is [`Outcome::Refused`].
    pub problems: Vec<ManifestProblem>,
    /// The object as it was written, where [`Keep::Text`] asked for it and it is a mapping.
    pub raw: Option<Box<Value>>,
}

impl Document {
    /// Whose document it is: the identity of an object, used or refused, of a kind that Transom holds.
    #[must_use]
    pub fn object(&self) -> Option<ObjectRef> {
        match &self.outcome {
            Outcome::Object(object) => Some(object.object_ref()),
            Outcome::Refused { object } => object.clone(),
            Outcome::NotServed { .. } | Outcome::NotOurs { .. } => None,
        }
    }
}

/// What came of a document.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// An object of a kind that Transom holds, defaults filled in.
    Object(Object),
    /// A kind of the Gateway API that fits its schema, of which Transom serves nothing yet: `XBackend` …
    NotServed {
        /// API group.
        group: String,
        /// Kind.
        kind: String,
        /// Namespace, empty for cluster-scoped kinds.
        namespace: String,
        /// Name.
        name: String,
    },
    /// A kind of another group: `Deployment`, `Certificate` …
    NotOurs {
        /// API group; empty for core.
        group: String,
        /// Kind.
        kind: String,
    },
    /// Nothing that can be used; `problems` say why.
    Refused {
        /// Whose document it is, as far as it can be told: its last good version may go on being served.
        object: Option<ObjectRef>,
    },
}

/// Something wrong with a document.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ManifestProblem {
    /// The file.
    pub file: Arc<Path>,
    /// Line of the field, or of what comes closest to it, from 1.
    pub line: u32,
    /// The object in words: `HTTPRoute shop/cart`; empty where it cannot be told.
    pub subject: String,
    /// The object, if it is of a kind that Transom holds.
    pub object: Option<ObjectRef>,
    /// Path of the field, as `spec.rules[0].matches[1].path.type`; empty for the document as a whole.
    pub field: String,
    /// What was found and what is allowed.
    pub message: String,
    /// How bad it is.
    pub severity: Severity,
}

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The object is not used.
    Refused,
    /// The object is used, without what is named here: an unknown field.
    Reported,
}

/// Whether documents keep what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Only the typed objects: `run`, which holds thousands.
    Objects,
    /// The text's values too: `check -o yaml`, which prints them again.
    Text,
}

/// Reads the objects of a file, in order. Total: any bytes give an answer.
#[must_use]
pub fn parse(file: &Path, bytes: &[u8], keep: Keep) -> Vec<Document> {
    let file: Arc<Path> = Arc::from(file);
    if bytes.len() > MAX_FILE {
        let message = format!("found a file of {} bytes, allowed at most {MAX_FILE}", bytes.len());
        return vec![reader::unreadable(&file, 0, 1, message)];
    }
    let grammar = grammar_of(&file);
    let mut documents = reader::Documents::default();
    let mut number = 0;
    for chunk in split::split(bytes) {
        if documents.is_full() {
            break;
        }
        let text = match std::str::from_utf8(chunk.bytes) {
            Ok(text) => text,
            Err(error) => {
                documents.add(not_utf8(&file, number, &chunk, error.valid_up_to()));
                number += 1;
                continue;
            }
        };
        for part in value::read(text, grammar) {
            let place = reader::Place::new(&file, number, &chunk, &part);
            reader::read(place, part.value, keep, &mut documents);
            number += 1;
        }
    }
    documents.into_inner()
}

/// The lines of all fields of a file.
#[derive(Debug)]
pub struct Lines<'b> {
    /// Lines before each document, and the outline of the document.
    documents: Vec<(u32, outline::Outline<'b>)>,
}

impl<'b> Lines<'b> {
    /// Reads the bytes of a file as [`parse`] does.
    #[must_use]
    pub fn read(file: &Path, bytes: &'b [u8]) -> Lines<'b> {
        let mut documents = Vec::new();
        for chunk in split::split(bytes) {
            // Documents are counted as `parse` counts them.
            let Ok(text) = std::str::from_utf8(chunk.bytes) else {
                documents.push((0, outline::Outline::default()));
                continue;
            };
            for part in value::read(text, grammar_of(file)) {
                let before = chunk.line - 1 + part.lines_before;
                let outline =
                    if part.value.is_ok() { outline::Outline::read(part.text) } else { outline::Outline::default() };
                documents.push((before, outline));
            }
        }
        Lines { documents }
    }

    /// The line (from 1) of a field such as `spec.rules[0].name` of the object that stood at `location` in these
    /// bytes; of the nearest enclosing field where it is absent. None if the bytes hold no such object.
    #[must_use]
    pub fn line_of(&self, location: &Location, field: &str) -> Option<u32> {
        let (before, outline) = self.documents.get(location.document as usize)?;
        outline.line_of(reader::path_of(&location.items, field)).map(|line| before + line)
    }
}

fn grammar_of(file: &Path) -> value::Grammar {
    let json = file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    if json { value::Grammar::Json } else { value::Grammar::Yaml }
}

fn not_utf8(file: &Arc<Path>, number: u32, chunk: &split::Chunk<'_>, valid: usize) -> Document {
    let before = chunk.bytes.get(..valid).unwrap_or_default();
    let line = chunk.line.saturating_add(value::lines_of(before));
    let byte = chunk.bytes.get(valid).copied().unwrap_or_default();
    let mut message = format!("found byte {byte:#04x} at offset {}, allowed UTF-8 text", chunk.offset + valid);
    if chunk.offset == 0 && matches!(chunk.bytes, [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..]) {
        message.push_str("; the file looks like UTF-16");
    }
    reader::unreadable(file, number, line, message)
}

impl fmt::Display for ManifestProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.file.display(), self.line)?;
        for part in [&self.subject, &self.field] {
            if !part.is_empty() {
                write!(f, "{part}: ")?;
            }
        }
        f.write_str(&self.message)
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod totality;
