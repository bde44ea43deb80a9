//! Follows the files: waits for events of the file system, lets a rush of them pass, and sends what changed.
//!
//! One blocking thread owns all of it. Events name paths; those are read whatever their stamps say. Where events may
//! be lost (an overflow, a file system that has none) every stamp is compared now and then.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use notify::{ErrorKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::store::Batch;

use super::FileSource;
use super::inbox::{Inbox, Mark};
use super::problem::ProblemLog;
use super::tree::{Concern, Look};

/// A change this long after the last one sent is sent at once.
const CALM: Duration = Duration::from_millis(20);
/// While changes rush in, this much quiet ends the rush,
const QUIET: Duration = Duration::from_millis(5);
/// or this much time.
const RUSH: Duration = Duration::from_millis(100);
/// A file that is held open is read when nothing was written to it for this long.
const OPEN_WRITER: Duration = Duration::from_millis(30);
/// How long an object must be gone before it is taken away,
const GRACE: Duration = Duration::from_millis(30);
/// and how long while files are being written: it may be on its way.
const BUSY_GRACE: Duration = Duration::from_secs(1);
/// How often every stamp is compared: not every file system tells what happens (network mounts, shared folders of a
/// virtual machine).
const BACKSTOP: Duration = Duration::from_secs(5);
/// The same where folders cannot be watched.
const POLL: Duration = Duration::from_secs(1);
/// Most listings in a row while folders appear.
const MAX_LISTINGS: usize = 8;

/// Follows until told to stop.
pub async fn run(source: FileSource, events: mpsc::Sender<Batch>, shutdown: CancellationToken) {
    let handle = Handle::current();
    let following = tokio::task::spawn_blocking(move || Follower::new(source, events, shutdown, handle).run());
    if let Err(error) = following.await {
        tracing::error!(%error, "files are no longer watched");
    }
}

struct Follower {
    source: FileSource,
    events: mpsc::Sender<Batch>,
    shutdown: CancellationToken,
    handle: Handle,
    inbox: Arc<Inbox>,
    watcher: Option<RecommendedWatcher>,
    /// Folders watched, by device and inode: a folder that was made anew is not the one watched.
    watched: HashMap<PathBuf, (u64, u64)>,
    /// Whether folders cannot be watched.
    polling: bool,
    /// What happened to paths, by real path, and is not dealt with.
    pending: HashMap<PathBuf, (Mark, Instant)>,
    /// Whether everything must be looked at.
    everything: bool,
    /// When what is pending began and when the last of it came.
    rush: Option<(Instant, Instant)>,
    last_sent: Option<Instant>,
    last_scan: Instant,
    log: ProblemLog,
}

impl Follower {
    fn new(source: FileSource, events: mpsc::Sender<Batch>, shutdown: CancellationToken, handle: Handle) -> Follower {
        let inbox = Arc::new(Inbox::default());
        let to = Arc::clone(&inbox);
        let watcher = notify::recommended_watcher(move |event| to.put(event));
        let watcher = watcher
            .inspect_err(|error| tracing::warn!(%error, "files cannot be watched and are looked at every second"))
            .ok();
        Follower {
            source,
            events,
            shutdown,
            handle,
            inbox,
            polling: watcher.is_none(),
            watcher,
            watched: HashMap::new(),
            pending: HashMap::new(),
            everything: true, // what has changed since the first load, before anything was watched
            rush: None,
            last_sent: None,
            last_scan: Instant::now(),
            log: ProblemLog::default(),
        }
    }

    fn run(mut self) {
        let problems = Arc::clone(&self.source.problems.borrow());
        self.log.update(&problems);
        drop(problems);
        loop {
            self.collect();
            let now = Instant::now();
            let due = self.due(now);
            if due > now {
                if !self.wait(due) {
                    return;
                }
            } else if !self.act(now) {
                return;
            }
        }
    }

    /// Takes the news in.
    fn collect(&mut self) {
        let news = self.inbox.take();
        if let Some(why) = news.lost {
            tracing::warn!(why, "file events were lost, every file is looked at");
            self.everything = true;
        }
        for (path, (mark, at)) in news.marks {
            if self.source.tree.concern(&path) == Concern::Nothing {
                continue; // the neighbours of a given path may be many and busy
            }
            let (begin, last) = self.rush.unwrap_or((at, at));
            self.rush = Some((begin.min(at), last.max(at)));
            self.pending.insert(path, (mark, at));
        }
    }

    /// When there is something to do.
    fn due(&self, now: Instant) -> Instant {
        let ready = self.pending.values().map(|(mark, at)| match mark {
            Mark::Complete => *at,
            Mark::Writing => *at + OPEN_WRITER,
        });
        let ready = ready.chain(self.everything.then_some(now)).min();
        let is_calm = self.last_sent.is_none_or(|sent| now >= sent + CALM);
        let change = match (ready, self.rush) {
            (Some(at), Some((begin, last))) if !is_calm => Some(at.max((last + QUIET).min(begin + RUSH))),
            (at, _) => at,
        };
        let scan = self.last_scan + interval(self.polling);
        let burial = self.source.tree.picture.gone_since().map(|since| since + self.grace());
        [change, burial].into_iter().flatten().fold(scan, Instant::min)
    }

    fn grace(&self) -> Duration {
        let calm = self.pending.is_empty() && !self.source.tree.blanked_within(BUSY_GRACE);
        if calm { GRACE } else { BUSY_GRACE }
    }

    /// Waits for that or for news. Answers whether to go on.
    fn wait(&self, until: Instant) -> bool {
        let shutdown = &self.shutdown;
        self.handle.block_on(async {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => false,
                () = self.events.closed() => false,
                () = self.inbox.arrived() => true,
                () = tokio::time::sleep_until(until.into()) => true,
            }
        })
    }

    /// Reads what changed and sends it. Answers whether to go on.
    fn act(&mut self, now: Instant) -> bool {
        let tree = &mut self.source.tree;
        let mut everything = std::mem::take(&mut self.everything) || now >= self.last_scan + interval(self.polling);
        let is_ready = |(mark, at): &mut (Mark, Instant)| *mark == Mark::Complete || now >= *at + OPEN_WRITER;
        for (path, (mark, _)) in self.pending.extract_if(|_, pending| is_ready(pending)) {
            let look = if mark == Mark::Complete { Look::Complete } else { Look::Writing };
            match tree.concern(&path) {
                Concern::Files(files) => {
                    for file in files {
                        everything |= tree.read_file(&file, look);
                    }
                }
                Concern::Everything => everything = true,
                Concern::Nothing => {}
            }
        }
        let left = self.pending.values().map(|(_, at)| *at);
        self.rush = left.clone().min().zip(left.max());
        if everything {
            self.look_at_everything();
        }
        self.publish()
    }

    /// Compares every stamp. What is being written is left for when it is complete.
    fn look_at_everything(&mut self) {
        // a folder may have filled before it was watched: list again after watching it
        for _ in 0..MAX_LISTINGS {
            let folders = self.source.tree.list().watched();
            if !self.watch_folders(&folders) {
                break;
            }
        }
        let tree = &mut self.source.tree;
        let written = self.pending.keys().filter_map(|path| match tree.concern(path) {
            Concern::Files(files) => Some(files),
            Concern::Everything | Concern::Nothing => None,
        });
        let busy: HashSet<PathBuf> = written.flatten().collect();
        tree.read_changed(&busy);
        self.last_scan = Instant::now();
    }

    /// Watches these folders and no others. Answers whether one is newly watched.
    fn watch_folders(&mut self, folders: &BTreeSet<PathBuf>) -> bool {
        let Some(watcher) = &mut self.watcher else { return false };
        self.watched.retain(|folder, identity| {
            let stays = folders.contains(folder) && identity_of(folder) == Some(*identity);
            if !stays {
                let _ = watcher.unwatch(folder); // it may be gone, and its watch with it
            }
            stays
        });
        let mut failure = None;
        let before = self.watched.len();
        for folder in folders {
            let Some(identity) = identity_of(folder).filter(|_| !self.watched.contains_key(folder)) else { continue };
            match watcher.watch(folder, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.watched.insert(folder.clone(), identity);
                }
                Err(error) if matches!(error.kind, ErrorKind::PathNotFound | ErrorKind::WatchNotFound) => {}
                Err(error) => failure = Some(error),
            }
        }
        if let Some(error) = failure.as_ref().filter(|_| !self.polling) {
            tracing::warn!(%error, "a folder cannot be watched, files are looked at every second");
        }
        self.polling = failure.is_some();
        self.watched.len() > before
    }

    /// Sends what changed, tells what is wrong. Answers whether to go on.
    fn publish(&mut self) -> bool {
        let grace = self.grace();
        let FileSource { tree, problems, provenance } = &mut self.source;
        tree.read_wanted();
        let settled = tree.picture.settle(Instant::now(), grace);
        provenance.update(settled.moved);
        let wrong = tree.problems();
        if **problems.borrow() != wrong {
            self.log.update(&wrong);
            problems.send_replace(Arc::new(wrong));
        }
        self.log.note_skipped(tree.picture.skipped());
        if settled.batch.is_empty() {
            return true;
        }
        let sent = self.handle.block_on(async {
            tokio::select! {
                biased;
                () = self.shutdown.cancelled() => false,
                sent = self.events.send(settled.batch) => sent.is_ok(),
            }
        });
        self.last_sent = Some(Instant::now());
        sent
    }
}

fn interval(polling: bool) -> Duration {
    if polling { POLL } else { BACKSTOP }
}

fn identity_of(folder: &Path) -> Option<(u64, u64)> {
    let metadata = fs::metadata(folder).ok().filter(fs::Metadata::is_dir)?;
    Some((metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use notify::event::{Event, EventKind, Flag};

    use crate::source::manifest::Keep;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(20);

    fn service(port: u16) -> String {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: s, namespace: shop}}\nspec: {{ports: [{{port: {port}}}]}}\n"
        )
    }

    /// A follower without a watcher, and what it sends.
    fn blind(folder: &Path) -> (Follower, mpsc::Receiver<Batch>) {
        let (source, _) = FileSource::open(vec![folder.to_path_buf()], false, Keep::Objects).unwrap();
        let (to, events) = mpsc::channel(1);
        let mut follower = Follower::new(source, to, CancellationToken::new(), Handle::current());
        follower.watcher = None;
        (follower, events)
    }

    #[tokio::test]
    async fn where_nothing_can_be_watched_files_are_looked_at_every_second() {
        let folder = tempfile::tempdir().unwrap();
        let (mut follower, mut events) = blind(folder.path());
        follower.polling = true;
        let following = tokio::task::spawn_blocking(move || follower.run());
        for port in 1..3 {
            fs::write(folder.path().join("a.yaml"), service(port)).unwrap();
            let batch = tokio::time::timeout(DEADLINE, events.recv()).await.unwrap().unwrap();
            assert_eq!(batch.len(), 1);
        }
        drop(events);
        tokio::time::timeout(DEADLINE, following).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn lost_events_make_every_file_be_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let (mut follower, mut events) = blind(folder.path());
        follower.look_at_everything();
        follower.everything = false;
        fs::write(folder.path().join("a.yaml"), service(1)).unwrap();
        follower.inbox.put(Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan)));
        follower.collect();
        let now = Instant::now();
        assert!(follower.due(now) <= now);
        tokio::task::spawn_blocking(move || assert!(follower.act(now))).await.unwrap();
        assert_eq!(events.recv().await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_change_waits_only_while_others_rush_in() {
        let folder = tempfile::tempdir().unwrap();
        let (mut follower, _events) = blind(folder.path());
        follower.everything = false;
        let now = Instant::now();
        let at = |milliseconds| now + Duration::from_millis(milliseconds);
        follower.pending.insert(folder.path().join("a.yaml"), (Mark::Complete, now));
        follower.rush = Some((now, now));
        assert_eq!(follower.due(now), now);
        follower.last_sent = Some(now);
        assert_eq!(follower.due(at(1)), now + QUIET);
        follower.rush = Some((now, at(99)));
        follower.last_sent = Some(at(90));
        assert_eq!(follower.due(at(99)), now + RUSH);
        follower.pending.insert(folder.path().join("a.yaml"), (Mark::Writing, at(99)));
        assert_eq!(follower.due(at(150)), at(99) + OPEN_WRITER);
    }
}
