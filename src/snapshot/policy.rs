//! How an upstream is treated: what an `UpstreamPolicy` says of it, or the defaults.

use std::num::NonZeroU32;
use std::time::Duration;

use http::HeaderName;
use serde::{Serialize, Serializer};

/// How an upstream is treated.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Policy {
    /// How an endpoint is chosen.
    pub balance: Balance,
    /// Active health checks, if any.
    pub health: Option<HealthCheck>,
    /// When an endpoint that fails is left out.
    pub ejection: Ejection,
    /// Time for a TCP connection; none is the process's setting.
    pub connect_timeout: Option<Duration>,
    /// How long an unused connection is kept; none is the process's setting.
    pub idle_timeout: Option<Duration>,
    /// Connections in use to one endpoint at a time, over all workers; none is no limit.
    pub max_connections: Option<NonZeroU32>,
}

/// How an endpoint is chosen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub enum Balance {
    /// The less busy one of two drawn at random.
    #[default]
    LeastRequest,
    /// In turn.
    RoundRobin,
    /// The same one for the same key, and few keys move when endpoints come or go (ketama).
    ConsistentHash(HashKey),
}

/// What is hashed. A request without it is balanced as by [`Balance::LeastRequest`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashKey {
    /// The value of a header.
    Header(HeaderName),
    /// The value of a cookie.
    Cookie(Box<str>),
    /// The client's address, without port.
    ClientAddress,
}

/// An active health check of each endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HealthCheck {
    /// What is asked.
    pub probe: Probe,
    /// From the start of one to the start of the next.
    pub interval: Duration,
    /// For one.
    pub timeout: Duration,
    /// Good ones in a row that make an endpoint healthy.
    pub healthy_threshold: NonZeroU32,
    /// Bad ones in a row that make it unhealthy.
    pub unhealthy_threshold: NonZeroU32,
}

/// What a health check asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Probe {
    /// Whether a connection is accepted.
    Tcp,
    /// Whether a GET is answered with one of these codes.
    Http {
        /// Absolute path, with query if need be.
        path: Box<str>,
        /// `Host`; none is the endpoint's address.
        host: Option<Box<str>>,
        /// Ranges of status codes, both ends included; never empty.
        expected: Box<[(u16, u16)]>,
    },
}

/// When an endpoint that fails is left out. Failures are those of connecting, resets and timeouts; an answer, of
/// whatever status, is none. The last endpoint is never left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ejection {
    /// Failures in a row, over all workers; none never ejects.
    pub consecutive_failures: Option<NonZeroU32>,
    /// The first time; it doubles with each ejection in a row.
    pub base_time: Duration,
    /// The longest time.
    pub max_time: Duration,
}

impl Default for Ejection {
    /// 5 failures in a row, 5 s, at most 5 min.
    fn default() -> Self {
        Ejection {
            consecutive_failures: NonZeroU32::new(5),
            base_time: Duration::from_secs(5),
            max_time: Duration::from_mins(5),
        }
    }
}

impl Policy {
    /// Whether nobody asked for anything else.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Policy::default()
    }
}

impl Serialize for HashKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            HashKey::Header(name) => serializer.serialize_newtype_variant("HashKey", 0, "Header", name.as_str()),
            HashKey::Cookie(name) => serializer.serialize_newtype_variant("HashKey", 1, "Cookie", name),
            HashKey::ClientAddress => serializer.serialize_unit_variant("HashKey", 2, "ClientAddress"),
        }
    }
}
