//! The metrics: what workers count is what a scrape shows, and the text is what Prometheus reads.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::float_cmp, reason = "counts are whole numbers, exact as floats")]

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use transom::telemetry::{
    AccessLog, BuildLabels, Headers, ListenerLabels, ProblemStage, Reason, RequestRecord, RouteLabels, Telemetry,
};

const BUILD: BuildLabels<'static> = BuildLabels { version: "0.1.0", commit: "abc", gateway_api: "v1.7.0" };

fn telemetry() -> Telemetry {
    Telemetry::new(BUILD, AccessLog::off())
}

fn record(route: &str, code: u16, duration: Duration) -> RequestRecord<'_> {
    RequestRecord {
        listener: Some(ListenerLabels { namespace: "infra", gateway: "edge", listener: "web" }),
        route: Some(RouteLabels { kind: "HTTPRoute", namespace: "shop", name: route, rule: 0 }),
        method: "GET",
        host: "a.example",
        path: "/",
        protocol: "HTTP/1.1",
        tls: false,
        code,
        reason: Reason::None,
        client: None,
        request_id: "",
        upstream: None,
        duration,
        upstream_duration: Duration::ZERO,
        bytes_received: 0,
        bytes_sent: 0,
        trace_id: None,
        error: None,
        headers: Headers::default(),
    }
}

/// Sample line without its value -> value. Fails on a line that is not of the text format.
fn samples(telemetry: &Telemetry) -> BTreeMap<String, f64> {
    let label = r#"[a-z_]+="(?:[^"\\\n]|\\\\|\\"|\\n)*""#;
    let sample = regex::Regex::new(&format!(r"^([a-z_]+(?:\{{{label}(?:,{label})*\}})?) ([0-9.e+-]+|\+Inf)$")).unwrap();
    let comment = regex::Regex::new(r"^# (HELP [a-z_]+ .+|TYPE [a-z_]+ (counter|gauge|histogram))$").unwrap();
    let text = telemetry.metrics_text();
    assert!(text.ends_with('\n'));
    let mut samples = BTreeMap::new();
    for line in text.lines().filter(|line| !comment.is_match(line)) {
        let found = sample.captures(line).unwrap_or_else(|| panic!("not the text format: {line}"));
        let before = samples.insert(found[1].to_owned(), found[2].parse().unwrap());
        assert_eq!(before, None, "twice: {line}");
    }
    samples
}

fn requests(route: &str, code: u16) -> String {
    labelled("transom_http_requests_total", route, code, "")
}

fn labelled(name: &str, route: &str, code: u16, more: &str) -> String {
    format!(
        "{name}{{gateway_namespace=\"infra\",gateway=\"edge\",listener=\"web\",route_kind=\"HTTPRoute\",\
         route_namespace=\"shop\",route=\"{route}\",code=\"{code}\",reason=\"none\"{more}}}"
    )
}

#[test]
fn what_all_workers_counted_is_what_a_scrape_shows() {
    let telemetry = telemetry();
    thread::scope(|scope| {
        for worker in 0..4 {
            let recorder = telemetry.recorder(worker);
            scope.spawn(move || {
                for n in 0..1_000 {
                    let code = if n % 10 == 0 { 503 } else { 200 };
                    recorder.record(&record("cart", code, Duration::from_millis(2)));
                }
            });
        }
    });
    let samples = samples(&telemetry);
    assert_eq!(samples[&requests("cart", 200)], 3_600.0);
    assert_eq!(samples[&requests("cart", 503)], 400.0);
    assert_eq!(samples[&labelled("transom_http_request_duration_seconds_count", "cart", 200, "")], 3_600.0);
    let sum = samples[&labelled("transom_http_request_duration_seconds_sum", "cart", 200, "")];
    assert!((sum - 7.2).abs() < 1e-9, "{sum}");
    for worker in 0..4 {
        assert_eq!(samples[&format!("transom_worker_requests_total{{worker=\"{worker}\"}}")], 1_000.0);
    }
}

#[test]
fn counters_outlive_the_thread_that_counted() {
    let telemetry = telemetry();
    for _ in 0..3 {
        let recorder = telemetry.recorder(0);
        thread::spawn(move || recorder.record(&record("cart", 200, Duration::ZERO))).join().unwrap();
    }
    assert_eq!(samples(&telemetry)[&requests("cart", 200)], 3.0);
}

#[test]
fn a_bucket_holds_what_is_no_longer_than_its_bound() {
    let telemetry = telemetry();
    let recorder = telemetry.recorder(0);
    for micros in [0, 500, 501, 1_000, 2_500, 9_999_999, 10_000_000, 10_000_001, 3_600_000_000] {
        recorder.record(&record("cart", 200, Duration::from_micros(micros)));
    }
    let samples = samples(&telemetry);
    let bounds = [
        ("0.0005", 2.0),
        ("0.001", 4.0),
        ("0.0025", 5.0),
        ("0.005", 5.0),
        ("0.01", 5.0),
        ("0.025", 5.0),
        ("0.05", 5.0),
        ("0.075", 5.0),
        ("0.1", 5.0),
        ("0.25", 5.0),
        ("0.5", 5.0),
        ("0.75", 5.0),
        ("1", 5.0),
        ("2.5", 5.0),
        ("5", 5.0),
        ("7.5", 5.0),
        ("10", 7.0),
        ("+Inf", 9.0),
    ];
    for (bound, count) in bounds {
        let name = labelled("transom_http_request_duration_seconds_bucket", "cart", 200, &format!(",le=\"{bound}\""));
        assert_eq!(samples.get(&name), Some(&count), "{name}");
    }
    let buckets = samples.keys().filter(|name| name.contains("_bucket{gateway")).count();
    assert_eq!(buckets, bounds.len());
}

#[test]
fn what_the_endpoint_took_is_no_overhead_and_neither_is_an_answer_of_our_own() {
    let telemetry = telemetry();
    let recorder = telemetry.recorder(0);
    let mut answered = record("cart", 200, Duration::from_millis(300));
    answered.upstream = "192.0.2.1:80".parse().ok();
    answered.upstream_duration = Duration::from_millis(297);
    recorder.record(&answered);
    // its end is the client's to choose
    answered.code = 101;
    recorder.record(&answered);
    answered.code = 200;
    answered.reason = Reason::ClientAbort;
    recorder.record(&answered);
    let mut redirected = record("cart", 302, Duration::from_millis(1));
    redirected.reason = Reason::Redirect;
    recorder.record(&redirected);
    let samples = samples(&telemetry);
    assert_eq!(samples["transom_http_overhead_seconds_count"], 1.0);
    assert_eq!(samples["transom_http_overhead_seconds_sum"], 0.003);
    assert_eq!(samples["transom_http_overhead_seconds_bucket{le=\"0.0025\"}"], 0.0);
    assert_eq!(samples["transom_http_overhead_seconds_bucket{le=\"0.005\"}"], 1.0);
}

#[test]
fn series_of_a_deleted_route_go_and_begin_anew_if_it_comes_back() {
    let telemetry = telemetry();
    let recorder = telemetry.recorder(0);
    for route in ["kept", "gone"] {
        for _ in 0..5 {
            recorder.record(&record(route, 200, Duration::ZERO));
        }
    }
    telemetry.retain_series(|labels| labels.route != "gone");
    let after = samples(&telemetry);
    assert_eq!(after[&requests("kept", 200)], 5.0);
    assert!(after.keys().all(|name| !name.contains("gone")), "{after:?}");

    recorder.record(&record("gone", 200, Duration::ZERO));
    recorder.record(&record("kept", 200, Duration::ZERO));
    let again = samples(&telemetry);
    assert_eq!(again[&requests("gone", 200)], 1.0);
    assert_eq!(again[&requests("kept", 200)], 6.0);
}

#[test]
fn removal_while_workers_count_loses_no_series_that_stays() {
    let telemetry = telemetry();
    thread::scope(|scope| {
        for worker in 0..3 {
            let recorder = telemetry.recorder(worker);
            scope.spawn(move || {
                for n in 0..2_000 {
                    recorder.record(&record("kept", 200, Duration::ZERO));
                    recorder.record(&record(&format!("brief-{}", n % 7), 200, Duration::ZERO));
                }
            });
        }
        for _ in 0..200 {
            telemetry.retain_series(|labels| labels.route == "kept");
            thread::yield_now();
        }
    });
    telemetry.retain_series(|labels| labels.route == "kept");
    let samples = samples(&telemetry);
    assert_eq!(samples[&requests("kept", 200)], 6_000.0);
    assert!(samples.keys().all(|name| !name.contains("brief")));
}

#[test]
fn labels_are_bounded_and_hostile_ones_are_escaped() {
    let telemetry = telemetry();
    let recorder = telemetry.recorder(0);
    for code in [0, 99, 600, 999, u16::MAX] {
        recorder.record(&record("a\"b\\c\nd", code, Duration::ZERO));
    }
    let samples = samples(&telemetry);
    let series: Vec<_> = samples.iter().filter(|(name, _)| name.starts_with("transom_http_requests_total")).collect();
    assert_eq!(series, [(&requests(r#"a\"b\\c\nd"#, 0), &5.0)], "no status code is made up by an upstream");
}

#[test]
fn a_request_that_nothing_took_has_empty_labels() {
    let telemetry = telemetry();
    let mut unmatched = record("x", 404, Duration::ZERO);
    (unmatched.listener, unmatched.route, unmatched.reason) = (None, None, Reason::NoListener);
    telemetry.recorder(0).record(&unmatched);
    let name = "transom_http_requests_total{gateway_namespace=\"\",gateway=\"\",listener=\"\",route_kind=\"\",\
                route_namespace=\"\",route=\"\",code=\"404\",reason=\"no_listener\"}";
    assert_eq!(samples(&telemetry)[name], 1.0);
}

#[test]
fn active_requests_end_when_dropped_on_any_thread() {
    let telemetry = telemetry();
    let recorder = telemetry.recorder(0);
    let active = |telemetry: &Telemetry| samples(telemetry)["transom_http_active_requests"];
    let (first, second) = (recorder.begin(), recorder.begin());
    assert_eq!(active(&telemetry), 2.0);
    drop(first);
    assert_eq!(active(&telemetry), 1.0);
    thread::spawn(move || drop(second)).join().unwrap();
    assert_eq!(active(&telemetry), 0.0);
}

#[test]
fn two_telemetries_on_one_thread_stay_apart() {
    let (one, two) = (telemetry(), telemetry());
    let (first, second) = (one.recorder(0), two.recorder(0));
    for _ in 0..3 {
        first.record(&record("one", 200, Duration::ZERO));
        second.record(&record("two", 200, Duration::ZERO));
    }
    assert_eq!(samples(&one)[&requests("one", 200)], 3.0);
    assert!(!one.metrics_text().contains("two"));
    assert_eq!(samples(&two)[&requests("two", 200)], 3.0);
}

#[test]
fn the_configuration_s_state_is_shown() {
    let telemetry = telemetry();
    let config = telemetry.config();
    config.objects("HTTPRoute", 7);
    config.problems(ProblemStage::Source, 1);
    config.problems(ProblemStage::Translate, 0);
    config.published(42, Duration::from_millis(3));
    let samples = samples(&telemetry);
    assert_eq!(samples["transom_config_objects{kind=\"HTTPRoute\"}"], 7.0);
    assert_eq!(samples["transom_config_problems{stage=\"source\"}"], 1.0);
    assert_eq!(samples["transom_config_problems{stage=\"translate\"}"], 0.0);
    assert_eq!(samples["transom_config_snapshot_generation"], 42.0);
    assert!(samples["transom_config_last_success_timestamp_seconds"] > 1.7e9);
    assert_eq!(samples["transom_config_propagation_seconds_count"], 1.0);
    let build = "transom_build_info{commit=\"abc\",gateway_api=\"v1.7.0\",version=\"0.1.0\"}";
    assert_eq!(samples[build], 1.0);
}

#[test]
fn ten_thousand_routes_are_scraped_at_once() {
    let telemetry = telemetry();
    let recorder = telemetry.recorder(0);
    for n in 0..10_000 {
        let route = format!("route-{n}");
        for code in [200, 404, 503] {
            recorder.record(&record(&route, code, Duration::from_millis(1)));
        }
    }
    let text = telemetry.metrics_text();
    assert_eq!(text.lines().filter(|line| line.starts_with("transom_http_requests_total{")).count(), 30_000);
}
