//! The conservation ledger as it is shown: whether every record that was read is accounted for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::decode::Reason;
use crate::ingest::Counts;

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
    /// Records in results; a record is counted when it is judged, also while its window is open.
    pub counted: u64,
    /// Records of another kind.
    pub filtered: u64,
    /// Records too late.
    pub late: u64,
    /// Records too late by an idle floor only.
    pub idle: u64,
    /// Records that wait for their judgement.
    pub in_state: u64,
    /// Accepted records that the ledger cannot account for; 0.
    pub unaccounted: i64,
}

impl Conservation {
    /// The ledger of `counts` at the end of `epoch`; `names` are the pipeline's outputs. `in_state` gives for an output's
    /// index how many of its counted records are not judged for good.
    pub fn of(epoch: u64, counts: &Counts, names: &[String], in_state: impl Fn(usize) -> u64) -> Self {
        let rejected: u64 = counts.rejected.iter().sum();
        let missing = |whole: u64, parts: u64| whole.wrapping_sub(parts) as i64;
        let output = |(index, judged): (usize, &crate::ingest::OutputCounts)| {
            let open = in_state(index).min(judged.counted);
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
            epoch,
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
    use crate::ingest::OutputCounts;

    fn counts() -> Counts {
        let mut rejected = [0; Reason::ALL.len()];
        rejected[Reason::Schema as usize] = 2;
        let output = OutputCounts { counted: 5, filtered: 1, late: 1, idle: 0 };
        Counts { read: 10, duplicate_offsets: 1, rejected, accepted: 7, outputs: vec![output] }
    }

    #[test]
    fn what_is_in_open_results_is_not_counted_yet() {
        let ledger = Conservation::of(3, &counts(), &["views".to_owned()], |_| 2);
        assert!(ledger.is_balanced());
        assert_eq!((ledger.outputs[0].counted, ledger.outputs[0].in_state), (3, 2));
        assert_eq!(ledger.rejected, BTreeMap::from([("schema".to_owned(), 2)]));
    }

    #[test]
    fn a_record_that_is_lost_or_doubled_is_seen() {
        let mut lost = counts();
        lost.outputs[0].counted -= 1;
        let ledger = Conservation::of(3, &lost, &[], |_| 0);
        assert_eq!((ledger.is_balanced(), ledger.outputs[0].unaccounted), (false, 1));
        let mut doubled = counts();
        doubled.accepted += 1;
        let ledger = Conservation::of(3, &doubled, &[], |_| 0);
        assert_eq!((ledger.unaccounted, ledger.outputs[0].unaccounted), (-1, 1));
    }
}
