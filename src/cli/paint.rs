//! Colour, where a person looks and has not asked to be spared it.

use std::io::IsTerminal;

/// Puts colour on words, or leaves them as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    /// Escape sequences are written.
    Colour,
    /// Only the words are.
    Plain,
}

impl Paint {
    /// Colour only if standard output is a terminal that shows it and `NO_COLOR` is unset or empty (no-color.org).
    #[must_use]
    pub fn for_stdout() -> Paint {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        if std::io::stdout().is_terminal() && !refused && !dumb { Paint::Colour } else { Paint::Plain }
    }

    /// A heading.
    #[must_use]
    pub fn strong(self, text: &str) -> String {
        self.wrap("1", text)
    }

    /// What is wrong.
    #[must_use]
    pub fn bad(self, text: &str) -> String {
        self.wrap("1;31", text)
    }

    /// What is worth knowing.
    #[must_use]
    pub fn note(self, text: &str) -> String {
        self.wrap("36", text)
    }

    /// What may be overlooked.
    #[must_use]
    pub fn faint(self, text: &str) -> String {
        self.wrap("2", text)
    }

    fn wrap(self, code: &str, text: &str) -> String {
        match self {
            Paint::Colour => format!("\x1b[{code}m{text}\x1b[0m"),
            Paint::Plain => text.to_owned(),
        }
    }
}
