//! Room for connections. Each takes a seat, and the last descriptors of the process are kept for what connections
//! need further: those that come when none is left are let go at once, instead of waiting in the kernel's queue for
//! an answer that will not come.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::telemetry::Shed;

/// Between two lines of the log about the same.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// For how long after the last descriptor was found taken nobody is let in: one that one worker gave up for a moment,
/// and another one took, is free again at once.
const TIGHT: Duration = Duration::from_millis(200);

/// Seats for the connections of all workers.
#[derive(Debug)]
pub struct Room {
    seats: usize,
    taken: AtomicUsize,
    begun: Instant,
    /// Until when descriptors are short, in milliseconds since the beginning; 0 if they are not.
    tight: AtomicU64,
}

/// A connection's place; free again when dropped.
#[derive(Debug)]
pub struct Seat(Arc<Room>);

/// A descriptor of one worker that is given up for the moment in which a connection is accepted and closed.
#[derive(Debug)]
pub struct Reserve {
    spare: Mutex<Spare>,
}

#[derive(Debug)]
struct Spare {
    file: Option<File>,
    told: Option<Instant>,
}

impl Room {
    /// So many seats.
    pub fn new(seats: usize) -> Arc<Self> {
        Arc::new(Room { seats, taken: AtomicUsize::new(0), begun: Instant::now(), tight: AtomicU64::new(0) })
    }

    /// A seat. Once a connection, not once a request.
    ///
    /// # Errors
    /// There is none, and why.
    pub fn seat(self: &Arc<Self>) -> Result<Seat, Shed> {
        let tight = self.tight.load(Relaxed);
        if tight != 0 {
            if self.now() < tight {
                return Err(Shed::Descriptors);
            }
            self.tight.store(0, Relaxed);
        }
        let free = |taken: usize| (taken < self.seats).then_some(taken + 1);
        match self.taken.fetch_update(Relaxed, Relaxed, free) {
            Ok(_) => Ok(Seat(self.clone())),
            Err(_) => Err(Shed::Limit),
        }
    }

    /// No descriptor was left.
    pub fn tighten(&self) {
        self.tight.store(self.now() + u64::try_from(TIGHT.as_millis()).unwrap_or_default(), Relaxed);
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Relaxed);
    }
}

impl Reserve {
    /// Takes a descriptor, if there is one.
    pub fn take() -> Self {
        Reserve { spare: Mutex::new(Spare { file: spare(), told: None }) }
    }

    /// Takes one again if it could not be had.
    pub fn refill(&self) {
        let mut spare = self.lock();
        spare.file = spare.file.take().or_else(self::spare);
    }

    /// Lets a connection go that there is no descriptor for. Whether it could: if not, only waiting helps.
    pub async fn let_go(&self, listener: &TcpListener) -> bool {
        let Some(kept) = self.lock().file.take() else {
            self.refill();
            return false;
        };
        drop(kept);
        let accepted = timeout(Duration::ZERO, listener.accept()).await;
        let gone = matches!(accepted, Ok(Ok(_)));
        drop(accepted);
        self.refill();
        gone
    }

    /// Whether it is time to tell of it again.
    pub fn tells(&self) -> bool {
        let mut spare = self.lock();
        let tells = spare.told.is_none_or(|told| told.elapsed() >= TELL_EVERY);
        if tells {
            spare.told = Some(Instant::now());
        }
        tells
    }

    fn lock(&self) -> MutexGuard<'_, Spare> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an error means that descriptors or memory of the kernel are used up.
pub fn is_exhaustion(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}

fn spare() -> Option<File> {
    File::open("/dev/null").ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_no_more_seats_than_said_and_each_is_free_again() {
        let room = Room::new(2);
        let (one, two) = (room.seat().unwrap(), room.seat().unwrap());
        assert_eq!(room.seat().unwrap_err(), Shed::Limit);
        drop(one);
        assert!(room.seat().is_ok());
        drop(two);
        assert_eq!(room.taken.load(Relaxed), 0);
    }

    #[test]
    fn while_descriptors_are_short_nobody_is_let_in() {
        let room = Room::new(2);
        room.tighten();
        assert_eq!(room.seat().unwrap_err(), Shed::Descriptors);
        std::thread::sleep(TIGHT);
        assert!(room.seat().is_ok());
    }
}
