//! The files on disk and the picture of them, kept in step. Blocking.
//!
//! What is read, and when it must be read again, is decided here; what it means is [`Picture`]'s. Of a file that
//! was read only its stamp is kept.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::api::ObjectRef;
use crate::source::manifest::{self, Document, Keep, Location, MAX_FILE, Outcome};

use super::picture::{Picture, Reading};
use super::problem::{Cause, FileProblem};
use super::scan::{Listing, Stamp, is_manifest};

/// A file changed more recently than this may change again without its stamp telling: file systems stamp coarsely.
const COARSE: Duration = Duration::from_millis(100);
/// Fewest files that are worth another thread.
const FILES_PER_THREAD: usize = 32;

/// The files and what they say.
pub struct Tree {
    roots: Vec<PathBuf>,
    recursive: bool,
    keep: Keep,
    /// What they say.
    pub picture: Picture,
    /// What there is.
    pub listing: Listing,
    /// Stamps of the files that were read, unless they could not be trusted.
    read: HashMap<PathBuf, Option<Stamp>>,
    /// Files that were found blank once.
    blank: HashSet<PathBuf>,
    /// When a file that held objects was last taken to be blank for good.
    blanked: Option<Instant>,
    texts: Vec<(ObjectRef, Location, Value)>,
    /// The text of what cannot be read again.
    once: BTreeMap<Arc<Path>, Vec<u8>>,
}

/// Why a file is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Whoever wrote it has closed it, or moved it here.
    Complete,
    /// It was written to, and is open still.
    Writing,
    /// It has changed, we cannot tell how.
    Scan,
}

/// What an event on a real path is about.
#[derive(Debug, PartialEq, Eq)]
pub enum Concern {
    /// These files, as they are spelled.
    Files(Vec<PathBuf>),
    /// Possibly everything.
    Everything,
    /// Nothing of ours.
    Nothing,
}

/// What came of opening a file.
struct Opened {
    stamp: Option<Stamp>,
    /// Nothing but white space.
    blank: bool,
    reading: Reading,
}

impl Tree {
    /// A tree of these files and folders; nothing is read yet.
    pub fn new(roots: Vec<PathBuf>, recursive: bool, keep: Keep) -> Tree {
        Tree {
            roots,
            recursive,
            keep,
            picture: Picture::default(),
            listing: Listing::default(),
            read: HashMap::new(),
            blank: HashSet::new(),
            blanked: None,
            texts: Vec::new(),
            once: BTreeMap::new(),
        }
    }

    /// Takes in what is read once and never again: standard input, a pipe.
    pub fn read_once(&mut self, name: &Path, mut from: impl Read) {
        let mut bytes = Vec::new();
        let reading = match read_bounded(&mut from, &mut bytes) {
            Ok(()) => Reading::Documents(manifest::parse(name, &bytes, self.keep)),
            Err(error) => Reading::Unreadable(error.to_string()),
        };
        self.take_texts(&reading);
        self.picture.put(name, reading);
        if self.keep == Keep::Text {
            self.once.insert(Arc::from(name), bytes);
        }
    }

    /// Looks which files there are.
    pub fn list(&mut self) -> &Listing {
        self.listing = Listing::of(&self.roots, self.recursive);
        &self.listing
    }

    /// Reads every listed file that has changed, but those that are `busy`, and forgets those that have gone.
    pub fn read_changed(&mut self, busy: &HashSet<PathBuf>) {
        let gone: Vec<PathBuf> = self.read.keys().filter(|file| self.is_gone(file)).cloned().collect();
        for file in gone {
            self.forget(&file);
        }
        let mut changed = Vec::new();
        for (file, stamp) in &self.listing.files {
            match stamp {
                _ if busy.contains(file) => {}
                Ok(stamp) if self.read.get(file) == Some(&Some(*stamp)) => {}
                Ok(_) => changed.push(file.clone()),
                Err(why) => {
                    self.picture.put(file, Reading::Unreadable(why.clone()));
                    self.read.insert(file.clone(), None);
                }
            }
        }
        for (file, opened) in open_all(changed, self.keep) {
            self.take(&file, opened, Look::Scan);
        }
    }

    /// Reads one file, changed or not. Answers whether everything must be looked at: it is no file (any more).
    pub fn read_file(&mut self, file: &Path, look: Look) -> bool {
        match fs::symlink_metadata(file) {
            Ok(metadata) if metadata.is_file() => self.take(file, open(file, self.keep), look),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.roots.iter().any(|root| root == file) => {
                self.forget(file);
            }
            _ => return true,
        }
        false
    }

    /// What an event on this real path is about.
    pub fn concern(&self, path: &Path) -> Concern {
        if self.listing.hinges.contains(path) || self.listing.folders.contains_key(path) {
            return Concern::Everything;
        }
        if let Some(file) = self.listing.given.get(path) {
            return Concern::Files(vec![file.clone()]);
        }
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Concern::Nothing };
        let Some(folders) = self.listing.folders.get(folder) else { return Concern::Nothing };
        let is_folder = || fs::metadata(path).is_ok_and(|metadata| metadata.is_dir());
        if name.as_encoded_bytes().starts_with(b".") {
            Concern::Nothing
        } else if is_manifest(name) {
            // a folder given in two spellings has its files once
            let spelled = folders.iter().map(|folder| folder.join(name));
            let known: Vec<PathBuf> = spelled.clone().filter(|file| self.read.contains_key(file)).collect();
            Concern::Files(if known.is_empty() { spelled.take(1).collect() } else { known })
        } else if self.recursive && is_folder() {
            Concern::Everything
        } else {
            Concern::Nothing
        }
    }

    /// Reads again the files whose objects must be handed out a second time.
    pub fn read_wanted(&mut self) {
        for file in self.picture.wanted() {
            if self.read.contains_key(&*file) {
                self.read_file(&file, Look::Scan);
            }
        }
    }

    /// Everything that is wrong.
    pub fn problems(&self) -> Vec<FileProblem> {
        let mut problems = self.picture.problems();
        for (path, error) in &self.listing.unreadable {
            problems.push(FileProblem::of_file(Cause::Unreadable, path, error.to_string()));
        }
        problems.sort();
        problems
    }

    /// The text of each object in use, once; with [`Keep::Text`].
    pub fn take_text(&mut self, in_use: impl Fn(&ObjectRef) -> Option<Location>) -> BTreeMap<ObjectRef, Value> {
        let texts = std::mem::take(&mut self.texts).into_iter();
        texts
            .filter(|(object, at, _)| in_use(object).as_ref() == Some(at))
            .map(|(object, _, text)| (object, text))
            .collect()
    }

    /// The text of what cannot be read again, by its name; only with [`Keep::Text`].
    pub fn take_once(&mut self) -> BTreeMap<Arc<Path>, Vec<u8>> {
        std::mem::take(&mut self.once)
    }

    /// Whether a file that held objects was taken to be blank within that time.
    pub fn blanked_within(&self, time: Duration) -> bool {
        self.blanked.is_some_and(|at| at.elapsed() < time)
    }

    /// Files that were read or tried.
    pub fn len(&self) -> usize {
        self.read.len()
    }

    fn take(&mut self, file: &Path, opened: Opened, look: Look) {
        // A writer that truncates first may take its time: `kubectl get -o yaml > routes.yaml`. So a blank file counts
        // when it was closed, or found blank twice.
        if opened.blank && look != Look::Complete && self.picture.holds(file) {
            self.read.insert(file.to_path_buf(), None);
            if look == Look::Writing || self.blank.insert(file.to_path_buf()) {
                return;
            }
        }
        self.blank.remove(file);
        if opened.blank && self.picture.holds(file) {
            // or the next writer has opened it since the last one closed it
            self.blanked = Some(Instant::now());
        }
        self.take_texts(&opened.reading);
        if matches!(opened.reading, Reading::Gone) {
            return self.forget(file);
        }
        self.picture.put(file, opened.reading);
        self.read.insert(file.to_path_buf(), opened.stamp);
    }

    fn forget(&mut self, file: &Path) {
        self.picture.put(file, Reading::Gone);
        self.read.remove(file);
        self.blank.remove(file);
    }

    /// Whether a file is no more, and not merely in a folder that cannot be read now.
    fn is_gone(&self, file: &Path) -> bool {
        let hidden = |(folder, error): &(PathBuf, io::Error)| {
            error.kind() != io::ErrorKind::NotFound && file.starts_with(folder)
        };
        !self.listing.files.contains_key(file) && !self.listing.unreadable.iter().any(hidden)
    }

    fn take_texts(&mut self, reading: &Reading) {
        let (Keep::Text, Reading::Documents(documents)) = (self.keep, reading) else { return };
        for Document { location, outcome, raw, .. } in documents {
            if let (Outcome::Object(object), Some(raw)) = (outcome, raw) {
                self.texts.push((object.object_ref(), location.clone(), Value::clone(raw)));
            }
        }
    }
}

/// Opens and parses files, on as many threads as are worth it: a first load is thousands.
fn open_all(files: Vec<PathBuf>, keep: Keep) -> Vec<(PathBuf, Opened)> {
    let threads = thread::available_parallelism().map_or(1, usize::from).min(files.len() / FILES_PER_THREAD);
    if threads < 2 {
        return files.into_iter().map(|file| (file.clone(), open(&file, keep))).collect();
    }
    let files: Vec<Arc<Path>> = files.into_iter().map(Arc::from).collect();
    let chunk = files.len().div_ceil(threads);
    thread::scope(|scope| {
        let open_chunk = |files: &[Arc<Path>]| -> Vec<(PathBuf, Opened)> {
            files.iter().map(|file| (file.to_path_buf(), open(file, keep))).collect()
        };
        let running: Vec<_> =
            files.chunks(chunk).map(|files| (files, scope.spawn(move || open_chunk(files)))).collect();
        // a thread that panicked did so for one file; what it should have read is read here, and panics here or not
        running.into_iter().flat_map(|(files, thread)| thread.join().unwrap_or_else(|_| open_chunk(files))).collect()
    })
}

fn open(file: &Path, keep: Keep) -> Opened {
    let nothing = |reading| Opened { stamp: None, blank: false, reading };
    let mut bytes = Vec::new();
    let stamp = match read(file, &mut bytes) {
        Ok(stamp) => stamp,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return nothing(Reading::Gone),
        Err(error) => return nothing(Reading::Unreadable(error.to_string())),
    };
    Opened {
        stamp: is_settled(stamp).then_some(stamp),
        blank: bytes.iter().all(u8::is_ascii_whitespace),
        reading: Reading::Documents(manifest::parse(file, &bytes, keep)),
    }
}

fn read(path: &Path, bytes: &mut Vec<u8>) -> io::Result<Stamp> {
    let mut file = File::open(path)?;
    // before its content: a change meanwhile is then seen as one
    let metadata = file.metadata()?;
    read_bounded(&mut file, bytes)?;
    Ok(Stamp::of(&metadata))
}

/// At most one byte more than a manifest may have, so that the parser sees that it is too long.
fn read_bounded(from: &mut impl Read, bytes: &mut Vec<u8>) -> io::Result<()> {
    from.take(MAX_FILE as u64 + 1).read_to_end(bytes).map(drop)
}

fn is_settled(stamp: Stamp) -> bool {
    let (seconds, nanoseconds) = stamp.modified;
    let modified = UNIX_EPOCH
        + Duration::new(u64::try_from(seconds).unwrap_or_default(), u32::try_from(nanoseconds).unwrap_or_default());
    SystemTime::now().duration_since(modified).is_ok_and(|age| age > COARSE)
}
