//! From a request to what becomes of it, on the snapshot and by the search that serve traffic.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::request::{Asked, Scheme};
use crate::cli::view::{
    self, AnswerView, BackendView, FilterView, ForwardedView, HeaderView, MatchView, RetryView, RouteView, RuleView,
    TimeoutsView,
};
use crate::proxy::Redirection;
use crate::proxy::preview::{self, Foreseen, Incoming};
use crate::router::{Outcome, RequestParts, RouteMatch, Trial, normalise_host, path};
use crate::snapshot::{Action, Bind, BindProtocol, Choice, Listener, Rule, RuleIndex, Snapshot, Target};
use crate::telemetry::Reason;

/// Where the requests of some ports are sent, by the port that listeners name.
pub type Redirections = BTreeMap<u16, Redirection>;

/// What becomes of a request, and why. A part that the request did not get to is absent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The request, as it was judged.
    pub request: RequestView,
    /// `namespace/name` of the Gateway.
    pub gateway: Option<String>,
    /// Name of the listener.
    pub listener: Option<String>,
    /// The hostname of the route that took the host; `*` for a route that takes every host of the listener.
    pub hostname: Option<String>,
    /// Whose rule.
    pub route: Option<RouteView>,
    /// Which rule.
    pub rule: Option<RuleView>,
    /// The match that fitted.
    #[serde(rename = "match")]
    pub matches: Option<MatchView>,
    /// What is done to request and answer, in the order of the route.
    pub filters: Vec<FilterView>,
    /// Bounds in time.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub timeouts: Option<TimeoutsView>,
    /// When it is sent again.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub retry: Option<RetryView>,
    /// Where it goes, by weight.
    pub backends: Vec<BackendView>,
    /// What the gateway answers by itself.
    pub answer: AnswerView,
    /// Whose rules looked as if they could take the request, in order of precedence.
    pub losers: Vec<Loser>,
    /// Which listener, in words.
    #[serde(skip)]
    pub listener_words: Option<String>,
    /// What a person should know beside it.
    #[serde(skip)]
    pub notes: Vec<String>,
}

/// The request, as it was judged: host and path are what routes are compared with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestView {
    method: String,
    url: String,
    scheme: String,
    sni: Option<String>,
    host: String,
    port: u16,
    path: String,
    query: Option<String>,
    headers: Vec<HeaderView>,
}

/// A rule that did not take the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loser {
    /// Whose rule.
    pub route: RouteView,
    /// Which rule.
    pub rule: RuleView,
    /// Why it lost.
    pub why: String,
}

/// The port's part of the answer: who takes the connection, or why nobody does.
enum Taken<'a> {
    By(SocketAddr, &'a Bind, Option<u32>),
    Not(String, Reason),
}

impl Explanation {
    /// The request in one line: as it was given, and what it was judged by where that differs.
    pub(super) fn asked(&self) -> String {
        let request = &self.request;
        format!("{} {} (host {}, path {})", request.method, request.url, request.host, request.path)
    }

    /// Whether a backend is asked for what the client asked for.
    pub(super) fn is_as_asked(&self, forwarded: &ForwardedView) -> bool {
        let request = &self.request;
        let target =
            request.query.as_ref().map_or_else(|| request.path.clone(), |query| format!("{}?{query}", request.path));
        forwarded.path == target && normalise_host(&forwarded.host).is_ok_and(|host| host == request.host)
    }

    /// Explains a request. Requests to the ports of `redirections` are sent elsewhere.
    #[must_use]
    pub fn of(snapshot: &Snapshot, asked: &Asked, redirections: &Redirections) -> Explanation {
        let mut explanation = Explanation::judged(snapshot, asked, redirections);
        explanation.answer = explanation.answer.told(&asked.headers);
        explanation
    }

    fn judged(snapshot: &Snapshot, asked: &Asked, redirections: &Redirections) -> Explanation {
        let mut explanation = Explanation::bare(asked);
        let (address, bind, by_sni) = match explanation.connect(snapshot, asked) {
            Taken::By(address, bind, by_sni) => (address, bind, by_sni),
            Taken::Not(note, reason) => return explanation.end(None, reason, note),
        };
        let host = match normalise_host(&asked.authority) {
            Ok(host) => host.into_owned(),
            Err(problem) => return explanation.end(Some(400), Reason::RequestInvalid, problem.to_string()),
        };
        explanation.request.host.clone_from(&host);
        let normal = match path::normalise_for(&asked.method, &asked.path) {
            Ok(path) => path.into_owned(),
            Err(problem) => return explanation.end(Some(400), Reason::RequestInvalid, problem.to_string()),
        };
        explanation.request.path.clone_from(&normal);

        let parts = RequestParts {
            host: &host,
            method: &asked.method,
            path: &normal,
            query: asked.query.as_deref(),
            headers: &asked.headers,
        };
        let elsewhere = |listener| {
            let (port, to) = bind.port().and_then(|port| redirections.get_key_value(&port))?;
            let answer = preview::elsewhere(*to, listener, &parts, snapshot.port_offset)?;
            Some((format!("port {port} sends every request elsewhere before routes are asked"), answer))
        };
        let listener = match bind.choose(by_sni, &host) {
            Choice::Listener(listener) => listener,
            Choice::NoListener => {
                if let Some(sent) = elsewhere(None) {
                    return explanation.sent(sent);
                }
                let note = format!("no listener of {} takes the host {host}", view::address(address));
                return explanation.end(Some(404), Reason::NoListener, note);
            }
            Choice::Misdirected(listener) => {
                explanation.name(address, bind, listener);
                let sni = asked.sni().unwrap_or("(none)");
                let note = format!("the host {host} belongs to another listener than the server name {sni}");
                return explanation.end(Some(421), Reason::Misdirected, note);
            }
        };
        explanation.name(address, bind, listener);
        if let Some(sent) = elsewhere(Some(listener)) {
            return explanation.sent(sent);
        }
        if let Some((rule, matches)) = explanation.route(snapshot, listener, &parts) {
            let incoming = Incoming {
                tls: asked.scheme == Scheme::Https,
                port: listener.port,
                port_offset: snapshot.port_offset,
                authority: &asked.authority,
                host: &host,
                method: &asked.method,
                path: &normal,
                query: asked.query.as_deref(),
                headers: &asked.headers,
                matches,
            };
            explanation.foresee(rule, &incoming);
        }
        explanation
    }

    fn bare(asked: &Asked) -> Explanation {
        Explanation {
            request: RequestView {
                method: asked.method.to_string(),
                url: asked.url.clone(),
                scheme: asked.scheme.as_str().to_owned(),
                sni: asked.sni().map(str::to_owned),
                host: asked.authority.clone(),
                port: asked.port,
                path: asked.path.clone(),
                query: asked.query.clone(),
                headers: asked.headers.iter().map(HeaderView::asked).collect(),
            },
            gateway: None,
            listener: None,
            hostname: None,
            route: None,
            rule: None,
            matches: None,
            filters: Vec::new(),
            timeouts: None,
            retry: None,
            backends: Vec::new(),
            answer: AnswerView::PROXIED,
            losers: Vec::new(),
            listener_words: None,
            notes: Vec::new(),
        }
    }

    fn end(mut self, status: Option<u16>, reason: Reason, note: String) -> Explanation {
        self.answer = AnswerView { status, ..AnswerView::none(reason) };
        self.notes.push(note);
        self
    }

    fn sent(mut self, (note, answer): (String, Foreseen)) -> Explanation {
        self.answer = AnswerView::foreseen(&answer);
        self.notes.push(note);
        self
    }

    /// The port that the client connects to, and the handshake on it.
    fn connect<'a>(&mut self, snapshot: &'a Snapshot, asked: &Asked) -> Taken<'a> {
        let mut binds = candidates(snapshot, asked);
        let Some((address, bind)) = binds.next() else {
            let bound: Vec<String> = snapshot.binds.keys().map(|address| view::address(*address)).collect();
            let bound = if bound.is_empty() { "nothing".to_owned() } else { bound.join(", ") };
            let note = format!("nothing listens on port {}; bound: {bound}", asked.port);
            return Taken::Not(note, Reason::NoListener);
        };
        let others: Vec<String> = binds.map(|(other, _)| view::address(other)).collect();
        if !others.is_empty() {
            let (here, others) = (view::address(address), others.join(", "));
            self.notes
                .push(format!("as if sent to {here}; other listeners of the port: {others} (name one in the URL)"));
        }
        match (bind.protocol, asked.scheme) {
            (BindProtocol::Http, Scheme::Http) => Taken::By(address, bind, None),
            (BindProtocol::Http, Scheme::Https) => {
                Taken::Not(format!("port {} speaks HTTP without TLS", asked.port), Reason::ClientTls)
            }
            (BindProtocol::Https, Scheme::Http) => {
                Taken::Not(format!("port {} speaks TLS; the URL says http", asked.port), Reason::ClientTls)
            }
            (BindProtocol::Https, Scheme::Https) => {
                if let Some(index) = bind.listener_for_sni(asked.sni()) {
                    return Taken::By(address, bind, Some(index));
                }
                let sni = asked.sni().map_or_else(|| "no server name".to_owned(), |sni| format!("the name {sni}"));
                Taken::Not(format!("no listener of the port has a certificate for {sni}"), Reason::ClientTls)
            }
        }
    }

    fn name(&mut self, address: SocketAddr, bind: &Bind, listener: &Listener) {
        let protocol = match bind.protocol {
            BindProtocol::Http => "HTTP",
            BindProtocol::Https => "HTTPS",
        };
        let host = listener.hostname.as_ref().map_or_else(|| "every host".to_owned(), ToString::to_string);
        self.gateway = Some(format!("{}/{}", listener.id.namespace, listener.id.gateway));
        self.listener = Some(listener.id.listener.clone());
        self.listener_words =
            Some(format!("{} ({protocol} on {}, {host})", listener.id.listener, view::address(address)));
    }

    /// The rule that takes the request, and the match that it won by.
    fn route<'a>(
        &mut self,
        snapshot: &'a Snapshot,
        listener: &'a Listener,
        parts: &RequestParts<'_>,
    ) -> Option<(&'a Rule, &'a RouteMatch)> {
        let trials = listener.routes.trace(parts);
        let winner = trials.iter().find(|trial| trial.outcome == Outcome::Won).map(|trial| trial.entry);
        let lost = |trial: &Trial<'_, RuleIndex>| {
            let Outcome::Lost(why) = &trial.outcome else { return None };
            // another match of the rule that answers has lost nothing
            let rule =
                snapshot.rule(trial.entry.value).filter(|_| Some(trial.entry.value) != winner.map(|w| w.value))?;
            Some(Loser { route: RouteView::of(rule), rule: RuleView::of(rule), why: why.to_string() })
        };
        self.losers = trials.iter().filter_map(lost).collect();
        self.losers.dedup();
        let Some((entry, rule)) = winner.and_then(|entry| Some((entry, snapshot.rule(entry.value)?))) else {
            self.answer = AnswerView::own(404, Reason::NoRoute);
            self.notes.push("no rule of the listener takes the request".to_owned());
            return None;
        };
        self.hostname = Some(entry.hostname.as_ref().map_or_else(|| "*".to_owned(), ToString::to_string));
        self.route = Some(RouteView::of(rule));
        self.rule = Some(RuleView::of(rule));
        self.matches = Some(MatchView::of(&entry.matches));
        self.filters = FilterView::all(snapshot, rule, &entry.matches);
        self.timeouts = TimeoutsView::of(rule.timeouts);
        self.retry = rule.retry.as_ref().map(RetryView::of);
        self.backends = BackendView::all(snapshot, rule, &entry.matches);
        self.answer = AnswerView::of(rule, &self.backends);
        Some((rule, &entry.matches))
    }

    /// What comes of this very request: an answer by a filter, or what each backend would be asked for.
    fn foresee(&mut self, rule: &Rule, incoming: &Incoming<'_>) {
        if let Some(answer) = preview::answer(rule, incoming) {
            self.answer = AnswerView::foreseen(&answer);
            return;
        }
        let Action::Forward(shares) = &rule.action else { return };
        for (backend, share) in self.backends.iter_mut().zip(shares.shares()) {
            if let Target::Upstream(_, filters) = &share.target {
                let forwarded = preview::forwarded(rule, filters, incoming);
                backend.forwarded = forwarded.map(|to| ForwardedView { host: to.host, path: to.target });
            }
        }
    }
}

/// The binds that a client of the URL may reach: by the port that is bound or that clients were told, of the
/// address that the URL names, if it names one. First those that take the host, then the bound port over the told.
fn candidates<'a>(snapshot: &'a Snapshot, asked: &Asked) -> impl Iterator<Item = (SocketAddr, &'a Bind)> {
    let named: Option<IpAddr> = asked.target.parse().ok();
    let reachable = |address: &SocketAddr| named.is_none_or(|ip| address.ip() == ip || address.ip().is_unspecified());
    let told = |bind: &Bind| bind.listeners.iter().any(|listener| listener.port == asked.port);
    let host = normalise_host(&asked.authority).map(std::borrow::Cow::into_owned).unwrap_or_default();
    let mut found: Vec<(SocketAddr, &Bind)> = snapshot
        .binds
        .iter()
        .filter(|(address, bind)| reachable(address) && (address.port() == asked.port || told(bind)))
        .map(|(address, bind)| (*address, bind))
        .collect();
    found.sort_by_key(|(address, bind)| {
        let exact = named == Some(address.ip());
        let takes = bind.by_host.find(&host).is_some();
        (!exact, !takes, address.port() != asked.port, *address)
    });
    found.into_iter()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cli::fixture;

    fn explained(snapshot: &Snapshot, method: &str, url: &str, headers: &[&str]) -> Value {
        let headers: Vec<String> = headers.iter().map(|header| (*header).to_owned()).collect();
        let asked = Asked::read(method, url, &headers).unwrap();
        serde_json::to_value(Explanation::of(snapshot, &asked, &BTreeMap::new())).unwrap()
    }

    fn answered(value: &Value) -> (Value, &str) {
        (value["answer"]["status"].clone(), value["answer"]["reason"].as_str().unwrap())
    }

    #[test]
    fn a_request_that_is_taken_is_explained_from_the_gateway_to_the_endpoints() {
        let snapshot = fixture::quickstart().snapshot;
        let value = explained(&snapshot, "GET", "http://shop.localhost:8080/cart?a=b", &[]);
        let keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(
            keys,
            [
                "request", "gateway", "listener", "hostname", "route", "rule", "match", "filters", "backends",
                "answer", "losers"
            ]
        );
        assert_eq!(value["gateway"], "default/quickstart");
        assert_eq!(value["listener"], "http");
        assert_eq!(value["hostname"], "shop.localhost");
        assert_eq!(value["route"], json!({"kind": "HTTPRoute", "namespace": "default", "name": "shop"}));
        assert_eq!(value["rule"], json!({"index": 1, "name": "canary"}));
        assert_eq!(value["match"]["path"], json!({"type": "PathPrefix", "value": "/"}));
        assert_eq!(
            value["backends"][0],
            json!({"kind": "Service", "namespace": "default", "name": "shop-v1", "port": 80, "weight": 90,
                "endpoints": ["127.0.0.1:4000"],
                "forwarded": {"host": "shop.localhost:8080", "path": "/cart?a=b"}})
        );
        assert_eq!(answered(&value), (Value::Null, "none"));
        let losers = value["losers"].as_array().unwrap();
        assert_eq!(losers[0]["rule"], json!({"index": 0, "name": "preview"}));
        assert!(losers[0]["why"].as_str().unwrap().contains("x-version"), "{losers:?}");
        assert_eq!(losers[1]["route"]["name"], "welcome");
    }

    #[test]
    fn a_header_a_method_and_a_query_parameter_choose_other_rules() {
        let snapshot = fixture::quickstart().snapshot;
        let rule = |method, url, headers: &[&str]| explained(&snapshot, method, url, headers)["rule"]["name"].clone();
        assert_eq!(rule("GET", "http://shop.localhost:8080/", &["X-Version: v2"]), "preview");
        assert_eq!(rule("GET", "http://127.0.0.1:8080/", &["Host: shop.localhost:8080"]), "canary");
        assert_eq!(rule("POST", "http://api.localhost:8080/orders", &[]), "write");
        assert_eq!(rule("GET", "http://api.localhost:8080/orders?preview=true", &[]), "preview");
        assert_eq!(rule("GET", "http://API.localhost.:8080//orders/7", &[]), "read");
    }

    #[test]
    fn what_the_gateway_answers_by_itself_has_its_status_and_reason() {
        let yaml = crate::quickstart::manifest_text()
            .replace("port: 8443", "port: 8443\n      hostname: '*.localhost'")
            .replace("- name: welcome\n          port: 80", "- name: gone\n          port: 80");
        let snapshot = fixture::translate(&yaml, 0).snapshot;
        for (method, url, headers, status, reason) in [
            ("GET", "http://localhost:8080/", vec![], json!(500), "invalid_backend"),
            ("GET", "http://localhost:9999/", vec![], Value::Null, "no_listener"),
            ("GET", "https://localhost:8080/", vec![], Value::Null, "client_tls"),
            ("GET", "http://localhost:8443/", vec![], Value::Null, "client_tls"),
            ("GET", "https://elsewhere.example:8443/", vec![], Value::Null, "client_tls"),
            ("GET", "https://a.localhost:8443/", vec!["Host: elsewhere.example"], json!(421), "misdirected"),
            ("GET", "http://localhost:8080/../x", vec![], json!(400), "request_invalid"),
            ("GET", "http://localhost:8080/", vec!["Host: a b"], json!(400), "request_invalid"),
        ] {
            let value = explained(&snapshot, method, url, &headers);
            assert_eq!(answered(&value), (status, reason), "{method} {url} {headers:?}");
        }
    }

    #[test]
    fn a_host_without_a_rule_is_no_route_and_a_host_without_a_listener_no_listener() {
        let yaml =
            crate::quickstart::manifest_text().replace("port: 8080", "port: 8080\n      hostname: shop.localhost");
        let snapshot = fixture::translate(&yaml, 0).snapshot;
        let host = |host: &str| explained(&snapshot, "GET", &format!("http://{host}:8080/"), &[]);
        assert_eq!(answered(&host("other.localhost")), (json!(404), "no_listener"));
        let only_header = fixture::translate(
            &yaml.replace("- name: canary\n", "- name: canary\n      matches: [{method: PUT}]\n").replace(
                "name: welcome\nspec:\n  parentRefs:\n    - name: quickstart\n",
                "name: welcome\nspec:\n  parentRefs: []\n",
            ),
            0,
        )
        .snapshot;
        let value = explained(&only_header, "GET", "http://shop.localhost:8080/", &[]);
        assert_eq!(answered(&value), (json!(404), "no_route"));
        assert_eq!(value["listener"], "http");
        assert_eq!(value["losers"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn a_port_may_be_the_listeners_or_the_bound_one() {
        let yaml = crate::quickstart::manifest_text().replace("port: 8080", "port: 80");
        let snapshot = fixture::translate(&yaml, 8000).snapshot;
        for url in ["http://shop.localhost/", "http://shop.localhost:8080/"] {
            assert_eq!(explained(&snapshot, "GET", url, &[])["route"]["name"], "shop", "{url}");
        }
    }
}
