//! What a command judges: the objects of files and folders, or those of a cluster.

use std::path::PathBuf;

use super::Failure;
use super::access::ClusterAccess;
use super::sources::Loaded;
use crate::config::Config;
use crate::source::kubernetes::Access;

/// Files and folders, or a cluster.
#[derive(Debug, clap::Args)]
pub struct Given {
    /// Files (.yaml, .yml, .json) and folders of Kubernetes objects; - is standard input.
    #[arg(short = 'f', long = "filename", value_name = "PATH", num_args = 1..)]
    pub filename: Vec<PathBuf>,

    /// Descend into folders of folders.
    #[arg(short = 'R', long)]
    pub recursive: bool,

    /// The objects of an API server, read once: by the kubeconfig, or in a pod by its service account.
    #[arg(long, conflicts_with_all = ["filename", "recursive"])]
    pub kubernetes: bool,

    #[command(flatten)]
    access: ClusterAccess,
}

impl Given {
    /// The cluster, if one is meant.
    ///
    /// # Errors
    /// Flags that say which cluster, and none is meant.
    pub fn access(&self) -> Result<Option<Access>, Failure> {
        self.access.clone().only_with(self.kubernetes)
    }

    /// Reads and translates the objects.
    ///
    /// # Errors
    /// Nothing is given, or it cannot be read at all.
    pub fn read(&self, config: &Config) -> Result<Loaded, Failure> {
        match self.access()? {
            Some(access) => Loaded::of_cluster(&access, config),
            None if self.filename.is_empty() => {
                let message =
                    "no objects to judge; give files and folders with -f PATH, or a cluster with --kubernetes";
                Err(Failure::WrongUse(message.to_owned()))
            }
            None => Loaded::read(&self.filename, self.recursive, config),
        }
    }
}
