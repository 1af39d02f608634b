//! The near end of an output: what happens to an accepted record before anything is exchanged.
//!
//! A [`Front`] judges each record for its outputs, combines it locally, and now and then hands packed
//! items to the dataflow. Fronts are compiled into the source operator ([`super::ingest`]), so that a
//! record costs no queue, no allocation and no virtual call on its way to a local aggregate.

use timely::ExchangeData;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use super::Decode;
use super::ledger::{Ledger, Verdict};
use crate::record::{Partition, Record};
use crate::state::StateError;
use crate::tick::Tick;

/// An accepted record's place in its partition's log, and the partition's watermark there.
#[derive(Clone, Copy)]
pub struct Position<'a> {
    /// The record.
    pub record: &'a Record<'a>,
    /// Its event time.
    pub time_us: i64,
    /// Its partition's watermark before it; `i64::MIN` before the first record.
    pub watermark_us: i64,
    /// Its partition.
    pub place: &'a Place,
}

/// What stays the same for many records of a partition.
#[derive(Clone, Debug)]
pub struct Place {
    /// The partition.
    pub partition: Partition,
    /// Its rank among all partitions of the run, ascending like [`Partition`].
    pub rank: u32,
    /// The floor that it was given after it had been idle; `i64::MIN` where it was given none.
    pub floor_us: i64,
}

impl Position<'_> {
    /// What the record is judged by: the watermark or the floor, whichever is later.
    #[inline(always)]
    pub fn bound_us(&self) -> i64 {
        self.watermark_us.max(self.place.floor_us)
    }

    /// The verdict on a record that is too late by [`Position::bound_us`], where `late_by_watermark` says whether it is
    /// so by the watermark alone.
    #[cold]
    pub fn too_late(&self, late_by_watermark: impl FnOnce(i64) -> bool) -> Verdict {
        let idle = self.place.floor_us > self.watermark_us && !late_by_watermark(self.watermark_us);
        if idle { Verdict::Idle } else { Verdict::Late }
    }

    /// The verdict on the record outside windows.
    #[inline]
    pub fn outside_windows(&self) -> Verdict {
        if self.time_us >= self.bound_us() {
            return Verdict::Counted;
        }
        self.too_late(|watermark_us| self.time_us < watermark_us)
    }

    /// Whether the record is late outside windows: its event time is before its partition's watermark.
    #[inline]
    pub fn is_late(&self) -> bool {
        self.time_us < self.watermark_us
    }
}

/// Collects the verdicts on one record.
pub struct Verdicts<'a> {
    ledger: &'a Ledger,
    late: u32,
    idle: u32,
}

impl<'a> Verdicts<'a> {
    /// None yet; for a front that is driven without the source operator.
    pub fn new(ledger: &'a Ledger) -> Self {
        Verdicts { ledger, late: 0, idle: 0 }
    }

    /// Files the record under `verdict` for the output with index `output`.
    #[inline(always)]
    pub fn give(&mut self, output: usize, verdict: Verdict) {
        self.ledger.file(output, verdict);
        match verdict {
            Verdict::Counted | Verdict::Filtered => {}
            Verdict::Late => self.late |= 1 << output,
            Verdict::Idle => self.idle |= 1 << output,
        }
    }

    /// Files the record as counted for the output with index `output`, and open until it is [settled](Ledger::settle).
    #[inline(always)]
    pub fn give_open(&mut self, output: usize) {
        self.ledger.file(output, Verdict::Counted);
        self.ledger.open(output, 1);
    }

    /// The outputs that the record is late for, as a set of bits.
    pub(super) fn late(&self) -> u32 {
        self.late
    }

    /// The outputs that it is too late for only by its partition's floor.
    pub(super) fn idle(&self) -> u32 {
        self.idle
    }
}

/// Why a front is asked for what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// The worker's event time is about to move to this: everything that a consumer needs before its
    /// frontier gets there must leave now.
    Advance(i64),
    /// A trigger wants results of open windows, and the epoch goes on: what they are made of must leave now. What is part of an
    /// epoch as it is (lines, rows) has time.
    Trigger,
    /// Everything must leave now: an epoch ends.
    Flush,
    /// The input has ended for this worker; the largest final watermark of its partitions.
    End(i64),
}

impl Edge {
    /// Whether everything must leave.
    pub fn is_end(self) -> bool {
        matches!(self, Edge::Flush | Edge::End(_))
    }
}

/// The near end of one or several outputs of a pipeline.
pub trait Front<D: Decode>: 'static {
    /// What it sends into the dataflow.
    type Item: ExchangeData + Clone;

    /// Judges an accepted event and takes it where it counts.
    fn observe(&mut self, at: &Position<'_>, event: &D::Event<'_>, verdicts: &mut Verdicts<'_>);

    /// Is told of a record that states a watermark and is nothing else; by default it does nothing.
    fn stated(&mut self, rank: u32, partition: &Partition, record: &Record<'_>) {
        let _ = (rank, partition, record);
    }

    /// Hands over what must leave at `edge`, and may hand over more.
    fn drain(&mut self, edge: Edge, send: &mut dyn FnMut(Self::Item));

    /// Notes until when the records are open that it has counted since it was called last ([`Ledger::open_until`]); called
    /// after [`Front::drain`]. By default it does nothing.
    fn note_open(&mut self, ledger: &Ledger) {
        let _ = ledger;
    }

    /// What it must remember of the partition with this rank beyond what [`Edge::Flush`] makes it hand over; by default
    /// nothing.
    fn save(&self, rank: u32) -> Vec<u8> {
        let _ = rank;
        Vec::new()
    }

    /// Takes back what was saved of a partition, which now has this rank.
    ///
    /// # Errors
    /// When it cannot be read.
    fn restore(&mut self, rank: u32, partition: &Partition, saved: &[u8]) -> Result<(), StateError> {
        let _ = (rank, partition, saved);
        Ok(())
    }
}

/// An output that can be switched off.
impl<D: Decode, F: Front<D>> Front<D> for Option<F> {
    type Item = F::Item;
    #[inline(always)]
    fn observe(&mut self, at: &Position<'_>, event: &D::Event<'_>, verdicts: &mut Verdicts<'_>) {
        if let Some(front) = self {
            front.observe(at, event, verdicts);
        }
    }
    fn stated(&mut self, rank: u32, partition: &Partition, record: &Record<'_>) {
        if let Some(front) = self {
            front.stated(rank, partition, record);
        }
    }
    fn drain(&mut self, edge: Edge, send: &mut dyn FnMut(Self::Item)) {
        if let Some(front) = self {
            front.drain(edge, send);
        }
    }
    fn note_open(&mut self, ledger: &Ledger) {
        if let Some(front) = self {
            front.note_open(ledger);
        }
    }
    fn save(&self, rank: u32) -> Vec<u8> {
        self.as_ref().map(|front| front.save(rank)).unwrap_or_default()
    }
    fn restore(&mut self, rank: u32, partition: &Partition, saved: &[u8]) -> Result<(), StateError> {
        self.as_mut().map_or(Ok(()), |front| front.restore(rank, partition, saved))
    }
}

/// An output port of the source operator.
pub struct Port<I: Clone + 'static> {
    output: OutputBuilder<Tick, CapacityContainerBuilder<Vec<I>>>,
    index: usize,
}

impl<I: Clone + 'static> Port<I> {
    pub(super) fn open<'scope>(
        builder: &mut OperatorBuilder<'scope, Tick>,
    ) -> (Self, StreamVec<'scope, Tick, I>) {
        let index = builder.shape().outputs();
        let (output, stream) = builder.new_output();
        (Port { output: OutputBuilder::from(output), index }, stream)
    }

    pub(super) fn send(&mut self, capabilities: &[Capability<Tick>], drain: impl FnOnce(&mut dyn FnMut(I))) {
        let mut active = self.output.activate();
        let mut session = active.session(&capabilities[self.index]);
        drain(&mut |item| session.give(item));
    }
}

/// Several fronts side by side: implemented for tuples of fronts.
pub trait FrontSet<D: Decode>: 'static {
    /// The tuple of their streams.
    type Streams<'scope>;
    /// The tuple of their ports.
    type Ports: 'static;

    /// Makes an output of the source operator for each front.
    fn open<'scope>(
        &self,
        builder: &mut OperatorBuilder<'scope, Tick>,
    ) -> (Self::Ports, Self::Streams<'scope>);
    /// Shows an event to each.
    fn observe(&mut self, at: &Position<'_>, event: &D::Event<'_>, verdicts: &mut Verdicts<'_>);
    /// Tells each of a record that states a watermark.
    fn stated(&mut self, rank: u32, partition: &Partition, record: &Record<'_>);
    /// Drains each into its port, and has it note in `ledger` what is open.
    fn drain(
        &mut self,
        ports: &mut Self::Ports,
        capabilities: &[Capability<Tick>],
        edge: Edge,
        ledger: &Ledger,
    );
    /// What each must remember of a partition: see [`Front::save`].
    fn save_partition(&self, rank: u32) -> Vec<u8>;
    /// Gives each back what was saved.
    ///
    /// # Errors
    /// See [`Front::restore`].
    fn restore_partition(&mut self, rank: u32, partition: &Partition, saved: &[u8])
    -> Result<(), StateError>;
}

/// An error in what was saved of a partition's near ends.
pub(super) fn unreadable(partition: &Partition, cause: impl ToString) -> StateError {
    StateError { operator: format!("Ingest {partition}"), cause: cause.to_string() }
}

macro_rules! front_set {
    ($($front:ident $index:tt),+) => {
        impl<D: Decode, $($front: Front<D>),+> FrontSet<D> for ($($front,)+) {
            type Streams<'scope> = ($(StreamVec<'scope, Tick, $front::Item>,)+);
            type Ports = ($(Port<$front::Item>,)+);

            fn open<'scope>(&self, builder: &mut OperatorBuilder<'scope, Tick>) -> (Self::Ports, Self::Streams<'scope>) {
                let pairs = ($(Port::<$front::Item>::open(builder),)+);
                (($(pairs.$index.0,)+), ($(pairs.$index.1,)+))
            }
            #[inline(always)]
            fn observe(&mut self, at: &Position<'_>, event: &D::Event<'_>, verdicts: &mut Verdicts<'_>) {
                $(self.$index.observe(at, event, verdicts);)+
            }
            fn stated(&mut self, rank: u32, partition: &Partition, record: &Record<'_>) {
                $(self.$index.stated(rank, partition, record);)+
            }
            fn drain(&mut self, ports: &mut Self::Ports, capabilities: &[Capability<Tick>], edge: Edge, ledger: &Ledger) {
                $(
                    ports.$index.send(capabilities, |send| self.$index.drain(edge, send));
                    self.$index.note_open(ledger);
                )+
            }
            fn save_partition(&self, rank: u32) -> Vec<u8> {
                let parts = vec![$(self.$index.save(rank)),+];
                // Bytes in memory always can be written.
                bincode::serialize(&parts).unwrap_or_default()
            }
            fn restore_partition(&mut self, rank: u32, partition: &Partition, saved: &[u8]) -> Result<(), StateError> {
                if saved.is_empty() {
                    return Ok(());
                }
                let parts: Vec<Vec<u8>> =
                    bincode::deserialize(saved).map_err(|error| unreadable(partition, error))?;
                $(if let Some(part) = parts.get($index) {
                    self.$index.restore(rank, partition, part)?;
                })+
                Ok(())
            }
        }
    };
}

front_set!(A 0);
front_set!(A 0, B 1);
front_set!(A 0, B 1, C 2);
front_set!(A 0, B 1, C 2, E 3);
front_set!(A 0, B 1, C 2, E 3, F 4);
front_set!(A 0, B 1, C 2, E 3, F 4, G 5);
