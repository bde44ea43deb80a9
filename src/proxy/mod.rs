//! WING B: serves traffic. In comes the current [`Snapshot`](crate::snapshot::Snapshot) through a `Reader`; out go
//! answers, one record for each request, and which addresses are bound. It cannot name Kubernetes: what it serves
//! is resolved, and what is not is an action or a share of the snapshot.
//!
//! [`start`] runs one data worker for each core. [`GatewayProxy`] is what Pingora calls in the phases of a request;
//! each phase delegates.

mod attempt;
mod client;
mod contain;
mod context;
mod deadline;
mod edge;
mod elsewhere;
mod error;
mod filter;
mod forwarding;
mod framing;
mod interim;
mod listener;
mod mirror;
mod port;
pub mod preview;
mod record;
mod request;
mod request_id;
mod respond;
mod retry;
mod serving;
mod settings;
mod start;
mod upstream;
mod worker;

use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use http::{StatusCode, Version};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::Digest;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType};
use pingora_proxy::{FailToProxy, ProxyHttp, Session};

use contain::{contain, contain_all};
use context::{Level, Matched, RequestContext};
use listener::connection::{Connection, Phase};
use mirror::{Content, Mirrors, Source};
use serving::WorkerState;
use upstream::headers;

pub use client::read_address;
pub use listener::{BindState, BoundAddresses};
pub use listener::{ProxyHeader, hello, refusal};
pub use port::{AddressRanges, PortSettings, ProxyProtocol, Redirection};
pub use settings::{Settings, TlsSettings, TlsVersion};
pub use start::{Drained, Proxy, start};

use crate::snapshot::UpstreamProtocol;
use crate::telemetry::Recorder;

/// The phases of a request, in Pingora's order.
pub struct GatewayProxy {
    state: Arc<WorkerState>,
    mirrors: Arc<Mirrors>,
    settings: Arc<Settings>,
    recorder: Arc<Recorder>,
}

#[async_trait]
impl ProxyHttp for GatewayProxy {
    // Boxed: Pingora moves it twice, and the future that it copies for each request has room for it in each place.
    type CTX = Box<RequestContext>;

    fn new_ctx(&self) -> Box<RequestContext> {
        Box::new(RequestContext::new(self.recorder.clone()))
    }

    /// No modules: compression and gRPC-web are not ours to add.
    fn init_downstream_modules(&self, _: &mut pingora::modules::http::HttpModules) {}

    async fn request_filter(&self, session: &mut Session, context: &mut Self::CTX) -> pingora::Result<bool> {
        let connection = connection(session)?.clone();
        connection.enter(Phase::Request);
        if session.is_body_empty() {
            connection.enter(Phase::Answer);
        }
        self.bound(session);
        let admitted = contain(|| {
            context.traced = self.recorder.tracer().and_then(|tracer| tracer.begin(&session.req_header().headers));
            let raw = framing::raw(session);
            let checked = framing::check(raw.as_deref(), session.req_header(), &self.settings);
            let client = context.meet(session.req_header_mut(), &connection, &self.settings, &self.state)?;
            let request = session.req_header_mut();
            Ok(checked.and_then(|()| request::admit(request, &connection, client, &self.state, context)))
        })?;
        match admitted {
            Ok(()) => Ok(false),
            Err(answer) => {
                if answer.ends_connection() {
                    session.set_keepalive(None);
                }
                context.reason = answer.reason;
                respond::answer(session, answer, context).await.map(|()| true)
            }
        }
    }

    async fn upstream_peer(&self, session: &mut Session, context: &mut Self::CTX) -> pingora::Result<Box<HttpPeer>> {
        contain_all(attempt::begin(self, session, context)).await
    }

    fn fail_to_connect(
        &self,
        session: &mut Session,
        _: &HttpPeer,
        context: &mut Self::CTX,
        mut error: Box<Error>,
    ) -> Box<Error> {
        let again = contain(|| {
            if let Some(choice) = context.choice() {
                choice.not_connected(&error);
            }
            Ok(attempt::connect_failed(self, session, context, &error))
        });
        settle(again, &mut error, context);
        error
    }

    async fn connected_to_upstream(
        &self,
        session: &mut Session,
        reused: bool,
        _: &HttpPeer,
        socket: RawFd,
        digest: Option<&Digest>,
        context: &mut Self::CTX,
    ) -> pingora::Result<()> {
        contain(|| {
            if let Some(choice) = context.choice() {
                choice.connected(reused, digest);
            }
            attempt::connected(self, session, reused, socket, context)
        })
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        context: &mut Self::CTX,
    ) -> pingora::Result<()> {
        contain(|| {
            let connection = connection(session)?;
            let listener = context.matched.as_ref().and_then(Matched::listener);
            let client = context.client.ok_or_else(|| Error::explain(ErrorType::InternalError, "nobody's request"))?;
            let upstream = context.forwarding.as_ref().map(|forwarding| forwarding.upstream.protocol());
            let port = listener.map_or(connection.port, |listener| listener.port);
            headers::edit(request, |fields| -> pingora::Result<()> {
                if upstream != Some(UpstreamProtocol::H2c) {
                    headers::strip_request(fields, session.req_header().version)?;
                }
                client.forward(fields, port, &context.request_id, &connection.peer_field);
                if let Some(traced) = &context.traced {
                    headers::trace(fields, traced);
                }
                headers::name_host(fields, session.server_addr().and_then(|address| address.as_inet()).copied());
                Ok(())
            })??;
            if let Some(matched) = &context.matched {
                let content = if session.is_body_empty() { Content::None } else { Content::Body };
                let source = Source { received: session.req_header(), request, client: client.address.ip(), content };
                self.mirrors.forward(source, matched, &mut context.mirroring, || self.state.random());
                filter::on_request(request, matched, Level::Share)?;
            }
            Ok(())
        })
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        context: &mut Self::CTX,
    ) -> pingora::Result<()> {
        if self.settings.body_limit.is_some_and(|limit| session.body_bytes_read() as u64 > limit) {
            return Err(Error::explain(ErrorType::HTTPStatus(413), "a body beyond its limit").into_down());
        }
        if end && let Ok(connection) = connection(session) {
            connection.request_ended();
        }
        deadline::body_came(end);
        context.mirroring.pass(body.as_ref(), end);
        Ok(())
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        context: &mut Self::CTX,
    ) -> pingora::Result<()> {
        contain(|| attempt::answered(self, session, response, context))
    }

    fn upstream_response_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        _: bool,
        context: &mut Self::CTX,
    ) -> pingora::Result<Option<Duration>> {
        if let Some(forwarding) = &mut context.forwarding {
            forwarding.heard();
        }
        context.unrecorded.sent += body.as_ref().map_or(0, |body| body.len() as u64);
        Ok(None)
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        context: &mut Self::CTX,
    ) -> pingora::Result<()> {
        contain(|| {
            headers::answer(response, session.req_header())?;
            interim::settle(session, response, &mut context.interim)?;
            if let Some(matched) = &context.matched {
                filter::on_answer(session.req_header(), response, matched)?;
            }
            let connection = connection(session)?;
            if response.status == StatusCode::SWITCHING_PROTOCOLS {
                connection.enter(Phase::Switched);
            }
            if connection.ends_soon() {
                session.set_keepalive(None); // it was not to end yet when the request came
            }
            Ok(())
        })
    }

    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        context: &mut Self::CTX,
        reused: bool,
    ) -> Box<Error> {
        let again = contain(|| Ok(attempt::broke_off(self, session, context, &error, reused)));
        settle(again, &mut error, context);
        error
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, context: &mut Self::CTX) -> FailToProxy {
        let failure = context.failure.take().unwrap_or_else(|| error::classify(error));
        let failure = attempt::exhausted(failure, context.forwarding.as_ref());
        context.reason = failure.reason;
        context.error = Some(attempt::account(failure, error, context.forwarding.as_ref()));
        match failure.status {
            Some(status) if !is_begun(session) => {
                session.set_keepalive(None);
                let _ = respond::answer(session, respond::Answer::new(status, failure.reason), context).await;
                context.ended = Some(Instant::now());
                if session.req_header().version != Version::HTTP_2 && !session.is_body_done() {
                    session.shutdown().await; // in stages: the client is still sending
                }
            }
            Some(_) if session.req_header().version == Version::HTTP_10 => {
                // Only the end of the connection marks the end of this answer: it must not look like a good one.
                if let Ok(connection) = connection(session) {
                    connection.reset_at_end();
                }
            }
            _ => {}
        }
        FailToProxy { error_code: failure.status.unwrap_or(0), can_reuse_downstream: false }
    }

    async fn logging(&self, session: &mut Session, _: Option<&Error>, context: &mut Self::CTX) {
        deadline::disarm();
        if let Some(forwarding) = &mut context.forwarding {
            forwarding.done();
        }
        context.record(session);
        if let Ok(connection) = connection(session) {
            connection.enter(Phase::Idle);
        }
    }

    /// What failed is in the request's record; Pingora need not log it again.
    fn suppress_error_log(&self, _: &Session, _: &Self::CTX, _: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _: &Session,
        _: &Self::CTX,
        _: &Error,
        _: pingora_proxy::ProxyWarnLogContext,
    ) -> bool {
        true
    }
}

impl GatewayProxy {
    /// Bounds the time between two reads of the body. Another request may follow where neither the client nor a drain
    /// has said no.
    fn bound(&self, session: &mut Session) {
        session.set_read_timeout(Some(self.settings.body_timeout));
        if session.get_keepalive().is_some() {
            session.set_keepalive(Some(0)); // as long as the stream lets it wait
        }
        session.set_pipelining_enabled(true);
        if session.req_header().version == Version::HTTP_2 {
            session.set_write_timeout(Some(self.settings.send_timeout)); // a stream may stand still, its connection not
        }
    }
}

/// A try failed: whether there is to be another one. If finding that out failed, that is what is told.
fn settle(again: pingora::Result<bool>, error: &mut Box<Error>, context: &mut RequestContext) {
    match again {
        Ok(again) => error.set_retry(again),
        Err(ours) => {
            context.failure = None;
            *error = ours;
        }
    }
}

/// Whether the client has been sent the beginning of an answer.
fn is_begun(session: &Session) -> bool {
    session.response_written().is_some_and(|response| !response.status.is_informational())
}

/// The facts of the connection that a request came on.
fn connection(session: &Session) -> pingora::Result<&Arc<Connection>> {
    let facts = session.digest().and_then(facts);
    facts.ok_or_else(|| Error::explain(ErrorType::InternalError, "a connection without facts"))
}

/// The facts of the connection that Pingora's digest is of.
fn facts(digest: &Digest) -> Option<&Arc<Connection>> {
    digest.proxy_digest.as_ref()?.user_data.as_ref()?.downcast_ref()
}
