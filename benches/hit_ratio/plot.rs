//! A trace's miss ratios by capacity, as a picture: a line for each cache and one for OPT. It never knows what a cache
//! is.
//!
//! Written by hand, as the charts of `benches/peers` are: a few lines between two axes.

use crate::Cell;
use crate::replay::Rival;
use std::fmt::Write;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = WIDTH - 130.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = HEIGHT - 50.0;
/// Ours first, OPT last.
const COLOURS: [&str; 5] = ["#d9480f", "#1971c2", "#2f9e44", "#9c36b5", "#868e96"];

/// The whole picture. Cells with capacities in weight are left out.
pub(crate) fn svg(name: &str, cells: &[Cell]) -> String {
    let cells: Vec<_> = cells.iter().filter(|cell| cell.opt.is_some()).collect();
    let capacities = || cells.iter().map(|cell| (cell.capacity as f64).ln());
    let (least, most) = (capacities().fold(f64::MAX, f64::min), capacities().fold(f64::MIN, f64::max));
    let x = |capacity: u64| {
        let along = ((capacity as f64).ln() - least) / (most - least).max(1e-9);
        LEFT + (RIGHT - LEFT) * along
    };
    let y = |ratio: f64| BOTTOM - (BOTTOM - TOP) * ratio / 100.0;
    let mut out = String::new();
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
         viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"system-ui, 'DejaVu Sans', sans-serif\" font-size=\"12\" \
         fill=\"#1f2328\">\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n\
         <text x=\"{LEFT}\" y=\"26\" font-size=\"15\" font-weight=\"600\">{name}: miss ratio in %</text>"
    );
    for ratio in [0.0, 25.0, 50.0, 75.0, 100.0] {
        let _ = writeln!(
            out,
            "<line x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{0:.1}\" y2=\"{0:.1}\" stroke=\"#dee2e6\"/>\
             <text x=\"{1:.1}\" y=\"{2:.1}\" text-anchor=\"end\">{ratio}</text>",
            y(ratio),
            LEFT - 8.0,
            y(ratio) + 4.0
        );
    }
    let mut last = f64::MIN;
    for cell in &cells {
        let at = x(cell.capacity);
        if at - last > 48.0 {
            last = at;
            let below = BOTTOM + 18.0;
            let _ = writeln!(
                out,
                "<text x=\"{at:.1}\" y=\"{below}\" text-anchor=\"middle\">{}</text>",
                cell.capacity
            );
        }
    }
    let middle = (LEFT + RIGHT) / 2.0;
    let _ =
        writeln!(out, "<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">entries</text>", HEIGHT - 12.0);
    let names = Rival::ALL.map(Rival::name).into_iter().chain(["OPT"]);
    for (line, (name, colour)) in names.zip(COLOURS).enumerate() {
        let ratio =
            |cell: &Cell| cell.rivals.get(line).map_or(cell.opt.unwrap_or(0.0), |missed| missed.objects);
        let points = cells.iter().map(|cell| format!("{:.1},{:.1}", x(cell.capacity), y(ratio(cell))));
        let points = points.collect::<Vec<_>>().join(" ");
        let dashes = if line == Rival::ALL.len() { " stroke-dasharray=\"4 3\"" } else { "" };
        let height = TOP + 10.0 + 20.0 * line as f64;
        let _ = writeln!(
            out,
            "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{dashes}/>\
             <text x=\"{:.1}\" y=\"{height:.1}\" fill=\"{colour}\" font-weight=\"600\">{name}</text>",
            RIGHT + 12.0
        );
    }
    out.push_str("</svg>\n");
    out
}
