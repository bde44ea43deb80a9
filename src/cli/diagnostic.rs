//! One thing to tell a person about the objects of files, with the place where it stands.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::path::Path;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::api::ObjectRef;
use crate::quickstart::Refusal;
use crate::source::file::{FileProblem, Provenance, Skip, Skipped};
use crate::source::manifest;
use crate::translate::{self, Finding};

/// A problem or note, sorted by place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Diagnostic {
    /// The file as it was named; none for an object that no file gave.
    #[serde(serialize_with = "as_path")]
    pub file: Option<Arc<Path>>,
    /// Line, from 1.
    pub line: Option<u32>,
    /// Problem or note.
    pub severity: Severity,
    /// The object in words, `HTTPRoute shop/cart`; empty where it cannot be told.
    pub object: String,
    /// Path of the field, as `spec.rules[0].name`; empty for the object as a whole.
    pub field: String,
    /// Reason of the condition that says the same, or one word; empty for what never became an object.
    pub reason: String,
    /// What was found and what is allowed.
    pub message: String,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Not as asked.
    Problem,
    /// Worth knowing; nothing is wrong.
    Note,
}

/// All that there is to tell, from wherever it was found out.
#[derive(Debug, Clone, Copy)]
pub struct Told<'a> {
    /// What is wrong with files and documents.
    pub files: &'a [FileProblem],
    /// Kinds of objects that were skipped.
    pub skipped: &'a Skipped,
    /// What the stand-ins of the quick start refused.
    pub refusals: &'a [Refusal],
    /// What the translator found.
    pub findings: &'a [Finding],
    /// Where objects stand.
    pub provenance: &'a Provenance,
}

impl Told<'_> {
    /// Everything, each with its file and line, sorted. Reads the files again to find the lines.
    #[must_use]
    pub fn diagnostics(&self) -> Vec<Diagnostic> {
        let mut lines = Lines { provenance: self.provenance, files: BTreeMap::new() };
        let mut all: Vec<Diagnostic> = self.files.iter().map(of_file).collect();
        all.extend(self.skipped.iter().map(|(kind, place)| Diagnostic {
            file: Some(Arc::clone(&place.file)),
            line: Some(place.line),
            severity: Severity::Note,
            object: String::new(),
            field: String::new(),
            reason: String::new(),
            message: match kind.why {
                Skip::NotServed => format!("{} of {} is not served yet", kind.kind, kind.group),
                Skip::NotOurs => {
                    format!("{} does not concern routing and is skipped", in_words(&kind.group, &kind.kind))
                }
            },
        }));
        for refusal in self.refusals {
            let field = format!("metadata.annotations.{}", refusal.annotation);
            all.push(lines.place(&refusal.object, &field, Severity::Problem, "Annotation", &refusal.message));
        }
        for finding in self.findings {
            let severity = match finding.severity {
                translate::Severity::Problem => Severity::Problem,
                translate::Severity::Note => Severity::Note,
            };
            all.push(lines.place(&finding.object, &finding.field, severity, &finding.reason, &finding.message));
        }
        all.sort();
        all.dedup();
        all
    }
}

fn of_file(found: &FileProblem) -> Diagnostic {
    let problem = &found.problem;
    Diagnostic {
        file: Some(Arc::clone(&problem.file)),
        line: Some(problem.line),
        severity: Severity::Problem,
        object: problem.subject.clone(),
        field: problem.field.clone(),
        reason: String::new(),
        message: problem.message.clone(),
    }
}

fn in_words(group: &str, kind: &str) -> String {
    if group.is_empty() { format!("kind {kind}") } else { format!("kind {kind} of {group}") }
}

/// Finds lines, and reads each file once for it.
struct Lines<'a> {
    provenance: &'a Provenance,
    files: BTreeMap<Arc<Path>, Vec<u8>>,
}

impl Lines<'_> {
    fn place(
        &mut self,
        object: &ObjectRef,
        field: &str,
        severity: Severity,
        reason: &str,
        message: &str,
    ) -> Diagnostic {
        let location = self.provenance.find(object);
        let line = location.as_ref().map(|location| {
            let bytes = self
                .files
                .entry(Arc::clone(&location.file))
                // a file that went away meanwhile leaves the line of its object
                .or_insert_with(|| std::fs::read(&location.file).unwrap_or_default());
            manifest::line_of(bytes, location, field).unwrap_or(location.line)
        });
        Diagnostic {
            file: location.map(|location| location.file),
            line,
            severity,
            object: object.to_string(),
            field: field.to_owned(),
            reason: reason.to_owned(),
            message: message.to_owned(),
        }
    }
}

impl Severity {
    /// The word in front of a message.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Problem => "problem",
            Severity::Note => "note",
        }
    }
}

impl Diagnostic {
    /// `file:line`, as compilers print it and editors read it; empty where no file is known.
    #[must_use]
    pub fn place(&self) -> String {
        match (&self.file, self.line) {
            (Some(file), Some(line)) => format!("{}:{line}", file.display()),
            (Some(file), None) => file.display().to_string(),
            (None, _) => String::new(),
        }
    }

    /// The message with object and field in front and the reason behind.
    #[must_use]
    pub fn words(&self) -> String {
        let mut text = String::new();
        for part in [&self.object, &self.field].into_iter().filter(|part| !part.is_empty()) {
            text.push_str(part);
            text.push_str(": ");
        }
        text.push_str(&self.message);
        if !self.reason.is_empty() {
            let _ = write!(text, " [{}]", self.reason);
        }
        text
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.place();
        if !place.is_empty() {
            write!(f, "{place}: ")?;
        }
        write!(f, "{}: {}", self.severity.as_str(), self.words())
    }
}

#[allow(clippy::ref_option, reason = "serde's signature")]
fn as_path<S: Serializer>(file: &Option<Arc<Path>>, serializer: S) -> Result<S::Ok, S::Error> {
    match file {
        Some(file) => serializer.collect_str(&file.display()),
        None => serializer.serialize_none(),
    }
}
