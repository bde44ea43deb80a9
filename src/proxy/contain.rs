//! A panic in a phase of a request is a fault of that request alone: it is turned into an error, which Pingora takes
//! like any other, so that the client is answered with a 500 where its answer has not begun. The process counts and
//! tells it where it happens ([`panics`](crate::telemetry::panics)).

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};

use futures_util::FutureExt;
use pingora::{Error, ErrorType};

/// What an error is that was a panic. Pingora may say of any other that it came from an endpoint.
pub const PANIC: ErrorType = ErrorType::Custom("a panic");

/// Runs a phase. What it leaves half done belongs to the request, which ends.
///
/// # Errors
/// Those of the phase, and its panic.
pub fn contain<T>(phase: impl FnOnce() -> pingora::Result<T>) -> pingora::Result<T> {
    catch_unwind(AssertUnwindSafe(phase)).unwrap_or_else(|_| Error::err_in(PANIC))
}

/// The same of a phase that waits.
///
/// # Errors
/// Those of the phase, and its panic.
pub async fn contain_all<T>(phase: impl Future<Output = pingora::Result<T>>) -> pingora::Result<T> {
    AssertUnwindSafe(phase).catch_unwind().await.unwrap_or_else(|_| Error::err_in(PANIC))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::error::classify;
    use crate::telemetry::Reason;

    #[tokio::test]
    async fn a_panic_is_an_error_of_ours_whose_words_say_nothing_of_the_request() {
        let now = contain(|| -> pingora::Result<()> { panic!("token-4711") }).unwrap_err();
        let later = contain_all(async {
            tokio::task::yield_now().await;
            let nothing: Option<u8> = std::hint::black_box(None);
            nothing.expect("token-4711");
            Ok(())
        });
        for error in [now, later.await.unwrap_err().into_up()] {
            assert_eq!(classify(&error).status, Some(500));
            assert_eq!(classify(&error).reason, Reason::Internal);
            assert!(!error.to_string().contains("4711"), "{error}");
        }
        assert_eq!(contain(|| Ok(5)).unwrap(), 5);
    }
}
