//! What a request carries through the phases: read once, then only added to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::serving::{ListenerIndex, View};
use super::upstream::{Choice, Pick, Ticket, UpstreamLoad};
use crate::snapshot::filter::Cors;
use crate::snapshot::{Action, Filter, Filters, Listener, Rule, RuleIndex, Target};
use crate::telemetry::{ActiveRequest, ListenerLabels, Reason, RouteLabels};

/// Endpoints that are tried for one request.
const MAX_TRIES: usize = 3;

/// A request on its way.
#[derive(Debug)]
pub struct RequestContext {
    /// When its header had been read.
    pub started: Instant,
    /// Why the answer is our own, once it is.
    pub reason: Reason,
    /// What went wrong, for the log.
    pub error: Option<String>,
    /// Host as matched: lower case, without port.
    pub host: String,
    /// What was found for it.
    pub matched: Option<Matched>,
    /// Where it goes, if it goes anywhere.
    pub forwarding: Option<Forwarding>,
    /// Interim answers that came for it.
    pub interim: u8,
    /// Counts it as long as it lasts.
    _active: ActiveRequest,
}

/// The listener that took a request, the rule that matched, and the share that was drawn. The view is the one that
/// was current when the request was read; it is never looked up again.
#[derive(Debug)]
pub struct Matched {
    view: Arc<View>,
    listener: ListenerIndex,
    rule: Option<RuleIndex>,
    /// Length of the prefix of the match that won, where a filter needs it.
    prefix: Option<usize>,
    /// Position of the share that was drawn, if it has filters of its own.
    share: Option<usize>,
}

/// The way to an upstream.
#[derive(Debug)]
pub struct Forwarding {
    /// Where it goes.
    pub upstream: Arc<UpstreamLoad>,
    started: Instant,
    choice: Option<Choice>,
    last: Option<SocketAddr>,
    failed: Vec<SocketAddr>,
}

impl RequestContext {
    /// A request whose header was just read.
    pub fn new(active: ActiveRequest) -> Self {
        RequestContext {
            started: Instant::now(),
            reason: Reason::None,
            error: None,
            host: String::new(),
            matched: None,
            forwarding: None,
            interim: 0,
            _active: active,
        }
    }

    /// Names of the listener, for metrics and logs.
    pub fn listener_labels(&self) -> Option<ListenerLabels<'_>> {
        let id = &self.matched.as_ref()?.listener()?.id;
        Some(ListenerLabels { namespace: &id.namespace, gateway: &id.gateway, listener: &id.listener })
    }

    /// Names of the rule, for metrics and logs.
    pub fn route_labels(&self) -> Option<RouteLabels<'_>> {
        let rule = self.matched.as_ref()?.rule()?;
        Some(RouteLabels {
            kind: rule.route.kind,
            namespace: &rule.route.namespace,
            name: &rule.route.name,
            rule: rule.index,
        })
    }
}

impl Drop for RequestContext {
    fn drop(&mut self) {
        // A panic ends this request's task alone (decision 12); it must not do so in silence.
        if std::thread::panicking() {
            tracing::error!(host = %self.host, route = ?self.route_labels(), "a request panicked");
        }
    }
}

impl Matched {
    /// A listener took it.
    pub fn new(view: Arc<View>, listener: ListenerIndex) -> Self {
        Matched { view, listener, rule: None, prefix: None, share: None }
    }

    /// A rule matched, too.
    pub fn found(&mut self, rule: RuleIndex) {
        self.rule = Some(rule);
    }

    /// The listener.
    pub fn listener(&self) -> Option<&Listener> {
        self.view.listener(self.listener)
    }

    /// Notes the prefix of the match that won: how long it is, without a slash at its end.
    pub fn won_by(&mut self, prefix: usize) {
        self.prefix = Some(prefix);
    }

    /// A share with filters of its own was drawn: that of this position.
    pub fn drew(&mut self, share: usize) {
        self.share = Some(share);
    }

    /// The rule.
    pub fn rule(&self) -> Option<&Rule> {
        self.view.rule(self.rule?)
    }

    /// Length of the prefix of the match that won, without a slash at its end, if it was noted.
    pub fn prefix(&self) -> Option<usize> {
        self.prefix
    }

    /// Whether there is any filter.
    pub fn is_filtered(&self) -> bool {
        self.share.is_some() || self.rule().is_some_and(|rule| !rule.filters.is_empty())
    }

    /// The filters: those of the rule, then those of the share.
    pub fn filters(&self) -> impl Iterator<Item = &Filter> {
        self.rule().into_iter().flat_map(|rule| &rule.filters).chain(self.share_filters().into_iter().flatten())
    }

    /// The rule's word on CORS.
    pub fn cors(&self) -> Option<&Cors> {
        self.rule()?.filters.cors()
    }

    fn share_filters(&self) -> Option<&Filters> {
        match &self.rule()?.action {
            Action::Forward(shares) => match &shares.shares().get(self.share?)?.target {
                Target::Upstream(_, filters) => Some(filters),
                Target::Invalid { .. } => None,
            },
            Action::Redirect(_) | Action::Answer(_) => None,
        }
    }
}

impl Forwarding {
    /// To `upstream`, of which an endpoint was chosen.
    pub fn new(upstream: Arc<UpstreamLoad>, choice: Choice) -> Self {
        let last = Some(choice.address);
        Forwarding { upstream, started: Instant::now(), choice: Some(choice), last, failed: Vec::new() }
    }

    /// The endpoint of the next try: the one that was chosen, or another one after a failure.
    pub fn next_endpoint(&mut self, ticket: Ticket) -> Option<SocketAddr> {
        if self.choice.is_none() {
            self.choice = self.upstream.choose(Pick { ticket, hash: None, tried: &self.failed });
        }
        let address = self.choice.as_ref()?.address;
        self.last = Some(address);
        Some(address)
    }

    /// No connection to the endpoint could be had; whether another one is worth a try.
    pub fn connect_failed(&mut self) -> bool {
        if let Some(choice) = self.choice.take() {
            self.failed.push(choice.address);
        }
        self.failed.len() < MAX_TRIES && self.upstream.has_other_than(&self.failed)
    }

    /// A connection ended before the request was processed: the next try goes to another endpoint, if there is one.
    pub fn broke_off(&mut self) {
        if !self.connect_failed() {
            self.failed.clear();
        }
    }

    /// Ends the work in flight.
    pub fn done(&mut self) {
        self.choice = None;
    }

    /// The endpoint that was tried last.
    pub fn last_endpoint(&self) -> Option<SocketAddr> {
        self.last
    }

    /// Since an endpoint was first chosen.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}
