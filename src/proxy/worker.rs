//! A data worker: one thread, one current-thread runtime, one `HttpProxy` with its own pool of connections to
//! endpoints. It does what it is told through its channel, and shares nothing that is counted with its siblings.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use pingora::apps::{HttpServerApp, HttpServerOptions};
use pingora::protocols::http::v2::server::default_h2_options;
use pingora::server::configuration::ServerConf;
use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::GatewayProxy;
use super::edge::Edge;
use super::listener::accept::Acceptor;
use super::listener::leaving::Signals;
use super::listener::room::{Reserve, Room};
use super::mirror::Mirrors;
use super::serving::{LoadRegistry, Serving, WorkerState};
use super::settings::Settings;
use super::upstream::peer::TRUSTED;
use super::upstream::ring::RingShelf;
use crate::telemetry::Recorder;

/// Tries of one request, whatever its rule says. How many there are is decided in [`retry`](super::retry).
const MAX_TRIES: usize = 1024;

/// How often a worker looks whether many of its connections have gone, and how many are many: each holds some 35 KiB.
const LOOK: Duration = Duration::from_secs(2);
const FEWER: usize = 32;

/// How often it gives memory back after that, and for how long: Pingora's timers hold theirs until their time has come,
/// also those of connections that have gone. What longer ones hold is little, one timer serves all of the same 10 ms.
const AGAIN: Duration = Duration::from_secs(20);
const LONGEST: Duration = Duration::from_mins(2);

/// How long before the end of a drain WebSockets are told of it: enough for them to part with their clients.
const PARTING: Duration = Duration::from_secs(2);

/// What a worker is told, in this order.
#[derive(Debug)]
pub enum Command {
    /// Serve this from now on.
    Serve(Arc<Serving>),
    /// Accept on this socket.
    Listen {
        /// Key of the bind in the snapshot.
        bind: SocketAddr,
        /// The worker's own socket of the bind.
        socket: TcpListener,
        /// When to stop.
        signals: Signals,
        /// Dropped when the socket is closed.
        open: mpsc::Sender<()>,
    },
    /// Finish what is in flight, for no longer than `limit`, and end.
    Finish {
        /// How long.
        limit: Duration,
        /// Told how many connections were cut.
        done: oneshot::Sender<usize>,
    },
}

/// The control side's hold on a worker. Dropping it ends the worker at once.
#[derive(Debug)]
pub struct Worker {
    commands: mpsc::Sender<Command>,
    thread: JoinHandle<()>,
}

impl Worker {
    /// Starts a worker.
    ///
    /// # Errors
    /// No thread or no runtime can be had.
    pub fn spawn(
        number: usize,
        settings: Arc<Settings>,
        recorder: Recorder,
        rings: RingShelf,
        room: Arc<Room>,
    ) -> io::Result<Worker> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (sender, commands) = mpsc::channel(64);
        // Here, and not by the thread: what lives as long as the worker would keep pages of the allocator from being given
        // back that the worker fills with what lives as long as a connection.
        let loads = LoadRegistry::new(number, recorder.clone(), rings, settings.upstream_h2_streams);
        let mirrors = Arc::new(Mirrors::new(settings.clone(), &recorder));
        let acceptor = Arc::new(acceptor(settings, recorder, room, mirrors.clone()));
        let thread = std::thread::Builder::new()
            .name(format!("data-{number}"))
            .spawn(move || runtime.block_on(run(acceptor, mirrors, loads, commands)))?;
        Ok(Worker { commands: sender, thread })
    }

    /// Where to send commands.
    pub fn commands(&self) -> &mpsc::Sender<Command> {
        &self.commands
    }

    /// Waits for the thread to end.
    pub fn join(self) {
        drop(self.commands);
        if self.thread.join().is_err() {
            tracing::error!("a data worker panicked");
        }
    }
}

/// The worker's part in every connection.
fn acceptor(settings: Arc<Settings>, recorder: Recorder, room: Arc<Room>, mirrors: Arc<Mirrors>) -> Acceptor {
    let state = Arc::new(WorkerState::new());
    let proxy = http_proxy(&settings, state.clone(), mirrors, recorder.clone());
    Acceptor {
        edge: Arc::new(Edge { proxy: Arc::new(proxy) }),
        state,
        settings,
        meter: recorder.connection_meter(),
        recorder,
        room,
        reserve: Reserve::take(),
        tasks: TaskTracker::new(),
        crest: AtomicUsize::new(0),
        last_call: CancellationToken::new(),
    }
}

async fn run(
    acceptor: Arc<Acceptor>,
    mirrors: Arc<Mirrors>,
    mut loads: LoadRegistry,
    mut commands: mpsc::Receiver<Command>,
) {
    let tasks = &acceptor.tasks;
    let mut crowd = Crowd::default();
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let command = tokio::select! {
            biased;
            command = commands.recv() => command,
            _ = look.tick() => {
                let crest = acceptor.crest.swap(0, Ordering::Relaxed);
                if crowd.has_left_memory(crest, tasks.len(), Instant::now()) {
                    (acceptor.settings.tidy)();
                }
                continue;
            }
        };
        let Some(command) = command else { break };
        match command {
            Command::Serve(serving) => {
                mirrors.retain(&serving.snapshot);
                acceptor.state.refresh(serving, &mut loads);
            }
            Command::Listen { bind, socket, signals, open } => match tokio::net::TcpListener::from_std(socket) {
                Ok(listener) => {
                    let acceptor = acceptor.clone();
                    tasks.spawn(async move {
                        acceptor.run(listener, bind, signals).await;
                        drop(open);
                    });
                }
                Err(error) => tracing::error!(%bind, %error, "a listening socket was lost"),
            },
            Command::Finish { limit, done } => {
                acceptor.edge.http_cleanup().await;
                tasks.close();
                let parting = PARTING.min(limit / 2);
                if timeout(limit.saturating_sub(parting), tasks.wait()).await.is_err() {
                    acceptor.last_call.cancel();
                    let _ = timeout(parting, tasks.wait()).await;
                }
                mirrors.end().await;
                let _ = done.send(tasks.len());
                break;
            }
        }
    }
}

/// How many connections there were, and since when there are many fewer.
#[derive(Debug, Default)]
struct Crowd {
    most: usize,
    gone: Option<Gone>,
}

/// When the last of a crowd went, and when memory was last given back.
#[derive(Debug)]
struct Gone {
    at: Instant,
    tidied: Instant,
}

impl Crowd {
    /// Whether there is memory to give back of connections that have gone: the allocator keeps what a thread frees for
    /// that thread, and looks at it only when the thread next allocates much. `crest` is the most there were since the
    /// last look: a crowd may come and go between two.
    fn has_left_memory(&mut self, crest: usize, count: usize, now: Instant) -> bool {
        self.most = self.most.max(crest);
        if count + FEWER <= self.most {
            self.most = count;
            self.gone = Some(Gone { at: now, tidied: now });
            return true;
        }
        self.most = self.most.max(count);
        match &mut self.gone {
            Some(gone) if now >= gone.tidied + AGAIN => {
                gone.tidied = now;
                if now >= gone.at + LONGEST {
                    self.gone = None;
                }
                true
            }
            _ => false,
        }
    }
}

fn http_proxy(
    settings: &Arc<Settings>,
    state: Arc<WorkerState>,
    mirrors: Arc<Mirrors>,
    recorder: Recorder,
) -> pingora_proxy::HttpProxy<GatewayProxy> {
    let conf = ServerConf {
        threads: 1,
        upstream_keepalive_pool_size: settings.upstream_pool.div_ceil(settings.worker_count()).max(1),
        max_retries: MAX_TRIES,
        ca_file: Some(TRUSTED.to_owned()),
        ..ServerConf::default()
    };
    let gateway = GatewayProxy { state, mirrors, settings: settings.clone(), recorder: Arc::new(recorder) };
    let mut proxy = pingora_proxy::http_proxy(&Arc::new(conf), gateway);
    let mut options = HttpServerOptions::default();
    // CONNECT is refused in our own words.
    options.allow_connect_method_proxying = true;
    options.h2_idle_timeout = Some(settings.keepalive_timeout);
    proxy.server_options = Some(options);
    let mut h2 = default_h2_options();
    h2.max_concurrent_streams(settings.h2_streams)
        .max_header_list_size(settings.h2_header_limit)
        .initial_window_size(settings.h2_stream_window)
        .initial_connection_window_size(settings.h2_connection_window)
        .max_send_buffer_size(settings.h2_send_buffer)
        // Those that were reset before they were looked at; all of them are counted by the stream.
        .max_pending_accept_reset_streams(settings.h2_resets as usize);
    proxy.h2_options = Some(h2);
    proxy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_given_back_when_many_have_gone_and_when_their_timers_have() {
        let begun = Instant::now();
        let mut crowd = Crowd::default();
        let mut given_back = |seconds, count| crowd.has_left_memory(0, count, begun + Duration::from_secs(seconds));
        for (seconds, count) in [(0, 0), (2, 1000), (4, 990), (6, 969), (100, 969)] {
            assert!(!given_back(seconds, count), "{count} after {seconds} s");
        }
        assert!(given_back(102, 968), "32 fewer than there were at most");
        let again: Vec<u64> = (104..400).step_by(2).filter(|seconds| given_back(*seconds, 968)).collect();
        assert_eq!(again, [122, 142, 162, 182, 202, 222]);
    }

    #[test]
    fn a_crowd_that_comes_and_goes_between_two_looks_is_seen() {
        let now = Instant::now();
        let mut crowd = Crowd::default();
        assert!(!crowd.has_left_memory(10, 10, now));
        assert!(crowd.has_left_memory(1000, 10, now + LOOK));
        assert!(!crowd.has_left_memory(12, 10, now + 2 * LOOK), "it was seen once");
    }
}
