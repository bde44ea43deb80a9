//! Traces: OTLP to a collector, W3C trace context to upstreams, sampling by parent and ratio.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "parts of tests fail as tests do"
)]

#[path = "support/traffic/mod.rs"]
mod support;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper::{Request, Response};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use support::client::Client;
use support::config::{Config, listener};
use support::script::Actor;
use support::stage::again;
use support::{Gateway, eventually, free_address};
use tokio_util::sync::CancellationToken;
use transom::proxy::Settings;
use transom::telemetry::trace::Options;
use transom::telemetry::{AccessLog, BuildLabels, Telemetry, Tracer};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const SERVER: i32 = 2;
const CLIENT: i32 = 3;

/// Takes what is exported.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

impl Collector {
    async fn start() -> (Collector, SocketAddr) {
        let (collector, address) = (Collector::default(), free_address());
        let socket = tokio::net::TcpListener::bind(address).await.unwrap();
        let taken = collector.clone();
        tokio::spawn(async move {
            loop {
                let (tcp, _) = socket.accept().await.unwrap();
                let taken = taken.clone();
                let take = service_fn(move |request: Request<hyper::body::Incoming>| {
                    let taken = taken.clone();
                    async move {
                        assert_eq!(request.uri().path(), "/v1/traces");
                        assert_eq!(request.headers()["content-type"], "application/x-protobuf");
                        let body = request.into_body().collect().await.unwrap().to_bytes();
                        taken.0.lock().unwrap().push(ExportTraceServiceRequest::decode(body).unwrap());
                        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
                    }
                });
                let io = hyper_util::rt::TokioIo::new(tcp);
                tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(io, take));
            }
        });
        (collector, address)
    }

    fn spans(&self) -> Vec<Span> {
        let taken = self.0.lock().unwrap();
        let resources = taken.iter().flat_map(|export| &export.resource_spans);
        resources.flat_map(|resource| &resource.scope_spans).flat_map(|scope| scope.spans.clone()).collect()
    }

    async fn wait(&self, count: usize) -> Vec<Span> {
        eventually("spans", || async { Some(self.spans()).filter(|spans| spans.len() >= count) }).await
    }
}

/// A gateway that is traced, and in front of what it forwards to.
struct Traced {
    gateway: Gateway,
    address: SocketAddr,
    stop: CancellationToken,
    export: tokio::task::JoinHandle<()>,
}

async fn traced(collector: SocketAddr, ratio: f64, endpoints: &[SocketAddr]) -> Traced {
    let (service, version) = ("edge".to_owned(), "1".to_owned());
    let endpoint = format!("http://{collector}").parse().unwrap();
    let (tracer, export) = Tracer::new(Options { endpoint, ratio, service, version }).unwrap();
    let stop = CancellationToken::new();
    let export = tokio::spawn(export.run(stop.clone()));
    let telemetry = Telemetry::traced(BuildLabels::default(), AccessLog::off(), Some(tracer));
    let mut gateway = Gateway::recorded(Settings::default(), telemetry);
    let address = free_address();
    let mut config = Config::default();
    let to = config.upstream("a", endpoints);
    let rule = config.forward("a", to);
    gateway.serve(config.http(address, vec![listener("web", Some("a.com"), rule)]).build()).await;
    Traced { gateway, address, stop, export }
}

async fn get(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> u16 {
    let mut request = Request::get(format!("http://a.com{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Client::h1(address).await.send(request.body(Full::default()).unwrap()).await.unwrap().status.as_u16()
}

fn field(heard: &str, name: &str) -> Option<String> {
    let line = heard.lines().find(|line| line.to_ascii_lowercase().starts_with(&format!("{name}:")))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn attribute(span: &Span, name: &str) -> Option<String> {
    let value = span.attributes.iter().find(|one| one.key == name)?.value.clone()?.value?;
    Some(match value {
        Value::StringValue(text) => text,
        Value::IntValue(number) => number.to_string(),
        other => format!("{other:?}"),
    })
}

fn kind(spans: &[Span], kind: i32) -> Vec<&Span> {
    spans.iter().filter(|span| span.kind == kind).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_a_parent_begins_a_trace_that_the_upstream_goes_on_with() {
    let (collector, at) = Collector::start().await;
    let upstream = Actor::always(again(OK)).await;
    let it = traced(at, 1.0, &[upstream.address]).await;
    assert_eq!(get(it.address, "/x?token=s3cret", &[("user-agent", "probe/1"), ("tracestate", "a=1")]).await, 200);
    let spans = collector.wait(2).await;
    let (server, client) = (kind(&spans, SERVER)[0], kind(&spans, CLIENT)[0]);
    assert!(server.parent_span_id.is_empty());
    assert_eq!((&client.trace_id, &client.parent_span_id), (&server.trace_id, &server.span_id));
    let heard = upstream.heard(0);
    let sent = format!("00-{}-{}-01", hex(&client.trace_id), hex(&client.span_id));
    assert_eq!(field(&heard, "traceparent").as_deref(), Some(&*sent), "{heard}");
    assert_eq!(field(&heard, "tracestate"), None, "there was no parent to go with it");
    for (name, value) in [
        ("http.request.method", "GET"),
        ("http.response.status_code", "200"),
        ("url.path", "/x"),
        ("url.scheme", "http"),
        ("server.address", "a.com"),
        ("client.address", "127.0.0.1"),
        ("network.protocol.version", "1.1"),
        ("user_agent.original", "probe/1"),
        ("transom.reason", "none"),
        ("transom.listener", "web"),
        ("transom.rule", "0"),
    ] {
        assert_eq!(attribute(server, name).as_deref(), Some(value), "{name}");
    }
    assert_eq!(server.name, format!("GET {}", attribute(server, "http.route").unwrap()));
    assert_eq!(attribute(client, "server.port"), Some(upstream.address.port().to_string()));
    assert_eq!(attribute(client, "http.response.status_code").as_deref(), Some("200"));
    assert!(server.start_time_unix_nano <= client.start_time_unix_nano);
    assert!(client.end_time_unix_nano <= server.end_time_unix_nano && client.start_time_unix_nano > 0);
    assert!(!format!("{spans:?}").contains("s3cret"));
    let text = it.gateway.telemetry.metrics_text();
    assert!(text.contains("transom_trace_spans_total{result=\"exported\"} 2\n"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_parent_decides_and_without_one_the_ratio() {
    let (collector, at) = Collector::start().await;
    let upstream = Actor::always(again(OK)).await;
    let it = traced(at, 0.0, &[upstream.address]).await;
    let (sampled, not) = (format!("{PARENT}-01"), format!("{PARENT}-00"));
    let asks: [&[(&str, &str)]; 4] = [
        &[("traceparent", &not), ("tracestate", "a=1")],
        &[],
        &[("traceparent", "garbage"), ("tracestate", "a=1")],
        &[("traceparent", &sampled), ("tracestate", "a=1")],
    ];
    for (number, headers) in asks.into_iter().enumerate() {
        assert_eq!(get(it.address, &format!("/{number}"), headers).await, 200);
    }
    // on one connection or several: two workers, each with its own
    let all: String = (0..upstream.connections()).map(|number| upstream.heard(number)).collect();
    let one = |number| all.split("GET /").find(|text| text.starts_with(&format!("{number} "))).unwrap().to_owned();
    let heard: Vec<String> = (0..4).map(one).collect();
    assert_eq!(field(&heard[0], "traceparent").as_deref(), Some(&*not), "passed on as it came");
    for unsampled in &heard[1..3] {
        let sent = field(unsampled, "traceparent").unwrap();
        assert!(sent.starts_with("00-") && sent.ends_with("-00") && !sent.contains(&PARENT[3..35]), "{sent}");
        assert_eq!(field(unsampled, "tracestate"), None);
    }
    assert_eq!(field(&heard[3], "tracestate").as_deref(), Some("a=1"));
    let spans = collector.wait(2).await;
    assert_eq!(spans.len(), 2, "only the request whose parent is sampled: {spans:?}");
    let server = kind(&spans, SERVER)[0];
    assert_eq!(format!("00-{}-{}", hex(&server.trace_id), hex(&server.parent_span_id)), PARENT);
    assert!(field(&heard[3], "traceparent").unwrap().starts_with(&PARENT[..35]));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_try_is_a_span_of_its_own() {
    let (collector, at) = Collector::start().await;
    let upstream = Actor::always(again(OK)).await;
    let gone = free_address();
    let it = traced(at, 1.0, &[gone, upstream.address]).await;
    // Which endpoint is first is drawn.
    for number in 0..100 {
        assert_eq!(get(it.address, "/", &[]).await, 200);
        let spans = collector.wait(2 * (number + 1)).await;
        let tries = kind(&spans, CLIENT);
        if let Some(failed) =
            tries.iter().find(|span| attribute(span, "error.type").as_deref() == Some("connect_failed"))
        {
            assert_eq!(attribute(failed, "server.port"), Some(gone.port().to_string()));
            let second = tries
                .iter()
                .find(|span| span.parent_span_id == failed.parent_span_id && span.span_id != failed.span_id);
            assert_eq!(attribute(second.unwrap(), "http.request.resend_count").as_deref(), Some("1"));
            return;
        }
    }
    panic!("never drawn");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_the_gateways_own_says_why() {
    let (collector, at) = Collector::start().await;
    let it = traced(at, 1.0, &[]).await;
    assert_eq!(get(it.address, "/", &[]).await, 503);
    let request = Request::builder().method("BREW").uri("http://b.com/").body(Full::default()).unwrap();
    assert_eq!(Client::h1(it.address).await.send(request).await.unwrap().status.as_u16(), 404);
    let spans = collector.wait(2).await;
    let of = |code: &str| {
        spans.iter().find(|span| attribute(span, "http.response.status_code").as_deref() == Some(code)).unwrap()
    };
    assert_eq!(attribute(of("503"), "error.type").as_deref(), Some("no_endpoints"));
    assert_eq!(attribute(of("404"), "transom.reason").as_deref(), Some("no_listener"));
    assert_eq!(attribute(of("404"), "error.type"), None, "a mistake of the client's");
    assert_eq!((&*of("404").name, attribute(of("404"), "http.request.method").as_deref()), ("HTTP", Some("_OTHER")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_costs_spans_and_no_request() {
    let upstream = Actor::always(again(OK)).await;
    let it = traced(free_address(), 1.0, &[upstream.address]).await;
    assert_eq!(get(it.address, "/", &[]).await, 200);
    let failed = "transom_trace_spans_total{result=\"failed\"} 2\n";
    eventually("the failure", || async { it.gateway.telemetry.metrics_text().contains(failed).then_some(()) }).await;
    assert_eq!(get(it.address, "/", &[]).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_recorded_is_sent_before_the_end() {
    let (collector, at) = Collector::start().await;
    let upstream = Actor::always(again(OK)).await;
    let it = traced(at, 1.0, &[upstream.address]).await;
    assert_eq!(get(it.address, "/", &[]).await, 200);
    let counted = || async { it.gateway.telemetry.metrics_text().contains("reason=\"none\"} 1\n").then_some(()) };
    eventually("the record", counted).await;
    it.stop.cancel();
    it.export.await.unwrap();
    assert_eq!(collector.spans().len(), 2);
}
