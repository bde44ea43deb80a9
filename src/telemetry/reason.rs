//! Why an answer is the gateway's own: a closed list, one word each, the same in the access log, the metric
//! label, `explain` and the dashboard (product.md section 3).

use std::fmt;

use serde::Serialize;

macro_rules! reasons {
    ($($(#[$meta:meta])* $variant:ident = $word:literal),* $(,)?) => {
        /// Why an answer is the gateway's own. `None` is a proxied answer.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
        pub enum Reason {
            /// The answer came from an upstream.
            #[default]
            None,
            $($(#[$meta])* $variant,)*
        }

        impl Reason {
            /// Every reason, `None` first.
            pub const ALL: &'static [Reason] = &[Reason::None, $(Reason::$variant,)*];

            /// The word.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { Reason::None => "none", $(Reason::$variant => $word,)* }
            }
        }
    };
}

reasons! {
    /// No listener of the port takes the host.
    NoListener = "no_listener",
    /// A listener does, but no rule matches.
    NoRoute = "no_route",
    /// The Host belongs to another listener than the SNI chose.
    Misdirected = "misdirected",
    /// The rule, or the share drawn, has no usable backend.
    InvalidBackend = "invalid_backend",
    /// The backend has no ready endpoint.
    NoEndpoints = "no_endpoints",
    /// No connection to the endpoint.
    ConnectFailed = "connect_failed",
    /// No connection to the endpoint in time.
    ConnectTimeout = "connect_timeout",
    /// The whole request took too long.
    RequestTimeout = "request_timeout",
    /// One try took too long.
    BackendTimeout = "backend_timeout",
    /// The upstream broke off or answered what is not HTTP.
    UpstreamReset = "upstream_reset",
    /// TLS to the upstream failed.
    UpstreamTls = "upstream_tls",
    /// Every try failed.
    RetryExhausted = "retry_exhausted",
    /// The request is malformed.
    RequestInvalid = "request_invalid",
    /// The header block is too large.
    HeaderTooLarge = "header_too_large",
    /// The body is too large.
    BodyTooLarge = "body_too_large",
    /// The client went away.
    ClientAbort = "client_abort",
    /// TLS with the client failed.
    ClientTls = "client_tls",
    /// Redirected by a rule.
    Redirect = "redirect",
    /// A CORS preflight was answered.
    CorsPreflight = "cors_preflight",
    /// A CORS origin was refused.
    CorsRefused = "cors_refused",
    /// A filter or field could not be applied: fail closed.
    FilterFailed = "filter_failed",
    /// The gateway is going down.
    Draining = "draining",
    /// The gateway has no capacity left.
    Overloaded = "overloaded",
    /// A fault of the gateway.
    Internal = "internal",
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Reason {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
