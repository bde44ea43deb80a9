//! `transom routes`: the routing table of each listener, in order of precedence.

use serde::Serialize;

use super::given::Given;
use super::outcome::{Form, json, show};
use super::paint::Paint;
use super::settings::TranslatingSettings;
use super::table::Table;
use super::view::{self, AnswerView, BackendView, FilterView, MatchView, RetryView, RouteView, RuleView, TimeoutsView};
use super::{Failure, Outcome};
use crate::snapshot::{Listener, Rule, RuleIndex, Snapshot};

/// Print the routing table in order of precedence: of two rows that take a request, the upper one answers it.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    given: Given,

    /// Form of the answer.
    #[arg(short, long, value_enum, default_value_t = Form::Text)]
    output: Form,

    #[command(flatten)]
    settings: TranslatingSettings,
}

/// One match of one listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// `namespace/name`.
    pub gateway: String,
    /// Name of the listener.
    pub listener: String,
    /// The address that is bound.
    #[serde(skip)]
    pub bound: String,
    /// Port that clients use.
    pub port: u16,
    /// The route's own hostname within the listener's; `*` for every host.
    pub hostname: String,
    /// What a request must be like.
    #[serde(rename = "match")]
    pub matches: MatchView,
    /// Whose rule.
    pub route: RouteView,
    /// Which rule.
    pub rule: RuleView,
    /// What is done on the way, in the order of the route.
    pub filters: Vec<FilterView>,
    /// Bounds in time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<TimeoutsView>,
    /// When it is sent again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryView>,
    /// Where it goes.
    pub backends: Vec<BackendView>,
    /// What the gateway answers by itself.
    pub answer: AnswerView,
    /// The filters, in one cell.
    #[serde(skip)]
    pub filters_cell: String,
    /// The backends, in one cell.
    #[serde(skip)]
    pub backends_cell: String,
}

pub(super) fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    let config = arguments.settings.resolve()?;
    let loaded = arguments.given.read(&config)?;
    loaded.refuse_unreadable()?;
    let rows = rows(&loaded.translation.snapshot);
    show(&match arguments.output {
        Form::Json => json(&rows),
        Form::Text if rows.is_empty() => "no routes\n".to_owned(),
        Form::Text => text(&rows, Paint::for_stdout()),
    })?;
    loaded.warn();
    Ok(Outcome::Fine)
}

/// Every match of every listener, by address, then listener, then precedence.
#[must_use]
pub fn rows(snapshot: &Snapshot) -> Vec<Row> {
    let mut rows = Vec::new();
    for (address, bind) in &snapshot.binds {
        for listener in &bind.listeners {
            rows.extend(of_listener(snapshot, &view::address(*address), listener));
        }
    }
    rows
}

fn of_listener(snapshot: &Snapshot, bound: &str, listener: &Listener) -> Vec<Row> {
    let row = |entry: &crate::router::RouteEntry<RuleIndex>| {
        let rule = snapshot.rule(entry.value)?;
        let hostname = match (&entry.hostname, &listener.hostname) {
            (Some(route), Some(own)) => route.intersection(own).or_else(|| Some(route.clone())),
            (route, own) => route.clone().or_else(|| own.clone()),
        };
        let backends = BackendView::all(snapshot, rule, &entry.matches);
        let answer = AnswerView::of(rule, &backends);
        let filters = FilterView::all(snapshot, rule, &entry.matches);
        Some(Row {
            gateway: format!("{}/{}", listener.id.namespace, listener.id.gateway),
            listener: listener.id.listener.clone(),
            bound: bound.to_owned(),
            port: listener.port,
            hostname: hostname.map_or_else(|| "*".to_owned(), |hostname| hostname.to_string()),
            matches: MatchView::of(&entry.matches),
            route: RouteView::of(rule),
            rule: RuleView::of(rule),
            timeouts: TimeoutsView::of(rule.timeouts),
            retry: rule.retry.as_ref().map(RetryView::of),
            filters_cell: filters_cell(&filters, &backends, rule),
            backends_cell: backends_cell(&filters, &backends, &answer, rule),
            filters,
            answer,
            backends,
        })
    };
    listener.routes.entries().filter_map(row).collect()
}

/// What is done on the way, in short: the rule's filters, its bounds, and the filters of its shares. A redirect is
/// all that its rule does, and stands where others have their backends.
fn filters_cell(filters: &[FilterView], backends: &[BackendView], rule: &Rule) -> String {
    let filters = filters.iter().filter(|filter| !matches!(filter, FilterView::RequestRedirect { .. }));
    let timeouts = (!rule.timeouts.is_none()).then(|| "timeouts".to_owned());
    let retry = rule.retry.as_ref().map(|_| "retry".to_owned());
    let shares = backends.iter().flat_map(|backend| &backend.filters);
    let mut shares: Vec<String> = shares.map(|filter| format!("{} (share)", filter.brief())).collect();
    shares.dedup();
    filters.map(FilterView::brief).chain(timeouts).chain(retry).chain(shares).collect::<Vec<_>>().join(", ")
}

fn backends_cell(filters: &[FilterView], backends: &[BackendView], answer: &AnswerView, rule: &Rule) -> String {
    let cell = view::cell(backends, answer, &rule.route.namespace);
    filters.iter().find_map(FilterView::leads_to).map_or_else(|| cell.clone(), |to| format!("{cell}: {to}"))
}

fn text(rows: &[Row], paint: Paint) -> String {
    let mut table = Table::new(&["LISTENER", "ADDRESS", "HOST", "PATH", "MATCH", "ROUTE", "FILTERS", "BACKENDS"]);
    for row in rows {
        table.push(vec![
            format!("{}/{}", row.gateway, row.listener),
            row.bound.clone(),
            row.hostname.clone(),
            row.matches.path(),
            row.matches.rest(),
            format!("{} {}", row.route, row.rule),
            row.filters_cell.clone(),
            row.backends_cell.clone(),
        ]);
    }
    table.without_empty("FILTERS").render(0, paint)
}
