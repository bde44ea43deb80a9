//! Files and folders of manifests: read, watched, diffed.
//!
//! Paths come in, as `-f` names them; what they hold goes out as [`Batch`]es, first whole ([`FileSource::open`]), then
//! every change ([`FileSource::watch`]); beside them what is wrong ([`FileProblem`]) and where each object stands
//! ([`Provenance`]). This room knows no more of an object than its identity: text is `manifest`'s, meaning `translate/`'s.
//!
//! `scan` finds the files, `tree` reads them, `picture` (pure) says what that changes, `watch` does so again whenever
//! something happens on disk.
//!
//! What is broken keeps what was good: a document that does not parse its object, a file that cannot be read all of
//! its objects. Of two documents for one object the first in order of paths is used.

mod inbox;
mod picture;
mod problem;
mod scan;
mod tree;
mod watch;

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::{mpsc, watch as channel};
use tokio_util::sync::CancellationToken;

use crate::api::ObjectRef;
use crate::source::manifest::Keep;
use crate::store::Batch;

pub use problem::{Cause, FileProblem, Provenance, Skip, Skipped, SkippedKind};

use tree::Tree;

/// The path that stands for standard input, as for `kubectl -f`.
const STANDARD_INPUT: &str = "-";

/// Files and folders of manifests.
pub struct FileSource {
    tree: Tree,
    problems: channel::Sender<Arc<Vec<FileProblem>>>,
    provenance: Provenance,
}

/// What the files held when they were first read.
#[derive(Debug)]
pub struct Loaded {
    /// Every object.
    pub batch: Batch,
    /// Everything that is wrong, sorted by cause, file and line.
    pub problems: Vec<FileProblem>,
    /// Kinds that Transom has no use for.
    pub skipped: Skipped,
    /// Objects as they were written; only with [`Keep::Text`].
    pub texts: BTreeMap<ObjectRef, Value>,
    /// The text of standard input and of pipes, by the name that stands in places; only with [`Keep::Text`].
    pub once: BTreeMap<Arc<Path>, Vec<u8>>,
    /// How many manifests there were.
    pub files: usize,
}

/// A given path cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It does not exist.
    #[error("{}: no such file or folder", path.display())]
    NotFound {
        /// As it was given.
        path: PathBuf,
    },
    /// It exists and cannot be read.
    #[error("{}: cannot be read: {error}", path.display())]
    Unreadable {
        /// As it was given.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

impl FileSource {
    /// Reads everything, blocking. `-` is standard input; it and pipes (`<(kustomize build)`) are read now and never
    /// again. Folders within folders are entered only if `recursive`.
    ///
    /// # Errors
    /// A given path does not exist or cannot be read. What is wrong below or inside it is in [`Loaded::problems`].
    pub fn open(paths: Vec<PathBuf>, recursive: bool, keep: Keep) -> Result<(FileSource, Loaded), FileError> {
        let mut roots = Vec::new();
        let mut once = Vec::new();
        for path in paths {
            if path == Path::new(STANDARD_INPUT) {
                once.push(path);
                continue;
            }
            let metadata = fs::metadata(&path).map_err(|error| unusable(&path, error))?;
            if metadata.is_dir() {
                fs::read_dir(&path).map_err(|error| unusable(&path, error))?;
                roots.push(path);
            } else if metadata.is_file() {
                File::open(&path).map_err(|error| unusable(&path, error))?;
                roots.push(path);
            } else {
                once.push(path);
            }
        }
        let mut tree = Tree::new(roots, recursive, keep);
        for path in &once {
            if path == Path::new(STANDARD_INPUT) {
                tree.read_once(path, io::stdin().lock());
            } else {
                tree.read_once(path, File::open(path).map_err(|error| unusable(path, error))?);
            }
        }
        tree.list();
        tree.read_changed(&HashSet::new());
        let settled = tree.picture.settle(Instant::now(), Duration::ZERO);
        let provenance = Provenance::default();
        provenance.update(settled.moved);
        let problems = tree.problems();
        let loaded = Loaded {
            batch: settled.batch,
            skipped: tree.picture.skipped().clone(),
            texts: tree.take_text(|object| provenance.find(object)),
            files: tree.len() + once.len(),
            once: tree.take_once(),
            problems: problems.clone(),
        };
        let source = FileSource { tree, problems: channel::Sender::new(Arc::new(problems)), provenance };
        Ok((source, loaded))
    }

    /// Everything that is wrong at the moment, sorted by cause, file and line.
    pub fn problems(&self) -> channel::Receiver<Arc<Vec<FileProblem>>> {
        self.problems.subscribe()
    }

    /// Where each object in use stands.
    pub fn provenance(&self) -> Provenance {
        self.provenance.clone()
    }

    /// Sends what changes from [`open`](Self::open) on, one batch a change, until `shutdown` or until nobody listens.
    /// Logs every problem when it comes and when it goes.
    ///
    /// A change is sent at once when all was quiet, and gathered while changes rush in (5 ms of quiet, at most 100 ms).
    /// An object that is gone is taken away after 30 ms, lest a file that is moved cost a request.
    pub async fn watch(self, events: mpsc::Sender<Batch>, shutdown: CancellationToken) {
        watch::run(self, events, shutdown).await;
    }
}

fn unusable(path: &Path, error: io::Error) -> FileError {
    let path = path.to_path_buf();
    if error.kind() == io::ErrorKind::NotFound {
        FileError::NotFound { path }
    } else {
        FileError::Unreadable { path, error }
    }
}
