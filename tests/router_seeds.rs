//! The checks of the fuzz targets `path` and `regex`, run over their seeds and over random input.
#![allow(clippy::expect_used, reason = "a test stops at the first surprise")]

use std::path::Path;

use proptest::prelude::*;
use transom::router::{Pattern, path};

#[path = "support/router_checks.rs"]
mod checks;

fn for_each_seed(target: &str, check: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let seeds: Vec<_> = folder.read_dir().expect("seeds").map(|seed| seed.expect("seed").path()).collect();
    assert!(seeds.len() >= 10, "{} seeds in {}", seeds.len(), folder.display());
    for seed in seeds {
        check(&std::fs::read(&seed).expect("seed"));
    }
}

#[test]
fn every_path_seed_is_normalised_once_and_for_all() {
    for_each_seed("path", checks::check_path);
}

#[test]
fn no_regex_seed_takes_more_than_its_text() {
    for_each_seed("regex", checks::check_regex);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_path_is_normalised_once_and_for_all(sent in r"/?(/|\.|\.\.|%2[eEfF]|%2|[a-c]|ä|\\|;){0,12}") {
        checks::check_path(sent.as_bytes());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_expression_takes_more_than_its_text(
        text in r"(\(\?[xims]\)|[ab]|\||\*|\+|\?|\(|\)|#| |\n|\.|\^|\$|\\b|\[a\]|\{2\}){0,9}",
        value in r"[ab# \n]{0,4}",
    ) {
        checks::check_regex(format!("{text}\n---\n{value}").as_bytes());
    }
}
