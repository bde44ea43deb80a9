//! The thread that writes, the rings it drains, and how it is woken.
//!
//! A worker that pushed a line wakes the writer only if that sleeps; after each write the writer pauses for
//! [`PAUSE`], so that a busy process pays for a wake-up and a write a hundred times a second, not once per line.

use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rtrb::{Consumer, Producer, RingBuffer};

use super::Options;
use super::filter::Dice;
use super::line::{self, Clock};
use crate::telemetry::RequestRecord;
use crate::telemetry::metrics::add;

/// Bytes of lines that may wait, per data worker: about 3,000 lines.
const RING: usize = 1024 * 1024;
/// Bytes of the batch buffer that an idle writer keeps.
const KEPT: usize = 64 * 1024;
/// Between two writes: how long a line may wait for company.
const PAUSE: Duration = Duration::from_millis(10);
/// Net under the waking: an idle writer looks by itself this often.
const IDLE: Duration = Duration::from_secs(1);

/// What workers and writer have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: Options,
    lanes: Mutex<Lanes>,
    /// Set by the writer before it sleeps, taken back by whoever wakes it.
    asleep: AtomicBool,
    stopping: AtomicBool,
    /// Lines taken from a ring that the sink did not take.
    discarded: AtomicU64,
    thread: OnceLock<Thread>,
    ended: Mutex<bool>,
    at_end: Condvar,
}

#[derive(Debug, Default)]
struct Lanes {
    /// Rings of workers that the writer has not seen yet.
    new: Vec<Consumer<u8>>,
    /// One per worker: lines that found its ring full.
    dropped: Vec<Arc<AtomicU64>>,
}

/// The worker's end: formats a line and pushes it, whole or not at all.
pub(in crate::telemetry) struct LineWriter {
    shared: Arc<Shared>,
    ring: Producer<u8>,
    line: Vec<u8>,
    clock: Clock,
    dice: Dice,
    dropped: Arc<AtomicU64>,
}

impl LineWriter {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let (ring, reading) = RingBuffer::new(RING);
        let dropped = Arc::new(AtomicU64::new(0));
        let mut lanes = lock(&shared.lanes);
        lanes.new.push(reading);
        lanes.dropped.push(Arc::clone(&dropped));
        drop(lanes);
        LineWriter { shared, ring, line: Vec::with_capacity(1024), clock: Clock::default(), dice: Dice::new(), dropped }
    }

    pub(in crate::telemetry) fn write(&mut self, record: &RequestRecord<'_>) {
        if !self.shared.options.filter.passes(record, &mut self.dice) {
            return;
        }
        self.line.clear();
        // A clock before 1970 is a clock that is not set.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        line::append(&mut self.line, &self.shared.options, record, &mut self.clock, now);
        if self.ring.push_entire_slice(&self.line).is_err() {
            add(&self.dropped, 1);
        }
        self.shared.wake_if_asleep();
    }
}

impl Shared {
    fn wake_if_asleep(&self) {
        // Orders the push before the look, as the writer's fence orders its flag before its look at the rings:
        // one of the two sees the other.
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::Relaxed) {
            self.wake();
        }
    }

    fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    pub(super) fn dropped(&self) -> u64 {
        let full: u64 = lock(&self.lanes).dropped.iter().map(|count| count.load(Ordering::Relaxed)).sum();
        full + self.discarded.load(Ordering::Relaxed)
    }

    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.wake();
    }

    pub(super) fn close(&self, patience: Duration) -> bool {
        self.stop();
        let waiting = self.at_end.wait_timeout_while(lock(&self.ended), patience, |ended| !*ended);
        *waiting.unwrap_or_else(PoisonError::into_inner).0
    }
}

pub(super) fn start(options: Options, sink: Box<dyn Write + Send>) -> io::Result<Arc<Shared>> {
    let shared = Arc::new(Shared {
        options,
        lanes: Mutex::new(Lanes::default()),
        asleep: AtomicBool::new(false),
        stopping: AtomicBool::new(false),
        discarded: AtomicU64::new(0),
        thread: OnceLock::new(),
        ended: Mutex::new(false),
        at_end: Condvar::new(),
    });
    let mut writer = Writer { shared: Arc::clone(&shared), sink, lanes: Vec::new(), batch: Vec::new(), torn: false };
    let handle = thread::Builder::new().name("access-log".to_owned()).spawn(move || writer.run())?;
    let _ = shared.thread.set(handle.thread().clone());
    Ok(shared)
}

struct Writer {
    shared: Arc<Shared>,
    sink: Box<dyn Write + Send>,
    lanes: Vec<Consumer<u8>>,
    batch: Vec<u8>,
    /// The sink took part of a line and then failed: the next batch begins on a line of its own.
    torn: bool,
}

impl Writer {
    fn run(&mut self) {
        loop {
            // Read before the rings: what was pushed before the stop is drained after it.
            let stopping = self.shared.stopping.load(Ordering::Acquire);
            self.gather();
            if !self.batch.is_empty() {
                self.flush();
                if !stopping {
                    thread::park_timeout(PAUSE);
                }
            } else if stopping {
                break;
            } else {
                self.sleep();
            }
        }
        *lock(&self.shared.ended) = true;
        self.shared.at_end.notify_all();
    }

    fn gather(&mut self) {
        self.lanes.append(&mut lock(&self.shared.lanes).new);
        self.batch.clear();
        if self.torn {
            self.batch.push(b'\n');
        }
        let start = self.batch.len();
        for lane in &mut self.lanes {
            take(lane, &mut self.batch);
        }
        if self.batch.len() == start {
            self.batch.clear();
        }
        self.lanes.retain(|lane| !lane.is_abandoned() || !lane.is_empty());
    }

    fn sleep(&mut self) {
        self.batch.shrink_to(KEPT);
        self.shared.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let work = self.lanes.iter().any(|lane| !lane.is_empty())
            || !lock(&self.shared.lanes).new.is_empty()
            || self.shared.stopping.load(Ordering::Acquire);
        if !work {
            thread::park_timeout(IDLE);
        }
        self.shared.asleep.store(false, Ordering::Relaxed);
    }

    fn flush(&mut self) {
        let mut rest = self.batch.as_slice();
        while !rest.is_empty() {
            match self.sink.write(rest) {
                Ok(0) => break,
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Someone made the pipe non-blocking: wait as a blocking one would.
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(PAUSE),
                Err(_) => break,
            }
        }
        let taken = self.batch.len() - rest.len();
        let ends = rest.split(|byte| *byte == b'\n').count() - 1;
        let lost = if self.torn && taken == 0 { ends.saturating_sub(1) } else { ends };
        self.shared.discarded.fetch_add(lost as u64, Ordering::Relaxed);
        self.torn = match self.batch.get(..taken).and_then(<[u8]>::last) {
            Some(last) => *last != b'\n',
            None => self.torn,
        };
    }
}

/// Takes what a ring holds: whole lines, as a worker commits each at once.
fn take(lane: &mut Consumer<u8>, batch: &mut Vec<u8>) {
    let Ok(chunk) = lane.read_chunk(lane.slots()) else { return };
    let (first, second) = chunk.as_slices();
    batch.extend_from_slice(first);
    batch.extend_from_slice(second);
    chunk.commit_all();
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
