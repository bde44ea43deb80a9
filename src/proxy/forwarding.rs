//! The way of one request to an upstream, over all its tries: which endpoint is tried, which were, how each try
//! ended. What a failure leads to is decided in [`retry`](super::retry); the endpoint is chosen by the upstream.

use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::deadline::Limit;
use super::retry::{Count, Facts, Failed, Verdict};
use super::upstream::{Choice, Nobody, Pick, Ticket, UpstreamLoad};
use crate::telemetry::{RetryCause, RetryMetrics};

/// Bytes of the account of tries in the log.
const ACCOUNT: usize = 512;

/// The way to an upstream.
#[derive(Debug)]
pub struct Forwarding {
    /// Where it goes.
    pub upstream: Arc<UpstreamLoad>,
    /// Hash of the request's key, where the upstream is balanced by one.
    pub hash: Option<u64>,
    /// Tries so far.
    pub count: Count,
    /// The longest pause before the next try.
    pub pause: Option<Duration>,
    /// Why there is a next try.
    pub cause: Option<RetryCause>,
    /// The running try.
    pub running: Try,
    /// Whether an answer was given up for another try.
    pub discarded_answer: bool,
    /// When the first try began.
    started: Option<Instant>,
    /// When something of the answer came last.
    heard: Option<Instant>,
    choice: Option<Choice>,
    last: Option<SocketAddr>,
    tried: Vec<SocketAddr>,
    account: String,
    failures: u32,
}

/// One try.
#[derive(Debug, Default)]
pub struct Try {
    /// When it began.
    pub began: Option<Instant>,
    /// When it ends.
    pub limit: Option<Limit>,
    /// Whether the limit comes before the connect timeout.
    pub limits_connect: bool,
    /// The status for which its answer is given up.
    pub given_up: Option<u16>,
    /// Whether it goes on over a connection that took its time to come.
    pub goes_on: bool,
    /// Whether an answer has come.
    pub answered: bool,
}

impl Forwarding {
    /// To `upstream`, of which an endpoint was chosen by `hash`.
    pub fn new(upstream: Arc<UpstreamLoad>, choice: Choice, hash: Option<u64>) -> Self {
        let last = Some(choice.address);
        Forwarding {
            upstream,
            hash,
            count: Count::default(),
            pause: None,
            cause: None,
            running: Try::default(),
            discarded_answer: false,
            started: None,
            heard: None,
            choice: Some(choice),
            last,
            tried: Vec::new(),
            account: String::new(),
            failures: 0,
        }
    }

    /// The endpoint of the next try: the one that was chosen, or another one after a failure. Once all were tried it
    /// starts over, with the one that failed last at the end.
    ///
    /// # Errors
    /// Why there is none.
    pub fn next_endpoint(&mut self, ticket: Ticket) -> Result<SocketAddr, Nobody> {
        let choice = match self.choice.take() {
            Some(chosen) => chosen,
            None => self.choose(ticket)?,
        };
        let address = choice.address;
        self.choice = Some(choice);
        self.last = Some(address);
        Ok(address)
    }

    /// The endpoint that is tried now.
    pub fn choice(&self) -> Option<&Choice> {
        self.choice.as_ref()
    }

    /// Something of an answer has come.
    pub fn heard(&mut self) {
        self.heard = Some(Instant::now());
    }

    /// The endpoint has answered, whatever the answer.
    pub fn answered(&mut self) {
        self.heard();
        if let Some(choice) = &self.choice {
            choice.answered();
            self.running.answered = true;
        }
    }

    /// The try has failed. `word` says how, for the log; `blame` whether the endpoint is told so.
    pub fn failed(&mut self, word: impl std::fmt::Display, blame: bool) {
        self.running = Try::default();
        self.heard = None;
        let Some(choice) = self.choice.take() else { return };
        if blame {
            choice.failed();
        }
        self.failures += 1;
        self.tried.retain(|address| *address != choice.address);
        self.tried.push(choice.address);
        if self.account.len() < ACCOUNT {
            let comma = if self.account.is_empty() { "" } else { ", " };
            let _ = write!(self.account, "{comma}{} {word}", choice.address);
        } else if !self.account.ends_with('…') {
            self.account.push_str(", …");
        }
    }

    /// Whether there is another try after this failed one, which then is counted and, if need be, waited for.
    pub fn judge(&mut self, failed: Failed, facts: Facts<'_>, metrics: &RetryMetrics) -> bool {
        let untried = self.upstream.has_other_than(&self.tried);
        match self.count.judge(failed, untried, facts) {
            Verdict::AtOnce => {}
            Verdict::After(longest) => self.pause = Some(longest),
            Verdict::Final(skip) => {
                if let Some(skip) = skip {
                    metrics.skipped(skip);
                }
                return false;
            }
        }
        self.cause = Some(failed.cause());
        true
    }

    /// Tries that failed.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Every failed try, for the log.
    pub fn account(&self) -> Option<String> {
        (self.failures > 0).then(|| format!("tried {}", self.account))
    }

    /// Ends the work in flight.
    pub fn done(&mut self) {
        self.choice = None;
    }

    /// The endpoint that was tried last.
    pub fn last_endpoint(&self) -> Option<SocketAddr> {
        self.last
    }

    /// From the first try to the last byte that came of an answer; to `end` where none came.
    pub fn elapsed(&self, end: Instant) -> Duration {
        self.started.map_or(Duration::ZERO, |started| self.heard.unwrap_or(end).saturating_duration_since(started))
    }

    /// A try begins.
    pub fn begins(&mut self, now: Instant) {
        self.started.get_or_insert(now);
    }

    fn choose(&mut self, ticket: Ticket) -> Result<Choice, Nobody> {
        let of = |tried: &[SocketAddr]| self.upstream.choose(Pick { ticket, hash: self.hash, tried });
        let untried = of(&self.tried);
        if untried.is_ok() || self.tried.is_empty() {
            return untried;
        }
        let last = self.tried.last().copied();
        self.tried.clear();
        self.tried.extend(last);
        of(&self.tried).or_else(|_| of(&[]))
    }
}
