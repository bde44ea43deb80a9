//! How the connections of a listener that ends leave: HTTP/1 between two requests, a WebSocket with a Close, HTTP/2 by
//! itself (GOAWAY). In come the signals of the listener and of the worker; a connection that is not to be served any
//! longer is done. That the process ends is the same to it as that one listener goes.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Poll, Waker};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::coop::unconstrained;
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

/// Returns when a signal is given. It is polled with each turn of a connection's task, which is to cost next to nothing
/// as long as there is no news: whom the signal wakes is asked for once, and not with each turn.
async fn rouse(signal: &mut watch::Receiver<bool>) -> Result<(), watch::error::RecvError> {
    let news = signal.clone();
    // Unconstrained: a turn that has used up its budget would come to an end here with nobody asked.
    let mut given = pin!(unconstrained(signal.wait_for(|given| *given)));
    let mut told: Option<Waker> = None;
    poll_fn(|cx| {
        let is_told = told.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        if is_told && matches!(news.has_changed(), Ok(false)) {
            return Poll::Pending;
        }
        told = Some(cx.waker().clone());
        given.as_mut().poll(cx).map_ok(|_| ())
    })
    .await
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
    let drains = rouse(&mut signals.draining).await.is_ok();
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::{Context, Wake};

    use tokio::task::coop::consume_budget;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[test]
    fn the_waker_that_asked_last_is_woken() {
        let (send, mut signal) = watch::channel(false);
        let [first, last] = [(); 2].map(|()| Arc::new(Woken::default()));
        let mut roused = pin!(rouse(&mut signal));
        for waker in [&first, &first, &last, &last] {
            let waker = Waker::from(waker.clone());
            assert!(roused.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        }
        send.send(true).unwrap();
        assert!(last.0.load(Ordering::Relaxed));
        let waker = Waker::from(last);
        assert!(roused.as_mut().poll(&mut Context::from_waker(&waker)).is_ready());
    }

    #[test]
    fn it_ends_with_whoever_would_signal() {
        let (send, mut signal) = watch::channel(false);
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        let mut roused = pin!(rouse(&mut signal));
        assert!(roused.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        drop(send);
        assert!(woken.0.load(Ordering::Relaxed));
        assert!(matches!(roused.as_mut().poll(&mut Context::from_waker(&waker)), Poll::Ready(Err(_))));
    }

    #[tokio::test]
    async fn a_signal_is_heard_by_a_task_that_had_used_up_its_budget() {
        let (send, mut signal) = watch::channel(false);
        let task = tokio::spawn(async move {
            let mut roused = pin!(rouse(&mut signal));
            let mut is_first = true;
            poll_fn(|cx| {
                // What else the connection does is polled before, and here it takes all that a turn may.
                let mut has_budget = std::mem::take(&mut is_first);
                while has_budget {
                    has_budget = pin!(consume_budget()).poll(cx).is_ready();
                }
                roused.as_mut().poll(cx)
            })
            .await
        });
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        send.send(true).unwrap();
        tokio::time::timeout(Duration::from_secs(5), task).await.expect("it is not woken").unwrap().unwrap();
    }
}
