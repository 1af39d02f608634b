//! The registry: all boards of this process as Prometheus metrics, and their documentation.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use prometheus::core::{Collector, Desc};
use prometheus::proto::{self, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Registry, TextEncoder};

use super::families::{self, ALL, Family, Kind};
use super::partition::PartitionStanding;
use super::{Board, Conservation, HistogramView, ProcessView, Snapshot};
use crate::runtime::Clock;

/// What a process shows of itself: its boards, and the metrics made of them.
pub struct Telemetry {
    facts: Arc<Facts>,
    registry: Registry,
}

struct Facts {
    clock: Arc<dyn Clock>,
    began_us: i64,
    boards: Mutex<Vec<Arc<Board>>>,
    families: Vec<Family>,
}

impl Telemetry {
    /// Nothing to show yet. `own` are the pipelines' own families.
    pub fn new(clock: Arc<dyn Clock>, own: &[Family]) -> Self {
        let began_us = clock.now_us();
        let families: Vec<Family> = ALL.iter().chain(own).copied().collect();
        let facts = Arc::new(Facts { clock, began_us, boards: Mutex::default(), families });
        let registry = Registry::new();
        let descs = facts.families.iter().filter_map(|family| {
            let labels = family.labels.iter().map(|label| (*label).to_owned()).collect();
            Desc::new(family.name.to_owned(), family.help.to_owned(), labels, Default::default()).ok()
        });
        let collector = Collect { descs: descs.collect(), facts: Arc::clone(&facts) };
        // It fails for a name that is there twice, which a test excludes.
        registry.register(Box::new(collector)).ok();
        Telemetry { facts, registry }
    }

    /// Shows `board` from now on; one of the same pipeline goes.
    pub fn show(&self, board: &Arc<Board>) {
        let name = |board: &Board| board.snapshot(0).pipeline;
        if let Ok(mut boards) = self.facts.boards.lock() {
            let new = name(board);
            boards.retain(|old| name(old) != new);
            boards.push(Arc::clone(board));
        }
    }

    /// All pipelines of this process.
    pub fn snapshots(&self) -> Vec<Snapshot> {
        self.facts.snapshots()
    }

    /// What other processes said last of theirs.
    pub fn others(&self) -> Vec<Snapshot> {
        self.facts.boards().iter().flat_map(|board| board.others()).collect()
    }

    /// This process.
    pub fn process(&self) -> ProcessView {
        self.facts.process()
    }

    /// The time of the clock that snapshots are taken by, in microseconds since the epoch.
    pub fn now_us(&self) -> i64 {
        self.facts.clock.now_us()
    }

    /// All metrics in Prometheus' text form.
    pub fn text(&self) -> String {
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_default()
    }
}

impl Facts {
    fn boards(&self) -> Vec<Arc<Board>> {
        self.boards.lock().map(|boards| boards.clone()).unwrap_or_default()
    }

    fn snapshots(&self) -> Vec<Snapshot> {
        let now_us = self.clock.now_us();
        self.boards().iter().map(|board| board.snapshot(now_us)).collect()
    }

    fn process(&self) -> ProcessView {
        ProcessView::now(self.clock.now_us().saturating_sub(self.began_us) as f64 / 1e6)
    }
}

struct Collect {
    descs: Vec<Desc>,
    facts: Arc<Facts>,
}

impl Collector for Collect {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut sheet = Sheet { families: Vec::new() };
        for snapshot in self.facts.snapshots() {
            sheet.pipeline(&snapshot, &self.facts.families);
        }
        sheet.process(&self.facts.process());
        sheet.families
    }
}

/// Metrics as they are collected.
struct Sheet {
    families: Vec<MetricFamily>,
}

impl Sheet {
    fn process(&mut self, process: &ProcessView) {
        self.add(&families::RESIDENT, &[], process.resident_bytes as f64);
        self.add(&families::CPU, &[], process.cpu_seconds);
        self.add(&families::UPTIME, &[], process.uptime_seconds);
        self.add(&families::BUILD, &[&process.version], 1.0);
    }

    fn pipeline(&mut self, snapshot: &Snapshot, all: &[Family]) {
        let name = &*snapshot.pipeline;
        let seconds = |us: i64| us as f64 / 1e6;
        self.partitions(snapshot);
        if let Some(us) = snapshot.frontier_us {
            self.add(&families::FRONTIER, &[name], seconds(us));
            self.add(&families::FRONTIER_LAG, &[name], seconds(snapshot.taken_us - us));
        }
        self.add(&families::RUNNING, &[name], f64::from(u8::from(snapshot.phase == "running")));
        for value in &snapshot.values {
            if let Some(family) = all.iter().find(|family| family.name == value.name) {
                let given = |label: &&str| value.labels.get(*label).map_or("", |value| value);
                let labels: Vec<&str> =
                    std::iter::once(name).chain(family.labels.iter().skip(1).map(given)).collect();
                self.add(family, &labels, value.value);
            }
        }
        if snapshot.process > 0 {
            return;
        }
        let epochs = &snapshot.epochs;
        for (family, value) in [
            (&families::EPOCH_OPEN, epochs.open.map(|epoch| epoch as f64)),
            (&families::EPOCH_DECIDED, epochs.decided.map(|epoch| epoch as f64)),
            (&families::CHECKPOINT_TIME, epochs.decided_us.map(seconds)),
            (&families::EPOCH_WAIT, Some(epochs.waited_seconds)),
            (&families::CHECKPOINT_BYTES, Some(epochs.checkpoint_bytes as f64)),
            (&families::CHECKPOINT_FAILURES, Some(epochs.failures as f64)),
        ] {
            if let Some(value) = value {
                self.add(family, &[name], value);
            }
        }
        self.histogram(&families::EPOCH_SECONDS, &[name], &epochs.seconds);
        self.histogram(&families::CHECKPOINT_SECONDS, &[name], &epochs.checkpoint_seconds);
        self.histogram(&families::LATENCY, &[name], &epochs.latency_seconds);
        for sink in &snapshot.sinks {
            let labels = [name, &*sink.name];
            self.add(&families::SINK_ROWS, &labels, sink.rows as f64);
            self.add(&families::SINK_RETRIES, &labels, sink.retries as f64);
            self.add(&families::SINK_REFUSED, &labels, sink.refused as f64);
            self.add(&families::SINK_FAILING, &labels, f64::from(u8::from(sink.trouble.is_some())));
            if let Some(epoch) = sink.epoch {
                self.add(&families::SINK_EPOCH, &labels, epoch as f64);
            }
            self.histogram(&families::SINK_PREPARE, &labels, &sink.prepare_seconds);
            self.histogram(&families::SINK_COMMIT, &labels, &sink.commit_seconds);
        }
        for output in &snapshot.outputs {
            self.add(&families::OUTPUT_ROWS, &[name, &output.output], output.rows as f64);
        }
        for operator in &snapshot.operators {
            let labels = [name, &*operator.operator];
            self.add(&families::STATE_KEYS, &labels, operator.keys as f64);
            self.add(&families::STATE_BYTES, &labels, operator.bytes as f64);
            if let Some(windows) = operator.open_windows {
                self.add(&families::STATE_WINDOWS, &labels, windows as f64);
            }
        }
        if let Some(ledger) = &snapshot.ledger {
            self.ledger(name, ledger);
        }
    }

    fn partitions(&mut self, snapshot: &Snapshot) {
        for partition in &snapshot.partitions {
            let number = partition.partition.to_string();
            let labels = [&*snapshot.pipeline, &*partition.topic, &*number];
            let count = |n: u64| Some(n as f64);
            let yes = |is: bool| Some(f64::from(u8::from(is)));
            for (family, value) in [
                (&families::READ, count(partition.read)),
                (&families::ACCEPTED, count(partition.accepted)),
                (&families::LATE, count(partition.late)),
                (&families::IDLE, count(partition.idle)),
                (&families::DUPLICATE, count(partition.duplicate_offsets)),
                (&families::LOST, count(partition.lost)),
                (&families::POSITION, partition.position.map(|offset| offset as f64)),
                (&families::END, partition.end.map(|offset| offset as f64)),
                (&families::LAG, partition.lag.and_then(count)),
                (&families::RELEASED, yes(partition.standing == PartitionStanding::Released)),
                (&families::WATERMARK, partition.watermark_us.map(|us| us as f64 / 1e6)),
                (
                    &families::WATERMARK_LAG,
                    partition.watermark_us.map(|us| (snapshot.taken_us - us) as f64 / 1e6),
                ),
                (&families::HOLDER, yes(partition.holds_frontier)),
            ] {
                if let Some(value) = value {
                    self.add(family, &labels, value);
                }
            }
            for (reason, n) in &partition.rejected {
                let labels = [labels[0], labels[1], labels[2], reason];
                self.add(&families::REJECTED, &labels, *n as f64);
            }
        }
    }

    fn ledger(&mut self, pipeline: &str, ledger: &Conservation) {
        let rejected = ledger.rejected.values().sum();
        for (fate, n) in [
            ("read", ledger.read),
            ("duplicate_offsets", ledger.duplicate_offsets),
            ("rejected", rejected),
            ("accepted", ledger.accepted),
        ] {
            self.add(&families::LEDGER, &[pipeline, fate], n as f64);
        }
        self.add(&families::UNACCOUNTED, &[pipeline, ""], ledger.unaccounted as f64);
        for output in &ledger.outputs {
            for (fate, n) in [
                ("counted", output.counted),
                ("filtered", output.filtered),
                ("late", output.late),
                ("idle", output.idle),
                ("in_state", output.in_state),
            ] {
                self.add(&families::LEDGER_OUTPUT, &[pipeline, &output.output, fate], n as f64);
            }
            self.add(&families::UNACCOUNTED, &[pipeline, &output.output], output.unaccounted as f64);
        }
    }

    fn add(&mut self, family: &Family, values: &[&str], value: f64) {
        let mut metric = labelled(family, values);
        match family.kind {
            Kind::Counter => {
                let mut counter = proto::Counter::default();
                counter.set_value(value);
                metric.set_counter(counter);
            }
            _ => {
                let mut gauge = proto::Gauge::default();
                gauge.set_value(value);
                metric.set_gauge(gauge);
            }
        }
        self.push(family, metric);
    }

    fn histogram(&mut self, family: &Family, values: &[&str], view: &HistogramView) {
        let mut sum = 0;
        let buckets = view.bounds.iter().zip(&view.counts).map(|(bound, count)| {
            sum += count;
            let mut bucket = proto::Bucket::default();
            bucket.set_upper_bound(*bound);
            bucket.set_cumulative_count(sum);
            bucket
        });
        let mut histogram = proto::Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(view.count());
        histogram.set_sample_sum(view.sum);
        let mut metric = labelled(family, values);
        metric.set_histogram(histogram);
        self.push(family, metric);
    }

    fn push(&mut self, family: &Family, metric: Metric) {
        if let Some(known) = self.families.iter_mut().find(|known| known.name() == family.name) {
            known.mut_metric().push(metric);
            return;
        }
        let mut new = MetricFamily::default();
        new.set_name(family.name.to_owned());
        new.set_help(family.help.to_owned());
        new.set_field_type(match family.kind {
            Kind::Counter => MetricType::COUNTER,
            Kind::Gauge => MetricType::GAUGE,
            Kind::Histogram => MetricType::HISTOGRAM,
        });
        new.mut_metric().push(metric);
        self.families.push(new);
    }
}

fn labelled(family: &Family, values: &[&str]) -> Metric {
    let pair = |(name, value): (&&str, &&str)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    };
    Metric::from_label(family.labels.iter().zip(values).map(pair).collect())
}

/// The documentation of `families` as rows of a Markdown table.
pub fn describe(families: &[Family]) -> String {
    let mut text = String::from("| metric | type | labels | says |\n| --- | --- | --- | --- |\n");
    for Family { name, kind, labels, help } in families {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        // Writing to a string cannot fail.
        writeln!(text, "| `{name}` | {kind} | {} | {help} |", labels.join(", ")).ok();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::record::Partition;
    use crate::runtime::ManualClock;
    use crate::telemetry::Identity;

    const OWN: Family = Family {
        name: "tidegate_test_pressure_bar",
        kind: Kind::Gauge,
        labels: &["pipeline", "sensor"],
        help: "a pressure",
    };
    static OWN_REF: Family = OWN;

    fn full() -> (Telemetry, Arc<Board>) {
        let clock = Arc::new(ManualClock::default());
        clock.set(5_000_000);
        let telemetry = Telemetry::new(clock, &[OWN]);
        let board = Arc::new(Board::default());
        let outputs = vec!["views".to_owned()];
        board.identify(Identity { pipeline: "activity".to_owned(), process: 0, workers: 2, outputs });
        let partition = board.partition(&Partition::new("t\"1", 3));
        partition.batch(10, 8, 2_000_000);
        partition.position(7, Some(9));
        partition.late();
        partition.rejected(crate::decode::Reason::Schema);
        board.frontier(1_000_000);
        board.feeds("Tables", ["tables"].into_iter());
        board.fed_by("Tables").rows(4);
        board.sink_failed("tables", "no route to host");
        board.epoch_ended(Duration::from_millis(30), Duration::ZERO);
        board.set(&OWN_REF, &["PS1"], 2.5);
        telemetry.show(&board);
        (telemetry, board)
    }

    #[test]
    fn text_holds_what_the_board_was_told() {
        let (telemetry, _) = full();
        let text = telemetry.text();
        for line in [
            "tidegate_source_records_read_total{pipeline=\"activity\",topic=\"t\\\"1\",partition=\"3\"} 10",
            "tidegate_source_lag_records{pipeline=\"activity\",topic=\"t\\\"1\",partition=\"3\"} 2",
            "tidegate_watermark_lag_seconds{pipeline=\"activity\",topic=\"t\\\"1\",partition=\"3\"} 3",
            "tidegate_watermark_holds_frontier{pipeline=\"activity\",topic=\"t\\\"1\",partition=\"3\"} 1",
            "tidegate_frontier_lag_seconds{pipeline=\"activity\"} 4",
            "tidegate_sink_failing{pipeline=\"activity\",sink=\"tables\"} 1",
            "tidegate_epoch_duration_seconds_bucket{pipeline=\"activity\",le=\"0.05\"} 1",
            "tidegate_epoch_duration_seconds_count{pipeline=\"activity\"} 1",
            "tidegate_test_pressure_bar{pipeline=\"activity\",sensor=\"PS1\"} 2.5",
            "# TYPE tidegate_source_records_read_total counter",
        ] {
            assert!(text.lines().any(|found| found == line), "no {line} in\n{text}");
        }
    }

    #[test]
    fn another_board_of_the_same_pipeline_takes_the_place_of_the_first() {
        let (telemetry, board) = full();
        telemetry.show(&board);
        assert_eq!(telemetry.snapshots().len(), 1);
        let reads = telemetry.text().matches("tidegate_source_records_read_total{").count();
        assert_eq!(reads, 1);
    }

    #[test]
    fn partitions_beyond_a_number_share_one_line() {
        let (telemetry, board) = full();
        for number in 0..3_000 {
            board.partition(&Partition::new("many", number)).batch(1, 1, 0);
        }
        let text = telemetry.text();
        let lines = text.lines().filter(|line| line.starts_with("tidegate_source_records_read_total{"));
        assert_eq!(lines.count(), 2_001);
        assert_eq!(telemetry.snapshots()[0].records, 3_010, "and nothing is lost in the sum");
    }
}
