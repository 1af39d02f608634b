//! Partitions held in memory: for tests, benches, and input that is already there as lines.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::line_ends::LineEnds;
use super::slab::Slab;
use super::{Assignment, PartitionInfo, Poll, Reader, Source, SourceError, Visit};
use crate::record::{Headers, KafkaTime, Partition, Record, Value};

/// A record that owns its bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnedRecord {
    /// Its offset in its partition.
    pub offset: i64,
    /// Kafka's timestamp.
    pub kafka_time: KafkaTime,
    /// The key, `None` when null.
    pub key: Option<Vec<u8>>,
    /// The value, `None` for a tombstone.
    pub value: Option<Vec<u8>>,
    /// The headers' names and values.
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl OwnedRecord {
    /// A record of nothing but an offset and a value.
    pub fn of_value(offset: i64, value: impl Into<Vec<u8>>) -> OwnedRecord {
        OwnedRecord { offset, value: Some(value.into()), ..OwnedRecord::default() }
    }

    /// Calls `use_it` with the record in borrowed form.
    pub fn with<T>(&self, use_it: impl FnOnce(&Record<'_>) -> T) -> T {
        let wire = self.wire();
        use_it(&self.borrowed(&wire))
    }

    fn wire(&self) -> Vec<u8> {
        let mut wire = Vec::new();
        for (name, value) in &self.headers {
            Headers::append(&mut wire, name, value.as_deref());
        }
        wire
    }

    fn borrowed<'a>(&'a self, wire: &'a [u8]) -> Record<'a> {
        Record {
            offset: self.offset,
            kafka_time: self.kafka_time,
            key: self.key.as_deref(),
            value: self.value.as_deref().map(Value::exact),
            headers: Headers::from_wire(self.headers.len() as u32, wire),
        }
    }
}

impl From<&Record<'_>> for OwnedRecord {
    fn from(record: &Record<'_>) -> OwnedRecord {
        let header = |(name, value): (&[u8], Option<&[u8]>)| (name.to_vec(), value.map(<[u8]>::to_vec));
        OwnedRecord {
            offset: record.offset,
            kafka_time: record.kafka_time,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(|value| value.bytes().to_vec()),
            headers: record.headers.iter().map(header).collect(),
        }
    }
}

/// Partitions given as records; each is a lane of its own, or all are one ([`in_one_lane`](MemorySource::in_one_lane)).
pub struct MemorySource {
    partitions: Vec<PartitionInfo>,
    logs: Vec<Log>,
}

/// Records in their order, each with its partition and its headers in wire form.
type Log = Arc<[(usize, OwnedRecord, Vec<u8>)]>;

impl MemorySource {
    /// A source of these partitions, whose records are in log order.
    pub fn new(partitions: BTreeMap<Partition, Vec<OwnedRecord>>) -> MemorySource {
        let (mut infos, mut logs) = (Vec::new(), Vec::new());
        for (partition, (id, records)) in partitions.into_iter().enumerate() {
            infos.push(PartitionInfo { id, records_hint: records.len() as u64, from_offset: 0 });
            let with_wire = |record: OwnedRecord| {
                let wire = record.wire();
                (partition, record, wire)
            };
            logs.push(records.into_iter().map(with_wire).collect());
        }
        MemorySource { partitions: infos, logs }
    }

    /// The same with all partitions in one lane, as in one recorded file: in turns, a record each.
    pub fn in_one_lane(self) -> MemorySource {
        let longest = self.logs.iter().map(|log| log.len()).max().unwrap_or(0);
        let turns = (0..longest).flat_map(|at| self.logs.iter().filter_map(move |log| log.get(at)));
        let all: Log = turns.cloned().collect();
        MemorySource { logs: vec![all], ..self }
    }
}

impl Source for MemorySource {
    fn partitions(&self) -> &[PartitionInfo] {
        &self.partitions
    }

    fn reader(&self, assigned: &[Assignment]) -> Result<Box<dyn Reader>, SourceError> {
        let lane = |assigned: &[Assignment], log: &Log| MemoryLane {
            partitions: assigned.iter().map(|assignment| assignment.partition).collect(),
            from: assigned.iter().map(|assignment| (assignment.partition, assignment.from_offset)).collect(),
            log: Arc::clone(log),
            next: 0,
        };
        let lanes = match &self.logs[..] {
            [all] if !assigned.is_empty() => vec![lane(assigned, all)],
            logs => {
                let of = |one: &Assignment| Some(lane(std::slice::from_ref(one), logs.get(one.partition)?));
                assigned.iter().filter_map(of).collect()
            }
        };
        Ok(Box::new(MemoryReader { lanes }))
    }
}

struct MemoryReader {
    lanes: Vec<MemoryLane>,
}

struct MemoryLane {
    partitions: Vec<usize>,
    /// From which offset on each is shown; `i64::MIN` once it has been.
    from: BTreeMap<usize, i64>,
    log: Log,
    next: usize,
}

impl Reader for MemoryReader {
    fn lanes(&self) -> usize {
        self.lanes.len()
    }

    fn lane_partitions(&self, lane: usize) -> &[usize] {
        &self.lanes[lane].partitions
    }

    fn poll(
        &mut self,
        lane: usize,
        budget: usize,
        visit: &mut dyn FnMut(usize, &Record<'_>) -> Visit,
    ) -> Result<Poll, SourceError> {
        let MemoryLane { from, log, next, .. } = &mut self.lanes[lane];
        let mut left = budget;
        while let Some((partition, record, wire)) = log.get(*next).filter(|_| left > 0) {
            if let Some(from) = from.get_mut(partition).filter(|from| record.offset >= **from) {
                if visit(*partition, &record.borrowed(wire)) == Visit::Stop {
                    return Ok(Poll::More);
                }
                *from = i64::MIN;
                left -= 1;
            }
            *next += 1;
        }
        Ok(if *next == log.len() { Poll::End } else { Poll::More })
    }
}

/// Partitions given as lines: each line is a value, its number from 0 the offset; no key, no timestamp.
///
/// A last line without a newline counts; an empty line is an empty value.
pub struct NdjsonSource {
    partitions: Vec<PartitionInfo>,
    slabs: Vec<Arc<Slab>>,
}

impl NdjsonSource {
    /// A source of these partitions' lines.
    pub fn new(partitions: BTreeMap<Partition, Vec<u8>>) -> NdjsonSource {
        NdjsonSource::of_slabs(partitions.into_iter().map(|(id, bytes)| (id, Slab::from(bytes))))
    }

    /// A source of the lines in one file for each partition.
    ///
    /// The files are mapped into memory: nobody may change them as long as the source or a reader of it lives.
    ///
    /// # Errors
    /// [`SourceError::Io`] when a file cannot be opened.
    pub fn open<P: AsRef<Path>>(partitions: &BTreeMap<Partition, P>) -> Result<NdjsonSource, SourceError> {
        let mapped = partitions.iter().map(|(id, path)| Ok((id.clone(), Slab::map(path.as_ref())?)));
        let mapped: Vec<_> = mapped.collect::<Result<_, SourceError>>()?;
        Ok(NdjsonSource::of_slabs(mapped))
    }

    fn of_slabs(partitions: impl IntoIterator<Item = (Partition, Slab)>) -> NdjsonSource {
        let (mut infos, mut slabs) = (Vec::new(), Vec::new());
        for (id, slab) in partitions {
            infos.push(PartitionInfo { id, records_hint: lines_hint(&slab), from_offset: 0 });
            slabs.push(Arc::new(slab));
        }
        NdjsonSource { partitions: infos, slabs }
    }
}

/// About how many lines there are, judging by the first ones.
fn lines_hint(bytes: &[u8]) -> u64 {
    let sample = &bytes[..bytes.len().min(64 << 10)];
    let lines = memchr::memchr_iter(b'\n', sample).count().max(1);
    (lines as f64 * bytes.len() as f64 / sample.len().max(1) as f64) as u64
}

impl Source for NdjsonSource {
    fn partitions(&self) -> &[PartitionInfo] {
        &self.partitions
    }

    fn reader(&self, assigned: &[Assignment]) -> Result<Box<dyn Reader>, SourceError> {
        let lanes = assigned.iter().filter_map(|&Assignment { partition, from_offset }| {
            let slab = Arc::clone(self.slabs.get(partition)?);
            Some(NdjsonLane { partition, slab, at: 0, offset: 0, from_offset, ends: LineEnds::new() })
        });
        Ok(Box::new(NdjsonReader { lanes: lanes.collect() }))
    }
}

struct NdjsonReader {
    lanes: Vec<NdjsonLane>,
}

struct NdjsonLane {
    partition: usize,
    slab: Arc<Slab>,
    at: usize,
    /// Number of the line at `at`.
    offset: i64,
    from_offset: i64,
    ends: LineEnds,
}

impl NdjsonLane {
    /// Goes to the line `from_offset`, if it is ahead.
    fn seek(&mut self) {
        while self.offset < self.from_offset && self.at < self.slab.len() {
            let len = memchr::memchr(b'\n', &self.slab[self.at..]);
            self.at = len.map_or(self.slab.len(), |len| self.at + len + 1);
            self.offset += 1;
        }
    }
}

impl Reader for NdjsonReader {
    fn lanes(&self) -> usize {
        self.lanes.len()
    }

    fn lane_partitions(&self, lane: usize) -> &[usize] {
        std::slice::from_ref(&self.lanes[lane].partition)
    }

    fn poll(
        &mut self,
        lane: usize,
        budget: usize,
        visit: &mut dyn FnMut(usize, &Record<'_>) -> Visit,
    ) -> Result<Poll, SourceError> {
        let lane = &mut self.lanes[lane];
        lane.seek();
        let NdjsonLane { partition, slab, at, offset, ends, .. } = lane;
        let slab: &[u8] = slab;
        // Made once: what is the same for all records need not be written for each.
        let mut record = Record {
            offset: *offset,
            kafka_time: KafkaTime::None,
            key: None,
            value: None,
            headers: Headers::default(),
        };
        let mut show = |at: usize, end: usize, offset: i64| {
            record.offset = offset;
            record.value = Some(Value::within(&slab[at..], end - at));
            visit(*partition, &record) == Visit::Taken
        };
        let mut left = budget;
        while left > 0 && *at < slab.len() {
            let (base, found) = ends.of_lines(slab, *at);
            if found.is_empty() {
                if show(*at, slab.len(), *offset) {
                    (*at, *offset) = (slab.len(), *offset + 1);
                }
                break;
            }
            let mut shown = 0;
            for end in found.iter().take(left) {
                let end = base + *end as usize;
                if !show(*at, end, *offset) {
                    break;
                }
                (*at, *offset, shown) = (end + 1, *offset + 1, shown + 1);
            }
            let stopped = shown < found.len().min(left);
            ends.pass(shown);
            left -= shown;
            if stopped {
                break;
            }
        }
        Ok(if *at == slab.len() { Poll::End } else { Poll::More })
    }
}

/// Records of every kind, for property tests.
#[cfg(test)]
pub(crate) mod any {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            3 => "[ -~é\\n]{0,80}".prop_map(String::into_bytes),
            1 => Just(Vec::new()),
            1 => vec(any::<u8>(), 0..20),
            1 => (any::<u8>(), 0usize..400).prop_map(|(byte, len)| vec![byte; len]),
        ]
    }

    /// A record at any offset.
    pub(crate) fn any_record() -> impl Strategy<Value = OwnedRecord> {
        let time = prop_oneof![
            Just(KafkaTime::None),
            (0..=i64::MAX).prop_map(KafkaTime::Create),
            (0i64..5).prop_map(KafkaTime::LogAppend),
        ];
        let headers = vec((bytes(), option::of(bytes())), 0..3);
        (0..=i64::MAX, time, option::of(bytes()), option::of(bytes()), headers).prop_map(
            |(offset, kafka_time, key, value, headers)| OwnedRecord {
                offset,
                kafka_time,
                key,
                value,
                headers,
            },
        )
    }

    /// A partition's log: offsets ascend, with gaps.
    pub(crate) fn any_log(len: std::ops::Range<usize>) -> impl Strategy<Value = Vec<OwnedRecord>> {
        vec((any_record(), 1i64..4), len).prop_map(|steps| {
            let mut next = -1;
            let place = |(record, gap)| {
                next += gap;
                OwnedRecord { offset: next, ..record }
            };
            steps.into_iter().map(place).collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads one lane, taking records by the pattern of `take` and polling by the budgets of `budgets`.
    fn read(source: &dyn Source, from_offset: i64, budget: usize) -> Vec<OwnedRecord> {
        let mut reader = source.reader(&[Assignment { partition: 0, from_offset }]).unwrap();
        let (mut all, mut stop) = (Vec::new(), false);
        loop {
            let poll = reader.poll(0, budget, &mut |partition, record| {
                assert_eq!(partition, 0);
                stop = !stop;
                if stop {
                    return Visit::Stop;
                }
                all.push(OwnedRecord::from(record));
                Visit::Taken
            });
            if poll.unwrap() == Poll::End {
                return all;
            }
        }
    }

    #[test]
    fn memory_records_come_in_order_whatever_the_budget() {
        let header = (b"name".to_vec(), None);
        let records: Vec<OwnedRecord> = (0..5)
            .map(|i| OwnedRecord {
                headers: vec![header.clone(); i],
                key: Some(vec![i as u8]),
                ..OwnedRecord::of_value(10 + i as i64, "value")
            })
            .collect();
        let source = MemorySource::new([(Partition::new("t", 3), records.clone())].into());
        for budget in 1..7 {
            assert_eq!(read(&source, 0, budget), records);
            assert_eq!(read(&source, 12, budget), records[2..]);
        }
    }

    #[test]
    fn each_line_is_a_value_and_its_number_the_offset() {
        for text in ["{}\n\n[]", "{}\n\n[]\n"] {
            let source = NdjsonSource::new([(Partition::new("t", 0), text.into())].into());
            let lines: Vec<OwnedRecord> = ["{}", "", "[]"]
                .into_iter()
                .zip(0..)
                .map(|(line, n)| OwnedRecord::of_value(n, line))
                .collect();
            for budget in 1..5 {
                assert_eq!(read(&source, 0, budget), lines);
                assert_eq!(read(&source, 2, budget), lines[2..]);
                assert_eq!(read(&source, 9, budget), []);
            }
        }
        let empty = NdjsonSource::new([(Partition::new("t", 0), Vec::new())].into());
        assert_eq!(read(&empty, 0, 3), []);
    }

    #[test]
    fn one_lane_shows_partitions_in_turns() {
        let log = |count| (0..count).map(|n| OwnedRecord::of_value(n, format!("{n}"))).collect::<Vec<_>>();
        let logs = [(0, log(3)), (1, log(1)), (2, log(2))];
        let logs: BTreeMap<_, _> = logs.into_iter().map(|(n, log)| (Partition::new("t", n), log)).collect();
        let source = MemorySource::new(logs).in_one_lane();
        let assigned = [0, 2].map(|partition| Assignment { partition, from_offset: partition as i64 / 2 });
        let mut reader = source.reader(&assigned).unwrap();
        assert_eq!((reader.lanes(), reader.lane_partitions(0)), (1, &[0, 2][..]));
        let mut all = Vec::new();
        let mut note = |partition: usize, record: &Record<'_>| {
            all.push((partition, record.offset));
            Visit::Taken
        };
        assert_eq!(reader.poll(0, 2, &mut note).unwrap(), Poll::More);
        assert_eq!(reader.poll(0, 2, &mut note).unwrap(), Poll::End);
        assert_eq!(all, [(0, 0), (0, 1), (2, 1), (0, 2)]);
    }

    proptest::proptest! {
        /// Lines of which many are found at once, and polls that end between them.
        #[test]
        fn lines_are_what_lies_between_newlines(
            lens in proptest::collection::vec(0_usize..300, 0..400),
            newline_at_end: bool,
            budgets in proptest::collection::vec(1_usize..200, 1..8),
            stops in proptest::collection::vec(proptest::bool::weighted(0.05), 1..64),
            from in 0_i64..50,
        ) {
            let mut bytes: Vec<u8> = lens.iter().flat_map(|len| [vec![b'a'; *len], vec![b'\n']].concat()).collect();
            if !newline_at_end {
                bytes.extend_from_slice(b"the last");
            }
            let ends = bytes.ends_with(b"\n");
            let mut expected: Vec<(i64, Vec<u8>)> = (0..).zip(bytes.split(|byte| *byte == b'\n').map(<[u8]>::to_vec)).collect();
            if ends || bytes.is_empty() {
                expected.pop();
            }
            expected.retain(|(offset, _)| *offset >= from);
            let source = NdjsonSource::new([(Partition::new("t", 0), bytes)].into());
            let mut reader = source.reader(&[Assignment { partition: 0, from_offset: from }]).unwrap();
            let (mut found, mut stops) = (Vec::new(), stops.into_iter().chain([false]).cycle());
            for budget in budgets.into_iter().cycle() {
                let mut taken = 0;
                let poll = reader.poll(0, budget, &mut |_, record| {
                    if stops.next() == Some(true) {
                        return Visit::Stop;
                    }
                    taken += 1;
                    found.push((record.offset, record.value.expect("a line").bytes().to_vec()));
                    Visit::Taken
                });
                proptest::prop_assert!(taken <= budget);
                if poll.unwrap() == Poll::End {
                    break;
                }
            }
            proptest::prop_assert_eq!(found, expected);
        }
    }
}
