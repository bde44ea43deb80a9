//! `transom run`: serve the objects of files and folders, of an API server, or the quick start.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::access::ClusterAccess;
use super::settings::ServingSettings;
use super::{Failure, Outcome, Serve, outcome};
use crate::quickstart;
use crate::source::kubernetes::Access;

/// Serve Gateway API objects from files and folders or from a cluster, live; without any, the quick start.
///
/// Files and folders are watched: an edit is served within a second, and one that cannot be read leaves what was
/// served before. Without -f, a Gateway, its routes and sample backends that are inside the binary are served.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Files (.yaml, .yml, .json) and folders of Kubernetes objects; - is standard input, read once.
    #[arg(short = 'f', long = "filename", value_name = "PATH", num_args = 1..)]
    filename: Vec<PathBuf>,

    /// Descend into folders of folders.
    #[arg(short = 'R', long, requires = "filename")]
    recursive: bool,

    /// Write the objects of the quick start to a new file (- is standard output), to edit and serve with -f, and end.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["filename", "recursive"])]
    write_quickstart: Option<PathBuf>,

    #[command(flatten)]
    settings: ServingSettings,

    /// Serve the objects of an API server: in a pod by its service account, else by the kubeconfig. Early: listener
    /// ports are bound on this machine, and Gateways without spec.addresses are given no address yet.
    #[arg(long, conflicts_with_all = ["filename", "recursive", "write_quickstart"])]
    kubernetes: bool,

    #[command(flatten)]
    access: ClusterAccess,
}

/// Where the objects to serve come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sources {
    /// [`quickstart::manifest_text`], named [`quickstart::MANIFEST_NAME`] in messages.
    QuickStart,
    /// Files and folders, watched.
    Files {
        /// As they were given; at least one.
        paths: Vec<PathBuf>,
        /// Whether folders of folders are descended into.
        recursive: bool,
    },
    /// An API server.
    Kubernetes(Access),
}

pub(super) fn run(arguments: Arguments, serve: Serve) -> Result<Outcome, Failure> {
    if let Some(path) = &arguments.write_quickstart {
        return write_quickstart(path);
    }
    let access = arguments.access.only_with(arguments.kubernetes)?;
    let config = arguments.settings.resolve()?;
    let sources = match (access, arguments.filename) {
        (Some(access), _) => Sources::Kubernetes(access),
        (None, paths) if paths.is_empty() => Sources::QuickStart,
        (None, paths) => Sources::Files { paths, recursive: arguments.recursive },
    };
    serve(config, sources)
}

fn write_quickstart(path: &Path) -> Result<Outcome, Failure> {
    if path == Path::new("-") {
        outcome::show(quickstart::manifest_text())?;
        return Ok(Outcome::Fine);
    }
    let shown = path.display();
    // a file that someone has edited is never written over
    let written = OpenOptions::new().write(true).create_new(true).open(path);
    match written.and_then(|mut file| file.write_all(quickstart::manifest_text().as_bytes())) {
        Ok(()) => {
            outcome::show(&format!("wrote {shown}; serve it with: transom run -f {shown}\n"))?;
            Ok(Outcome::Fine)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            Err(Failure::Unavailable(format!("{shown} is there already and is left as it is")))
        }
        Err(error) => Err(Failure::Unavailable(format!("{shown}: {error}"))),
    }
}
