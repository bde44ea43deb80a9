//! Which cluster a command asks, and asking it: one runtime, one bound in time, for commands that answer and end.

use std::path::PathBuf;
use std::time::Duration;

use super::Failure;
use crate::source::kubernetes::Access;
use crate::source::kubernetes::once::{Connection, Unreachable};

/// For everything that a command asks of an API server.
const PATIENCE: Duration = Duration::from_mins(1);

/// Which cluster is meant.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub struct ClusterAccess {
    /// The kubeconfig file to use instead of $KUBECONFIG, the user's own file or a pod's service account.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,

    /// The context of the kubeconfig to use instead of its current one.
    #[arg(long, value_name = "NAME")]
    context: Option<String>,

    /// Ask as this user, as kubectl does: the chart's is system:serviceaccount:NAMESPACE:NAME.
    #[arg(long = "as", value_name = "USER")]
    impersonate: Option<String>,
}

impl ClusterAccess {
    /// The cluster, if `kubernetes` says that one is meant.
    ///
    /// # Errors
    /// It says that none is meant, and there are flags that say which.
    pub fn only_with(self, kubernetes: bool) -> Result<Option<Access>, Failure> {
        if !kubernetes && self != ClusterAccess::default() {
            let message = "--kubeconfig, --context and --as say which cluster is meant: give --kubernetes with them";
            return Err(Failure::WrongUse(message.to_owned()));
        }
        Ok(kubernetes.then(|| self.into()))
    }
}

impl From<ClusterAccess> for Access {
    fn from(given: ClusterAccess) -> Self {
        Access { kubeconfig: given.kubeconfig, context: given.context, impersonate: given.impersonate }
    }
}

/// Asks a cluster. The future that `question` makes is given up after a minute.
///
/// # Errors
/// No way to the cluster, no answer, or an answer too late; exit code 2.
pub fn ask<T>(
    access: &Access,
    question: impl AsyncFnOnce(&Connection) -> Result<T, Unreachable>,
) -> Result<T, Failure> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Unavailable(format!("threads: {error}")))?;
    let wrong = |error: &dyn std::fmt::Display| Failure::WrongUse(error.to_string());
    runtime.block_on(async {
        let connection = Connection::open(access).await.map_err(|error| wrong(&error))?;
        let answer = tokio::time::timeout(PATIENCE, question(&connection)).await;
        let late = |_| {
            let why = format!("no full answer in {} s", PATIENCE.as_secs());
            wrong(&Unreachable { server: connection.server.clone(), why })
        };
        answer.map_err(late)?.map_err(|error| wrong(&error))
    })
}
