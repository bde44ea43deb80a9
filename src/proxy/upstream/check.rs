//! Active health checks of one endpoint: `pingora_load_balancing` asks, and what it hears is judged here. Runs on
//! the control runtime; workers only read the judgement.
//!
//! An endpoint that nothing is known of is healthy until its checks say otherwise.

use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU32;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use http::header::{CONNECTION, HOST, USER_AGENT};
use http::{HeaderValue, Uri, Version};
use pingora::connectors::ConnectorOptions;
use pingora::connectors::http::Connector;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::l4::socket::SocketAddr as Address;
use pingora::upstreams::peer::PeerOptions;
use pingora::{Error, ErrorType, OrErr};
use pingora_load_balancing::Backend;
use pingora_load_balancing::health_check::{HealthCheck as Asks, HttpHealthCheck, TcpHealthCheck};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::peer::TRUSTED;
use crate::proxy::error::told;
use crate::snapshot::policy::{HealthCheck, Probe};
use crate::snapshot::{Endpoint, UpstreamId, UpstreamProtocol};

/// How the gateway's own requests name it.
const AGENT: HeaderValue = HeaderValue::from_static("transom-health-check");

/// Checks one or more endpoints.
pub type Checker = Arc<dyn Asks + Send + Sync>;

/// Who checks the endpoints of an upstream.
pub enum Checkers {
    /// One for all.
    One(Checker),
    /// One for each, since what is asked names the endpoint.
    Each,
}

impl Checkers {
    /// Those that a policy asks for.
    ///
    /// # Errors
    /// The path or the host is none that can be sent.
    pub fn of(policy: &HealthCheck, protocol: UpstreamProtocol) -> pingora::Result<Checkers> {
        match &policy.probe {
            Probe::Tcp => Ok(Checkers::One(TCP.clone())),
            Probe::Http { host: Some(host), .. } => checker(policy, protocol, host).map(Checkers::One),
            Probe::Http { host: None, .. } => Ok(Checkers::Each),
        }
    }

    /// The one of an endpoint.
    ///
    /// # Errors
    /// The path is none that can be sent.
    pub fn checker(
        &self,
        policy: &HealthCheck,
        protocol: UpstreamProtocol,
        endpoint: &Endpoint,
    ) -> pingora::Result<Checker> {
        match self {
            Checkers::One(checker) => Ok(checker.clone()),
            Checkers::Each => checker(policy, protocol, &endpoint.address.to_string()),
        }
    }
}

/// One for the process: it is the same for all, and each would read the system's certificates.
static TCP: LazyLock<Checker> = LazyLock::new(|| {
    let mut check = TcpHealthCheck::default();
    check.peer_template.options.connection_timeout = None; // the whole check is bounded
    Arc::new(check)
});

fn checker(policy: &HealthCheck, protocol: UpstreamProtocol, host: &str) -> pingora::Result<Checker> {
    let Probe::Http { path, expected, .. } = &policy.probe else { return Ok(TCP.clone()) };
    let options = ConnectorOptions { ca_file: Some(TRUSTED.to_owned()), ..ConnectorOptions::new(1) };
    let mut check = HttpHealthCheck::new_custom("endpoint", false, Connector::new(Some(options)));
    check.req = request(path, host, protocol)?;
    bound(&mut check.peer_template.options, policy.timeout, protocol);
    let expected = expected.clone();
    check.validator = Some(Box::new(move |answer: &ResponseHeader| {
        let status = answer.status.as_u16();
        if expected.iter().any(|(first, last)| (*first..=*last).contains(&status)) {
            return Ok(());
        }
        Error::e_explain(ErrorType::CustomCode("unexpected status", status), "in answer to a health check")
    }));
    Ok(Arc::new(check))
}

fn request(path: &str, host: &str, protocol: UpstreamProtocol) -> pingora::Result<RequestHeader> {
    let wrong = || format!("a health check of path {path:?} and host {host:?}");
    // RFC 3986, 2.1: what stands in no URI as it is, is sent percent-encoded.
    let path = path.replace('"', "%22").replace('<', "%3C").replace('>', "%3E").replace('`', "%60");
    let mut request = RequestHeader::build("GET", path.as_bytes(), Some(3))?;
    request.insert_header(USER_AGENT, AGENT)?;
    match protocol {
        UpstreamProtocol::Http1 => {
            let host = HeaderValue::from_str(host).or_err_with(ErrorType::InvalidHTTPHeader, wrong)?;
            request.insert_header(HOST, host)?;
            request.insert_header(CONNECTION, HeaderValue::from_static("close"))?;
        }
        UpstreamProtocol::H2c => {
            // With nothing but a `Host` Pingora would take the scheme for https.
            let uri = Uri::builder().scheme("http").authority(host).path_and_query(path).build();
            request.set_uri(uri.or_err_with(ErrorType::InvalidHTTPHeader, wrong)?);
            request.set_version(Version::HTTP_2);
        }
    }
    Ok(request)
}

fn bound(options: &mut PeerOptions, time: Duration, protocol: UpstreamProtocol) {
    match protocol {
        UpstreamProtocol::Http1 => options.set_http_version(1, 1),
        UpstreamProtocol::H2c => options.set_http_version(2, 2),
    }
    options.connection_timeout = Some(time);
    options.read_timeout = Some(time);
    options.write_timeout = Some(time);
}

/// Checks an endpoint for ever, beginning somewhere within the first interval.
pub async fn watch(checker: Checker, policy: HealthCheck, id: UpstreamId, endpoint: Endpoint) {
    let backend = Backend { addr: Address::Inet(endpoint.address), weight: 1, ext: http::Extensions::new() };
    let part = u32::try_from(RandomState::new().hash_one(endpoint.address) >> 32).unwrap_or(0);
    sleep(policy.interval.mul_f64(f64::from(part) / f64::from(u32::MAX))).await;
    let mut ticks = interval(policy.interval.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut judge = Judge::default();
    loop {
        ticks.tick().await;
        let outcome = match timeout(policy.timeout, checker.check(&backend)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(told(&error)),
            Err(_) => Err(format!("no answer in {:?}", policy.timeout)),
        };
        let flipped = judge.hears(&policy, endpoint.health.is_healthy(), outcome.is_ok());
        if flipped && endpoint.health.judge(outcome.is_ok()) {
            let UpstreamId { namespace, service, port, .. } = &id;
            let endpoint = endpoint.address;
            match outcome {
                Ok(()) => tracing::info!(namespace, service, port, %endpoint, "endpoint healthy"),
                Err(error) => tracing::warn!(namespace, service, port, %endpoint, error, "endpoint unhealthy"),
            }
        }
    }
}

/// Counts checks in a row that speak against what is held.
#[derive(Debug, Default)]
struct Judge {
    against: u32,
}

impl Judge {
    /// Whether what is held is to be given up.
    fn hears(&mut self, policy: &HealthCheck, held: bool, good: bool) -> bool {
        if held == good {
            self.against = 0;
            return false;
        }
        let threshold: NonZeroU32 = if good { policy.healthy_threshold } else { policy.unhealthy_threshold };
        self.against += 1;
        let flips = self.against >= threshold.get();
        if flips {
            self.against = 0;
        }
        flips
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_checks_in_a_row_flip() {
        let policy = HealthCheck {
            probe: Probe::Tcp,
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            healthy_threshold: NonZeroU32::new(2).unwrap(),
            unhealthy_threshold: NonZeroU32::new(3).unwrap(),
        };
        let mut judge = Judge::default();
        let mut held = true;
        let heard = [false, false, true, false, false, false, true, false, true, true, false];
        let expected = [true, true, true, true, true, false, false, false, false, true, true];
        for (good, expected) in heard.into_iter().zip(expected) {
            if judge.hears(&policy, held, good) {
                held = good;
            }
            assert_eq!(held, expected);
        }
    }

    #[test]
    fn a_path_or_host_that_cannot_be_sent_is_an_error_and_no_panic() {
        for protocol in [UpstreamProtocol::Http1, UpstreamProtocol::H2c] {
            for byte in (0x21..=0x7eu8).filter(|byte| *byte != b'#').map(char::from) {
                assert!(request(&format!("/a{byte}b?c{byte}d"), "a.example", protocol).is_ok(), "{byte}");
            }
            assert!(request("/healthz?full=1", "a.example:8080", protocol).is_ok());
            assert!(request("/healthz", "[2001:db8::1]:8080", protocol).is_ok());
            assert!(request("/healthz", "a\nb", protocol).is_err());
        }
    }
}
