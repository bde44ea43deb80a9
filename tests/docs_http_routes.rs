//! `docs/http-routes.md` is true: see `support/page.rs`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod support {
    pub mod page;
    pub mod process;
}

use support::page::{Page, compare};

const PAGE: &str = include_str!("../docs/http-routes.md");

#[test]
fn every_example_of_the_page_does_what_the_page_says() {
    let page = Page::read(PAGE);
    assert!(page.examples.len() >= 14 && page.manifests.len() >= 16, "the page was read wrongly: {page:?}");
    let wrong = page.compare("docs/http-routes.md");
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn check_finds_fault_with_nothing_but_the_route_that_is_to_be_refused() {
    let problems = Page::read(PAGE).problems();
    assert!(problems.len() == 1 && problems[0].contains("HTTPRoute default/refused"), "{problems:?}");
}

#[test]
fn a_promise_is_kept_in_order_and_to_the_end_of_a_value() {
    let printed = "HTTP/1.1 200 OK\r\nX-A: 1\r\n{\n  \"a\": [\n    \"x\",\n    \"y\"\n  ],\n  \"b\": \"12\"\n}\n21\n";
    let kept = |promised: &[&str]| compare(printed, promised.iter().map(|line| (*line).to_owned())).is_ok();
    assert!(kept(&["http/1.1 200 OK", "x-a:  1", r#""a": ["x", "y"]"#, r#""b": "12""#, "about 20"]));
    assert!(!kept(&["x-a: 1", "HTTP/1.1 200 OK"]));
    for broken in ["x-a:", "HTTP/1.1", r#""a": ["x"]"#, r#""b": "1"#, "about 10", "about 0"] {
        assert!(!kept(&[broken]), "{broken}");
    }
}
