//! Life without an API server: what was last seen is kept on disk, and stands in until the cluster shows itself.
//!
//! ```text
//!   source ──batches──▶ stand_in ──▶ controller ──held──▶ keep ──▶ file
//!                          ▲                                         │
//!                          └──────── the next start, if the source is away
//! ```
//!
//! Only objects that the source itself showed are ever written.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::api::{Object, ObjectRef};
use crate::controller::Held;
use crate::source::state::StateFile;
use crate::store::{Batch, Event, Freshness};

/// How long a start waits for a cluster that is not known to be away.
const PATIENCE: Duration = Duration::from_secs(3);
/// Between two writes.
const PAUSE: Duration = Duration::from_secs(1);
/// After one that failed.
const AGAIN: Duration = Duration::from_secs(10);

/// What an earlier process last saw, for a start without a cluster; says what it found.
pub fn load(file: &StateFile) -> Vec<Object> {
    file.tidy();
    let path = file.path().display();
    match file.load() {
        Ok(None) => tracing::info!(%path, "no saved state yet"),
        Ok(Some(saved)) => {
            let (objects, transom) = (saved.objects.len(), &saved.transom);
            tracing::info!(%path, objects, transom, "saved state read");
            if saved.left_out > 0 {
                tracing::warn!(%path, objects = saved.left_out, "saved objects that cannot be read are left out");
            }
            return saved.objects;
        }
        Err(error) => tracing::warn!(%path, %error, "saved state ignored"),
    }
    Vec::new()
}

/// Passes batches on. If the first one, which is whole, lets itself be waited for, or the cluster is known to be
/// `away`, `saved` objects go ahead of it; it then takes their place at once, and takes away what it does not have.
pub async fn stand_in(
    saved: Vec<Object>,
    away: impl Future<Output = ()>,
    mut batches: mpsc::Receiver<Batch>,
    events: mpsc::Sender<Batch>,
) {
    let late = async {
        tokio::select! {
            () = away => {}
            () = sleep(PATIENCE) => {}
        }
    };
    let mut standing = BTreeSet::new();
    let first = tokio::select! {
        biased;
        first = batches.recv() => first,
        () = late, if !saved.is_empty() => {
            tracing::warn!(objects = saved.len(), "the cluster is not to be seen: serving what was last seen of it");
            standing = saved.iter().map(Object::object_ref).collect();
            let mut batch = vec![Event::Freshness(Freshness::Saved)];
            batch.extend(saved.into_iter().map(Event::Apply));
            if events.send(batch).await.is_err() {
                return;
            }
            batches.recv().await
        }
    };
    let mut next = first.map(|whole| instead_of(standing, whole));
    while let Some(batch) = next {
        if events.send(batch).await.is_err() {
            return;
        }
        next = batches.recv().await;
    }
}

/// The whole of what there is, in the place of what stood in for it.
fn instead_of(mut standing: BTreeSet<ObjectRef>, whole: Batch) -> Batch {
    for event in &whole {
        if let Event::Apply(object) = event {
            standing.remove(&object.object_ref());
        }
    }
    let mut batch = vec![Event::Freshness(Freshness::Live)];
    batch.extend(whole);
    batch.extend(standing.into_iter().map(Event::Delete));
    batch
}

/// Keeps what the cluster showed in `file` until `stop`, with at most one write a second.
pub async fn keep(mut file: StateFile, mut held: watch::Receiver<Held>, stop: CancellationToken) {
    let mut not_before = Instant::now();
    let mut failing = false;
    while !stop.is_cancelled() {
        tokio::select! {
            changed = held.changed() => if changed.is_err() { return },
            () = stop.cancelled() => {}
        }
        // what came within the pause before the end is kept too
        let _ = stop.run_until_cancelled(sleep_until(not_before)).await;
        let live = {
            let held = held.borrow_and_update();
            (held.resources.freshness == Freshness::Live).then(|| held.references.looked_at(&held.resources))
        };
        let Some(objects) = live else { continue };
        let saving = tokio::task::spawn_blocking(move || {
            let saved = file.save(&objects);
            (file, saved)
        });
        let Ok((returned, saved)) = saving.await else { return };
        file = returned;
        not_before = Instant::now() + PAUSE;
        let path = file.path().display();
        match saved {
            Ok(written) => {
                tracing::debug!(%path, written, "state saved");
                failing = false;
            }
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%path, %error, retry_after = ?AGAIN, "state not saved");
                }
                held.mark_changed();
                not_before = Instant::now() + AGAIN;
            }
        }
    }
}
