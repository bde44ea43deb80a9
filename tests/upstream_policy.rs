//! The page on `UpstreamPolicy` holds, and `transom check` speaks of good and bad ones.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod cli_support;

use cli_support::{Folder, Run};
use serde::Deserialize;
use serde_json::Value;

/// The YAML blocks of the page; the first one is what the others are for.
fn page() -> Vec<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/upstream-policy.md");
    let text = std::fs::read_to_string(path).unwrap();
    let blocks = text.split("```yaml\n").skip(1);
    blocks.map(|rest| rest.split_once("```").unwrap().0.to_owned()).collect()
}

/// A folder with the first block of the page and these policies.
fn folder(policies: &str) -> Folder {
    let folder = Folder::new();
    folder.write("a.yaml", &page()[0]);
    folder.write("b.yaml", policies);
    folder
}

fn check(policies: &str) -> Run {
    folder(policies).run(&["check", "-f", "a.yaml", "b.yaml"])
}

/// A policy for the Service of the page, with this spec beside its target.
fn policy(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: transom.dev/v1alpha1\nkind: UpstreamPolicy\nmetadata: {{name: {name}, namespace: shop}}\nspec:\n  \
         targetRefs: [{{group: \"\", kind: Service, name: api}}]\n{spec}"
    )
}

#[test]
fn every_manifest_of_the_page_is_clean() {
    let blocks = page();
    assert!(blocks.len() > 8);
    for block in &blocks[1..] {
        let run = check(block);
        assert!(run.code == 0 && run.out.starts_with("no problems ("), "{}{block}", run.out);
    }
}

#[test]
fn the_page_shows_every_field_of_the_crd() {
    let crd =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/config/crd/upstreampolicies.yaml")).unwrap();
    let crd: Value = serde_yaml::from_str(&crd).unwrap();
    let spec = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let mut wanted = Vec::new();
    names(spec, &mut wanted);
    let shown = page()[1..].join("---\n");
    assert!(wanted.len() > 25);
    for name in wanted {
        assert!(shown.contains(&format!("{name}:")), "no example has {name}");
    }
}

fn names(schema: &Value, out: &mut Vec<String>) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        out.push(name.clone());
        names(property, out);
        names(&property["items"], out);
    }
}

#[test]
fn what_an_api_server_would_refuse_is_refused_with_line_and_field() {
    let cases = [
        (
            "  loadBalancing: {type: Random}\n",
            "spec.loadBalancing.type",
            "allowed LeastRequest, RoundRobin, ConsistentHash",
        ),
        (
            "  loadBalancing: {type: ConsistentHash}\n",
            "spec.loadBalancing.consistentHash",
            "type ConsistentHash needs it",
        ),
        (
            "  loadBalancing: {consistentHash: {type: ClientAddress}}\n",
            "spec.loadBalancing.consistentHash",
            "found load balancing of type \"LeastRequest\"",
        ),
        (
            "  loadBalancing: {type: ConsistentHash, consistentHash: {type: Header, cookie: a}}\n",
            "spec.loadBalancing.consistentHash.cookie",
            "allowed with type Cookie only",
        ),
        (
            "  loadBalancing: {type: ConsistentHash, consistentHash: {type: Cookie}}\n",
            "spec.loadBalancing.consistentHash.cookie",
            "type Cookie needs it",
        ),
        (
            "  loadBalancing: {type: ConsistentHash, consistentHash: {type: Header, header: 'a b'}}\n",
            "spec.loadBalancing.consistentHash.header",
            "the characters of a header name",
        ),
        ("  healthCheck: {interval: 1s}\n", "spec.healthCheck.type", "found none, allowed HTTP, TCP"),
        (
            "  healthCheck: {type: TCP, interval: 99ms}\n",
            "spec.healthCheck.interval",
            "found \"99ms\", allowed at least 100ms",
        ),
        ("  healthCheck: {type: TCP, interval: 1d}\n", "spec.healthCheck.interval", "a duration such as 10s"),
        (
            "  healthCheck: {type: TCP, interval: 1s, timeout: 1001ms}\n",
            "spec.healthCheck.timeout",
            "found \"1001ms\", longer than the \"1s\" of interval",
        ),
        (
            "  healthCheck: {type: TCP, timeout: 11s}\n",
            "spec.healthCheck.timeout",
            "longer than the \"10s\" of interval",
        ),
        ("  healthCheck: {type: TCP, healthyThreshold: 0}\n", "spec.healthCheck.healthyThreshold", "at least 1"),
        ("  healthCheck: {type: TCP, http: {}}\n", "spec.healthCheck.http", "allowed with type HTTP only"),
        ("  healthCheck: {type: HTTP, http: {path: healthz}}\n", "spec.healthCheck.http.path", "an absolute path"),
        (
            "  healthCheck: {type: HTTP, http: {expectedStatuses: ['200', '2xx']}}\n",
            "spec.healthCheck.http.expectedStatuses[1]",
            "a status code such as 404",
        ),
        (
            "  healthCheck: {type: HTTP, http: {expectedStatuses: ['299-200']}}\n",
            "spec.healthCheck.http.expectedStatuses[0]",
            "a range that begins with the lower code",
        ),
        (
            "  healthCheck: {type: HTTP, http: {expectedStatuses: []}}\n",
            "spec.healthCheck.http.expectedStatuses",
            "1 to 16",
        ),
        ("  ejection: {consecutiveFailures: -1}\n", "spec.ejection.consecutiveFailures", "at least 0"),
        ("  ejection: {baseTime: 1m, maxTime: 1s}\n", "spec.ejection.maxTime", "shorter than the \"1m\" of baseTime"),
        ("  timeouts: {connect: 0s}\n", "spec.timeouts.connect", "found \"0s\", allowed more than 0s"),
        ("  connections: {maxPerEndpoint: 0}\n", "spec.connections.maxPerEndpoint", "at least 1"),
    ];
    for (spec, field, words) in cases {
        let run = check(&policy("bad", spec));
        let line = run.out.lines().find(|line| line.contains(&format!("UpstreamPolicy shop/bad: {field}: ")));
        let line = line.unwrap_or_else(|| panic!("{spec} tells nothing of {field}: {}", run.out));
        assert!(line.starts_with("b.yaml:7: problem: ") && line.contains(words), "{line}");
        assert_eq!(run.code, 1);
    }
}

#[test]
fn targets_are_judged_and_unknown_fields_are_named() {
    let target = |text: &str| policy("bad", "").replace("{group: \"\", kind: Service, name: api}", text);
    for (text, field, words) in [
        ("{group: apps, kind: Service, name: api}", "spec.targetRefs[0].group", "found \"apps\", allowed \"\""),
        ("{group: \"\", kind: Deployment, name: api}", "spec.targetRefs[0].kind", "allowed Service"),
        ("", "spec.targetRefs", "1 to 16 items"),
        (
            "{group: \"\", kind: Service, name: api}, {group: \"\", kind: Service, name: api}",
            "spec.targetRefs[0]",
            "found the Service \"api\" again",
        ),
        ("{group: \"\", kind: Service, name: api, port: 80}", "spec.targetRefs[0].port", "found an unknown field"),
    ] {
        let run = check(&target(text));
        let told = run.out.lines().any(|line| line.contains(&format!("{field}: ")) && line.contains(words));
        assert!(told && run.code == 1, "{text}: {}", run.out);
    }
    let run = check(&policy("bad", "  loadBalancer: {type: RoundRobin}\n"));
    assert!(run.out.contains("spec.loadBalancer: found an unknown field; did you mean loadBalancing?"), "{}", run.out);
}

#[test]
fn the_findings_of_policies_are_those_of_their_status() {
    let all = [
        policy("a-first", "  loadBalancing: {type: RoundRobin}\n"),
        policy("b-second", ""),
        policy("c-missing", "").replace("name: api}", "name: gone}"),
        policy("d-port", "").replace("name: api}", "name: api, sectionName: grpc}"),
        policy("e-unused", "").replace("name: api}", "name: idle}"),
        "---\napiVersion: v1\nkind: Service\nmetadata: {name: idle, namespace: shop}\nspec: {ports: [{port: 80}]}\n"
            .to_owned(),
    ];
    let folder = folder(&all.concat());
    let run = folder.run(&["check", "-f", "a.yaml", "b.yaml"]);
    for line in [
        "b.yaml:13: problem: UpstreamPolicy shop/b-second: spec.targetRefs[0]: Service shop/api is held by UpstreamPolicy shop/a-first, ",
        "b.yaml:19: problem: UpstreamPolicy shop/c-missing: spec.targetRefs[0].name: Service shop/gone does not exist [TargetNotFound]",
        "b.yaml:25: problem: UpstreamPolicy shop/d-port: spec.targetRefs[0].sectionName: Service shop/api has no TCP port named grpc [TargetNotFound]",
        "b.yaml:31: note: UpstreamPolicy shop/e-unused: spec.targetRefs[0]: no route that a Gateway takes refers to Service shop/idle [Unused]",
    ] {
        assert!(run.out.lines().any(|found| found.starts_with(line)), "{line}\nnot in\n{}", run.out);
    }
    assert!(run.code == 1 && run.out.contains("3 problems, 1 note "), "{}", run.out);

    let run = folder.run(&["check", "-f", "a.yaml", "b.yaml", "-o", "yaml"]);
    let objects = serde_yaml::Deserializer::from_str(&run.out).map(|document| Value::deserialize(document).unwrap());
    let objects: Vec<Value> = objects.collect();
    let status = |name: &str| &objects.iter().find(|object| object["metadata"]["name"] == name).unwrap()["status"];
    for (name, reason) in [("a-first", "Accepted"), ("b-second", "Conflicted"), ("d-port", "TargetNotFound")] {
        let [ancestor] = status(name)["ancestors"].as_array().unwrap().as_slice() else { panic!("{name}") };
        assert_eq!(ancestor["ancestorRef"]["name"], "edge");
        assert_eq!(ancestor["ancestorRef"]["namespace"], "shop");
        assert_eq!(ancestor["controllerName"], "transom.dev/gateway-controller");
        let [condition] = ancestor["conditions"].as_array().unwrap().as_slice() else { panic!("{name}") };
        assert_eq!(condition["type"], "Accepted");
        assert_eq!(condition["reason"], reason, "{name}");
        assert_eq!(condition["status"] == "True", reason == "Accepted");
        assert_eq!(condition["observedGeneration"], 1);
    }
    assert_eq!(*status("c-missing"), Value::Null, "no route refers to the Service");
    assert_eq!(*status("e-unused"), Value::Null);
}

#[test]
fn the_entries_of_other_controllers_stay() {
    let other = "status: {ancestors: [{controllerName: other.example/c, ancestorRef: {name: edge}, conditions: []}]}\n";
    let folder = folder(&format!("{}{other}", policy("web", "")));
    let run = folder.run(&["check", "-f", "a.yaml", "b.yaml", "-o", "yaml"]);
    assert!(run.out.contains("controllerName: other.example/c"), "{}", run.out);
    assert_eq!(run.out.matches("ancestorRef").count(), 2);
}
