//! `transom version`: what was built, from what, against what.

use serde::Serialize;

use super::outcome::{Form, show};
use super::{Failure, Outcome};

/// The version of the Gateway API whose objects are understood.
pub const GATEWAY_API_VERSION: &str = "v1.7.0";

/// Print version, git commit, build profile, Gateway API version and Pingora version.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Form of the answer.
    #[arg(short, long, value_enum, default_value_t = Form::Text)]
    output: Form,
}

/// The facts of this build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Version {
    /// Version of Transom.
    pub version: &'static str,
    /// Commit of the sources in full, or `unknown`.
    pub commit: &'static str,
    /// Build profile, `release` or `debug`.
    pub profile: &'static str,
    /// Version of the Gateway API.
    pub gateway_api: &'static str,
    /// Version of Pingora.
    pub pingora: &'static str,
}

impl Version {
    /// This build's.
    pub const CURRENT: Version = Version {
        version: env!("CARGO_PKG_VERSION"),
        commit: env!("BUILD_COMMIT"),
        profile: env!("BUILD_PROFILE"),
        gateway_api: GATEWAY_API_VERSION,
        pingora: env!("BUILD_PINGORA"),
    };
}

pub(super) fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    let Version { version, commit, profile, gateway_api, pingora } = Version::CURRENT;
    let text = match arguments.output {
        Form::Text => format!(
            "transom      {version}\ncommit       {commit}\nprofile      {profile}\n\
             gateway api  {gateway_api}\npingora      {pingora}\n"
        ),
        Form::Json => super::outcome::json(&Version::CURRENT),
    };
    show(&text)?;
    Ok(Outcome::Fine)
}
