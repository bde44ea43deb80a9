//! The way of spans to a collector: a bounded queue, batches, OTLP over HTTP with protobuf.
//!
//! `OTEL_EXPORTER_OTLP_HEADERS` is read, as OpenTelemetry's specification has it: what authenticates us to a collector
//! stands in the environment and in no setting that is printed.

use std::time::Duration;

use http::Uri;
use hyper_rustls::HttpsConnectorBuilder;
use opentelemetry::KeyValue;
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SpanData, SpanExporter as _};
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::{Core, Tracer};
use crate::telemetry::metrics::SpanCounts;

/// Spans that wait to be sent; about 1 KiB each.
const QUEUE: usize = 4096;
/// Spans of one message to the collector.
const BATCH: usize = 512;
/// For how long a batch is filled.
const FILLING: Duration = Duration::from_secs(1);
/// For the collector to take a batch.
const PATIENCE: Duration = Duration::from_secs(10);
/// For what is left at the end.
const LAST: Duration = Duration::from_secs(3);
/// Where OTLP over HTTP takes traces, unless the endpoint names a path.
const DEFAULT_PATH: &str = "/v1/traces";

/// Where spans go, and which.
#[derive(Debug, Clone)]
pub struct Options {
    /// The collector; `/v1/traces` stands for no path.
    pub endpoint: Uri,
    /// Share of the requests without a sampled parent that is recorded, 0 to 1.
    pub ratio: f64,
    /// `service.name` of the spans.
    pub service: String,
    /// `service.version` of the spans.
    pub version: String,
}

/// Why there are no traces.
#[derive(Debug, Error)]
pub enum TraceError {
    /// The trust store of the system cannot be read.
    #[error("no CA certificates for {endpoint}: {why}")]
    Roots {
        /// The collector.
        endpoint: Uri,
        /// As the system says it.
        why: std::io::Error,
    },
    /// The exporter takes no such endpoint.
    #[error("trace endpoint {endpoint}: {why}")]
    Endpoint {
        /// The collector.
        endpoint: Uri,
        /// In the exporter's words.
        why: String,
    },
}

/// Sends what is queued; to be run on the control runtime.
#[derive(Debug)]
pub struct Export {
    queue: mpsc::Receiver<SpanData>,
    exporter: SpanExporter,
    counts: SpanCounts,
    endpoint: String,
    failing: bool,
}

impl Tracer {
    /// A tracer, and the task that sends what it records.
    ///
    /// # Errors
    /// The collector's address is none that can be spoken to.
    pub fn new(options: Options) -> Result<(Tracer, Export), TraceError> {
        let endpoint = address(&options.endpoint);
        let mut exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(client(&options.endpoint)?)
            .with_endpoint(&endpoint)
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(PATIENCE)
            .build()
            .map_err(|why| TraceError::Endpoint { endpoint: options.endpoint.clone(), why: why.to_string() })?;
        let version = KeyValue::new("service.version", options.version);
        exporter.set_resource(&Resource::builder().with_service_name(options.service).with_attribute(version).build());
        let (sender, queue) = mpsc::channel(QUEUE);
        let counts = SpanCounts::new();
        let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(options.ratio)));
        let core = Core { sampler, queue: sender, counts: counts.clone() };
        let export = Export { queue, exporter, counts, endpoint, failing: false };
        Ok((Tracer { core: std::sync::Arc::new(core) }, export))
    }

    /// What is counted of spans.
    pub(in crate::telemetry) fn counts(&self) -> &SpanCounts {
        &self.core.counts
    }
}

impl Export {
    /// Sends batches until `stop`, and then what is left, for a short while.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut batch = Vec::with_capacity(BATCH);
        while !stop.is_cancelled() {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                count = self.queue.recv_many(&mut batch, BATCH) => if count == 0 { return },
            }
            let until = Instant::now() + FILLING;
            while batch.len() < BATCH {
                let room = BATCH - batch.len();
                let more = tokio::select! {
                    () = stop.cancelled() => break,
                    more = timeout_at(until, self.queue.recv_many(&mut batch, room)) => more,
                };
                if !matches!(more, Ok(1..)) {
                    break;
                }
            }
            if !stop.is_cancelled() {
                self.send(std::mem::take(&mut batch)).await;
            }
        }
        let _ = timeout(LAST, self.finish(batch)).await;
    }

    async fn finish(&mut self, mut batch: Vec<SpanData>) {
        loop {
            while batch.len() < BATCH
                && let Ok(span) = self.queue.try_recv()
            {
                batch.push(span);
            }
            if batch.is_empty() {
                return;
            }
            self.send(std::mem::take(&mut batch)).await;
        }
    }

    /// Logs a collector that fails once, until it takes spans again.
    async fn send(&mut self, batch: Vec<SpanData>) {
        let count = batch.len() as u64;
        match self.exporter.export(batch).await {
            Ok(()) => {
                self.counts.exported(count);
                if std::mem::take(&mut self.failing) {
                    tracing::info!(endpoint = %self.endpoint, "the collector takes traces again");
                }
            }
            Err(error) => {
                self.counts.failed(count);
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(endpoint = %self.endpoint, %error, "the collector does not take traces; they are lost");
                }
            }
        }
    }
}

fn address(endpoint: &Uri) -> String {
    let given = endpoint.to_string();
    match endpoint.path() {
        "" | "/" => format!("{}{DEFAULT_PATH}", given.trim_end_matches('/')),
        _ => given,
    }
}

/// A client that trusts what the system trusts.
fn client(
    endpoint: &Uri,
) -> Result<HyperClient<hyper_rustls::HttpsConnector<hyper_util::client::legacy::connect::HttpConnector>>, TraceError> {
    let builder = HttpsConnectorBuilder::new();
    let connector = if endpoint.scheme_str() == Some("https") {
        let builder = builder
            .with_provider_and_native_roots(rustls::crypto::ring::default_provider())
            .map_err(|why| TraceError::Roots { endpoint: endpoint.clone(), why })?;
        builder.https_only().enable_http1().build()
    } else {
        let none = rustls::ClientConfig::builder().with_root_certificates(rustls::RootCertStore::empty());
        builder.with_tls_config(none.with_no_client_auth()).https_or_http().enable_http1().build()
    };
    Ok(HyperClient::new(connector, PATIENCE, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A collector that takes nothing costs what waits, and that is bounded.
    #[test]
    fn a_full_queue_drops_spans_and_counts_them() {
        let options = Options {
            endpoint: "http://127.0.0.1:1".parse().unwrap(),
            ratio: 1.0,
            service: "s".to_owned(),
            version: "1".to_owned(),
        };
        let (tracer, export) = Tracer::new(options).unwrap();
        let record = crate::telemetry::request::sample();
        for _ in 0..QUEUE + 7 {
            let traced = tracer.begin(&http::HeaderMap::new()).unwrap();
            tracer.end(&traced, &record);
        }
        assert_eq!(export.queue.len(), QUEUE);
        assert_eq!(export.counts.of("dropped"), 7);
    }

    #[test]
    fn an_endpoint_without_a_path_has_the_usual_one() {
        for (given, address_is) in [
            ("http://otel:4318", "http://otel:4318/v1/traces"),
            ("http://otel:4318/", "http://otel:4318/v1/traces"),
            ("https://otel/custom", "https://otel/custom"),
        ] {
            assert_eq!(address(&given.parse().unwrap()), address_is);
        }
    }
}
