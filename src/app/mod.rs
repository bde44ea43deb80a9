//! Composition root: builds every part, joins them with channels, and takes them down in order. The only room
//! that may import everyone; it decides nothing about objects or requests.
//!
//! ```text
//!   objects ──batches──▶ controller ──snapshot──▶ proxy        admin ◀── readiness, telemetry, report
//!      ▲                     │                      │
//!   files, stand-ins         └──report──▶ watch     └── bound addresses ──▶ back to the controller, as events
//! ```
//!
//! Two kinds of runtime: everything here runs on a small one of its own; traffic runs on the data workers' threads.

mod certificates;
mod cluster;
mod descriptors;
mod feedback;
mod infra;
mod logging;
mod objects;
mod ports;
mod privilege;
mod ready;
mod state;
mod watch;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin::{self, AppliedView};
use crate::cli::explain::explain;
use crate::cli::version::Version;
use crate::cli::{Failure, Outcome, Sources, translating};
use crate::config::{Config, TlsVersion};
use crate::controller::{Controller, QUEUED_BATCHES};
use crate::lifecycle::Readiness;
use crate::lifecycle::signals::{Shutdown, Signals};
use crate::proxy;
use crate::snapshot::{Publisher, Reader};
use crate::source::state::StateFile;
use crate::telemetry::{AccessLog, BuildLabels, Telemetry, Tracer, panics, trace};
use crate::translate::{Binds, Origin};

pub use cluster::{lease_name, own_namespace};
pub use ports::redirections;
pub use privilege::take_up_low_ports;

use cluster::{Ends, Member};
use objects::Objects;

/// Threads for everything but traffic.
const CONTROL_THREADS: usize = 2;
/// For the access log to be written out at the end.
const LAST_LINES: Duration = Duration::from_secs(2);
/// For everyone to let go of a snapshot that was replaced.
const REPLACED: Duration = Duration::from_millis(10);
/// For tasks of the control runtime to end.
const LAST_TASKS: Duration = Duration::from_secs(5);

/// Serves until a signal ends it. `tidy` is called after snapshots, once what they replaced is free, and by
/// data workers when many connections have gone.
///
/// # Errors
/// Input that cannot be read; the admin address that cannot be had; without a cluster, every listener that cannot.
pub fn run(config: Config, sources: Sources, tidy: fn()) -> Result<Outcome, Failure> {
    logging::start(&config)?;
    panics::catch();
    take_up_low_ports();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(CONTROL_THREADS)
        .thread_name("control")
        .enable_all()
        .build()
        .map_err(|error| unavailable("control threads", &error))?;
    let answer = runtime.block_on(serve(config, sources, tidy));
    runtime.shutdown_timeout(LAST_TASKS);
    answer
}

async fn serve(config: Config, sources: Sources, tidy: fn()) -> Result<Outcome, Failure> {
    let mut signals = Signals::catch().map_err(|error| unavailable("signals", &error))?;
    let admin_address = config.admin_address.0;
    let admin =
        admin::bind(admin_address).map_err(|error| unavailable(&format!("admin address {admin_address}"), &error))?;
    let admin_address = admin.local_addr().unwrap_or(admin_address);
    let (tracer, export) = tracer(&config)?.unzip();
    let telemetry = telemetry(&config, tracer)?;
    let readiness = Readiness::new();
    let (objects_read, ports_bound) = (readiness.task("first objects"), readiness.task("ports of the first snapshot"));
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());

    if let Some(export) = export {
        tasks.spawn(export.run(stop.clone()));
    }
    let (origin, setup) = match sources {
        Sources::Kubernetes(_) => (Origin::Kubernetes, infra::setup(&config, own_namespace(), cluster::own_name())?),
        Sources::QuickStart | Sources::Files { .. } => (Origin::Files, None),
    };
    let mut objects = Objects::open(&sources, &config).await?;
    let state_file = config.state_file.given().map(|path| StateFile::new(path.to_owned()));
    let (events, queue) = mpsc::channel(QUEUED_BATCHES);
    let (publisher, reader) = Publisher::new();
    let settings = translating(&config, origin, Binds::Observed);
    let (controller, report) = Controller::new(settings, publisher, objects_read);
    match state_file {
        Some(file) if objects.cluster.is_some() => {
            objects.saved = state::load(&file);
            tasks.spawn(state::keep(file, controller.held(), stop.clone()));
        }
        Some(file) => tracing::warn!(path = %file.path().display(), "no state is kept: files are read at every start"),
        None => {}
    }
    tasks.spawn(controller.run(queue));
    tasks.spawn(tidy_up(reader.clone(), tidy));
    let applied = objects.cluster.take().map(|cluster| {
        let member = Member { controller_name: config.controller_name.as_str().to_owned(), setup };
        let ends = Ends { report: report.clone(), reader: reader.clone(), events: events.clone() };
        let shown = cluster::write_back(cluster, member, ends, telemetry.cluster(), &tasks, &stop);
        tasks.spawn(feedback::observations(shown.observations, events.clone()));
        AppliedView::new(shown.applied)
    });
    let view = objects.view(report.clone(), reader.clone());
    tasks.spawn(watch::follow(view.clone(), telemetry.clone()));
    tasks.spawn(admin.serve(state(&config, &readiness, &telemetry, &view, applied), stop.clone()));

    let proxy = proxy::start(proxy::Settings { tidy, ..serving(&config) }, reader, &telemetry, ports_bound)
        .map_err(|error| unavailable("data workers", &error))?;
    tasks.spawn(feedback::bound_addresses(proxy.bound(), events.clone()));
    tasks.spawn(objects.follow(events, telemetry.clone(), stop.clone()));

    let drain = tokio::select! {
        settled = ready::settle(&view, proxy.bound(), &sources) => {
            settled?;
            ready::announce(&view, admin_address, &sources)?;
            signals.next().await
        }
        asked = signals.next() => asked,
    };
    let draining = readiness.task("the end: draining");
    if drain == Shutdown::Drain {
        tracing::info!(grace = ?config.drain_grace.0, limit = ?config.drain_limit.0, "draining");
        tokio::select! {
            drained = proxy.drain(config.drain_grace.0, config.drain_limit.0) => {
                tracing::info!(cut = drained.cut, "drained");
            }
            _ = signals.next() => tracing::warn!("ended at once by a second signal"),
        }
    }
    drop(draining);
    stop.cancel();
    tasks.close();
    let _ = tokio::time::timeout(LAST_TASKS, tasks.wait()).await;
    telemetry.close(LAST_LINES);
    Ok(Outcome::Fine)
}

/// Calls `tidy` after snapshots, as long as there is a controller. Those that come close together share one call.
async fn tidy_up(mut reader: Reader, tidy: fn()) {
    while reader.next().await.is_some() {
        tokio::time::sleep(REPLACED).await;
        tidy();
    }
}

fn tracer(config: &Config) -> Result<Option<(Tracer, trace::Export)>, Failure> {
    let Some(endpoint) = config.tracing_otlp_endpoint.given() else { return Ok(None) };
    let options = trace::Options {
        endpoint: endpoint.clone(),
        ratio: config.tracing_sample_rate.value(),
        service: config.tracing_service_name.0.clone(),
        version: Version::CURRENT.version.to_owned(),
    };
    Tracer::new(options).map(Some).map_err(|error| Failure::WrongUse(error.to_string()))
}

fn telemetry(config: &Config, tracer: Option<Tracer>) -> Result<Telemetry, Failure> {
    let access_log = AccessLog::stdout(logging::options(config)?).map_err(|error| unavailable("access log", &error))?;
    let Version { version, commit, gateway_api, .. } = Version::CURRENT;
    Ok(Telemetry::traced(BuildLabels { version, commit, gateway_api }, access_log, tracer))
}

fn serving(config: &Config) -> proxy::Settings {
    let min_version = match config.tls_min_version {
        TlsVersion::V12 => proxy::TlsVersion::V12,
        TlsVersion::V13 => proxy::TlsVersion::V13,
    };
    let settings = proxy::Settings {
        workers: NonZeroUsize::new(usize::from(config.workers.0)),
        first_byte_timeout: config.first_byte_timeout.0,
        header_timeout: config.header_timeout.0,
        header_limit: config.header_limit.0 as usize,
        request_line_limit: config.request_line_limit.0 as usize,
        header_fields: usize::from(config.header_fields.0),
        body_limit: config.body_limit.0,
        body_timeout: config.body_timeout.0,
        send_timeout: config.send_timeout.0,
        half_close_timeout: config.half_close_timeout.0,
        handshake_timeout: config.handshake_timeout.0,
        tls: proxy::TlsSettings { min_version, suites: config.tls_cipher_suites.numbers() },
        keepalive_timeout: config.keepalive_timeout.0,
        h2_streams: config.http2_streams.0,
        h2_header_limit: config.header_limit.0,
        h2_stream_window: config.http2_stream_window.0,
        h2_connection_window: config.http2_connection_window.0,
        h2_send_buffer: config.http2_send_buffer.0 as usize,
        h2_resets: config.http2_resets.0,
        h2_control_frames: config.http2_control_frames.0,
        connect_timeout: config.connect_timeout.0,
        upstream_idle_timeout: config.upstream_idle_timeout.0,
        upstream_pool: config.upstream_pool.0,
        tcp_keepalive: config.tcp_keepalive.0,
        ports: ports::settings(config),
        ..proxy::Settings::default()
    };
    let descriptors = descriptors::raise();
    let max_connections = match config.max_connections.0 {
        0 => descriptors::connections(descriptors, settings.worker_count()),
        most => most,
    };
    tracing::debug!(max_connections, "room for clients");
    proxy::Settings { max_connections, ..settings }
}

fn state(
    config: &Config,
    readiness: &Readiness,
    telemetry: &Telemetry,
    view: &watch::View,
    applied: Option<AppliedView>,
) -> admin::State {
    let (view, reader, redirections) = (view.clone(), view.reader.clone(), redirections(config));
    admin::State {
        readiness: readiness.clone(),
        telemetry: telemetry.clone(),
        config: Arc::new(move || view.dump()),
        explain: Some(Arc::new(move |asked| explain(&reader.current(), asked, &redirections))),
        applied,
    }
}

fn unavailable(what: &str, error: &std::io::Error) -> Failure {
    Failure::Unavailable(format!("{what}: {error}"))
}
