//! `transom check --kubernetes`: what `transom run --kubernetes` with the same settings would meet, here and as this
//! user: CRDs, permissions, ports, classes, what is ignored, and then what the translator says of the objects.
//!
//! The cluster is asked in `source::kubernetes`; here its facts are judged and put into words.

mod bundle;
mod ports;
mod rights;
mod unseen;

use crate::api::Kind;
use crate::app;
use crate::cli::diagnostic::{Diagnostic, Severity};
use crate::cli::paint::Paint;
use crate::cli::sources::Loaded;
use crate::cli::{Failure, access, selectors};
use crate::config::{Config, Expose};
use crate::source::kubernetes::once::{Connection, Listed, Once, Unreachable};
use crate::source::kubernetes::permission::{Answer, Need, Reached, Undertaking, needs};
use crate::source::kubernetes::survey::Survey;
use crate::source::kubernetes::{Access, Selectors};

use unseen::{Objects, Sight};

/// A cluster that was looked over.
#[derive(Debug)]
pub struct Preflight {
    /// Its objects, with everything that is to be said of them and of the cluster.
    pub loaded: Loaded,
    head: Vec<(&'static str, String)>,
}

/// All answers of the API server.
struct Answers {
    survey: Survey,
    permissions: Vec<(Need, Answer)>,
    once: Once,
    /// Objects with a status, without selectors and namespaces, as far as they may be listed.
    all: Listed,
    server: String,
}

impl Preflight {
    /// Asks the cluster, and judges.
    ///
    /// # Errors
    /// No way to the cluster, or no answer.
    pub fn of(access: &Access, config: &Config) -> Result<Preflight, Failure> {
        let answers = access::ask(access, async |connection| ask(connection, config).await)?;
        Ok(judge(answers, config))
    }

    /// What the cluster is, in lines above everything that is wrong with it.
    pub fn head(&self, paint: Paint) -> String {
        let line = |(title, words): &(&str, String)| format!("{}  {words}\n", paint.strong(&format!("{title:<11}")));
        self.head.iter().map(line).collect()
    }
}

async fn ask(connection: &Connection, config: &Config) -> Result<Answers, Unreachable> {
    // a server that is away says so at the first question
    let survey = connection.survey().await?;
    let permissions = connection.may(needs(&undertaking(connection, config))).await?;
    let selectors = selectors(config);
    let once = connection.read(&selectors).await?;
    let all = if selectors == Selectors::default() {
        Listed::default()
    } else {
        let kinds: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| kind.has_status()).collect();
        connection.list(&kinds, &Selectors::default()).await?
    };
    Ok(Answers { survey, permissions, once, all, server: connection.server.clone() })
}

fn undertaking(connection: &Connection, config: &Config) -> Undertaking {
    // Services bring connections to pods: with them there are pods
    let fleet = config.pod_selector.given().is_some() || config.expose == Expose::Service;
    Undertaking {
        namespaces: config.namespaces.0.clone(),
        own_namespace: app::own_namespace().unwrap_or_else(|| connection.namespace.clone()),
        lease: app::lease_name(config.controller_name.as_str()),
        reached: match config.expose {
            Expose::Host if fleet && config.publish_addresses.0.is_empty() => Reached::ByNodes,
            Expose::Host => Reached::ByHost,
            Expose::Service => Reached::ByService,
        },
        fleet,
    }
}

fn judge(answers: Answers, config: &Config) -> Preflight {
    let Answers { survey, permissions, once, mut all, server } = answers;
    let user = survey.user.as_deref().unwrap_or("this user");
    let mut told = bundle::diagnose(&survey);
    told.extend(rights::diagnose(&permissions, user));
    let seen: Objects = once.written.clone();
    // without selectors, what is seen is all there is; what may not be listed everywhere is known at least as seen
    all.objects.extend(seen.clone());
    let selectors = selectors(config);
    let sight =
        Sight { all: &all.objects, seen: &seen, selectors: &selectors, controller: config.controller_name.as_str() };
    let whole = once.refused.is_empty();
    if whole {
        told.extend(sight.diagnose());
    }
    if let Some(first) = all.refused.first().filter(|_| whole) {
        let message = format!("what is ignored elsewhere is not known, since not all may be listed: {first}");
        told.push(Diagnostic::new("", Severity::Note, "Forbidden", message));
    }
    let head = head(&survey, &permissions, &server, &seen, config);
    let refused = once.refused.clone();
    let mut loaded = Loaded::of_once(once, config);
    if whole {
        if config.expose == Expose::Host {
            app::take_up_low_ports();
            told.extend(ports::diagnose(&loaded.translation.snapshot, &seen));
        }
    } else {
        // what the rest alone would mean is not what is meant
        loaded.diagnostics.clear();
        told.extend(refused.first().map(|first| {
            let mut kinds: Vec<String> = refused.iter().map(|refused| refused.kind.to_string()).collect();
            kinds.dedup();
            let (kinds, why) = (kinds.join(", "), &first.why);
            let message = format!("no object is judged, since not all may be read: {kinds}; the first: {why}");
            Diagnostic::new("", Severity::Problem, "Forbidden", message)
        }));
    }
    told.sort_by_key(|diagnostic| diagnostic.severity);
    told.append(&mut loaded.diagnostics);
    loaded.diagnostics = told;
    Preflight { loaded, head }
}

fn head(
    survey: &Survey,
    permissions: &[(Need, Answer)],
    server: &str,
    seen: &Objects,
    config: &Config,
) -> Vec<(&'static str, String)> {
    let allowed = permissions.iter().filter(|(_, answer)| *answer == Answer::Allowed).count();
    let version = survey.version.as_ref().map_or_else(String::new, |version| format!(", Kubernetes {version}"));
    let user = survey.user.as_ref().map_or_else(String::new, |user| format!(", asked as {user}"));
    let controller = config.controller_name.as_str();
    let ours = seen.iter().filter(|(object, class)| {
        object.kind == Kind::GatewayClass
            && class.pointer("/spec/controllerName").and_then(serde_json::Value::as_str) == Some(controller)
    });
    let ours: Vec<&str> = ours.map(|(object, _)| object.key.name.as_str()).collect();
    let ours = if ours.is_empty() { "none".to_owned() } else { ours.join(", ") };
    vec![
        ("Cluster", format!("{server}{version}{user}")),
        ("Gateway API", bundle::brief(survey)),
        ("Permissions", format!("{allowed} of {}, with --expose {}", permissions.len(), expose(config.expose))),
        ("Classes", format!("{ours} (controllerName {controller})")),
    ]
}

fn expose(expose: Expose) -> &'static str {
    match expose {
        Expose::Host => "host",
        Expose::Service => "service",
    }
}
