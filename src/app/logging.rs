//! What is logged, from the settings: events on standard error, requests on standard output.

use http::HeaderName;

use crate::cli::Failure;
use crate::config::{self, Config, HeaderMode};
use crate::telemetry::access_log::{Filter, Format, HeaderRules, Options, Treatment};
use crate::telemetry::log;

/// Begins to log events.
///
/// # Errors
/// The log was set up before.
pub fn start(config: &Config) -> Result<(), Failure> {
    let format = match config.log_format {
        config::LogFormat::Text => log::Format::Text,
        config::LogFormat::Json => log::Format::Json,
    };
    // what kube says of a connection that fails we say too, with what it was for
    let filter = format!("{},kube_client::client::builder=off", config.log_level.as_str());
    let options = log::Options { format, filter };
    log::init(&options).map_err(|error| Failure::WrongUse(error.to_string()))
}

/// How requests are logged.
///
/// # Errors
/// Headers are to be logged where there is no place for them.
pub fn options(config: &Config) -> Result<Options, Failure> {
    let format = match config.access_log {
        config::AccessLog::Json => Format::Json,
        config::AccessLog::Common => Format::Common,
        config::AccessLog::Text => Format::Text,
        config::AccessLog::Off => Format::Off,
    };
    let named = config.access_log_headers.named.iter();
    let named = named.filter_map(|(name, mode)| Some((HeaderName::try_from(name).ok()?, treatment(*mode))));
    let headers = HeaderRules::new(named.collect(), treatment(config.access_log_headers.others));
    if format == Format::Common && !headers.is_empty() {
        let problem = "--access-log-headers: the format `common` has no place for headers; allowed with it: none";
        return Err(Failure::WrongUse(problem.to_owned()));
    }
    let filter = Filter {
        codes: config.access_log_status.0.clone(),
        duration: Some(config.access_log_min_duration.0).filter(|least| !least.is_zero()),
        sample: config.access_log_sample.value(),
    };
    Ok(Options { format, filter, headers })
}

fn treatment(mode: HeaderMode) -> Treatment {
    match mode {
        HeaderMode::Careful => Treatment::Careful,
        HeaderMode::Keep => Treatment::Keep,
        HeaderMode::Redact => Treatment::Redact,
        HeaderMode::Drop => Treatment::Drop,
    }
}
