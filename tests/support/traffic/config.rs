//! Snapshots by hand.

use std::net::SocketAddr;

use transom::router::{HostMap, Hostname, PathMatch, RouteEntry, RouteMatch, RouteOrder, RouteTable};
use transom::snapshot::filter::HeaderChanges;
use transom::snapshot::tls::ListenerTls;
use transom::snapshot::upstream::EndpointCell;
use transom::snapshot::{
    Action, Bind, BindProtocol, Endpoint, EndpointSet, Filters, Listener, ListenerId, LocalAnswer, Policy, RouteId,
    Rule, RuleIndex, Share, Snapshot, Target, Timeouts, Upstream, UpstreamId, UpstreamIndex, UpstreamProtocol,
    WeightedUpstreams,
};

/// A snapshot that is being built.
#[derive(Default)]
pub struct Config {
    snapshot: Snapshot,
}

/// A listener and its routes: (hostname of the route, path prefix, rule).
pub struct ListenerSpec {
    pub name: &'static str,
    pub hostname: Option<&'static str>,
    pub tls: Option<ListenerTls>,
    pub routes: Vec<(Option<&'static str>, &'static str, RuleIndex)>,
}

/// A cleartext listener for a hostname, with one route for every request.
pub fn listener(name: &'static str, hostname: Option<&'static str>, rule: RuleIndex) -> ListenerSpec {
    ListenerSpec { name, hostname, tls: None, routes: vec![(None, "/", rule)] }
}

/// The id that [`Config::upstream`] gives.
pub fn upstream_id(name: &str, protocol: UpstreamProtocol) -> UpstreamId {
    UpstreamId { namespace: "test".to_owned(), service: name.to_owned(), port: 80, protocol }
}

/// Endpoints of an upstream.
pub fn endpoints(addresses: &[SocketAddr]) -> EndpointSet {
    let mut endpoints: Vec<Endpoint> = addresses.iter().map(|address| Endpoint::new(*address)).collect();
    endpoints.sort();
    EndpointSet { endpoints: endpoints.into() }
}

/// A rule without filters, timeouts and retries.
pub fn rule(name: &str, action: Action) -> Rule {
    Rule {
        route: RouteId { kind: "HTTPRoute", namespace: "test".to_owned(), name: name.to_owned() },
        index: 0,
        name: None,
        filters: Filters::default(),
        timeouts: Timeouts::default(),
        retry: None,
        action,
    }
}

/// Forwarding by weight, each share through filters of its own.
pub fn forward_to(shares: Vec<(u32, UpstreamIndex, Filters)>) -> Action {
    let share = |(weight, index, filters)| Share { weight, target: Target::Upstream(index, filters) };
    Action::Forward(WeightedUpstreams::new(shares.into_iter().map(share)).unwrap())
}

/// A table with one route, for requests with these headers.
pub fn routes_by_header(headers: &[(&str, &str)], rule: RuleIndex) -> RouteTable<RuleIndex> {
    let matcher = |(name, value): &(&str, &str)| transom::router::HeaderMatch {
        name: name.parse().unwrap(),
        value: transom::router::ValueMatch::Exact((*value).to_owned()),
    };
    let matches = RouteMatch { headers: headers.iter().map(matcher).collect(), ..RouteMatch::default() };
    let order = RouteOrder { created: 0, route: "test/r".to_owned(), rule: 0, index: 0 };
    RouteTable::build(vec![RouteEntry { hostname: None, matches, order, value: rule }])
}

/// Changes of headers.
pub fn changes(set: &[(&str, &str)], add: &[(&str, &str)], remove: &[&str]) -> HeaderChanges {
    let pairs = |list: &[(&str, &str)]| {
        list.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    };
    let remove = remove.iter().map(|name| name.parse().unwrap()).collect();
    HeaderChanges { set: pairs(set), add: pairs(add), remove }
}

impl Config {
    /// An HTTP/1.1 upstream.
    pub fn upstream(&mut self, name: &str, addresses: &[SocketAddr]) -> UpstreamIndex {
        self.upstream_over(name, UpstreamProtocol::Http1, addresses)
    }

    /// An upstream.
    pub fn upstream_over(&mut self, name: &str, protocol: UpstreamProtocol, addresses: &[SocketAddr]) -> UpstreamIndex {
        let index = UpstreamIndex(u32::try_from(self.snapshot.upstreams.len()).unwrap());
        let cell = EndpointCell::new(endpoints(addresses));
        self.snapshot.upstreams.push(Upstream {
            id: upstream_id(name, protocol),
            policy: Policy::default(),
            endpoints: cell,
        });
        index
    }

    /// A rule that forwards to one upstream.
    pub fn forward(&mut self, name: &str, to: UpstreamIndex) -> RuleIndex {
        self.split(name, &[(1, Some(to))])
    }

    /// A rule that forwards by weight.
    pub fn split(&mut self, name: &str, shares: &[(u32, Option<UpstreamIndex>)]) -> RuleIndex {
        let target = |upstream: &Option<UpstreamIndex>| match upstream {
            Some(index) => Target::Upstream(*index, Filters::default()),
            None => Target::Invalid { backend: "test/gone:80".into(), answer: LocalAnswer::InvalidBackend },
        };
        let shares = shares.iter().map(|(weight, upstream)| Share { weight: *weight, target: target(upstream) });
        self.rule(name, Action::Forward(WeightedUpstreams::new(shares).unwrap()))
    }

    /// A rule without a usable backend.
    pub fn invalid(&mut self, name: &str) -> RuleIndex {
        self.rule(name, Action::Answer(LocalAnswer::InvalidBackend))
    }

    /// A rule that forwards to the one upstream with the one endpoint.
    pub fn to(&mut self, name: &str, endpoint: SocketAddr) -> RuleIndex {
        let upstream = self.upstream(name, &[endpoint]);
        self.forward(name, upstream)
    }

    /// A rule of one's own: `rule_with(Rule { timeouts, ..rule("name", forward_to(vec![(1, upstream, filters)])) })`.
    pub fn rule_with(&mut self, rule: Rule) -> RuleIndex {
        let index = RuleIndex(u32::try_from(self.snapshot.rules.len()).unwrap());
        self.snapshot.rules.push(rule);
        index
    }

    fn rule(&mut self, name: &str, action: Action) -> RuleIndex {
        self.rule_with(rule(name, action))
    }

    /// A cleartext bind.
    pub fn http(self, address: SocketAddr, listeners: Vec<ListenerSpec>) -> Config {
        self.bind(address, BindProtocol::Http, listeners)
    }

    /// A TLS bind.
    pub fn https(self, address: SocketAddr, listeners: Vec<ListenerSpec>) -> Config {
        self.bind(address, BindProtocol::Https, listeners)
    }

    fn bind(mut self, address: SocketAddr, protocol: BindProtocol, specs: Vec<ListenerSpec>) -> Config {
        let mut by_host = HostMap::default();
        let mut listeners = Vec::new();
        for (index, spec) in specs.into_iter().enumerate() {
            let hostname = spec.hostname.map(|name| Hostname::parse(name).unwrap());
            by_host.insert(hostname.as_ref(), u32::try_from(index).unwrap());
            let entries = spec.routes.into_iter().enumerate().map(|(at, (host, path, rule))| RouteEntry {
                hostname: host.map(|name| Hostname::parse(name).unwrap()),
                matches: RouteMatch { path: PathMatch::Prefix(path.to_owned()), ..RouteMatch::default() },
                order: RouteOrder {
                    created: 0,
                    route: format!("test/{}", spec.name),
                    rule: u32::try_from(at).unwrap(),
                    index: 0,
                },
                value: rule,
            });
            listeners.push(Listener {
                id: ListenerId {
                    namespace: "test".to_owned(),
                    gateway: "gateway".to_owned(),
                    listener: spec.name.to_owned(),
                },
                hostname,
                port: address.port(),
                tls: spec.tls,
                routes: RouteTable::build(entries.collect()),
            });
        }
        self.snapshot.binds.insert(address, Bind { protocol, listeners, by_host });
        self
    }

    /// The snapshot.
    pub fn build(self) -> Snapshot {
        self.snapshot
    }
}
