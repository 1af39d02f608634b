//! The input topics of a deployment: there, the ones that were read before, and nothing lost between checkpoint and topic.

use tidegate::checkpoint::{Manifest, PartitionCut};
use tidegate::record::Partition;
use tidegate::source::Source;
use tidegate::source::kafka::KafkaSource;

use super::{Check, Deployment};

/// A partition as the brokers know it.
struct Bounds {
    id: Partition,
    earliest: i64,
    end: i64,
}

/// Looks at them; `newest` is the newest manifest.
pub(super) fn look(of: &Deployment, newest: Option<&Manifest>) -> Vec<Check> {
    let what = "input topics";
    let Some(settings) = &of.input else {
        return vec![Check::good(what, "not asked: no brokers are named")];
    };
    let mend = "see that the brokers run and can be reached from here, and that the topics are there";
    let source = match KafkaSource::open(settings.clone()) {
        Ok(source) => source,
        Err(error) => return vec![Check::wrong(what, error.to_string(), mend)],
    };
    let ends = match source.ends() {
        Ok(ends) => ends,
        Err(error) => return vec![Check::wrong(what, error.to_string(), mend)],
    };
    let mut checks = Vec::new();
    if let Some(Err(error)) = newest.map(|newest| source.resume(&newest.input)) {
        let mend =
            "a start with this checkpoint would be refused: begin anew, with an empty one and empty sinks";
        checks.push(Check::wrong(what, error.to_string(), mend));
    }
    let bounds = source.partitions().iter().zip(ends);
    let bounds: Vec<Bounds> =
        bounds.map(|(info, end)| Bounds { id: info.id.clone(), earliest: info.from_offset, end }).collect();
    for topic in &settings.topics {
        let of_topic: Vec<&Bounds> = bounds.iter().filter(|bounds| *bounds.id.topic == **topic).collect();
        checks.extend(judge(topic, &of_topic, newest, of.max_lag));
    }
    checks
}

/// Where a run with this checkpoint goes on; `None` where it has never heard of the partition.
fn position(id: &Partition, newest: &Manifest) -> Option<i64> {
    let cut = newest.partitions.iter().find(|cut| cut.id == *id);
    cut.and_then(PartitionCut::next_offset).or_else(|| newest.input.starts.get(id).copied())
}

fn judge(topic: &str, bounds: &[&Bounds], newest: Option<&Manifest>, max_lag: Option<u64>) -> Vec<Check> {
    let mut checks = Vec::new();
    let (mut lag, mut most) = (0, None::<(u64, i32)>);
    for Bounds { id, earliest, end } in bounds {
        let known = newest.and_then(|newest| position(id, newest));
        let at = known.unwrap_or(*earliest);
        // Behind the last record of a partition that is empty may have stood the marks of transactions and nothing else.
        if at < *earliest && earliest < end {
            let says =
                format!("the records from offset {at} to {} are gone before they were read", earliest - 1);
            let mend = "raise the topic's retention; to go on without them, set kafka.lost_records to skip";
            checks.push(Check::wrong(format!("input {id}"), says, mend));
        }
        if at > *end {
            let says = format!("it ends at offset {end}, and has been read to {at}: this is another log");
            let mend = "begin anew, with an empty checkpoint and empty sinks, or bring the log back";
            checks.push(Check::wrong(format!("input {id}"), says, mend));
        }
        let behind = u64::try_from(end - at.max(*earliest)).unwrap_or(0);
        lag += behind;
        if most.is_none_or(|(most, _)| behind > most) {
            most = Some((behind, id.number));
        }
    }
    let gone = newest.iter().flat_map(|newest| &newest.partitions).filter(|cut| *cut.id.topic == *topic);
    for cut in gone.filter(|cut| !bounds.iter().any(|bounds| bounds.id == cut.id)) {
        let says = "the checkpoint has read it, and the topic has it no more";
        checks.push(Check::wrong(format!("input {}", cut.id), says, "this is another topic: begin anew"));
    }
    let (most, number) = most.unwrap_or((0, 0));
    let what = format!("input {topic}");
    let says = format!(
        "{} partitions, {lag} offsets behind at the newest epoch, at most {most} (partition {number})",
        bounds.len()
    );
    checks.push(if max_lag.is_some_and(|max| most > max) {
        Check::wrong(what, says, "give the run more workers, or see in its log what holds it back")
    } else {
        Check::good(what, says)
    });
    checks
}

#[cfg(test)]
mod tests {
    use super::super::tests::manifest;
    use super::*;

    fn cut(number: i32, last_offset: Option<i64>) -> PartitionCut {
        PartitionCut {
            id: Partition::new("t", number),
            seen: 0,
            last_offset,
            read_to: None,
            watermark_us: 0,
            accepted: 0,
            floor_us: i64::MIN,
            decisions: 0,
            released: false,
            ended: false,
            fronts: Vec::new(),
            side: Vec::new(),
        }
    }

    fn look(partitions: Vec<PartitionCut>, earliest: i64, end: i64, max_lag: Option<u64>) -> Vec<Check> {
        let newest = Manifest { partitions, ..manifest(1, &[]) };
        let bounds = Bounds { id: Partition::new("t", 0), earliest, end };
        judge("t", &[&bounds], Some(&newest), max_lag)
    }

    fn wrong(checks: &[Check]) -> Vec<&str> {
        checks.iter().filter(|check| !check.ok).map(|check| check.says.as_str()).collect()
    }

    #[test]
    fn lag_is_what_lies_between_the_checkpoint_and_the_end() {
        let found = look(vec![cut(0, Some(9))], 0, 25, None);
        assert!(found[0].ok && found[0].says.contains("15 offsets behind"), "{}", found[0].says);
        assert!(look(vec![cut(0, Some(9))], 0, 25, Some(15))[0].ok);
        assert_eq!(wrong(&look(vec![cut(0, Some(9))], 0, 25, Some(14))).len(), 1);
        // A partition of which nothing has been read begins with its earliest record.
        assert!(look(vec![cut(0, None)], 20, 25, None)[0].says.contains("5 offsets behind"));
    }

    #[test]
    fn what_was_lost_or_replaced_is_wrong() {
        assert_eq!(
            wrong(&look(vec![cut(0, Some(9))], 12, 25, None)),
            ["the records from offset 10 to 11 are gone before they were read"]
        );
        assert!(wrong(&look(vec![cut(0, Some(9))], 0, 5, None))[0].contains("another log"));
        assert!(wrong(&look(vec![cut(0, Some(9)), cut(1, None)], 0, 10, None))[0].contains("no more"));
    }
}
