//! The conservation ledger as it is shown: whether every record that was read is accounted for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::checkpoint::Manifest;
use crate::decode::Reason;
use crate::ingest::OutputCounts;

/// Where the records of a run went, from its first start to its newest decided epoch.
///
/// `read = duplicate_offsets + Σ rejected + accepted`, and for each output that records meet
/// `accepted = counted + filtered + late + idle + in_state`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conservation {
    /// The epoch whose manifest says so.
    pub epoch: u64,
    /// Records read, watermark records aside.
    pub read: u64,
    /// Repeated offsets.
    pub duplicate_offsets: u64,
    /// Records set aside, by reason; only reasons that occurred.
    pub rejected: BTreeMap<String, u64>,
    /// Records accepted.
    pub accepted: u64,
    /// Records that the ledger cannot account for; 0.
    pub unaccounted: i64,
    /// The outputs that records meet, in the pipeline's order.
    pub outputs: Vec<OutputConservation>,
}

/// Where the accepted records went at one output.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputConservation {
    /// The output.
    pub output: String,
    /// Records in final results: in sliding windows, in that of the first window that they count in.
    pub counted: u64,
    /// Records of another kind.
    pub filtered: u64,
    /// Records too late.
    pub late: u64,
    /// Records too late by an idle floor only.
    pub idle: u64,
    /// Records whose result is open: their window, or their session.
    pub in_state: u64,
    /// Accepted records that the ledger cannot account for; 0.
    pub unaccounted: i64,
}

impl Conservation {
    /// The ledger at the end of the epoch that `manifest` decides; `names` are the pipeline's outputs.
    pub fn of(manifest: &Manifest, names: &[String]) -> Self {
        let counts = &manifest.counts;
        let rejected: u64 = counts.rejected.iter().sum();
        let missing = |whole: u64, parts: u64| whole.wrapping_sub(parts) as i64;
        let output = |(index, judged): (usize, &OutputCounts)| {
            // What an earlier version counted is settled here without having been opened.
            let of_output = manifest.open.iter().filter(|open| open.output as usize == index);
            let open: i64 = of_output.map(|open| open.records).sum();
            let open = u64::try_from(open).unwrap_or(0).min(judged.counted);
            let filed = judged.counted.wrapping_add(judged.filtered + judged.late + judged.idle);
            OutputConservation {
                output: names.get(index).cloned().unwrap_or_else(|| format!("output {index}")),
                counted: judged.counted - open,
                filtered: judged.filtered,
                late: judged.late,
                idle: judged.idle,
                in_state: open,
                unaccounted: missing(counts.accepted, filed),
            }
        };
        Conservation {
            epoch: manifest.epoch,
            read: counts.read,
            duplicate_offsets: counts.duplicate_offsets,
            rejected: Reason::ALL
                .iter()
                .zip(counts.rejected)
                .filter(|(_, n)| *n > 0)
                .map(|(reason, n)| (reason.as_str().to_owned(), n))
                .collect(),
            accepted: counts.accepted,
            unaccounted: missing(counts.read, counts.duplicate_offsets + rejected + counts.accepted),
            outputs: counts.outputs.iter().enumerate().map(output).collect(),
        }
    }

    /// Whether every record is accounted for.
    pub fn is_balanced(&self) -> bool {
        self.unaccounted == 0 && self.outputs.iter().all(|output| output.unaccounted == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::{Counts, OpenRecords};

    fn manifest() -> Manifest {
        let mut rejected = [0; Reason::ALL.len()];
        rejected[Reason::Schema as usize] = 2;
        let output = OutputCounts { counted: 5, filtered: 1, late: 1, idle: 0 };
        let counts = Counts { read: 10, duplicate_offsets: 1, rejected, accepted: 7, outputs: vec![output] };
        Manifest { epoch: 3, counts, ..Manifest::default() }
    }

    fn open(output: u32, records: i64) -> OpenRecords {
        OpenRecords { output, until_us: 60, records }
    }

    #[test]
    fn what_is_in_open_results_is_not_counted_yet() {
        let manifest = Manifest { open: vec![open(0, 3), open(1, 9), open(0, -1)], ..manifest() };
        let ledger = Conservation::of(&manifest, &["views".to_owned()]);
        assert!(ledger.is_balanced());
        assert_eq!((ledger.epoch, ledger.outputs[0].counted, ledger.outputs[0].in_state), (3, 3, 2));
        assert_eq!(ledger.rejected, BTreeMap::from([("schema".to_owned(), 2)]));
        let older = Conservation::of(&Manifest { open: vec![open(0, -4)], ..manifest }, &[]);
        assert_eq!((older.outputs[0].counted, older.outputs[0].in_state), (5, 0));
    }

    #[test]
    fn a_record_that_is_lost_or_doubled_is_seen() {
        let mut lost = manifest();
        lost.counts.outputs[0].counted -= 1;
        let ledger = Conservation::of(&lost, &[]);
        assert_eq!((ledger.is_balanced(), ledger.outputs[0].unaccounted), (false, 1));
        let mut doubled = manifest();
        doubled.counts.accepted += 1;
        let ledger = Conservation::of(&doubled, &[]);
        assert_eq!((ledger.unaccounted, ledger.outputs[0].unaccounted), (-1, 1));
    }
}
