//! What the data plane found out comes back as events, at the top: the only way back.

use tokio::sync::{mpsc, watch};

use crate::proxy::{self, BoundAddresses};
use crate::store::{Batch, BindState, Event};

/// Sends the whole picture of bound addresses each time it changes, until either side is gone.
pub async fn bound_addresses(mut bound: watch::Receiver<BoundAddresses>, events: mpsc::Sender<Batch>) {
    while bound.changed().await.is_ok() {
        let binds = bound.borrow_and_update().iter().map(|(address, state)| (*address, of(state))).collect();
        if events.send(vec![Event::Binds(binds)]).await.is_err() {
            return;
        }
    }
}

fn of(state: &proxy::BindState) -> BindState {
    match state {
        proxy::BindState::Bound => BindState::Bound,
        proxy::BindState::Failed(why) => BindState::Failed(why.clone()),
    }
}
