//! The body on its way from the request to its copies: by reference, never waiting, bounded in bytes.
//!
//! A copy's queue ends in one of two ways. With [`Piece::End`] the body is whole. Otherwise the copy must be cut, so
//! that the mirror never takes a part for the whole: its end is told through a second channel, which the copy
//! listens to even while it waits to send.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::telemetry::{MirrorMeter, MirrorResult};

/// Bytes of one copy that may wait to be sent.
pub const QUEUE_LIMIT: usize = 4 * 1024 * 1024;
/// Bytes of all copies of a worker that may wait to be sent.
pub const WORKER_QUEUE_LIMIT: usize = 64 * 1024 * 1024;
/// What a piece costs beside its bytes, so that a body of tiny pieces is bounded, too.
const PIECE_COST: usize = 128;

/// The copies of a request, and how much of its body they were handed.
#[derive(Debug, Default)]
pub struct Mirroring {
    /// Whether they are drawn and begun, which happens once.
    begun: bool,
    /// Those that take a body that has not ended.
    tees: Vec<Tee>,
    /// Bytes that were handed over.
    given: u64,
    /// Bytes that this try of the request has passed; a later try passes the first ones again.
    passed: u64,
}

/// The end of a queue that takes the body. Dropping it before the body's end cuts the copy.
#[derive(Debug)]
pub struct Tee {
    ending: Option<oneshot::Sender<Ending>>,
    pieces: mpsc::UnboundedSender<Piece>,
    queued: Arc<Queued>,
}

/// The end of a queue that gives the body.
#[derive(Debug)]
pub struct Pieces {
    /// How the queue ends.
    pub ending: oneshot::Receiver<Ending>,
    /// What is in it.
    pub pieces: mpsc::UnboundedReceiver<Piece>,
}

/// How a queue ends, unless it is just dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The body is whole.
    Whole,
    /// The copy is cut.
    Cut(MirrorResult),
}

/// A part of a queue.
#[derive(Debug)]
pub enum Piece {
    /// A part of the body.
    Part {
        /// The part.
        bytes: Bytes,
        /// When it came.
        came: Instant,
        /// Counts it until it is sent.
        charge: Charge,
    },
    /// There is no more.
    End {
        /// When it came.
        came: Instant,
    },
}

/// Bytes that count against the limits until this is dropped.
#[derive(Debug)]
pub struct Charge {
    bytes: usize,
    queued: Arc<Queued>,
}

/// Bytes of one copy that wait.
#[derive(Debug)]
struct Queued {
    here: AtomicUsize,
    meter: Arc<MirrorMeter>,
}

/// A queue for the body of one copy.
pub fn queue(meter: Arc<MirrorMeter>) -> (Tee, Pieces) {
    let (told, ending) = oneshot::channel();
    // Without a bound in pieces, since the charges bound it in bytes.
    let (sender, pieces) = mpsc::unbounded_channel();
    let queued = Arc::new(Queued { here: AtomicUsize::new(0), meter });
    (Tee { ending: Some(told), pieces: sender, queued }, Pieces { ending, pieces })
}

impl Mirroring {
    /// A try of the request begins; whether its copies began with an earlier one.
    pub fn again(&mut self) -> bool {
        self.passed = 0;
        self.begun
    }

    /// A copy begins, or one that was not drawn does not.
    pub fn begin(&mut self, copy: Option<Tee>) {
        self.begun = true;
        self.tees.extend(copy);
    }

    /// A part of the request's body passes, the last one if `end`.
    pub fn pass(&mut self, part: Option<&Bytes>, end: bool) {
        if self.tees.is_empty() {
            return;
        }
        if let Some(part) = part {
            let known = usize::try_from(self.given.saturating_sub(self.passed)).unwrap_or(usize::MAX);
            self.passed += part.len() as u64;
            if known < part.len() {
                self.given = self.passed;
                let new = part.slice(known..);
                self.tees.retain_mut(|tee| tee.pass(&new));
            }
        }
        if end {
            self.tees.drain(..).for_each(Tee::end);
        }
    }
}

impl Tee {
    /// Hands a part over; whether the copy goes on.
    fn pass(&mut self, bytes: &Bytes) -> bool {
        match self.queued.charge(bytes.len()) {
            Ok(charge) => {
                // Fails where the copy has ended already, and said why.
                self.pieces.send(Piece::Part { bytes: bytes.clone(), came: Instant::now(), charge }).is_ok()
            }
            Err(full) => {
                self.say(Ending::Cut(full));
                false
            }
        }
    }

    /// The body is whole.
    fn end(mut self) {
        let _ = self.pieces.send(Piece::End { came: Instant::now() });
        self.say(Ending::Whole);
    }

    fn say(&mut self, ending: Ending) {
        if let Some(told) = self.ending.take() {
            let _ = told.send(ending);
        }
    }
}

impl Queued {
    fn charge(self: &Arc<Self>, length: usize) -> Result<Charge, MirrorResult> {
        let bytes = length + PIECE_COST;
        if self.here.load(Relaxed) + bytes > QUEUE_LIMIT {
            return Err(MirrorResult::DroppedQueue);
        }
        if self.meter.queued.load(Relaxed) + bytes > WORKER_QUEUE_LIMIT {
            return Err(MirrorResult::DroppedOverload);
        }
        self.here.fetch_add(bytes, Relaxed);
        self.meter.queued.fetch_add(bytes, Relaxed);
        Ok(Charge { bytes, queued: self.clone() })
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.queued.here.fetch_sub(self.bytes, Relaxed);
        self.queued.meter.queued.fetch_sub(self.bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(count: usize) -> (Mirroring, Vec<Pieces>, Arc<MirrorMeter>) {
        let meter = Arc::<MirrorMeter>::default();
        let (tees, pieces) = (0..count).map(|_| queue(meter.clone())).unzip();
        (Mirroring { begun: true, tees, ..Mirroring::default() }, pieces, meter)
    }

    fn taken(pieces: &mut Pieces) -> Vec<u8> {
        let mut body = Vec::new();
        while let Ok(Piece::Part { bytes, .. }) = pieces.pieces.try_recv() {
            body.extend_from_slice(&bytes);
        }
        body
    }

    #[test]
    fn a_body_that_passes_again_is_handed_over_once() {
        let (mut mirroring, mut pieces, _) = begun(1);
        mirroring.pass(Some(&Bytes::from_static(b"ab")), false);
        mirroring.pass(Some(&Bytes::from_static(b"cd")), false);
        assert!(mirroring.again());
        mirroring.pass(Some(&Bytes::from_static(b"abc")), false);
        mirroring.pass(Some(&Bytes::from_static(b"def")), false);
        assert!(mirroring.again());
        mirroring.pass(Some(&Bytes::from_static(b"abcdefg")), true);
        assert_eq!(taken(&mut pieces[0]), b"abcdefg");
        assert_eq!(pieces[0].ending.try_recv(), Ok(Ending::Whole));
        assert!(mirroring.again());
        mirroring.pass(Some(&Bytes::from_static(b"abcdefg")), true);
        assert!(pieces[0].pieces.try_recv().is_err(), "whole is whole");
    }

    #[test]
    fn a_queue_holds_its_limit_and_what_is_over_cuts_that_copy_alone() {
        let (mut mirroring, mut pieces, meter) = begun(2);
        let part = Bytes::from(vec![7; 65536]);
        let mut kept = 0;
        for _ in 0..100 {
            mirroring.pass(Some(&part), false);
            kept += taken(&mut pieces[1]).len();
            assert!(meter.queued.load(Relaxed) <= QUEUE_LIMIT);
        }
        assert_eq!(pieces[0].ending.try_recv(), Ok(Ending::Cut(MirrorResult::DroppedQueue)));
        let held = taken(&mut pieces[0]).len();
        assert!((QUEUE_LIMIT - 2 * 65536..=QUEUE_LIMIT).contains(&held), "{held}");
        mirroring.pass(None, true);
        assert_eq!(pieces[1].ending.try_recv(), Ok(Ending::Whole));
        assert_eq!(kept, 100 * 65536);
        assert_eq!(meter.queued.load(Relaxed), 0, "all was given back");
    }

    #[test]
    fn tiny_pieces_are_bounded_too() {
        let (mut mirroring, mut pieces, _) = begun(1);
        let part = Bytes::from_static(b"x");
        let taken = (0..QUEUE_LIMIT).take_while(|_| {
            mirroring.pass(Some(&part), false);
            pieces[0].ending.try_recv().is_err()
        });
        assert!(taken.count() <= QUEUE_LIMIT / PIECE_COST);
    }

    #[test]
    fn a_worker_holds_its_limit() {
        let count = 2 * WORKER_QUEUE_LIMIT / QUEUE_LIMIT;
        let (mut mirroring, mut pieces, meter) = begun(count);
        let part = Bytes::from(vec![7; 1024 * 1024]);
        (0..3).for_each(|_| mirroring.pass(Some(&part), false));
        assert!(meter.queued.load(Relaxed) <= WORKER_QUEUE_LIMIT);
        let cut = pieces.iter_mut().filter_map(|pieces| pieces.ending.try_recv().ok()).collect::<Vec<_>>();
        assert!(!cut.is_empty() && cut.iter().all(|end| *end == Ending::Cut(MirrorResult::DroppedOverload)));
        drop((mirroring, pieces));
        assert_eq!(meter.queued.load(Relaxed), 0);
    }

    #[test]
    fn a_body_that_does_not_end_is_not_whole() {
        let (mut mirroring, mut pieces, _) = begun(1);
        mirroring.pass(Some(&Bytes::from_static(b"ab")), false);
        drop(mirroring);
        assert_eq!(pieces[0].ending.try_recv(), Err(oneshot::error::TryRecvError::Closed));
        assert!(matches!(pieces[0].pieces.try_recv(), Ok(Piece::Part { .. })));
        assert!(pieces[0].pieces.try_recv().is_err());
    }
}
