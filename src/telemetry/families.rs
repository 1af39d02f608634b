//! Every metric of the engine: its name, kind, labels and meaning, all in this file.
//!
//! A pipeline may have figures of its own, declared likewise where the pipeline is; their first label is `pipeline`. The
//! documentation of metrics is made from these declarations.

/// How a metric behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Grows, and begins at 0 when the process starts.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution.
    Histogram,
}

/// A metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    /// Its name, unit last.
    pub name: &'static str,
    /// How it behaves.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it says, one sentence without a full stop.
    pub help: &'static str,
}

const PIPELINE: &[&str] = &["pipeline"];
const PARTITION: &[&str] = &["pipeline", "topic", "partition"];
const SINK: &[&str] = &["pipeline", "sink"];
const OPERATOR: &[&str] = &["pipeline", "operator"];

macro_rules! families {
    ($($id:ident = $name:literal $kind:ident $labels:expr, $help:literal;)*) => {
        $(
            #[doc = concat!("`", $name, "`: ", $help, ".")]
            pub const $id: Family = Family { name: $name, kind: Kind::$kind, labels: $labels, help: $help };
        )*
        /// All of them, in the order of the documentation.
        pub const ALL: &[Family] = &[$($id),*];
    };
}

families! {
    READ = "tidegate_source_records_read_total" Counter PARTITION,
        "records read, watermark records aside";
    ACCEPTED = "tidegate_source_records_accepted_total" Counter PARTITION,
        "records accepted and processed, late ones included";
    LATE = "tidegate_source_records_late_total" Counter PARTITION,
        "accepted records that are late for at least one output";
    IDLE = "tidegate_source_records_idle_total" Counter PARTITION,
        "accepted records that are too late for at least one output only because their partition was idle";
    REJECTED = "tidegate_source_records_rejected_total" Counter &["pipeline", "topic", "partition", "reason"],
        "records that went to the dead letters, by reason";
    DUPLICATE = "tidegate_source_records_duplicate_total" Counter PARTITION,
        "records whose offset had been read before, skipped";
    LOST = "tidegate_source_offsets_lost_total" Counter PARTITION,
        "offsets passed over because retention had deleted their records (lost_records: skip)";
    POSITION = "tidegate_source_position_offset" Gauge PARTITION,
        "the next offset to be read";
    END = "tidegate_source_end_offset" Gauge PARTITION,
        "the offset behind the partition's last record, as the broker said last; its rate is the input rate";
    LAG = "tidegate_source_lag_records" Gauge PARTITION,
        "offsets still to be read";
    RELEASED = "tidegate_source_partition_released" Gauge PARTITION,
        "1 while the partition is idle and event time does not wait for it";
    WATERMARK = "tidegate_watermark_timestamp_seconds" Gauge PARTITION,
        "the partition's watermark, in seconds since the epoch";
    WATERMARK_LAG = "tidegate_watermark_lag_seconds" Gauge PARTITION,
        "how far the partition's watermark is behind the clock";
    HOLDER = "tidegate_watermark_holds_frontier" Gauge PARTITION,
        "1 for the partition of this process that event time waits for, 0 for all others";
    FRONTIER = "tidegate_frontier_timestamp_seconds" Gauge PIPELINE,
        "the dataflow's event time, in seconds since the epoch: windows that end before it are closed";
    FRONTIER_LAG = "tidegate_frontier_lag_seconds" Gauge PIPELINE,
        "how far the dataflow's event time is behind the clock";
    RUNNING = "tidegate_pipeline_running" Gauge PIPELINE,
        "1 while the pipeline runs in this process, 0 when it has ended";
    EPOCH_OPEN = "tidegate_epoch_open_number" Gauge PIPELINE,
        "the epoch under way";
    EPOCH_DECIDED = "tidegate_epoch_decided_number" Gauge PIPELINE,
        "the last epoch that is decided and visible in every sink";
    EPOCH_SECONDS = "tidegate_epoch_duration_seconds" Histogram PIPELINE,
        "how long epochs were open";
    EPOCH_WAIT = "tidegate_epoch_backpressure_seconds_total" Counter PIPELINE,
        "how long epochs waited for the one before to be decided, which a slow sink makes longer";
    CHECKPOINT_SECONDS = "tidegate_checkpoint_duration_seconds" Histogram PIPELINE,
        "how long it took to decide an epoch and to make it visible: prepare, state, manifest, commit";
    CHECKPOINT_BYTES = "tidegate_checkpoint_size_bytes" Gauge PIPELINE,
        "the size of the newest checkpoint, manifest and state";
    CHECKPOINT_TIME = "tidegate_checkpoint_last_timestamp_seconds" Gauge PIPELINE,
        "when the newest checkpoint was decided, in seconds since the epoch";
    CHECKPOINT_FAILURES = "tidegate_checkpoint_failures_total" Counter PIPELINE,
        "failed tries to write a checkpoint, each tried again";
    LATENCY = "tidegate_end_to_end_latency_seconds" Histogram PIPELINE,
        "from a record's event time until its epoch was visible; the last record of each batch stands for the batch";
    SINK_ROWS = "tidegate_sink_rows_total" Counter SINK,
        "rows and lines given to the sink";
    SINK_RETRIES = "tidegate_sink_retries_total" Counter SINK,
        "failed tries to prepare or commit an epoch in the sink, each tried again";
    SINK_REFUSED = "tidegate_sink_refused_rows_total" Counter SINK,
        "rows that the sink's target refused for what they hold; it keeps them in tidegate_refused, with its reasons";
    SINK_FAILING = "tidegate_sink_failing" Gauge SINK,
        "1 while the sink fails and is tried again";
    SINK_EPOCH = "tidegate_sink_epoch_number" Gauge SINK,
        "the last epoch that this process made visible in the sink";
    SINK_PREPARE = "tidegate_sink_prepare_duration_seconds" Histogram SINK,
        "how long the sink took to make an epoch durable before the decision";
    SINK_COMMIT = "tidegate_sink_commit_duration_seconds" Histogram SINK,
        "how long the sink took to make a decided epoch visible";
    OUTPUT_ROWS = "tidegate_output_rows" Gauge &["pipeline", "output"],
        "the output's rows, from the first start of the run on";
    STATE_KEYS = "tidegate_state_keys" Gauge OPERATOR,
        "entries of the operator's state in the newest checkpoint, in most operators one a key and window; one that changed again counts again until changes are folded";
    STATE_BYTES = "tidegate_state_bytes" Gauge OPERATOR,
        "size of the operator's state in the newest checkpoint";
    STATE_WINDOWS = "tidegate_state_open_windows" Gauge OPERATOR,
        "the operator's open windows at the newest checkpoint";
    LEDGER = "tidegate_ledger_records" Gauge &["pipeline", "fate"],
        "the conservation ledger of the newest decided epoch: read = duplicate_offsets + rejected + accepted";
    LEDGER_OUTPUT = "tidegate_ledger_output_records" Gauge &["pipeline", "output", "fate"],
        "the ledger of an output: accepted = counted + filtered + late + idle + in_state";
    UNACCOUNTED = "tidegate_ledger_unaccounted_records" Gauge &["pipeline", "output"],
        "records that the ledger cannot account for, of the output or, with an empty one, of the pipeline; 0";
    RESIDENT = "tidegate_process_resident_bytes" Gauge &[],
        "resident memory of this process";
    CPU = "tidegate_process_cpu_seconds_total" Counter &[],
        "processor time used by this process";
    UPTIME = "tidegate_process_uptime_seconds" Gauge &[],
        "seconds since this process started";
    BUILD = "tidegate_build_info" Gauge &["version"],
        "1, with the version of tidegate";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_counters_alone_end_in_total() {
        let mut names: Vec<&str> = ALL.iter().map(|family| family.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
        for family in ALL {
            assert!(family.name.starts_with("tidegate_"), "{}", family.name);
            assert_eq!(family.name.ends_with("_total"), family.kind == Kind::Counter, "{}", family.name);
            assert_eq!(
                family.kind == Kind::Histogram,
                family.name.ends_with("_seconds") && !family.help.is_empty() && is_distribution(family),
                "{}",
                family.name
            );
        }
    }

    fn is_distribution(family: &Family) -> bool {
        family.name.ends_with("_duration_seconds") || family.name.ends_with("_latency_seconds")
    }
}
