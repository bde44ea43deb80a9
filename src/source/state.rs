//! What was last seen of a cluster, on disk: for a start while its API server is away.
//!
//! Objects go in and come out, never what was made of them: a start from this file runs the very same translation as
//! one from the API server, of any version of Transom. JSON, since it is read by people too, on a bad day. It holds
//! Secrets: nobody but the owner may read it, and no error repeats what it says.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::api::{Kind, Object};

/// The format that is written, and the only one that is read.
const FORMAT: u32 = 1;
/// Ends the names of files that are being written.
const UNFINISHED: &str = ".unfinished";

/// Why what was seen is not known.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It cannot be read.
    #[error("{0}")]
    Unreadable(#[from] io::Error),
    /// It is no JSON to its end, or not of this shape.
    #[error("not a state file, or not all of one: {what} at line {line}, column {column}")]
    Broken {
        /// What kind of fault, without the text around it.
        what: &'static str,
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// Another version of Transom wrote it.
    #[error("found format {found}, written by Transom {transom}; allowed: format {FORMAT}")]
    Format {
        /// The format.
        found: u32,
        /// Who wrote it.
        transom: String,
    },
}

/// What a state file says.
#[derive(Debug)]
pub struct Saved {
    /// The version of Transom that wrote it.
    pub transom: String,
    /// Every object that could be read.
    pub objects: Vec<Object>,
    /// How many were left out, because they fit no type of this version.
    pub left_out: usize,
}

/// A file for what was seen.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    /// Hash of what was written last.
    written: Option<u64>,
}

#[derive(Deserialize)]
struct Head {
    format: u32,
    #[serde(default)]
    transom: String,
}

#[derive(Serialize)]
struct Whole<'a> {
    format: u32,
    transom: &'a str,
    objects: Vec<Entry<&'a Object>>,
}

#[derive(Deserialize)]
struct Body {
    objects: Vec<Entry<Value>>,
}

#[derive(Serialize, Deserialize)]
struct Entry<T> {
    kind: Kind,
    object: T,
}

impl StateFile {
    /// The file of this path, which is not opened yet.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        StateFile { path, written: None }
    }

    /// The path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was seen last; nothing if the file is not there.
    ///
    /// # Errors
    /// A file that cannot be read, is not whole, or has another format.
    pub fn load(&self) -> Result<Option<Saved>, StateError> {
        let text = match fs::read(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            text => text?,
        };
        let head: Head = serde_json::from_slice(&text).map_err(|error| broken(&error))?;
        if head.format != FORMAT {
            return Err(StateError::Format { found: head.format, transom: head.transom });
        }
        let body: Body = serde_json::from_slice(&text).map_err(|error| broken(&error))?;
        let all = body.objects.len();
        let read = |entry: Entry<Value>| Object::from_value(entry.kind, entry.object).ok();
        let objects: Vec<Object> = body.objects.into_iter().filter_map(read).collect();
        Ok(Some(Saved { transom: head.transom, left_out: all - objects.len(), objects }))
    }

    /// Replaces the file, whole or not at all; the same objects again are not written. Whether it was written.
    ///
    /// # Errors
    /// The folder cannot be written to; the file is as it was then.
    pub fn save(&mut self, objects: &[Object]) -> io::Result<bool> {
        let objects = objects.iter().map(|object| Entry { kind: object.kind(), object }).collect();
        let whole = Whole { format: FORMAT, transom: env!("CARGO_PKG_VERSION"), objects };
        let text = serde_json::to_vec(&whole)?;
        let mut hash = DefaultHasher::new();
        text.hash(&mut hash);
        if self.written == Some(hash.finish()) {
            return Ok(false);
        }
        self.replace(&text)?;
        self.written = Some(hash.finish());
        Ok(true)
    }

    /// Takes away what writers that died left in the folder: it has Secrets in it.
    pub fn tidy(&self) {
        let (prefix, folder) = (self.prefix(), self.folder());
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if name.to_str().is_some_and(|name| name.starts_with(&prefix) && name.ends_with(UNFINISHED)) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// A new file beside the old one, which only its owner may read; on the disk before it takes the old one's name.
    fn replace(&self, text: &[u8]) -> io::Result<()> {
        let mut file = tempfile::Builder::new().prefix(&self.prefix()).suffix(UNFINISHED).tempfile_in(self.folder())?;
        file.write_all(text)?;
        file.as_file().sync_all()?;
        file.persist(&self.path).map_err(|error| error.error)?;
        File::open(self.folder())?.sync_all()
    }

    fn prefix(&self) -> String {
        format!(".{}.", self.path.file_name().unwrap_or_default().to_string_lossy())
    }

    fn folder(&self) -> &Path {
        match self.path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        }
    }
}

/// The place of a fault, without serde's words: they repeat values.
fn broken(error: &serde_json::Error) -> StateError {
    let what = match error.classify() {
        serde_json::error::Category::Eof => "an early end",
        serde_json::error::Category::Data => "an unexpected value",
        _ => "no JSON",
    };
    StateError::Broken { what, line: error.line(), column: error.column() }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use serde_json::json;

    use super::*;

    fn secret(name: &str) -> Object {
        let value = json!({"metadata": {"name": name, "namespace": "n"}, "data": {"tls.key": "c2VjcmV0"}});
        Object::from_value(Kind::Secret, value).unwrap()
    }

    fn route() -> Object {
        let rule = json!({"backendRefs": [{"name": "web", "port": 80}]});
        let value = json!({"metadata": {"name": "r", "namespace": "n", "uid": "u"}, "spec": {"rules": [rule]}});
        Object::from_value(Kind::HttpRoute, value).unwrap()
    }

    fn file() -> (tempfile::TempDir, StateFile) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        (folder, StateFile::new(path))
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn what_was_saved_is_loaded_and_only_its_owner_may_read_it() {
        let (folder, mut file) = file();
        assert!(file.load().unwrap().is_none(), "a file that is not there is no fault");
        assert!(file.save(&[route(), secret("a")]).unwrap());
        let saved = file.load().unwrap().unwrap();
        assert!(saved.objects == [route(), secret("a")], "{:?}", saved.objects);
        assert_eq!((saved.transom.as_str(), saved.left_out), (env!("CARGO_PKG_VERSION"), 0));
        assert_eq!(fs::metadata(file.path()).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(names(folder.path()), ["state.json"], "nothing else stays");
    }

    #[test]
    fn the_same_again_is_not_written_and_another_thing_replaces_it() {
        let (folder, mut file) = file();
        assert!(file.save(&[secret("a")]).unwrap());
        fs::remove_file(file.path()).unwrap();
        assert!(!file.save(&[secret("a")]).unwrap());
        assert!(names(folder.path()).is_empty());
        fs::write(file.path(), "x").unwrap();
        fs::set_permissions(file.path(), PermissionsExt::from_mode(0o644)).unwrap();
        assert!(file.save(&[secret("b")]).unwrap());
        assert!(file.load().unwrap().unwrap().objects == [secret("b")]);
        assert_eq!(fs::metadata(file.path()).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_cut_at_any_length_is_refused_and_never_repeated() {
        let (_folder, mut file) = file();
        file.save(&[secret("a"), route()]).unwrap();
        let whole = fs::read(file.path()).unwrap();
        for length in 0..whole.len() {
            fs::write(file.path(), &whole[..length]).unwrap();
            let error = file.load().unwrap_err().to_string();
            assert!(!error.contains("c2Vj") && error.starts_with("not a state file"), "{length}: {error}");
        }
    }

    #[test]
    fn another_format_is_refused_by_number_and_an_odd_object_is_left_out() {
        let (_folder, file) = file();
        fs::write(file.path(), r#"{"format": 2, "transom": "9.9", "objects": {"new": "shape"}}"#).unwrap();
        let error = file.load().unwrap_err().to_string();
        assert_eq!(error, "found format 2, written by Transom 9.9; allowed: format 1");
        let odd = json!({"kind": "HTTPRoute", "object": {"spec": {"rules": "none"}}});
        let good = json!({"kind": "Namespace", "object": {"metadata": {"name": "n"}}});
        let text = json!({"format": 1, "transom": "0", "objects": [odd, good]});
        fs::write(file.path(), text.to_string()).unwrap();
        let saved = file.load().unwrap().unwrap();
        assert_eq!((saved.objects.len(), saved.left_out), (1, 1));
        let odd = json!({"format": 1, "objects": [{"kind": "c2VjcmV0", "object": {}}]});
        fs::write(file.path(), odd.to_string()).unwrap();
        assert!(!file.load().unwrap_err().to_string().contains("c2Vj"));
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error_and_leftovers_go() {
        let (folder, mut file) = file();
        fs::write(folder.path().join(".state.json.x.unfinished"), "secret").unwrap();
        fs::write(folder.path().join("other.unfinished"), "").unwrap();
        file.tidy();
        assert_eq!(names(folder.path()), ["other.unfinished"]);
        drop(folder);
        assert!(file.save(&[]).is_err());
    }
}
