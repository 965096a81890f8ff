//! What a run leaves behind in a folder: `report.md`, `report.json` and a chart of each table. Neither
//! names a date: two reports differ by what differs.

use crate::chart;
use crate::goals::{self, Reached};
use crate::machine::{Machine, versions};
use crate::samples::Samples;
use crate::table::Table;
use crate::workloads::Plan;
use serde_json::{Value, json};
use std::fs;
use std::io;
use std::path::Path;

/// Writes what there is so far.
pub(crate) fn write(folder: &Path, machine: &Machine, plan: &Plan, tables: &[Table]) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let goals = goals::reached(tables);
    fs::write(folder.join("report.md"), markdown(machine, plan, tables, &goals))?;
    let json = serde_json::to_string_pretty(&json(machine, plan, tables, &goals))?;
    fs::write(folder.join("report.json"), json + "\n")?;
    for table in tables {
        fs::write(folder.join(format!("{}.svg", table.id)), chart::svg(table))?;
    }
    Ok(())
}

fn markdown(machine: &Machine, plan: &Plan, tables: &[Table], goals: &[Reached]) -> String {
    let versions: Vec<_> =
        versions().into_iter().map(|(name, version)| format!("{name} {version}")).collect();
    let mut report = format!(
        "# tidewheel beside others\n\n{machine}.\n\n{}.\n\n{}\n",
        versions.join(", "),
        if plan.quick { "A quick run: short and small, good for a first look." } else { "A full run." }
    );
    for part in goals::report(goals).into_iter().chain(tables.iter().map(|table| {
        // The table's own heading comes first.
        let (heading, rest) = table_parts(table);
        format!("{heading}\n\n![{}]({}.svg)\n\n{rest}", table.title, table.id)
    })) {
        report.push('\n');
        report.push_str(&part);
    }
    report
}

fn table_parts(table: &Table) -> (String, String) {
    let text = table.to_string();
    let (heading, rest) = text.split_once("\n\n").expect("a table has a heading");
    (heading.to_owned(), rest.to_owned())
}

/// What was waited for in vain is `null`.
fn json(machine: &Machine, plan: &Plan, tables: &[Table], goals: &[Reached]) -> Value {
    json!({
        "machine": {
            "cores": machine.cores,
            "processor": machine.processor,
            "memory_gib": machine.memory_gib,
            "system": machine.system,
            "compiler": machine.compiler,
            "load": machine.load,
        },
        "versions": versions().into_iter().map(|(name, version)| (name.to_owned(), version.into()))
            .collect::<serde_json::Map<String, Value>>(),
        "settings": {
            "quick": plan.quick,
            "threads": plan.threads,
            "rounds": plan.rounds,
            "span_ms": plan.span.as_millis() as u64,
            "large_entries": plan.large,
            "expiring_entries": plan.expiring,
            "expiry_rounds": plan.expiry_rounds,
        },
        "goals": goals.iter().map(|goal| json!({
            "what": goal.what,
            "wanted": goal.wanted,
            "reached": samples(&goal.figures),
            "holds": goal.holds(),
        })).collect::<Value>(),
        "tables": tables.iter().map(|table| json!({
            "id": table.id,
            "title": table.title,
            "unit": table.unit,
            "better": table.better.word(),
            "columns": table.columns,
            "waited_for_a_core": samples(&table.waited),
            "candidates": table.rows.iter().map(|row| json!({
                "name": row.name,
                "figures": row.figures.iter().map(samples).collect::<Value>(),
            })).collect::<Value>(),
        })).collect::<Value>(),
    })
}

fn samples(samples: &Samples) -> Value {
    json!({
        "median": samples.median(),
        "min": samples.min(),
        "max": samples.max(),
        "rounds": samples.rounds(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::GIVEN_UP;
    use crate::steadiness::Measured;
    use crate::table::Better;

    #[test]
    fn what_was_given_up_is_said_everywhere() {
        let columns = vec!["silent".to_owned()];
        let unit = ("seconds", Better::Less);
        let mut table = Table::new(
            "expiry",
            "gone <soon>".to_owned(),
            unit,
            columns,
            ["tidewheel", "moka"].iter().copied(),
        );
        for (row, lag) in [1.0, GIVEN_UP].into_iter().enumerate() {
            table.push(row, 0, &Measured { figures: vec![lag], waited: 0.0 });
        }
        let picture = chart::svg(&table);
        assert!(picture.contains("not in 8 s") && picture.contains("Gone &lt;soon&gt;"), "{picture}");
        let plan = Plan {
            quick: true,
            threads: vec![1],
            rounds: 1,
            span: std::time::Duration::ZERO,
            large: 1,
            expiring: 1,
            expiry_rounds: 1,
            candidates: Vec::new(),
        };
        let (machine, tables) = (Machine::here(), [table]);
        let goals = goals::reached(&tables);
        let text = markdown(&machine, &plan, &tables, &goals);
        assert!(text.contains("| moka | not in 8 s | **0.00** |"), "{text}");
        assert!(text.contains("(expiry.svg)") && text.contains("at most 1.3 | 1.00 | yes |"), "{text}");
        let json = json(&machine, &plan, &tables, &goals);
        let lag = |row: usize| &json["tables"][0]["candidates"][row]["figures"][0]["median"];
        assert_eq!((lag(0), lag(1)), (&json!(1.0), &Value::Null));
    }
}
