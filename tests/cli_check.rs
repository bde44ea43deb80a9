//! `transom check` over a folder with one of each bad object, and its exit codes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod cli_support;

use cli_support::{Folder, Run, quickstart};
use serde_json::Value;

const CLASS: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: transom}
spec: {controllerName: transom.dev/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec: {gatewayClassName: transom, listeners: [{name: l, port: 8080, protocol: HTTP}]}
";

const UNKNOWN_FIELD: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: field}
spec:
  parentRefs: [{name: edge}]
  hostname: [a.example.com]
";

const BAD_VALUE: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: value}
spec:
  parentRefs:
    - name: edge
  rules:
    - matches:
        - path:
            type: PathPrefx
            value: /
";

const MISSING_BACKEND: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: backend}
spec:
  parentRefs:
    - name: edge
  rules:
    - backendRefs:
        - name: gone
          port: 80
";

const NO_GATEWAY_LISTENER: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: parent}
spec:
  parentRefs:
    - name: edge
      sectionName: no-such-listener
";

const UNKNOWN_KIND: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRout
metadata: {name: kind}
";

const BAD_LISTENER: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: listener}
spec:
  gatewayClassName: transom
  listeners:
    - name: tls
      protocol: HTTPS
      port: 8443
      tls:
        certificateRefs:
          - name: gone
";

const TWICE: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec: {gatewayClassName: transom, listeners: [{name: l, port: 8081, protocol: HTTP}]}
";

const NOT_SERVED: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: TCPRoute
metadata: {name: l4}
spec: {parentRefs: [{name: edge}], rules: [{backendRefs: [{name: s, port: 1}]}]}
";

/// File, text, and what must be told of it: line, object, field, words.
const BAD: [(&str, &str, u32, &str, &str, &str); 8] = [
    ("b-field.yaml", UNKNOWN_FIELD, 6, "HTTPRoute default/field", "spec.hostname", "hostnames"),
    ("c-value.yaml", BAD_VALUE, 10, "HTTPRoute default/value", "spec.rules[0].matches[0].path.type", "PathPrefix"),
    ("d-backend.yaml", MISSING_BACKEND, 9, "HTTPRoute default/backend", "spec.rules[0].backendRefs[0]", "default/gone"),
    (
        "e-parent.yaml",
        NO_GATEWAY_LISTENER,
        7,
        "HTTPRoute default/parent",
        "spec.parentRefs[0].sectionName",
        "there are: ",
    ),
    ("f-kind.yaml", UNKNOWN_KIND, 2, "HTTPRout kind", "kind", "HTTPRoute"),
    (
        "g-listener.yaml",
        BAD_LISTENER,
        12,
        "Gateway default/listener",
        "spec.listeners[0].tls.certificateRefs[0]",
        "gone",
    ),
    ("h-twice.yaml", TWICE, 1, "Gateway default/edge", "metadata.name", "a-class.yaml:6"),
    ("i-l4.yaml", NOT_SERVED, 1, "TCPRoute default/l4", "", "not served"),
];

fn bad() -> Folder {
    let folder = Folder::new();
    folder.write("a-class.yaml", CLASS);
    for (file, text, ..) in BAD {
        folder.write(file, text);
    }
    folder
}

fn list(run: &Run) -> Vec<Value> {
    serde_json::from_str(&run.out).unwrap()
}

#[test]
fn each_bad_object_is_told_with_object_field_file_and_line_and_the_exit_code_is_1() {
    let folder = bad();
    let run = folder.run(&["check", "-f", ".", "-o", "json"]);
    assert_eq!(run.code, 1, "{run:?}");
    let found = list(&run);
    for (file, _, line, object, field, words) in BAD {
        let told = found.iter().any(|one| {
            one["severity"] == "problem"
                && one["file"].as_str().unwrap().ends_with(file)
                && one["object"] == object
                && one["line"] == line
                && one["field"].as_str().unwrap().starts_with(field)
                && one["message"].as_str().unwrap().contains(words)
        });
        let of_file: Vec<_> = found.iter().filter(|one| one["file"].as_str().unwrap().ends_with(file)).collect();
        assert!(told, "{file}: {of_file:#?}");
    }
}

#[test]
fn the_text_is_one_line_a_problem_as_compilers_print_it_and_a_summary() {
    let folder = bad();
    let run = folder.run(&["check", "-f", "."]);
    assert_eq!(run.code, 1);
    assert!(!run.out.contains('\x1b'), "no colours into a pipe");
    let lines: Vec<&str> = run.out.lines().collect();
    let (summary, problems) = lines.split_last().unwrap();
    assert!(
        problems.iter().any(|line| line.contains("c-value.yaml:10: problem: HTTPRoute default/value: spec.rules[0]"))
    );
    assert!(summary.contains(&format!("{} problems", problems.len())) && summary.contains("9 files"), "{summary}");
    let mut sorted = problems.iter().map(|line| line.split(':').next().unwrap()).collect::<Vec<_>>();
    let told = sorted.clone();
    sorted.sort_unstable();
    assert_eq!(told, sorted, "grouped by file");
}

#[test]
fn the_same_folder_gives_the_same_list() {
    let folder = bad();
    let first = folder.run(&["check", "-f", ".", "--output", "json"]);
    assert_eq!(first.out, folder.run(&["check", "-f", ".", "--output", "json"]).out);
}

#[test]
fn the_quick_start_is_clean() {
    let folder = Folder::new();
    folder.write("quickstart.yaml", quickstart());
    let run = folder.run(&["check", "-f", "quickstart.yaml"]);
    assert_eq!((run.code, run.err.as_str()), (0, ""), "{}", run.out);
    assert!(run.out.starts_with("no problems"), "{}", run.out);
}

#[test]
fn an_applications_folder_is_clean_with_other_kinds_in_it_noted_once_a_kind() {
    let folder = Folder::new();
    folder.write("class.yaml", CLASS);
    let deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\n---\n";
    folder.write("app.yaml", deployment.repeat(3));
    folder.write("README.md", "not a manifest: [");
    folder.write(".hidden.yaml", "not a manifest: [");
    folder.write("deep/down.yaml", "not a manifest: [");
    let run = folder.run(&["check", "-f", ".", "-o", "json"]);
    assert_eq!(run.code, 0, "{run:?}");
    let notes: Vec<_> =
        list(&run).into_iter().filter(|one| one["message"].to_string().contains("Deployment")).collect();
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert_eq!(notes[0]["severity"], "note");
    assert_eq!(folder.run(&["check", "-R", "-f", "."]).code, 2, "-R descends");
}

#[test]
fn unreadable_input_is_exit_code_2_and_named() {
    let folder = Folder::new();
    folder.write("good.yaml", CLASS);
    for (name, bytes) in [("a.yaml", &b"a: [b"[..]), ("b.json", b"{"), ("c.yaml", b"a: \xff\xfe")] {
        let path = folder.write(name, bytes);
        let run = folder.run(&["check", "-f", "."]);
        assert_eq!(run.code, 2, "{name}: {run:?}");
        assert!(run.out.contains(name) && run.err.contains(name), "{run:?}");
        std::fs::remove_file(path).unwrap();
    }
    let missing = folder.run(&["check", "-f", "missing.yaml"]);
    assert_eq!(missing.code, 2);
    assert!(missing.err.contains("missing.yaml"), "{missing:?}");
    assert_eq!(folder.run(&["check"]).code, 2);
    assert_eq!(folder.run(&["check", "-f", ".", "-o", "xml"]).code, 2);
}

#[test]
fn standard_input_is_read_as_dash() {
    let folder = Folder::new();
    assert_eq!(folder.run_with(&["check", "-f", "-"], &[], &quickstart()).code, 0);
    let bad = folder.run_with(&["check", "-f", "-"], &[], &format!("{CLASS}---\n{BAD_VALUE}"));
    assert_eq!(bad.code, 1);
    assert!(bad.out.contains("HTTPRoute default/value"), "{bad:?}");
    // also what the translator finds, which comes when the input has long been read, has the line of its field
    let bad = folder.run_with(&["check", "-f", "-"], &[], &format!("{CLASS}---\n{MISSING_BACKEND}"));
    let line = CLASS.lines().count() + 1 + 9;
    assert!(bad.out.contains(&format!("-:{line}: problem: HTTPRoute default/backend: spec.rules[0]")), "{bad:?}");
}

#[test]
fn five_thousand_problems_of_one_file_are_told_in_seconds() {
    use std::fmt::Write;
    let mut text = CLASS.to_owned();
    for at in 0..5000 {
        write!(text, "---\n{}", MISSING_BACKEND.replace("name: backend", &format!("name: r{at}"))).unwrap();
    }
    let folder = Folder::new();
    folder.write("all.yaml", text);
    let started = std::time::Instant::now();
    let run = folder.run(&["check", "-f", "all.yaml", "-o", "json"]);
    assert_eq!((run.code, list(&run).iter().filter(|one| one["severity"] == "problem").count()), (1, 5000));
    assert!(started.elapsed().as_secs() < 30, "{:?}", started.elapsed());
}

#[test]
fn yaml_shows_each_object_with_the_status_that_a_cluster_would_show_and_no_secrets() {
    let folder = Folder::new();
    let route = "\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r}
spec: {parentRefs: [{name: edge}]}
status:
  parents:
  - controllerName: other.example/controller
    parentRef: {name: other}
    conditions: [{type: Accepted, status: 'True', reason: Accepted, lastTransitionTime: '2020-01-01T00:00:00Z', message: m}]
---
apiVersion: v1
kind: Secret
metadata: {name: s}
stringData: {password: hunter2}
data: {token: aHVudGVyMg==}
";
    folder.write("all.yaml", format!("{CLASS}---\n{route}"));
    let run = folder.run(&["check", "-f", "all.yaml", "-o", "yaml"]);
    assert!(!run.out.contains("hunter2") && !run.out.contains("aHVudGVyMg"), "{}", run.out);
    let documents: Vec<serde_yaml::Value> = serde_yaml::Deserializer::from_str(&run.out)
        .map(|document| serde::Deserialize::deserialize(document).unwrap())
        .collect();
    let kinds: Vec<&str> = documents.iter().map(|document| document["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["GatewayClass", "Gateway", "HTTPRoute", "Secret"]);
    let condition = |of: &serde_yaml::Value, kind: &str| {
        let found = of.as_sequence().unwrap().iter().find(|c| c["type"].as_str() == Some(kind)).cloned().unwrap();
        (found["status"].as_str().unwrap().to_owned(), found["lastTransitionTime"].as_str().unwrap().to_owned())
    };
    assert_eq!(condition(&documents[0]["status"]["conditions"], "Accepted").0, "True");
    let (programmed, since) = condition(&documents[1]["status"]["conditions"], "Programmed");
    assert_eq!(programmed, "True");
    assert!(since.len() == 20 && since.ends_with('Z'), "{since}");
    let parents = documents[2]["status"]["parents"].as_sequence().unwrap();
    assert_eq!(parents[0]["controllerName"].as_str(), Some("other.example/controller"));
    assert_eq!(condition(&parents[0]["conditions"], "Accepted").1, "2020-01-01T00:00:00Z");
    assert_eq!(parents[1]["controllerName"].as_str(), Some("transom.dev/gateway-controller"));
    assert_eq!(documents[2]["metadata"]["namespace"].as_str(), Some("default"));
}

#[test]
fn yaml_that_is_shown_can_be_checked_again_with_the_same_result() {
    let route = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata:\n  name: 'on'\n  \
                 annotations: {'y': 'no', n: '2026-01-31', lines: \"a\\nb\"}\nspec:\n  \
                 parentRefs: [{name: edge}]\n  unknown: 1\n  rules: [{backendRefs: [{name: gone, port: 80}]}]\n";
    let folder = Folder::new();
    folder.write("all.yaml", format!("{CLASS}---\n{}", route.replace(", n:", ", 'n':")));
    let shown = folder.run(&["check", "-f", "all.yaml", "-o", "yaml"]).out;
    let told = |run: &Run| -> Vec<_> {
        list(run).iter().map(|one| (one["object"].clone(), one["field"].clone(), one["message"].clone())).collect()
    };
    let before = folder.run(&["check", "-f", "all.yaml", "-o", "json"]);
    let after = folder.run_with(&["check", "-f", "-", "-o", "json"], &[], &shown);
    assert_eq!((told(&before).len(), told(&before)), (2, told(&after)), "{shown}");
}

#[test]
fn another_controller_name_makes_the_class_anothers() {
    let folder = Folder::new();
    folder.write("class.yaml", CLASS);
    let run = folder.run(&["check", "-f", ".", "-o", "yaml", "--controller-name", "other.example/c"]);
    assert!(!run.out.contains("Programmed"), "{}", run.out);
}
