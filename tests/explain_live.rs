//! `transom explain` agrees with live traffic: random tables of routes are served by a real `transom run -f`, random
//! requests are sent, and each answer must be the one that explain gave, by the running process and from the files,
//! and the one of the reference matcher of the router's property test. The rules have random filters: what the backend
//! saw of host and path, where a redirect led and what a preflight was told must be what explain foretold.

mod support {
    pub mod process;
}

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::Value;
use support::process::{Transom, binary, free_port, get};
use transom::router::{
    HeaderMatch, Hostname, PathMatch, Pattern, QueryMatch, RequestParts, RouteEntry, RouteMatch, RouteOrder,
    ValueMatch, path,
};

#[path = "support/reference_matcher.rs"]
mod reference;

const TABLES: usize = 12;
const REQUESTS: usize = 120;
/// How many requests of each table are also put to the command, which reads the files itself.
const BY_COMMAND: usize = 4;
const BACKENDS: usize = 8;

const HOSTS: &[&str] = &["a.b.c", "x.b.c", "x.a.b.c", "b.c", "c.d", "A.b.C:81"];
const HOSTNAMES: &[&str] = &["a.b.c", "x.a.b.c", "b.c", "*.c", "*.b.c", "*.a.b.c"];

#[test]
fn explain_agrees_with_live_traffic_over_random_tables() {
    let space = tempfile::tempdir().unwrap();
    let folder = space.path().join("manifests");
    fs::create_dir(&folder).unwrap();
    let address: SocketAddr = ([127, 0, 0, 1], free_port()).into();
    write_gateway(&folder, address);
    let transom = Transom::start(&folder, &["--workers", "1"]).ready(Duration::from_secs(20));

    let mut runner = TestRunner::deterministic();
    let mut outcomes: BTreeMap<Seen, u32> = BTreeMap::new();
    for number in 0..TABLES {
        let table = draw(&mut runner, routes());
        fs::write(folder.join("table.tmp"), manifests(&table, number)).unwrap();
        fs::rename(folder.join("table.tmp"), folder.join("table.yaml")).unwrap();
        await_table(&transom, number, table.len());
        let entries = entries(&table);
        for index in 0..REQUESTS {
            let request = draw(&mut runner, request());
            let context = || format!("{request:?}\n{}", manifests(&table, number));
            let live = live(address, &request);
            let by_reference = reference::best(&entries, &request.parts(&request.normal()));
            let wanted = by_reference.map(|entry| format!("b{}", entry.value));
            let explained = ask_admin(transom.admin, address, &request);
            let told = || format!("live: {live:#?}\nexplained: {explained:#}\n{}", context());
            if let Some(by) = &live.by {
                assert_eq!(Some(by), wanted.as_ref(), "live against the reference\n{}", told());
            }
            assert_eq!(foretold(&explained), wanted, "explain against the reference\n{}", told());
            let outcome =
                agree(&live, &explained, &request).unwrap_or_else(|what| panic!("{what} differs\n{}", told()));
            *outcomes.entry(outcome).or_insert(0) += 1;
            if index < BY_COMMAND {
                let from_files = ask_command(&folder, address, &request);
                assert_eq!(from_files["route"], explained["route"], "{}", context());
                assert_eq!(from_files["rule"], explained["rule"], "{}", context());
                assert_eq!(from_files["losers"], explained["losers"], "{}", context());
            }
        }
    }
    println!("{TABLES} tables: {outcomes:?}");
    for (outcome, least) in [
        (Seen::NoRoute, 50),
        (Seen::Plain, 200),
        (Seen::Rewritten, 50),
        (Seen::Redirected, 50),
        (Seen::Preflight, 10),
        (Seen::Refused, 10),
    ] {
        assert!(outcomes.get(&outcome).is_some_and(|count| *count > least), "too few {outcome:?}: {outcomes:?}");
    }
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Seen {
    NoRoute,
    Plain,
    Rewritten,
    Redirected,
    Preflight,
    Refused,
}

/// What became of a request, if explain foretold it; else what differs.
fn agree(live: &Live, explained: &Value, request: &Request) -> Result<Seen, &'static str> {
    let same = |what: &'static str, same: bool| if same { Ok(()) } else { Err(what) };
    let answer = &explained["answer"];
    if let Some(path) = &live.path {
        same("the status", live.status == 200 && answer["status"].is_null() && answer["reason"] == "none")?;
        let forwarded = &explained["backends"][0]["forwarded"];
        same("the path", forwarded["path"] == **path)?;
        same("the host", forwarded["host"] == *live.host)?;
        let plain = live.host == request.host && path.split('?').next() == explained["request"]["path"].as_str();
        return Ok(if plain { Seen::Plain } else { Seen::Rewritten });
    }
    same("the status", answer["status"] == live.status)?;
    let reason = answer["reason"].as_str().unwrap_or_default();
    match reason {
        "redirect" => {
            same("the location", answer["location"].as_str() == live.header("location"))?;
            Ok(Seen::Redirected)
        }
        "cors_preflight" | "cors_refused" => {
            let told: Vec<(&str, &str)> = answer["headers"].as_array().map_or_else(Vec::new, |headers| {
                headers.iter().filter_map(|h| Some((h["name"].as_str()?, h["value"].as_str()?))).collect()
            });
            let of_cors = |name: &str| name.starts_with("access-control-") || name == "vary";
            let seen: Vec<(&str, &str)> =
                live.headers.iter().filter(|(name, _)| of_cors(name)).map(|(n, v)| (n.as_str(), v.as_str())).collect();
            same("the headers", told == seen)?;
            Ok(if live.status == 204 { Seen::Preflight } else { Seen::Refused })
        }
        _ => {
            same("the reason", reason == "no_route" && live.body.contains(reason))?;
            Ok(Seen::NoRoute)
        }
    }
}

/// The rule that an explanation names, by the name that its backend has.
fn foretold(explained: &Value) -> Option<String> {
    explained["rule"]["name"].as_str().map(|name| name.split('-').next().unwrap_or_default().to_owned())
}

#[derive(Debug, Clone)]
struct Route {
    hostnames: Vec<&'static str>,
    rules: Vec<RuleOf>,
    age: u32,
}

#[derive(Debug, Clone)]
struct RuleOf {
    matches: Vec<Match>,
    backend: usize,
    filters: Filters,
}

/// What a rule does beside forwarding, in YAML. A rule that replaces a prefix has one match, a prefix.
#[derive(Debug, Clone, Copy, Default)]
struct Filters {
    cors: Option<&'static str>,
    rewrite: Option<&'static str>,
    share: Option<&'static str>,
    redirect: Option<&'static str>,
}

const CORS: &[&str] = &[
    "{allowOrigins: ['http://*.c', 'https://x.b.c'], allowMethods: [GET, POST], allowCredentials: true, allowHeaders: ['*']}",
    "{allowOrigins: ['*'], allowMethods: ['*'], exposeHeaders: [x-a], maxAge: 7}",
];
const REWRITES: &[&str] = &[
    "{hostname: h.internal}",
    "{path: {type: ReplaceFullPath, replaceFullPath: /full}}",
    "{path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}",
    "{hostname: h.internal, path: {type: ReplacePrefixMatch, replacePrefixMatch: /p/}}",
];
const REDIRECTS: &[&str] = &[
    "{}",
    "{scheme: https, statusCode: 301}",
    "{hostname: to.test, port: 8443}",
    "{scheme: http, path: {type: ReplaceFullPath, replaceFullPath: /full}, statusCode: 308}",
    "{path: {type: ReplacePrefixMatch, replacePrefixMatch: /p}, statusCode: 307}",
];

impl Filters {
    /// Those that fit the matches of their rule.
    fn fitting(mut self, matches: &[Match]) -> Filters {
        let is_prefix = matches.len() == 1 && matches[0].path.0 == "PathPrefix";
        let fits = |filter: &&'static str| is_prefix || !filter.contains("ReplacePrefixMatch");
        self.rewrite = self.rewrite.filter(fits).filter(|_| self.redirect.is_none());
        self.share = self.share.filter(fits).filter(|_| self.redirect.is_none());
        self.redirect = self.redirect.filter(fits);
        self
    }

    fn yaml(&self) -> String {
        let of =
            |kind: &str, field: &str, what: Option<&str>| what.map(|what| format!("{{type: {kind}, {field}: {what}}}"));
        let list = [
            of("CORS", "cors", self.cors),
            of("URLRewrite", "urlRewrite", self.rewrite),
            of("RequestRedirect", "requestRedirect", self.redirect),
        ];
        list.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

#[derive(Debug, Clone)]
struct Match {
    path: (&'static str, &'static str),
    method: Option<&'static str>,
    headers: Vec<(&'static str, &'static str)>,
    query: Vec<(&'static str, &'static str)>,
}

#[derive(Debug, Clone)]
struct Request {
    host: &'static str,
    method: &'static str,
    path: String,
    query: Option<String>,
    headers: Vec<(&'static str, &'static str)>,
}

impl Request {
    fn normal(&self) -> (String, String, Method, HeaderMap) {
        let host = self.host.to_ascii_lowercase();
        let host = host.split(':').next().unwrap().to_owned();
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        (host, path::normalise(&self.path).unwrap().into_owned(), self.method.parse().unwrap(), headers)
    }

    fn parts<'a>(&'a self, (host, path, method, headers): &'a (String, String, Method, HeaderMap)) -> RequestParts<'a> {
        RequestParts { host, method, path, query: self.query.as_deref(), headers }
    }

    fn target(&self) -> String {
        self.query.as_ref().map_or_else(|| self.path.clone(), |query| format!("{}?{query}", self.path))
    }
}

fn draw<S: Strategy>(runner: &mut TestRunner, strategy: S) -> S::Value {
    strategy.new_tree(runner).expect("drawn").current()
}

fn routes() -> impl Strategy<Value = Vec<Route>> {
    let path = prop_oneof![
        2 => select(&["/", "/a", "/a/", "/a/b", "/ab", "/b"][..]).prop_map(|path| ("Exact", path)),
        3 => select(&["/", "/a", "/a/", "/a/b", "/b"][..]).prop_map(|path| ("PathPrefix", path)),
        1 => select(&["/a.*", "/[ab]", "/a/b"][..]).prop_map(|path| ("RegularExpression", path)),
    ];
    let pairs = || {
        let some = (subsequence(vec!["x-a", "x-b"], 1..=2), vec(select(&["1", "2"][..]), 2))
            .prop_map(|(names, values)| names.into_iter().zip(values).collect());
        prop_oneof![2 => Just(Vec::new()), 1 => some]
    };
    let one = (path, proptest::option::weighted(0.3, select(&["GET", "POST"][..])), pairs(), pairs());
    let one = one.prop_map(|(path, method, headers, query)| Match { path, method, headers, query });
    let filters = (
        proptest::option::weighted(0.6, select(CORS)),
        proptest::option::weighted(0.3, select(REWRITES)),
        proptest::option::weighted(0.2, select(REWRITES)),
        proptest::option::weighted(0.25, select(REDIRECTS)),
    );
    let filters = filters.prop_map(|(cors, rewrite, share, redirect)| Filters { cors, rewrite, share, redirect });
    let rule = (vec(one, 1..3), 0..BACKENDS, filters).prop_map(|(matches, backend, filters)| {
        let filters = filters.fitting(&matches);
        RuleOf { matches, backend, filters }
    });
    let rules = vec(rule, 1..3);
    let route = (subsequence(HOSTNAMES.to_vec(), 0..=3), rules, 0..3_u32);
    vec(route.prop_map(|(hostnames, rules, age)| Route { hostnames, rules, age }), 1..8)
}

fn request() -> impl Strategy<Value = Request> {
    let path = select(&["/", "/a", "/a/", "/a/b", "/ab", "/b", "/a//b", "/x/../a", "/a/%2e/b", "/c", "/A"][..]);
    let query = select(&["x-a=1", "x-a=2", "x-b=1", "x-a=%31", "X-A=1", "x-b"][..]);
    let query = proptest::option::of(vec(query, 1..3).prop_map(|pairs| pairs.join("&")));
    let headers = vec((select(&["x-a", "x-b"][..]), select(&["1", "2"][..])), 0..3);
    let origin =
        proptest::option::weighted(0.7, select(&["http://y.c", "https://x.b.c", "https://evil.test", "null"][..]));
    let asked = proptest::option::weighted(0.8, select(&["GET", "PUT"][..]));
    let method = prop_oneof![2 => select(&["GET", "POST"][..]), 1 => Just("OPTIONS")];
    (select(HOSTS), method, path, query, headers, origin, asked).prop_map(
        |(host, method, path, query, mut headers, origin, asked)| {
            headers.extend(origin.map(|origin| ("origin", origin)));
            if method == "OPTIONS" {
                headers.extend(asked.map(|asked| ("access-control-request-method", asked)));
            }
            Request { host, method, path: path.to_owned(), query, headers }
        },
    )
}

fn entries(table: &[Route]) -> Vec<RouteEntry<usize>> {
    let mut entries = Vec::new();
    for (number, route) in table.iter().enumerate() {
        let hostnames: Vec<Option<Hostname>> = match route.hostnames.as_slice() {
            [] => vec![None],
            names => names.iter().map(|name| Hostname::parse(name)).collect(),
        };
        for hostname in hostnames {
            for (rule, RuleOf { matches, backend, .. }) in (0..).zip(&route.rules) {
                for (index, one) in (0..).zip(matches) {
                    let order =
                        RouteOrder { created: i128::from(route.age), route: format!("default/r{number}"), rule, index };
                    entries.push(RouteEntry {
                        hostname: hostname.clone(),
                        matches: typed(one),
                        order,
                        value: *backend,
                    });
                }
            }
        }
    }
    entries
}

fn typed(one: &Match) -> RouteMatch {
    let exact = |value: &str| ValueMatch::Exact(value.to_owned());
    RouteMatch {
        path: match one.path {
            ("Exact", path) => PathMatch::Exact(path.to_owned()),
            ("PathPrefix", path) => PathMatch::Prefix(path.to_owned()),
            (_, path) => PathMatch::Regex(Pattern::new(path).unwrap()),
        },
        method: one.method.map(|method| method.parse().unwrap()),
        headers: one
            .headers
            .iter()
            .map(|(name, value)| HeaderMatch { name: HeaderName::from_static(name), value: exact(value) })
            .collect(),
        query: one
            .query
            .iter()
            .map(|(name, value)| QueryMatch { name: (*name).to_owned(), value: exact(value) })
            .collect(),
    }
}

fn write_gateway(folder: &Path, address: SocketAddr) {
    let mut text = format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {{name: transom}}\nspec: {{controllerName: transom.dev/gateway-controller}}\n---\n\
         apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: edge}}\nspec:\n  gatewayClassName: transom\n  addresses: [{{value: {}}}]\n  listeners: [{{name: http, port: {}, protocol: HTTP}}]\n",
        address.ip(),
        address.port()
    );
    for backend in 0..BACKENDS {
        write!(text, "---\napiVersion: v1\nkind: Service\nmetadata: {{name: b{backend}, annotations: {{transom.dev/echo: b{backend}}}}}\nspec: {{ports: [{{port: 80}}]}}\n").unwrap();
    }
    fs::write(folder.join("gateway.yaml"), text).unwrap();
}

/// The table, and a route of a host of its own that tells when it is served.
fn manifests(table: &[Route], number: usize) -> String {
    let head = |name: &str, age: u32| {
        format!(
            "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: {name}, creationTimestamp: '2026-01-01T00:00:0{age}Z'}}\nspec:\n  parentRefs: [{{name: edge}}]\n"
        )
    };
    let mut text = head("probe", 9);
    write!(text, "  hostnames: [probe.test]\n  rules: [{{matches: [{{path: {{type: Exact, value: /table-{number}}}}}], backendRefs: [{{name: b0, port: 80}}]}}]\n").unwrap();
    for (index, route) in table.iter().enumerate() {
        text.push_str(&head(&format!("r{index}"), route.age));
        if !route.hostnames.is_empty() {
            writeln!(text, "  hostnames: {:?}", route.hostnames).unwrap();
        }
        text.push_str("  rules:\n");
        for (position, RuleOf { matches, backend, filters }) in route.rules.iter().enumerate() {
            writeln!(text, "  - name: b{backend}-{position}\n    filters: [{}]", filters.yaml()).unwrap();
            let share = filters
                .share
                .map_or_else(String::new, |share| format!(", filters: [{{type: URLRewrite, urlRewrite: {share}}}]"));
            if filters.redirect.is_none() {
                writeln!(text, "    backendRefs: [{{name: b{backend}, port: 80{share}}}]").unwrap();
            }
            text.push_str("    matches:\n");
            for one in matches {
                writeln!(text, "    - path: {{type: {}, value: '{}'}}", one.path.0, one.path.1).unwrap();
                if let Some(method) = one.method {
                    writeln!(text, "      method: {method}").unwrap();
                }
                for (key, pairs) in [("headers", &one.headers), ("queryParams", &one.query)] {
                    if !pairs.is_empty() {
                        let list: Vec<String> =
                            pairs.iter().map(|(name, value)| format!("{{name: {name}, value: '{value}'}}")).collect();
                        writeln!(text, "      {key}: [{}]", list.join(", ")).unwrap();
                    }
                }
            }
        }
    }
    text
}

/// Waits until the process serves this table: its probe, and no route of the table before (an object that is gone
/// from its file is taken away a moment later, in case it only moves to another file).
fn await_table(transom: &Transom, number: usize, routes: usize) {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let answer = transom.get("/config").expect("the admin server answers");
        let config: Value = serde_json::from_str(answer.split_once("\r\n\r\n").expect("a body").1).expect("JSON");
        let rules = config["snapshot"]["rules"].as_array().cloned().unwrap_or_default();
        let names: BTreeSet<&str> = rules.iter().filter_map(|rule| rule["route"]["name"].as_str()).collect();
        let probe = config.to_string().contains(&format!("/table-{number}\""));
        if probe && names.len() == routes + 1 {
            return;
        }
        assert!(Instant::now() < until, "table {number} was not served: {names:?}");
    }
}

#[derive(Debug)]
struct Live {
    status: u16,
    /// In lower case, in order.
    headers: Vec<(String, String)>,
    /// The backend that answered.
    by: Option<String>,
    /// What it saw.
    path: Option<String>,
    host: String,
    body: String,
}

impl Live {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

fn live(address: SocketAddr, request: &Request) -> Live {
    let mut head =
        format!("{} {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", request.method, request.target(), request.host);
    for (name, value) in &request.headers {
        write!(head, "{name}: {value}\r\n").unwrap();
    }
    if request.method == "POST" {
        head.push_str("Content-Length: 0\r\n");
    }
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(format!("{head}\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_default();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    let header = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()));
    let headers = head.lines().filter_map(header).collect();
    let json: Value = serde_json::from_str(body).unwrap_or_default();
    let text = |key: &str| json[key].as_str().map(str::to_owned);
    let (by, path, host) = (text("service"), text("path"), text("host").unwrap_or_default());
    Live { status, headers, by, path, host, body: body.to_owned() }
}

fn url(address: SocketAddr, request: &Request) -> String {
    format!("http://{address}{}", request.target())
}

fn ask_admin(admin: SocketAddr, address: SocketAddr, request: &Request) -> Value {
    let escape = |text: &str| {
        text.bytes().fold(String::new(), |mut out, byte| {
            write!(out, "%{byte:02x}").unwrap();
            out
        })
    };
    let mut question = format!(
        "/explain?method={}&url={}&header={}",
        request.method,
        escape(&url(address, request)),
        escape(&format!("host: {}", request.host))
    );
    for (name, value) in &request.headers {
        write!(question, "&header={}", escape(&format!("{name}: {value}"))).unwrap();
    }
    let answer = get(admin, "admin", &question).expect("the admin server answers");
    let body = answer.split_once("\r\n\r\n").expect("a body").1;
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

fn ask_command(folder: &Path, address: SocketAddr, request: &Request) -> Value {
    let mut command = Command::new(binary());
    command.args(["explain", request.method, &url(address, request), "-H", &format!("Host: {}", request.host)]);
    for (name, value) in &request.headers {
        command.args(["-H", &format!("{name}: {value}")]);
    }
    let output = command.arg("-f").arg(folder).args(["-o", "json"]).output().expect("transom explain");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}
