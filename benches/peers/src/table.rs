//! The figures of one workload, and their face as a Markdown table. It never knows how they came about.

use crate::samples::Samples;
use crate::steadiness::Measured;
use std::fmt;

/// Figures of all candidates in one workload, or in a part of it.
pub(crate) struct Table {
    /// By what goals and files name it.
    pub(crate) id: String,
    pub(crate) title: String,
    /// What a figure counts, and which is the better one.
    pub(crate) unit: &'static str,
    pub(crate) better: Better,
    pub(crate) rounds: usize,
    /// What each figure of a row is.
    pub(crate) columns: Vec<String>,
    /// The column to look at first.
    pub(crate) lead: usize,
    pub(crate) rows: Vec<Row>,
    /// The share of each measurement's time in which it had no core.
    pub(crate) waited: Samples,
    /// Whether the rows are compared with [`OURS`](crate::entrants::OURS).
    pub(crate) compared: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Better {
    More,
    Less,
}

impl Better {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::More => "more",
            Self::Less => "less",
        }
    }
}

pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) figures: Vec<Samples>,
}

impl Table {
    /// Whoever makes it sets what else there is to say.
    pub(crate) fn new(
        id: impl Into<String>,
        title: String,
        (unit, better): (&'static str, Better),
        columns: Vec<String>,
        names: impl Iterator<Item = impl Into<String>>,
    ) -> Self {
        let figures = vec![Samples::default(); columns.len()];
        let rows = names.map(|name| Row { name: name.into(), figures: figures.clone() }).collect();
        Self {
            id: id.into(),
            title,
            unit,
            better,
            rounds: 0,
            columns,
            lead: 0,
            rows,
            waited: Samples::default(),
            compared: true,
        }
    }

    /// Takes up what was measured of one candidate, from one column on.
    pub(crate) fn push(&mut self, row: usize, column: usize, measured: &Measured) {
        self.waited.push(measured.waited);
        for (samples, figure) in self.rows[row].figures[column..].iter_mut().zip(&measured.figures) {
            samples.push(*figure);
        }
        self.rounds = self.rounds.max(self.rows[row].figures[column].rounds().len());
    }

    /// The figures of one candidate in one column.
    pub(crate) fn figures(&self, name: &str, column: &str) -> Option<&Samples> {
        let column = self.columns.iter().position(|title| title == column)?;
        self.rows.iter().find(|row| row.name == name)?.figures.get(column)
    }

    /// The row that the others are compared with.
    fn reference(&self) -> Option<&Row> {
        self.rows.iter().find(|row| self.compared && row.name == crate::entrants::OURS)
    }

    fn write_head(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "### {}: {}\n\n{}, {} is better; median of {} rounds (least to most).\n",
            self.id,
            self.title,
            self.unit,
            self.better.word(),
            self.rounds
        )?;
        write!(f, "| |")?;
        for column in &self.columns {
            write!(f, " {column} |")?;
        }
        if let Some(reference) = self.reference() {
            for column in &self.columns {
                write!(f, " {} / it, {column} |", reference.name)?;
            }
        }
        let columns = self.columns.len() * (1 + usize::from(self.reference().is_some()));
        writeln!(f, "\n|---|{}", "---:|".repeat(columns))
    }

    fn write_row(&self, row: &Row, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "| {} |", row.name)?;
        for figures in &row.figures {
            write!(f, " {} |", Spread(figures))?;
        }
        if let Some(reference) = self.reference() {
            for (ours, its) in reference.figures.iter().zip(&row.figures) {
                if reference.name == row.name {
                    write!(f, " |")?;
                } else {
                    write!(f, " **{}** |", Figure(ours.over(its).median()))?;
                }
            }
        }
        writeln!(f)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_head(f)?;
        for row in &self.rows {
            self.write_row(row, f)?;
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
        let (median, min, max) = (samples.median(), samples.min(), samples.max());
        if samples.is_empty() || min.is_infinite() || samples.rounds().len() == 1 {
            return write!(f, "{}", Figure(median));
        }
        write!(f, "{} ({} to {})", Figure(median), Figure(min), Figure(max))
    }
}

/// Three significant digits, or the whole number if it has more.
pub(crate) struct Figure(pub(crate) f64);

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = match self.0.abs() {
            figure if figure.is_nan() => return f.write_str("-"),
            figure if figure.is_infinite() => {
                return write!(f, "not in {} s", crate::expiry::PATIENCE.as_secs());
            }
            figure if figure < 10.0 => 2,
            figure if figure < 100.0 => 1,
            _ => 0,
        };
        write!(f, "{:.decimals$}", self.0)
    }
}
