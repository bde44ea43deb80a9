//! Manifests, read once and translated: what `check`, `explain` and `routes` judge by.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde_json::Value;

use super::diagnostic::{Diagnostic, Severity, Told};
use super::{Failure, outcome};
use crate::api::ObjectRef;
use crate::config::{Config, Expose};
use crate::quickstart::Standins;
use crate::source::file::{Cause, FileProblem, FileSource, Provenance};
use crate::source::manifest::{self, Keep};
use crate::store::{Change, Event, Resources};
use crate::translate::{self, Binds, Exposure, Fleet, Origin, Settings, Translation};

/// Stands for the address of an echo backend, which has one only while it runs.
pub const UNSTARTED: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

/// What files say, and what was made of it.
#[derive(Debug)]
pub struct Loaded {
    /// Made by the translator that serves traffic, as if every address could be bound.
    pub translation: Translation,
    /// Everything that is wrong or worth knowing, sorted by place.
    pub diagnostics: Vec<Diagnostic>,
    /// Files and documents that could not be read, each with the reason.
    pub unreadable: Vec<String>,
    /// How many files were read.
    pub files: usize,
    written: BTreeMap<ObjectRef, Value>,
    provenance: Provenance,
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

        let mut resources = Resources::default();
        apply(&mut resources, files.batch);
        let translation = translate::translate(&resources, &translating(config, Origin::Files, Binds::Assumed));
        let provenance = source.provenance();
        let told = Told {
            files: &files.problems,
            skipped: &files.skipped,
            refusals: &refusals,
            findings: &translation.findings,
            provenance: &provenance,
            once: &files.once,
        };
        Ok(Loaded {
            diagnostics: told.diagnostics(),
            unreadable: files.problems.iter().filter(|problem| is_unreadable(problem)).map(words).collect(),
            files: files.files,
            written: files.texts,
            provenance,
            translation,
        })
    }

    /// Objects as they were written, in the order of their files.
    #[must_use]
    pub fn written(&self) -> Vec<(ObjectRef, Value)> {
        let mut all: Vec<_> = self.written.iter().collect();
        all.sort_by_key(|(object, _)| self.provenance.find(object));
        all.into_iter().map(|(object, value)| (object.clone(), value.clone())).collect()
    }

    /// How many objects were read.
    #[must_use]
    pub fn objects(&self) -> usize {
        self.written.len()
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
            outcome::aside(&format!("note: the manifests have {them}; see: transom check"));
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

fn apply(resources: &mut Resources, batch: Vec<Event>) {
    let mut change = Change::default();
    for event in batch {
        resources.apply(event, &mut change);
    }
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
