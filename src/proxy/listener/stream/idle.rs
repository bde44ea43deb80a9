//! How long a connection may wait for its next request. Pingora would begin a timer for each wait, and keep each until
//! its time has come, also when its connection is long gone. Here a connection has one, which is put off only when it
//! goes off: most waits are over long before.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// The wait for the next request.
#[derive(Debug, Default)]
pub(super) struct Idle {
    since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Idle {
    /// Something has come.
    pub(super) fn over(&mut self) {
        self.since = None;
    }

    /// Ready once nothing has come for so long.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, limit: Duration) -> Poll<()> {
        let until = *self.since.get_or_insert_with(Instant::now) + limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
        while timer.as_mut().poll(cx).is_ready() {
            if timer.deadline() >= until {
                return Poll::Ready(());
            }
            timer.as_mut().reset(until); // it is of an earlier wait
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures_util::FutureExt;
    use tokio::time::advance;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(75);

    async fn is_over(idle: &mut Idle) -> bool {
        poll_fn(|cx| idle.poll(cx, LIMIT)).now_or_never().is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn each_wait_has_all_of_its_time() {
        let mut idle = Idle::default();
        for _ in 0..5 {
            assert!(!is_over(&mut idle).await);
            advance(LIMIT - Duration::from_secs(1)).await;
            assert!(!is_over(&mut idle).await);
            idle.over();
        }
        let begun = Instant::now();
        poll_fn(|cx| idle.poll(cx, LIMIT)).await;
        let took = begun.elapsed();
        assert!(took >= LIMIT && took < LIMIT + Duration::from_secs(1), "{took:?}");
    }
}
