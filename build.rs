//! Facts of the build for `transom version`: the commit, the profile, and Pingora's version as it is locked.

use std::path::Path;
use std::process::Command;

fn main() {
    let commit = commit().unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=BUILD_COMMIT={commit}");
    println!("cargo::rustc-env=BUILD_PROFILE={}", std::env::var("PROFILE").unwrap_or_default());
    println!("cargo::rustc-env=BUILD_PINGORA={}", locked("pingora").unwrap_or_else(|| "unknown".to_owned()));
    println!("cargo::rerun-if-changed=Cargo.lock");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=GIT_COMMIT");
}

/// From the environment, for builds without a repository such as an image's; else from git. Neither need be there.
fn commit() -> Option<String> {
    if let Ok(commit) = std::env::var("GIT_COMMIT") {
        return Some(commit).filter(|c| c.len() >= 7 && c.bytes().all(|b| b.is_ascii_hexdigit()));
    }
    // only our own repository: a copy of the sources inside someone else's has no commit of ours
    let root = git(&["rev-parse", "--show-toplevel"])?;
    let here = std::env::var("CARGO_MANIFEST_DIR").ok()?;
    if Path::new(&root).canonicalize().ok()? != Path::new(&here).canonicalize().ok()? {
        return None;
    }
    // the log of HEAD grows with every commit and checkout; HEAD alone does not change with a commit on a branch
    for name in ["HEAD", "logs/HEAD"] {
        if let Some(path) = git(&["rev-parse", "--git-path", name]).filter(|path| Path::new(path).exists()) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    git(&["rev-parse", "HEAD"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok().map(|text| text.trim().to_owned())
}

fn locked(package: &str) -> Option<String> {
    let lock = std::fs::read_to_string("Cargo.lock").ok()?;
    let at = lock.split("[[package]]").find(|entry| entry.contains(&format!("\nname = \"{package}\"\n")))?;
    at.lines().find_map(|line| line.strip_prefix("version = ")).map(|version| version.trim_matches('"').to_owned())
}
