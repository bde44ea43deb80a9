//! The check of the fuzz target `http1_head`, run over its seeds and over what is made of them.
#![allow(clippy::expect_used, reason = "a test stops at the first surprise")]

use std::path::Path;

use proptest::prelude::*;

#[path = "support/http1_head.rs"]
mod checks;

#[test]
fn no_seed_reaches_the_upstream_as_anything_but_whole_requests() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/http1_head");
    let seeds: Vec<_> = folder.read_dir().expect("seeds").map(|seed| seed.expect("seed").path()).collect();
    assert!(seeds.len() >= 50, "{} seeds in {}", seeds.len(), folder.display());
    for seed in seeds {
        let bytes = std::fs::read(&seed).expect("seed");
        checks::check_head(&bytes);
        checks::check_head(&[bytes.as_slice(), b"GET /behind HTTP/1.1\r\nHost: a.com\r\n\r\n"].concat());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nor_does_what_is_made_of_their_pieces(
        line in "(GET|POST|HEAD|OPTIONS|get) (/|/x|\\*|http://a.com/|/a b|//) HTTP/1\\.[01](\r\n|\n|\r)",
        fields in proptest::collection::vec(
            "(Host: a.com|Content-Length: (0|5|7|\\+5)|Transfer-Encoding: (chunked|gzip|x)|Connection: (close|te|host)|\
             Expect: (100-continue|x)|Upgrade: (websocket|h2c)| X|X : 1|X: 1|Trailer: X)(\r\n|\r\n|\r\n|\n)",
            0..6,
        ),
        rest in "(\r\n|\n)?(5\r\nhello\r\n|5;x\nhello\r\n|hello|\r\n)?(0\r\n\r\n|0\r\nX: 1\r\n\r\n|0\r\n)?\
                 (GET /2 HTTP/1.1\r\nHost: a.com\r\n\r\n|GET /2 HTT)?",
    ) {
        checks::check_head(format!("{line}{}{rest}", fields.concat()).as_bytes());
        checks::check_head(format!("{line}Host: a.com\r\n{}\r\n{rest}", fields.concat()).as_bytes());
    }
}
