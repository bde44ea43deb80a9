//! One HTTP request and its answer: what the client asked for, read off path, query and headers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderMap, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;

use super::answer::{Answer, TlsFacts};
use super::body::{self, Body, Unread};
use super::connection::Tasks;
use super::failing::MOST;
use super::{Echo, duration, grpc, websocket};

/// The longest delay that a client can ask for.
const LONGEST_DELAY: Duration = Duration::from_mins(1);
const SET_HEADER: &str = "x-echo-set-header";

/// What all requests of one connection have in common.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) echo: Arc<Echo>,
    pub(super) address: SocketAddr,
    pub(super) tls: Option<TlsFacts>,
    /// Among the connections at a time; given back when nobody speaks any more.
    pub(super) _place: OwnedSemaphorePermit,
}

/// What a client wants of its answer.
struct Wish {
    status: StatusCode,
    delay: Duration,
    headers: Vec<(HeaderName, HeaderValue)>,
}

pub(super) async fn respond(request: Request<Incoming>, peer: Arc<Peer>, tasks: Tasks) -> Response<Body> {
    if websocket::is_asked(&request) {
        return websocket::accept(request, &peer, &tasks);
    }
    if request.version() == Version::HTTP_2 && grpc::is_asked(request.headers()) {
        return grpc::answer(request, &peer.echo);
    }
    let (parts, incoming) = request.into_parts();
    let wish = match Wish::read(&parts, &tasks) {
        Ok(wish) => wish,
        Err(problem) => return refusal(StatusCode::BAD_REQUEST, &problem),
    };
    let received = match body::receive(incoming).await {
        Ok(received) => received,
        Err(Unread::TooLarge) => return refusal(StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than 16 MiB"),
        Err(Unread::TooSlow) => return refusal(StatusCode::REQUEST_TIMEOUT, "the body took longer than 60 s"),
        Err(Unread::Broken) => return refusal(StatusCode::BAD_REQUEST, "the body broke off"),
    };
    if !wish.delay.is_zero() {
        tokio::time::sleep(wish.delay).await;
    }
    let json = Answer::new(&peer.echo, &parts, &received, peer.address, peer.tls.as_ref()).to_json();
    wish.grant(json)
}

/// An answer to what the echo server does not do.
pub(super) fn refusal(status: StatusCode, problem: &str) -> Response<Body> {
    let mut response = json_response(status, format!("{}\n", json!({ "error": problem })).into_bytes());
    // What is left of the request is not read.
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

fn json_response(status: StatusCode, json: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(body::full(json));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

impl Wish {
    fn read(request: &Parts, tasks: &Tasks) -> Result<Self, String> {
        let query = request.uri.query().unwrap_or_default();
        let (delay, headers) = (delay(query)?, set_headers(&request.headers)?);
        let status = match (status(request.uri.path())?, failures(query)?) {
            (status, None) => status,
            (status, Some(wanted)) => {
                let target = request.uri.path_and_query().map_or("/", |target| target.as_str());
                match tasks.failing().fails(target, wanted) {
                    true if status == StatusCode::OK => StatusCode::SERVICE_UNAVAILABLE,
                    true => status,
                    false => StatusCode::OK,
                }
            }
        };
        Ok(Wish { status, delay, headers })
    }

    fn grant(self, json: Vec<u8>) -> Response<Body> {
        // RFC 9110, section 15: a 204 or 304 response "is terminated by the end of the header section".
        let bodiless = matches!(self.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let mut response = json_response(self.status, json);
        if bodiless {
            *response.body_mut() = body::empty();
            response.headers_mut().remove(CONTENT_TYPE);
        }
        let headers = response.headers_mut();
        for (name, _) in &self.headers {
            headers.remove(name);
        }
        for (name, value) in self.headers {
            headers.append(name, value);
        }
        response
    }
}

/// `…/status/503`. At the end of any path, so that a gateway's prefix may stand before it.
fn status(path: &str) -> Result<StatusCode, String> {
    let mut segments = path.rsplit('/');
    let (Some(code), Some("status")) = (segments.next(), segments.next()) else { return Ok(StatusCode::OK) };
    match code.parse() {
        Ok(number @ 200..=599) if code.len() == 3 => StatusCode::from_u16(number).map_err(|error| error.to_string()),
        _ => Err(format!("`{code}` is not a status to answer with; allowed are 200 to 599")),
    }
}

fn failures(query: &str) -> Result<Option<u32>, String> {
    let Some(text) = query.split('&').find_map(|pair| pair.strip_prefix("fail=")) else { return Ok(None) };
    let wanted = text.parse().ok().filter(|wanted| *wanted <= MOST);
    wanted.map(Some).ok_or_else(|| format!("`{text}` is not a number of failures; allowed are 0 to {MOST}"))
}

fn delay(query: &str) -> Result<Duration, String> {
    let Some(text) = query.split('&').find_map(|pair| pair.strip_prefix("delay=")) else { return Ok(Duration::ZERO) };
    let delay = duration::parse(text);
    let delay = delay.ok_or_else(|| format!("`{text}` is not a duration; written as `1s`, `250ms`, `1m30s`"))?;
    Ok(delay.min(LONGEST_DELAY))
}

/// `X-Echo-Set-Header: name: value`, given several times or as a list (`a: 1, b: 2`).
fn set_headers(headers: &HeaderMap) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
    let mut wished: Vec<(String, String)> = Vec::new();
    for line in headers.get_all(SET_HEADER) {
        let line = line.to_str().map_err(|_| format!("{SET_HEADER} holds bytes that are not ASCII"))?;
        let before = wished.len();
        for part in line.split(',') {
            match (part.split_once(':'), wished.get_mut(before..).and_then(<[_]>::last_mut)) {
                (Some((name, value)), _) if HeaderName::try_from(name.trim()).is_ok() => {
                    wished.push((name.trim().to_owned(), value.trim().to_owned()));
                }
                // A comma within a value: `date: Mon, 1 Jan`.
                (_, Some((_, value))) => {
                    value.push(',');
                    value.push_str(part);
                }
                _ => return Err(format!("`{line}` in {SET_HEADER} is not `name: value`")),
            }
        }
    }
    wished.into_iter().map(|(name, value)| set_header(&name, &value)).collect()
}

fn set_header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let parsed = HeaderName::try_from(name).map_err(|_| format!("`{name}` is not a header name"))?;
    if parsed == CONTENT_LENGTH || parsed == TRANSFER_ENCODING {
        return Err(format!("`{name}` cannot be set: it frames the body"));
    }
    let value = HeaderValue::try_from(value).map_err(|_| format!("`{value}` is not a header value"))?;
    Ok((parsed, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_ends_in_status_chooses_the_status() {
        assert_eq!(status("/"), Ok(StatusCode::OK));
        assert_eq!(status("/status/503"), Ok(StatusCode::SERVICE_UNAVAILABLE));
        assert_eq!(status("/shop/status/204"), Ok(StatusCode::NO_CONTENT));
        assert_eq!(status("/status/503/more"), Ok(StatusCode::OK));
        for path in ["/status/100", "/status/600", "/status/", "/status/x", "/status/0200"] {
            assert!(status(path).is_err(), "{path}");
        }
    }

    #[test]
    fn a_number_of_failures_is_bounded() {
        assert_eq!(failures("a=b&fail=2"), Ok(Some(2)));
        assert_eq!(failures("failed=2"), Ok(None));
        assert!(failures("fail=101").is_err() && failures("fail=-1").is_err() && failures("fail=").is_err());
    }

    #[test]
    fn a_delay_is_capped_and_must_be_a_duration() {
        assert_eq!(delay("a=b&delay=250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(delay("delay=2h"), Ok(LONGEST_DELAY));
        assert_eq!(delay("delayed=1s"), Ok(Duration::ZERO));
        assert!(delay("delay=soon").is_err());
    }

    fn set(lines: &[&'static str]) -> Result<Vec<(String, String)>, String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(SET_HEADER, HeaderValue::from_static(line));
        }
        let text = |(name, value): (HeaderName, HeaderValue)| (name.to_string(), value.to_str().unwrap().to_owned());
        set_headers(&headers).map(|wished| wished.into_iter().map(text).collect())
    }

    #[test]
    fn headers_are_set_one_a_line_or_as_a_list() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(set(&["X-A: 1", "X-B:2"]), Ok(vec![pair("x-a", "1"), pair("x-b", "2")]));
        assert_eq!(set(&["a: 1, b: 2"]), Ok(vec![pair("a", "1"), pair("b", "2")]));
        assert_eq!(set(&["a: x, y"]), Ok(vec![pair("a", "x, y")]));
        assert!(set(&["nonsense"]).is_err());
        assert!(set(&["content-length: 3"]).is_err());
    }
}
