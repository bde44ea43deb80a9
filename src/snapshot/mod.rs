//! THE BRIDGE. All that the data plane may know: immutable, resolved, and valid by construction.
//!
//! Wing A compiles a [`Snapshot`] and gives it to the [`Publisher`]; wing B holds a [`Reader`]. What the
//! specification answers with an error is an action here, regexes are compiled, keys are parsed. No Kubernetes
//! type stands here. Endpoints have a cell of their own, so that they move without a new snapshot.

pub mod filter;
pub mod health;
pub mod listener;
pub mod policy;
pub mod publish;
pub mod route;
pub mod tls;
pub mod upstream;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::Serialize;

pub use filter::{Filter, Filters, Redirect, Retry, Timeouts};
pub use health::EndpointHealth;
pub use listener::{Bind, BindProtocol, Choice, Listener, ListenerId};
pub use policy::Policy;
pub use publish::{Publisher, Reader};
pub use route::{Action, LocalAnswer, RouteId, Rule, RuleIndex, Share, Target, WeightedUpstreams};
pub use upstream::{Endpoint, EndpointSet, Upstream, UpstreamId, UpstreamIndex, UpstreamProtocol};

/// Everything that is served, at one moment.
#[derive(Debug, Default, Serialize)]
pub struct Snapshot {
    /// By the address to bind. `[::]:port` stands for every address of both families.
    pub binds: BTreeMap<SocketAddr, Bind>,
    /// By how much each port below 1024 is bound higher than its listener says (`--port-offset`).
    #[serde(skip_serializing_if = "is_none")]
    pub port_offset: u16,
    /// Every rule; the route tables of the listeners hold indices into it.
    pub rules: Vec<Rule>,
    /// Every upstream; shares hold indices into it.
    pub upstreams: Vec<Upstream>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's form")]
fn is_none(offset: &u16) -> bool {
    *offset == 0
}

impl Snapshot {
    /// The rule of an index that a route table of this snapshot gave.
    #[must_use]
    pub fn rule(&self, index: RuleIndex) -> Option<&Rule> {
        self.rules.get(index.0 as usize)
    }

    /// The upstream of an index that a rule of this snapshot gave.
    #[must_use]
    pub fn upstream(&self, index: UpstreamIndex) -> Option<&Upstream> {
        self.upstreams.get(index.0 as usize)
    }
}
