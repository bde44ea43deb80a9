//! Which files there are: the given paths, walked.
//!
//! Paths as given come in; the manifests found, their stamps, and the folders to watch for a change of them go out.
//! It opens nothing and knows nothing of what files say.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// Most symbolic links that are followed for one path, as on Linux.
const MAX_LINKS: usize = 40;

/// What there is.
#[derive(Debug, Default)]
pub struct Listing {
    /// Manifests by path, spelled as they were given.
    pub files: BTreeMap<PathBuf, Result<Stamp, String>>,
    /// Real folder -> folders listed, as they were spelled.
    pub folders: BTreeMap<PathBuf, BTreeSet<PathBuf>>,
    /// Real path -> path as it was spelled, of given files.
    pub given: BTreeMap<PathBuf, PathBuf>,
    /// Real paths of links, of what links lead to, and of given folders: whatever happens to one may change everything.
    pub hinges: BTreeSet<PathBuf>,
    /// Given paths and folders that cannot be read, and why.
    pub unreadable: Vec<(PathBuf, io::Error)>,
}

/// By what a changed file is told from an unchanged one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds.
    pub modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// The stamp of what this metadata is of.
    pub fn of(metadata: &Metadata) -> Stamp {
        Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl Listing {
    /// Walks the given paths. A given file is taken whatever its name; in folders [`is_manifest`] decides, and
    /// folders in them are only entered if `recursive`.
    pub fn of(roots: &[PathBuf], recursive: bool) -> Listing {
        let mut listing = Listing::default();
        let mut seen = BTreeSet::new();
        for root in roots {
            let found = fs::metadata(root);
            let is_file = found.as_ref().is_ok_and(Metadata::is_file);
            if let (true, Some(real)) = (is_file, real_name(root)) {
                listing.given.insert(real, root.clone());
            }
            listing.add_hinges(root, !is_file);
            match found {
                Ok(metadata) if metadata.is_dir() => listing.add_folder(root, recursive, &mut seen),
                Ok(metadata) => {
                    // one name in one folder is one file, however often it was given
                    if real_name(root).is_none_or(|name| seen.insert(name)) {
                        listing.files.insert(root.clone(), Ok(Stamp::of(&metadata)));
                    }
                }
                Err(error) => listing.unreadable.push((root.clone(), error)),
            }
        }
        listing
    }

    /// Real folders in which something may happen that matters.
    pub fn watched(&self) -> BTreeSet<PathBuf> {
        let around =
            self.hinges.iter().chain(self.given.keys()).filter_map(|path| path.parent()).map(Path::to_path_buf);
        self.folders.keys().cloned().chain(around).collect()
    }

    fn add_folder(&mut self, folder: &Path, recursive: bool, seen: &mut BTreeSet<PathBuf>) {
        let entries = fs::canonicalize(folder).and_then(|real| Ok((fs::read_dir(folder)?, real)));
        let (entries, real) = match entries {
            Ok(found) => found,
            Err(error) => return self.unreadable.push((folder.to_path_buf(), error)),
        };
        self.folders.entry(real.clone()).or_default().insert(folder.to_path_buf());
        if !seen.insert(real.clone()) {
            return; // given twice, or a link back to where we come from
        }
        for entry in entries.filter_map(Result::ok) {
            let name = entry.file_name();
            if is_hidden(&name) {
                continue;
            }
            let path = folder.join(&name);
            let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
            if is_link && (recursive || is_manifest(&name)) {
                self.add_hinges(&path, false);
            }
            let stamp = match fs::metadata(&path) {
                Ok(metadata) if metadata.is_dir() => {
                    if recursive {
                        self.add_folder(&path, recursive, seen);
                    }
                    continue;
                }
                Ok(metadata) if metadata.is_file() => Ok(Stamp::of(&metadata)),
                // a file that went while we looked is no more; a link to nothing is a mistake
                Err(error) if error.kind() != io::ErrorKind::NotFound || is_link => Err(error.to_string()),
                _ => continue,
            };
            if is_manifest(&name) && seen.insert(real.join(&name)) {
                self.files.insert(path, stamp);
            }
        }
    }

    /// Walks a path part by part and notes every link on the way; and its end, if a link led there or it is `pivotal`.
    fn add_hinges(&mut self, path: &Path, pivotal: bool) {
        let Ok(path) = std::path::absolute(path) else { return };
        let mut todo: Vec<PathBuf> = parts(&path);
        let mut real = PathBuf::new();
        let mut links = 0;
        while let Some(part) = todo.pop() {
            match part.components().next() {
                Some(Component::ParentDir) => {
                    real.pop();
                    continue;
                }
                Some(Component::CurDir) => continue,
                _ => real.push(&part),
            }
            if let Ok(target) = fs::read_link(&real) {
                self.hinges.insert(real.clone());
                links += 1;
                if links > MAX_LINKS {
                    return;
                }
                real.pop();
                if target.is_absolute() {
                    real = PathBuf::new();
                }
                todo.extend(parts(&target));
            }
        }
        if links > 0 || pivotal {
            self.hinges.insert(real);
        }
    }
}

/// The parts of a path, last first.
fn parts(path: &Path) -> Vec<PathBuf> {
    path.components().rev().map(|part| PathBuf::from(part.as_os_str())).collect()
}

/// The real folder of a file, and its name in it.
pub fn real_name(path: &Path) -> Option<PathBuf> {
    let folder = match path.parent()? {
        empty if empty.as_os_str().is_empty() => Path::new("."),
        folder => folder,
    };
    Some(fs::canonicalize(folder).ok()?.join(path.file_name()?))
}

/// Whether a file of this name in a folder is a manifest: `.yaml`, `.yml` or `.json`, and not hidden.
pub fn is_manifest(name: &OsStr) -> bool {
    !is_hidden(name) && Path::new(name).extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "json")
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        folder
    }

    fn names(root: &Path, recursive: bool) -> Vec<String> {
        let listing = Listing::of(&[root.to_path_buf()], recursive);
        listing.files.keys().map(|f| f.strip_prefix(root).unwrap().display().to_string()).collect()
    }

    #[test]
    fn only_manifests_count_and_folders_are_entered_only_when_asked() {
        let folder =
            folder(&["a.yaml", "b.yml", "c.json", "d.txt", ".e.yaml", "f.yaml~", "sub/g.yaml", ".git/h.yaml", "yaml"]);
        assert_eq!(names(folder.path(), false), ["a.yaml", "b.yml", "c.json"]);
        assert_eq!(names(folder.path(), true), ["a.yaml", "b.yml", "c.json", "sub/g.yaml"]);
    }

    #[test]
    fn a_link_back_up_ends() {
        let folder = folder(&["sub/a.yaml"]);
        symlink(folder.path(), folder.path().join("sub/up")).unwrap();
        assert_eq!(names(folder.path(), true), ["sub/a.yaml"]);
        symlink("loop", folder.path().join("loop")).unwrap();
        assert_eq!(names(folder.path(), true), ["sub/a.yaml"]);
    }

    #[test]
    fn a_file_given_twice_is_one_file() {
        let folder = folder(&["a.yaml", "odd.txt"]);
        let roots = [folder.path().join("a.yaml"), folder.path().join("./a.yaml"), folder.path().to_path_buf()];
        assert_eq!(Listing::of(&roots, false).files.len(), 1);
        assert_eq!(Listing::of(&[folder.path().join("odd.txt")], false).files.len(), 1);
    }

    #[test]
    fn a_link_to_nothing_is_named() {
        let folder = folder(&[]);
        symlink("nothing", folder.path().join("a.yaml")).unwrap();
        let listing = Listing::of(&[folder.path().to_path_buf()], false);
        assert!(listing.files[&folder.path().join("a.yaml")].is_err());
    }

    #[test]
    fn every_link_on_the_way_is_a_hinge() {
        let folder = folder(&["v1/routes/a.yaml"]);
        let real = fs::canonicalize(folder.path()).unwrap();
        symlink("v1", real.join("current")).unwrap();
        symlink("current/routes", real.join("routes")).unwrap();
        let listing = Listing::of(&[real.join("routes")], false);
        let hinges: Vec<PathBuf> = ["current", "routes", "v1/routes"].iter().map(|h| real.join(h)).collect();
        assert_eq!(listing.hinges.into_iter().collect::<Vec<_>>(), hinges);
    }
}
