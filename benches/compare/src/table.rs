//! Aligned tables, as text or as Markdown.

/// A heading and lines of as many cells each.
pub struct Table {
    lines: Vec<Vec<String>>,
}

impl Table {
    pub fn new<S: Into<String>>(heading: impl IntoIterator<Item = S>) -> Self {
        Self { lines: vec![heading.into_iter().map(Into::into).collect()] }
    }

    pub fn line<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.lines.push(cells.into_iter().map(Into::into).collect());
    }

    /// The first column to the left, numbers to the right.
    pub fn text(&self) -> String {
        self.render("  ", "  ", "")
    }

    pub fn markdown(&self) -> String {
        self.render("| ", " | ", " |")
    }

    fn render(&self, before: &str, between: &str, after: &str) -> String {
        let mut out = String::new();
        let columns = self.lines[0].len();
        let width = |column: usize| {
            self.lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0).max(3)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for (number, line) in self.lines.iter().enumerate() {
            let cells: Vec<String> =
                line.iter().enumerate().map(|(at, cell)| pad(cell, widths[at], at > 0)).collect();
            let line = format!("{before}{}{after}", cells.join(between));
            out += line.trim_end();
            out.push('\n');
            if number == 0 && !after.is_empty() {
                let rules = widths.iter().enumerate().map(|(at, &width)| match at {
                    0 => "-".repeat(width),
                    _ => format!("{}:", "-".repeat(width - 1)),
                });
                out += &format!("| {} |\n", rules.collect::<Vec<_>>().join(" | "));
            }
        }
        out
    }
}

fn pad(cell: &str, width: usize, right: bool) -> String {
    if right { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
}

#[cfg(test)]
mod tests {
    use super::Table;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(["peer", "rate"]);
        table.line(["a", "10.25"]);
        table.line(["bc", "†1"]);
        assert_eq!(table.text(), "  peer   rate\n  a     10.25\n  bc       †1\n");
        assert_eq!(
            table.markdown(),
            "| peer |  rate |\n| ---- | ----: |\n| a    | 10.25 |\n| bc   |    †1 |\n"
        );
    }
}
