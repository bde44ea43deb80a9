//! The moment when the first snapshot is served: tell what is served, or exit if files ask for ports and none can be
//! had. In a cluster nothing that an object says ends the process: objects come and go, and what cannot be bound
//! stands in their statuses (docs/decisions).

use std::fmt::Write;
use std::net::SocketAddr;

use tokio::sync::watch as channel;

use super::watch::View;
use crate::cli::diagnostic::Severity;
use crate::cli::served::Announcement;
use crate::cli::{Failure, Sources, outcome};
use crate::proxy::{BindState, BoundAddresses};

/// Waits until every address of the first snapshot was tried, and the objects were judged by the outcome.
///
/// # Errors
/// Files or the quick start ask for addresses and none could be had.
pub async fn settle(
    view: &View,
    mut bound: channel::Receiver<BoundAddresses>,
    sources: &Sources,
) -> Result<(), Failure> {
    let mut report = view.report.clone();
    let _ = report.wait_for(|report| report.generation > 0).await;
    let wanted: Vec<SocketAddr> = view.reader.current().binds.keys().copied().collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let tried = bound.wait_for(|bound| wanted.iter().all(|address| bound.contains_key(address))).await;
    let refused = tried.map(|bound| refusals(&bound)).unwrap_or_default();
    if refused.len() == wanted.len() && !matches!(sources, Sources::Kubernetes(_)) {
        let mut message = "no listener could be bound".to_owned();
        for (address, why) in refused {
            let _ = write!(message, "\n  {address}: {why}");
        }
        return Err(Failure::Unavailable(message));
    }
    let _ = report.wait_for(|report| report.generation > 1).await;
    Ok(())
}

fn refusals(bound: &BoundAddresses) -> Vec<(SocketAddr, String)> {
    let failed = |(address, state): (&SocketAddr, &BindState)| match state {
        BindState::Bound => None,
        BindState::Failed(why) => Some((*address, why.clone())),
    };
    bound.iter().filter_map(failed).collect()
}

/// Prints what is served, and lines to try.
///
/// # Errors
/// Standard output cannot be written.
pub fn announce(view: &View, admin: SocketAddr, sources: &Sources) -> Result<(), Failure> {
    let diagnostics = view.diagnostics();
    let problems = diagnostics.iter().filter(|found| found.severity == Severity::Problem);
    let problems: Vec<String> = problems.map(ToString::to_string).collect();
    let announcement = Announcement { snapshot: &view.reader.current(), problems: &problems, admin, sources };
    outcome::show(&announcement.render())
}
