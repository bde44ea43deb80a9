//! Settings, and the commands that judge no manifests.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod cli_support;

use std::process::{Command, Stdio};

use cli_support::{Folder, quickstart};
use transom::config::{Config, Field, Layers};

/// A command that reads every setting and serves nothing.
const JUDGE: [&str; 3] = ["routes", "-f", "q.yaml"];

fn folder() -> Folder {
    let folder = Folder::new();
    folder.write("q.yaml", quickstart().replace("port: 8080", "port: 80"));
    folder
}

#[test]
fn a_flag_beats_the_environment_which_beats_the_file() {
    let folder = folder();
    folder.write("transom.yaml", "portOffset: 1000\n");
    let bound = |arguments: &[&str], variables: &[(&str, &str)]| {
        let run = folder.run_with(&[&JUDGE, arguments].concat(), variables, "");
        assert_eq!(run.code, 0, "{run:?}");
        let line = run.out.lines().nth(1).unwrap().to_owned();
        line.split_whitespace().nth(1).unwrap().to_owned()
    };
    assert_eq!(bound(&[], &[]), "*:80");
    assert_eq!(bound(&["--config", "transom.yaml"], &[]), "*:1080");
    assert_eq!(bound(&[], &[("TRANSOM_CONFIG", "transom.yaml")]), "*:1080");
    assert_eq!(bound(&["--config", "transom.yaml"], &[("TRANSOM_PORT_OFFSET", "2000")]), "*:2080");
    let all = bound(&["--config", "transom.yaml", "--port-offset", "3000"], &[("TRANSOM_PORT_OFFSET", "2000")]);
    assert_eq!(all, "*:3080");
}

#[test]
fn what_is_not_known_is_exit_code_2_and_names_the_nearest() {
    let folder = folder();
    folder.write("typo.yaml", "# a comment\nadminAdress: 127.0.0.1:1\n");
    folder.write("value.yaml", "workers: many\n");
    for (arguments, variables, words) in [
        (&["--controler-name", "a.b/c"][..], &[][..], "--controller-name"),
        (&["--port-offset", "many"], &[], "--port-offset: found \"many\", allowed: a number from 0 to 64512"),
        (&["--config", "typo.yaml"], &[], "typo.yaml:2: unknown field \"adminAdress\"; did you mean \"adminAddress\"?"),
        (&["--config", "value.yaml"], &[], "value.yaml:1: workers: found \"many\""),
        (&["--config", "missing.yaml"], &[], "missing.yaml"),
        (&[], &[("TRANSOM_LOGLEVEL", "info")], "TRANSOM_LOGLEVEL; did you mean TRANSOM_LOG_LEVEL?"),
        (&[], &[("TRANSOM_LOG_LEVEL", "inof")], "did you mean \"info\"?"),
        (&["-o", "jsn"], &[], "json"),
    ] {
        let run = folder.run_with(&[&JUDGE, arguments].concat(), variables, "");
        assert_eq!(run.code, 2, "{run:?}");
        assert!(run.err.contains(words), "{words}: {run:?}");
    }
}

#[test]
fn every_setting_is_a_flag_of_run() {
    let help = Folder::new().run(&["run", "--help"]).out;
    let documented = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/config/transom.yaml")).unwrap();
    let mut count = 0;
    for key in documented.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(':')) {
        let flag: String = key
            .0
            .chars()
            .flat_map(|c| if c.is_uppercase() { vec!['-', c.to_ascii_lowercase()] } else { vec![c] })
            .collect();
        assert!(help.contains(&format!("--{flag} ")), "--{flag}: {help}");
        assert!(help.contains(&format!("TRANSOM_{}", flag.replace('-', "_").to_uppercase())), "{flag}");
        count += 1;
    }
    assert!(count >= 9);
}

/// Texts of which each setting takes at least one that is not its default.
const CANDIDATES: &[&str] = &[
    "1",
    "0.5",
    "404",
    "6s",
    "17KiB",
    "x",
    "example.com/x",
    "127.0.0.1:1",
    "http://otel:4318",
    "TLS_AES_128_GCM_SHA256",
    "{\"80\": {forwardedHeaders: {trustedIPs: [10.0.0.1]}}}",
];

/// Every setting with a text that is not its default and that it takes, those before it being as they are here: some
/// allow less together than each by itself.
fn another_of_each() -> Vec<(&'static Field, &'static str)> {
    let mut layers = Layers::default();
    let mut all = Vec::new();
    for field in Config::FIELDS {
        let before = Config::resolve(&layers).unwrap();
        let taken = field.words.iter().chain(CANDIDATES).copied().find(|text| {
            let mut layers = layers.clone();
            layers.set_flag(field, text);
            Config::resolve(&layers).is_ok_and(|config| config != before)
        });
        let text = taken.unwrap_or_else(|| panic!("{}: CANDIDATES has nothing that it takes", field.name));
        layers.set_flag(field, text);
        all.push((field, text));
    }
    all
}

#[test]
fn flags_variables_and_file_come_to_the_same_and_the_place_of_each_is_told() {
    let folder = Folder::new();
    let all = another_of_each();
    let flags: Vec<String> = all.iter().map(|(field, text)| format!("--{}={text}", field.flag())).collect();
    let flags: Vec<&str> = ["config"].into_iter().chain(flags.iter().map(String::as_str)).collect();
    let variables: Vec<(String, &str)> = all.iter().map(|(field, text)| (field.variable(), *text)).collect();
    let variables: Vec<(&str, &str)> = variables.iter().map(|(name, text)| (name.as_str(), *text)).collect();
    let file: String = all.iter().map(|(field, text)| format!("{}: {text}\n", field.key())).collect();
    folder.write("all.yaml", file);

    let by_flag = folder.run(&flags);
    let by_variable = folder.run_with(&["config"], &variables, "");
    let by_file = folder.run(&["config", "--config", "all.yaml"]);
    let without_places = |run: &cli_support::Run| -> Vec<String> {
        assert_eq!(run.code, 0, "{run:?}");
        run.out.lines().map(|line| line.split("  # ").next().unwrap().to_owned()).collect()
    };
    assert_eq!(without_places(&by_flag), without_places(&by_variable));
    assert_eq!(without_places(&by_flag), without_places(&by_file));
    for (line, (field, _)) in (1..).zip(&all) {
        for (run, place) in [
            (&by_flag, format!("--{}", field.flag())),
            (&by_variable, field.variable()),
            (&by_file, format!("all.yaml:{line}")),
        ] {
            let start = format!("{}:", field.key());
            let shown = run.out.lines().find(|line| line.starts_with(&start)).unwrap();
            assert!(shown.ends_with(&format!("  # {place}")), "{shown}: {place}");
        }
    }

    // What is printed is a file that says the same.
    folder.write("printed.yaml", &by_flag.out);
    assert_eq!(without_places(&folder.run(&["config", "--config", "printed.yaml"])), without_places(&by_flag));
}

#[test]
fn the_settings_in_force_are_printed_with_their_places() {
    let folder = Folder::new();
    folder.write("transom.yaml", "# mine\nworkers: 2\nports:\n  443:\n    proxyProtocol: {trustedIPs: [10.0.0.1]}\n");
    let arguments = ["config", "--config", "transom.yaml", "--log-level", "debug"];
    let run = folder.run_with(&arguments, &[("TRANSOM_WORKERS", "3")], "");
    assert_eq!(run.code, 0, "{run:?}");
    for text in [
        "\nworkers: 3  # TRANSOM_WORKERS\n",
        "\nlogLevel: debug  # --log-level\n",
        "\nadminAddress: 127.0.0.1:15000  # default\n",
        "\nnamespaces: ''  # default\n",
        "\nports:  # transom.yaml:3\n  443:\n    proxyProtocol:\n      trustedIPs:\n      - 10.0.0.1\n",
    ] {
        assert!(run.out.contains(text), "{text}: {}", run.out);
    }
    let run = folder.run_with(&[&arguments[..], &["-o", "json"]].concat(), &[("TRANSOM_WORKERS", "3")], "");
    let json: serde_json::Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(json["workers"], serde_json::json!({"value": 3, "from": "TRANSOM_WORKERS"}));
    assert_eq!(json["ports"]["value"]["443"]["proxyProtocol"]["trustedIPs"][0], "10.0.0.1");
    assert_eq!(json["ports"]["from"], "transom.yaml:3");
    assert_eq!(json["adminAddress"]["from"], "default");

    folder.write("wrong.yaml", "ports:\n  443:\n    proxyProtocol:\n      trustedIps: [10.0.0.1]\n");
    for (arguments, words) in [
        (
            &["--config", "wrong.yaml"][..],
            "wrong.yaml:4: ports.443.proxyProtocol.trustedIps: unknown field; did you mean \"trustedIPs\"?",
        ),
        (
            &["--ports", "{80: {redirections: {entryPoint: {to: web}}}}"],
            "--ports: 80.redirections.entryPoint.to: found",
        ),
        (&["--workers", "many"], "--workers: found \"many\""),
        (&["--config", "missing.yaml"], "missing.yaml"),
        (&["-o", "toml"], "toml"),
    ] {
        let run = folder.run(&[&["config"], arguments].concat());
        assert_eq!((run.code, run.out.as_str()), (2, ""), "{run:?}");
        assert!(run.err.contains(words), "{words}: {run:?}");
    }
}

#[test]
fn run_refuses_what_it_cannot_do() {
    let folder = Folder::new();
    for (arguments, words) in [
        (&["run", "--kubernetes", "--kubeconfig", "no/such/file"][..], "kubeconfig"),
        (&["run", "--log-level", "inof"], "info"),
        (&["run", "-R"], "filename"),
        (&["run", "extra"], "extra"),
        (&["chek"], "check"),
        (&["serve"], "serve"),
        (&[], "Usage"),
    ] {
        let run = folder.run(arguments);
        assert_eq!(run.code, 2, "{arguments:?}: {run:?}");
        assert!(run.err.contains(words), "{arguments:?}: {run:?}");
    }
    let missing = folder.run(&["run", "-f", "missing.yaml", "--admin-address", "127.0.0.1:0"]);
    assert_eq!(missing.code, 2, "{missing:?}");
}

#[test]
fn the_quick_start_is_written_out_once() {
    let folder = Folder::new();
    let first = folder.run(&["run", "--write-quickstart", "mine.yaml"]);
    assert_eq!(first.code, 0, "{first:?}");
    assert_eq!(std::fs::read_to_string(folder.path().join("mine.yaml")).unwrap(), quickstart());
    std::fs::write(folder.path().join("mine.yaml"), "edited").unwrap();
    let second = folder.run(&["run", "--write-quickstart", "mine.yaml"]);
    assert_eq!(second.code, 3, "{second:?}");
    assert_eq!(std::fs::read_to_string(folder.path().join("mine.yaml")).unwrap(), "edited");
    assert_eq!(folder.run(&["run", "--write-quickstart", "-"]).out, quickstart());
}

#[test]
fn version_names_what_was_built_against_what() {
    let folder = Folder::new();
    let run = folder.run(&["version", "-o", "json"]);
    let version: serde_json::Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(version["gatewayApi"], "v1.7.0");
    let lock = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.lock")).unwrap();
    let pingora = version["pingora"].as_str().unwrap();
    assert!(lock.contains(&format!("name = \"pingora\"\nversion = \"{pingora}\"")), "{pingora}");
    let commit = version["commit"].as_str().unwrap();
    assert!(commit == "unknown" || (commit.len() == 40 && commit.bytes().all(|b| b.is_ascii_hexdigit())), "{commit}");
    for words in [env!("CARGO_PKG_VERSION"), commit, pingora, "v1.7.0"] {
        assert!(folder.run(&["version"]).out.contains(words));
    }
    assert_eq!(folder.run(&["--version"]).code, 0);
}

#[test]
fn each_shell_has_a_completion_that_knows_the_commands() {
    let folder = Folder::new();
    for shell in ["bash", "zsh", "fish"] {
        let run = folder.run(&["completion", shell]);
        assert_eq!(run.code, 0);
        for word in ["explain", "check", "routes", "port-offset"] {
            assert!(run.out.contains(word), "{shell}: {word}");
        }
    }
    assert_eq!(folder.run(&["completion", "tcsh"]).code, 2);
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let folder = folder();
    for arguments in [&JUDGE[..], &["completion", "bash"], &["check", "-f", "q.yaml"]] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_transom"))
            .args(arguments)
            .current_dir(folder.path())
            .env_clear()
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn an_echo_port_that_is_taken_is_exit_code_3() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let run = Folder::new().run(&["echo", "--address", "127.0.0.1", "--http-port", &port]);
    assert_eq!(run.code, 3, "{run:?}");
    assert!(run.err.contains(&port), "{run:?}");
}
