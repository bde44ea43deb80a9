//! What the system says has happened to files, gathered until somebody looks.
//!
//! The watcher's thread puts events in, whoever follows the files takes them out. Bounded: however much happens, one
//! mark a path is kept, and past [`MAX_MARKS`] only that everything must be looked at.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind, RenameMode};
use notify::{Event, EventKind};
use tokio::sync::Notify;

/// Most paths kept apart.
const MAX_MARKS: usize = 10_000;

/// Gathers events.
#[derive(Debug, Default)]
pub struct Inbox {
    news: Mutex<News>,
    arrived: Notify,
}

/// What has happened since the last look.
#[derive(Debug, Default)]
pub struct News {
    /// What happened last to a path, and when.
    pub marks: HashMap<PathBuf, (Mark, Instant)>,
    /// Events were lost, and why: everything must be looked at.
    pub lost: Option<String>,
}

/// What happened last to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// Somebody writes to it and has not closed it yet.
    Writing,
    /// It was closed, moved, removed, or its metadata changed.
    Complete,
}

impl Inbox {
    /// Takes in what the watcher says.
    pub fn put(&self, event: notify::Result<Event>) {
        let mut news = self.lock();
        match event {
            Ok(event) if event.need_rescan() => news.lost = Some("more happened than the system could tell".to_owned()),
            Ok(event) => {
                let Some(mark) = mark_of(event.kind) else { return };
                for path in event.paths {
                    news.mark(path, mark, event.kind);
                }
            }
            Err(error) => news.lost = Some(error.to_string()),
        }
        drop(news);
        self.arrived.notify_one();
    }

    /// What has happened since the last call.
    pub fn take(&self) -> News {
        std::mem::take(&mut *self.lock())
    }

    /// Waits until something has happened.
    pub async fn arrived(&self) {
        self.arrived.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, News> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl News {
    fn mark(&mut self, path: PathBuf, mark: Mark, kind: EventKind) {
        if self.marks.len() >= MAX_MARKS {
            self.marks.clear();
            self.lost = Some(format!("more than {MAX_MARKS} files changed"));
        }
        let metadata_only = matches!(kind, EventKind::Modify(ModifyKind::Metadata(_)));
        if metadata_only && self.marks.get(&path).is_some_and(|(before, _)| *before == Mark::Writing) {
            return;
        }
        self.marks.insert(path, (mark, Instant::now()));
    }
}

fn mark_of(kind: EventKind) -> Option<Mark> {
    match kind {
        // whoever creates a file writes it next; a link has no close to wait for, and is looked at when nothing follows
        EventKind::Create(CreateKind::File | CreateKind::Any | CreateKind::Other)
        | EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Any | ModifyKind::Other) => Some(Mark::Writing),
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => Some(Mark::Complete),
        // reading changes nothing, and of a rename both halves were told before
        EventKind::Access(_) | EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => None,
        EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_) | EventKind::Any | EventKind::Other => {
            Some(Mark::Complete)
        }
    }
}
