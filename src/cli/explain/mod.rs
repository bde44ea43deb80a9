//! `transom explain`: what would become of a request, and why.

mod answer;
mod remote;
mod request;
mod text;

use std::path::PathBuf;

use super::given::Given;
use super::outcome::{Form, json, show};
use super::paint::Paint;
use super::settings::TranslatingSettings;
use super::{Failure, Outcome};
use crate::admin::Question;
use crate::app::redirections;
use crate::snapshot::Snapshot;

pub use answer::{Explanation, Redirections};
pub use request::Asked;

/// Tell what would become of a request, and why: listener, hostname, rule, backends, and why each runner-up lost.
///
/// Nothing is sent. The routing table and the search are those that serve traffic.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "transom explain METHOD URL [-H 'name: value']… (-f PATH… [-R] | --kubernetes | --admin URL) [-o text|json]"
)]
pub struct Arguments {
    /// Method and URL; a URL without port means port 80 or 443, and a port may be the listener's or the bound one.
    #[arg(value_names = ["METHOD", "URL"], num_args = 0..=2)]
    request: Vec<String>,

    /// A header, as 'name: value'; 'Host: …' takes the place of the URL's host.
    #[arg(short = 'H', long = "header", value_name = "HEADER")]
    header: Vec<String>,

    #[command(flatten)]
    given: Given,

    /// Ask a running Transom by the address of its admin server, as http://127.0.0.1:15000.
    #[arg(long, value_name = "URL", conflicts_with_all = ["filename", "recursive", "kubernetes"])]
    admin: Option<String>,

    /// Form of the answer.
    #[arg(short, long, value_enum, default_value_t = Form::Text)]
    output: Form,

    #[command(flatten)]
    settings: TranslatingSettings,
}

pub(super) fn run(mut arguments: Arguments) -> Result<Outcome, Failure> {
    let given = &mut arguments.given;
    let request;
    (request, given.filename) = untangle(arguments.request, std::mem::take(&mut given.filename));
    let [method, url] = request.as_slice() else {
        let message = "no request to explain; give METHOD and URL, as: GET http://localhost/";
        return Err(Failure::WrongUse(message.to_owned()));
    };
    let asked = Asked::read(method, url, &arguments.header)?;
    let (explanation, loaded) = if let Some(admin) = &arguments.admin {
        (remote::ask(admin, method, url, &arguments.header)?, None)
    } else {
        let config = arguments.settings.resolve()?;
        let loaded = given.read(&config)?;
        loaded.refuse_unreadable()?;
        (Explanation::of(&loaded.translation.snapshot, &asked, &redirections(&config)), Some(loaded))
    };
    show(&match arguments.output {
        Form::Json => json(&explanation),
        Form::Text => explanation.text(Paint::for_stdout()),
    })?;
    if let Some(loaded) = loaded {
        loaded.warn();
    }
    Ok(Outcome::Fine)
}

/// Answers `/explain` of the admin server: the explanation as JSON, on what is served now.
///
/// # Errors
/// What is wrong with the question, in words.
pub fn explain(
    snapshot: &Snapshot,
    question: &Question,
    redirections: &Redirections,
) -> Result<serde_json::Value, String> {
    let Question { method, url, headers } = question;
    let asked = Asked::read(method, url, headers).map_err(|failure| failure.to_string())?;
    serde_json::to_value(Explanation::of(snapshot, &asked, redirections)).map_err(|error| error.to_string())
}

/// `-f` takes several paths, as a shell makes of `-f *.yaml`, and so takes a request that stands behind it too:
/// method and URL are given back to where they belong.
fn untangle(mut request: Vec<String>, mut paths: Vec<PathBuf>) -> (Vec<String>, Vec<PathBuf>) {
    while request.len() < 2 {
        let taken = match request.len() {
            0 => paths.iter().position(|path| is_method(path)).filter(|at| *at + 1 < paths.len()),
            _ => paths.iter().position(|path| path.to_string_lossy().contains("://")),
        };
        let Some(at) = taken else { break };
        request.push(paths.remove(at).to_string_lossy().into_owned());
        // the URL stood right behind the method
        if request.len() == 1 && at < paths.len() {
            request.push(paths.remove(at).to_string_lossy().into_owned());
        }
    }
    (request, paths)
}

fn is_method(path: &std::path::Path) -> bool {
    let text = path.to_string_lossy();
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_uppercase()) && !path.exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_behind_the_paths_is_found_again() {
        let owned = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        let paths = |words: &[&str]| words.iter().map(PathBuf::from).collect::<Vec<_>>();
        let whole = (owned(&["GET", "http://a/"]), paths(&["x.yaml", "y.yaml"]));
        assert_eq!(untangle(owned(&["GET", "http://a/"]), paths(&["x.yaml", "y.yaml"])), whole);
        assert_eq!(untangle(vec![], paths(&["x.yaml", "y.yaml", "GET", "http://a/"])), whole);
        assert_eq!(untangle(vec![], paths(&["x.yaml", "GET", "a.example/"])).0, owned(&["GET", "a.example/"]));
        assert_eq!(untangle(vec![], paths(&["x.yaml"])), (vec![], paths(&["x.yaml"])));
    }
}
