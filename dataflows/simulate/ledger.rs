//! The ledger of an epoch against what readers see of it: a record is in a result that is there, or its result is open.

use tidegate::checkpoint::Manifest;
use tidegate::telemetry::Conservation;

use super::SinkContents;
use super::sinks::Content;

/// The outputs whose rows say how many records they are made of: the output, its table, and the column.
const COUNTED: [(&str, &str, usize); 2] =
    [("page_view_counts", "page_view_counts", 3), ("user_sessions", "session_history", 6)];

/// What the ledger of `manifest` says otherwise than the rows of its epoch, which are given in final mode, in words.
pub(super) fn contradiction(manifest: &Manifest, names: &[String], visible: &SinkContents) -> Option<String> {
    let ledger = Conservation::of(manifest, names);
    if !ledger.is_balanced() {
        return Some(format!("the ledger does not balance: {ledger:?}"));
    }
    COUNTED.into_iter().find_map(|(name, table, column)| {
        let output = ledger.outputs.iter().find(|output| output.output == name)?;
        let rows = match visible.get(&format!("table {table}")) {
            Some(Content::Keyed(rows)) => rows.values().map(|row| number(row, column)).sum(),
            _ => 0,
        };
        let (counted, open) = (output.counted, output.in_state);
        (rows != counted).then(|| {
            format!(
                "{name}: {counted} records are in final results and {open} in open ones, and rows show {rows}"
            )
        })
    })
}

fn number(row: &str, column: usize) -> u64 {
    let cell = row.split('\t').nth(column).unwrap_or_default();
    cell.trim_start_matches("Int(").trim_end_matches(')').parse().unwrap_or(0)
}
