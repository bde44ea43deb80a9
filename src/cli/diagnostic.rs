//! One thing to tell a person about objects: those of files with the place where it stands, or those of a cluster.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::path::Path;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::api::ObjectRef;
use crate::quickstart::Refusal;
use crate::source::file::{FileProblem, Provenance, Skip, Skipped};
use crate::source::manifest::{self, Location};
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
    /// What was read from where nothing can be read again.
    pub once: &'a BTreeMap<Arc<Path>, Vec<u8>>,
}

impl Told<'_> {
    /// Everything, each with its file and line, sorted. Reads the files again to find the lines.
    #[must_use]
    pub fn diagnostics(&self) -> Vec<Diagnostic> {
        let texts = self.texts();
        let mut lines = Lines { provenance: self.provenance, texts: &texts, files: BTreeMap::new() };
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
            let Finding { object, field, severity, reason, message } = finding;
            all.push(lines.place(object, field, Severity::from(*severity), reason, message));
        }
        all.sort();
        all.dedup();
        all
    }

    /// The text of every file with an object of which something is to be told.
    fn texts(&self) -> BTreeMap<Arc<Path>, Cow<'_, [u8]>> {
        let refused = self.refusals.iter().map(|refusal| &refusal.object);
        let mut texts = BTreeMap::new();
        for object in refused.chain(self.findings.iter().map(|finding| &finding.object)) {
            let Some(Location { file, .. }) = self.provenance.find(object) else { continue };
            if texts.contains_key(&file) {
                continue;
            }
            let text = match self.once.get(&file) {
                Some(text) => Cow::Borrowed(text.as_slice()),
                // a file that went away meanwhile leaves the line of its object
                None => Cow::Owned(std::fs::read(&file).unwrap_or_default()),
            };
            texts.insert(file, text);
        }
        texts
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

/// Finds lines, and parses each file once for it, however much there is to tell of it.
struct Lines<'a> {
    provenance: &'a Provenance,
    texts: &'a BTreeMap<Arc<Path>, Cow<'a, [u8]>>,
    files: BTreeMap<Arc<Path>, manifest::Lines<'a>>,
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
            let text = self.texts.get(&location.file).map(Cow::as_ref).unwrap_or_default();
            let file = Arc::clone(&location.file);
            let lines = self.files.entry(file).or_insert_with(|| manifest::Lines::read(&location.file, text));
            lines.line_of(location, field).unwrap_or(location.line)
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

impl From<translate::Severity> for Severity {
    fn from(severity: translate::Severity) -> Self {
        match severity {
            translate::Severity::Problem => Severity::Problem,
            translate::Severity::Note => Severity::Note,
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
    /// What the translator found in an object of a cluster, which stands in no file.
    #[must_use]
    pub fn of_finding(finding: &Finding) -> Diagnostic {
        let Finding { object, field, severity, reason, message } = finding;
        Diagnostic {
            field: field.clone(),
            ..Diagnostic::new(object, Severity::from(*severity), reason, message.clone())
        }
    }

    /// Of something in a cluster, as a whole: an object, or whatever its words name.
    pub fn new(object: impl fmt::Display, severity: Severity, reason: &str, message: String) -> Diagnostic {
        Diagnostic {
            file: None,
            line: None,
            severity,
            object: object.to_string(),
            field: String::new(),
            reason: reason.to_owned(),
            message,
        }
    }

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
