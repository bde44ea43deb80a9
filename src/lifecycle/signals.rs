//! The signals that end the process: the first asks for a drain, the second for an end at once.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM and SIGINT, caught.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    seen: bool,
}

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// Finish what is in flight, then end.
    Drain,
    /// End now.
    AtOnce,
}

impl Signals {
    /// Catches both signals from now on; neither ends the process by itself any more. Called within a runtime.
    ///
    /// # Errors
    /// When the process may not catch them.
    pub fn catch() -> io::Result<Self> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            seen: false,
        })
    }

    /// Waits for the next signal. Cancel safe.
    pub async fn next(&mut self) -> Shutdown {
        // `recv` ends only with the runtime that drives it.
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
        if std::mem::replace(&mut self.seen, true) { Shutdown::AtOnce } else { Shutdown::Drain }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn send(name: &str) {
        let status = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", std::process::id())).status().unwrap();
        assert!(status.success());
    }

    #[tokio::test]
    async fn the_first_signal_drains_and_the_second_ends_at_once() {
        let mut signals = Signals::catch().unwrap();
        send("TERM");
        assert_eq!(signals.next().await, Shutdown::Drain);
        send("INT");
        assert_eq!(signals.next().await, Shutdown::AtOnce);
    }
}
