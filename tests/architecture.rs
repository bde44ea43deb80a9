//! Holds the house together: who may import whom (architecture.md section 6), where outside names may stand,
//! that every file says what it is, and that none grows past its size. Reads `src/**/*.rs`; a failure names
//! file and edge.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::Visit;

/// Module -> the modules of ours that it may import. An edge not here fails, an edge here that nobody uses fails.
const EDGES: &[(&str, &[&str])] = &[
    ("api", &[]),
    ("router", &[]),
    ("config", &[]),
    ("telemetry", &[]),
    ("lifecycle", &[]),
    ("echo", &[]),
    ("quickstart", &["api", "store"]),
    ("store", &["api"]),
    ("snapshot", &["router"]),
    ("translate", &["api", "store", "snapshot", "router"]),
    ("source", &["api", "store", "telemetry"]),
    ("status", &["api", "translate", "telemetry"]),
    ("infra", &["api", "translate", "telemetry"]),
    ("controller", &["store", "translate", "snapshot", "lifecycle"]),
    ("proxy", &["snapshot", "router", "telemetry", "lifecycle"]),
    ("admin", &["snapshot", "translate", "telemetry", "lifecycle"]),
];
/// May import everyone.
const ROOTS: &[&str] = &["app", "cli", "main", "lib"];
/// Inside `translate/`: stages look back up the flow only.
const STAGES: &[(&str, &[&str])] = &[("graph", &[]), ("compile", &["graph"]), ("report", &["graph"])];
/// Outside crates and the modules that may name them.
const OUTSIDE: &[(&str, &[&str])] = &[
    ("kube", &["source", "status", "infra", "app"]),
    ("pingora", &["proxy", "app"]),
    ("pingora_proxy", &["proxy", "app"]),
    ("pingora_load_balancing", &["proxy", "app"]),
    ("axum", &["admin"]),
    ("notify", &["source"]),
    ("k8s_openapi", &["api", "translate", "source", "status", "infra", "store", "quickstart", "cli"]),
];
/// Crates and paths that have no place where the core is pure.
const IMPURE: &[&str] =
    &["tokio", "tracing", "rand", "std::time::SystemTime", "std::time::Instant", "std::fs", "std::net::TcpStream"];
const PURE: &[&str] = &["translate", "router", "snapshot", "store", "api"];
/// The publisher wakes its readers through `tokio::sync::watch`, which needs no runtime.
const PURE_EXCEPT: &[(&str, &str)] = &[("snapshot/publish.rs", "tokio")];
const LONGEST: usize = 500;

struct File {
    /// Relative to `src`, with `/`.
    path: String,
    module: String,
    text: String,
    /// Every path written outside tests, as `a::b::c`, globs as `a::*`.
    paths: Vec<String>,
    /// Files that this one declares as modules for tests only.
    test_files: Vec<String>,
}

#[test]
fn every_import_follows_the_table() {
    let mut used: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut wrong = Vec::new();
    for file in files() {
        for path in &file.paths {
            let Some(target) = path.strip_prefix("crate::").and_then(|rest| rest.split("::").next()) else { continue };
            if target == file.module
                || ROOTS.contains(&file.module.as_str())
                || target.chars().next().is_some_and(char::is_uppercase)
            {
                continue;
            }
            used.entry(file.module.clone()).or_default().insert(target.to_owned());
            if !allowed(EDGES, &file.module).contains(&target) {
                wrong.push(format!("src/{}: `{}` may not import `{target}` ({path})", file.path, file.module));
            }
        }
    }
    assert!(wrong.is_empty(), "imports against architecture.md section 6:\n{}", wrong.join("\n"));
    for (module, targets) in EDGES {
        for target in *targets {
            let seen = used.get(*module).is_some_and(|u| u.contains(*target));
            assert!(seen, "the table allows {module} -> {target}, but nobody uses it: take it out");
        }
    }
}

#[test]
fn every_module_stands_in_the_table() {
    let known: BTreeSet<&str> = EDGES.iter().map(|(module, _)| *module).chain(ROOTS.iter().copied()).collect();
    let modules: BTreeSet<String> = files().into_iter().map(|file| file.module).collect();
    for module in &modules {
        assert!(known.contains(module.as_str()), "`{module}` is not in the table of tests/architecture.rs");
    }
}

#[test]
fn translation_stages_look_back_only() {
    for file in files().iter().filter(|file| file.path.starts_with("translate/")) {
        let stage = file.path.trim_start_matches("translate/").split(['/', '.']).next().unwrap_or_default().to_owned();
        let Some((_, allowed)) = STAGES.iter().find(|(name, _)| *name == stage) else { continue };
        for path in &file.paths {
            let Some(target) = path.strip_prefix("crate::translate::").and_then(|rest| rest.split("::").next()) else {
                continue;
            };
            let is_stage = STAGES.iter().any(|(name, _)| *name == target);
            assert!(
                !is_stage || target == stage || allowed.contains(&target),
                "src/{}: stage `{stage}` may not import stage `{target}`",
                file.path
            );
        }
    }
}

#[test]
fn outside_crates_stay_in_their_rooms() {
    for file in files() {
        for path in &file.paths {
            let first = path.split("::").next().unwrap_or_default();
            if let Some((_, rooms)) = OUTSIDE.iter().find(|(name, _)| *name == first) {
                assert!(
                    rooms.contains(&file.module.as_str()),
                    "src/{}: `{path}` has no place in `{}`",
                    file.path,
                    file.module
                );
            }
            if PURE.contains(&file.module.as_str()) {
                for impure in IMPURE {
                    let hit = path == impure || path.starts_with(&format!("{impure}::"));
                    let excepted = PURE_EXCEPT.iter().any(|(f, c)| *f == file.path && impure.starts_with(c));
                    assert!(!hit || excepted, "src/{}: `{path}` in a pure room", file.path);
                }
            }
        }
    }
}

#[test]
fn every_file_says_what_it_is_and_stays_small() {
    for file in files() {
        assert!(file.text.starts_with("//!"), "src/{} does not open with //!", file.path);
        let lines = file.text.lines().take_while(|line| !line.starts_with("#[cfg(test)]")).count();
        assert!(lines <= LONGEST, "src/{} has {lines} lines before its tests, {LONGEST} are allowed", file.path);
    }
}

#[test]
fn no_globs_over_ours_outside_tests() {
    for file in files() {
        for path in &file.paths {
            let glob = matches!(path.as_str(), "crate::*" | "super::*")
                || (path.starts_with("crate::") && path.ends_with("::*"));
            assert!(!glob, "src/{}: `use {path}`", file.path);
        }
    }
}

fn allowed<'a>(table: &'a [(&str, &[&'a str])], module: &str) -> &'a [&'a str] {
    table.iter().find(|(name, _)| *name == module).map_or(&[], |(_, targets)| targets)
}

fn files() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    collect(&root, &mut found);
    assert!(found.len() > 20, "only {} files found under {}", found.len(), root.display());
    let read: Vec<File> = found.iter().map(|path| read(&root, path)).collect();
    let of_tests: BTreeSet<String> = read.iter().flat_map(|file| file.test_files.clone()).collect();
    read.into_iter().filter(|file| !of_tests.contains(&file.path)).collect()
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("src is readable") {
        let path = entry.expect("entry").path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

fn read(root: &Path, path: &Path) -> File {
    let text = fs::read_to_string(path).expect("utf-8");
    let relative = path.strip_prefix(root).expect("below src").to_string_lossy().replace('\\', "/");
    let module = relative.split(['/', '.']).next().unwrap_or_default().to_owned();
    let parsed = syn::parse_file(&text).unwrap_or_else(|e| panic!("{relative}: {e}"));
    let mut paths = Paths::default();
    paths.visit_file(&parsed);
    let folder = match relative.strip_suffix("mod.rs").or(relative.strip_suffix("lib.rs")) {
        Some(folder) => folder.to_owned(),
        None => format!("{}/", relative.trim_end_matches(".rs")),
    };
    let test_files = parsed.items.iter().filter_map(|item| match item {
        syn::Item::Mod(m) if m.content.is_none() && test_only(&m.attrs) => Some(format!("{folder}{}.rs", m.ident)),
        _ => None,
    });
    let test_files = test_files.collect();
    File { path: relative, module, text, paths: paths.0, test_files }
}

fn test_only(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|a| {
        let is_test = |i: syn::Ident| i == "test";
        a.path().is_ident("test") || (a.path().is_ident("cfg") && a.parse_args::<syn::Ident>().is_ok_and(is_test))
    })
}

/// Collects every path outside `#[cfg(test)]`.
#[derive(Default)]
struct Paths(Vec<String>);

impl Paths {
    fn tree(&mut self, prefix: &str, tree: &syn::UseTree) {
        let join = |name: &str| if prefix.is_empty() { name.to_owned() } else { format!("{prefix}::{name}") };
        match tree {
            syn::UseTree::Path(path) => self.tree(&join(&path.ident.to_string()), &path.tree),
            syn::UseTree::Name(name) => self.0.push(join(&name.ident.to_string())),
            syn::UseTree::Rename(name) => self.0.push(join(&name.ident.to_string())),
            syn::UseTree::Glob(_) => self.0.push(join("*")),
            syn::UseTree::Group(group) => group.items.iter().for_each(|item| self.tree(prefix, item)),
        }
    }
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let attributes = match item {
            syn::Item::Mod(m) => &m.attrs,
            syn::Item::Fn(f) => &f.attrs,
            syn::Item::Use(u) => &u.attrs,
            syn::Item::Impl(i) => &i.attrs,
            _ => return syn::visit::visit_item(self, item),
        };
        if !test_only(attributes) {
            syn::visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.tree("", &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.segments.len() > 1 {
            let parts: Vec<String> = path.segments.iter().map(|s| s.ident.to_string()).collect();
            self.0.push(parts.join("::"));
        }
        syn::visit::visit_path(self, path);
    }
}
