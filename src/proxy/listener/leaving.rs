//! How the connections of a listener that ends leave: HTTP/1 between two requests, a WebSocket with a Close, HTTP/2 by
//! itself (GOAWAY). In come the signals of the listener and of the worker; a connection that is not to be served any
//! longer is done. That the process ends is the same to it as that one listener goes.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::{Connection, Parting, Phase};

/// How often a connection that outlives its listener is looked at.
const CHECK: Duration = Duration::from_millis(50);

/// For what a client has sent that was let in just before its listener closed: it may be on its way.
const ON_ITS_WAY: Duration = Duration::from_millis(500);

/// For how long a client that is told of the end of its WebSocket is listened to: its own Close is to pass to the
/// endpoint, which then closes.
const ANSWER_TIME: Duration = Duration::from_secs(1);

/// For how long an HTTP/2 client may take to follow a GOAWAY, with nothing in flight.
const GOAWAY_TIME: Duration = Duration::from_secs(3);

/// For how long it may take our end after that.
const CLOSING_TIME: Duration = Duration::from_millis(500);

/// What a listener's end looks like to its connections.
#[derive(Debug, Clone)]
pub struct Signals {
    /// No more connections are accepted.
    pub closed: watch::Receiver<bool>,
    /// Connections end after the request at hand.
    pub draining: watch::Receiver<bool>,
    /// Who else is there.
    pub company: Company,
}

/// The connections of one listener.
#[derive(Debug, Clone, Default)]
pub struct Company {
    /// All of them.
    pub all: TaskTracker,
    /// Those that would part, as WebSockets.
    waiting: TaskTracker,
}

impl Company {
    /// Whether nothing else is in flight.
    fn only_waits(&self) -> bool {
        self.waiting.len() >= self.all.len()
    }
}

/// Returns when a connection whose listener is closed may be dropped if nothing was asked on it yet.
pub async fn unheard(signals: &Signals) {
    let _ = signals.closed.clone().wait_for(|closed| *closed).await;
    tokio::time::sleep(ON_ITS_WAY).await;
}

/// Follows the end of the listener: asks the connection to leave once it drains, and returns, once it is closed, when
/// the connection may be dropped: nothing is in flight any more, or the client of a WebSocket has been parted with.
///
/// WebSockets part when nothing else of their listener is in flight, and at the `last_call` in any case.
pub async fn leave(connection: &Connection, mut signals: Signals, last_call: &CancellationToken) {
    let drains = signals.draining.wait_for(|draining| *draining).await.is_ok();
    if drains {
        connection.end_soon();
    }
    if !drains || signals.closed.wait_for(|closed| *closed).await.is_err() {
        std::future::pending::<()>().await; // the listener's owner is gone, and with it the runtime, soon
    }
    let mut waits = None;
    let mut idle = Duration::ZERO;
    let closed = Instant::now();
    loop {
        match connection.phase() {
            Phase::Idle if connection.has_asked() || closed.elapsed() >= ON_ITS_WAY => return,
            Phase::Switched => {
                waits.get_or_insert_with(|| signals.company.waiting.token());
                if last_call.is_cancelled() || signals.company.only_waits() {
                    break;
                }
            }
            // The h2 crate ends it once the client has answered a PING behind the GOAWAY, which not every client does.
            Phase::Framed if connection.serving() > 0 => idle = Duration::ZERO,
            Phase::Framed if idle >= GOAWAY_TIME => return,
            Phase::Framed => idle += CHECK,
            Phase::Idle | Phase::Head | Phase::Request | Phase::Answer => {}
        }
        tokio::time::sleep(CHECK).await;
    }
    for (parting, time) in [(Parting::Asked, ANSWER_TIME), (Parting::Over, CLOSING_TIME)] {
        connection.part(parting);
        tokio::task::yield_now().await; // the whole task is polled again, and the stream sees it
        tokio::time::sleep(time).await;
    }
}
