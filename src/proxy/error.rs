//! From what failed to what is answered: one table.

use std::io;

use pingora::{BError, Error, ErrorSource, ErrorType, RetryType};

use super::contain::PANIC;
use super::deadline::Bound;
use super::listener::room::is_exhaustion;
use super::retry::Failed;
use super::upstream::Nobody;
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

    /// There is no endpoint to try.
    pub const fn nobody(nobody: Nobody) -> Self {
        match nobody {
            Nobody::AtLimit => Failure::answered(503, Reason::Overloaded),
            Nobody::NoEndpoints | Nobody::AllTried => Failure::answered(503, Reason::NoEndpoints),
        }
    }

    /// A time is over.
    pub const fn over(bound: Bound) -> Self {
        match bound {
            Bound::Request => Failure::answered(504, Reason::RequestTimeout),
            Bound::Try => Failure::answered(504, Reason::BackendTimeout),
            Bound::Body => Failure::answered(408, Reason::RequestInvalid),
        }
    }
}

/// How a try failed that had a connection; `None` where the endpoint is not to blame, but the client or we are.
pub fn failed(error: &Error, reused: bool) -> Option<Failed> {
    if error.retry == RetryType::Decided(true) {
        return Some(Failed::Refused); // an HTTP/2 endpoint says so itself
    }
    if error.esource() != &ErrorSource::Upstream {
        return None;
    }
    let ended = error.retry == RetryType::ReusedOnly || *error.etype() == ErrorType::WriteError;
    Some(if ended && reused { Failed::Gone } else { Failed::Reset })
}

/// What failed, in Pingora's words, for the log. Of a header that cannot be read Pingora shows all of it, cookies and
/// credentials included; here only why it cannot.
pub fn told(error: &Error) -> String {
    let mut last = error;
    while let Some(cause) = last.cause.as_ref().and_then(|cause| cause.downcast_ref::<BError>()) {
        last = cause;
    }
    let shows_bytes = last.context.as_ref().is_some_and(|context| context.as_str().contains(": "));
    if *last.etype() != ErrorType::InvalidHTTPHeader || !shows_bytes {
        return error.to_string();
    }
    let why = last.cause.as_ref().map_or_else(String::new, |cause| format!(" cause: {cause}"));
    format!("{} {}{why}", error.esource().as_str(), last.etype().as_str())
}

/// Whether an endpoint let Pingora's own timeout pass.
pub fn is_slow(error: &Error) -> bool {
    error.esource() == &ErrorSource::Upstream
        && matches!(error.etype(), ErrorType::ReadTimedout | ErrorType::WriteTimedout)
}

/// | what failed | answer | reason |
/// |---|---|---|
/// | no connection: refused, unreachable, no socket | 503 | `connect_failed` |
/// | no connection: no descriptor or memory of ours left | 503 | `overloaded` |
/// | no connection in time | 504 | `connect_timeout` |
/// | TLS to the endpoint | 502 | `upstream_tls` |
/// | the endpoint too slow | 504 | `backend_timeout` |
/// | the endpoint broke off, or answered what is not HTTP | 502 | `upstream_reset` |
/// | the request malformed | 400 | `request_invalid` |
/// | the request's body too slow | 408 | `request_invalid` |
/// | the request's body too large | 413 | `body_too_large` |
/// | the client gone | none | `client_abort` |
/// | anything else | 500 | `internal` |
pub fn classify(error: &Error) -> Failure {
    match error.esource() {
        _ if *error.etype() == PANIC => Failure::answered(500, Reason::Internal),
        ErrorSource::Upstream if is_exhausted(error) => Failure::answered(503, Reason::Overloaded),
        ErrorSource::Upstream => upstream(error.etype()),
        ErrorSource::Downstream => downstream(error.etype()),
        ErrorSource::Internal | ErrorSource::Unset => Failure::answered(500, Reason::Internal),
    }
}

/// Whether it was for want of descriptors or memory that there is no connection: that is not the endpoint's fault.
pub fn is_exhausted(error: &Error) -> bool {
    error.root_cause().downcast_ref::<io::Error>().is_some_and(is_exhaustion)
}

/// Whether the failure was one of connecting: nothing of the request was sent.
fn is_connect(kind: &ErrorType) -> bool {
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
    use ErrorType::{ConnectionClosed, H2Error, HTTPStatus, ReadError, ReadTimedout, WriteError, WriteTimedout};
    match kind {
        ConnectionClosed | ReadError | WriteError | WriteTimedout | H2Error => {
            Failure { status: None, reason: Reason::ClientAbort }
        }
        ReadTimedout => Failure::answered(408, Reason::RequestInvalid),
        HTTPStatus(413) => Failure::answered(413, Reason::BodyTooLarge),
        _ => Failure::answered(400, Reason::RequestInvalid),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_header_that_cannot_be_read_nothing_is_told() {
        let bytes = || Error::explain(ErrorType::InvalidHTTPHeader, "buf: Set-Cookie: s3cret").into_up();
        assert_eq!(told(&bytes()), "Upstream InvalidHTTPHeader");
        let beneath = Error::because(ErrorType::InvalidHTTPHeader, "while reading", bytes()).into_up();
        assert_eq!(told(&beneath), "Upstream InvalidHTTPHeader");
        let why = io::Error::other("invalid header name");
        let because = Error::because(ErrorType::InvalidHTTPHeader, "buf: s3cret", why).into_up();
        assert_eq!(told(&because), "Upstream InvalidHTTPHeader cause: invalid header name");
        let ours = Error::explain(ErrorType::InvalidHTTPHeader, "101 that was not asked for").into_up();
        assert!(told(&ours).contains("101 that was not asked for"));
    }

    #[test]
    fn a_connection_that_was_kept_may_have_ended_before_the_request_came() {
        let mut ended = Error::new_up(ErrorType::ConnectionClosed);
        ended.retry = RetryType::ReusedOnly;
        assert_eq!(failed(&ended, true), Some(Failed::Gone));
        assert_eq!(failed(&ended, false), Some(Failed::Reset));
        assert_eq!(failed(&Error::new_up(ErrorType::InvalidHTTPHeader), true), Some(Failed::Reset));
        let mut refused = Error::new_up(ErrorType::H2Error);
        refused.set_retry(true);
        assert_eq!(failed(&refused, false), Some(Failed::Refused));
        assert_eq!(failed(&Error::new_down(ErrorType::WriteError), true), None);
        assert_eq!(failed(&Error::new_in(ErrorType::UnknownError), true), None);
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
        assert_eq!(down(ErrorType::HTTPStatus(413)), Failure::answered(413, Reason::BodyTooLarge));
        assert_eq!(down(ErrorType::WriteError), Failure { status: None, reason: Reason::ClientAbort });
        assert_eq!(classify(&Error::new_in(ErrorType::UnknownError)).status, Some(500));
        let used_up = io::Error::from_raw_os_error(libc::EMFILE);
        let inner = Error::because(ErrorType::SocketError, "failed to create socket", used_up);
        let outer = Error::because(ErrorType::InternalError, "Fail to connect", inner).into_up();
        assert_eq!(classify(&outer), Failure::answered(503, Reason::Overloaded));
    }
}
