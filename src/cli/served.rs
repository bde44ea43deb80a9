//! What a person reads when `transom run` is ready: what is served, where, and lines to try it with.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;

use super::paint::Paint;
use super::routes::{Row, rows};
use super::table::Table;
use super::{Sources, curl, view};
use crate::quickstart;
use crate::snapshot::{BindProtocol, Snapshot};

/// Most rows of the table of routes, and most lines to try.
const MOST_ROUTES: usize = 40;
const MOST_LINES: usize = 20;

/// All that is told once the first snapshot is served.
#[derive(Debug)]
pub struct Announcement<'a> {
    /// What is served.
    pub snapshot: &'a Snapshot,
    /// What is wrong with the objects, each line with its file and line.
    pub problems: &'a [String],
    /// Where the admin server listens.
    pub admin: SocketAddr,
    /// Where the objects come from.
    pub sources: &'a Sources,
}

impl Announcement<'_> {
    /// The text for standard output, in colour if that is a terminal.
    #[must_use]
    pub fn render(&self) -> String {
        self.text(Paint::for_stdout())
    }

    fn text(&self, paint: Paint) -> String {
        let mut parts = vec![self.listeners(paint)];
        let rows = merged(&rows(self.snapshot));
        if !rows.is_empty() {
            parts.push(routes(&rows, paint));
        }
        if !self.problems.is_empty() {
            parts.push(self.told(paint));
        }
        let lines = curl::lines(self.snapshot);
        if !lines.is_empty() {
            parts.push(list(&paint.strong("Try"), &lines, MOST_LINES, "lines"));
        }
        parts.push(self.next_steps(paint));
        format!("\n{}\n", parts.join("\n"))
    }

    fn listeners(&self, paint: Paint) -> String {
        let mut table = Table::new(&["GATEWAY", "LISTENER", "ADDRESS", "PROTOCOL", "HOSTNAME", "ROUTES"]);
        for (address, bind) in &self.snapshot.binds {
            for listener in &bind.listeners {
                let mut bound = view::address(*address);
                if address.port() != listener.port {
                    let _ = write!(bound, " (port {})", listener.port);
                }
                table.push(vec![
                    format!("{}/{}", listener.id.namespace, listener.id.gateway),
                    listener.id.listener.clone(),
                    bound,
                    match bind.protocol {
                        BindProtocol::Http => "HTTP".to_owned(),
                        BindProtocol::Https => "HTTPS".to_owned(),
                    },
                    listener.hostname.as_ref().map_or_else(|| "*".to_owned(), ToString::to_string),
                    self.count(listener).to_string(),
                ]);
            }
        }
        if table.is_empty() {
            return "Nothing is served: no listener of a Gateway is in order.\n".to_owned();
        }
        table.render(0, paint)
    }

    /// How many routes a listener has; each counts once, however many rules it has.
    fn count(&self, listener: &crate::snapshot::Listener) -> usize {
        let routes = listener.routes.entries().filter_map(|entry| self.snapshot.rule(entry.value));
        routes.map(|rule| &rule.route).collect::<std::collections::BTreeSet<_>>().len()
    }

    fn told(&self, paint: Paint) -> String {
        list(&paint.bad("Problems"), self.problems, usize::MAX, "problems")
    }

    fn next_steps(&self, paint: Paint) -> String {
        let admin = self.admin;
        let edit = match self.sources {
            Sources::QuickStart => {
                let name = quickstart::MANIFEST_NAME;
                format!("To edit it:  transom run --write-quickstart {name} && transom run -f {name}")
            }
            Sources::Files { .. } => "Files are watched: save an edit, and it is live.".to_owned(),
            Sources::Kubernetes(_) => "The cluster is watched: apply a change, and it is live.".to_owned(),
        };
        let facts = format!("Admin:       http://{admin}/metrics  http://{admin}/config  http://{admin}/readyz");
        format!("{}\n{}\nCtrl-C ends it.\n", paint.faint(&edit), paint.faint(&facts))
    }
}

/// A row, and the listeners of its Gateway that have it.
struct Merged {
    row: Row,
    listeners: Vec<String>,
}

/// Rows that are the same on several listeners of a Gateway become one.
fn merged(rows: &[Row]) -> Vec<Merged> {
    let mut at: BTreeMap<String, usize> = BTreeMap::new();
    let mut merged: Vec<Merged> = Vec::new();
    for row in rows {
        let same = format!(
            "{} {} {} {} {} {}",
            row.gateway,
            row.hostname,
            row.matches.path(),
            row.matches.rest(),
            row.route,
            row.rule
        );
        match at.get(&same).and_then(|index| merged.get_mut(*index)) {
            Some(known) if !known.listeners.contains(&row.listener) => known.listeners.push(row.listener.clone()),
            _ => {
                at.insert(same, merged.len());
                merged.push(Merged { row: row.clone(), listeners: vec![row.listener.clone()] });
            }
        }
    }
    merged
}

fn routes(rows: &[Merged], paint: Paint) -> String {
    let mut table = Table::new(&["HOST", "PATH", "MATCH", "LISTENERS", "ROUTE", "FILTERS", "BACKENDS"]);
    for Merged { row, listeners } in rows.iter().take(MOST_ROUTES) {
        table.push(vec![
            row.hostname.clone(),
            row.matches.path(),
            row.matches.rest(),
            listeners.join(", "),
            format!("{} {}", row.route, row.rule),
            row.filters_cell.clone(),
            row.backends_cell.clone(),
        ]);
    }
    let mut text = table.without_empty("FILTERS").render(0, paint);
    if rows.len() > MOST_ROUTES {
        let _ = writeln!(text, "… and {} more: transom routes -f …", rows.len() - MOST_ROUTES);
    }
    text
}

fn list(heading: &str, lines: &[String], most: usize, what: &str) -> String {
    let mut text = format!("{heading}\n");
    for line in lines.iter().take(most) {
        let _ = writeln!(text, "  {line}");
    }
    if lines.len() > most {
        let _ = writeln!(text, "  … and {} more {what}", lines.len() - most);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fixture;

    fn told(snapshot: &Snapshot, problems: &[String], sources: &Sources) -> String {
        let admin = "127.0.0.1:15000".parse().unwrap();
        Announcement { snapshot, problems, admin, sources }.text(Paint::Plain)
    }

    #[test]
    fn the_quick_start_is_told_listener_by_listener_and_route_by_route() {
        let translation = fixture::quickstart();
        let text = told(&translation.snapshot, &[], &Sources::QuickStart);
        println!("{text}");
        assert!(!text.contains('\x1b'));
        for line in [
            "GATEWAY             LISTENER  ADDRESS  PROTOCOL  HOSTNAME  ROUTES",
            "default/quickstart  http      *:8080   HTTP      *         5",
            "default/quickstart  https     *:8443   HTTPS     *         6",
        ] {
            assert!(text.contains(line), "{line}");
        }
        assert!(text.contains("shop-v1:80 90%, shop-v2:80 10%"));
        assert!(text.contains("http, https"));
    }

    #[test]
    fn problems_are_told_with_their_places_and_nothing_served_is_said() {
        let problems = ["a.yaml:3: problem: Gateway default/g: no class".to_owned()];
        let sources = Sources::Files { paths: vec!["a.yaml".into()], recursive: false };
        let text = told(&Snapshot::default(), &problems, &sources);
        assert!(text.contains("Nothing is served"));
        assert!(text.contains("  a.yaml:3: problem: Gateway default/g: no class\n"));
    }

    #[test]
    fn an_offset_port_is_told_beside_the_listeners_own() {
        let translation = fixture::translate(&quickstart::manifest_text().replace("port: 8080", "port: 80"), 8000);
        let text = told(&translation.snapshot, &[], &Sources::QuickStart);
        assert!(text.contains("*:8080 (port 80)"), "{text}");
    }
}
