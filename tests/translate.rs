//! The translator. `tests/cases/<area>/<name>/in.yaml` is translated and compared with `out.yaml` beside it;
//! `UPDATE_CASES=1` writes what is found. `settings.yaml` in the folder sets what `load::CaseSettings` has.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

#[path = "translate/endpoints.rs"]
mod endpoints;
#[path = "translate/filters.rs"]
mod filters;
#[path = "translate/load.rs"]
mod load;
#[path = "translate/policy.rs"]
mod policy;
#[path = "translate/properties.rs"]
mod properties;
#[path = "translate/render.rs"]
mod render;

use std::path::{Path, PathBuf};

use transom::translate::translate;

fn cases() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let folders = |path: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(path).expect("a folder").map(|entry| entry.expect("an entry").path());
        entries.filter(|path| path.is_dir()).collect()
    };
    let areas = folders(&root).into_iter().filter(|area| !area.ends_with("api"));
    let mut cases: Vec<_> = areas.flat_map(|area| folders(&area)).filter(|c| c.join("in.yaml").exists()).collect();
    cases.sort();
    cases
}

#[test]
fn every_case_translates_to_what_it_claims() {
    let update = std::env::var_os("UPDATE_CASES").is_some();
    let mut wrong = Vec::new();
    let cases = cases();
    for folder in &cases {
        let (resources, settings) = load::case(folder);
        let found = render::render(&translate(&resources, &settings));
        serde_yaml::from_str::<serde_yaml::Value>(&found).expect("out.yaml is YAML");
        let out = folder.join("out.yaml");
        if update {
            std::fs::write(&out, &found).expect("out.yaml is written");
        } else if std::fs::read_to_string(&out).unwrap_or_default() != found {
            wrong.push(format!("{}:\n{found}", folder.display()));
        }
    }
    assert!(!cases.is_empty());
    assert!(wrong.is_empty(), "{} of {} cases differ:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}
