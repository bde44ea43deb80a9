//! A document's value -> objects: whose they are, whether they fit, typed.

use std::cell::OnceCell;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::outline::Outline;
use super::split::Chunk;
use super::value::{Malformed, Part};
use super::{Document, Keep, Location, MAX_OBJECTS, MAX_REFUSED, ManifestProblem, Outcome, Severity, admission};
use crate::api::kind::{GATEWAY_GROUP, GATEWAY_X_GROUP, TRANSOM_GROUP};
use crate::api::{Kind, Object, ObjectKey, ObjectRef};
use crate::source::schema::path::{Segment, segments};
use crate::source::schema::{self, Finding, KindSchema, Schema, Weight, nearest};

/// Where a document stands in its file.
#[derive(Clone, Copy)]
pub struct Place<'t> {
    file: &'t Arc<Path>,
    document: u32,
    text: &'t str,
    /// Lines of the file before the text.
    before: u32,
    /// The first line with content.
    first: u32,
}

impl<'t> Place<'t> {
    /// Of a part of a chunk of a file.
    pub fn new(file: &'t Arc<Path>, document: u32, chunk: &Chunk<'_>, part: &Part<'t>) -> Self {
        let before = (chunk.line - 1).saturating_add(part.lines_before);
        let first = if part.lines_before == 0 { chunk.content } else { before.saturating_add(1) };
        Place { file, document, text: part.text, before, first }
    }
}

/// What was read so far, within the bounds of a file.
#[derive(Default)]
pub struct Documents {
    read: Vec<Document>,
    refused: usize,
    full: bool,
}

impl Documents {
    /// Adds one; past the bounds, says so once and takes no more.
    pub fn add(&mut self, document: Document) {
        if self.full {
            return;
        }
        self.refused += usize::from(matches!(document.outcome, Outcome::Refused { .. }));
        let message = if self.refused > MAX_REFUSED {
            format!("found more than {MAX_REFUSED} objects that cannot be used; the rest of the file is not read")
        } else if self.read.len() >= MAX_OBJECTS {
            format!("found more than {MAX_OBJECTS} objects, allowed up to that; the rest of the file is not read")
        } else {
            return self.read.push(document);
        };
        self.full = true;
        let Location { file, line, document: number, .. } = document.location;
        self.read.push(unreadable(&file, number, line, message));
    }

    /// Whether nothing more is taken.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// All of them.
    pub fn into_inner(self) -> Vec<Document> {
        self.read
    }
}

/// A file or document of which nothing can be read.
pub fn unreadable(file: &Arc<Path>, document: u32, line: u32, message: String) -> Document {
    let problem = ManifestProblem {
        file: Arc::clone(file),
        line,
        subject: String::new(),
        object: None,
        field: String::new(),
        message,
        severity: Severity::Refused,
    };
    Document {
        location: Location { file: Arc::clone(file), line, document, items: Vec::new() },
        outcome: Outcome::Refused { object: None },
        problems: vec![problem],
        raw: None,
    }
}

/// The path from the document to a field of an object in its lists.
pub fn path_of<'p>(items: &'p [u32], field: &'p str) -> impl Iterator<Item = Segment<'p>> {
    let items = items.iter().flat_map(|item| [Segment::Field("items"), Segment::Item(*item as usize)]);
    items.chain(segments(field))
}

/// Reads the objects of a document and adds them to `documents`.
pub fn read(place: Place<'_>, value: Result<Value, Malformed>, keep: Keep, documents: &mut Documents) {
    match value {
        Err(malformed) => {
            let mut line = malformed.line.unwrap_or(0);
            if malformed.twice {
                // The parser names the place where the mapping began.
                line = Outline::read(place.text).duplicate().map_or(line, |(_, second)| second);
            }
            let line = if line == 0 { place.first } else { place.before.saturating_add(line) };
            let mut document = unreadable(place.file, place.document, line, malformed.message);
            document.location.line = place.first;
            documents.add(document);
        }
        // Only an explicit `null` is left to come here.
        Ok(Value::Null) => {}
        Ok(value) => {
            let mut reader = Reader { place, keep, outline: OnceCell::new(), documents };
            reader.value(value, &mut Vec::new(), None);
        }
    }
}

/// Group, version and kind as written.
#[derive(Clone, Copy)]
struct TypeMeta<'v> {
    api_version: &'v str,
    group: &'v str,
    version: &'v str,
    kind: &'v str,
}

impl<'v> TypeMeta<'v> {
    fn new(api_version: &'v str, kind: &'v str) -> Self {
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        TypeMeta { api_version, group, version, kind }
    }
}

struct Reader<'t, 'd> {
    place: Place<'t>,
    keep: Keep,
    outline: OnceCell<Outline<'t>>,
    documents: &'d mut Documents,
}

/// What is known of an object while it is judged.
struct Subject<'v> {
    words: String,
    object: Option<ObjectRef>,
    items: &'v [u32],
}

impl Reader<'_, '_> {
    /// Reads an object or a list of them. `inherited` is what the list around says of its items' kind.
    fn value(&mut self, mut value: Value, items: &mut Vec<u32>, inherited: Option<(&str, &str)>) {
        let Value::Object(fields) = &mut value else {
            let message = "found something other than a mapping, allowed an object with apiVersion and kind";
            return self.refuse(&Subject { words: String::new(), object: None, items }, "", message.to_owned(), value);
        };
        let text = |name: &str| fields.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let api_version = text("apiVersion").or(inherited.map(|(api_version, _)| api_version)).map(str::to_owned);
        let kind = text("kind").or(inherited.map(|(_, kind)| kind)).map(str::to_owned);
        let (Some(api_version), Some(kind)) = (&api_version, &kind) else {
            let (field, example) = match kind {
                Some(_) => ("apiVersion", "a text such as gateway.networking.k8s.io/v1"),
                None => ("kind", "a text such as HTTPRoute"),
            };
            let found = if fields.contains_key(field) { "no text" } else { "none" };
            let message = format!("found {found}, allowed {example}");
            let words = words(kind.as_deref().unwrap_or_default(), &value);
            return self.refuse(&Subject { words, object: None, items }, field, message, value);
        };
        if let Some(item_kind) = kind.strip_suffix("List")
            && let Some(Value::Array(elements)) = fields.get_mut("items")
        {
            // Items of a typed list, as an API server sends it, go without their kind.
            let inherited = (!item_kind.is_empty()).then_some((api_version.as_str(), item_kind));
            for (at, element) in std::mem::take(elements).into_iter().enumerate() {
                if self.documents.is_full() {
                    return;
                }
                items.push(u32::try_from(at).unwrap_or(u32::MAX));
                self.value(element, items, inherited);
                items.pop();
            }
            return;
        }
        if kind == "List" {
            let message = "found no list, allowed a list of objects".to_owned();
            return self.refuse(&Subject { words: kind.clone(), object: None, items }, "items", message, value);
        }
        let meta = TypeMeta::new(api_version, kind);
        match schema::find(meta.group, kind) {
            Some(known) => self.known(known, meta, value, items),
            // Not an object of a cluster: what the conformance suite writes.
            None if meta.group == GATEWAY_GROUP && kind == "ConformanceReport" => self.not_ours(meta, value, items),
            None if concerns_us(meta.group) => {
                let subject = Subject { words: words(kind, &value), object: None, items };
                self.refuse(&subject, "kind", unknown_kind(meta), value);
            }
            None => match typing_error(meta) {
                Some((field, message)) => {
                    let subject = Subject { words: words(kind, &value), object: None, items };
                    self.refuse(&subject, field, message, value);
                }
                None => self.not_ours(meta, value, items),
            },
        }
    }

    fn not_ours(&mut self, meta: TypeMeta<'_>, value: Value, items: &[u32]) {
        let outcome = Outcome::NotOurs { group: meta.group.to_owned(), kind: meta.kind.to_owned() };
        let raw = self.raw(value);
        self.push(outcome, Vec::new(), items, raw);
    }

    fn known(&mut self, known: &'static KindSchema, meta: TypeMeta<'_>, mut value: Value, items: &[u32]) {
        let raw = if self.keep == Keep::Text { self.raw(value.clone()) } else { None };
        let mut findings = Vec::new();
        if let Value::Object(fields) = &mut value {
            // What a typed list says of its items.
            fields.entry("apiVersion").or_insert_with(|| meta.api_version.into());
            fields.entry("kind").or_insert_with(|| meta.kind.into());
            let metadata = fields.entry("metadata").or_insert_with(|| Value::Object(serde_json::Map::new()));
            if let Value::Object(metadata) = metadata {
                findings.extend(admission::place(metadata, known));
            }
        }
        let kind = Kind::find(known.group, known.kind);
        let key = ObjectKey { namespace: metadata_text(&value, "namespace"), name: metadata_text(&value, "name") };
        let words = format!("{} {key}", known.kind).trim_end().to_owned();
        let object = kind.filter(|_| !key.name.is_empty()).map(|kind| ObjectRef { kind, key: key.clone() });
        let subject = Subject { words, object, items };
        let Some(schema) = known.version(meta.version) else {
            let versions = known.versions().collect::<Vec<_>>().join(", ");
            let message = format!("found version {} of {}, allowed {versions}", meta.version, known.kind);
            return self.refuse(&subject, "apiVersion", message, value);
        };
        schema.complete(&mut value);
        findings.extend(schema.check(&value));
        findings.extend(admission::names(&value, known));
        if let Some(kind) = kind {
            findings.extend(admission::rules(kind, &value, &findings));
        }
        let refused = findings.iter().any(|finding| finding.weight == Weight::Refused);
        let mut problems: Vec<ManifestProblem> =
            findings.into_iter().map(|finding| self.problem(&subject, finding)).collect();
        let outcome = match kind {
            _ if refused => Outcome::Refused { object: subject.object.clone() },
            None => Outcome::NotServed {
                group: known.group.to_owned(),
                kind: known.kind.to_owned(),
                namespace: key.namespace,
                name: key.name,
            },
            Some(kind) => match typed(kind, schema, value) {
                Ok(object) => Outcome::Object(object),
                Err(message) => {
                    let finding = Finding { field: String::new(), message, weight: Weight::Refused };
                    problems.push(self.problem(&subject, finding));
                    Outcome::Refused { object: subject.object.clone() }
                }
            },
        };
        problems.sort();
        self.push(outcome, problems, items, raw);
    }

    fn refuse(&mut self, subject: &Subject<'_>, field: &str, message: String, value: Value) {
        let finding = Finding { field: field.to_owned(), message, weight: Weight::Refused };
        let problem = self.problem(subject, finding);
        let raw = self.raw(value);
        self.push(Outcome::Refused { object: subject.object.clone() }, vec![problem], subject.items, raw);
    }

    fn problem(&self, subject: &Subject<'_>, finding: Finding) -> ManifestProblem {
        let severity = match finding.weight {
            Weight::Refused => Severity::Refused,
            Weight::UnknownField => Severity::Reported,
        };
        ManifestProblem {
            file: Arc::clone(self.place.file),
            line: self.line_of(subject.items, &finding.field),
            subject: subject.words.clone(),
            object: subject.object.clone(),
            field: finding.field,
            message: finding.message,
            severity,
        }
    }

    fn line_of(&self, items: &[u32], field: &str) -> u32 {
        if items.is_empty() && field.is_empty() {
            return self.place.first;
        }
        let outline = self.outline.get_or_init(|| Outline::read(self.place.text));
        let line = outline.line_of(path_of(items, field));
        line.map_or(self.place.first, |line| self.place.before.saturating_add(line))
    }

    fn raw(&self, value: Value) -> Option<Box<Value>> {
        (self.keep == Keep::Text && value.is_object()).then(|| Box::new(value))
    }

    fn push(&mut self, outcome: Outcome, problems: Vec<ManifestProblem>, items: &[u32], raw: Option<Box<Value>>) {
        let location = Location {
            file: Arc::clone(self.place.file),
            line: self.line_of(items, ""),
            document: self.place.document,
            items: items.to_vec(),
        };
        self.documents.add(Document { location, outcome, problems, raw });
    }
}

/// An object in words, for a document of an unknown kind.
fn words(kind: &str, value: &Value) -> String {
    let (namespace, name) = (metadata_text(value, "namespace"), metadata_text(value, "name"));
    format!("{kind} {}", ObjectKey { namespace, name }).trim().to_owned()
}

fn metadata_text(value: &Value, field: &str) -> String {
    let text = value.get("metadata").and_then(|metadata| metadata.get(field)).and_then(Value::as_str);
    text.unwrap_or_default().to_owned()
}

/// Into the type of its kind. A status that does not fit its schema is left behind: an API server ignores it.
fn typed(kind: Kind, schema: Schema, mut value: Value) -> Result<Object, String> {
    if let Value::Object(fields) = &mut value
        && fields.get("status").is_some_and(|status| !schema.admits_status(status))
    {
        fields.shift_remove("status");
    }
    match Object::from_value(kind, value) {
        Ok(mut object) => {
            admission::settle(&mut object);
            Ok(object)
        }
        // What serde says quotes the value.
        Err(_) if kind == Kind::Secret => Err("found a value that does not fit its field".to_owned()),
        Err(error) => Err(format!("found {error}")),
    }
}

fn unknown_kind(meta: TypeMeta<'_>) -> String {
    let known: Vec<&KindSchema> = schema::kinds().iter().filter(|known| concerns_us(known.group)).collect();
    let here = known.iter().filter(|known| known.group == meta.group).map(|known| known.kind);
    let hint = if let Some(other) = known.iter().find(|known| known.kind == meta.kind) {
        let version = other.versions().next().unwrap_or_default();
        format!("that kind has apiVersion {}/{version}", other.group)
    } else if let Some(near) = nearest(meta.kind, here.clone()) {
        format!("did you mean {near}?")
    } else {
        format!("allowed {}", here.collect::<Vec<_>>().join(", "))
    };
    format!("found the unknown kind {} of {}; {hint}", meta.kind, meta.api_version)
}

/// The groups whose every kind is known here: a kind of theirs that is not is a mistake.
const GROUPS: [&str; 3] = [GATEWAY_GROUP, GATEWAY_X_GROUP, TRANSOM_GROUP];

fn concerns_us(group: &str) -> bool {
    GROUPS.contains(&group)
}

/// The field and what to say of it, where a kind of another group is most likely one of ours, mistyped. Skipped as
/// none of ours, it would be missing without a word.
fn typing_error(meta: TypeMeta<'_>) -> Option<(&'static str, String)> {
    let TypeMeta { api_version, group, kind, .. } = meta;
    let kinds = schema::kinds();
    // Groups of Kubernetes itself, which are no other project's to put kinds in, and misspelt ones of ours.
    let reserved = group.is_empty() || group.ends_with(".k8s.io") || group.ends_with(".x-k8s.io");
    let misspelt = nearest(group, GROUPS.into_iter()).is_some();
    if (reserved || misspelt)
        && let Some(ours) = kinds.iter().find(|known| concerns_us(known.group) && known.kind == kind)
    {
        let version = ours.versions().next().unwrap_or_default();
        let allowed = format!("allowed {}/{version} for {kind}", ours.group);
        return Some(("apiVersion", format!("found {api_version}, {allowed}")));
    }
    let here = kinds.iter().filter(|known| known.group == group).map(|known| known.kind);
    let near = nearest(kind, here)?;
    Some(("kind", format!("found the unknown kind {kind} of {api_version}; did you mean {near}?")))
}
