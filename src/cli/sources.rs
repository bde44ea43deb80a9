//! Objects, read once and translated: what `check`, `explain` and `routes` judge by.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde_json::Value;

use super::diagnostic::{Diagnostic, Severity, Told};
use super::{Failure, access, outcome};
use crate::api::ObjectRef;
use crate::config::{Config, Expose, Selector};
use crate::quickstart::Standins;
use crate::source::file::{Cause, FileProblem, FileSource};
use crate::source::kubernetes::once::Once;
use crate::source::kubernetes::{Access, Selectors};
use crate::source::manifest::{self, Keep};
use crate::store::{Batch, Change, Resources};
use crate::translate::{self, Binds, Exposure, Fleet, Origin, Settings, Translation};

/// Stands for the address of an echo backend, which has one only while it runs.
pub const UNSTARTED: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

/// What files or a cluster say, and what was made of it.
#[derive(Debug)]
pub struct Loaded {
    /// Made by the translator that serves traffic, as if every address could be bound.
    pub translation: Translation,
    /// Everything that is wrong or worth knowing, sorted by place.
    pub diagnostics: Vec<Diagnostic>,
    /// What could not be read, each with the reason: files and documents, or kinds of a cluster.
    pub unreadable: Vec<String>,
    /// Objects as they were written, in the order of their files; of a cluster, those that may have a status.
    pub written: Vec<(ObjectRef, Value)>,
    /// How many objects were read.
    pub objects: usize,
    /// Where they were read.
    pub read_from: ReadFrom,
}

/// Where objects were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadFrom {
    /// So many files.
    Files(usize),
    /// A cluster.
    Cluster,
}

impl Loaded {
    /// Reads files and folders.
    ///
    /// # Errors
    /// A path that does not exist or cannot be opened.
    pub fn read(paths: &[PathBuf], recursive: bool, config: &Config) -> Result<Loaded, Failure> {
        let opened = FileSource::open(paths.to_vec(), recursive, Keep::Text);
        let (source, mut files) = opened.map_err(|error| Failure::WrongUse(error.to_string()))?;
        let refusals = Standins::new().complete(&mut files.batch, &mut |_| Ok(UNSTARTED));

        let translation = translated(files.batch, &translating(config, Origin::Files, Binds::Assumed));
        let provenance = source.provenance();
        let told = Told {
            files: &files.problems,
            skipped: &files.skipped,
            refusals: &refusals,
            findings: &translation.findings,
            provenance: &provenance,
            once: &files.once,
        };
        let mut written: Vec<_> = files.texts.into_iter().collect();
        written.sort_by_cached_key(|(object, _)| provenance.find(object));
        Ok(Loaded {
            diagnostics: told.diagnostics(),
            unreadable: files.problems.iter().filter(|problem| is_unreadable(problem)).map(words).collect(),
            objects: written.len(),
            read_from: ReadFrom::Files(files.files),
            written,
            translation,
        })
    }

    /// Reads a cluster.
    ///
    /// # Errors
    /// No way to it, or no answer.
    pub fn of_cluster(access: &Access, config: &Config) -> Result<Loaded, Failure> {
        let selectors = selectors(config);
        let once = access::ask(access, async |connection| connection.read(&selectors).await)?;
        Ok(Loaded::of_once(once, config))
    }

    /// Translates a cluster that was read.
    pub fn of_once(once: Once, config: &Config) -> Loaded {
        let objects = once.batch.len();
        let translation = translated(once.batch, &translating(config, Origin::Kubernetes, Binds::Foreseen));
        let mut diagnostics: Vec<_> = translation.findings.iter().map(Diagnostic::of_finding).collect();
        diagnostics.extend(once.unreadable.into_iter().map(|(object, why)| {
            Diagnostic::new(object, Severity::Problem, "Unreadable", format!("cannot be read and is not served: {why}"))
        }));
        diagnostics.sort();
        Loaded {
            translation,
            diagnostics,
            unreadable: once.refused.iter().map(ToString::to_string).collect(),
            written: once.written.into_iter().collect(),
            objects,
            read_from: ReadFrom::Cluster,
        }
    }

    /// Whether everything could be read: what follows from the rest alone may not be what was meant.
    ///
    /// # Errors
    /// The files and lines that could not.
    pub fn refuse_unreadable(&self) -> Result<(), Failure> {
        if self.unreadable.is_empty() {
            return Ok(());
        }
        Err(Failure::WrongUse(format!("cannot be read: {}", self.unreadable.join("; "))))
    }

    /// Tells on standard error that the objects are not all in order: the answer is about what is left of them.
    pub fn warn(&self) {
        let problems = self.diagnostics.iter().filter(|d| d.severity == Severity::Problem).count();
        if problems > 0 {
            let them = if problems == 1 { "1 problem".to_owned() } else { format!("{problems} problems") };
            let (whose, flag) = match self.read_from {
                ReadFrom::Files(_) => ("the manifests have", ""),
                ReadFrom::Cluster => ("the objects have", " --kubernetes"),
            };
            outcome::aside(&format!("note: {whose} {them}; see: transom check{flag}"));
        }
    }
}

/// The settings of a translation.
pub fn translating(config: &Config, origin: Origin, binds: Binds) -> Settings {
    Settings {
        controller_name: config.controller_name.as_str().to_owned(),
        origin,
        binds,
        port_offset: config.port_offset.0,
        exposure: match (origin, config.expose) {
            (Origin::Files, _) | (_, Expose::Host) => Exposure::Host,
            (Origin::Kubernetes, Expose::Service) => Exposure::Service,
        },
        publish_addresses: config.publish_addresses.0.clone(),
        fleet: if config.pod_selector.given().is_some() && binds == Binds::Observed {
            Fleet::Shared
        } else {
            Fleet::Alone
        },
    }
}

/// Which objects of a cluster are seen.
pub fn selectors(config: &Config) -> Selectors {
    let text = |selector: &Selector| selector.given().map(str::to_owned);
    Selectors {
        gateway_classes: text(&config.gateway_class_selector),
        gateways: text(&config.gateway_selector),
        routes: text(&config.route_selector),
        namespaces: config.namespaces.0.clone(),
    }
}

fn translated(batch: Batch, settings: &Settings) -> Translation {
    let (mut resources, mut change) = (Resources::default(), Change::default());
    for event in batch {
        resources.apply(event, &mut change);
    }
    translate::translate(&resources, settings)
}

/// Whether nothing could be made of a file or document, not even whose it is: no YAML, no UTF-8, no permission.
fn is_unreadable(found: &FileProblem) -> bool {
    let problem = &found.problem;
    let nameless = problem.object.is_none() && problem.subject.is_empty() && problem.field.is_empty();
    match found.cause {
        Cause::Unreadable => true,
        Cause::Document => nameless && problem.severity == manifest::Severity::Refused,
        Cause::Duplicate => false,
    }
}

fn words(found: &FileProblem) -> String {
    format!("{}:{}: {}", found.problem.file.display(), found.problem.line, found.problem.message)
}
