//! `docs/grpc-routes.md` is true: see `support/page.rs`.
#![allow(clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support {
    pub mod page;
    pub mod process;
}

use support::page::Page;

const PAGE: &str = include_str!("../docs/grpc-routes.md");

#[test]
fn every_example_of_the_page_does_what_the_page_says() {
    let page = Page::read(PAGE);
    assert!(page.examples.len() >= 7 && page.manifests.len() >= 8, "the page was read wrongly: {page:?}");
    let wrong = page.compare("docs/grpc-routes.md");
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn check_finds_fault_with_nothing_but_the_route_that_is_to_be_refused() {
    let problems = Page::read(PAGE).problems();
    assert!(problems.len() == 1 && problems[0].contains("GRPCRoute default/refused"), "{problems:?}");
}
