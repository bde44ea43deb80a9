//! Panics: each is counted and told in one line. What a request brought with it must not end up in the log, and a
//! message that was put together may hold it: of those only the place is told.

use std::panic::{self, PanicHookInfo};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Of the process: so is the hook.
static COUNT: AtomicU64 = AtomicU64::new(0);

/// From now on panics of any thread are counted and told here, instead of being printed as they are.
pub fn catch() {
    panic::set_hook(Box::new(tell));
}

fn tell(panic: &PanicHookInfo<'_>) {
    COUNT.fetch_add(1, Relaxed);
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current().name().unwrap_or("unnamed").to_owned();
    tracing::error!(thread, place, message = message(panic.payload()), "a panic");
}

/// The message as it stands in the source; one that was formatted is no `&'static str`.
fn message(payload: &dyn std::any::Any) -> &'static str {
    payload.downcast_ref::<&'static str>().copied().unwrap_or("withheld: it may hold what a client sent")
}

/// How many there were.
pub(super) fn count() -> u64 {
    COUNT.load(Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_was_put_together_is_withheld() {
        let caught = |act: fn()| panic::catch_unwind(act).unwrap_err();
        assert_eq!(message(&*caught(|| panic!("on purpose"))), "on purpose");
        let secret = caught(|| {
            let token = std::hint::black_box("token-4711").to_owned();
            panic!("cannot read {token}")
        });
        assert!(message(&*secret).starts_with("withheld"));
        assert!(message(&*caught(|| _ = "é4711".split_at(std::hint::black_box(1)))).starts_with("withheld"));
    }
}
