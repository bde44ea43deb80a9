//! The values of an UpstreamPolicy, parsed: what the data plane takes, or everything that is wrong with them.
//!
//! The schema has refused most of this before; an object that came by another way meets the same rules here. Not known
//! here: what a policy is for, and whether it is in force.

use std::num::NonZeroU32;
use std::sync::LazyLock;
use std::time::Duration;

use http::HeaderName;

use super::duration;
use super::problem::PolicyProblem;
use crate::api::upstream_policy::{
    self as api, ConsistentHash, ConsistentHashType, HealthCheckType, HttpHealthCheck, LoadBalancingType,
    UpstreamPolicySpec,
};
use crate::snapshot::policy::{Balance, Ejection, HashKey, HealthCheck, Policy, Probe};

/// The shortest interval of health checks.
const LEAST_INTERVAL: Duration = Duration::from_millis(100);
/// The timeout of a health check where none is given and the interval is not shorter.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Reads what a policy asks for; not its targets, but that there are some.
pub fn read(spec: &UpstreamPolicySpec) -> Result<Policy, Vec<PolicyProblem<'_>>> {
    let mut reading = Reading { problems: Vec::new() };
    if spec.target_refs.is_empty() {
        reading.problems.push(PolicyProblem::NoTargets);
    }
    let timeouts = spec.timeouts.as_ref();
    let most = spec.connections.as_ref().and_then(|connections| connections.max_per_endpoint);
    let policy = Policy {
        balance: spec.load_balancing.as_ref().and_then(|asked| reading.balance(asked)).unwrap_or_default(),
        health: spec.health_check.as_ref().and_then(|asked| reading.health(asked)),
        ejection: spec.ejection.as_ref().map(|asked| reading.ejection(asked)).unwrap_or_default(),
        connect_timeout: reading.some_time("timeouts.connect", timeouts.and_then(|asked| asked.connect.as_deref())),
        idle_timeout: reading.some_time("timeouts.idle", timeouts.and_then(|asked| asked.idle.as_deref())),
        max_connections: most.and_then(|most| reading.count("connections.maxPerEndpoint", most)),
    };
    if reading.problems.is_empty() { Ok(policy) } else { Err(reading.problems) }
}

/// Reads a spec and collects what is wrong with it. What is `None` where a value was given has its problem.
struct Reading<'a> {
    problems: Vec<PolicyProblem<'a>>,
}

impl<'a> Reading<'a> {
    fn balance(&mut self, asked: &'a api::LoadBalancing) -> Option<Balance> {
        let key = match (&asked.kind, &asked.consistent_hash) {
            (LoadBalancingType::ConsistentHash, Some(hash)) => self.hash_key(hash),
            (LoadBalancingType::ConsistentHash, None) => {
                let field = "loadBalancing.consistentHash";
                self.problems.push(PolicyProblem::MemberMissing { field, of: "ConsistentHash" });
                None
            }
            (other, Some(_)) => {
                let (field, found) = ("loadBalancing.consistentHash", other.as_str());
                self.problems.push(PolicyProblem::MemberOfOther { field, of: "ConsistentHash", found });
                None
            }
            (_, None) => None,
        };
        match &asked.kind {
            LoadBalancingType::LeastRequest => Some(Balance::LeastRequest),
            LoadBalancingType::RoundRobin => Some(Balance::RoundRobin),
            LoadBalancingType::ConsistentHash => key.map(Balance::ConsistentHash),
            LoadBalancingType::Other(found) => {
                self.text("loadBalancing.type", found, "LeastRequest, RoundRobin, ConsistentHash")
            }
        }
    }

    fn hash_key(&mut self, asked: &'a ConsistentHash) -> Option<HashKey> {
        const HEADER: &str = "loadBalancing.consistentHash.header";
        const COOKIE: &str = "loadBalancing.consistentHash.cookie";
        const TOKEN: &str = "letters, digits and !#$%&'*+-.^_`|~";
        let kind = &asked.kind;
        let header = self.member(kind, "Header", HEADER, asked.header.as_deref());
        let cookie = self.member(kind, "Cookie", COOKIE, asked.cookie.as_deref());
        match kind {
            ConsistentHashType::Header => match HeaderName::from_bytes(header?.as_bytes()) {
                Ok(name) => Some(HashKey::Header(name)),
                Err(_) => self.text(HEADER, header?, TOKEN),
            },
            // RFC 6265, section 4.1.1: "cookie-name = token", which the name of a header is too.
            ConsistentHashType::Cookie => match HeaderName::from_bytes(cookie?.as_bytes()) {
                Ok(_) => Some(HashKey::Cookie(cookie?.into())),
                Err(_) => self.text(COOKIE, cookie?, TOKEN),
            },
            ConsistentHashType::ClientAddress => Some(HashKey::ClientAddress),
            ConsistentHashType::Other(found) => {
                self.text("loadBalancing.consistentHash.type", found, "Header, Cookie, ClientAddress")
            }
        }
    }

    /// The member of the union that the type `of` needs, and that no other type has.
    fn member(
        &mut self,
        kind: &'a ConsistentHashType,
        of: &'static str,
        field: &'static str,
        value: Option<&'a str>,
    ) -> Option<&'a str> {
        let found = kind.as_str();
        match value {
            None if found == of => self.problems.push(PolicyProblem::MemberMissing { field, of }),
            Some(_) if found != of => self.problems.push(PolicyProblem::MemberOfOther { field, of, found }),
            _ => {}
        }
        value.filter(|_| found == of)
    }

    fn health(&mut self, asked: &'a api::HealthCheck) -> Option<HealthCheck> {
        let interval = self.interval(&asked.interval);
        let timeout = asked.timeout.as_deref();
        let given = self.some_time("healthCheck.timeout", timeout);
        if let (Some(interval), Some(given), Some(found)) = (interval, given, timeout)
            && given > interval
        {
            let (field, other, bound) = ("healthCheck.timeout", "interval", &asked.interval);
            self.problems.push(PolicyProblem::LongerThan { field, found, other, bound });
        }
        let probe = match &asked.kind {
            HealthCheckType::Http => self.http(asked.http.as_ref()),
            HealthCheckType::Tcp => Some(Probe::Tcp),
            HealthCheckType::Other(found) => self.text("healthCheck.type", found, "HTTP, TCP"),
        };
        if asked.http.is_some() && asked.kind != HealthCheckType::Http {
            let (field, found) = ("healthCheck.http", asked.kind.as_str());
            self.problems.push(PolicyProblem::MemberOfOther { field, of: "HTTP", found });
        }
        let healthy = self.count("healthCheck.healthyThreshold", asked.healthy_threshold);
        let unhealthy = self.count("healthCheck.unhealthyThreshold", asked.unhealthy_threshold);
        Some(HealthCheck {
            probe: probe?,
            interval: interval?,
            timeout: given.unwrap_or(TIMEOUT).min(interval?),
            healthy_threshold: healthy?,
            unhealthy_threshold: unhealthy?,
        })
    }

    fn interval(&mut self, found: &'a str) -> Option<Duration> {
        let field = "healthCheck.interval";
        match duration::parse(found) {
            Some(interval) if interval >= LEAST_INTERVAL => return Some(interval),
            Some(_) => self.problems.push(PolicyProblem::TooShort { field, found, allowed: "at least 100ms" }),
            None => self.problems.push(PolicyProblem::Duration { field, found }),
        }
        None
    }

    fn http(&mut self, asked: Option<&'a HttpHealthCheck>) -> Option<Probe> {
        static USUAL: LazyLock<HttpHealthCheck> = LazyLock::new(HttpHealthCheck::default);
        let asked = asked.unwrap_or_else(|| &USUAL);
        let before = self.problems.len();
        if !is_path(&asked.path) {
            let allowed = "an absolute path of printable ASCII without blanks and #";
            self.text::<()>("healthCheck.http.path", &asked.path, allowed);
        }
        if let Some(host) = asked.host.as_deref().filter(|host| !is_host(host)) {
            self.text::<()>("healthCheck.http.host", host, "a DNS name in lower case or an IPv4 address");
        }
        if asked.expected_statuses.is_empty() {
            self.problems.push(PolicyProblem::NoStatus);
        }
        let mut expected = Vec::with_capacity(asked.expected_statuses.len());
        for (index, found) in asked.expected_statuses.iter().enumerate() {
            match statuses(found) {
                Some(range) => expected.push(range),
                None => self.problems.push(PolicyProblem::Status { index, found }),
            }
        }
        (self.problems.len() == before).then(|| Probe::Http {
            path: asked.path.as_str().into(),
            host: asked.host.as_deref().map(Into::into),
            expected: expected.into(),
        })
    }

    fn ejection(&mut self, asked: &'a api::Ejection) -> Ejection {
        let usual = Ejection::default();
        let (base, most) = (asked.base_time.as_deref(), asked.max_time.as_deref());
        let base_time = self.some_time("ejection.baseTime", base);
        let max_time = self.some_time("ejection.maxTime", most);
        if let (Some(base_time), Some(max_time)) = (base_time, max_time)
            && base_time > max_time
        {
            let (field, other) = ("ejection.baseTime", "maxTime");
            let (found, bound) = (base.unwrap_or_default(), most.unwrap_or_default());
            self.problems.push(PolicyProblem::LongerThan { field, found, other, bound });
        }
        let failures = asked.consecutive_failures;
        if failures < 0 {
            let field = "ejection.consecutiveFailures";
            self.problems.push(PolicyProblem::TooSmall { field, found: failures, least: 0 });
        }
        Ejection {
            consecutive_failures: u32::try_from(failures).ok().and_then(NonZeroU32::new),
            base_time: base_time.unwrap_or_else(|| max_time.map_or(usual.base_time, |most| usual.base_time.min(most))),
            max_time: max_time.unwrap_or_else(|| base_time.map_or(usual.max_time, |base| usual.max_time.max(base))),
        }
    }

    /// A duration of more than nothing.
    fn some_time(&mut self, field: &'static str, found: Option<&'a str>) -> Option<Duration> {
        let found = found?;
        match duration::parse(found) {
            Some(time) if !time.is_zero() => return Some(time),
            Some(_) => self.problems.push(PolicyProblem::TooShort { field, found, allowed: "more than 0s" }),
            None => self.problems.push(PolicyProblem::Duration { field, found }),
        }
        None
    }

    /// A number of at least 1.
    fn count(&mut self, field: &'static str, found: i32) -> Option<NonZeroU32> {
        let count = u32::try_from(found).ok().and_then(NonZeroU32::new);
        if count.is_none() {
            self.problems.push(PolicyProblem::TooSmall { field, found, least: 1 });
        }
        count
    }

    fn text<T>(&mut self, field: &'static str, found: &'a str, allowed: &'static str) -> Option<T> {
        self.problems.push(PolicyProblem::Text { field, found, allowed });
        None
    }
}

/// `404` or `200-299`.
fn statuses(text: &str) -> Option<(u16, u16)> {
    let code = |text: &str| {
        let three_digits = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|code| three_digits && (100..=599).contains(code))
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Some((code(first)?, code(last)?)).filter(|(first, last)| first <= last)
}

fn is_path(text: &str) -> bool {
    text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')
}

fn is_host(text: &str) -> bool {
    text.split('.').all(|label| {
        let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !label.is_empty() && !label.starts_with('-') && !label.ends_with('-') && label.bytes().all(known)
    })
}
