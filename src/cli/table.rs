//! Columns of text, each as wide as its widest cell.

use super::paint::Paint;

/// Rows under headings.
#[derive(Debug)]
pub struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    #[must_use]
    pub fn new(headings: &[&'static str]) -> Table {
        Table { headings: headings.to_vec(), rows: Vec::new() }
    }

    /// Adds a row, one cell a heading.
    pub fn push(&mut self, row: Vec<String>) {
        self.rows.push(row);
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table without the column of this heading, if nothing stands in it.
    #[must_use]
    pub fn without_empty(mut self, heading: &str) -> Table {
        let Some(at) = self.headings.iter().position(|known| *known == heading) else { return self };
        if self.rows.iter().all(|row| row.get(at).is_none_or(String::is_empty)) {
            self.headings.remove(at);
            for row in self.rows.iter_mut().filter(|row| at < row.len()) {
                row.remove(at);
            }
        }
        self
    }

    /// The table as lines, each indented by `indent` spaces and without spaces at its end.
    #[must_use]
    pub fn render(&self, indent: usize, paint: Paint) -> String {
        let width = |column: usize, heading: &str| {
            let cells = self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
            cells.chain([heading.chars().count()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = self.headings.iter().enumerate().map(|(i, heading)| width(i, heading)).collect();
        let line = |cells: &mut dyn Iterator<Item = &str>| {
            let padded: Vec<String> = cells.zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            format!("{}{}", " ".repeat(indent), padded.join("  ")).trim_end().to_owned()
        };
        let mut text = paint.strong(&line(&mut self.headings.iter().copied()));
        text.push('\n');
        for row in &self.rows {
            text.push_str(&line(&mut row.iter().map(String::as_str)));
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_lines_end_without_spaces() {
        let mut table = Table::new(&["A", "LONG"]);
        table.push(vec!["wide cell".into(), String::new()]);
        table.push(vec!["é".into(), "x".into()]);
        assert_eq!(table.render(1, Paint::Plain), " A          LONG\n wide cell\n é          x\n");
    }

    #[test]
    fn a_column_with_nothing_in_it_is_left_out_on_request() {
        let table = || {
            let mut table = Table::new(&["A", "B", "C"]);
            table.push(vec!["1".into(), String::new(), "3".into()]);
            table
        };
        assert_eq!(table().without_empty("B").render(0, Paint::Plain), "A  C\n1  3\n");
        assert_eq!(table().without_empty("A").render(0, Paint::Plain), "A  B  C\n1     3\n");
    }
}
