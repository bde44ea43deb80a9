//! GRPCRoutes over real sockets: manifests are translated and served, calls are made frame by frame, and the upstreams
//! say what they were sent. What gRPC asks of the data plane below routes stands in `traffic_grpc.rs`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "parts of tests fail as tests do"
)]

#[allow(dead_code, reason = "a part is used")]
#[path = "translate/load.rs"]
mod load;
#[path = "support/traffic/mod.rs"]
mod support;

use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Request};
use http_body_util::Full;
use support::client::{Client, Wire};
use support::h2c::{H2c, Reply, connect, reply};
use support::upstream::Echo;
use support::{Gateway, eventually, free_address, tls};
use transom::snapshot::Snapshot;
use transom::translate::translate;

const SERVICE: &str = "gateway_api_conformance.echo_basic.grpcecho.GrpcEcho";
const ECHO: &str = "/gateway_api_conformance.echo_basic.grpcecho.GrpcEcho/Echo";
const ECHO_TWO: &str = "/gateway_api_conformance.echo_basic.grpcecho.GrpcEcho/EchoTwo";

/// A class, and a Gateway with one listener for every host.
fn gateway(name: &str, address: SocketAddr) -> String {
    let (ip, port) = (address.ip(), address.port());
    listeners(
        name,
        &format!("  addresses: [{{value: {ip}}}]\n  listeners:\n  - {{name: http, port: {port}, protocol: HTTP}}\n"),
    )
}

fn listeners(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {{name: transom}}\n\
         spec: {{controllerName: transom.dev/gateway-controller}}\n---\n\
         apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: {name}}}\nspec:\n  \
         gatewayClassName: transom\n{spec}---\n"
    )
}

/// A Service without appProtocol, and its endpoint.
fn service(name: &str, address: SocketAddr) -> String {
    let (ip, port) = (address.ip(), address.port());
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{ports: [{{name: p, port: 80}}]}}\n---\n\
         apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{name: {name}-1, labels: {{kubernetes.io/service-name: {name}}}}}\naddressType: IPv4\n\
         ports: [{{name: p, port: {port}}}]\nendpoints: [{{addresses: [{ip}]}}]\n---\n"
    )
}

fn route(kind: &str, name: &str, spec: &str) -> String {
    format!("apiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec:\n{spec}---\n")
}

fn grpc_route(name: &str, spec: &str) -> String {
    route("GRPCRoute", name, spec)
}

/// What manifests are translated to.
fn snapshot(manifests: &[String]) -> Snapshot {
    let documents = load::documents(&manifests.concat());
    let objects = documents.into_iter().map(|value| load::object(value).expect("an object"));
    translate(&load::resources(objects), &load::settings(&load::CaseSettings::default())).snapshot
}

async fn serve(manifests: &[String]) -> Gateway {
    let mut gateway = Gateway::start();
    gateway.serve(snapshot(manifests)).await;
    gateway
}

/// Makes a call with a message of its own.
async fn call(client: &mut SendRequest<Bytes>, authority: &str, path: &str, headers: &[(&str, &str)]) -> Reply {
    let mut request = Request::post(format!("http://{authority}{path}"));
    for (name, value) in [("content-type", "application/grpc"), ("te", "trailers")].iter().chain(headers) {
        request = request.header(*name, *value);
    }
    let mut ready = client.clone().ready().await.unwrap();
    let (response, mut stream) = ready.send_request(request.body(()).unwrap(), false).unwrap();
    stream.send_data(Bytes::from_static(b"\0\0\0\0\x02hi"), true).unwrap();
    reply(response).await.unwrap()
}

/// The status of a call, wherever it stands.
fn status(reply: &Reply) -> &str {
    let own = reply.head.headers.get("grpc-status").map(|status| status.to_str().unwrap());
    own.or(reply.trailer("grpc-status")).unwrap_or("none")
}

/// The gateway's own answer: status and reason, in the header block that ends the stream.
fn told(reply: &Reply) -> (u16, &str, &str) {
    assert!(reply.header_ended && reply.body.is_empty() && reply.trailers.is_none(), "{reply:?}");
    let header = |name: &str| reply.head.headers.get(name).map_or("none", |value| value.to_str().unwrap());
    (reply.head.status.as_u16(), header("grpc-status"), header("grpc-message"))
}

fn sent<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
    headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
}

fn by_method(service: &str, method: &str, backend: &str) -> String {
    format!(
        "  - matches: [{{method: {{service: {service}, method: {method}}}}}]\n    backendRefs: [{{name: {backend}, port: 80}}]\n"
    )
}

/// GRPCExactMethodMatching.
#[tokio::test]
async fn calls_go_by_service_and_method_and_others_are_unimplemented() {
    let (one, two) = (H2c::start().await, H2c::start().await);
    let address = free_address();
    let rules = by_method(SERVICE, "Echo", "one") + &by_method(SERVICE, "EchoTwo", "two");
    let route = grpc_route("r", &format!("  parentRefs: [{{name: gw}}]\n  rules:\n{rules}"));
    let gateway =
        serve(&[gateway("gw", address), route, service("one", one.address), service("two", two.address)]).await;
    let mut client = connect(address).await;
    for (path, upstream) in [(ECHO, &one), (ECHO_TWO, &two)] {
        let reply = call(&mut client, "a.com", path, &[]).await;
        assert_eq!((reply.head.status.as_u16(), status(&reply)), (200, "0"));
        assert_eq!(reply.body, b"\0\0\0\0\x02hi");
        assert_eq!(reply.trailer("grpc-message"), Some("fine"), "trailers pass");
        assert_eq!(upstream.seen().last().unwrap().head.uri.path(), path);
    }
    assert_eq!((one.seen().len(), two.seen().len()), (1, 1));
    let three = format!("/{SERVICE}/EchoThree");
    assert_eq!(told(&call(&mut client, "a.com", &three, &[]).await), (200, "12", "no_route"));
    assert_eq!(told(&call(&mut client, "a.com", "/other.Service/Echo", &[]).await), (200, "12", "no_route"));
    // What is no call is none of a GRPCRoute's business.
    let answer = Client::h1(address).await.get(&format!("http://a.com{ECHO}")).await.unwrap();
    assert_eq!(answer.summary(), "404 no_route");
    eventually("the route's counter", || async {
        gateway.telemetry.metrics_text().contains("route_kind=\"GRPCRoute\"").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_rule_without_matches_takes_every_call_and_a_route_without_rules_is_unavailable() {
    let one = H2c::start().await;
    let address = free_address();
    let all = grpc_route(
        "all",
        "  parentRefs: [{name: gw}]\n  hostnames: [all.example.com]\n  rules: [{backendRefs: [{name: one, port: 80}]}]\n",
    );
    let empty = grpc_route("empty", "  parentRefs: [{name: gw}]\n  hostnames: [empty.example.com]\n");
    let _gateway = serve(&[gateway("gw", address), all, empty, service("one", one.address)]).await;
    let mut client = connect(address).await;
    for path in [ECHO, "/any.Service/Method", "/odd"] {
        assert_eq!(status(&call(&mut client, "all.example.com", path, &[]).await), "0", "{path}");
    }
    assert_eq!(told(&call(&mut client, "empty.example.com", ECHO, &[]).await), (200, "14", "invalid_backend"));
    assert_eq!(told(&call(&mut client, "none.example.com", ECHO, &[]).await), (200, "12", "no_route"));
}

/// GRPCRouteRequestHeaderModifier sends the authority of the service itself; and gateway-api.md 9, 11.
#[tokio::test]
async fn the_authority_may_have_underscores_capitals_a_trailing_dot_and_a_port() {
    let one = H2c::start().await;
    let address = free_address();
    let named = grpc_route(
        "named",
        &format!(
            "  parentRefs: [{{name: gw}}]\n  hostnames: [abc.example.com, {}, \"*.under_score.com\"]\n  rules: [{{backendRefs: [{{name: one, port: 80}}]}}]\n",
            SERVICE.to_lowercase()
        ),
    );
    let _gateway = serve(&[gateway("gw", address), named, service("one", one.address)]).await;
    let mut client = connect(address).await;
    for authority in [
        SERVICE,
        "abc.example.com",
        "ABC.Example.com",
        "abc.example.com.",
        "abc.example.com:8080",
        "ABC.example.com.:80",
        "my_app.under_score.com",
    ] {
        let reply = call(&mut client, authority, ECHO, &[]).await;
        assert_eq!(status(&reply), "0", "{authority}: {reply:?}");
        // As the client says it.
        assert_eq!(one.seen().last().unwrap().head.uri.authority().unwrap().as_str(), authority);
    }
    assert_eq!(told(&call(&mut client, "abc.example.org", ECHO, &[]).await).1, "12");
}

/// GRPCRouteListenerHostnameMatching: a listener takes the calls of its hostname, by `:authority`.
#[tokio::test]
async fn the_most_specific_listener_takes_the_authority() {
    let (one, two, three) = (H2c::start().await, H2c::start().await, H2c::start().await);
    let address = free_address();
    let port = address.port();
    let spec = format!(
        "  addresses: [{{value: 127.0.0.1}}]\n  listeners:\n  \
         - {{name: one, hostname: bar.com, port: {port}, protocol: HTTP}}\n  \
         - {{name: two, hostname: foo.bar.com, port: {port}, protocol: HTTP}}\n  \
         - {{name: three, hostname: \"*.bar.com\", port: {port}, protocol: HTTP}}\n"
    );
    let to = |name: &str| {
        let spec = format!("  parentRefs: [{{name: gw, sectionName: {name}}}]\n  rules:\n");
        grpc_route(name, &(spec + &by_method(SERVICE, "Echo", name)))
    };
    let _gateway = serve(&[
        listeners("gw", &spec),
        to("one"),
        to("two"),
        to("three"),
        service("one", one.address),
        service("two", two.address),
        service("three", three.address),
    ])
    .await;
    let mut client = connect(address).await;
    for (authority, upstream) in
        [("bar.com", &one), ("foo.bar.com", &two), ("baz.bar.com", &three), ("multiple.prefixes.bar.com", &three)]
    {
        let before = upstream.seen().len();
        assert_eq!(status(&call(&mut client, authority, ECHO, &[]).await), "0", "{authority}");
        assert_eq!(upstream.seen().len(), before + 1, "{authority}");
    }
    assert_eq!(told(&call(&mut client, "no.matching.com", ECHO, &[]).await), (200, "12", "no_listener"));
    assert_eq!(told(&call(&mut client, "foo.bar.com", ECHO_TWO, &[]).await), (200, "12", "no_route"));
}

/// GRPCRouteMultipleGateways: the same listener twice, and one method that leads elsewhere on each.
#[tokio::test]
async fn two_gateways_with_the_same_listener_have_their_own_routes() {
    let upstreams = [H2c::start().await, H2c::start().await, H2c::start().await];
    let (first, second) = (free_address(), free_address());
    let to = |name: &str, parents: &str, method: &str, backend: &str| {
        grpc_route(name, &(format!("  parentRefs: [{parents}]\n  rules:\n") + &by_method(SERVICE, method, backend)))
    };
    let _gateway = serve(&[
        gateway("first", first),
        gateway("second", second),
        to("both", "{name: first}, {name: second}", "Echo", "v1"),
        to("one", "{name: first}", "EchoTwo", "v2"),
        to("other", "{name: second}", "EchoTwo", "v3"),
        service("v1", upstreams[0].address),
        service("v2", upstreams[1].address),
        service("v3", upstreams[2].address),
    ])
    .await;
    for (address, own) in [(first, &upstreams[1]), (second, &upstreams[2])] {
        let mut client = connect(address).await;
        // Nothing is said but where to connect.
        let authority = address.to_string();
        assert_eq!(status(&call(&mut client, &authority, ECHO, &[]).await), "0");
        assert_eq!(status(&call(&mut client, &authority, ECHO_TWO, &[]).await), "0");
        assert_eq!(own.seen().len(), 1);
    }
    assert_eq!(upstreams[0].seen().len(), 2);
}

/// GRPCRouteMultipleRoutesAttachmentSameHostnameIntersection, with the fall-through of its HTTP sibling.
#[tokio::test]
async fn the_more_specific_hostname_of_a_route_wins_though_the_route_is_younger() {
    let (v1, v2) = (H2c::start().await, H2c::start().await);
    for (listener, older, newer) in
        [("abc.example.com", "*.example.com", "abc.example.com"), ("*.example.com", "*.com", "*.example.com")]
    {
        let address = free_address();
        let spec = format!(
            "  addresses: [{{value: 127.0.0.1}}]\n  listeners:\n  - {{name: http, hostname: \"{listener}\", port: {}, protocol: HTTP, \
             allowedRoutes: {{kinds: [{{kind: GRPCRoute}}]}}}}\n",
            address.port()
        );
        let to = |name: &str, host: &str, day: u32, rule: &str| {
            let spec = format!("  parentRefs: [{{name: gw}}]\n  hostnames: [\"{host}\"]\n  rules:\n  - {rule}\n");
            let aged = format!("name: {name}, creationTimestamp: \"2026-01-0{day}T00:00:00Z\"");
            grpc_route(name, &spec).replacen(&format!("name: {name}"), &aged, 1)
        };
        let wide = "matches: [{headers: [{name: b, value: b}]}, {}]\n    backendRefs: [{name: v1, port: 80}]";
        let narrow = format!(
            "matches: [{{method: {{service: {SERVICE}, method: Echo}}}}]\n    backendRefs: [{{name: v2, port: 80}}]"
        );
        let _gateway = serve(&[
            listeners("gw", &spec),
            to("older", older, 1, wide),
            to("newer", newer, 2, &narrow),
            service("v1", v1.address),
            service("v2", v2.address),
        ])
        .await;
        let mut client = connect(address).await;
        let before = (v1.seen().len(), v2.seen().len());
        assert_eq!(status(&call(&mut client, "abc.example.com", ECHO, &[("b", "b")]).await), "0");
        assert_eq!((v1.seen().len(), v2.seen().len()), (before.0, before.1 + 1), "{listener}");
        assert_eq!(status(&call(&mut client, "abc.example.com", ECHO_TWO, &[]).await), "0");
        assert_eq!((v1.seen().len(), v2.seen().len()), (before.0 + 1, before.1 + 1), "it falls through");
    }
}

/// GRPCRouteHeaderMatching.
#[tokio::test]
async fn calls_go_by_their_headers() {
    let (one, two) = (H2c::start().await, H2c::start().await);
    let address = free_address();
    let route = grpc_route(
        "r",
        "  parentRefs: [{name: gw}]\n  rules:\n  \
         - matches: [{headers: [{name: Version, value: one}]}]\n    backendRefs: [{name: one, port: 80}]\n  \
         - matches: [{headers: [{name: version, value: two}]}, {headers: [{name: Color, value: orange}, {name: version, value: one}]}, \
         {headers: [{type: RegularExpression, name: user, value: \"adm.*\"}]}]\n    backendRefs: [{name: two, port: 80}]\n",
    );
    let _gateway =
        serve(&[gateway("gw", address), route, service("one", one.address), service("two", two.address)]).await;
    let mut client = connect(address).await;
    let cases = [
        (vec![("version", "one")], Some(&one)),
        (vec![("VERSION", "two")], Some(&two)),
        (vec![("version", "one"), ("color", "orange")], Some(&two)),
        (vec![("user", "admin")], Some(&two)),
        (vec![("user", "an admin")], None),
        (vec![("color", "orange")], None),
    ];
    for (headers, upstream) in cases {
        let before = upstream.map(|upstream| upstream.seen().len());
        let reply = call(&mut client, "a.com", ECHO, &headers).await;
        assert_eq!(status(&reply), if upstream.is_some() { "0" } else { "12" }, "{headers:?}");
        assert_eq!(upstream.map(|upstream| upstream.seen().len()), before.map(|count| count + 1), "{headers:?}");
    }
}

/// GRPCRouteWeight, and a share that leads nowhere: "the proportion of requests that would otherwise have been routed
/// to an invalid backend MUST receive an `UNAVAILABLE` status".
#[tokio::test]
async fn calls_are_split_by_weight_and_an_invalid_share_is_unavailable() {
    let (one, two, never) = (H2c::start().await, H2c::start().await, H2c::start().await);
    let address = free_address();
    let route = grpc_route(
        "r",
        "  parentRefs: [{name: gw}]\n  rules:\n  - backendRefs: [{name: one, port: 80, weight: 50}, {name: two, port: 80, weight: 25}, \
         {name: never, port: 80, weight: 0}, {name: gone, port: 80, weight: 25}]\n",
    );
    let parts = [service("one", one.address), service("two", two.address), service("never", never.address)];
    let _gateway = serve(&[gateway("gw", address), route, parts.concat()]).await;
    let mut client = connect(address).await;
    let mut unavailable = 0;
    for _ in 0..1000 {
        let reply = call(&mut client, "a.com", ECHO, &[]).await;
        match status(&reply) {
            "0" => {}
            _ => {
                assert_eq!(told(&reply), (200, "14", "invalid_backend"));
                unavailable += 1;
            }
        }
    }
    // Of 1000, within more than four standard deviations.
    for (found, expected) in [(one.seen().len(), 500), (two.seen().len(), 250), (unavailable, 250)] {
        assert!(found.abs_diff(expected) < 70, "{found} instead of {expected}");
    }
    assert_eq!(never.seen().len(), 0);
}

/// The conformance suite does not look at the values; here they are looked at.
#[tokio::test]
async fn header_modifiers_and_mirrors_act_on_calls_at_the_rule_and_at_the_share() {
    let (one, copies) = (H2c::start().await, H2c::start().await);
    let address = free_address();
    let route = grpc_route(
        "r",
        "  parentRefs: [{name: gw}]\n  rules:\n  - filters:\n    \
         - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-Header-Set, value: set-overwrites-values}], \
         add: [{name: X-Header-Add, value: add-appends-values}], remove: [X-Header-Remove]}}\n    \
         - {type: ResponseHeaderModifier, responseHeaderModifier: {add: [{name: x-answer, value: rule}]}}\n    \
         - {type: RequestMirror, requestMirror: {backendRef: {name: copies, port: 80}}}\n    \
         backendRefs:\n    - name: one\n      port: 80\n      filters:\n      \
         - {type: RequestHeaderModifier, requestHeaderModifier: {add: [{name: x-share, value: one}]}}\n      \
         - {type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-answer, value: share}]}}\n",
    );
    let _gateway =
        serve(&[gateway("gw", address), route, service("one", one.address), service("copies", copies.address)]).await;
    let mut client = connect(address).await;
    let headers = [("x-header-set", "a"), ("x-header-add", "b"), ("x-header-remove", "c"), ("x-stays", "d")];
    let reply = call(&mut client, "a.com", ECHO, &headers).await;
    assert_eq!((status(&reply), reply.trailer("grpc-message")), ("0", Some("fine")));
    assert_eq!(sent(&reply.head.headers, "x-answer"), ["share"]);
    let seen = one.seen()[0].head.headers.clone();
    assert_eq!(sent(&seen, "x-header-set"), ["set-overwrites-values"]);
    assert_eq!(sent(&seen, "x-header-add"), ["b", "add-appends-values"]);
    assert_eq!(sent(&seen, "x-header-remove"), [""; 0]);
    assert_eq!((sent(&seen, "x-stays"), sent(&seen, "x-share")), (vec!["d"], vec!["one"]));
    assert_eq!((sent(&seen, "content-type"), sent(&seen, "te")), (vec!["application/grpc"], vec!["trailers"]));

    copies.wait_outcome(0).await;
    let copy = &copies.seen()[0];
    assert_eq!((copy.head.uri.path(), copy.body), (ECHO, 7));
    assert_eq!(sent(&copy.head.headers, "x-header-set"), ["set-overwrites-values"]);
    assert_eq!(sent(&copy.head.headers, "x-share"), [""; 0], "a share's filters are not the mirror's");
}

#[tokio::test]
async fn what_the_gateway_answers_by_itself_is_told_in_grpcs_terms() {
    let one = H2c::start().await;
    let address = free_address();
    let closed = free_address();
    let rules = [
        "  - matches: [{method: {service: s, method: Closed}}]\n    backendRefs: [{name: closed, port: 80}]\n",
        "  - matches: [{method: {service: s, method: Gone}}]\n    backendRefs: [{name: gone, port: 80}]\n",
        "  - matches: [{method: {service: s, method: Empty}}]\n    backendRefs: [{name: empty, port: 80}]\n",
        "  - matches: [{method: {service: s, method: None}}]\n",
        "  - matches: [{method: {service: s, method: Weightless}}]\n    backendRefs: [{name: one, port: 80, weight: 0}]\n",
        "  - matches: [{method: {service: s, method: Filter}}]\n    filters: [{type: ExtensionRef, extensionRef: {group: e.com, kind: K, name: n}}]\n    backendRefs: [{name: one, port: 80}]\n",
        "  - matches: [{method: {service: s, method: Session}}]\n    sessionPersistence: {}\n    backendRefs: [{name: one, port: 80}]\n",
    ];
    let route = grpc_route("r", &format!("  parentRefs: [{{name: gw}}]\n  rules:\n{}", rules.concat()));
    let empty = "apiVersion: v1\nkind: Service\nmetadata: {name: empty}\nspec: {ports: [{name: p, port: 80}]}\n---\n"
        .to_owned();
    let _gateway =
        serve(&[gateway("gw", address), route, service("one", one.address), service("closed", closed), empty]).await;
    let mut client = connect(address).await;
    for (method, expected) in [
        ("Closed", (200, "14", "connect_failed")),
        ("Gone", (200, "14", "invalid_backend")),
        ("Empty", (200, "14", "no_endpoints")),
        ("None", (200, "14", "invalid_backend")),
        ("Weightless", (200, "14", "invalid_backend")),
        ("Other", (200, "12", "no_route")),
    ] {
        let reply = call(&mut client, "a.com", &format!("/s/{method}"), &[]).await;
        assert_eq!(told(&reply), expected, "{method}");
        assert_eq!(reply.head.headers["content-type"], "application/grpc");
    }
    // "Requests that would have been processed by that filter MUST receive a HTTP error response."
    for method in ["Filter", "Session"] {
        let reply = call(&mut client, "a.com", &format!("/s/{method}"), &[]).await;
        assert_eq!((reply.head.status.as_u16(), status(&reply)), (500, "none"), "{method}");
    }
    assert_eq!(one.seen().len(), 0);
}

/// An HTTPRoute and a GRPCRoute on one hostname, to one port of one Service: what is a call goes over HTTP/2, all else
/// over HTTP/1.1.
#[tokio::test]
async fn an_http_route_and_a_grpc_route_share_a_hostname() {
    let (calls, pages) = (H2c::start().await, Echo::start("pages").await);
    let address = free_address();
    let spec = "  parentRefs: [{name: gw}]\n  hostnames: [both.example.com]\n";
    let web = route("HTTPRoute", "web", &format!("{spec}  rules: [{{backendRefs: [{{name: pages, port: 80}}]}}]\n"));
    let grpc = grpc_route("calls", &format!("{spec}  rules:\n{}", by_method(SERVICE, "Echo", "calls")));
    let _gateway =
        serve(&[gateway("gw", address), web, grpc, service("calls", calls.address), service("pages", pages.address)])
            .await;
    let mut client = connect(address).await;
    assert_eq!(status(&call(&mut client, "both.example.com", ECHO, &[]).await), "0");
    assert_eq!(calls.seen().len(), 1);
    for mut client in [Client::h1(address).await, Client::h2(address).await] {
        for path in ["/", ECHO] {
            let request = Request::post(format!("http://both.example.com{path}")).header("content-type", "text/plain");
            let answer = client.send(request.body(Full::default()).unwrap()).await.unwrap();
            assert_eq!((answer.summary().as_str(), answer.fact("version")), ("200 pages", Some("HTTP/1.1")));
        }
    }
    assert_eq!(calls.seen().len(), 1);
    // A call that no GRPCRoute takes goes on to the HTTPRoutes of the host.
    let answer = call(&mut client, "both.example.com", ECHO_TWO, &[]).await;
    assert!(String::from_utf8_lossy(&answer.body).contains("name: pages"), "{answer:?}");
}

/// "Implementations supporting `GRPCRoute` with the `HTTPS` `ProtocolType` MUST accept HTTP/2 connections without an
/// initial upgrade from HTTP/1.1, i.e. via ALPN."
#[tokio::test]
async fn calls_come_over_tls() {
    let one = H2c::start().await;
    let address = free_address();
    let made = rcgen::generate_simple_self_signed(vec!["abc.example.com".to_owned()]).unwrap();
    let block = |pem: String| pem.lines().map(|line| format!("    {line}\n")).collect::<String>();
    let secret = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: tls}}\ntype: kubernetes.io/tls\nstringData:\n  tls.crt: |\n{}  tls.key: |\n{}---\n",
        block(made.cert.pem()),
        block(made.signing_key.serialize_pem())
    );
    let spec = format!(
        "  addresses: [{{value: 127.0.0.1}}]\n  listeners:\n  - {{name: https, port: {}, protocol: HTTPS, tls: {{certificateRefs: [{{name: tls}}]}}}}\n",
        address.port()
    );
    let route =
        grpc_route("r", &format!("  parentRefs: [{{name: gw}}]\n  rules:\n{}", by_method(SERVICE, "Echo", "one")));
    let _gateway = serve(&[listeners("gw", &spec), secret, route, service("one", one.address)]).await;
    let stream = tls::connect(address, "abc.example.com", &tls::client(&["h2", "http/1.1"])).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    assert_eq!(status(&call(&mut client, "abc.example.com", ECHO, &[]).await), "0");
    assert_eq!(sent(&one.seen()[0].head.headers, "x-forwarded-proto"), ["https"]);
    assert_eq!(told(&call(&mut client, "abc.example.com", ECHO_TWO, &[]).await), (200, "12", "no_route"));
}

/// HTTP/1.1 has no trailers here: the call is refused before the upstream acts on it. Its own answers still come.
#[tokio::test]
async fn a_call_over_http1_is_refused_before_it_is_forwarded() {
    let one = H2c::start().await;
    let address = free_address();
    let route = grpc_route("r", &format!("  parentRefs: [{{name: gw}}]\n  rules:\n{}", by_method("s", "Echo", "one")));
    let _gateway = serve(&[gateway("gw", address), route, service("one", one.address)]).await;
    let mut client = Wire::connect(address).await;
    let ask = |path: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: a.com\r\nContent-Type: application/grpc\r\nContent-Length: 5\r\n\r\n\0\0\0\0\0"
        )
    };
    client.send(ask("/s/Echo")).await;
    assert_eq!(client.answer("POST").await.unwrap().summary(), "505 505 request_invalid");
    client.send(ask("/s/Other")).await;
    let answer = client.answer("POST").await.unwrap();
    assert_eq!((answer.status(), answer.body.as_str()), (200, ""));
    assert!(answer.head.to_lowercase().contains("grpc-status: 12"), "{}", answer.head);
    assert!(one.seen().is_empty());
}
