//! Manifests in real folders, followed by a real watcher.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

use std::fs::{self, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use transom::api::{Kind, Object, ObjectKey, ObjectRef};
use transom::source::file::{Cause, FileError, FileProblem, FileSource, Loaded, Provenance, Skip};
use transom::source::manifest::Keep;
use transom::store::{Batch, Change, Event, Resources};

/// How long anything may take before a test fails.
const DEADLINE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn an_edit_is_sent() {
    let folder = Folder::new(&[("a.yaml", &service("one", 1))]);
    let mut files = Followed::start(&folder).await;
    folder.write("a.yaml", &service("one", 2));
    files.until("one:2").await;
    folder.write("b.json", r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"two","namespace":"shop"},"spec":{"ports":[{"port":3}]}}"#);
    files.until("one:2 two:3").await;
    folder.write("c.yml", &format!("apiVersion: v1\nkind: List\nitems:\n- {}", indent(&service("three", 4))));
    files.until("one:2 three:4 two:3").await;
    fs::remove_file(folder.path("a.yaml")).unwrap();
    files.until("three:4 two:3").await;
}

#[tokio::test]
async fn an_editor_may_rename_over_a_file_in_a_folder() {
    let folder = Folder::new(&[("a.yaml", &service("one", 1))]);
    let mut files = Followed::start(&folder).await;
    rename_over(&folder, "a.yaml", 2);
    files.until("one:2").await;
    rename_over(&folder, "a.yaml", 3);
    files.until("one:3").await;
}

#[tokio::test]
async fn an_editor_may_rename_over_a_single_file() {
    let folder = Folder::new(&[("routes.txt", &service("one", 1)), ("other.yaml", &service("other", 1))]);
    let mut files = Followed::of(vec![folder.path("routes.txt")], false).await;
    for port in 2..5 {
        rename_over(&folder, "routes.txt", port);
        files.until(&format!("one:{port}")).await;
    }
    folder.write("routes.txt", &service("one", 9));
    files.until("one:9").await;
}

#[tokio::test]
async fn a_file_moved_aside_and_written_anew_costs_no_object() {
    let folder = Folder::new(&[("a.yaml", &service("one", 1))]);
    let mut files = Followed::start(&folder).await;
    for port in 2..12 {
        fs::rename(folder.path("a.yaml"), folder.path("a.yaml~")).unwrap();
        folder.write("a.yaml", &service("one", port));
        files.until(&format!("one:{port}")).await;
    }
    fs::rename(folder.path("a.yaml"), folder.path("b.yaml")).unwrap();
    folder.write("a.yaml", &service("two", 1));
    files.until("one:11 two:1").await;
    assert_eq!(files.deleted, Vec::<ObjectRef>::new());
}

#[tokio::test]
async fn a_mounted_config_map_is_swapped_whole() {
    let folder = Folder::new(&[("..v1/a.yaml", &service("one", 1)), ("..v1/b.yaml", &service("two", 1))]);
    symlink("..v1", folder.path("..data")).unwrap();
    for file in ["a.yaml", "b.yaml"] {
        symlink(format!("..data/{file}"), folder.path(file)).unwrap();
    }
    let mut files = Followed::start(&folder).await;
    assert_eq!(files.state(), "one:1 two:1");
    for version in 2..5 {
        folder.write(&format!("..v{version}/a.yaml"), &service("one", version));
        folder.write(&format!("..v{version}/b.yaml"), &service("two", version));
        symlink(format!("..v{version}"), folder.path("..data_tmp")).unwrap();
        fs::rename(folder.path("..data_tmp"), folder.path("..data")).unwrap();
        fs::remove_dir_all(folder.path(&format!("..v{}", version - 1))).unwrap();
        files.until(&format!("one:{version} two:{version}")).await;
    }
    assert_eq!(files.deleted, Vec::<ObjectRef>::new());
    fs::remove_file(folder.path("b.yaml")).unwrap();
    files.until("one:4").await;
}

#[tokio::test]
async fn a_given_link_may_be_turned_to_another_folder() {
    let folder = Folder::new(&[("v1/a.yaml", &service("one", 1)), ("v2/a.yaml", &service("one", 2))]);
    symlink("v1", folder.path("current")).unwrap();
    let mut files = Followed::of(vec![folder.path("current")], false).await;
    symlink("v2", folder.path("next")).unwrap();
    fs::rename(folder.path("next"), folder.path("current")).unwrap();
    files.until("one:2").await;
    folder.write("v2/a.yaml", &service("one", 3));
    files.until("one:3").await;
}

#[tokio::test]
async fn what_a_link_leads_to_is_followed() {
    let elsewhere = Folder::new(&[("real.txt", &service("one", 1))]);
    let folder = Folder::new(&[]);
    symlink(elsewhere.path("real.txt"), folder.path("a.yaml")).unwrap();
    let mut files = Followed::start(&folder).await;
    elsewhere.write("real.txt", &service("one", 2));
    files.until("one:2").await;
}

#[tokio::test]
async fn a_burst_of_edits_ends_in_the_last() {
    let folder = Folder::new(&[("a.yaml", &service("one", 1))]);
    let mut files = Followed::start(&folder).await;
    for port in 2..=201 {
        folder.write("a.yaml", &service("one", port));
    }
    files.until("one:201").await;
    assert_eq!(files.deleted, Vec::<ObjectRef>::new());
    assert!(files.batches < 100, "{} batches for 200 edits", files.batches);
}

#[tokio::test]
async fn a_half_written_file_keeps_what_was_good() {
    let folder = Folder::new(&[("a.yaml", &service("one", 1))]);
    let mut files = Followed::start(&folder).await;
    let text = service("one", 2);
    let mut file = OpenOptions::new().write(true).truncate(true).open(folder.path("a.yaml")).unwrap();
    file.write_all(&text.as_bytes()[..text.len() / 2]).unwrap();
    files.until_problem("a.yaml").await;
    assert_eq!(files.state(), "one:1");
    file.write_all(&text.as_bytes()[text.len() / 2..]).unwrap();
    drop(file);
    files.until("one:2").await;
    files.until_no_problem().await;
    assert_eq!(files.deleted, Vec::<ObjectRef>::new());
}

#[tokio::test]
async fn a_file_truncated_and_held_open_is_no_deletion_and_an_emptied_one_is() {
    let folder = Folder::new(&[("a.yaml", &service("one", 1)), ("b.yaml", &service("two", 1))]);
    let mut files = Followed::start(&folder).await;
    let open = OpenOptions::new().write(true).truncate(true).open(folder.path("a.yaml")).unwrap();
    folder.write("b.yaml", &service("two", 2));
    files.until("one:1 two:2").await;
    folder.write("b.yaml", "");
    files.until("one:1").await;
    drop(open);
    files.until("").await;
}

#[tokio::test]
async fn a_file_written_and_held_open_is_read() {
    let folder = Folder::new(&[]);
    let mut files = Followed::start(&folder).await;
    let mut file = fs::File::create(folder.path("a.yaml")).unwrap();
    file.write_all(service("one", 1).as_bytes()).unwrap();
    files.until("one:1").await;
    drop(file);
}

#[tokio::test]
async fn a_broken_document_spares_its_siblings_and_is_named_with_its_line() {
    let folder = Folder::new(&[("a.yaml", &(service("one", 1) + &service("two", 2)))]);
    let mut files = Followed::start(&folder).await;
    folder.write("a.yaml", &(service("one", 3) + &service("two", 2).replace("port: 2", "port: much")));
    files.until("one:3 two:2").await;
    let problem = files.until_problem("a.yaml").await.problem;
    assert_eq!((problem.line, problem.object), (18, Some(object("two"))));
    assert!(problem.message.contains("much"), "{}", problem.message);
}

#[tokio::test]
async fn of_two_objects_with_one_identity_the_first_is_used_until_it_goes() {
    let folder = Folder::new(&[("b.yaml", &service("one", 2))]);
    let mut files = Followed::start(&folder).await;
    folder.write("a.yaml", &service("one", 1));
    files.until("one:1").await;
    let problem = files.until_problem("b.yaml").await;
    assert_eq!(problem.cause, Cause::Duplicate);
    assert!(problem.problem.message.contains("a.yaml:2"), "{}", problem.problem.message);
    assert_eq!(&*files.provenance.find(&object("one")).unwrap().file, folder.path("a.yaml"));
    fs::remove_file(folder.path("a.yaml")).unwrap();
    files.until("one:2").await;
    files.until_no_problem().await;
    assert_eq!(&*files.provenance.find(&object("one")).unwrap().file, folder.path("b.yaml"));
    assert_eq!(files.deleted, Vec::<ObjectRef>::new());
}

#[tokio::test]
async fn folders_come_and_go() {
    let folder = Folder::new(&[("a.yaml", &service("one", 1))]);
    let mut files = Followed::of(vec![folder.path("")], true).await;
    folder.write("new/deep/b.yaml", &service("two", 2));
    files.until("one:1 two:2").await;
    folder.write("new/deep/b.yaml", &service("two", 3));
    files.until("one:1 two:3").await;
    fs::rename(folder.path("new"), folder.path("old")).unwrap();
    folder.write("old/deep/c.yaml", &service("three", 1));
    files.until("one:1 three:1 two:3").await;
    fs::remove_dir_all(folder.path("old")).unwrap();
    files.until("one:1").await;
}

#[tokio::test]
async fn a_given_folder_may_be_made_anew() {
    let folder = Folder::new(&[("routes/a.yaml", &service("one", 1))]);
    let mut files = Followed::of(vec![folder.path("routes")], false).await;
    fs::remove_dir_all(folder.path("routes")).unwrap();
    files.until("").await;
    files.until_problem("routes").await;
    folder.write("routes/a.yaml", &service("one", 2));
    files.until("one:2").await;
    files.until_no_problem().await;
    folder.write("routes/a.yaml", &service("one", 3));
    files.until("one:3").await;
}

#[tokio::test]
async fn dot_files_other_names_and_inner_folders_are_left_alone() {
    let folder = Folder::new(&[]);
    let mut files = Followed::start(&folder).await;
    for name in [".a.yaml", ".git/a.yaml", "a.txt", "a.yaml.swp", "a.yaml~", "sub/a.yaml"] {
        folder.write(name, &service("never", 1));
    }
    folder.write("last.yaml", &service("last", 1));
    files.until("last:1").await;
    assert_eq!(files.applied, ["last"]);
}

#[tokio::test]
async fn permissions_that_go_keep_what_was_good() {
    let folder = Folder::new(&[("a.yaml", &service("one", 1))]);
    let mut files = Followed::start(&folder).await;
    fs::set_permissions(folder.path("a.yaml"), Permissions::from_mode(0o000)).unwrap();
    if fs::File::open(folder.path("a.yaml")).is_err() {
        // root may read anything, and sees no problem
        assert_eq!(files.until_problem("a.yaml").await.cause, Cause::Unreadable);
    }
    fs::set_permissions(folder.path("a.yaml"), Permissions::from_mode(0o644)).unwrap();
    files.until_no_problem().await;
    assert_eq!((files.state().as_str(), files.deleted.len()), ("one:1", 0));
}

#[tokio::test]
async fn following_ends_when_told_to_and_when_nobody_listens() {
    let folder = Folder::new(&[("a.yaml", &service("one", 1))]);
    let mut files = Followed::start(&folder).await;
    files.shutdown.cancel();
    tokio::time::timeout(DEADLINE, &mut files.following).await.unwrap().unwrap();
    let mut files = Followed::start(&folder).await;
    files.events.close();
    tokio::time::timeout(DEADLINE, &mut files.following).await.unwrap().unwrap();
}

#[tokio::test]
async fn one_edit_among_five_thousand_files_is_sent_at_once() {
    let folder = Folder::new(&[]);
    for number in 0..5_000 {
        folder.write(&format!("{number}.yaml"), &route(number, "/"));
    }
    let mut files = Followed::start(&folder).await;
    let mut took = Vec::new();
    for round in 0..20 {
        let path = format!("/{round}");
        let written = Instant::now();
        folder.write("2500.yaml", &route(2_500, &path));
        let batch = tokio::time::timeout(DEADLINE, files.events.recv()).await.unwrap().unwrap();
        took.push(written.elapsed());
        let [Event::Apply(Object::HttpRoute(route))] = batch.as_slice() else { panic!("{batch:?}") };
        assert_eq!(route.spec.rules[0].matches[0].path.as_ref().unwrap().value, path);
    }
    took.sort();
    println!("from write to batch, 5,000 files: median {:?}, worst {:?}", took[10], took[19]);
    assert!(took[10] < Duration::from_millis(50), "{took:?}");
}

#[test]
fn the_first_load_reads_everything_and_names_what_is_wrong() {
    let folder = Folder::new(&[
        ("a.yaml", &service("one", 1)),
        ("b.yaml", "kind: [\n"),
        ("c.yaml", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n"),
        ("d.yaml", ""),
    ]);
    let (source, loaded) = FileSource::open(vec![folder.path("")], false, Keep::Text).unwrap();
    assert_eq!((loaded.batch.len(), loaded.files), (1, 4));
    assert_eq!(loaded.problems.len(), 1);
    assert_eq!(*source.problems().borrow().as_ref(), loaded.problems);
    assert_eq!(loaded.texts[&object("one")]["kind"], "Service");
    let (skipped, place) = loaded.skipped.iter().next().unwrap();
    assert_eq!((skipped.why, skipped.kind.as_str(), place.line), (Skip::NotOurs, "Deployment", 1));
}

#[test]
fn a_given_path_that_does_not_exist_is_an_error() {
    let folder = Folder::new(&[]);
    let Err(error) = FileSource::open(vec![folder.path("none.yaml")], false, Keep::Objects) else { panic!("opened") };
    assert!(matches!(&error, FileError::NotFound { path } if *path == folder.path("none.yaml")), "{error}");
}

#[test]
fn a_pipe_is_read_once() {
    let folder = Folder::new(&[]);
    let pipe = folder.path("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let to = pipe.clone();
    let writer = std::thread::spawn(move || fs::write(to, service("one", 1)).unwrap());
    let (_, loaded) = FileSource::open(vec![pipe], false, Keep::Objects).unwrap();
    writer.join().unwrap();
    assert_eq!(loaded.batch.len(), 1);
}

/// A folder of its own for one test.
struct Folder(TempDir);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Folder {
        let folder = Folder(tempfile::tempdir().unwrap());
        for (name, text) in files {
            folder.write(name, text);
        }
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        if name.is_empty() { self.0.path().to_path_buf() } else { self.0.path().join(name) }
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

/// A source that is followed, and everything that it has sent.
struct Followed {
    events: mpsc::Receiver<Batch>,
    problems: watch::Receiver<Arc<Vec<FileProblem>>>,
    provenance: Provenance,
    shutdown: CancellationToken,
    following: JoinHandle<()>,
    resources: Resources,
    deleted: Vec<ObjectRef>,
    applied: Vec<String>,
    batches: usize,
    /// A folder beside the others whose one edit shows that edits are seen.
    witness: Folder,
}

impl Followed {
    async fn start(folder: &Folder) -> Followed {
        Followed::of(vec![folder.path("")], false).await
    }

    /// Opens, follows, and waits until changes are seen.
    async fn of(paths: Vec<PathBuf>, recursive: bool) -> Followed {
        let witness = Folder::new(&[("witness.yaml", &service("witness", 1))]);
        let paths = paths.into_iter().chain([witness.path("")]).collect();
        let (source, loaded) = FileSource::open(paths, recursive, Keep::Objects).unwrap();
        let Loaded { batch, .. } = loaded;
        let (to, events) = mpsc::channel(4);
        let shutdown = CancellationToken::new();
        let mut files = Followed {
            events,
            problems: source.problems(),
            provenance: source.provenance(),
            shutdown: shutdown.clone(),
            resources: Resources::default(),
            deleted: Vec::new(),
            applied: Vec::new(),
            batches: 0,
            following: tokio::spawn(source.watch(to, shutdown)),
            witness,
        };
        files.take(batch);
        // whatever is written before the first look at everything would be seen by its stamp, not by an event
        files.witness.write("witness.yaml", &service("witness", 2));
        files.until_witness().await;
        files.deleted.clear();
        files.applied.clear();
        files.batches = 0;
        files
    }

    fn take(&mut self, batch: Batch) {
        self.batches += 1;
        for event in batch {
            match &event {
                Event::Apply(object) => self.applied.push(object.key().name),
                Event::Delete(object) => self.deleted.push(object.clone()),
                _ => {}
            }
            self.resources.apply(event, &mut Change::default());
        }
    }

    fn port(&self, name: &str) -> Option<i32> {
        let service = self.resources.services.get(&object(name).key)?;
        Some(service.spec.as_ref()?.ports.as_ref()?[0].port)
    }

    /// `name:port` of every Service.
    fn state(&self) -> String {
        let names = self.resources.services.keys().map(|key| key.name.as_str()).filter(|name| *name != "witness");
        names.map(|name| format!("{name}:{}", self.port(name).unwrap())).collect::<Vec<_>>().join(" ")
    }

    async fn until_witness(&mut self) {
        while self.port("witness") != Some(2) {
            let batch = tokio::time::timeout(DEADLINE, self.events.recv()).await.unwrap().unwrap();
            self.take(batch);
        }
    }

    async fn until(&mut self, state: &str) {
        while self.state() != state {
            let batch = tokio::time::timeout(DEADLINE, self.events.recv()).await;
            let batch = batch.unwrap_or_else(|_| panic!("wanted {state:?}, is {:?}", self.state()));
            self.take(batch.unwrap());
        }
    }

    async fn until_problem(&mut self, file: &str) -> FileProblem {
        let in_file = |problems: &Arc<Vec<FileProblem>>| problems.iter().any(|p| p.problem.file.ends_with(file));
        let problems = tokio::time::timeout(DEADLINE, self.problems.wait_for(in_file)).await.unwrap().unwrap().clone();
        problems.iter().find(|p| p.problem.file.ends_with(file)).unwrap().clone()
    }

    async fn until_no_problem(&mut self) {
        let problems = tokio::time::timeout(DEADLINE, self.problems.wait_for(|p| p.is_empty())).await;
        problems.unwrap().unwrap();
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

fn object(name: &str) -> ObjectRef {
    ObjectRef { kind: Kind::Service, key: ObjectKey::new("shop", name) }
}

fn service(name: &str, port: i32) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\n  namespace: shop\nspec:\n  ports:\n  - port: {port}\n"
    )
}

fn indent(document: &str) -> String {
    document.trim_start_matches("---\n").replace('\n', "\n  ")
}

fn route(number: usize, path: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata:\n  name: r{number}\n  namespace: shop\n\
         spec:\n  parentRefs:\n  - name: g\n  hostnames: [h{number}.test]\n  rules:\n  - matches:\n    - path: {{type: PathPrefix, value: {path}}}\n\
         \x20   backendRefs:\n    - name: s\n      port: 80\n"
    )
}

/// Writes beside a file and moves the result over it, as editors do.
fn rename_over(folder: &Folder, name: &str, port: i32) {
    let beside = folder.path(".4913");
    fs::write(&beside, service("one", port)).unwrap();
    fs::rename(&beside, folder.path(name)).unwrap();
}
