//! Columns that line up.

use anstyle::Style;

use super::style::{HEAD, paint};

/// Which side of its column a cell leans to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Rows of cells under a head, and lines between them that run over all columns.
#[derive(Clone, Debug)]
pub struct Table {
    columns: Vec<Align>,
    lines: Vec<Line>,
}

#[derive(Clone, Debug)]
enum Line {
    Cells(Vec<(Style, String)>),
    Text(String),
}

impl Table {
    /// A table with these columns.
    #[must_use]
    pub fn new<const N: usize>(columns: [(&str, Align); N]) -> Self {
        let head = columns.iter().map(|(title, _align)| (HEAD, (*title).to_owned())).collect();
        Self { columns: columns.map(|(_title, align)| align).to_vec(), lines: vec![Line::Cells(head)] }
    }

    /// Adds a row; cells that are missing at its end are empty.
    pub fn row<const N: usize>(&mut self, cells: [(Style, String); N]) {
        self.lines.push(Line::Cells(cells.to_vec()));
    }

    /// Adds a line that runs over all columns.
    pub fn line(&mut self, text: impl Into<String>) {
        self.lines.push(Line::Text(text.into()));
    }

    /// The table as text: two spaces between columns, none at a line's end.
    #[must_use]
    pub fn render(&self) -> String {
        let mut widths = vec![0; self.columns.len()];
        for line in &self.lines {
            let Line::Cells(cells) = line else { continue };
            for (width, (_style, text)) in widths.iter_mut().zip(cells) {
                *width = text.chars().count().max(*width);
            }
        }
        let mut out = String::new();
        for line in &self.lines {
            match line {
                Line::Text(text) => out.push_str(text),
                Line::Cells(cells) => self.push_cells(&mut out, cells, &widths),
            }
            out.push('\n');
        }
        out
    }

    fn push_cells(&self, out: &mut String, cells: &[(Style, String)], widths: &[usize]) {
        let filled = cells.iter().rposition(|(_style, text)| !text.is_empty()).map_or(0, |last| last + 1);
        for (column, (style, text)) in cells[..filled].iter().enumerate() {
            if column > 0 {
                out.push_str("  ");
            }
            let padding = " ".repeat(widths[column] - text.chars().count());
            match self.columns[column] {
                Align::Right => out.extend([padding, paint(*style, text)]),
                Align::Left if column + 1 == filled => out.push_str(&paint(*style, text)),
                Align::Left => out.extend([paint(*style, text), padding]),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::style::PLAIN;

    #[test]
    fn columns_line_up_and_lines_end_where_they_end() {
        let mut table = Table::new([("name", Align::Left), ("n", Align::Right), ("note", Align::Left)]);
        let plain = |text: &str| (PLAIN, text.to_owned());
        table.row([plain("a"), plain("1,000"), plain("")]);
        table.line("a line longer than all of the columns");
        table.row([plain("longer"), plain("1"), plain("x")]);
        let text = anstream::adapter::strip_str(&table.render()).to_string();
        assert_eq!(
            text,
            "name        n  note\na       1,000\na line longer than all of the columns\nlonger      1  x\n"
        );
    }
}
