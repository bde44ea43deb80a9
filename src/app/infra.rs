//! What the settings say of the infrastructure, read before anything starts.

use std::fs;
use std::time::Duration;

use super::cluster::{own_name, own_namespace};
use crate::cli::Failure;
use crate::config::{Config, Expose};
use crate::infra::{Exposure, Install, ServicePattern, Setup};

/// For how long a Service that nobody wishes for is kept.
const LINGER: Duration = Duration::from_secs(30);

/// The setup of the infrastructure; none for a process that stands alone.
///
/// # Errors
/// A Service template that cannot be read, or settings that do not go together.
pub fn setup(config: &Config) -> Result<Option<Setup>, Failure> {
    let wrong = |why: &str| Err(Failure::WrongUse(why.to_owned()));
    let exposure = match (config.expose, config.service_template.given()) {
        (Expose::Host, Some(_)) => {
            return wrong("--service-template goes with --expose service; found --expose host");
        }
        (Expose::Host, None) if config.publish_addresses.0.is_empty() => Exposure::Nodes,
        (Expose::Host, None) => Exposure::Given,
        (Expose::Service, _) if !config.publish_addresses.0.is_empty() => {
            return wrong("--publish-addresses goes with --expose host; found --expose service");
        }
        (Expose::Service, _) => Exposure::Services(Box::new(pattern(config)?)),
    };
    let Some(selector) = config.pod_selector.given() else {
        return match exposure {
            Exposure::Services(_) => wrong(
                "--expose service needs --pod-selector: the Services of Gateways bring connections to those pods; found none",
            ),
            Exposure::Nodes | Exposure::Given => Ok(None),
        };
    };
    let Some(namespace) = own_namespace() else {
        return wrong("--pod-selector selects pods of $POD_NAMESPACE, which is not set");
    };
    let install = Install {
        namespace,
        selector: selector.to_owned(),
        own_name: own_name(),
        admin_port: config.admin_address.0.port(),
    };
    let namespaces = config.namespaces.0.clone();
    let controller_name = config.controller_name.as_str().to_owned();
    Ok(Some(Setup { controller_name, namespaces, install, exposure, linger: LINGER }))
}

fn pattern(config: &Config) -> Result<ServicePattern, Failure> {
    let Some(path) = config.service_template.given() else { return Ok(ServicePattern::default()) };
    let wrong = |why: String| Failure::WrongUse(format!("--service-template {}: {why}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    ServicePattern::parse(&text).map_err(|error| wrong(error.to_string()))
}
