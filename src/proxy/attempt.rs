//! The tries of a request, from the choice of an endpoint to the end of its answer, as Pingora's phases meet them:
//! under which limits a try runs, and what follows when it fails. Whether it is sent again is judged in
//! [`retry`](super::retry), the limits are kept in [`deadline`].

use std::os::fd::RawFd;
use std::time::Duration;

use http::StatusCode;
use pingora::http::ResponseHeader;
use pingora::upstreams::peer::{HttpPeer, Peer};
use pingora::{Error, ErrorType};
use pingora_proxy::Session;
use tokio::time::{Instant, sleep_until};

use super::context::{Matched, RequestContext};
use super::deadline::{self, Bound, Limit};
use super::error::{self, Failure};
use super::forwarding::Forwarding;
use super::retry::{Facts, Failed, jittered};
use super::upstream;
use super::{GatewayProxy, connection, is_begun};
use crate::router::is_grpc;
use crate::snapshot::{Retry, Timeouts, UpstreamProtocol};
use crate::telemetry::trace::Outcome;
use crate::telemetry::{Reason, RetrySkip};

/// A connection that took longer than this to come shortens the time for reading noticeably.
const SLOW_CONNECT: Duration = Duration::from_millis(10);

/// Begins a try: waits if it is to wait, chooses an endpoint and sets the limits.
///
/// # Errors
/// The request's time is over, the client has left, or there is no endpoint.
pub async fn begin(
    gateway: &GatewayProxy,
    session: &mut Session,
    context: &mut RequestContext,
) -> pingora::Result<Box<HttpPeer>> {
    context.note(session);
    let timeouts = context.timeouts();
    let deadline = timeouts.request.and_then(|time| Instant::from_std(context.started).checked_add(time));
    let pause = context.forwarding.as_mut().and_then(|forwarding| forwarding.pause.take());
    if let Some(longest) = pause {
        let until = Instant::now() + jittered(longest, gateway.state.random().0);
        rest(session, deadline.map_or(until, |deadline| until.min(deadline))).await?;
    }
    let now = Instant::now();
    if deadline.is_some_and(|deadline| deadline <= now) {
        if pause.is_some() {
            gateway.recorder.retries().skipped(RetrySkip::Deadline);
        }
        context.failure = Some(Failure::over(Bound::Request));
        return over();
    }
    context.failure = None;

    let forwarding =
        context.forwarding.as_mut().ok_or_else(|| Error::explain(ErrorType::InternalError, "no upstream"))?;
    forwarding.begins(now.into_std());
    let address = match forwarding.next_endpoint(gateway.state.random()) {
        Ok(address) => address,
        Err(nobody) => {
            context.failure = Some(Failure::nobody(nobody));
            return Error::e_explain(ErrorType::ConnectError, "no endpoint for the next try");
        }
    };
    let mut peer = upstream::peer::peer(address, &forwarding.upstream, &gateway.settings);
    if let Some(cause) = forwarding.cause.take() {
        gateway.recorder.retries().sent(cause);
    }
    let running = &mut forwarding.running;
    if !std::mem::take(&mut running.goes_on) {
        running.limit = limit(timeouts, deadline, now);
        running.began = Some(now.into_std());
        if let Some(traced) = &mut context.traced {
            traced.begin_try(address);
        }
    }
    if let Some(limit) = running.limit {
        let left = limit.at.saturating_duration_since(now);
        running.limits_connect = peer.connection_timeout().is_none_or(|connect| left < connect);
        peer.options.total_connection_timeout = Some(left);
        if forwarding.upstream.protocol() == UpstreamProtocol::H2c {
            peer.options.read_timeout = Some(left);
            peer.options.write_timeout = Some(left);
        }
        deadline::arm(limit);
    }
    Ok(peer)
}

/// The try has a connection, on `socket`.
///
/// # Errors
/// The time of the try is over. Or it has a fresh HTTP/2 connection that took its time to come: Pingora's read timeout
/// was set before that, so the try goes on from its beginning, over the connection that is now there.
pub fn connected(
    gateway: &GatewayProxy,
    session: &mut Session,
    reused: bool,
    socket: RawFd,
    context: &mut RequestContext,
) -> pingora::Result<()> {
    let Some(forwarding) = &mut context.forwarding else { return Ok(()) };
    let running = &mut forwarding.running;
    if awaits_body(session) {
        deadline::await_body(gateway.settings.body_timeout);
    } else if running.limit.is_none() {
        return Ok(());
    }
    if deadline::expired().is_some() {
        return over();
    }
    match forwarding.upstream.protocol() {
        UpstreamProtocol::Http1 => deadline::connected(socket),
        UpstreamProtocol::H2c => {
            running.goes_on =
                !reused && running.limit.is_some() && running.began.is_some_and(|began| began.elapsed() > SLOW_CONNECT);
            if running.goes_on {
                return Err(Error::explain(ErrorType::InternalError, "a connection that took its time"));
            }
        }
    }
    Ok(())
}

/// No connection could be had; whether there is another try.
pub fn connect_failed(gateway: &GatewayProxy, session: &Session, context: &mut RequestContext, error: &Error) -> bool {
    let over = end_limits(session).or_else(|| {
        let running = &context.forwarding.as_ref()?.running;
        let limit = running.limit.filter(|_| running.limits_connect)?;
        (*error.etype() == ErrorType::ConnectTimedout).then_some(limit.bound)
    });
    let failure = over.map_or_else(|| error::classify(error), Failure::over);
    let is_to_blame = over != Some(Bound::Request) && !error::is_exhausted(error);
    end_try(gateway, session, context, is_to_blame.then_some(Failed::Connect), failure)
}

/// An answer has come from the endpoint. Informational ones are nothing to act on.
///
/// # Errors
/// It is given up for another try, or the time of this one is over.
pub fn answered(
    gateway: &GatewayProxy,
    session: &Session,
    answer: &ResponseHeader,
    context: &mut RequestContext,
) -> pingora::Result<()> {
    let upgraded = answer.status == StatusCode::SWITCHING_PROTOCOLS;
    let (Some(forwarding), matched) = (&mut context.forwarding, &context.matched) else { return Ok(()) };
    let is_limited = deadline::is_armed();
    if is_limited && deadline::expired().is_some() {
        return over(); // what else comes of this answer may be nothing but the socket's end
    }
    if answer.status.is_informational() && !upgraded {
        return Ok(());
    }
    forwarding.answered();
    let code = answer.status.as_u16();
    if let Some(traced) = &mut context.traced {
        traced.answered(code);
    }
    let rule = matched.as_ref().and_then(Matched::retry);
    if rule.is_some_and(|rule| rule.codes.contains(&code)) && !upgraded {
        let failed = Failed::Status(code);
        let again = forwarding.judge(failed, facts(session, rule), gateway.recorder.retries());
        if again {
            forwarding.running.given_up = Some(code);
            return Err(Error::new_up(ErrorType::HTTPStatus(code)));
        }
    }
    context.code = code;
    if upgraded {
        deadline::disarm(); // what follows has no end of its own
    } else if is_limited {
        deadline::begun();
    }
    Ok(())
}

/// A try ended after it had a connection; whether there is another one.
pub fn broke_off(
    gateway: &GatewayProxy,
    session: &Session,
    context: &mut RequestContext,
    error: &Error,
    reused: bool,
) -> bool {
    let expired = match end_limits(session) {
        // An endpoint that took nothing of the body, of which Pingora tells only once the endpoint is cut off.
        Some(Bound::Body) if error::is_slow(error) => Some(Bound::Try),
        expired => expired,
    };
    let Some(forwarding) = &mut context.forwarding else { return false };
    if let Some(code) = forwarding.running.given_up {
        forwarding.discarded_answer = true;
        forwarding.failed(code, false);
        if let Some(traced) = &mut context.traced {
            traced.close(None);
        }
        return true;
    }
    if forwarding.running.goes_on && expired.is_none() {
        return true;
    }
    let over = expired.or_else(|| forwarding.running.limit.filter(|_| error::is_slow(error)).map(|limit| limit.bound));
    let failure = over.map_or_else(|| error::classify(error), Failure::over);
    let failed = match over {
        Some(Bound::Request | Bound::Body) => None,
        Some(Bound::Try) => Some(Failed::Slow),
        None => error::failed(error, reused),
    };
    end_try(gateway, session, context, failed, failure)
}

/// Ends a try that failed, and says whether there is another one. `failed` is none where there must not be.
fn end_try(
    gateway: &GatewayProxy,
    session: &Session,
    context: &mut RequestContext,
    failed: Option<Failed>,
    failure: Failure,
) -> bool {
    context.failure = Some(failure);
    if let Some(traced) = &mut context.traced {
        traced.close(Some(Outcome::Failed(failure.reason)));
    }
    let (Some(forwarding), matched) = (&mut context.forwarding, &context.matched) else { return false };
    let blame = match failed {
        Some(Failed::Refused | Failed::Gone | Failed::Status(_)) => false,
        Some(Failed::Connect | Failed::Reset) => true,
        // An answer that takes long may be long, or its client slow.
        Some(Failed::Slow) => !forwarding.running.answered,
        // Of a request's time a later try has had but a part.
        None => failure.reason == Reason::RequestTimeout && !forwarding.running.answered && forwarding.failures() == 0,
    };
    forwarding.failed(failure.reason, blame);
    let Some(failed) = failed.filter(|_| !is_begun(session)) else { return false };
    let rule = matched.as_ref().and_then(Matched::retry);
    forwarding.judge(failed, facts(session, rule), gateway.recorder.retries())
}

/// What failed for good. A request that was sent again and met with nothing but errors has its own reason; the
/// status stays that of the last one.
pub fn exhausted(failure: Failure, forwarding: Option<&Forwarding>) -> Failure {
    use Reason::{BackendTimeout, ConnectFailed, ConnectTimeout, RetryExhausted, UpstreamReset, UpstreamTls};
    let used = forwarding.is_some_and(|forwarding| forwarding.count.used_rule() && !forwarding.discarded_answer);
    match failure.reason {
        ConnectFailed | ConnectTimeout | UpstreamTls | UpstreamReset | BackendTimeout if used => {
            Failure { reason: RetryExhausted, ..failure }
        }
        _ => failure,
    }
}

/// What went wrong, for the log: each try that failed, if there were several, and the last error in full.
pub fn account(failure: Failure, error: &Error, forwarding: Option<&Forwarding>) -> String {
    let last = match failure.reason {
        Reason::RequestInvalid if failure.status == Some(408) => "the client paused within its body".to_owned(),
        // Pingora reports what its end looked like from within.
        Reason::RequestTimeout => "the time for the request was over".to_owned(),
        Reason::BackendTimeout => "the time for a try was over".to_owned(),
        _ => error::told(error),
    };
    match forwarding.filter(|forwarding| forwarding.count.retried()).and_then(Forwarding::account) {
        Some(tries) => format!("{tries}: {last}"),
        None => last,
    }
}

/// Waits until `until`, for as long as the client does.
async fn rest(session: &mut Session, until: Instant) -> pingora::Result<()> {
    if !session.is_body_done() {
        sleep_until(until).await; // what it sends is left for the next try
        return Ok(());
    }
    tokio::select! {
        biased;
        () = sleep_until(until) => Ok(()),
        left = session.downstream_session.read_body_or_idle(true) => left.map(drop).map_err(Error::into_down),
    }
}

fn limit(timeouts: Timeouts, deadline: Option<Instant>, now: Instant) -> Option<Limit> {
    let of_try = timeouts.backend.and_then(|time| now.checked_add(time));
    match (deadline, of_try) {
        (Some(at), None) => Some(Limit { at, bound: Bound::Request }),
        (Some(at), Some(sooner)) if at <= sooner => Some(Limit { at, bound: Bound::Request }),
        (_, Some(at)) => Some(Limit { at, bound: Bound::Try }),
        (None, None) => None,
    }
}

/// Whether a body is to come, whose pauses are bounded. A call of gRPC may be silent for hours, both ways: it has the
/// time of its rule alone.
fn awaits_body(session: &mut Session) -> bool {
    !session.is_body_done() && !session.is_upgrade_req() && !is_grpc(&session.req_header().headers)
}

/// Ends the limits of the running try, and makes the client's connection usable again. Which one was over.
fn end_limits(session: &Session) -> Option<Bound> {
    let expired = deadline::disarm();
    if expired.is_some()
        && let Ok(connection) = connection(session)
    {
        connection.restore();
    }
    expired
}

fn facts<'a>(session: &Session, rule: Option<&'a Retry>) -> Facts<'a> {
    Facts {
        rule,
        idempotent: session.req_header().method.is_idempotent(),
        replayable: !session.as_ref().retry_buffer_truncated(),
    }
}

fn over<T>() -> pingora::Result<T> {
    Error::e_explain(ErrorType::InternalError, "its time is over")
}
