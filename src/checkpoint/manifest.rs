//! The manifest: the one write that decides an epoch.

use serde::{Deserialize, Serialize};

use super::frame::{Damage, open, pack};
use crate::delivery::OutputTally;
use crate::ingest::{Counts, IdleDecision, OpenRecords};
use crate::record::Partition;
use crate::sink::Staged;
use crate::source::InputMark;

/// Where a partition stands at the end of an epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionCut {
    /// Which partition.
    pub id: Partition,
    /// How many records of it were shown, duplicates and watermark records included: where a fixture goes on.
    pub seen: u64,
    /// The offset of the last new record, if there was one.
    pub last_offset: Option<i64>,
    /// Behind all that has been read, where the source says so. Marks of transactions stand behind the last record, and retention may
    /// have taken all before by the time that a run goes on.
    #[serde(skip)]
    pub read_to: Option<i64>,
    /// The partition's watermark, `i64::MIN` before the first record.
    pub watermark_us: i64,
    /// How many records were accepted.
    pub accepted: i64,
    /// The floor that the partition was given after it had been idle; `i64::MIN` where it was given none.
    pub floor_us: i64,
    /// How many decisions about its being idle there were.
    pub decisions: i64,
    /// Whether it was idle, so that it held no window open.
    pub released: bool,
    /// Whether its end has been read, so that it never holds a window open again.
    pub ended: bool,
    /// What the near ends of outputs remember of the partition.
    pub fronts: Vec<u8>,
    /// What the late and dead-letter topics remember of it.
    pub side: Vec<u8>,
}

impl PartitionCut {
    /// Where a source goes on that goes on by offset; `None` where nothing has been read.
    pub fn next_offset(&self) -> Option<i64> {
        self.last_offset.map(|last| last + 1).max(self.read_to)
    }
}

/// A file of operators' state that a manifest needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateFile {
    /// Its name in the store.
    pub name: String,
    /// Its size.
    pub bytes: u64,
}

impl StateFile {
    /// Whether it holds what changed, and not all there is.
    pub fn is_delta(&self) -> bool {
        self.name.starts_with("delta-")
    }
}

/// Everything that an epoch decides.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Manifest {
    /// The pipeline's name.
    pub pipeline: String,
    /// What its state depends on: windows, gap, delay, topics. Another text is another pipeline.
    pub schema: String,
    /// The epoch, from 1.
    pub epoch: u64,
    /// The generation of the run that decided it.
    pub generation: u64,
    /// When it was decided, by the clock, in microseconds.
    pub decided_us: i64,
    /// The dataflow's event-time watermark at the end of the epoch.
    pub watermark_us: i64,
    /// Every partition, in the order of [`Partition`]: a partition's index is its rank.
    pub partitions: Vec<PartitionCut>,
    /// The ledger from the beginning of the first run on.
    pub counts: Counts,
    /// Rows and digests of the outputs, likewise.
    pub tallies: Vec<OutputTally>,
    /// Each sink's name and staged content.
    pub staged: Vec<(String, Staged)>,
    /// Operators' state: files of whole state, then what changed since, in order.
    pub state: Vec<StateFile>,
    /// Whether the input has ended, and with it the run.
    pub finished: bool,
    /// What the input was known by.
    pub input: InputMark,
    /// The decisions about idle partitions, each with its epoch, from the epoch [`Manifest::idle_from`] on.
    pub idle: Vec<(u64, IdleDecision)>,
    /// The first epoch whose decisions are all in [`Manifest::idle`].
    pub idle_from: u64,
    /// What columns of wall-clock time have in the epoch's rows: when it began, by worker 0's clock. `None` where the input is not
    /// [live](crate::source::Source::is_live): there they repeat Kafka's timestamps.
    #[serde(skip)]
    pub wall_us: Option<i64>,
    /// Which of the counted records are in no final result yet.
    #[serde(skip)]
    pub open: Vec<OpenRecords>,
}

impl Manifest {
    /// The decisions about idle partitions after `epoch`, or the first epoch of which some are missing.
    ///
    /// # Errors
    /// That epoch.
    pub fn idle_since(&self, epoch: u64) -> Result<Vec<IdleDecision>, u64> {
        if epoch + 1 < self.idle_from {
            return Err(epoch + 1);
        }
        let since = self.idle.iter().filter(|(of, _)| *of > epoch);
        Ok(since.map(|(_, decision)| decision.clone()).collect())
    }

    /// The manifest as its file has it.
    ///
    /// # Errors
    /// As [`pack`](super::pack()).
    pub fn pack(&self) -> Result<Vec<u8>, Damage> {
        // What version 2 wrote, and what came since.
        pack(&(self, self.wall_us, read_to(&self.partitions), &self.open))
    }

    /// A manifest from its file.
    ///
    /// # Errors
    /// As [`unpack`](super::unpack()).
    pub fn unpack(bytes: &[u8]) -> Result<Manifest, Damage> {
        let (version, body) = open(bytes)?;
        let read = match version {
            1 => bincode::deserialize(body).map(v1::Manifest::now),
            2 => bincode::deserialize(body),
            3 | 4 => bincode::deserialize(body).map(|(manifest, wall_us)| Manifest { wall_us, ..manifest }),
            5 => bincode::deserialize(body)
                .map(|(manifest, wall_us, read_to)| whole(manifest, wall_us, read_to, Vec::new())),
            _ => bincode::deserialize(body)
                .map(|(manifest, wall_us, read_to, open)| whole(manifest, wall_us, read_to, open)),
        };
        read.map_err(|error| Damage::Damaged(error.to_string()))
    }

    /// The names of an epoch's manifest and of its copy.
    pub fn names(epoch: u64) -> [String; 2] {
        [format!("manifest-{epoch:010}.tg"), format!("manifest-{epoch:010}.copy")]
    }

    /// The epoch of a manifest by its file's name.
    pub fn epoch_of(name: &str) -> Option<u64> {
        let (number, ending) = name.strip_prefix("manifest-")?.split_once('.')?;
        matches!(ending, "tg" | "copy").then(|| number.parse().ok())?
    }
}

/// A manifest with what it leaves out by itself.
fn whole(
    mut manifest: Manifest,
    wall_us: Option<i64>,
    read_to: Vec<Option<i64>>,
    open: Vec<OpenRecords>,
) -> Manifest {
    set_read_to(&mut manifest.partitions, read_to);
    Manifest { wall_us, open, ..manifest }
}

fn read_to(cuts: &[PartitionCut]) -> Vec<Option<i64>> {
    cuts.iter().map(|cut| cut.read_to).collect()
}

fn set_read_to(cuts: &mut [PartitionCut], read_to: Vec<Option<i64>>) {
    cuts.iter_mut().zip(read_to).for_each(|(cut, read_to)| cut.read_to = read_to);
}

/// Cuts as they go from process to process: with what [`PartitionCut`] by itself leaves out, as former versions' files do.
pub(crate) mod whole_cuts {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{PartitionCut, read_to, set_read_to};

    pub(crate) fn serialize<S: Serializer>(cuts: &[PartitionCut], to: S) -> Result<S::Ok, S::Error> {
        (cuts, read_to(cuts)).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<PartitionCut>, D::Error> {
        let (mut cuts, read_to) = <(Vec<PartitionCut>, _)>::deserialize(from)?;
        set_read_to(&mut cuts, read_to);
        Ok(cuts)
    }
}

/// What version 1 wrote: it knew of no idle partition and of no input.
mod v1 {
    use serde::{Deserialize, Serialize};

    use super::StateFile;
    use crate::delivery::OutputTally;
    use crate::ingest::Counts;
    use crate::record::Partition;
    use crate::sink::Staged;

    #[derive(Serialize, Deserialize)]
    pub(super) struct PartitionCut {
        pub(super) id: Partition,
        pub(super) seen: u64,
        pub(super) last_offset: Option<i64>,
        pub(super) watermark_us: i64,
        pub(super) accepted: i64,
        pub(super) fronts: Vec<u8>,
        pub(super) side: Vec<u8>,
    }

    #[derive(Serialize, Deserialize)]
    pub(super) struct Manifest {
        pub(super) pipeline: String,
        pub(super) schema: String,
        pub(super) epoch: u64,
        pub(super) generation: u64,
        pub(super) decided_us: i64,
        pub(super) watermark_us: i64,
        pub(super) partitions: Vec<PartitionCut>,
        pub(super) counts: Counts,
        pub(super) tallies: Vec<OutputTally>,
        pub(super) staged: Vec<(String, Staged)>,
        pub(super) state: Vec<StateFile>,
        pub(super) finished: bool,
    }

    impl Manifest {
        pub(super) fn now(self) -> super::Manifest {
            let cut = |PartitionCut { id, seen, last_offset, watermark_us, accepted, fronts, side }| {
                let (floor_us, decisions, released, ended) = (i64::MIN, 0, false, self.finished);
                super::PartitionCut {
                    id,
                    seen,
                    last_offset,
                    read_to: None,
                    watermark_us,
                    accepted,
                    floor_us,
                    decisions,
                    released,
                    ended,
                    fronts,
                    side,
                }
            };
            super::Manifest {
                partitions: self.partitions.into_iter().map(cut).collect(),
                pipeline: self.pipeline,
                schema: self.schema,
                epoch: self.epoch,
                generation: self.generation,
                decided_us: self.decided_us,
                watermark_us: self.watermark_us,
                counts: self.counts,
                tallies: self.tallies,
                staged: self.staged,
                state: self.state,
                finished: self.finished,
                input: Default::default(),
                idle: Vec::new(),
                idle_from: 0,
                wall_us: None,
                open: Vec::new(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::pack_as;
    use super::*;

    #[test]
    fn what_former_versions_wrote_is_read() {
        let cut = v1::PartitionCut {
            id: Partition::new("t", 3),
            seen: 7,
            last_offset: Some(9),
            watermark_us: 11,
            accepted: 5,
            fronts: vec![1],
            side: vec![2],
        };
        let former = v1::Manifest {
            pipeline: "p".to_owned(),
            schema: "s".to_owned(),
            epoch: 4,
            generation: 2,
            decided_us: 1,
            watermark_us: 10,
            partitions: vec![cut],
            counts: Counts::default(),
            tallies: Vec::new(),
            staged: vec![("sink".to_owned(), Staged(vec![3]))],
            state: Vec::new(),
            finished: false,
        };
        let now = Manifest::unpack(&pack_as(1, &former).unwrap()).unwrap();
        assert_eq!((now.epoch, now.watermark_us, &now.staged), (4, 10, &former.staged));
        let cut = &now.partitions[0];
        assert_eq!((cut.seen, cut.last_offset, cut.accepted, cut.floor_us), (7, Some(9), 5, i64::MIN));
        assert!(!cut.released && !cut.ended);
        assert_eq!((&cut.fronts[..], &cut.side[..]), (&[1][..], &[2][..]));
        assert_eq!(now.wall_us, None);

        // So is what version 2 wrote: all but the time.
        let now = Manifest { wall_us: Some(17), ..now };
        let second = Manifest::unpack(&pack_as(2, &now).unwrap()).unwrap();
        assert_eq!((second.epoch, second.partitions, second.wall_us), (4, now.partitions.clone(), None));
        // Versions 3 and 4 left out how far had been read behind the last record.
        let third = Manifest::unpack(&pack_as(4, &(&now, now.wall_us)).unwrap()).unwrap();
        assert_eq!((third.epoch, &third.partitions, third.wall_us), (4, &now.partitions, Some(17)));
        assert_eq!(third.partitions[0].next_offset(), Some(10));
        let mut now = now;
        now.partitions[0].read_to = Some(12);
        now.open = vec![OpenRecords { output: 1, until_us: 20, records: 3 }];
        let body = (&now, now.wall_us, read_to(&now.partitions));
        let fifth = Manifest::unpack(&pack_as(5, &body).unwrap()).unwrap();
        assert_eq!((fifth.epoch, &fifth.partitions, fifth.wall_us), (4, &now.partitions, Some(17)));
        assert_eq!(
            fifth.partitions[0].next_offset(),
            Some(12),
            "marks of transactions stand behind the last record"
        );
        // Version 5 did not know what is open.
        let sixth = Manifest::unpack(&now.pack().unwrap()).unwrap();
        assert_eq!((&sixth.partitions, sixth.wall_us, &sixth.open), (&now.partitions, Some(17), &now.open));
        assert_eq!(fifth.open, []);
    }
}
