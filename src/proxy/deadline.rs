//! Deadlines that hold. Pingora bounds single reads and writes, which start anew with each byte; a bound on a whole
//! request, or on a whole try, is kept here. In come the limits that the phases of a request set; out goes a failure
//! inside Pingora at that moment, so that the phases go on as after any other failure, and, where Pingora does not
//! notice, the end of the request. What is answered then is not known here.
//!
//! A connection (HTTP/1) or a stream (HTTP/2) is served inside [`watch`], which holds one slot for the request at
//! hand and at most one timer. The timer is not taken back when a request ends: one that fires too early is set
//! anew, so that a busy connection with deadlines on every request touches the runtime's timers hardly ever.
//!
//! How a request is made to fail at its limit:
//!
//! | | answer not begun | answer begun |
//! |---|---|---|
//! | HTTP/1 endpoint | its socket is shut down: whatever Pingora does with it fails | as below |
//! | HTTP/1 client | the client's stream fails | the client's stream fails |
//! | HTTP/2 on both sides | Pingora's own read timeout, set to what is left | the stream is reset |
//!
//! A request that has not ended after [`GRACE`] all the same is dropped, and with it both of its sides.

use std::cell::Cell;
use std::future::Future;
use std::os::fd::RawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use nix::sys::socket::{Shutdown, shutdown};
use tokio::time::{Instant, Sleep, sleep_until};

use super::listener::connection::Connection;

/// An endpoint that does not take a body is given up by Pingora; only after that the client is blamed for the pause.
const ENDPOINT_FIRST: Duration = Duration::from_millis(500);

/// For a request to end by itself once its time is over.
const GRACE: Duration = Duration::from_millis(250);

/// What a limit bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// The whole request, over all tries.
    Request,
    /// One try.
    Try,
    /// The next piece of the request's body.
    Body,
}

/// A moment at which the running try ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// When.
    pub at: Instant,
    /// Of what.
    pub bound: Bound,
}

tokio::task_local! {
    static SLOT: Slot;
}

/// The limits of the request at hand.
#[derive(Debug, Default)]
struct Slot {
    limit: Cell<Option<Limit>>,
    expired: Cell<Option<Bound>>,
    /// The socket of an HTTP/1 connection to an endpoint, which is this request's alone.
    upstream: Cell<Option<RawFd>>,
    /// Whether the endpoint's answer is on its way to the client.
    begun: Cell<bool>,
    /// The longest pause of the request's body, and when the one at hand has lasted so long.
    pause: Cell<Option<(Duration, Instant)>>,
}

impl Slot {
    /// What is over next.
    fn next(&self) -> Option<Limit> {
        let pause = self.pause.get().map(|(_, at)| Limit { at, bound: Bound::Body });
        match (self.limit.get(), pause) {
            (Some(limit), Some(pause)) if pause.at < limit.at => Some(pause),
            (None, pause) => pause,
            (limit, _) => limit,
        }
    }
}

/// Serves a connection or a stream under the limits that its requests set. `client` is the connection of an HTTP/1
/// client. `None`: a request was dropped because its time was over.
pub fn watch<F>(inner: F, client: Option<Arc<Connection>>) -> impl Future<Output = Option<F::Output>>
where
    F: Future + Unpin,
{
    SLOT.scope(Slot::default(), Watch { inner, client, timer: None })
}

/// From now on the running try ends at `limit`.
pub fn arm(limit: Limit) {
    with(|slot| slot.limit.set(Some(limit)));
}

/// The try has an HTTP/1 connection to itself, on this socket. It is the try's until its answer is passed on
/// ([`begun`]) or it has failed ([`disarm`]): Pingora gives the connection away or closes it in no state in between that
/// waits, so that the descriptor is never one that was closed and opened anew.
pub fn connected(upstream: RawFd) {
    with(|slot| slot.upstream.set(Some(upstream)));
}

/// From now on the request's body comes, with no pause longer than this. Of HTTP/1 clients, Pingora sees to it before.
pub fn await_body(longest: Duration) {
    with(|slot| slot.pause.set(Instant::now().checked_add(longest + ENDPOINT_FIRST).map(|at| (longest, at))));
}

/// A piece of the body has come, which may be the last one.
pub fn body_came(end: bool) {
    with(|slot| match slot.pause.get() {
        Some(_) if end => slot.pause.set(None),
        Some((longest, _)) => await_body(longest),
        None => {}
    });
}

/// The endpoint's answer is passed on: from now on it can only be cut. The socket is left alone, since to an answer
/// that ends with its connection a shutdown would look like its end.
pub fn begun() {
    with(|slot| {
        slot.begun.set(true);
        slot.upstream.set(None);
    });
}

/// Ends all limits. Which of them was over, if one was.
pub fn disarm() -> Option<Bound> {
    with(|slot| {
        slot.limit.set(None);
        slot.pause.set(None);
        slot.upstream.set(None);
        slot.begun.set(false);
        slot.expired.take()
    })
    .flatten()
}

/// Whether anything of the running try is bounded.
pub fn is_armed() -> bool {
    with(|slot| slot.next().is_some() || slot.upstream.get().is_some()).unwrap_or(false)
}

/// Which limit is over, if one is.
pub fn expired() -> Option<Bound> {
    with(|slot| slot.expired.get()).flatten()
}

/// `None` outside of [`watch`]: nothing is bounded there.
fn with<T>(act: impl FnOnce(&Slot) -> T) -> Option<T> {
    SLOT.try_with(act).ok()
}

struct Watch<F> {
    inner: F,
    client: Option<Arc<Connection>>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<F: Future + Unpin> Future for Watch<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            if let Poll::Ready(output) = Pin::new(&mut this.inner).poll(cx) {
                return Poll::Ready(Some(output));
            }
            let Some(limit) = with(Slot::next).flatten() else { return Poll::Pending };
            ready!(poll_until(&mut this.timer, limit.at, cx));
            if this.expire(limit).is_break() {
                if let Some(client) = &this.client {
                    client.reset_at_end();
                }
                return Poll::Ready(None);
            }
        }
    }
}

impl<F> Watch<F> {
    /// Makes the try fail; breaks if there is no way left but to drop it.
    fn expire(&self, limit: Limit) -> std::ops::ControlFlow<()> {
        use std::ops::ControlFlow::{Break, Continue};
        with(|slot| {
            if slot.expired.replace(Some(limit.bound)).is_some() {
                return Break(()); // the grace is over, too
            }
            match (slot.upstream.take(), &self.client) {
                // An error means that the endpoint has closed already.
                (Some(socket), _) => drop(shutdown(socket, Shutdown::Both)),
                (None, Some(client)) => client.cut(),
                (None, None) if slot.begun.get() => return Break(()),
                (None, None) => {}
            }
            slot.pause.set(None);
            slot.limit.set(Some(Limit { at: Instant::now() + GRACE, ..limit }));
            Continue(())
        })
        .unwrap_or(Continue(()))
    }
}

/// Waits until `at` with a timer that may be set to any time.
fn poll_until(timer: &mut Option<Pin<Box<Sleep>>>, at: Instant, cx: &mut Context<'_>) -> Poll<()> {
    let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
    loop {
        if timer.deadline() > at || (timer.deadline() < at && timer.is_elapsed()) {
            timer.as_mut().reset(at);
        }
        ready!(timer.as_mut().poll(cx));
        if timer.deadline() >= at {
            return Poll::Ready(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[tokio::test(start_paused = true)]
    async fn a_future_that_notices_ends_by_itself_and_one_that_does_not_is_dropped() {
        let begun = Instant::now();
        let notices = Box::pin(async {
            arm(Limit { at: begun + ms(100), bound: Bound::Try });
            poll_fn(|_| expired().map_or(Poll::Pending, Poll::Ready)).await;
            disarm()
        });
        assert_eq!(watch(notices, None).await, Some(Some(Bound::Try)));
        assert_eq!(begun.elapsed(), ms(100));

        let deaf = Box::pin(async {
            arm(Limit { at: begun + ms(200), bound: Bound::Request });
            std::future::pending::<()>().await;
        });
        assert_eq!(watch(deaf, None).await, None);
        assert_eq!(begun.elapsed(), ms(200) + GRACE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_begun_answer_over_http2_is_dropped_at_once() {
        let start = Instant::now();
        let inner = Box::pin(async {
            arm(Limit { at: start + ms(100), bound: Bound::Request });
            begun();
            std::future::pending::<()>().await;
        });
        assert_eq!(watch(inner, None).await, None);
        assert_eq!(start.elapsed(), ms(100));
    }

    #[tokio::test(start_paused = true)]
    async fn each_piece_of_a_body_has_its_own_time() {
        let start = Instant::now();
        let inner = Box::pin(async {
            arm(Limit { at: start + ms(60_000), bound: Bound::Request });
            await_body(ms(1000));
            for _ in 0..5 {
                tokio::time::sleep(ms(900)).await;
                body_came(false);
            }
            poll_fn(|_| expired().map_or(Poll::Pending, Poll::Ready)).await
        });
        assert_eq!(watch(inner, None).await, Some(Bound::Body));
        assert_eq!(start.elapsed(), ms(5500) + ENDPOINT_FIRST);
        let whole = Box::pin(async {
            await_body(ms(1000));
            body_came(true);
            tokio::time::sleep(ms(90_000)).await;
        });
        assert_eq!(watch(whole, None).await, Some(()));
    }

    #[tokio::test(start_paused = true)]
    async fn limits_of_one_request_say_nothing_about_the_next() {
        let start = Instant::now();
        let inner = Box::pin(async {
            for (limit, takes) in [(100, 50), (1000, 300), (200, 150)] {
                arm(Limit { at: Instant::now() + ms(limit), bound: Bound::Request });
                tokio::time::sleep(ms(takes)).await;
                assert_eq!(disarm(), None);
            }
            tokio::time::sleep(ms(5000)).await;
            arm(Limit { at: Instant::now() + ms(10), bound: Bound::Request });
            poll_fn(|_| expired().map_or(Poll::Pending, Poll::Ready)).await;
        });
        assert_eq!(watch(inner, None).await, Some(()));
        assert_eq!(start.elapsed(), ms(5510));
    }
}
