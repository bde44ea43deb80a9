//! What is wrong with the files, and where each object stands: what people are told.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use crate::api::ObjectRef;
use crate::source::manifest::{Location, ManifestProblem, Severity};
use crate::telemetry::few;

/// Something wrong with a file or a document in it. What was good before stays in use.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileProblem {
    /// What kind of wrong.
    pub cause: Cause,
    /// Where and what.
    pub problem: ManifestProblem,
}

/// What kind of wrong a file or document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cause {
    /// The file or folder could not be read.
    Unreadable,
    /// The document is not what it should be.
    Document,
    /// Another document stands for the same object and comes first.
    Duplicate,
}

/// Kinds of objects that files hold and Transom has no use for: noted once a kind, with the first place seen.
pub type Skipped = BTreeMap<SkippedKind, Location>;

/// A kind of objects that Transom has no use for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SkippedKind {
    /// Whether it should have a use.
    pub why: Skip,
    /// API group; empty for core.
    pub group: String,
    /// Kind.
    pub kind: String,
}

/// Why a kind is skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Skip {
    /// A kind of the Gateway API that is not served yet.
    NotServed,
    /// A kind that does not concern routing.
    NotOurs,
}

/// Where each object in use stands. A handle: every clone sees the same.
#[derive(Debug, Clone, Default)]
pub struct Provenance(Arc<RwLock<BTreeMap<Arc<ObjectRef>, Location>>>);

impl Provenance {
    /// The place of an object, if a file gave it.
    #[must_use]
    pub fn find(&self, object: &ObjectRef) -> Option<Location> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(object).cloned()
    }

    pub(super) fn update(&self, moved: Vec<(Arc<ObjectRef>, Option<Location>)>) {
        if moved.is_empty() {
            return;
        }
        let mut places = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for (object, place) in moved {
            match place {
                Some(place) => places.insert(object, place),
                None => places.remove(&object),
            };
        }
    }
}

impl FileProblem {
    /// A problem of a file or folder as a whole.
    pub(super) fn of_file(cause: Cause, file: &Path, message: String) -> FileProblem {
        FileProblem {
            cause,
            problem: ManifestProblem {
                file: Arc::from(file),
                line: 1,
                subject: String::new(),
                object: None,
                field: String::new(),
                message,
                severity: Severity::Refused,
            },
        }
    }
}

/// Logs each problem once when it comes and once when it goes, and each skipped kind once. A line that moved is not a
/// new problem.
#[derive(Debug, Default)]
pub(super) struct ProblemLog {
    problems: BTreeMap<ProblemKey, u32>,
    noted: BTreeSet<SkippedKind>,
}

type ProblemKey = (Arc<Path>, String, String, String);

impl ProblemLog {
    pub(super) fn update(&mut self, problems: &[FileProblem]) {
        let now: BTreeMap<ProblemKey, u32> = problems
            .iter()
            .map(|FileProblem { problem: p, .. }| {
                ((Arc::clone(&p.file), p.subject.clone(), p.field.clone(), p.message.clone()), p.line)
            })
            .collect();
        let before: BTreeSet<&ProblemKey> = self.problems.keys().collect();
        let new = now.iter().filter(|(key, _)| !before.contains(key));
        let more = few(new, |((file, object, field, message), line)| {
            tracing::warn!(file = %file.display(), line, object, field, "{message}");
        });
        if more > 0 {
            tracing::warn!(more, "and {more} more problems in files; `transom check` and /config name them all");
        }
        let gone = before.into_iter().filter(|key| !now.contains_key(*key));
        let more = few(gone, |(file, object, field, message)| {
            tracing::info!(file = %file.display(), object, field, "no longer: {message}");
        });
        if more > 0 {
            tracing::info!(more, "and {more} more problems in files are no longer there");
        }
        self.problems = now;
    }

    pub(super) fn note_skipped(&mut self, skipped: &Skipped) {
        for (kind, Location { file, line, .. }) in skipped {
            if self.noted.insert(kind.clone()) {
                let SkippedKind { why, group, kind } = kind;
                let why = match why {
                    Skip::NotServed => "not served yet",
                    Skip::NotOurs => "does not concern routing",
                };
                tracing::info!(file = %file.display(), line, group, kind, why, "objects of this kind are skipped");
            }
        }
    }
}
