//! What a request carries through the phases: read once, then only added to.

use std::sync::Arc;
use std::time::Instant;

use pingora::http::RequestHeader;

use super::client::Client;
use super::error::Failure;
pub use super::forwarding::Forwarding;
use super::listener::connection::Connection;
use super::mirror::Mirroring;
use super::record::Unrecorded;
use super::request_id::RequestId;
use super::serving::{ListenerIndex, View, WorkerState};
use super::settings::Settings;
use super::upstream::{Choice, headers};
use crate::snapshot::filter::{Cors, Mirror};
use crate::snapshot::{Action, Filter, Filters, Listener, Retry, Rule, RuleIndex, Target, Timeouts};
use crate::telemetry::{ListenerLabels, Reason, Recorder, RouteLabels, Traced};

/// A request on its way.
#[derive(Debug)]
pub struct RequestContext {
    /// When its header had been read.
    pub started: Instant,
    /// Why the answer is our own, once it is.
    pub reason: Reason,
    /// What went wrong, for the log.
    pub error: Option<String>,
    /// Who it is from, once that was looked at.
    pub client: Option<Client>,
    /// Its id.
    pub request_id: RequestId,
    /// Host as matched: lower case, without port.
    pub host: String,
    /// What was found for it.
    pub matched: Option<Matched>,
    /// Where it goes, if it goes anywhere.
    pub forwarding: Option<Forwarding>,
    /// Its spans, where it takes part in a trace.
    pub traced: Option<Box<Traced>>,
    /// Its copies for others.
    pub mirroring: Mirroring,
    /// Interim answers that came for it.
    pub interim: u8,
    /// What the last try that failed means to the client.
    pub failure: Option<Failure>,
    /// Status of the answer that is passed on; 0 before there is one.
    pub code: u16,
    /// When the last byte of its answer was sent, where that is not now.
    pub ended: Option<Instant>,
    /// Sees to it that it is recorded.
    pub unrecorded: Unrecorded,
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

/// Where a filter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// At the rule: for every request.
    Rule,
    /// At a share, below its rule: for what goes there.
    Share,
}

impl RequestContext {
    /// A request whose header was just read.
    pub fn new(recorder: Arc<Recorder>) -> Self {
        RequestContext {
            started: Instant::now(),
            reason: Reason::None,
            error: None,
            client: None,
            request_id: RequestId::Missing,
            host: String::new(),
            matched: None,
            forwarding: None,
            traced: None,
            mirroring: Mirroring::default(),
            interim: 0,
            failure: None,
            code: 0,
            ended: None,
            unrecorded: Unrecorded::new(recorder),
        }
    }

    /// Notes who it is from, and under which id it goes on.
    ///
    /// # Errors
    /// Never; the types ask for it.
    pub fn meet(
        &mut self,
        request: &mut RequestHeader,
        connection: &Connection,
        settings: &Settings,
        state: &WorkerState,
    ) -> pingora::Result<Client> {
        let client = headers::edit(request, |fields| Client::of(fields, connection, settings))?;
        self.client = Some(client);
        self.request_id = RequestId::of(&request.headers, || state.random());
        Ok(client)
    }

    /// Bounds in time of the rule that matched.
    pub fn timeouts(&self) -> Timeouts {
        self.matched.as_ref().and_then(Matched::rule).map_or(Timeouts::default(), |rule| rule.timeouts)
    }

    /// The endpoint that is tried now.
    pub fn choice(&self) -> Option<&Choice> {
        self.forwarding.as_ref()?.choice()
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

    /// When the rule has a request sent again.
    pub fn retry(&self) -> Option<&Retry> {
        self.rule()?.retry.as_ref()
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
        self.filters_to(Level::Share)
    }

    /// The rule's word on CORS.
    pub fn cors(&self) -> Option<&Cors> {
        self.rule()?.filters.cors()
    }

    /// All of it is as it was at this moment.
    pub fn view(&self) -> &Arc<View> {
        &self.view
    }

    /// The filters down to a level.
    pub fn filters_to(&self, level: Level) -> impl Iterator<Item = &Filter> {
        let of_share = if level == Level::Share { self.share_filters() } else { None };
        self.rule_filters().chain(of_share.into_iter().flatten())
    }

    /// Who gets a copy, and at which level that is said.
    pub fn mirrors(&self) -> impl Iterator<Item = (Level, &Mirror)> {
        let of_share = self.share_filters().into_iter().flatten().map(|filter| (Level::Share, filter));
        let all = self.rule_filters().map(|filter| (Level::Rule, filter)).chain(of_share);
        all.filter_map(|(level, filter)| match filter {
            Filter::Mirror(mirror) => Some((level, mirror)),
            _ => None,
        })
    }

    fn rule_filters(&self) -> impl Iterator<Item = &Filter> {
        self.rule().into_iter().flat_map(|rule| &rule.filters)
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
