//! PURE. What the files say, merged: one object an identity, and what changed since the last look.
//!
//! Readings of files come in ([`Picture::put`]); events, problems and places come out ([`Picture::settle`]). It
//! keeps of each document its identity, its place and a fingerprint, and an object only until it is handed out.
//! It knows no disk, and no clock: whoever calls says what time it is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::api::{Object, ObjectRef};
use crate::source::manifest::{Document, Location, ManifestProblem, Outcome, Severity};
use crate::store::{Batch, Event};

use super::problem::{Cause, FileProblem, Skip, Skipped, SkippedKind};

/// What came of reading a file.
#[derive(Debug)]
pub enum Reading {
    /// Its documents.
    Documents(Vec<Document>),
    /// It is there and cannot be read, and why.
    Unreadable(String),
    /// It is not there.
    Gone,
}

/// What the files say.
#[derive(Debug, Default)]
pub struct Picture {
    files: BTreeMap<Arc<Path>, FileState>,
    claims: BTreeMap<Arc<ObjectRef>, Claim>,
    /// Identities to look at when the picture settles next.
    touched: BTreeSet<Arc<ObjectRef>>,
    /// Identities with more than one claimant.
    disputed: BTreeSet<Arc<ObjectRef>>,
    skipped: Skipped,
}

/// What changed.
#[derive(Debug, Default)]
pub struct Settled {
    /// For the store.
    pub batch: Batch,
    /// Where objects stand now; none, if nowhere any more.
    pub moved: Vec<(Arc<ObjectRef>, Option<Location>)>,
}

/// What is kept of a file.
#[derive(Debug, Default)]
struct FileState {
    slots: Vec<Slot>,
    /// Objects that broken documents name and that never were good.
    hollow: BTreeSet<ObjectRef>,
    problems: Vec<FileProblem>,
}

/// What is kept of a document.
#[derive(Debug)]
struct Slot {
    identity: Arc<ObjectRef>,
    location: Location,
    fingerprint: u64,
    /// Until it is handed out.
    object: Option<Object>,
}

/// Who stands for an identity, and what was handed out for it.
#[derive(Debug, Default)]
struct Claim {
    /// Files and their slots, in path order: the first is used.
    places: BTreeSet<(Arc<Path>, usize)>,
    /// Fingerprint of what was handed out.
    served: Option<u64>,
    gone_since: Option<Instant>,
}

impl Picture {
    /// Takes in what a file says now.
    pub fn put(&mut self, file: &Path, reading: Reading) {
        let (file, mut state) = match self.files.remove_entry(file) {
            Some((file, state)) => (file, state),
            None if matches!(reading, Reading::Gone) => return,
            None => (Arc::from(file), FileState::default()),
        };
        self.disclaim(&file, &state.slots);
        match reading {
            Reading::Gone => return,
            Reading::Unreadable(why) => {
                state.problems = vec![FileProblem::of_file(Cause::Unreadable, &file, why)];
            }
            Reading::Documents(documents) => {
                for (kind, place) in skipped(&documents) {
                    self.skipped.entry(kind).or_insert(place);
                }
                state = state.followed_by(documents);
            }
        }
        for (index, slot) in state.slots.iter().enumerate() {
            let claim = self.claims.entry(Arc::clone(&slot.identity)).or_default();
            claim.places.insert((Arc::clone(&file), index));
            self.touched.insert(Arc::clone(&slot.identity));
        }
        self.files.insert(file, state);
    }

    /// Whether anything of this file is in the picture.
    pub fn holds(&self, file: &Path) -> bool {
        self.files.get(file).is_some_and(|state| !state.slots.is_empty())
    }

    /// Files whose object must be handed out and was handed out before: they must be read (and [`put`](Self::put))
    /// again. So it is when an object comes first that did not, because another went.
    pub fn wanted(&self) -> BTreeSet<Arc<Path>> {
        let mut files = BTreeSet::new();
        for identity in &self.touched {
            if let Some((claim, slot)) = self.claims.get(identity).and_then(|c| Some((c, self.first(c)?)))
                && claim.served != Some(slot.fingerprint)
                && slot.object.is_none()
            {
                files.insert(Arc::clone(&slot.location.file));
            }
        }
        files
    }

    /// What changed since the last time. An object is taken away only when it has been gone for the time of `grace`:
    /// an edit may move it (a rename, delete and recreate, cut and paste between two files), and that must not cost a
    /// request.
    pub fn settle(&mut self, now: Instant, grace: Duration) -> Settled {
        let mut settled = Settled::default();
        for identity in std::mem::take(&mut self.touched) {
            let Some(mut claim) = self.claims.remove(&identity) else { continue };
            if claim.places.len() > 1 {
                self.disputed.insert(Arc::clone(&identity));
            } else {
                self.disputed.remove(&identity);
            }
            if let Some((file, index)) = claim.places.first() {
                claim.gone_since = None;
                if let Some(slot) = self.files.get_mut(file).and_then(|state| state.slots.get_mut(*index)) {
                    // taken in any case: what was handed out once is not kept
                    if let Some(object) = slot.object.take()
                        && claim.served != Some(slot.fingerprint)
                    {
                        claim.served = Some(slot.fingerprint);
                        settled.batch.push(Event::Apply(object));
                    }
                    settled.moved.push((Arc::clone(&identity), Some(slot.location.clone())));
                }
            } else if claim.served.is_none() {
                continue;
            } else if now < *claim.gone_since.get_or_insert(now) + grace {
                self.touched.insert(Arc::clone(&identity));
            } else {
                settled.batch.push(Event::Delete(ObjectRef::clone(&identity)));
                settled.moved.push((identity, None));
                continue;
            }
            self.claims.insert(identity, claim);
        }
        settled
    }

    /// Since when the first of the objects is gone that are not taken away yet.
    pub fn gone_since(&self) -> Option<Instant> {
        self.touched.iter().filter_map(|identity| self.claims.get(identity)?.gone_since).min()
    }

    /// Everything that is wrong, sorted.
    pub fn problems(&self) -> Vec<FileProblem> {
        let mut problems: Vec<FileProblem> = self.files.values().flat_map(|state| &state.problems).cloned().collect();
        for identity in &self.disputed {
            let Some(claim) = self.claims.get(identity) else { continue };
            let Some(first) = self.first(claim) else { continue };
            let others = claim.places.iter().skip(1).filter_map(|place| self.slot(place));
            problems.extend(others.map(|other| duplicate(first, other)));
        }
        problems.sort();
        problems
    }

    /// Kinds that Transom has no use for.
    pub fn skipped(&self) -> &Skipped {
        &self.skipped
    }

    fn first(&self, claim: &Claim) -> Option<&Slot> {
        self.slot(claim.places.first()?)
    }

    fn slot(&self, (file, index): &(Arc<Path>, usize)) -> Option<&Slot> {
        self.files.get(file)?.slots.get(*index)
    }

    fn disclaim(&mut self, file: &Arc<Path>, slots: &[Slot]) {
        for (index, slot) in slots.iter().enumerate() {
            if let Some(claim) = self.claims.get_mut(&slot.identity) {
                claim.places.remove(&(Arc::clone(file), index));
            }
            self.touched.insert(Arc::clone(&slot.identity));
        }
    }
}

impl FileState {
    /// What the file says now, where what it said before stands in for what is broken: a broken document that names
    /// its object keeps that object; one that names none, or a new one, might be any (renamed, say) and keeps every
    /// object that is named no more.
    fn followed_by(self, documents: Vec<Document>) -> FileState {
        let mut before = self.slots;
        let mut now = FileState::default();
        let mut unclear = false;
        for Document { location, outcome, problems, .. } in documents {
            now.problems.extend(problems.into_iter().map(|problem| FileProblem { cause: Cause::Document, problem }));
            match outcome {
                Outcome::Object(object) => now.slots.push(Slot {
                    identity: Arc::new(object.object_ref()),
                    location,
                    fingerprint: object.fingerprint(),
                    object: Some(object),
                }),
                Outcome::Refused { object: Some(identity) } => {
                    if let Some(index) = before.iter().position(|slot| *slot.identity == identity) {
                        now.slots.push(Slot { location, ..before.remove(index) });
                    } else {
                        unclear |= !self.hollow.contains(&identity);
                        now.hollow.insert(identity);
                    }
                }
                Outcome::Refused { object: None } => unclear = true,
                Outcome::NotServed { .. } | Outcome::NotOurs { .. } => {}
            }
        }
        if unclear {
            let named: BTreeSet<Arc<ObjectRef>> = now.slots.iter().map(|slot| Arc::clone(&slot.identity)).collect();
            now.slots.extend(before.into_iter().filter(|slot| !named.contains(&slot.identity)));
        }
        now
    }
}

fn skipped(documents: &[Document]) -> Skipped {
    let mut skipped = Skipped::new();
    for Document { location, outcome, .. } in documents {
        let (why, group, kind) = match outcome {
            Outcome::NotServed { group, kind, .. } => (Skip::NotServed, group, kind),
            Outcome::NotOurs { group, kind } => (Skip::NotOurs, group, kind),
            _ => continue,
        };
        let kind = SkippedKind { why, group: group.clone(), kind: kind.clone() };
        skipped.entry(kind).or_insert_with(|| location.clone());
    }
    skipped
}

fn duplicate(first: &Slot, other: &Slot) -> FileProblem {
    let Location { file, line, .. } = &first.location;
    FileProblem {
        cause: Cause::Duplicate,
        problem: ManifestProblem {
            file: Arc::clone(&other.location.file),
            line: other.location.line,
            subject: other.identity.to_string(),
            object: Some(ObjectRef::clone(&other.identity)),
            field: "metadata.name".to_owned(),
            message: format!("the same object stands at {}:{line}, which is used; this one is not", file.display()),
            severity: Severity::Refused,
        },
    }
}

#[cfg(test)]
mod tests {
    use crate::api::{Kind, ObjectKey};
    use crate::source::manifest::{Keep, parse};

    use super::*;

    const GRACE: Duration = Duration::from_millis(30);

    /// A Service of this name whose one port is `port`; not a number: refused.
    fn service(name: &str, port: &str) -> String {
        format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\nspec: {{ports: [{{port: {port}}}]}}\n"
        )
    }

    fn put(picture: &mut Picture, file: &str, text: &str) {
        let file = Path::new(file);
        picture.put(file, Reading::Documents(parse(file, text.as_bytes(), Keep::Objects)));
    }

    /// What changed once every grace is over: `+name:port` and `-name`.
    fn changes(picture: &mut Picture) -> Vec<String> {
        let now = Instant::now();
        let mut batch = picture.settle(now, GRACE).batch;
        batch.extend(picture.settle(now + GRACE, GRACE).batch);
        let say = |event: Event| match event {
            Event::Apply(Object::Service(s)) => {
                let port = s.spec.unwrap().ports.unwrap()[0].port;
                format!("+{}:{port}", s.metadata.name.unwrap())
            }
            Event::Delete(gone) => format!("-{}", gone.key.name),
            other => panic!("{other:?}"),
        };
        batch.into_iter().map(say).collect()
    }

    fn messages(picture: &Picture) -> Vec<String> {
        picture.problems().into_iter().map(|p| p.problem.to_string()).collect()
    }

    #[test]
    fn only_what_changed_is_an_event() {
        let mut picture = Picture::default();
        put(&mut picture, "a.yaml", &(service("one", "1") + &service("two", "2")));
        assert_eq!(messages(&picture), [""; 0]);
        assert_eq!(changes(&mut picture), ["+one:1", "+two:2"]);
        put(&mut picture, "a.yaml", &(service("two", "3") + &service("one", "1")));
        assert_eq!(changes(&mut picture), ["+two:3"]);
        put(&mut picture, "a.yaml", &service("two", "3"));
        assert_eq!(changes(&mut picture), ["-one"]);
        picture.put(Path::new("a.yaml"), Reading::Gone);
        assert_eq!(changes(&mut picture), ["-two"]);
        assert!(picture.files.is_empty() && picture.claims.is_empty() && picture.touched.is_empty());
    }

    #[test]
    fn an_object_handed_out_is_not_kept() {
        let mut picture = Picture::default();
        for _ in 0..2 {
            put(&mut picture, "a.yaml", &service("one", "1"));
            changes(&mut picture);
            assert!(picture.files.values().flat_map(|f| &f.slots).all(|slot| slot.object.is_none()));
        }
    }

    #[test]
    fn an_object_that_moves_to_another_file_is_never_taken_away() {
        let mut picture = Picture::default();
        put(&mut picture, "a.yaml", &service("one", "1"));
        changes(&mut picture);
        let now = Instant::now();
        picture.put(Path::new("a.yaml"), Reading::Gone);
        assert!(picture.settle(now, GRACE).batch.is_empty());
        assert_eq!(picture.gone_since(), Some(now));
        put(&mut picture, "b.yaml", &service("one", "1"));
        assert_eq!(changes(&mut picture), [""; 0]);
        assert_eq!(picture.gone_since(), None);
    }

    #[test]
    fn a_broken_document_keeps_its_object_and_no_other() {
        let mut picture = Picture::default();
        put(&mut picture, "a.yaml", &(service("one", "1") + &service("two", "2")));
        changes(&mut picture);
        put(&mut picture, "a.yaml", &service("one", "much"));
        assert_eq!(changes(&mut picture), ["-two"]);
        assert_eq!(picture.problems().len(), 1);
        put(&mut picture, "a.yaml", &service("one", "4"));
        assert_eq!(changes(&mut picture), ["+one:4"]);
        assert_eq!(messages(&picture), [""; 0]);
    }

    #[test]
    fn a_document_that_names_nobody_keeps_every_object_of_its_file() {
        let mut picture = Picture::default();
        put(&mut picture, "a.yaml", &(service("one", "1") + &service("two", "2")));
        put(&mut picture, "b.yaml", &service("three", "3"));
        changes(&mut picture);
        put(&mut picture, "a.yaml", &(service("one", "5") + "---\nkind: [\n"));
        picture.put(Path::new("b.yaml"), Reading::Gone);
        assert_eq!(changes(&mut picture), ["+one:5", "-three"]);
        put(&mut picture, "a.yaml", &service("one", "5"));
        assert_eq!(changes(&mut picture), ["-two"]);
    }

    #[test]
    fn a_document_renamed_and_broken_at_once_keeps_its_object() {
        let mut picture = Picture::default();
        put(&mut picture, "a.yaml", &service("one", "1"));
        changes(&mut picture);
        put(&mut picture, "a.yaml", &service("uno", "much"));
        assert_eq!(changes(&mut picture), [""; 0]);
        put(&mut picture, "a.yaml", &service("uno", "1"));
        assert_eq!(changes(&mut picture), ["+uno:1", "-one"]);
    }

    #[test]
    fn what_was_never_good_keeps_nothing_else() {
        let mut picture = Picture::default();
        put(&mut picture, "a.yaml", &(service("one", "1") + &service("two", "much")));
        assert_eq!(changes(&mut picture), ["+one:1"]);
        put(&mut picture, "a.yaml", &service("two", "much"));
        assert_eq!(changes(&mut picture), ["-one"]);
    }

    #[test]
    fn an_unreadable_file_keeps_its_objects() {
        let mut picture = Picture::default();
        put(&mut picture, "a.yaml", &service("one", "1"));
        changes(&mut picture);
        picture.put(Path::new("a.yaml"), Reading::Unreadable("no permission".to_owned()));
        assert_eq!(changes(&mut picture), [""; 0]);
        assert_eq!(messages(&picture), ["a.yaml:1: no permission"]);
    }

    #[test]
    fn of_two_objects_with_one_identity_the_first_in_path_order_is_used() {
        let mut picture = Picture::default();
        put(&mut picture, "b.yaml", &service("one", "2"));
        put(&mut picture, "a.yaml", &("\n".to_owned() + &service("one", "1") + &service("one", "3")));
        assert_eq!(changes(&mut picture), ["+one:1"]);
        let found = messages(&picture);
        assert_eq!(found.len(), 2);
        for (message, place) in found.iter().zip(["a.yaml:8", "b.yaml:2"]) {
            assert!(message.starts_with(place) && message.contains("a.yaml:3"), "{message}");
        }
    }

    #[test]
    fn the_second_takes_over_when_the_first_goes() {
        let mut picture = Picture::default();
        put(&mut picture, "b.yaml", &service("one", "2"));
        assert_eq!(changes(&mut picture), ["+one:2"]);
        put(&mut picture, "a.yaml", &service("one", "1"));
        assert_eq!(changes(&mut picture), ["+one:1"]);
        picture.put(Path::new("a.yaml"), Reading::Gone);
        // what b.yaml holds was handed out before: it is asked for again, and until then what is there stays
        assert_eq!(picture.wanted().into_iter().collect::<Vec<_>>(), [Arc::from(Path::new("b.yaml"))]);
        put(&mut picture, "b.yaml", &service("one", "2"));
        assert_eq!(changes(&mut picture), ["+one:2"]);
        assert_eq!(messages(&picture), [""; 0]);
    }

    #[test]
    fn a_place_is_told_for_every_object_in_use() {
        let mut picture = Picture::default();
        put(&mut picture, "a.yaml", &(service("zero", "1") + &service("one", "1")));
        let one = ObjectRef { kind: Kind::Service, key: ObjectKey::new("shop", "one") };
        let moved = picture.settle(Instant::now(), GRACE).moved;
        let place = moved.into_iter().find(|(object, _)| **object == one).unwrap().1.unwrap();
        assert_eq!((&*place.file, place.line, place.document), (Path::new("a.yaml"), 7, 1));
    }
}
