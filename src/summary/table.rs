//! The summary as text: a line a pipeline, a line an output, and where to look.

use std::path::Path;

use super::{OutputSummary, PipelineSummary, Summary};

/// Renders the summary of the run that wrote to `dir`.
pub(super) fn render(summary: &Summary, dir: &Path) -> String {
    let mut out = String::new();
    let head = ["pipeline", "records", "accepted", "rejected", "duplicates", "late", "seconds", "events/s"];
    let lines = summary.pipelines.iter().map(|(name, pipeline)| pipeline_line(name, pipeline));
    push_table(&mut out, &head, &lines.collect::<Vec<_>>());
    for (name, pipeline) in summary.pipelines.iter() {
        let rejected: Vec<_> = pipeline.rejected.iter().filter(|(_, n)| **n > 0).collect();
        if !rejected.is_empty() {
            let reasons: Vec<_> =
                rejected.into_iter().map(|(reason, n)| format!("{reason} {}", grouped(*n))).collect();
            out.push_str(&format!("\n{name} rejected: {}\n", reasons.join(", ")));
        }
        out.push('\n');
        let title = format!("{name} output");
        let head = [title.as_str(), "rows", "counted", "late", "idle", "where"];
        let side = |name: &str| name.ends_with(".late") || name.ends_with(".dlq");
        // A pipeline of many input topics has two for each, and most of them are empty.
        let many = pipeline.outputs.iter().filter(|(name, _)| side(name)).count() > 4;
        let (hidden, shown): (Vec<_>, Vec<_>) =
            pipeline.outputs.iter().partition(|(name, output)| many && side(name) && output.rows == 0);
        let lines = shown.into_iter().map(|(name, output)| output_line(name, output, dir));
        push_table(&mut out, &head, &lines.collect::<Vec<_>>());
        if !hidden.is_empty() {
            out.push_str(&format!(
                "and {} topics of late and unusable records, which are empty\n",
                hidden.len()
            ));
        }
    }
    out.push_str(&format!("\nDigests and all figures: {}\n", dir.join(super::FILE).display()));
    out
}

fn pipeline_line(name: &str, pipeline: &PipelineSummary) -> Vec<String> {
    let rate = if pipeline.seconds > 0.0 { pipeline.read as f64 / pipeline.seconds } else { 0.0 };
    vec![
        name.to_owned(),
        grouped(pipeline.read),
        grouped(pipeline.accepted),
        grouped(pipeline.rejected_total()),
        grouped(pipeline.duplicate_offsets),
        grouped(late(pipeline)),
        format!("{:.2}", pipeline.seconds),
        grouped(rate.round() as u64),
    ]
}

/// Records late or idle for at least one output: the lines of the late topic, where there is one.
fn late(pipeline: &PipelineSummary) -> u64 {
    let topics: Vec<_> = pipeline.outputs.iter().filter(|(name, _)| name.ends_with(".late")).collect();
    if topics.is_empty() {
        let of = |output: &OutputSummary| output.late.unwrap_or(0).saturating_add(output.idle.unwrap_or(0));
        pipeline.outputs.iter().map(|(_, output)| of(output)).max().unwrap_or(0)
    } else {
        topics.iter().map(|(_, output)| output.rows).sum()
    }
}

fn output_line(name: &str, output: &OutputSummary, dir: &Path) -> Vec<String> {
    let count = |count: Option<u64>| count.map_or(String::new(), grouped);
    vec![
        name.to_owned(),
        grouped(output.rows),
        count(output.counted),
        count(output.late),
        count(output.idle),
        place(name, dir),
    ]
}

/// Where an output lies: what is there by its name, else the tables. What is nowhere here went to a sink that the settings name.
fn place(name: &str, dir: &Path) -> String {
    let by_name = [dir.join(name), dir.join("topics").join(format!("{name}.jsonl"))];
    let in_folders = ["lake", "delta"].map(|folder| dir.join(folder).join(name));
    // No table has such a name: that is a lake's or a topic's.
    let tables = (!name.contains(['/', '.'])).then(|| dir.join("tables.sqlite"));
    let found = by_name.into_iter().chain(in_folders).chain(tables).find(|path| path.exists());
    found.map_or_else(|| "as the settings say".to_owned(), |path| path.display().to_string())
}

/// A number with its thousands apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Appends lines of cells under a head: names and places to the left, figures to the right.
fn push_table(out: &mut String, head: &[&str], lines: &[Vec<String>]) {
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count());
        cells.chain([head[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..head.len()).map(width).collect();
    let head = head.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>();
    for line in std::iter::once(&head).chain(lines) {
        let mut text = String::new();
        for (column, (cell, width)) in line.iter().zip(&widths).enumerate() {
            let to_the_left = column == 0 || head[column] == "where";
            if column > 0 {
                text.push_str("  ");
            }
            text.push_str(&if to_the_left { format!("{cell:<width$}") } else { format!("{cell:>width$}") });
        }
        out.push_str(text.trim_end());
        out.push('\n');
    }
}
