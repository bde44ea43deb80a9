//! From what failed to what is answered: one table.

use http::Method;
use pingora::{Error, ErrorSource, ErrorType, RetryType};

use crate::telemetry::Reason;

/// What a failure means to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// The status to answer with; `None` where nobody is left to read it.
    pub status: Option<u16>,
    /// The word for it.
    pub reason: Reason,
}

impl Failure {
    const fn answered(status: u16, reason: Reason) -> Self {
        Failure { status: Some(status), reason }
    }
}

/// Whether a request whose answer has not begun may be sent again: only where nothing of it was processed.
///
/// An HTTP/2 endpoint says so itself (GOAWAY, REFUSED_STREAM), and then any request may. Where a connection just
/// ended nobody says. If it was kept from before, the endpoint has most likely closed it for being idle, and an
/// idempotent request is sent again; RFC 9110, 9.2.2: "A proxy MUST NOT automatically retry non-idempotent
/// requests." If it was fresh, the endpoint has read the request and may have acted on it: even a safe one that
/// brings an endpoint down must not visit the next.
pub fn may_repeat(error: &Error, method: &Method, reused: bool) -> bool {
    let ended = error.esource() == &ErrorSource::Upstream
        && (error.retry == RetryType::ReusedOnly || *error.etype() == ErrorType::WriteError);
    error.retry == RetryType::Decided(true) || (ended && reused && method.is_idempotent())
}

/// | what failed | answer | reason |
/// |---|---|---|
/// | no connection: refused, unreachable, no socket | 503 | `connect_failed` |
/// | no connection in time | 504 | `connect_timeout` |
/// | TLS to the endpoint | 502 | `upstream_tls` |
/// | the endpoint too slow | 504 | `backend_timeout` |
/// | the endpoint broke off, or answered what is not HTTP | 502 | `upstream_reset` |
/// | the request malformed | 400 | `request_invalid` |
/// | the request's body too slow | 408 | `request_invalid` |
/// | the client gone | none | `client_abort` |
/// | anything else | 500 | `internal` |
pub fn classify(error: &Error) -> Failure {
    match error.esource() {
        ErrorSource::Upstream => upstream(error.etype()),
        ErrorSource::Downstream => downstream(error.etype()),
        ErrorSource::Internal | ErrorSource::Unset => Failure::answered(500, Reason::Internal),
    }
}

/// Whether the failure was one of connecting: nothing of the request was sent.
pub fn is_connect(kind: &ErrorType) -> bool {
    use ErrorType::{BindError, ConnectError, ConnectNoRoute, ConnectRefused, ConnectTimedout, SocketError};
    matches!(kind, ConnectTimedout | ConnectRefused | ConnectNoRoute | ConnectError | BindError | SocketError)
}

fn upstream(kind: &ErrorType) -> Failure {
    use ErrorType::{
        ConnectTimedout, InternalError, InvalidCert, ReadTimedout, TLSHandshakeFailure, TLSHandshakeTimedout,
        WriteTimedout,
    };
    match kind {
        ConnectTimedout => Failure::answered(504, Reason::ConnectTimeout),
        InvalidCert | TLSHandshakeFailure | TLSHandshakeTimedout => Failure::answered(502, Reason::UpstreamTls),
        ReadTimedout | WriteTimedout => Failure::answered(504, Reason::BackendTimeout),
        InternalError => Failure::answered(503, Reason::ConnectFailed), // no socket to connect with
        kind if is_connect(kind) => Failure::answered(503, Reason::ConnectFailed),
        _ => Failure::answered(502, Reason::UpstreamReset),
    }
}

fn downstream(kind: &ErrorType) -> Failure {
    use ErrorType::{ConnectionClosed, H2Error, ReadError, ReadTimedout, WriteError, WriteTimedout};
    match kind {
        ConnectionClosed | ReadError | WriteError | WriteTimedout | H2Error => {
            Failure { status: None, reason: Reason::ClientAbort }
        }
        ReadTimedout => Failure::answered(408, Reason::RequestInvalid),
        _ => Failure::answered(400, Reason::RequestInvalid),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_not_processed_is_sent_again() {
        let mut ended = Error::new_up(ErrorType::ConnectionClosed);
        ended.retry = RetryType::ReusedOnly;
        assert!(may_repeat(&ended, &Method::GET, true));
        assert!(may_repeat(&ended, &Method::PUT, true));
        assert!(!may_repeat(&ended, &Method::POST, true));
        assert!(!may_repeat(&ended, &Method::GET, false));
        assert!(!may_repeat(&ended, &Method::PUT, false));
        let slow = Error::new_up(ErrorType::ReadTimedout);
        assert!(!may_repeat(&slow, &Method::GET, true));
        let mut refused = Error::new_up(ErrorType::H2Error);
        refused.set_retry(true);
        assert!(may_repeat(&refused, &Method::POST, false));
        let client = Error::new_down(ErrorType::WriteError);
        assert!(!may_repeat(&client, &Method::GET, true));
    }

    #[test]
    fn the_table_holds() {
        let up = |kind| classify(&Error::new_up(kind));
        let down = |kind| classify(&Error::new_down(kind));
        assert_eq!(up(ErrorType::ConnectRefused), Failure::answered(503, Reason::ConnectFailed));
        assert_eq!(up(ErrorType::ConnectNoRoute), Failure::answered(503, Reason::ConnectFailed));
        assert_eq!(up(ErrorType::ConnectTimedout), Failure::answered(504, Reason::ConnectTimeout));
        assert_eq!(up(ErrorType::ReadError), Failure::answered(502, Reason::UpstreamReset));
        assert_eq!(up(ErrorType::InvalidHTTPHeader), Failure::answered(502, Reason::UpstreamReset));
        assert_eq!(up(ErrorType::ReadTimedout), Failure::answered(504, Reason::BackendTimeout));
        assert_eq!(down(ErrorType::InvalidHTTPHeader), Failure::answered(400, Reason::RequestInvalid));
        assert_eq!(down(ErrorType::WriteError), Failure { status: None, reason: Reason::ClientAbort });
        assert_eq!(classify(&Error::new_in(ErrorType::UnknownError)).status, Some(500));
    }
}
