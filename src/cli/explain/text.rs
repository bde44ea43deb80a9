//! An explanation for people.

use std::fmt::Write;

use super::answer::Explanation;
use crate::cli::paint::Paint;
use crate::cli::view::{BackendView, PolicyView, percent};
use crate::telemetry::Reason;

impl Explanation {
    /// The explanation as lines of text, from the listener to the answer, then why the others lost.
    #[must_use]
    pub fn text(&self, paint: Paint) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: &str| {
            let _ = writeln!(text, "{}  {value}", paint.strong(&format!("{name:<9}")));
        };
        line("request", &self.asked());
        if let Some(gateway) = &self.gateway {
            line("gateway", gateway);
        }
        if let Some(listener) = self.listener_words.as_ref().or(self.listener.as_ref()) {
            line("listener", listener);
        }
        if let Some(hostname) = &self.hostname {
            line("hostname", hostname);
        }
        if let (Some(route), Some(rule)) = (&self.route, &self.rule) {
            line("route", &route.to_string());
            line("rule", &rule.to_string());
        }
        if let Some(matches) = &self.matches {
            let rest = matches.rest();
            line("match", &format!("{}{}{rest}", matches.path(), if rest.is_empty() { "" } else { ", " }));
            if self.filters.is_empty() {
                line("filters", "none");
            }
        }
        for (index, filter) in self.filters.iter().enumerate() {
            line(if index == 0 { "filters" } else { "" }, &filter.to_string());
        }
        if let Some(timeouts) = &self.timeouts {
            line("timeouts", &timeouts.to_string());
        }
        if let Some(retry) = &self.retry {
            line("retry", &retry.to_string());
        }
        let total: u64 = self.backends.iter().map(|backend| u64::from(backend.weight())).sum();
        for (index, backend) in self.backends.iter().enumerate() {
            let share = percent(backend.weight(), total);
            let name = if index == 0 { "backends" } else { "" };
            line(name, &format!("{share:>5}  {} -> {}", backend.name(""), backend.behind()));
            for more in self.on_the_way(backend) {
                line("", &format!("       {more}"));
            }
        }
        line("answer", &self.answered());
        if let Some(location) = &self.answer.location {
            line("", &format!("location: {location}"));
        }
        for header in &self.answer.headers {
            line("", &header.to_string());
        }
        for note in &self.notes {
            line("note", note);
        }
        if !self.losers.is_empty() {
            text.push('\n');
            text.push_str(&paint.strong("why the others lost"));
            text.push('\n');
            for loser in &self.losers {
                let _ = writeln!(text, "  {} {}: {}", loser.route, loser.rule, loser.why);
            }
        }
        text
    }

    /// What is done for one backend alone, and what it is asked for where that is not what the client asked for.
    fn on_the_way(&self, backend: &BackendView) -> Vec<String> {
        let forwarded = backend.forwarded.as_ref().filter(|forwarded| !self.is_as_asked(forwarded));
        let filters = backend.filters.iter().map(ToString::to_string);
        let policy = backend.policy.iter().flat_map(PolicyView::lines);
        let sees = forwarded.map(|forwarded| format!("sees host {}, path {}", forwarded.host, forwarded.path));
        filters.chain(sees).chain(policy).collect()
    }

    fn answered(&self) -> String {
        match (self.answer.status, self.answer.reason) {
            (None, Reason::None) => "the backend's".to_owned(),
            (None, reason) => format!("none, the connection fails ({reason})"),
            (Some(_), _) => format!("{}, by the gateway itself", self.answer),
        }
    }
}
