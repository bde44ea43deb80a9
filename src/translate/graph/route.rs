//! HTTPRoutes and GRPCRoutes: parents, hosts, and rules with what each one does.

use super::asked::{BackendAsked, MatchesAsked, RouteAsked, RuleAsked};
use super::attach::{ParentNode, Parents, RouteHosts, Target};
use super::backend::{Backends, UpstreamRef};
use super::filter::{self, FilterNode, FilterNodes};
use super::filter_fault::FilterList;
use super::gateway::GatewayNode;
use super::listener::parse_hostname;
use super::matching::{self, Patterns};
use super::problem::{BackendProblem, MatchFault, RefPlace, Remark, RouteProblem};
use super::reading::Reading;
use super::url::Prefixes;
use super::{Remarks, created, timing};
use crate::api::{BackendObjectReference, ObjectKey};
use crate::router::RouteMatch;
use crate::snapshot::{Redirect, Retry, Timeouts};

/// Largest weight of the specification.
const MAX_WEIGHT: i32 = 1_000_000;

/// A route with at least one parent of ours.
#[derive(Debug)]
pub struct RouteNode<'a> {
    /// Namespace and name.
    pub key: &'a ObjectKey,
    /// The object.
    pub asked: RouteAsked<'a>,
    /// Nanoseconds since 1970; `i128::MAX` if unknown.
    pub created: i128,
    /// Its hosts.
    pub hosts: RouteHosts,
    /// Its rules.
    pub rules: Vec<RuleNode<'a>>,
    /// parentRefs to Gateways of ours, in the order of the spec.
    pub parents: Vec<ParentNode<'a>>,
    /// What is not as asked.
    pub problems: Vec<RouteProblem<'a>>,
    /// backendRefs that do not resolve.
    pub backend_problems: Vec<BackendProblem<'a>>,
}

/// A rule.
#[derive(Debug)]
pub struct RuleNode<'a> {
    /// Its name.
    pub name: Option<&'a str>,
    /// Matches that could be compiled, with their position in the rule.
    pub matches: Vec<(u32, RouteMatch)>,
    /// What is done on the way, whatever share is drawn.
    pub filters: Vec<FilterNode>,
    /// Bounds in time.
    pub timeouts: Timeouts,
    /// When a request is sent again.
    pub retry: Option<Retry>,
    /// What it does.
    pub outcome: RuleOutcome<'a>,
}

/// What a rule does.
#[derive(Debug)]
pub enum RuleOutcome<'a> {
    /// Forwards by weight: a share for each backendRef.
    Forward(Vec<ShareNode<'a>>),
    /// Redirects.
    Redirect(Redirect),
    /// Answers 500, and does nothing on the way: something of it is not served or not understood.
    Dropped,
}

/// A backendRef's part of the traffic.
#[derive(Debug)]
pub struct ShareNode<'a> {
    /// The backend as the route names it.
    pub reference: &'a BackendObjectReference,
    /// 0 to 1,000,000.
    pub weight: u32,
    /// Where it goes.
    pub target: ShareTarget,
}

/// Where a share goes.
#[derive(Debug)]
pub enum ShareTarget {
    /// To an upstream, through these filters.
    Upstream(UpstreamRef, Vec<FilterNode>),
    /// Nowhere: the reference does not resolve. 500.
    Unresolved,
    /// Nowhere: a filter of the backendRef cannot be served as asked. 500. Looked at first, so that what is said
    /// of the route does not hang on whether a backend is there.
    Refused,
}

/// What a route is worth as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteVerdict {
    /// Nothing is wrong but perhaps references.
    Valid,
    /// Some rule or share is not as asked.
    Partial,
    /// No rule, or no host, is as asked.
    Invalid,
}

impl RouteNode<'_> {
    /// What the route is worth as a whole.
    pub fn verdict(&self) -> RouteVerdict {
        let no_rule =
            !self.rules.is_empty() && self.rules.iter().all(|rule| matches!(rule.outcome, RuleOutcome::Dropped));
        if self.problems.is_empty() {
            RouteVerdict::Valid
        } else if no_rule || !self.hosts.any() {
            RouteVerdict::Invalid
        } else {
            RouteVerdict::Partial
        }
    }
}

/// Resolves one route; `None` if no parent is ours.
pub fn route<'a>(
    (key, asked): (&'a ObjectKey, RouteAsked<'a>),
    parents: &Parents<'a>,
    gateways: &mut [GatewayNode<'a>],
    resolving: &mut Resolving<'_, 'a>,
) -> Option<RouteNode<'a>> {
    let remarks = &mut *resolving.remarks;
    let of = (asked.kind(), key);
    if let Some(scope) = asked.default_gateways().filter(|scope| !matches!(*scope, "" | "None")) {
        remarks.add(of.0, key, Remark::DefaultGateways(scope));
    }
    if asked.parent_refs().is_empty() {
        remarks.add(of.0, key, Remark::NoParents);
    }
    let mut ours = Vec::new();
    for (index, reference) in asked.parent_refs().iter().enumerate() {
        if let Target::Ours(gateway) = parents.find(of, index, reference, remarks) {
            ours.push((index, reference, gateway));
        }
    }
    if ours.is_empty() {
        return None;
    }

    let mut reading = Reading {
        kind: asked.kind(),
        key,
        patterns: resolving.patterns,
        backends: resolving.backends,
        remarks,
        problems: Vec::new(),
        backend_problems: Vec::new(),
    };
    let hosts = read_hosts(asked.hostnames(), &mut reading.problems);
    let rules = asked.rules().enumerate().map(|(index, rule)| read_rule(index, rule, &mut reading)).collect();
    let Reading { problems, backend_problems, .. } = reading;
    let attached = ours.into_iter().filter_map(|(position, reference, gateway)| {
        let node = gateways.get(gateway)?;
        let outcome = parents.attach(node, reference, asked.kind(), &key.namespace, &hosts);
        Some(ParentNode { reference, position, gateway, outcome })
    });
    let attached: Vec<_> = attached.collect();
    let created = created(asked.metadata());
    let node = RouteNode { key, asked, created, hosts, rules, parents: attached, problems, backend_problems };
    if node.verdict() != RouteVerdict::Invalid {
        count(&node.parents, gateways);
    }
    Some(node)
}

/// What resolving a rule needs and adds to.
pub struct Resolving<'r, 'a> {
    /// Compiled regular expressions.
    pub patterns: &'r mut Patterns<'a>,
    /// Resolved backends.
    pub backends: &'r mut Backends<'a>,
    /// Things to say.
    pub remarks: &'r mut Remarks<'a>,
}

/// Spec, attachedRoutes: routes "with the Accepted condition set to True that have been attached to this
/// Listener", whatever the listener's own conditions. Through two parentRefs to one listener a route counts once.
fn count(parents: &[ParentNode<'_>], gateways: &mut [GatewayNode<'_>]) {
    let taken = parents.iter().flat_map(|p| p.outcome.iter().flatten().map(|listener| (p.gateway, *listener)));
    let mut taken: Vec<_> = taken.collect();
    taken.sort_unstable();
    taken.dedup();
    for (gateway, listener) in taken {
        if let Some(node) = gateways.get_mut(gateway).and_then(|node| node.listeners.get_mut(listener)) {
            node.attached_routes = node.attached_routes.saturating_add(1);
        }
    }
}

fn read_hosts<'a>(asked: &'a [String], problems: &mut Vec<RouteProblem<'a>>) -> RouteHosts {
    if asked.is_empty() {
        return RouteHosts::Any;
    }
    let mut hosts = Vec::with_capacity(asked.len());
    for (index, text) in asked.iter().enumerate() {
        match parse_hostname(text) {
            Some(host) if hosts.contains(&host) => {}
            Some(host) => hosts.push(host),
            None => problems.push(RouteProblem::Hostname { index, found: text }),
        }
    }
    RouteHosts::Listed(hosts)
}

fn read_rule<'a>(index: usize, asked: RuleAsked<'a>, reading: &mut Reading<'_, 'a>) -> RuleNode<'a> {
    let before = reading.problems.len();
    let matches = read_matches(index, asked.matches(), &mut reading.problems, reading.patterns);
    let prefixes = Prefixes::of(asked.matches());
    let list = FilterList { rule: index, backend: None };
    let forwards = asked.backends().next().is_some();
    let FilterNodes { filters, redirect } = filter::read(asked.filters(), list, forwards, prefixes, reading);
    let timeouts = timing::timeouts(index, asked.timeouts(), &mut reading.problems);
    let retry = timing::retry(index, asked.retry(), &mut reading.problems);
    if asked.session_persistence() {
        reading.problems.push(RouteProblem::SessionPersistence { rule: index });
    }

    let backends = asked.backends().enumerate();
    let shares: Vec<_> =
        backends.map(|(position, backend)| read_share((index, position), backend, prefixes, reading)).collect();
    let mut weighted = shares.iter().filter(|share| share.weight > 0).peekable();
    let all_refused = weighted.peek().is_some() && weighted.all(|share| matches!(share.target, ShareTarget::Refused));
    let dropped = all_refused || reading.problems.iter().skip(before).any(RouteProblem::drops_rule);
    let name = asked.name();
    if dropped {
        let (filters, timeouts) = (Vec::new(), Timeouts::default());
        return RuleNode { name, matches, filters, timeouts, retry: None, outcome: RuleOutcome::Dropped };
    }
    let outcome = redirect.map_or(RuleOutcome::Forward(shares), RuleOutcome::Redirect);
    RuleNode { name, matches, filters, timeouts, retry, outcome }
}

fn read_share<'a>(
    (rule, index): (usize, usize),
    asked: BackendAsked<'a>,
    prefixes: Prefixes,
    reading: &mut Reading<'_, 'a>,
) -> ShareNode<'a> {
    let reference = &asked.backend.object;
    let upstream = reading.backend(RefPlace::Backend { rule, index }, reference);
    let before = reading.problems.len();
    let list = FilterList { rule, backend: Some(index) };
    let FilterNodes { filters, .. } = filter::read(asked.filters, list, false, prefixes, reading);
    let target = match upstream {
        _ if reading.problems.len() > before => ShareTarget::Refused,
        Some(upstream) => ShareTarget::Upstream(upstream, filters),
        None => ShareTarget::Unresolved,
    };
    let found = asked.backend.weight;
    if !(0..=MAX_WEIGHT).contains(&found) {
        reading.problems.push(RouteProblem::Weight { rule, backend: index, found });
    }
    ShareNode { reference, weight: u32::try_from(found).unwrap_or(0), target }
}

/// "If no matches are specified, the default is a prefix path match on "/"", or, of a GRPCRoute, "the implementation
/// MUST match every gRPC request".
fn read_matches<'a>(
    rule: usize,
    asked: MatchesAsked<'a>,
    problems: &mut Vec<RouteProblem<'a>>,
    patterns: &mut Patterns<'a>,
) -> Vec<(u32, RouteMatch)> {
    let mut matches = Vec::with_capacity(asked.len().max(1));
    let mut add = |index: u32, compiled: Result<RouteMatch, MatchFault<'a>>| match compiled {
        Ok(compiled) => matches.push((index, compiled)),
        Err(fault) => problems.push(RouteProblem::Match { rule, index: index as usize, fault }),
    };
    match asked {
        MatchesAsked::Http([]) => add(0, Ok(RouteMatch::default())),
        MatchesAsked::Grpc([]) => add(0, Ok(matching::every_call())),
        MatchesAsked::Http(asked) => (0..).zip(asked).for_each(|(index, one)| add(index, patterns.route_match(one))),
        MatchesAsked::Grpc(asked) => (0..).zip(asked).for_each(|(index, one)| add(index, patterns.call_match(one))),
    }
    matches
}
