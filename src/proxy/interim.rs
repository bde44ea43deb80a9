//! Answers that come before their time: interim ones (1xx), and final ones while the client still sends. In comes an
//! answer's header on its way to the client; out goes how the rest of the exchange is held to its bounds.

use std::time::Duration;

use http::Version;
use http::header::EXPECT;
use pingora::http::ResponseHeader;
use pingora::{Error, ErrorType};
use pingora_proxy::Session;

/// Interim answers to one request. RFC 9110, 15.2: "A client MUST be able to parse one or more 1xx responses"; how
/// many it need not.
const LIMIT: u8 = 64;

/// For how long a client that was refused before it sent its body is still listened to.
const UNSENT_BODY_TIME: Duration = Duration::from_secs(2);

/// Settles how an answer's header is sent, and how the request goes on after it. `seen` counts the interim ones.
///
/// # Errors
/// The upstream sends interim answers without an end.
pub fn settle(session: &mut Session, response: &ResponseHeader, seen: &mut u8) -> pingora::Result<()> {
    let is_interim = response.status.is_informational() && response.status != http::StatusCode::SWITCHING_PROTOCOLS;
    // Pingora would give up the connection for any answer that comes while there is a body to read. For a 100 that is
    // what it is for.
    session.set_close_on_response_before_downstream_finish(!is_interim);
    if is_interim {
        *seen += 1;
        if *seen > LIMIT {
            let mut error = Error::explain(ErrorType::InvalidHTTPHeader, "too many interim answers");
            error.as_up();
            return Err(error);
        }
        // RFC 9110, 15.2: "a server MUST NOT send a 1xx response to an HTTP/1.0 client".
        let is_old = session.req_header().version == Version::HTTP_10;
        session.set_ignore_info_resp(is_old);
    } else if session.req_header().headers.contains_key(EXPECT) && session.body_bytes_read() == 0 {
        // It waits for a word to send its body, and this word was no.
        session.set_read_timeout(Some(UNSENT_BODY_TIME));
    }
    Ok(())
}
