//! How an upstream is treated, in the words of `UpstreamPolicy`. Only what differs from the defaults is told.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::timing::written;
use crate::snapshot::Policy;
use crate::snapshot::policy::{Balance, Ejection, HashKey, HealthCheck, Probe};

/// What a policy asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyView {
    load_balancing: BalanceView,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    health_check: Option<HealthCheckView>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    ejection: Option<EjectionView>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    timeouts: Option<ConnectionTimeoutsView>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    connections: Option<ConnectionsView>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
enum BalanceView {
    LeastRequest,
    RoundRobin,
    ConsistentHash { consistent_hash: HashView },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
enum HashView {
    Header { header: String },
    Cookie { cookie: String },
    ClientAddress,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct HealthCheckView {
    #[serde(flatten)]
    probe: ProbeView,
    interval: String,
    timeout: String,
    healthy_threshold: u32,
    unhealthy_threshold: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
enum ProbeView {
    #[serde(rename = "HTTP")]
    Http { http: AskedView },
    #[serde(rename = "TCP")]
    Tcp,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AskedView {
    path: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    host: Option<String>,
    expected_statuses: Vec<String>,
}

/// 0 failures never eject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct EjectionView {
    consecutive_failures: u32,
    base_time: String,
    max_time: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct ConnectionTimeoutsView {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    connect: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    idle: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ConnectionsView {
    max_per_endpoint: u32,
}

impl PolicyView {
    /// The view of a treatment; none if it is the default one.
    #[must_use]
    pub fn of(policy: &Policy) -> Option<PolicyView> {
        if policy.is_default() {
            return None;
        }
        let timeouts = ConnectionTimeoutsView {
            connect: policy.connect_timeout.map(written),
            idle: policy.idle_timeout.map(written),
        };
        Some(PolicyView {
            load_balancing: BalanceView::of(&policy.balance),
            health_check: policy.health.as_ref().map(HealthCheckView::of),
            ejection: (policy.ejection != Ejection::default()).then(|| EjectionView::of(&policy.ejection)),
            timeouts: (timeouts.connect.is_some() || timeouts.idle.is_some()).then_some(timeouts),
            connections: policy.max_connections.map(|most| ConnectionsView { max_per_endpoint: most.get() }),
        })
    }

    /// The policy, one thing a line.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let checks = self.health_check.as_ref().map(ToString::to_string);
        let ejection = self.ejection.as_ref().map(ToString::to_string);
        let timeout = |what: &str, time: Option<&String>| time.map(|time| format!("{what} timeout {time}"));
        let connect = timeout("connect", self.timeouts.as_ref().and_then(|t| t.connect.as_ref()));
        let idle = timeout("idle", self.timeouts.as_ref().and_then(|t| t.idle.as_ref()));
        let most = self.connections.map(|c| format!("at most {} connections to an endpoint", c.max_per_endpoint));
        let bounds = [connect, idle, most].into_iter().flatten().collect::<Vec<_>>().join(", ");
        let bounds = (!bounds.is_empty()).then_some(bounds);
        [Some(format!("UpstreamPolicy {}", self.load_balancing)), checks, ejection, bounds].into_iter().flatten()
    }
}

impl BalanceView {
    fn of(balance: &Balance) -> BalanceView {
        match balance {
            Balance::LeastRequest => BalanceView::LeastRequest,
            Balance::RoundRobin => BalanceView::RoundRobin,
            Balance::ConsistentHash(key) => BalanceView::ConsistentHash {
                consistent_hash: match key {
                    HashKey::Header(name) => HashView::Header { header: name.to_string() },
                    HashKey::Cookie(name) => HashView::Cookie { cookie: name.to_string() },
                    HashKey::ClientAddress => HashView::ClientAddress,
                },
            },
        }
    }
}

impl HealthCheckView {
    fn of(check: &HealthCheck) -> HealthCheckView {
        let status = |(first, last): &(u16, u16)| {
            if first == last { first.to_string() } else { format!("{first}-{last}") }
        };
        HealthCheckView {
            probe: match &check.probe {
                Probe::Tcp => ProbeView::Tcp,
                Probe::Http { path, host, expected } => ProbeView::Http {
                    http: AskedView {
                        path: path.to_string(),
                        host: host.as_deref().map(str::to_owned),
                        expected_statuses: expected.iter().map(status).collect(),
                    },
                },
            },
            interval: written(check.interval),
            timeout: written(check.timeout),
            healthy_threshold: check.healthy_threshold.get(),
            unhealthy_threshold: check.unhealthy_threshold.get(),
        }
    }
}

impl EjectionView {
    fn of(ejection: &Ejection) -> EjectionView {
        EjectionView {
            consecutive_failures: ejection.consecutive_failures.map_or(0, std::num::NonZeroU32::get),
            base_time: written(ejection.base_time),
            max_time: written(ejection.max_time),
        }
    }
}

impl fmt::Display for BalanceView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BalanceView::LeastRequest => f.write_str("LeastRequest"),
            BalanceView::RoundRobin => f.write_str("RoundRobin"),
            BalanceView::ConsistentHash { consistent_hash } => match consistent_hash {
                HashView::Header { header } => write!(f, "ConsistentHash by header {header}"),
                HashView::Cookie { cookie } => write!(f, "ConsistentHash by cookie {cookie}"),
                HashView::ClientAddress => f.write_str("ConsistentHash by client address"),
            },
        }
    }
}

impl fmt::Display for HealthCheckView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.probe {
            ProbeView::Tcp => f.write_str("health check TCP")?,
            ProbeView::Http { http } => {
                write!(f, "health check HTTP {}", http.path)?;
                if let Some(host) = &http.host {
                    write!(f, " of {host}")?;
                }
                write!(f, " expecting {}", http.expected_statuses.join(", "))?;
            }
        }
        write!(f, ", every {} within {}", self.interval, self.timeout)?;
        write!(f, ", healthy after {}, unhealthy after {}", self.healthy_threshold, self.unhealthy_threshold)
    }
}

impl fmt::Display for EjectionView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.consecutive_failures {
            0 => f.write_str("never ejected"),
            failures => {
                write!(f, "ejected after {failures} failures in a row, for {} to {}", self.base_time, self.max_time)
            }
        }
    }
}
