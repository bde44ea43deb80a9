//! Transom: a Kubernetes Gateway API implementation on Cloudflare's Pingora. Controller and data plane in one
//! binary, which also runs on a laptop from the very same YAML. This page is the map of the house.
//!
//! ```text
//!    SOURCES (I/O)            HELD              TRANSLATE (pure, sync, total)              OUT (I/O)
//!
//!  YAML files, folders ─┐                     ┌──────────────────────────────┐
//!    source/            ├─ Event ─▶ Resources │ graph/   resolve; problems   │
//!  observed facts ──────┘   mpsc    store/  ─▶│    │     are data            │
//!    bound ports, peers                       │    ├─▶ compile/ ─▶ Snapshot ─┼─▶ proxy/   Pingora's phases
//!         ▲                                   │    └─▶ report/  ─▶ Statuses ─┼─▶ status/, infra/, cli/, admin/
//!         │                                   └──────────────────────────────┘     │
//!         └────────────── facts come back only as Events, at the top ◀─────────────┘
//!
//!   wing A: api store translate source status infra controller  |  wing B: proxy  |  bridge: snapshot  (ground: router)
//! ```
//!
//! Wing A turns objects into a [`snapshot::Snapshot`] and [`translate::Statuses`] and cannot name Pingora. Wing B
//! serves traffic and cannot name Kubernetes. They meet only at [`snapshot`], with [`router`] beneath it.
//!
//! # Invariants, and the test that holds each
//!
//! 1. **Total.** [`translate::translate`] never fails and never panics: a bad object yields a problem, and only that
//!    object suffers. (`tests/translate.rs`: random and mutated objects)
//! 2. **Deterministic.** The same objects in any order give equal output; no clock, randomness, I/O or logging in
//!    [`translate`]. (`tests/translate.rs`: shuffled events; `tests/architecture.rs`)
//! 3. **One graph.** Snapshot and statuses are read off the same graph; neither is written while resolving.
//!    (`tests/architecture.rs`: stages look back only)
//! 4. **Ignorance.** `proxy` cannot name a Kubernetes type; `translate` cannot name tokio, Pingora or the time.
//!    (`tests/architecture.rs`)
//! 5. **One read.** A request loads the snapshot once and keeps what it matched; no globally shared `Arc` is cloned
//!    for a request.
//! 6. **No invalid state crosses the bridge.** What the specification answers with an error is an action; a match
//!    that cannot be compiled never matches, and never matches more. (`tests/translate.rs`, `router` properties)
//! 7. **Feedback is input.** Bound addresses return as events. Nothing calls back.
//! 8. **Serving outlives its source.** A source that fails keeps the last snapshot. Ready means: the first complete
//!    snapshot is applied and its ports are bound. (`tests/files.rs`, `tests/cli_run.rs`, `tests/traffic_listeners.rs`,
//!    `tests/kubernetes_state.rs`)
//! 9. **Everyone computes, only the leader writes.** (`tests/kubernetes_status.rs`,
//!    `tests/kubernetes_infra.rs`, `tests/kubernetes_lease.rs`)
//! 10. **Two kinds of runtime.** Watching, translating and admin run on a small runtime of their own; traffic runs on
//!     one current-thread runtime per core. (`tests/load_changes.rs`)
//! 11. **Nothing silent.** A field that is not honoured is a condition, a finding or an error. (`tests/cases/`)
//! 12. **Tenants are apart.** Every key carries the namespace: backends, pools, metrics.
//! 13. **Endpoints have their own road.** A change of endpoints swaps one upstream's set and rebuilds no routes.
//!
//! # Glossary
//!
//! | word | meaning here |
//! |---|---|
//! | resources, event, object ref | objects held; a change; who |
//! | graph, node, attachment, problem | resolved objects, and why something is not as asked |
//! | snapshot, publisher, reader | immutable state of the data plane; one writes, many read |
//! | bind, listener, route table, rule, match, precedence, action | the serving side |
//! | upstream, endpoint, share | a resolved backendRef; an address; a part of the traffic |
//! | statuses, condition, finding | the reporting side |
//! | downstream, upstream, peer, session, phase, filter | as Pingora uses them |

pub mod api;
pub mod config;
pub mod source;
pub mod store;

pub mod controller;
pub mod infra;
pub mod status;
pub mod translate;

pub mod router;
pub mod snapshot;

pub mod proxy;

pub mod lifecycle;
pub mod telemetry;

pub mod admin;
pub mod app;
pub mod cli;
pub mod echo;
pub mod quickstart;
