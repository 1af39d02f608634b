//! How much of the feeds the schema does not name.

use std::sync::Arc;

use tidegate::decode::protobuf::Unknown;
use tidegate::telemetry::{Board, Family, Kind};

const UNKNOWN: Family = Family {
    name: "tidegate_transit_unknown_total",
    kind: Kind::Counter,
    labels: &["pipeline", "kind"],
    help: "what the schema of the feed does not name: fields, which are passed over, and symbols of enums, which are kept",
};

/// All of them.
pub const METRICS: &[Family] = &[UNKNOWN];

/// States what was met since it was `before`.
pub(super) fn met(board: &Arc<Board>, before: Unknown, now: Unknown) {
    for (kind, n) in [("field", now.fields - before.fields), ("symbol", now.symbols - before.symbols)] {
        if n > 0 {
            board.add(&UNKNOWN, &[kind], n);
        }
    }
}
