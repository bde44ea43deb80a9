//! Documents, their lines and identities, and what is refused.

use super::*;

fn yaml(text: &str) -> Vec<Document> {
    parse(Path::new("a.yaml"), text.as_bytes(), Keep::Objects)
}

fn one(text: &str) -> Document {
    let mut documents = yaml(text);
    assert_eq!(documents.len(), 1, "{documents:#?}");
    documents.remove(0)
}

fn object(text: &str) -> Object {
    let document = one(text);
    match document.outcome {
        Outcome::Object(object) => object,
        other => panic!("{other:?}: {:#?}", document.problems),
    }
}

/// The problems of a text, as a person reads them.
fn told(text: &str) -> Vec<String> {
    yaml(text).iter().flat_map(|document| &document.problems).map(ToString::to_string).collect()
}

#[track_caller]
fn tells(text: &str, expected: &[&str]) {
    assert_eq!(told(text), expected);
}

const ROUTE: &str = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r}\nspec:\n  rules:\n  - backendRefs:\n    - name: b\n      port: 80\n";
const SECRET: &str = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n";
const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec:\n  ports:\n";

#[test]
fn an_object_has_its_identity_and_the_default_namespace() {
    let document = one(&format!("# licence\n\n{ROUTE}"));
    assert_eq!(document.location.line, 3);
    assert_eq!(document.problems, []);
    let Outcome::Object(object) = document.outcome else { panic!() };
    assert_eq!(object.object_ref().to_string(), "HTTPRoute default/r");
    let class = "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {name: c}\nspec: {controllerName: a.b/c}\n";
    assert_eq!(one(class).problems, []);
    let Outcome::Object(object) = one(class).outcome else { panic!() };
    assert_eq!(object.object_ref().to_string(), "GatewayClass c");
}

#[test]
fn older_versions_have_the_same_shape() {
    let Object::HttpRoute(route) = object(&ROUTE.replace("/v1\n", "/v1beta1\n")) else { panic!() };
    assert_eq!(route.spec.rules[0].matches.len(), 1);
}

#[test]
fn a_message_quotes_no_text_that_may_be_a_secrets() {
    for text in ["hunter2", "'hun\"ter2 \\ hunter2'", "\"hun\\\"ter2\""] {
        let told = told(&format!("{SECRET}data: {{a: !!int {text}}}\n")).join("\n");
        assert!(told.contains("a text, expected") && !told.contains("ter2"), "{told}");
    }
}

#[test]
fn one_bad_document_hides_no_sibling() {
    let text = format!(
        "{ROUTE}---\na: [\n---\n{}---\n{}",
        ROUTE.replace("port: 80", "port: x"),
        ROUTE.replace("name: r", "name: s")
    );
    let documents = yaml(&text);
    let served: Vec<bool> = documents.iter().map(|d| matches!(d.outcome, Outcome::Object(_))).collect();
    assert_eq!(served, [true, false, false, true]);
    let lines: Vec<u32> = documents.iter().map(|d| d.location.line).collect();
    assert_eq!(lines, [1, 10, 12, 21]);
    assert_eq!((documents[1].problems[0].line, documents[2].problems[0].line), (11, 19));
    assert_eq!(
        documents[2].outcome,
        Outcome::Refused { object: Some(documents[2].problems[0].object.clone().unwrap()) }
    );
}

#[test]
fn lists_are_taken_apart_with_the_line_of_each_item() {
    let items = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Namespace\n  metadata: {name: a}\n\n- apiVersion: v1\n  kind: Namespace\n  metadata:\n    name: B\n";
    let documents = yaml(items);
    assert_eq!(documents.iter().map(|d| d.location.line).collect::<Vec<_>>(), [4, 8]);
    assert_eq!(documents[1].problems[0].line, 11);
    assert_eq!(documents[1].location.items, [1]);
    let typed = "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClassList\nitems:\n- metadata: {name: a}\n  spec: {controllerName: a.b/c}\n";
    assert!(matches!(object(typed), Object::GatewayClass(_)));
    let nested = "apiVersion: v1\nkind: List\nitems:\n- kind: List\n  apiVersion: v1\n  items:\n  - 5\n";
    tells(nested, &["a.yaml:7: found something other than a mapping, allowed an object with apiVersion and kind"]);
    assert_eq!(yaml("apiVersion: v1\nkind: List\nitems: []\n"), []);
    tells(
        "apiVersion: v1\nkind: List\nitems: 5\n",
        &["a.yaml:3: List: items: found no list, allowed a list of objects"],
    );
}

#[test]
fn json_is_read_with_its_lines() {
    let text = "{\n  \"apiVersion\": \"v1\",\n  \"kind\": \"Namespace\",\n  \"metadata\": {\"name\": \"a\",\n    \"labels\": {\"x\": 5}}\n}\n{\"apiVersion\": \"v1\",\n \"kind\": \"Namespace\",\n\"metadata\": {\n\"name\": \"-\"}}";
    let documents = parse(Path::new("a.json"), text.as_bytes(), Keep::Objects);
    assert_eq!(documents.iter().map(|d| (d.location.line, d.problems[0].line)).collect::<Vec<_>>(), [(1, 5), (7, 10)]);
    let broken = parse(Path::new("a.json"), b"{\n\"a\": 1,\n}", Keep::Objects);
    assert_eq!(broken[0].problems[0].to_string(), "a.json:3: trailing comma");
    let twice = parse(Path::new("a.json"), b"{\"a\": 1,\n\"b\": 2,\n\"a\": 3}", Keep::Objects);
    assert_eq!(twice[0].problems[0].to_string(), "a.json:3: found the key \"a\" twice in one mapping, allowed once");
}

#[test]
fn kinds_of_other_groups_are_not_ours() {
    for (text, group, kind) in [
        ("apiVersion: apps/v1\nkind: Deployment\nspec: 5\n", "apps", "Deployment"),
        ("apiVersion: v1\nkind: Pod\n", "", "Pod"),
        ("apiVersion: cert-manager.io/v1\nkind: Certificate\n", "cert-manager.io", "Certificate"),
        (
            "apiVersion: gateway.networking.k8s.io/v1\nkind: ConformanceReport\n",
            "gateway.networking.k8s.io",
            "ConformanceReport",
        ),
    ] {
        assert_eq!(one(text).outcome, Outcome::NotOurs { group: group.to_owned(), kind: kind.to_owned() });
    }
}

#[test]
fn a_misspelt_group_or_core_kind_is_not_taken_for_anothers() {
    for (written, field, words) in [
        (
            "gateway.networking.k8s.oi/v1\nkind: HTTPRoute",
            "a.yaml:1: HTTPRoute a: apiVersion",
            "gateway.networking.k8s.io/v1",
        ),
        ("networking.k8s.io/v1\nkind: HTTPRoute", "a.yaml:1: HTTPRoute a: apiVersion", "gateway.networking.k8s.io/v1"),
        ("gateway.networking.k8s.io\nkind: Gateway", "a.yaml:1: Gateway a: apiVersion", "gateway.networking.k8s.io/v1"),
        ("v1\nkind: GRPCRoute", "a.yaml:1: GRPCRoute a: apiVersion", "gateway.networking.k8s.io/v1"),
        ("v1\nkind: Servce", "a.yaml:2: Servce a: kind", "did you mean Service?"),
        (
            "discovery.k8s.io/v1\nkind: EndpointSlices",
            "a.yaml:2: EndpointSlices a: kind",
            "did you mean EndpointSlice?",
        ),
    ] {
        let document = one(&format!("apiVersion: {written}\nmetadata: {{name: a}}\n"));
        let told = document.problems[0].to_string();
        assert!(told.starts_with(field) && told.contains(words), "{told}");
    }
    for others in [
        "networking.istio.io/v1\nkind: Gateway",
        "policy.linkerd.io/v1\nkind: HTTPRoute",
        "v1\nkind: ServiceAccount",
        "v1\nkind: Pod",
        "serving.knative.dev/v1\nkind: Service",
        "networking.k8s.io/v1\nkind: Ingress",
        "v1\nkind: Endpoints",
        "multicluster.x-k8s.io/v1\nkind: ServiceImport",
    ] {
        let document = one(&format!("apiVersion: {others}\nmetadata: {{name: a}}\n"));
        assert!(matches!(document.outcome, Outcome::NotOurs { .. }), "{document:?}");
    }
}

#[test]
fn unknown_kinds_and_versions_of_our_groups_name_the_nearest() {
    tells(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRuote\nmetadata: {name: a, namespace: b}\n",
        &[
            "a.yaml:2: HTTPRuote b/a: kind: found the unknown kind HTTPRuote of gateway.networking.k8s.io/v1; did you mean HTTPRoute?",
        ],
    );
    tells(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: XBackend\nmetadata: {name: a}\n",
        &[
            "a.yaml:2: XBackend a: kind: found the unknown kind XBackend of gateway.networking.k8s.io/v1; that kind has apiVersion gateway.networking.x-k8s.io/v1alpha1",
        ],
    );
    tells(
        &ROUTE.replace("/v1\n", "/v2\n"),
        &["a.yaml:1: HTTPRoute default/r: apiVersion: found version v2 of HTTPRoute, allowed v1, v1beta1"],
    );
    tells(
        "apiVersion: transom.dev/v1alpha1\nkind: Policy\n",
        &["a.yaml:2: Policy: kind: found the unknown kind Policy of transom.dev/v1alpha1; allowed UpstreamPolicy"],
    );
    tells(
        "apiVersion: transom.dev/v1alpha1\nkind: UpstreamPolcy\n",
        &[
            "a.yaml:2: UpstreamPolcy: kind: found the unknown kind UpstreamPolcy of transom.dev/v1alpha1; did you mean UpstreamPolicy?",
        ],
    );
    tells(
        "apiVersion: transom.io/v1\nkind: UpstreamPolicy\n",
        &["a.yaml:1: UpstreamPolicy: apiVersion: found transom.io/v1, allowed transom.dev/v1alpha1 for UpstreamPolicy"],
    );
    tells(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: UpstreamPolicy\n",
        &[
            "a.yaml:2: UpstreamPolicy: kind: found the unknown kind UpstreamPolicy of gateway.networking.k8s.io/v1; that kind has apiVersion transom.dev/v1alpha1",
        ],
    );
    tells("metadata: {name: a}\n", &["a.yaml:1: a: kind: found none, allowed a text such as HTTPRoute"]);
}

#[test]
fn experimental_kinds_are_known_and_not_served() {
    let backend = "apiVersion: gateway.networking.x-k8s.io/v1alpha1\nkind: XBackend\nmetadata: {name: a}\nspec:\n  type: ExternalHostname\n  port: {number: 443}\n  externalHostname: {hostname: a.b}\n";
    let document = one(backend);
    assert_eq!(document.problems, []);
    assert!(
        matches!(&document.outcome, Outcome::NotServed { kind, namespace, name, .. } if kind == "XBackend" && namespace == "default" && name == "a")
    );
    assert_eq!(one(&backend.replace("443", "0")).outcome, Outcome::Refused { object: None });
}

#[test]
fn unknown_fields_are_reported_and_the_object_is_used() {
    let document = one(&ROUTE.replace("      port: 80\n", "      port: 80\n      wieght: 5\n"));
    assert_eq!(document.problems[0].severity, Severity::Reported);
    assert_eq!(
        document.problems[0].to_string(),
        "a.yaml:9: HTTPRoute default/r: spec.rules[0].backendRefs[0].wieght: found an unknown field; did you mean weight?"
    );
    assert!(matches!(document.outcome, Outcome::Object(_)));
}

#[test]
fn a_status_never_stops_an_object() {
    let Object::HttpRoute(route) = object(&format!("{ROUTE}status: {{parents: 5}}\n")) else { panic!() };
    assert_eq!(route.status, None);
    let Object::HttpRoute(route) = object(&format!("{ROUTE}status: {{parents: []}}\n")) else { panic!() };
    assert!(route.status.is_some());
}

#[test]
fn the_text_is_kept_only_where_it_is_asked_for() {
    let text = format!("{ROUTE}status: {{parents: 5}}\n");
    assert_eq!(one(&text).raw, None);
    let kept = parse(Path::new("a.yaml"), text.as_bytes(), Keep::Text);
    let raw = kept[0].raw.as_ref().unwrap();
    assert_eq!(raw["status"]["parents"], 5);
    assert_eq!(raw["spec"]["rules"][0].get("matches"), None, "as it was written, without defaults");
}

#[test]
fn string_data_goes_over_data() {
    let Object::Secret(secret) = object(&format!("{SECRET}data: {{a: b2xk, b: Yg==}}\nstringData: {{a: new}}\n"))
    else {
        panic!()
    };
    let data = secret.data.unwrap();
    assert_eq!((data["a"].0.as_slice(), data["b"].0.as_slice()), (&b"new"[..], &b"b"[..]));
    assert_eq!((secret.string_data, secret.type_.as_deref()), (None, Some("Opaque")));
}

#[test]
fn core_objects_are_refused_as_by_an_api_server() {
    for (text, expected) in [
        (
            format!("{SERVICE}  - port: 0\n"),
            "a.yaml:6: Service default/s: spec.ports[0].port: found 0, allowed 1 to 65535",
        ),
        (
            format!("{SERVICE}  - port: 80\n  - port: 81\n"),
            "a.yaml:6: Service default/s: spec.ports[0].name: found none, allowed a name: there are several ports",
        ),
        (
            format!("{SERVICE}  - {{port: 80, name: a}}\n  - {{port: 81, name: a}}\n"),
            "a.yaml:7: Service default/s: spec.ports[1].name: found \"a\" again, allowed once",
        ),
        (
            format!("{SERVICE}  - {{port: 80, name: a}}\n  - {{port: 80, name: b}}\n"),
            "a.yaml:7: Service default/s: spec.ports[1].port: found 80 again for TCP, allowed once",
        ),
        (
            format!("{SERVICE}  - {{port: 80, targetPort: Web}}\n"),
            "a.yaml:6: Service default/s: spec.ports[0].targetPort: found \"Web\", allowed at most 15 lower-case letters, digits and -, or 1 to 65535 as a number",
        ),
        (
            SERVICE.replace("  ports:\n", "  selector: {a: b}\n"),
            "a.yaml:4: Service default/s: spec.ports: found none, allowed at least one, unless clusterIP is None",
        ),
        (
            SERVICE.replace("  ports:\n", "  type: ExternalName\n"),
            "a.yaml:4: Service default/s: spec.externalName: found \"\", allowed a DNS name",
        ),
        (
            SERVICE.replace("name: s", "name: 1s").replace("  ports:\n", "  clusterIP: None\n"),
            "a.yaml:3: Service default/1s: metadata.name: found \"1s\", allowed at most 63 lower-case letters, digits and -, beginning with a letter",
        ),
        (
            format!("{SECRET}type: kubernetes.io/tls\ndata: {{tls.crt: \"\"}}\n"),
            "a.yaml:5: Secret default/s: data[tls.key]: found none, allowed a value: type kubernetes.io/tls needs it",
        ),
        (
            format!("{SECRET}data: {{a b: \"\"}}\n"),
            "a.yaml:4: Secret default/s: data[a b]: found the key \"a b\", allowed at most 253 letters, digits, -, _ and dots",
        ),
        (
            format!("{SECRET}data:\n  k: not-base64\n"),
            "a.yaml:5: Secret default/s: data[k]: found text, allowed base64",
        ),
        (
            slice("IPv4", "::1"),
            "a.yaml:5: EndpointSlice default/e: endpoints[0].addresses[0]: found \"::1\", allowed an IPv4 address, as addressType is IPv4",
        ),
        (
            slice("IPv5", "1.2.3.4"),
            "a.yaml:4: EndpointSlice default/e: addressType: found \"IPv5\", allowed IPv4, IPv6, FQDN",
        ),
    ] {
        assert_eq!(told(&text).first().map(String::as_str), Some(expected));
    }
    assert_eq!(told(&slice("IPv4", "127.0.0.1")), Vec::<String>::new(), "a laptop's endpoints");
}

fn slice(family: &str, address: &str) -> String {
    format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: e}}\naddressType: {family}\nendpoints: [{{addresses: [\"{address}\"]}}]\nports: [{{port: 80}}]\n"
    )
}

#[test]
fn metadata_is_judged() {
    let with = |metadata: &str| ROUTE.replace("{name: r}", metadata);
    for (metadata, expected) in [
        (
            "{}",
            "a.yaml:3: HTTPRoute default/: metadata.name: found none, allowed a name of lower-case letters, digits, - and dots",
        ),
        (
            "{name: R}",
            "a.yaml:3: HTTPRoute default/R: metadata.name: found \"R\", allowed at most 253 lower-case letters, digits, - and dots, a letter or digit at both ends",
        ),
        (
            "{name: r, labels: {a: 1}}",
            "a.yaml:3: HTTPRoute default/r: metadata.labels[a]: found 1, allowed text; put it in quotes",
        ),
        (
            "{name: r, labels: {a/b/c: x}}",
            "a.yaml:3: HTTPRoute default/r: metadata.labels[a/b/c]: found the key \"a/b/c\", allowed an optional DNS name and /, then at most 63 letters, digits, -, _ and dots",
        ),
        (
            "{name: r, namespace: a.b}",
            "a.yaml:3: HTTPRoute a.b/r: metadata.namespace: found \"a.b\", allowed at most 63 lower-case letters, digits and -",
        ),
        (
            "{name: r, creationTimestamp: soon}",
            "a.yaml:3: HTTPRoute default/r: metadata.creationTimestamp: found \"soon\", allowed a time such as 2026-01-31T12:00:00Z",
        ),
    ] {
        tells(&with(metadata), &[expected]);
    }
    assert_eq!(
        told(&with("{name: r, creationTimestamp: null, generation: 3, annotations: {a: b}}")),
        Vec::<String>::new()
    );
    let class = "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {name: c, namespace: ns}\nspec: {controllerName: a.b/c}\n";
    tells(
        class,
        &[
            "a.yaml:3: GatewayClass c: metadata.namespace: found \"ns\", allowed none: a GatewayClass belongs to no namespace",
        ],
    );
    assert!(matches!(one(class).outcome, Outcome::Object(_)));
}

#[test]
fn texts_that_cannot_be_read_say_why_and_where() {
    tells(
        "a: 1\n\tb: 2\n",
        &[
            "a.yaml:2: found a tab in the indentation, allowed spaces (found a tab character that violates indentation, while scanning a plain scalar)",
        ],
    );
    tells(
        "# c\n---\na: 1\nb: {a: 1,\n  a: 2}\n",
        &["a.yaml:5: found the key \"a\" twice in one mapping, allowed once"],
    );
    tells("a: .nan\n", &["a.yaml:1: found the number NaN, allowed finite numbers"]);
    tells("? [a]\n: 1\n", &["a.yaml:1: found a list as a key, allowed text"]);
    tells(
        "a: {{ .Values.x }}\n",
        &["a.yaml:1: found a mapping as a key, allowed text; a value that begins with { stands in quotes"],
    );
    tells("a: !secret x\n", &["a.yaml:1: found a tag of its own (!name), allowed the tags of YAML"]);
    tells(
        "just text\n",
        &["a.yaml:1: found something other than a mapping, allowed an object with apiVersion and kind"],
    );
    let bytes = b"a: 1\n---\nb:\n  - \xFF\n";
    let documents = parse(Path::new("a.yaml"), bytes, Keep::Objects);
    assert_eq!(documents[1].problems[0].to_string(), "a.yaml:4: found byte 0xff at offset 16, allowed UTF-8 text");
    let utf16 = parse(Path::new("a.yaml"), b"\xFF\xFEa\0", Keep::Objects);
    assert!(utf16[0].problems[0].message.contains("UTF-16"));
}

#[test]
fn nothing_comes_of_nothing() {
    for text in ["", "\n", "# only a comment\n", "---\n---\n", "\u{feff}", "null\n", "~"] {
        assert_eq!(yaml(text), [], "{text:?}");
    }
}

#[test]
fn line_ends_and_byte_order_marks_do_not_matter() {
    let crlf = format!("\u{feff}{}", ROUTE.replace('\n', "\r\n"));
    assert_eq!(one(&crlf).problems, []);
    let bad = crlf.replace("port: 80", "port: x");
    assert_eq!(one(&bad).problems[0].line, 8);
}

#[test]
fn yaml_means_what_it_means_to_kubectl() {
    let Object::ConfigMap(map) = object(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: &m {name: c}\ndata:\n  <<: &d {x: a, y: b}\n  x: c\n  1: one\n  text: |\n    a\n    ---\n    b\n  folded: >-\n    a\n    b\n  quoted: 'yes'\n",
    ) else {
        panic!()
    };
    let data = map.data.unwrap();
    let text = |key: &str| data.get(key).map(String::as_str);
    assert_eq!((text("x"), text("true"), text("1"), text("quoted")), (Some("c"), None, Some("one"), Some("yes")));
    assert_eq!((text("text"), text("folded")), (Some("a\n---\nb\n"), Some("a b")));
    let plain = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata:\n  a: yes\n  \"no\": \"on\"\n  n: x\n";
    let document = one(plain);
    assert_eq!(
        document.problems[0].to_string(),
        "a.yaml:5: ConfigMap default/c: data[a]: found true, allowed text; put it in quotes"
    );
    let Object::ConfigMap(map) = object(&plain.replace("a: yes", "a: 'yes'")) else { panic!() };
    assert_eq!(map.data.unwrap().into_keys().collect::<Vec<_>>(), ["a", "false", "no"]);
}

#[test]
fn lines_of_fields_are_found_later() {
    let text = format!(
        "{ROUTE}---\napiVersion: v1\nkind: List\nitems:\n- {{}}\n- apiVersion: v1\n  kind: Namespace\n  metadata:\n    name: n\n"
    );
    let documents = yaml(&text);
    let read = Lines::read(Path::new("a.yaml"), text.as_bytes());
    let lines = |at: usize, field: &str| read.line_of(&documents[at].location, field);
    assert_eq!(lines(0, "spec.rules[0].backendRefs[0].port"), Some(8));
    assert_eq!(lines(0, "spec.rules[0].backendRefs[0].weight"), Some(7));
    assert_eq!(lines(2, "metadata.name"), Some(17));
    assert_eq!(lines(2, ""), Some(14));
    assert_eq!(Lines::read(Path::new("a.yaml"), b"").line_of(&documents[0].location, "spec"), None);
}
