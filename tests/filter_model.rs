//! For random rules with random filters, what reaches the upstream and the client equals a model of a hundred lines
//! that was written from the specification. The rules run in a real data plane, over every pairing of HTTP/1.1 and
//! HTTP/2, in cleartext and TLS.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "parts of tests fail as tests do"
)]

#[path = "support/filter_model.rs"]
mod filter_model;
#[path = "support/filter_words.rs"]
mod filter_words;
#[path = "support/traffic/mod.rs"]
mod support;

use std::collections::HashMap;
use std::num::NonZeroU16;

use filter_model::judge;
use filter_words::{Action, Answer, Changes, Cors, Filters, Headers, Path, Redirect, Request, Rule, Sent};
use http_body_util::Full;
use proptest::collection::{hash_map, vec};
use proptest::option::of;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::{select, subsequence};
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config as RunnerConfig, RngAlgorithm, TestRng, TestRunner};
use support::client::Client;
use support::config::{Config, changes, forward_to, rule as compiled};
use support::tls;
use support::upstream::Echo;
use support::{Gateway, free_address};
use transom::router::{Hostname, PathMatch, RouteEntry, RouteMatch, RouteOrder, RouteTable};
use transom::snapshot::filter::{
    Cors as CompiledCors, Names, Origin, Origins, PathChange, Redirect as CompiledRedirect, Scheme, UrlRewrite,
};
use transom::snapshot::tls::ListenerTls;
use transom::snapshot::{
    Action as CompiledAction, Filter, LocalAnswer, RuleIndex, Share, Target, UpstreamIndex, UpstreamProtocol,
    WeightedUpstreams,
};

const RULES: usize = 300;
const REQUESTS: usize = 4;
/// The ports that clients were told, and whether they speak TLS.
const LISTENERS: [(u16, bool); 3] = [(80, false), (8080, false), (443, true)];
/// Headers that the data plane and HTTP libraries add; all others are compared.
const OURS: [&str; 15] = [
    "accept-ranges",
    "authority",
    "body",
    "cache-control",
    "connection",
    "content-length",
    "content-type",
    "date",
    "host",
    "transfer-encoding",
    "x-forwarded-for",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-real-ip",
    "x-request-id",
];

#[tokio::test]
async fn what_passes_the_filters_equals_the_model() {
    let seed = std::env::var("FILTER_MODEL_SEED").map_or(5, |seed| seed.parse().unwrap());
    let mut bytes = [0; 32];
    bytes[0] = seed;
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(RunnerConfig::default(), random);

    let echo = Echo::start("a").await;
    let mut config = Config::default();
    let upstreams = [UpstreamProtocol::Http1, UpstreamProtocol::H2c]
        .map(|protocol| config.upstream_over("a", protocol, &[echo.address]));
    let empty = config.upstream("empty", &[]);

    let mut rules = Vec::new();
    let mut entries: [Vec<RouteEntry<RuleIndex>>; 3] = Default::default();
    for number in 0..RULES {
        let rule = rules_of().new_tree(&mut runner).unwrap().current();
        let at = number % LISTENERS.len();
        let upstream = upstreams[number / LISTENERS.len() % 2];
        let mut filters = compile(&rule.filters, number);
        filters.extend(rule.cors.as_ref().map(|cors| Filter::Cors(Box::new(compile_cors(cors)))));
        let action = compile_action(&rule.action, upstream, empty, number);
        let index = config
            .rule_with(transom::snapshot::Rule { filters: filters.into_iter().collect(), ..compiled("r", action) });
        for (position, prefix) in (0..).zip(&rule.prefixes) {
            entries[at].push(RouteEntry {
                hostname: Hostname::parse(&format!("h{number}.test")),
                matches: RouteMatch { path: PathMatch::Prefix(prefix.clone()), ..RouteMatch::default() },
                order: RouteOrder { created: 0, route: format!("test/{number}"), rule: 0, index: position },
                value: index,
            });
        }
        rules.push((at, upstream, rule));
    }

    let mut addresses = Vec::new();
    for (_, is_tls) in LISTENERS {
        let address = free_address();
        let certificates = vec![tls::certificate(&["h.test"])];
        let tls = is_tls.then_some(ListenerTls { certificates });
        let spec = support::config::ListenerSpec { name: "l", hostname: None, tls, routes: Vec::new() };
        config = if is_tls { config.https(address, vec![spec]) } else { config.http(address, vec![spec]) };
        addresses.push(address);
    }
    let mut snapshot = config.build();
    for ((address, entries), (port, _)) in addresses.iter().zip(entries).zip(LISTENERS) {
        let listener = &mut snapshot.binds.get_mut(address).unwrap().listeners[0];
        listener.port = port;
        listener.routes = RouteTable::build(entries);
    }
    let mut gateway = Gateway::start();
    gateway.serve(snapshot).await;

    let mut clients = HashMap::new();
    for (at, (address, (_, is_tls))) in addresses.iter().zip(LISTENERS).enumerate() {
        for h2 in [false, true] {
            let client = match (is_tls, h2) {
                (false, false) => Client::h1(*address).await,
                (false, true) => Client::h2(*address).await,
                (true, _) => {
                    let alpn = if h2 { "h2" } else { "http/1.1" };
                    let stream = tls::connect(*address, "h.test", &tls::client(&[alpn])).await.unwrap();
                    if h2 { Client::h2_over(stream).await.unwrap() } else { Client::h1_over(stream).await.unwrap() }
                }
            };
            clients.insert((at, h2), client);
        }
    }

    let mut forwarded = 0;
    let mut kinds = HashMap::<u16, usize>::new();
    for (number, (at, upstream, rule)) in rules.iter().enumerate() {
        for turn in 0..REQUESTS {
            let (port, is_tls) = LISTENERS[*at];
            let mut request = requests(rule).new_tree(&mut runner).unwrap().current();
            request.scheme = if is_tls { "https" } else { "http" }.to_owned();
            request.port = port;
            request.host = format!("h{number}.test");
            let says = answers().new_tree(&mut runner).unwrap().current();
            let expected = judge(rule, &request, &with_name_of_the_echo(&says));
            let client = clients.get_mut(&(*at, turn % 2 == 1)).unwrap();
            let before = echo.requests();
            let found = ask(client, &request, &says, *upstream == upstreams[1]).await;
            let context = format!("rule {number}: {rule:#?}\nrequest: {request:#?}\nupstream: {says:?}");
            let expected_answer = comparable(expected.1);
            assert_eq!(found.1, expected_answer, "the answer\n{context}");
            assert_eq!(echo.requests() - before, usize::from(expected.0.is_some()), "forwarded\n{context}");
            if let Some(mut sent) = expected.0 {
                sent.headers.insert("x-forwarded-host".to_owned(), vec![request.host.clone()]);
                assert_eq!(found.0, Some(sent), "what reached the upstream\n{context}");
                forwarded += 1;
            }
            *kinds.entry(found.1.status).or_default() += 1;
        }
    }
    assert!(forwarded > RULES * REQUESTS / 4, "{forwarded} {kinds:?}");
    for status in [200, 204, 301, 302, 403, 500, 503] {
        assert!(kinds.get(&status).is_some_and(|count| *count > 5), "{kinds:?}");
    }
}

/// Asks, and gives what the upstream says that it was sent, and the answer.
async fn ask(client: &mut Client, request: &Request, says: &Headers, h2c: bool) -> (Option<Sent>, Answer) {
    let query = request.query.as_ref().map_or(String::new(), |query| format!("?{query}"));
    let uri = format!("{}://{}{}{query}", request.scheme, request.host, request.path);
    let mut asked = hyper::Request::builder().method(request.method.as_str()).uri(uri);
    for (name, value) in lines(&request.headers) {
        asked = asked.header(name, value);
    }
    for (name, value) in lines(says) {
        asked = asked.header("x-answer", format!("{name}={value}"));
    }
    let answer = client.send(asked.body(Full::default()).unwrap()).await.unwrap();

    let sent = answer.fact("name").map(|_| {
        let mut headers = Headers::new();
        for line in answer.body.lines().skip_while(|line| !line.starts_with("body: ")) {
            let (name, value) = line.split_once(": ").unwrap();
            if !OURS.contains(&name) && name != "x-answer" {
                headers.entry(name.to_owned()).or_default().push(value.to_owned());
            }
        }
        Sent {
            method: answer.fact("method").unwrap().to_owned(),
            host: answer.fact(if h2c { "authority" } else { "host" }).unwrap().to_owned(),
            target: answer.fact("target").unwrap().to_owned(),
            headers,
        }
    });
    let mut headers = Headers::new();
    for (name, value) in &answer.headers {
        headers.entry(name.as_str().to_owned()).or_default().push(value.to_str().unwrap().to_owned());
    }
    (sent, comparable(Answer { status: answer.status.as_u16(), headers }))
}

fn lines(headers: &Headers) -> impl Iterator<Item = (&String, &String)> {
    headers.iter().flat_map(|(name, values)| values.iter().map(move |value| (name, value)))
}

fn with_name_of_the_echo(says: &Headers) -> Headers {
    let mut says = says.clone();
    says.insert("x-upstream".to_owned(), vec!["a".to_owned()]);
    says
}

/// Without the headers that are not the filters' matter. Lists are compared as sets; of what an answer exposes only
/// the names that are compared themselves.
fn comparable(mut answer: Answer) -> Answer {
    answer.headers.retain(|name, _| !OURS.contains(&name.as_str()));
    if answer.headers.contains_key("access-control-max-age") || answer.status == 403 {
        answer.headers.remove("vary"); // nothing keeps the answer of a preflight
    }
    for (name, values) in &mut answer.headers {
        if name.starts_with("access-control-") && name != "access-control-allow-origin" || name == "vary" {
            let all = values.iter().flat_map(|value| value.split(','));
            let mut all: Vec<String> = all.map(|name| name.trim().to_lowercase()).collect();
            if name == "access-control-expose-headers" {
                all.retain(|name| name == "*" || name.starts_with("x-"));
            }
            all.sort();
            *values = all;
        }
    }
    answer.headers.retain(|_, values| !values.is_empty());
    answer
}

fn names(from: &[&'static str]) -> impl Strategy<Value = Vec<String>> + use<> {
    let list = subsequence(from.to_vec(), 0..=from.len().min(3));
    list.prop_map(|names| names.into_iter().map(str::to_owned).collect())
}

fn text(from: &[&'static str]) -> impl Strategy<Value = String> + use<> {
    select(from.to_vec()).prop_map(str::to_owned)
}

const HEADERS: [&str; 6] = ["x-one", "X-Two", "x-THREE", "x-four", "vary", "access-control-allow-origin"];

fn changes_of() -> impl Strategy<Value = Changes> {
    let pairs = || hash_map(text(&HEADERS), text(&["1", "two", "a b", "q=\"x\"; y", "*"]), 0..=2);
    // No name twice in a list: the translator has seen to it.
    let pairs = || pairs().prop_map(|pairs| pairs.into_iter().collect::<Vec<_>>());
    (pairs(), pairs(), names(&HEADERS)).prop_map(|(set, add, remove)| Changes { set, add, remove })
}

fn path_of(prefix: bool) -> impl Strategy<Value = Option<Path>> {
    let full = text(&["/", "/full", "/full/path/", "/with%2Fslash"]).prop_map(Path::Full);
    let replacement = text(&["", "/", "/new", "/new/", "/two/new"]).prop_map(Path::Prefix);
    if prefix { of(prop_oneof![full, replacement]).boxed() } else { of(full).boxed() }
}

fn filters_of() -> impl Strategy<Value = Filters> {
    let host = of(text(&["one.example", "two.example"]));
    (changes_of(), changes_of(), host, path_of(true)).prop_map(|(request, response, host, path)| Filters {
        request,
        response,
        host,
        path,
    })
}

const ORIGINS: [&str; 5] = ["https://www.foo.com", "https://*.bar.com", "http://foo.com:8080", "http://*", "*"];
const METHODS: [&str; 4] = ["GET", "PUT", "DELETE", "*"];
const LISTS: [&str; 4] = ["x-one", "x-two", "authorization", "*"];

fn cors_of() -> impl Strategy<Value = Cors> {
    // `*` stands alone in a list: the API sees to it
    let alone = |names: Vec<String>| {
        if names.iter().any(|name| name == "*") { vec!["*".to_owned()] } else { names }
    };
    let list = move |from: &[&'static str]| names(from).prop_map(alone);
    (list(&ORIGINS), any::<bool>(), list(&METHODS), list(&LISTS), list(&LISTS), 1..10_000u32).prop_map(
        |(origins, credentials, methods, headers, expose, max_age)| Cors {
            origins,
            credentials,
            methods,
            headers,
            expose,
            max_age,
        },
    )
}

fn rules_of() -> impl Strategy<Value = Rule> {
    let redirect = (
        of(text(&["http", "https"])),
        of(text(&["redirect.example"])),
        of(select(vec![80, 443, 8080, 8443])),
        path_of(true),
        select(vec![301, 302, 303, 307, 308]),
    )
        .prop_map(|(scheme, host, port, path, status)| Action::Redirect(Redirect { scheme, host, port, path, status }));
    let action = prop_oneof![
        6 => filters_of().prop_map(Action::Forward),
        2 => redirect,
        1 => select(vec![500, 503]).prop_map(Action::Fail),
    ];
    let prefixes = subsequence(vec!["/", "/a", "/a/b/", "/a/b/c", "/c%2Fd"], 1..=3)
        .prop_map(|prefixes| prefixes.into_iter().map(str::to_owned).collect());
    (prefixes, filters_of(), of(cors_of()), action).prop_map(|(prefixes, mut filters, cors, action)| {
        if matches!(action, Action::Redirect(_)) {
            (filters.host, filters.path) = (None, None); // never beside a redirect
        }
        Rule { prefixes, filters, cors, action }
    })
}

fn requests(rule: &Rule) -> impl Strategy<Value = Request> + use<> {
    let rest = text(&["", "/", "/a", "/b/c/", "/x%20y/%41", "/c%2Fd", "/~u;v=1,2/."]);
    let rest = rest.prop_map(|rest| rest.replace("/.", "/.x"));
    let origins = [
        "https://www.foo.com",
        "https://www.foo.com:443",
        "https://a.bar.com",
        "https://a.b.bar.com",
        "https://bar.com",
        "http://foo.com:8080",
        "http://foo.com",
        "null",
        "nonsense",
    ];
    let path = (select(rule.prefixes.clone()), rest).prop_map(|(prefix, rest)| {
        let path = format!("{}{rest}", prefix.trim_end_matches('/'));
        if path.is_empty() { "/".to_owned() } else { path }
    });
    let headers = (
        vec((text(&["x-one", "x-two", "x-three", "x-other"]), text(&["a", "b c", "*"])), 0..4),
        of(text(&origins)),
        of(text(&["GET", "PUT"])),
        vec(text(&["x-one", "x-one, x-two"]), 0..3),
        any::<bool>(),
    )
        .prop_map(|(plain, origin, method, asked, twice)| {
            let mut headers = Headers::new();
            let origins = origin.into_iter().flat_map(|origin| vec![origin; if twice { 2 } else { 1 }]);
            let origins = origins.map(|origin| ("origin".to_owned(), origin));
            let method = method.map(|method| ("access-control-request-method".to_owned(), method));
            let asked = asked.into_iter().map(|names| ("access-control-request-headers".to_owned(), names));
            for (name, value) in plain.into_iter().chain(origins).chain(method).chain(asked) {
                headers.entry(name).or_default().push(value);
            }
            headers
        });
    let method = prop_oneof![text(&["GET", "POST", "PUT", "DELETE"]), Just("OPTIONS".to_owned())];
    let query = of(text(&["", "a=b", "a=%20&b=/a", "x?y"]));
    (method, path, query, headers).prop_map(|(method, path, query, headers)| Request {
        scheme: String::new(),
        port: 0,
        method,
        host: String::new(),
        path,
        query,
        headers,
    })
}

/// What the upstream says beside its name.
fn answers() -> impl Strategy<Value = Headers> {
    let lists = [
        ("x-one", "up"),
        ("x-two", "up"),
        ("vary", "Accept"),
        ("vary", "accept, origin"),
        ("access-control-allow-origin", "https://up.example"),
        ("access-control-allow-credentials", "true"),
        ("access-control-expose-headers", "x-up"),
    ];
    subsequence(lists.to_vec(), 0..=4).prop_map(|lists| {
        let mut headers = Headers::new();
        for (name, value) in lists {
            headers.entry(name.to_owned()).or_default().push(value.to_owned());
        }
        headers
    })
}

/// The filters as the translator would give them; `number` varies their order.
fn compile(filters: &Filters, number: usize) -> Vec<Filter> {
    fn pairs(list: &[(String, String)]) -> Vec<(&str, &str)> {
        list.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }
    let of = |words: &Changes| {
        let remove: Vec<&str> = words.remove.iter().map(String::as_str).collect();
        changes(&pairs(&words.set), &pairs(&words.add), &remove)
    };
    let mut compiled = Vec::new();
    let is_empty = |words: &Changes| words.set.is_empty() && words.add.is_empty() && words.remove.is_empty();
    if !is_empty(&filters.request) {
        compiled.push(Filter::RequestHeaders(of(&filters.request)));
    }
    if !is_empty(&filters.response) {
        compiled.push(Filter::ResponseHeaders(of(&filters.response)));
    }
    if filters.host.is_some() || filters.path.is_some() {
        let host = filters.host.as_deref().map(Into::into);
        compiled.push(Filter::Rewrite(UrlRewrite { host, path: filters.path.as_ref().map(compile_path) }));
    }
    if number % 2 == 1 {
        compiled.reverse();
    }
    compiled
}

fn compile_path(path: &Path) -> PathChange {
    match path {
        Path::Full(full) => PathChange::Full(full.as_str().into()),
        Path::Prefix(prefix) => PathChange::Prefix(prefix.as_str().into()),
    }
}

fn compile_cors(cors: &Cors) -> CompiledCors {
    let star = |names: &[String]| names.iter().any(|name| name == "*");
    let names = |list: &[String]| {
        if star(list) { Names::Any } else { Names::Listed(list.iter().map(|name| name.as_str().into()).collect()) }
    };
    let origin = |text: &String| {
        let (scheme, rest) = text.split_once("://").unwrap();
        let default = if scheme == "https" { "443" } else { "80" };
        let (host, port) = rest.split_once(':').unwrap_or((rest, default));
        Origin { scheme: scheme.into(), host: Hostname::parse(host), port: port.parse().ok() }
    };
    CompiledCors {
        origins: if star(&cors.origins) {
            Origins::Any
        } else {
            Origins::Listed(cors.origins.iter().map(origin).collect())
        },
        credentials: cors.credentials,
        methods: names(&cors.methods),
        headers: names(&cors.headers),
        expose: names(&cors.expose),
        max_age: cors.max_age,
    }
}

fn compile_action(action: &Action, to: UpstreamIndex, empty: UpstreamIndex, number: usize) -> CompiledAction {
    match action {
        Action::Forward(own) => forward_to(vec![(1, to, compile(own, number / 2).into_iter().collect())]),
        Action::Redirect(redirect) => CompiledAction::Redirect(CompiledRedirect {
            scheme: redirect.scheme.as_deref().map(|s| if s == "https" { Scheme::Https } else { Scheme::Http }),
            host: redirect.host.as_deref().map(Into::into),
            port: redirect.port.and_then(NonZeroU16::new),
            path: redirect.path.as_ref().map(compile_path),
            status: redirect.status,
        }),
        Action::Fail(503) => forward_to(vec![(1, empty, [].into_iter().collect())]),
        Action::Fail(_) if number.is_multiple_of(2) => CompiledAction::Answer(LocalAnswer::FilterFailed),
        Action::Fail(_) => {
            let target = Target::Invalid { backend: "test/gone:80".into(), answer: LocalAnswer::InvalidBackend };
            CompiledAction::Forward(WeightedUpstreams::new([Share { weight: 1, target }]).unwrap())
        }
    }
}
