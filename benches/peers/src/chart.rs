//! A table's face as a picture: horizontal bars in SVG, one group for each candidate, the best first, ours
//! in a colour of its own. It never knows what is shown.
//!
//! Written by hand: the charting crates that would do (plotters is the light one) leave grouped bars, the
//! values at their ends and a layout for long names to their users, which is all there is to it.

use crate::entrants::OURS;
use crate::samples::Samples;
use crate::table::{Better, Figure, Row, Table};
use std::fmt::Write;

const WIDTH: f64 = 860.0;
/// Where the bars begin and end.
const LEFT: f64 = 190.0;
const RIGHT: f64 = WIDTH - 100.0;
const TOP: f64 = 84.0;
/// Below the bars: the axis, its labels and its title.
const BOTTOM: f64 = 52.0;
const GAP: f64 = 9.0;

/// Light and dark ends of the shades of a row's bars: of others, and of ours.
const OTHERS: [[f64; 3]; 2] = [[182.0, 192.0, 204.0], [84.0, 98.0, 117.0]];
const OUR: [[f64; 3]; 2] = [[255.0, 181.0, 112.0], [217.0, 72.0, 15.0]];

/// Figures that differ by more get a logarithmic axis.
const LINEAR_UP_TO: f64 = 20.0;

/// The whole picture.
pub(crate) fn svg(table: &Table) -> String {
    let rows = ordered(table);
    let axis = Axis::of(table);
    let bar = if table.columns.len() > 2 { 11.0 } else { 13.0 };
    let group = bar * table.columns.len() as f64;
    let bottom = TOP + rows.len() as f64 * (group + GAP) + GAP;
    let height = bottom + BOTTOM;
    let mut out = String::new();
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" font-family=\"system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif\" \
         font-size=\"12\" fill=\"#1f2328\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" rx=\"8\" fill=\"#ffffff\"/>"
    );
    text(&mut out, 20.0, 28.0, "font-size=\"16\" font-weight=\"600\"", &capital(&table.title));
    legend(&mut out, table);
    axis.draw(&mut out, table, bottom);
    let mut y = TOP + GAP;
    for row in rows {
        let ours = is_ours(row);
        let weight = if ours { "text-anchor=\"end\" font-weight=\"700\"" } else { "text-anchor=\"end\"" };
        text(&mut out, LEFT - 10.0, y + group / 2.0 + 4.0, weight, &row.name);
        for (column, samples) in row.figures.iter().enumerate() {
            let colour = shade(ours, column, table.columns.len());
            axis.bar(&mut out, y + column as f64 * bar, bar, &colour, samples);
        }
        y += group + GAP;
    }
    out.push_str("</svg>\n");
    out
}

/// The rows, the best first; what was not reached last. Where they are not compared with each other, as
/// they come.
fn ordered(table: &Table) -> Vec<&Row> {
    let mut rows: Vec<&Row> =
        table.rows.iter().filter(|row| row.figures.iter().any(|f| !f.is_empty())).collect();
    let lead = |row: &Row| match (row.figures[table.lead].median(), table.better) {
        (figure, _) if figure.is_nan() => f64::INFINITY,
        (figure, Better::More) => -figure,
        (figure, Better::Less) => figure,
    };
    if table.compared {
        rows.sort_by(|a, b| lead(a).total_cmp(&lead(b)));
    }
    rows
}

fn is_ours(row: &Row) -> bool {
    row.name.starts_with(OURS)
}

/// One square in each of the two colours for each column.
fn legend(out: &mut String, table: &Table) {
    let mut x = 20.0;
    for (column, name) in table.columns.iter().enumerate() {
        for ours in [true, false] {
            let colour = shade(ours, column, table.columns.len());
            let _ = writeln!(
                out,
                "<rect x=\"{x}\" y=\"47\" width=\"12\" height=\"12\" rx=\"2\" fill=\"{colour}\"/>"
            );
            x += 14.0;
        }
        text(out, x + 4.0, 57.0, "", name);
        x += 24.0 + 7.0 * name.chars().count() as f64;
    }
    text(
        out,
        x,
        57.0,
        "fill=\"#57606a\"",
        &format!("(orange: {OURS}; thin lines: least to most of the rounds)"),
    );
}

/// From figures to places between the two ends of the bars.
struct Axis {
    low: f64,
    high: f64,
    logarithmic: bool,
}

impl Axis {
    fn of(table: &Table) -> Self {
        let known = |figure: fn(&Samples) -> f64| {
            let figures = table.rows.iter().flat_map(|row| &row.figures).map(figure);
            figures.filter(|figure| figure.is_finite() && *figure > 0.0)
        };
        let most = known(Samples::median).fold(f64::MIN_POSITIVE, f64::max);
        let least = known(Samples::median).fold(most, f64::min);
        // Room for the thin lines.
        let high = known(Samples::max).fold(most, f64::max);
        if most / least <= LINEAR_UP_TO {
            return Self { low: 0.0, high: high * 1.02, logarithmic: false };
        }
        // A bar needs some length even for the least.
        Self { low: least / 2.0, high: high * 1.1, logarithmic: true }
    }

    fn place(&self, figure: f64) -> f64 {
        let share = if self.logarithmic {
            (figure.max(self.low) / self.low).ln() / (self.high / self.low).ln()
        } else {
            figure / self.high
        };
        LEFT + share.clamp(0.0, 1.0) * (RIGHT - LEFT)
    }

    fn ticks(&self) -> Vec<f64> {
        if !self.logarithmic {
            let rough = self.high / 6.0;
            let power = 10f64.powf(rough.log10().floor());
            let steps = [1.0, 2.0, 5.0, 10.0];
            let step = power * steps.into_iter().find(|step| step * power >= rough).unwrap_or(10.0);
            return (0..).map(|n| f64::from(n) * step).take_while(|tick| *tick <= self.high).collect();
        }
        let decades = (self.high / self.low).log10();
        let within: &[f64] = if decades > 3.5 { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let powers = self.low.log10().floor() as i32..=self.high.log10().ceil() as i32;
        let ticks = powers.flat_map(|power| within.iter().map(move |step| step * 10f64.powi(power)));
        ticks.filter(|tick| (self.low..=self.high).contains(tick)).collect()
    }

    fn draw(&self, out: &mut String, table: &Table, bottom: f64) {
        for tick in self.ticks() {
            let x = self.place(tick);
            let _ = writeln!(
                out,
                "<line x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{bottom}\" stroke=\"#d8dee4\"/>"
            );
            text(out, x, bottom + 16.0, "text-anchor=\"middle\" fill=\"#57606a\"", &tick_label(tick));
        }
        let scale = if self.logarithmic { ", logarithmic" } else { "" };
        let title = format!("{} ({} is better{scale})", table.unit, table.better.word());
        let middle = (LEFT + RIGHT) / 2.0;
        text(out, middle, bottom + 38.0, "text-anchor=\"middle\" fill=\"#57606a\"", &title);
    }

    /// One bar with its median at the end; what was given up fades over the whole width.
    fn bar(&self, out: &mut String, y: f64, thick: f64, colour: &str, samples: &Samples) {
        let median = samples.median();
        let end = if median.is_infinite() { RIGHT } else { self.place(median) };
        let middle = y + thick / 2.0;
        let size = format!("font-size=\"{}\"", (thick - 1.0).min(11.0));
        if median.is_nan() {
            text(out, LEFT + 6.0, middle + 3.5, &size, "not measured");
            return;
        }
        let opacity = if median.is_infinite() { " fill-opacity=\"0.25\"" } else { "" };
        let (length, thick) = (end - LEFT, thick - 1.0);
        let _ = writeln!(
            out,
            "<rect x=\"{LEFT}\" y=\"{y:.1}\" width=\"{length:.1}\" height=\"{thick}\" fill=\"{colour}\"{opacity}/>"
        );
        let mut place = end;
        if samples.rounds().len() > 1 && median.is_finite() && samples.max().is_finite() {
            let (least, most) = (self.place(samples.min()), self.place(samples.max()));
            place = place.max(most);
            let _ = writeln!(
                out,
                "<line x1=\"{least:.1}\" y1=\"{middle:.1}\" x2=\"{most:.1}\" y2=\"{middle:.1}\" stroke=\"#1f2328\" \
                 stroke-opacity=\"0.6\"/>"
            );
        }
        text(out, place + 5.0, middle + 3.5, &size, &label(median));
    }
}

/// A value at the end of its bar: long ones shortened.
fn label(figure: f64) -> String {
    match figure {
        figure if figure.is_infinite() => Figure(figure).to_string(),
        figure if figure >= 1e9 => format!("{}G", Figure(figure / 1e9)),
        figure if figure >= 1e6 => format!("{}M", Figure(figure / 1e6)),
        figure if figure >= 1e4 => format!("{}k", Figure(figure / 1e3)),
        figure => Figure(figure).to_string(),
    }
}

fn tick_label(tick: f64) -> String {
    match tick {
        tick if tick >= 1e9 => format!("{}G", tick / 1e9),
        tick if tick >= 1e6 => format!("{}M", tick / 1e6),
        tick if tick >= 1e3 => format!("{}k", tick / 1e3),
        // Sums of steps are not always round.
        tick => format!("{}", (tick * 1e6).round() / 1e6),
    }
}

/// From light to dark over the columns.
fn shade(ours: bool, column: usize, columns: usize) -> String {
    let [light, dark] = if ours { OUR } else { OTHERS };
    let share = if columns > 1 { column as f64 / (columns - 1) as f64 } else { 1.0 };
    let mix = |n: usize| (light[n] + (dark[n] - light[n]) * share).round() as u8;
    format!("#{:02x}{:02x}{:02x}", mix(0), mix(1), mix(2))
}

fn text(out: &mut String, x: f64, y: f64, attributes: &str, content: &str) {
    let content = content.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let _ = writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" {attributes}>{content}</text>");
}

fn capital(sentence: &str) -> String {
    let mut letters = sentence.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_is_logarithmic_only_where_figures_differ_much() {
        let axis = |figures: &[f64]| {
            let columns: Vec<String> = figures.iter().map(f64::to_string).collect();
            let mut table =
                Table::new("t", String::new(), ("", Better::More), columns, ["a"].iter().copied());
            table.push(0, 0, &crate::steadiness::Measured { figures: figures.to_vec(), waited: 0.0 });
            Axis::of(&table)
        };
        assert_eq!(axis(&[1.0, 20.0]).ticks(), [0.0, 5.0, 10.0, 15.0, 20.0]);
        assert_eq!(axis(&[1.0, 21.0, f64::INFINITY]).ticks(), [0.5, 1.0, 2.0, 5.0, 10.0, 20.0]);
        assert!(axis(&[1.0, 21.0]).place(1.0) > LEFT);
    }
}
