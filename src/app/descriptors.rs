//! File descriptors: as many as the process may have, and how many of them may be connections of clients.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// For what is open anyway: listening sockets, the admin server, watches, files.
const OWN: u64 = 64;
/// For each data worker.
const OF_WORKER: u64 = 8;

/// Raises the limit that holds to the one that may be set, and gives it. Unlimited is a number, too.
pub fn raise() -> u64 {
    let limits = getrlimit(Resource::Nofile);
    let most = limits.maximum.unwrap_or(u64::MAX);
    let now = limits.current.unwrap_or(u64::MAX);
    match setrlimit(Resource::Nofile, Rlimit { current: limits.maximum, maximum: limits.maximum }) {
        Ok(()) => most,
        Err(error) => {
            tracing::warn!(%error, limit = now, "the limit of file descriptors cannot be raised");
            now
        }
    }
}

/// How many connections of clients there may be: each takes a descriptor, and another one for the endpoint that it is
/// served from.
pub fn connections(descriptors: u64, workers: usize) -> usize {
    let own = OWN + OF_WORKER * workers as u64;
    let free = descriptors.saturating_sub(own).max(descriptors / 4);
    usize::try_from(free / 2).unwrap_or(usize::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_what_is_free_is_for_clients() {
        assert_eq!(connections(1024, 2), 472);
        assert_eq!(connections(1_048_576, 4), 524_240);
        assert_eq!(connections(64, 2), 8);
        assert_eq!(connections(1, 1), 1);
        assert!(connections(u64::MAX, 2) > 1 << 40);
    }
}
