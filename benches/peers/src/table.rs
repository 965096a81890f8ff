//! The figures of one workload, and their face as a Markdown table. It never knows how they came about.

use crate::samples::Samples;
use crate::steadiness::Measured;
use std::fmt;

/// Figures of all candidates in one workload.
pub(crate) struct Table {
    /// The name of the workload.
    pub(crate) workload: &'static str,
    pub(crate) title: String,
    /// What each figure of a row is.
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<Row>,
    /// The share of each measurement's time in which it had no core.
    pub(crate) waited: Samples,
    /// The row that all others are compared with.
    pub(crate) reference: &'static str,
}

pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) figures: Vec<Samples>,
}

impl Table {
    pub(crate) fn new(
        workload: &'static str,
        title: String,
        columns: Vec<String>,
        names: impl Iterator<Item = &'static str>,
    ) -> Self {
        let rows = names.map(|name| Row { name, figures: vec![Samples::default(); columns.len()] }).collect();
        Self { workload, title, columns, rows, waited: Samples::default(), reference: crate::entrants::OURS }
    }

    /// Takes up what was measured of one candidate, from one column on.
    pub(crate) fn push(&mut self, row: usize, column: usize, measured: &Measured) {
        self.waited.push(measured.waited);
        for (samples, figure) in self.rows[row].figures[column..].iter_mut().zip(&measured.figures) {
            samples.push(*figure);
        }
    }

    /// The figures of one candidate in one column.
    pub(crate) fn figures(&self, name: &str, column: &str) -> Option<&Samples> {
        let column = self.columns.iter().position(|title| title == column)?;
        self.rows.iter().find(|row| row.name == name)?.figures.get(column)
    }

    fn reference(&self) -> Option<&Row> {
        self.rows.iter().find(|row| row.name == self.reference)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "### {}: {}\n", self.workload, self.title)?;
        let reference = self.reference();
        write!(f, "| |")?;
        for column in &self.columns {
            write!(f, " {column} |")?;
        }
        if let Some(reference) = reference {
            for column in &self.columns {
                write!(f, " {} / it, {column} |", reference.name)?;
            }
        }
        let columns = self.columns.len() * (1 + usize::from(reference.is_some()));
        writeln!(f, "\n|---|{}", "---:|".repeat(columns))?;
        for row in &self.rows {
            write!(f, "| {} |", row.name)?;
            for figures in &row.figures {
                write!(f, " {} |", Spread(figures))?;
            }
            for (ours, its) in
                reference.iter().flat_map(|reference| reference.figures.iter().zip(&row.figures))
            {
                if reference.is_some_and(|reference| reference.name == row.name) {
                    write!(f, " |")?;
                } else {
                    write!(f, " **{}** |", Figure(ours.over(its).median()))?;
                }
            }
            writeln!(f)?;
        }
        if self.waited.max() <= 0.0 {
            // Nothing was disturbed, or this system does not tell, or memory was measured.
            return Ok(());
        }
        let percent = |share: f64| share * 100.0;
        writeln!(
            f,
            "\nThreads had to wait for a core {:.1} % of the time (median of all measurements), {:.1} % in the worst.",
            percent(self.waited.median()),
            percent(self.waited.max())
        )
    }
}

/// A median with the smallest and the largest of its rounds.
pub(crate) struct Spread<'a>(pub(crate) &'a Samples);

impl fmt::Display for Spread<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(samples) = self;
        write!(f, "{} ({} to {})", Figure(samples.median()), Figure(samples.min()), Figure(samples.max()))
    }
}

/// Three significant digits, or the whole number if it has more.
pub(crate) struct Figure(pub(crate) f64);

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = match self.0.abs() {
            figure if figure.is_nan() => return f.write_str("-"),
            figure if figure < 10.0 => 2,
            figure if figure < 100.0 => 1,
            _ => 0,
        };
        write!(f, "{:.decimals$}", self.0)
    }
}
