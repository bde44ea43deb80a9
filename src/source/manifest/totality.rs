//! Bombs, depths and sizes are bounded, and no bytes whatever do harm.

use std::sync::LazyLock;
use std::time::Instant;

use proptest::prelude::*;

use super::*;

#[path = "../../../tests/support/manifest_checks.rs"]
mod checks;

use checks::check_manifest;

fn yaml(text: &str) -> Vec<Document> {
    parse(Path::new("a.yaml"), text.as_bytes(), Keep::Objects)
}

fn told(text: &str) -> Vec<String> {
    yaml(text).iter().flat_map(|document| &document.problems).map(ToString::to_string).collect()
}

#[test]
fn aliases_work_and_bombs_do_not() {
    let documents = yaml(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r}\nspec:\n  rules:\n  - backendRefs: &b\n    - {name: b, port: 80}\n  - backendRefs: *b\n",
    );
    let Outcome::Object(Object::HttpRoute(route)) = &documents[0].outcome else { panic!("{documents:#?}") };
    assert_eq!(route.spec.rules[1].backend_refs, route.spec.rules[0].backend_refs);
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb = format!("{bomb}a{level}: &a{level} [{aliases}]\n");
    }
    let wide = format!("a: &a {}\nb: [{}]\n", "x".repeat(1 << 20), "*a, ".repeat(100_000));
    for text in [bomb, wide] {
        let started = Instant::now();
        let told = told(&text);
        assert_eq!(told.len(), 1);
        assert!(told[0].contains("aliases"), "{told:?}");
        assert!(started.elapsed().as_secs() < 20);
    }
}

#[test]
fn depth_and_size_are_bounded() {
    for text in [
        "[".repeat(1 << 20),
        "{".repeat(1 << 20),
        "- ".repeat(1 << 18),
        format!("{{\"a\":{}", "[".repeat(1 << 20)),
        "{a: ".repeat(1 << 16),
    ] {
        let started = Instant::now();
        let told = told(&text);
        assert_eq!(
            told,
            [format!("a.yaml:1: found more than {MAX_DEPTH} levels of lists and mappings, allowed up to that")]
        );
        assert!(started.elapsed().as_secs() < 20);
    }
    let block = (0..100).fold(String::new(), |block, level| block + &" ".repeat(level) + "a:\n");
    assert!(told(&block)[0].contains("levels"));
    let huge = format!("a: |\n{}", "  xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n".repeat(140_000));
    assert!(told(&huge)[0].contains("allowed at most 8388608"), "{:?}", told(&huge));
    assert!(told(&format!("[{}]", "1,".repeat(1 << 20)))[0].contains("allowed up to that"));
    let file = parse(Path::new("a.yaml"), &vec![b'#'; MAX_FILE + 1], Keep::Objects);
    assert!(file[0].problems[0].message.contains("allowed at most 67108864"));
}

#[test]
fn reading_ends_after_a_thousand_broken_objects() {
    for text in ["---\n5\n".repeat(3000), format!("apiVersion: v1\nkind: List\nitems: [{}]\n", "5, ".repeat(3000))] {
        let documents = yaml(&text);
        assert_eq!(documents.len(), MAX_REFUSED + 1);
        assert!(documents.last().unwrap().problems[0].message.contains("the rest of the file is not read"));
    }
}

fn seeds() -> &'static [Vec<u8>] {
    static SEEDS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/manifest");
        folder.read_dir().unwrap().map(|seed| std::fs::read(seed.unwrap().path()).unwrap()).collect()
    });
    assert!(SEEDS.len() >= 6, "{} seeds", SEEDS.len());
    &SEEDS
}

#[test]
fn every_seed_is_read() {
    for seed in seeds() {
        assert!(check_manifest(seed).into_iter().all(|documents| documents > 0), "{}", seed.escape_ascii());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        check_manifest(&bytes);
    }

    #[test]
    fn any_text_of_yaml_signs_is_read(text in r#"[-a:?&*!|>'"%@`{}\[\],#\n \t.0<]{0,80}"#) {
        check_manifest(text.as_bytes());
    }

    #[test]
    fn any_changed_manifest_is_read(
        which in any::<prop::sample::Index>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4_u8), 1..6),
    ) {
        let mut bytes = which.get(seeds()).clone();
        for (at, byte, change) in changes {
            let at = at.index(bytes.len().max(1)).min(bytes.len().saturating_sub(1));
            match change {
                0 if !bytes.is_empty() => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                2 if !bytes.is_empty() => { bytes.remove(at); }
                _ => { let part = bytes[at..].to_vec(); bytes.truncate(at); bytes.extend(part.iter().rev().take(40)); bytes.extend(part); }
            }
        }
        check_manifest(&bytes);
    }
}
