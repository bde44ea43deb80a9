//! Translating 5,000 HTTPRoutes (500 hosts of 10): from scratch, after one edit, and one endpoint change.
//! Run with `cargo bench --bench translate`.
#![allow(clippy::expect_used, reason = "a bench")]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use serde_json::{Value, json};
use transom::api::{Kind, Object, ObjectKey};
use transom::snapshot::{UpstreamId, UpstreamProtocol};
use transom::store::{Change, Event, Resources};
use transom::translate::{Binds, Exposure, Fleet, Origin, Settings, endpoints, translate};

/// The binary's own allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const HOSTS: usize = 500;
const ROUTES_PER_HOST: usize = 10;

fn object(kind: Kind, value: Value) -> Object {
    Object::from_value(kind, value).expect("a sound object")
}

fn route(host: usize, number: usize, path: &str) -> Object {
    object(
        Kind::HttpRoute,
        json!({
            "metadata": {"name": format!("route-{host}-{number}"), "namespace": "default", "generation": 1},
            "spec": {
                "parentRefs": [{"name": "gw"}],
                "hostnames": [format!("host-{host}.example.com")],
                "rules": [{
                    "matches": [{"path": {"type": "PathPrefix", "value": path}}],
                    "backendRefs": [{"name": format!("service-{}", number), "port": 80}],
                }],
            },
        }),
    )
}

fn world() -> Resources {
    let mut resources = Resources::default();
    let mut apply = |object| resources.apply(Event::Apply(object), &mut Change::default());
    apply(object(
        Kind::GatewayClass,
        json!({"metadata": {"name": "transom"}, "spec": {"controllerName": "transom.dev/gateway-controller"}}),
    ));
    apply(object(
        Kind::Gateway,
        json!({
            "metadata": {"name": "gw", "namespace": "default"},
            "spec": {"gatewayClassName": "transom", "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]},
        }),
    ));
    for number in 0..ROUTES_PER_HOST {
        let name = format!("service-{number}");
        apply(object(
            Kind::Service,
            json!({
                "metadata": {"name": name, "namespace": "default"},
                "spec": {"ports": [{"name": "http", "port": 80}]},
            }),
        ));
        apply(object(
            Kind::EndpointSlice,
            json!({
                "metadata": {"name": name, "namespace": "default", "labels": {"kubernetes.io/service-name": name}},
                "addressType": "IPv4",
                "ports": [{"name": "http", "port": 8080}],
                "endpoints": [{"addresses": [format!("10.0.0.{number}")]}, {"addresses": [format!("10.0.1.{number}")]}],
            }),
        ));
    }
    for host in 0..HOSTS {
        for number in 0..ROUTES_PER_HOST {
            apply(route(host, number, &format!("/path-{number}")));
        }
    }
    resources
}

fn benches(criterion: &mut Criterion) {
    let resources = world();
    let settings = Settings {
        controller_name: "transom.dev/gateway-controller".to_owned(),
        origin: Origin::Files,
        binds: Binds::Assumed,
        port_offset: 0,
        exposure: Exposure::Host,
        publish_addresses: Vec::new(),
        fleet: Fleet::Alone,
    };
    let translation = translate(&resources, &settings);
    assert_eq!(translation.snapshot.rules.len(), HOSTS * ROUTES_PER_HOST);
    assert!(translation.findings.is_empty(), "{:?}", translation.findings.first());

    let mut group = criterion.benchmark_group("translate 5,000 HTTPRoutes");
    group.sample_size(30);
    group.bench_function("from scratch", |bencher| {
        bencher.iter_batched(|| (), |()| translate(black_box(&resources), &settings), BatchSize::PerIteration);
    });
    let mut edited = resources.clone();
    let mut turn = 0;
    group.bench_function("after one edit", |bencher| {
        bencher.iter_batched(
            || {
                turn += 1;
                route(250, 5, &format!("/edited-{turn}"))
            },
            |edit| {
                edited.apply(Event::Apply(edit), &mut Change::default());
                translate(&edited, &settings)
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();

    let id = UpstreamId {
        namespace: "default".to_owned(),
        service: "service-5".to_owned(),
        port: 80,
        protocol: UpstreamProtocol::Http1,
    };
    let key = ObjectKey::new("default", "service-5");
    let slice = resources.endpoint_slices.get(&key).expect("the slice").clone();
    let mut moved = resources.clone();
    let mut turn = 0u8;
    criterion.bench_function("one endpoint change among 5,000 routes", |bencher| {
        bencher.iter_batched(
            || {
                turn = turn.wrapping_add(1);
                let mut slice = slice.clone();
                for endpoint in slice.endpoints.iter_mut().flatten() {
                    endpoint.addresses = vec![format!("10.9.0.{turn}")];
                }
                Object::EndpointSlice(Box::new(slice))
            },
            |slice| {
                moved.apply(Event::Apply(slice), &mut Change::default());
                endpoints(&moved, &id)
            },
            BatchSize::PerIteration,
        );
    });
}

criterion_group!(translation, benches);
criterion_main!(translation);
