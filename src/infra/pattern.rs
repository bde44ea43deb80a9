//! PURE. The pattern of each Gateway's Service, as `--service-template` names it: a YAML file, read strictly.

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde::Deserialize;
use serde_yaml::Value;

/// Every key that the file may have.
const KEYS: [&str; 6] =
    ["type", "annotations", "labels", "externalTrafficPolicy", "loadBalancerClass", "loadBalancerSourceRanges"];

/// What every Gateway's Service has, whatever its Gateway says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ServicePattern {
    /// `spec.type`.
    pub r#type: ServiceType,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// `spec.externalTrafficPolicy`.
    pub external_traffic_policy: Option<ExternalTrafficPolicy>,
    /// `spec.loadBalancerClass`.
    pub load_balancer_class: Option<String>,
    /// `spec.loadBalancerSourceRanges`.
    pub load_balancer_source_ranges: Vec<IpNet>,
}

/// Types that can stand in front of a Gateway.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum ServiceType {
    /// An address from outside the cluster.
    #[default]
    LoadBalancer,
    /// A port of every node.
    NodePort,
    /// An address inside the cluster.
    ClusterIP,
}

/// Where a node sends what comes from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum ExternalTrafficPolicy {
    /// To every pod.
    Cluster,
    /// To its own pods only, with the client's address kept.
    Local,
}

/// Why a file is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// No YAML, or a value that does not fit.
    #[error("{0}")]
    Syntax(String),
    /// A key that there is not.
    #[error("`{found}` is not known{}; allowed: {}", meant(.found), KEYS.join(", "))]
    Unknown {
        /// As written.
        found: String,
    },
    /// A key that the type of Service does not have.
    #[error("`{field}` goes with {allowed}; found `type: {}`", .found.as_str())]
    OfAnotherType {
        /// The key.
        field: &'static str,
        /// The type that the file asks for.
        found: ServiceType,
        /// Types that have it.
        allowed: &'static str,
    },
}

impl ServiceType {
    /// As the API writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            ServiceType::LoadBalancer => "LoadBalancer",
            ServiceType::NodePort => "NodePort",
            ServiceType::ClusterIP => "ClusterIP",
        }
    }
}

impl ExternalTrafficPolicy {
    /// As the API writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            ExternalTrafficPolicy::Cluster => "Cluster",
            ExternalTrafficPolicy::Local => "Local",
        }
    }
}

impl ServicePattern {
    /// Reads the file. An empty one is the default: a Service of type LoadBalancer and nothing else.
    ///
    /// # Errors
    /// A key or a value that is not allowed: nothing is left out in silence.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let syntax = |error: serde_yaml::Error| PatternError::Syntax(error.to_string());
        let mapping = match serde_yaml::from_str(text).map_err(syntax)? {
            Value::Null => return Ok(ServicePattern::default()),
            Value::Mapping(mapping) => mapping,
            _ => return Err(PatternError::Syntax(format!("a mapping is expected, with {}", KEYS.join(", ")))),
        };
        for key in mapping.keys() {
            let found = key.as_str().map_or_else(|| format!("{key:?}"), str::to_owned);
            if !KEYS.contains(&found.as_str()) {
                return Err(PatternError::Unknown { found });
            }
        }
        // from the text once more: then a message names the place
        let pattern: ServicePattern = serde_yaml::from_str(text).map_err(syntax)?;
        pattern.fits()?;
        Ok(pattern)
    }

    /// "externalTrafficPolicy may only be set when type is NodePort or LoadBalancer", and so on: the API server would
    /// refuse each Service, one by one.
    fn fits(&self) -> Result<(), PatternError> {
        let found = self.r#type;
        let balanced = found == ServiceType::LoadBalancer;
        let field = if found == ServiceType::ClusterIP && self.external_traffic_policy.is_some() {
            "externalTrafficPolicy"
        } else if !balanced && self.load_balancer_class.is_some() {
            "loadBalancerClass"
        } else if !balanced && !self.load_balancer_source_ranges.is_empty() {
            "loadBalancerSourceRanges"
        } else {
            return Ok(());
        };
        let allowed = match field {
            "externalTrafficPolicy" => "`type: LoadBalancer` or `type: NodePort`",
            _ => "`type: LoadBalancer`",
        };
        Err(PatternError::OfAnotherType { field, found, allowed })
    }
}

/// The key that was most likely meant.
fn meant(found: &str) -> String {
    let near = |key: &&&str| strsim::osa_distance(&found.to_lowercase(), &key.to_lowercase()) <= key.len() / 3;
    let nearest = KEYS.iter().filter(near).min_by_key(|key| strsim::osa_distance(found, key));
    nearest.map(|key| format!("; did you mean `{key}`?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_there_is_is_read() {
        let text = "type: LoadBalancer\nannotations: {a: true}\nlabels: {b: c}\nexternalTrafficPolicy: Local\n\
                    loadBalancerClass: x.example/y\nloadBalancerSourceRanges: [10.0.0.0/8, 'fd00::/8']\n";
        let pattern = ServicePattern::parse(text).unwrap();
        assert_eq!(pattern.annotations, BTreeMap::from([("a".to_owned(), "true".to_owned())]));
        assert_eq!(pattern.labels, BTreeMap::from([("b".to_owned(), "c".to_owned())]));
        assert_eq!(pattern.external_traffic_policy, Some(ExternalTrafficPolicy::Local));
        assert_eq!(pattern.load_balancer_class.as_deref(), Some("x.example/y"));
        assert_eq!(pattern.load_balancer_source_ranges.len(), 2);
        for empty in ["", "# nothing\n", "{}"] {
            assert_eq!(ServicePattern::parse(empty).unwrap(), ServicePattern::default());
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_in_words() {
        for (text, told) in [
            ("lables: {}", "`lables` is not known; did you mean `labels`?; allowed: type, "),
            ("selector: {}", "`selector` is not known; allowed: type, "),
            ("type: ExternalName", "unknown variant `ExternalName`"),
            ("annotations: {a: [b]}", "annotations.a: invalid type: sequence, expected a string at line 1 column 18"),
            ("loadBalancerSourceRanges: [10.0.0.0]", "loadBalancerSourceRanges"),
            ("- type", "a mapping is expected"),
            ("type: ClusterIP\nexternalTrafficPolicy: Local", "`externalTrafficPolicy` goes with"),
            ("type: NodePort\nloadBalancerClass: x", "goes with `type: LoadBalancer`; found `type: NodePort`"),
        ] {
            let error = ServicePattern::parse(text).unwrap_err().to_string();
            assert!(error.contains(told), "{text}: {error}");
        }
    }
}
