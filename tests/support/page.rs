//! Pages whose examples are true: their manifests are served together by a real `transom run -f`, their lines are run by
//! `sh` in their order, and what each block promises must stand in what they print.
//!
//! Pages are written for readers, so the rules of comparison are few. The lines of a `text` block are found in the
//! output of the `sh` block before it, one after the other, others between them:
//! - one that begins with `"` is a piece of JSON, whatever the spaces and line ends in it,
//! - `about N` is a number that is not 0 and at most twice N,
//! - any other is a whole line, in any case and with any number of spaces.
//!
//! A line that asks the admin server and prints nothing yet is asked again: what it counts, it counts a moment later.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::process::{Transom, binary, free_port};

/// The ports on a page.
const PORT: &str = "8080";
const ADMIN: &str = "15000";
/// For a line of the admin server to print something.
const PATIENCE: Duration = Duration::from_secs(10);

/// A page, taken apart.
#[derive(Debug, Default)]
pub struct Page {
    pub manifests: Vec<String>,
    pub examples: Vec<Example>,
}

/// Lines to run, and what they print.
#[derive(Debug)]
pub struct Example {
    /// Line of the page.
    at: usize,
    lines: Vec<String>,
    promised: Vec<String>,
}

impl Page {
    /// Reads a page.
    pub fn read(text: &str) -> Page {
        let mut page = Page::default();
        let mut pending: Option<(usize, Vec<String>)> = None;
        let mut lines = text.lines().enumerate();
        while let Some((number, line)) = lines.next() {
            let Some(language) = line.strip_prefix("```") else { continue };
            let block: Vec<String> =
                lines.by_ref().map(|(_, line)| line).take_while(|l| *l != "```").map(Into::into).collect();
            assert!(!block.is_empty(), "line {}: an empty block", number + 1);
            match language {
                "yaml" => page.manifests.push(block.join("\n") + "\n"),
                "sh" => {
                    assert!(pending.replace((number + 1, block)).is_none(), "line {}: no answer before it", number + 1)
                }
                "text" => {
                    let (at, lines) = pending.take().expect("an answer follows the lines that give it");
                    page.examples.push(Example { at, lines, promised: block });
                }
                other => panic!("line {}: a block of {other:?}", number + 1),
            }
        }
        assert!(pending.is_none(), "{pending:?} has no answer");
        page
    }

    /// Serves the manifests, runs the lines and tells what is not as the page says. `path` names the page.
    pub fn compare(&self, path: &str) -> Vec<String> {
        let space = tempfile::tempdir().unwrap();
        let folder = space.path().join("manifests");
        fs::create_dir(&folder).unwrap();
        let port = free_port().to_string();
        let here = "gatewayClassName: transom\n  addresses:\n    - value: 127.0.0.1";
        let manifests = self.manifests.join("---\n").replace("gatewayClassName: transom", here);
        fs::write(folder.join("page.yaml"), manifests.replace(PORT, &port)).unwrap();
        let transom = Transom::start(&folder, &[]).ready(Duration::from_secs(30));
        let admin = transom.admin.port().to_string();

        let mut wrong = Vec::new();
        for Example { at, lines, promised } in &self.examples {
            let ours = |text: &str| text.replace(&format!(":{PORT}"), &format!(":{port}")).replace(ADMIN, &admin);
            let printed: String = lines.iter().map(|line| run(&ours(line), line.contains(ADMIN))).collect();
            if let Err(missing) = compare(&printed, promised.iter().map(|line| ours(line))) {
                wrong.push(format!("{path}:{at}: {missing:?} is not in what\n{lines:#?}\nprints:\n{printed}"));
            }
        }
        wrong
    }

    /// The problems that `transom check` finds.
    pub fn problems(&self) -> Vec<String> {
        let space = tempfile::tempdir().unwrap();
        let file = space.path().join("page.yaml");
        fs::write(&file, self.manifests.join("---\n")).unwrap();
        let output = Command::new(binary()).args(["check", "-f"]).arg(&file).output().unwrap();
        let told = String::from_utf8(output.stdout).unwrap();
        told.lines().filter(|line| line.contains("problem:")).map(str::to_owned).collect()
    }
}

/// What a line prints. `transom` is the binary under test.
fn run(line: &str, again: bool) -> String {
    let binary = binary();
    let folder = binary.parent().map_or_else(String::new, |folder| folder.display().to_string());
    assert_eq!(binary.file_name(), Path::new("transom").file_name(), "the page says transom");
    let path = format!("{folder}:{}", std::env::var("PATH").unwrap_or_default());
    let until = Instant::now() + PATIENCE;
    loop {
        let output = Command::new("sh").args(["-c", line]).env("PATH", &path).output().unwrap();
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        if !printed.is_empty() || !again || Instant::now() > until {
            return printed + "\n" + &String::from_utf8_lossy(&output.stderr);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The first promise that is not kept.
pub fn compare(printed: &str, promised: impl Iterator<Item = String>) -> Result<(), String> {
    let lines: Vec<&str> = printed.lines().collect();
    let mut at = 0;
    for promise in promised {
        let kept = (at..lines.len()).find(|at| keeps(&lines[*at..], promise.trim()));
        at = kept.ok_or(promise)? + 1;
    }
    Ok(())
}

fn keeps(lines: &[&str], promise: &str) -> bool {
    if promise.starts_with('"') {
        let squeezed: String =
            lines.iter().take(12).flat_map(|line| line.chars()).filter(|c| !c.is_whitespace()).collect();
        let wanted: String = promise.chars().filter(|c| !c.is_whitespace()).collect();
        squeezed.strip_prefix(&wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with([',', '}', ']']))
    } else if let Some(number) = promise.strip_prefix("about ") {
        let wanted: u32 = number.parse().unwrap();
        lines[0].trim().parse::<u32>().is_ok_and(|found| (1..=2 * wanted).contains(&found))
    } else {
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ").to_ascii_lowercase();
        words(lines[0]) == words(promise)
    }
}
