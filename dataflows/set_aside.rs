//! Records that were set aside, late ones and dead letters: read back, told apart, and put before a pipeline again.
//!
//! Every such record lies in the topic `<input topic>.late` or `<input topic>.dlq`, in Kafka or in the files of an
//! output directory, with its own key and payload; its headers say where it came from and why it does not count.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tidegate::record::{Partition, Record};
use tidegate::source::{Assignment, Poll, Source, SourceError, Visit};

/// Records shown before the next lane has its turn.
const BATCH: usize = 1_000;

/// How long a live source may have nothing before it is asked again.
const NAP: Duration = Duration::from_millis(20);

/// The header of a record that was put before a pipeline again: the place that it was set aside at.
pub const REPLAYED: &str = "tidegate-replayed";

/// Which records that were set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Records that could not be used: dead letters.
    Dead,
    /// Records that were late, or idle, for at least one output.
    Late,
}

impl Kind {
    /// How the names of its topics end.
    pub const fn suffix(self) -> &'static str {
        match self {
            Kind::Dead => ".dlq",
            Kind::Late => ".late",
        }
    }
}

/// What the headers of a record that was set aside say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SetAside {
    /// Where it lies now: topic, partition, offset as `topic-0@12`.
    pub at: String,
    /// Why it does not count: a reason of contract section 6, `late` or `idle`.
    pub reason: String,
    /// What exactly is wrong with a dead letter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The outputs that a late record missed, with commas between.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outputs: Option<String>,
    /// By how many milliseconds it was late.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub late_by_ms: Option<i64>,
    /// The topic that it came from.
    pub topic: String,
    /// Its partition there.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
}

impl SetAside {
    /// Reads the headers of `record`, which lies in `partition`. A record without them (somebody else's) keeps what
    /// its topic's name tells.
    pub fn of(partition: &Partition, record: &Record<'_>, kind: Kind) -> SetAside {
        let text = |name: &str| {
            let value = record.headers.get(name.as_bytes()).flatten()?;
            Some(String::from_utf8_lossy(value).into_owned())
        };
        let number = |name: &str| text(name).and_then(|text| text.parse::<i64>().ok());
        let stem = partition.topic.strip_suffix(kind.suffix()).unwrap_or(&partition.topic);
        SetAside {
            at: place(partition, record.offset),
            reason: text("reason").unwrap_or_else(|| "unknown".to_owned()),
            detail: text("detail"),
            outputs: text("outputs"),
            late_by_ms: number("late_by_ms"),
            topic: text("topic").unwrap_or_else(|| stem.to_owned()),
            partition: number("partition")
                .and_then(|number| i32::try_from(number).ok())
                .unwrap_or(partition.number),
            offset: number("offset").unwrap_or(record.offset),
        }
    }

    /// The partition that the record came from.
    pub fn origin(&self) -> Partition {
        Partition::new(&self.topic, self.partition)
    }
}

/// `topic-0@12`.
pub fn place(partition: &Partition, offset: i64) -> String {
    format!("{partition}@{offset}")
}

/// Reads `topic-0@12`.
///
/// # Examples
/// ```
/// use tidegate_dataflows::set_aside::parse_place;
///
/// let (partition, offset) = parse_place("user-activity.dlq-3@12").expect("a place");
/// assert_eq!((&*partition.topic, partition.number, offset), ("user-activity.dlq", 3, 12));
/// assert!(parse_place("user_activity@12").is_none());
/// ```
pub fn parse_place(text: &str) -> Option<(Partition, i64)> {
    let (partition, offset) = text.rsplit_once('@')?;
    let (topic, number) = partition.rsplit_once('-')?;
    let number = number.parse::<i32>().ok().filter(|number| *number >= 0)?;
    Some((Partition::new(topic, number), offset.parse().ok().filter(|offset| *offset >= 0)?))
}

/// Shows every record of `source`, partition by partition as far as its lanes allow, until all have ended, `each`
/// says no, or `stop` says yes.
///
/// # Errors
/// As the source's.
pub fn visit(
    source: &Arc<dyn Source>,
    stop: &dyn Fn() -> bool,
    each: &mut dyn FnMut(&Partition, &Record<'_>) -> bool,
) -> Result<(), SourceError> {
    let ids: Vec<Partition> = source.partitions().iter().map(|info| info.id.clone()).collect();
    let assigned = source.partitions().iter().enumerate();
    let assigned: Vec<Assignment> =
        assigned.map(|(partition, info)| Assignment { partition, from_offset: info.from_offset }).collect();
    let mut reader = source.reader(&assigned)?;
    let mut open: Vec<usize> = (0..reader.lanes()).collect();
    let mut enough = false;
    while !open.is_empty() && !enough && !stop() {
        let mut idle = true;
        let mut still = Vec::with_capacity(open.len());
        for lane in open {
            let mut show = |partition: usize, record: &Record<'_>| {
                if enough {
                    return Visit::Stop;
                }
                enough = !each(&ids[partition], record);
                Visit::Taken
            };
            let poll = reader.poll(lane, BATCH, &mut show)?;
            idle &= poll == Poll::Idle;
            if poll != Poll::End {
                still.push(lane);
            }
        }
        open = still;
        if idle && !open.is_empty() {
            std::thread::sleep(NAP);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tidegate::record::{Headers, KafkaTime, Value};

    use super::*;

    fn with_headers(pairs: &[(&str, &str)], check: impl FnOnce(&Record<'_>)) {
        let mut wire = Vec::new();
        for (name, value) in pairs {
            Headers::append(&mut wire, name.as_bytes(), Some(value.as_bytes()));
        }
        check(&Record {
            offset: 5,
            kafka_time: KafkaTime::None,
            key: None,
            value: Some(Value::exact(b"x")),
            headers: Headers::from_wire(pairs.len() as u32, &wire),
        });
    }

    #[test]
    fn headers_say_where_it_came_from_and_why() {
        let pairs = [
            ("reason", "late"),
            ("outputs", "a,b"),
            ("late_by_ms", "1200"),
            ("topic", "t"),
            ("partition", "3"),
            ("offset", "77"),
        ];
        with_headers(&pairs, |record| {
            let aside = SetAside::of(&Partition::new("t.late", 3), record, Kind::Late);
            assert_eq!((aside.at.as_str(), aside.reason.as_str()), ("t.late-3@5", "late"));
            assert_eq!((aside.late_by_ms, aside.outputs.as_deref()), (Some(1200), Some("a,b")));
            assert_eq!((aside.origin(), aside.offset), (Partition::new("t", 3), 77));
        });
    }

    #[test]
    fn record_without_headers_keeps_what_the_topic_tells() {
        with_headers(&[], |record| {
            let aside = SetAside::of(&Partition::new("t.dlq", 2), record, Kind::Dead);
            assert_eq!((aside.reason.as_str(), aside.origin()), ("unknown", Partition::new("t", 2)));
        });
    }

    #[test]
    fn place_is_read_as_it_is_written() {
        let partition = Partition::new("a-b.dlq", 0);
        assert_eq!(parse_place(&place(&partition, 9)), Some((partition, 9)));
        for bad in ["", "t-0", "t@1", "t-x@1", "t-0@x", "t-0@-1"] {
            assert_eq!(parse_place(bad), None, "{bad:?}");
        }
    }
}
