//! `transom status`: what controllers say of the Gateway API's objects in a cluster, ours and others'. Only reads.

mod overview;
mod text;

use clap::ValueEnum;
use jiff::Timestamp;

use super::access::{self, ClusterAccess};
use super::outcome::{aside, json, show};
use super::paint::Paint;
use super::{Failure, Outcome, yaml};
use crate::api::Kind;
use crate::source::kubernetes::Selectors;
use crate::source::kubernetes::once::{Listed, Refused};

use overview::Overview;
use text::Style;

/// Show Gateways, listeners, routes and policies of a cluster with what controllers say of them.
///
/// The API server is asked once and nothing is judged: entries stand as their controllers wrote them, of every
/// controller. Exit code 0 whenever there is an answer, however things stand (transom check --kubernetes is the judge);
/// 2 if the cluster cannot be reached or read.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Of every namespace.
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    all_namespaces: bool,

    /// Of this namespace; without it, of the context's.
    #[arg(short = 'n', long, value_name = "NAMESPACE")]
    namespace: Option<String>,

    /// Form of the answer.
    #[arg(short, long, value_enum, default_value_t = Form::Text)]
    output: Form,

    #[command(flatten)]
    access: ClusterAccess,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    Text,
    Json,
    Yaml,
}

pub(super) fn run(arguments: Arguments) -> Result<Outcome, Failure> {
    let Arguments { all_namespaces, namespace, output, access } = arguments;
    let (listed, place) = access::ask(&access.into(), async |connection| {
        let namespace = namespace.unwrap_or_else(|| connection.namespace.clone());
        let namespaces = if all_namespaces { Vec::new() } else { vec![namespace.clone()] };
        let kinds: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| kind.has_status()).collect();
        let listed = connection.list(&kinds, &Selectors { namespaces, ..Selectors::default() }).await?;
        let place = if all_namespaces { "the cluster".to_owned() } else { format!("namespace {namespace}") };
        Ok((listed, place))
    })?;
    let Listed { objects, missing, refused } = listed;
    if missing.contains(&Kind::Gateway) {
        let message = "the cluster does not have the Gateway API: no CRD of Gateways is installed";
        return Err(Failure::WrongUse(message.to_owned()));
    }
    let overview = Overview::of(&objects, all_namespaces);
    match output {
        Form::Json => show(&json(&overview))?,
        Form::Yaml => show(&yaml::document(&serde_json::to_value(&overview).unwrap_or_default()))?,
        Form::Text if overview.is_empty() => aside(&format!("no objects of the Gateway API in {place}")),
        Form::Text => {
            show(&overview.text(Style {
                namespaces: all_namespaces,
                paint: Paint::for_stdout(),
                now: Timestamp::now(),
            }))?;
        }
    }
    refuse(&refused)
}

/// Classes are beside the point of a namespace, and often only for the cluster's owners to read.
fn refuse(refused: &[Refused]) -> Result<Outcome, Failure> {
    let (classes, others): (Vec<&Refused>, Vec<&Refused>) = refused.iter().partition(|r| r.kind == Kind::GatewayClass);
    for refused in classes {
        aside(&format!("note: controllers of Gateways are not known: {}", refused.why));
    }
    if others.is_empty() {
        return Ok(Outcome::Fine);
    }
    let others: Vec<String> = others.into_iter().map(ToString::to_string).collect();
    Err(Failure::WrongUse(format!("not all could be read:\n{}", others.join("\n"))))
}
