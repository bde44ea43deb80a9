//! The admin server: what probes, Prometheus and a person with `curl` ask of a running process.
//!
//! `/livez`, `/readyz`, `/metrics`, `/config` and, where someone answers them, `/explain` and `/applied`. In comes a [`State`] of
//! shared views; nothing is kept here, each answer is computed when asked for. It runs on the small runtime, never
//! on a data worker's, and changes nothing: every path is read-only.

mod applied;
mod dump;
mod pieces;
mod routes;
mod server;

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::lifecycle::Readiness;
use crate::telemetry::Telemetry;

pub use applied::AppliedView;
pub use dump::{ConfigDump, SourceProblem};

/// What the server shows.
#[derive(Clone)]
pub struct State {
    /// Decides `/readyz`.
    pub readiness: Readiness,
    /// Shown by `/metrics`.
    pub telemetry: Telemetry,
    /// Shown by `/config`: called for each request, on a thread that may take its time.
    pub config: Arc<dyn Fn() -> ConfigDump + Send + Sync>,
    /// Answers `/explain`; without it there is no such path.
    pub explain: Option<Explain>,
    /// Shown by `/applied`; without it there is no such path.
    pub applied: Option<AppliedView>,
}

/// Answers a [`Question`] with JSON, or says what is wrong with it.
pub type Explain = Arc<dyn Fn(&Question) -> Result<serde_json::Value, String> + Send + Sync>;

/// What `/explain?method=GET&url=http://a.example/b&header=k:%20v` asks. Headers are as on a command line, `k: v`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// `GET` if not given.
    pub method: String,
    /// Always given.
    pub url: String,
    /// In the order given.
    pub headers: Vec<String>,
}

/// An address that was had.
#[derive(Debug)]
pub struct Bound {
    listener: TcpListener,
}

/// Takes the address, so that a taken one is known before anything else starts.
///
/// # Errors
/// When the address cannot be had.
pub fn bind(address: SocketAddr) -> io::Result<Bound> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(Bound { listener })
}

impl Bound {
    /// The address, with the port that was chosen if 0 was asked for.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `shutdown`, then ends what is in flight within two seconds. Called within a runtime.
    ///
    /// # Errors
    /// When the runtime cannot take the socket.
    pub async fn serve(self, state: State, shutdown: CancellationToken) -> io::Result<()> {
        let listener = tokio::net::TcpListener::from_std(self.listener)?;
        server::serve(listener, routes::router(state), shutdown).await;
        Ok(())
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("readiness", &self.readiness).finish_non_exhaustive()
    }
}
