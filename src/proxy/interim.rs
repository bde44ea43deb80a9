//! Answers that are not the end of an exchange: interim ones (1xx), final ones while the client still sends, and the
//! one that switches protocols. In comes an answer's header on its way to the client; out goes how the rest of the
//! exchange is held to its bounds.

use std::time::Duration;

use http::header::EXPECT;
use http::{StatusCode, Version};
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
    let is_interim = response.status.is_informational() && response.status != StatusCode::SWITCHING_PROTOCOLS;
    // Pingora would give up the connection for any answer that comes while there is a body to read. For a 100 that is
    // what it is for.
    session.set_close_on_response_before_downstream_finish(!is_interim);
    if is_interim {
        *seen += 1;
        if *seen > LIMIT {
            return Err(Error::explain(ErrorType::InvalidHTTPHeader, "too many interim answers").into_up());
        }
        // RFC 9110, 15.2: "a server MUST NOT send a 1xx response to an HTTP/1.0 client".
        let is_old = session.req_header().version == Version::HTTP_10;
        session.set_ignore_info_resp(is_old);
    } else if response.status == StatusCode::SWITCHING_PROTOCOLS {
        // What comes now is no request's body: it may be quiet for as long as TCP keep-alive finds the client there.
        session.set_read_timeout(None);
    } else if session.req_header().headers.contains_key(EXPECT) && session.body_bytes_read() == 0 {
        // It waits for a word to send its body, and this word was no.
        session.set_read_timeout(Some(UNSENT_BODY_TIME));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    async fn session(request: &'static str) -> (tokio::io::DuplexStream, Session) {
        let (mut client, server) = tokio::io::duplex(1024);
        client.write_all(request.as_bytes()).await.unwrap();
        let mut session = Session::new_h1(Box::new(server));
        session.read_request().await.unwrap();
        (client, session)
    }

    fn answer(status: u16) -> ResponseHeader {
        ResponseHeader::build(status, None).unwrap()
    }

    /// Pingora's bound on a request's body, 60 s for each read, would end a WebSocket on which the client says
    /// nothing for a minute.
    #[tokio::test]
    async fn a_connection_that_switched_protocols_may_be_quiet() {
        let request = "GET / HTTP/1.1\r\nHost: a.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
        let (_client, mut session) = session(request).await;
        assert!(session.get_read_timeout().is_some());
        settle(&mut session, &answer(101), &mut 0).unwrap();
        assert_eq!(session.get_read_timeout(), None);
    }

    #[tokio::test]
    async fn a_client_that_was_refused_before_its_body_is_not_awaited_for_long() {
        let request = "POST / HTTP/1.1\r\nHost: a.com\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
        let (_client, mut session) = session(request).await;
        settle(&mut session, &answer(100), &mut 0).unwrap();
        assert!(session.get_read_timeout() > Some(UNSENT_BODY_TIME));
        settle(&mut session, &answer(417), &mut 0).unwrap();
        assert_eq!(session.get_read_timeout(), Some(UNSENT_BODY_TIME));
    }
}
