//! What is known of the configuration at one moment, and following it: metrics, the log, `/config`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch as channel;

use super::certificates::Certificates;
use crate::admin::{ConfigDump, SourceProblem};
use crate::cli::diagnostic::{Diagnostic, Told};
use crate::controller::Report;
use crate::quickstart::Refusal;
use crate::snapshot::{Reader, Snapshot};
use crate::source::file::{FileProblem, Provenance, Skipped};
use crate::telemetry::{ProblemStage, SeriesLabels, Telemetry, few};
use crate::translate::{Finding, Severity};

/// Shared views of every part that has something to tell. Cheap to clone.
#[derive(Clone)]
pub struct View {
    /// The last translation.
    pub report: channel::Receiver<Report>,
    /// What is served.
    pub reader: Reader,
    /// What is wrong with files.
    pub problems: channel::Receiver<Arc<Vec<FileProblem>>>,
    /// Where objects stand.
    pub provenance: Provenance,
    /// Kinds that were skipped.
    pub skipped: Arc<Skipped>,
    /// Annotations that were refused.
    pub refusals: Arc<Mutex<Vec<Refusal>>>,
}

impl View {
    /// Everything there is to tell, with file and line.
    pub fn diagnostics(&self) -> Vec<Diagnostic> {
        let (problems, report) = (self.problems.borrow().clone(), self.report.borrow().clone());
        let refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Told {
            files: &problems,
            skipped: &self.skipped,
            refusals: &refusals,
            findings: &report.findings,
            provenance: &self.provenance,
            once: &BTreeMap::new(),
        }
        .diagnostics()
    }

    /// The state for `/config`.
    pub fn dump(&self) -> ConfigDump {
        let report = self.report.borrow().clone();
        let problems = self.problems.borrow().clone();
        let source_problems = problems.iter().map(|found| {
            let problem = &found.problem;
            let parts = [&problem.subject, &problem.field, &problem.message];
            let words: Vec<&str> = parts.into_iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
            SourceProblem { place: format!("{}:{}", problem.file.display(), problem.line), message: words.join(": ") }
        });
        ConfigDump {
            generation: report.generation,
            source_problems: source_problems.collect(),
            findings: report.findings,
            statuses: report.statuses,
            snapshot: self.reader.current(),
        }
    }
}

/// Keeps metrics true and logs each problem of the translator when it comes and when it goes.
pub async fn follow(mut view: View, telemetry: Telemetry) {
    let mut told: BTreeSet<Finding> = BTreeSet::new();
    let mut certificates = Certificates::default();
    loop {
        let changed = tokio::select! {
            changed = view.report.changed() => changed.map(|()| true),
            changed = view.problems.changed(), if view.problems.has_changed().is_ok() => changed.map(|()| false),
        };
        let Ok(translated) = changed else { return };
        telemetry.config().problems(ProblemStage::Source, view.problems.borrow_and_update().len());
        if !translated {
            continue;
        }
        let report = view.report.borrow_and_update().clone();
        for (kind, count) in &report.objects {
            telemetry.config().objects(kind, *count);
        }
        let problems: BTreeSet<Finding> =
            report.findings.iter().filter(|finding| finding.severity == Severity::Problem).cloned().collect();
        telemetry.config().problems(ProblemStage::Translate, problems.len());
        telemetry.config().published(report.generation, report.took);
        let served = Served::of(&view.reader.current());
        telemetry.retain_series(|labels| served.has(labels));
        certificates.follow(&view.reader.current(), &telemetry);
        let more = few(problems.difference(&told), |new| {
            let place = view.provenance.find(&new.object);
            let (file, line) = place.map_or((String::new(), 0), |at| (at.file.display().to_string(), at.line));
            tracing::warn!(object = %new.object, field = new.field, reason = new.reason, file, line, "{}", new.message);
        });
        if more > 0 {
            tracing::warn!(more, "and {more} more problems; `transom check` and /config name them all");
        }
        let more = few(told.difference(&problems), |gone| {
            tracing::info!(object = %gone.object, field = gone.field, reason = gone.reason, "no longer a problem");
        });
        if more > 0 {
            tracing::info!(more, "and {more} more are no longer a problem");
        }
        told = problems;
    }
}

/// The listeners and routes that series may speak of.
struct Served {
    listeners: BTreeSet<(String, String, String)>,
    routes: BTreeMap<(&'static str, String), BTreeSet<String>>,
}

impl Served {
    fn of(snapshot: &Snapshot) -> Served {
        let listeners = snapshot.binds.values().flat_map(|bind| &bind.listeners);
        let listeners = listeners.map(|l| (l.id.namespace.clone(), l.id.gateway.clone(), l.id.listener.clone()));
        let mut routes: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
        for rule in &snapshot.rules {
            let names = routes.entry((rule.route.kind, rule.route.namespace.clone())).or_default();
            if !names.contains(&rule.route.name) {
                names.insert(rule.route.name.clone());
            }
        }
        Served { listeners: listeners.collect(), routes }
    }

    /// No listener or no route is something that goes on to exist.
    fn has(&self, labels: &SeriesLabels<'_>) -> bool {
        let listener = (labels.gateway_namespace.to_string(), labels.gateway.to_string(), labels.listener.to_string());
        let known = |names: &BTreeSet<String>| names.contains(labels.route);
        (labels.gateway.is_empty() || self.listeners.contains(&listener))
            && (labels.route.is_empty()
                || self.routes.get(&(labels.route_kind, labels.route_namespace.to_string())).is_some_and(known))
    }
}
