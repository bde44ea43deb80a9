//! What the settings say of the infrastructure, read before anything starts.

use std::fs;
use std::time::Duration;

use crate::cli::Failure;
use crate::config::{Config, Expose};
use crate::infra::{Exposure, Install, ServicePattern, Setup};

/// For how long a Service that nobody wishes for is kept.
const LINGER: Duration = Duration::from_secs(30);

/// The setup of the infrastructure, of the pod of this namespace and name; none for a process that stands alone.
///
/// # Errors
/// A Service template that cannot be read, or settings that do not go together.
pub fn setup(config: &Config, namespace: Option<String>, own_name: String) -> Result<Option<Setup>, Failure> {
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
    let Some(namespace) = namespace else {
        return wrong("--pod-selector selects pods of $POD_NAMESPACE, which is not set");
    };
    if config.admin_address.0.port() == 0 {
        return wrong("--pod-selector needs a port in --admin-address, at which each pod can be asked; found port 0");
    }
    let install =
        Install { namespace, selector: selector.to_owned(), own_name, admin_port: config.admin_address.0.port() };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Field, Layers};

    fn set_up(flags: &[(&str, &str)], namespace: Option<&str>) -> Result<Option<Setup>, Failure> {
        let mut layers = Layers::default();
        for (name, value) in flags {
            layers.set_flag(Field::named(name).unwrap(), value);
        }
        setup(&Config::resolve(&layers).unwrap(), namespace.map(str::to_owned), "own".to_owned())
    }

    #[test]
    fn settings_that_do_not_go_together_are_named() {
        let (service, selector) = (("expose", "service"), ("pod_selector", "app=x"));
        for (flags, namespace, told) in [
            (vec![service], Some("n"), "--expose service needs --pod-selector"),
            (vec![service, selector], None, "$POD_NAMESPACE"),
            (vec![service, selector, ("publish_addresses", "10.0.0.1")], Some("n"), "--publish-addresses goes with"),
            (vec![("service_template", "x.yaml")], Some("n"), "--service-template goes with --expose service"),
            (
                vec![service, selector, ("service_template", "/no/such")],
                Some("n"),
                "--service-template /no/such: No such",
            ),
            (vec![selector, ("admin_address", "127.0.0.1:0")], Some("n"), "found port 0"),
        ] {
            let Err(Failure::WrongUse(why)) = set_up(&flags, namespace) else { panic!("{flags:?}") };
            assert!(why.contains(told), "{flags:?}: {why}");
        }
    }

    #[test]
    fn a_process_without_other_pods_stands_alone() {
        assert!(set_up(&[], None).unwrap().is_none());
        let found =
            set_up(&[("pod_selector", "app=x"), ("publish_addresses", "10.0.0.1")], Some("n")).unwrap().unwrap();
        assert_eq!(found.exposure, Exposure::Given);
        assert_eq!(found.install.admin_port, 15_000);
        let found = set_up(&[("pod_selector", "app=x")], Some("n")).unwrap().unwrap();
        assert_eq!(found.exposure, Exposure::Nodes);
    }
}
