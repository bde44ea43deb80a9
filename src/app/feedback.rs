//! What the data plane and the infrastructure found out comes back as events, at the top: the only way back.

use tokio::sync::{mpsc, watch};

use crate::infra::Observation;
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

/// Sends each observation, until either side is gone.
pub async fn observations(mut observations: mpsc::Receiver<Observation>, events: mpsc::Sender<Batch>) {
    while let Some(observation) = observations.recv().await {
        let event = match observation {
            Observation::Applied(everywhere) => Event::Applied(everywhere),
            Observation::HostAddresses(addresses) => Event::HostAddresses(addresses),
        };
        if events.send(vec![event]).await.is_err() {
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
