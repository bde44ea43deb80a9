//! `transom explain` and `transom routes` over the quick start.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod cli_support;

use cli_support::{Folder, quickstart};
use serde_json::{Value, json};

fn folder() -> Folder {
    let folder = Folder::new();
    folder.write("q.yaml", quickstart());
    folder
}

fn explained(folder: &Folder, arguments: &[&str]) -> Value {
    let run = folder.run(&[&["explain"], arguments, &["-f", "q.yaml", "-o", "json"]].concat());
    assert_eq!((run.code, run.err.as_str()), (0, ""), "{}", run.out);
    serde_json::from_str(&run.out).unwrap()
}

#[test]
fn the_answer_names_the_rule_and_why_the_others_lost() {
    let value = explained(&folder(), &["GET", "http://shop.localhost:8080/cart", "-H", "X-Version: v2"]);
    assert_eq!(value["gateway"], "default/quickstart");
    assert_eq!(value["listener"], "http");
    assert_eq!(value["route"], json!({"kind": "HTTPRoute", "namespace": "default", "name": "shop"}));
    assert_eq!(value["rule"], json!({"index": 0, "name": "preview"}));
    assert_eq!(value["backends"][0]["name"], "shop-v2");
    assert_eq!(value["answer"], json!({"status": null, "reason": "none"}));
    let losers = value["losers"].as_array().unwrap();
    assert_eq!(losers[0]["rule"]["name"], "canary");
    assert!(losers.iter().all(|loser| !loser["why"].as_str().unwrap().is_empty()));
}

#[test]
fn a_404_is_an_answer_too_and_exits_with_0() {
    let folder = Folder::new();
    folder.write("q.yaml", quickstart().replace("port: 8080", "port: 8080\n      hostname: '*.localhost'"));
    let value = explained(&folder, &["GET", "http://elsewhere.example:8080/"]);
    assert_eq!(value["answer"], json!({"status": 404, "reason": "no_listener"}));
    assert_eq!(value["route"], Value::Null);
    let host = explained(&folder, &["GET", "http://elsewhere.example:8080/", "-H", "Host: shop.localhost"]);
    assert_eq!(host["route"]["name"], "shop");
}

#[test]
fn a_port_that_is_redirected_answers_before_any_route() {
    let folder = folder();
    let ports = "{8080: {redirections: {entryPoint: {to: 8443, permanent: false}}}}";
    for url in ["http://shop.localhost:8080/cart?a=b", "http://nobody.example:8080/cart?a=b"] {
        let value = explained(&folder, &["--ports", ports, "GET", url]);
        let location = url.replace("http://", "https://").replace("8080", "8443");
        assert_eq!(value["answer"], json!({"status": 302, "reason": "redirect", "location": location}));
        assert_eq!(value["route"], Value::Null);
    }
    let other = explained(&folder, &["--ports", ports, "GET", "https://blog.apps.localhost:8443/"]);
    assert_eq!(other["route"]["name"], "apps");
    let run = folder.run(&["explain", "--ports", ports, "-f", "q.yaml", "GET", "http://shop.localhost:8080/"]);
    assert!(run.out.contains("port 8080 sends every request elsewhere"), "{}", run.out);
}

#[test]
fn text_is_for_people_and_without_colour_in_a_pipe() {
    let run = folder().run(&["explain", "-f", "q.yaml", "GET", "https://blog.apps.localhost:8443/"]);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(!run.out.contains('\x1b'));
    for words in ["gateway    default/quickstart", "HTTPRoute default/apps", "*.apps.localhost", "default/apps:80"] {
        assert!(run.out.contains(words), "{words}: {}", run.out);
    }
}

#[test]
fn wrong_questions_are_exit_code_2() {
    let folder = folder();
    folder.write("broken.yaml", "a: [");
    for arguments in [
        &["explain"][..],
        &["explain", "GET", "http://a/"],
        &["explain", "GET", "-f", "q.yaml"],
        &["explain", "get", "http://a/", "-f", "q.yaml"],
        &["explain", "GET", "http://a/", "-H", "x", "-f", "q.yaml"],
        &["explain", "GET", "http://a/", "-f", "missing.yaml"],
        &["explain", "GET", "http://a/", "-f", "broken.yaml"],
        &["explain", "GET", "http://a/", "--admin", "ftp://a"],
        &["explain", "GET", "http://a/", "--kubernetes"],
    ] {
        let run = folder.run(arguments);
        assert_eq!(run.code, 2, "{arguments:?}: {run:?}");
        assert!(run.out.is_empty() && !run.err.is_empty(), "{arguments:?}: {run:?}");
    }
}

#[test]
fn an_admin_server_that_is_not_there_is_exit_code_3() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let run = Folder::new().run(&["explain", "GET", "http://a/", "--admin", &free.to_string()]);
    assert_eq!(run.code, 3, "{run:?}");
}

#[test]
fn routes_stand_in_order_of_precedence() {
    let run = folder().run(&["routes", "-f", "q.yaml", "-o", "json"]);
    assert_eq!(run.code, 0);
    let rows: Vec<Value> = serde_json::from_str(&run.out).unwrap();
    let of = |listener: &str| -> Vec<String> {
        let rows = rows.iter().filter(|row| row["listener"] == listener);
        rows.map(|row| format!("{} {}", row["route"]["name"].as_str().unwrap(), row["rule"]["index"])).collect()
    };
    assert_eq!(
        of("http"),
        ["store 0", "chat 0", "chat 1", "shop 0", "shop 1", "api 1", "api 2", "api 0", "api 3", "welcome 0"]
    );
    assert_eq!(
        of("https"),
        ["store 0", "chat 0", "chat 1", "shop 0", "shop 1", "api 1", "api 2", "api 0", "api 3", "apps 0", "welcome 0"]
    );
}

#[test]
fn the_table_of_routes_is_aligned() {
    let run = folder().run(&["routes", "-f", "q.yaml"]);
    assert_eq!((run.code, run.err.as_str()), (0, ""));
    assert!(!run.out.contains('\x1b'));
    let column = run.out.lines().next().unwrap().find("ROUTE ").unwrap();
    for line in run.out.lines().skip(1) {
        assert!(line[column..].starts_with("HTTPRoute default/"), "{line}");
    }
}
