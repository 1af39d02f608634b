//! What the workers of a run tell one another beside the dataflow: reports to worker 0, and its orders to all.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use serde::{Deserialize, Serialize};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::InputHandle;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::Input;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::vec::Broadcast;
use timely::worker::Worker;

use super::epochs::Standing;
use crate::checkpoint::{PartitionCut, whole_cuts};
use crate::ingest::{Counts, IdleDecision, OpenRecords};
use crate::state::StateBlock;
use crate::telemetry::Snapshot;

/// What a worker tells worker 0.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Up {
    /// The restored state is in its place.
    Restored,
    /// Everything of an epoch has come to rest here.
    Report(Box<Report>),
    /// Somebody asked this process to stop.
    Stop,
    /// Something failed in this process.
    Failed(String),
    /// The answer to a ping, with what a process shows of itself from its first worker.
    Pong(usize, Option<Box<Snapshot>>),
    /// Where a worker's live partitions stand, and how long ago its last record was read.
    Standing(usize, Standing, i64),
}

/// A worker's part of an epoch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Report {
    pub(super) worker: usize,
    /// In the dataflow's numbers.
    pub(super) epoch: u64,
    #[serde(with = "whole_cuts")]
    pub(super) cuts: Vec<PartitionCut>,
    pub(super) counts: Counts,
    /// What of it is open, since the last report.
    pub(super) open: Vec<OpenRecords>,
    pub(super) blocks: Vec<StateBlock>,
    /// Open windows by operator.
    pub(super) windows: Vec<(String, u64)>,
    /// Event times of batches, and their records.
    pub(super) batches: Vec<(i64, u64)>,
    /// Whether the whole input has ended and nothing is under way.
    pub(super) ended: bool,
    /// What was decided about idle partitions.
    pub(super) idle: Vec<IdleDecision>,
}

/// What worker 0 tells all.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Down {
    /// End this epoch.
    End(u64),
    /// Work in this epoch, which began at this time by worker 0's clock, if that matters.
    Begin(u64, Option<i64>),
    /// The event time that released partitions follow.
    Agreed(i64),
    /// Worker 0 is there, and so is the way to it.
    Ping,
    /// The run is over.
    Over(Outcome),
}

/// How a run with checkpoints ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The input has ended, and all of it is visible.
    Finished,
    /// It was asked to stop; it goes on from this epoch's checkpoint.
    Stopped(u64),
    /// It failed; what went wrong.
    Failed(String),
}

type Inbox<M> = Rc<RefCell<VecDeque<M>>>;

/// One worker's end of the wires.
pub(super) struct Control {
    up: InputHandle<u64, CapacityContainerBuilder<Vec<Up>>>,
    down: InputHandle<u64, CapacityContainerBuilder<Vec<Down>>>,
    /// What workers told; on worker 0.
    pub(super) told: Inbox<Up>,
    /// Orders.
    pub(super) orders: Inbox<Down>,
}

impl Control {
    /// Lays the wires; every worker of the run must call it at the same point of its program.
    pub(super) fn lay(worker: &mut Worker) -> Self {
        let (told, orders) = (Inbox::<Up>::default(), Inbox::<Down>::default());
        let (into_told, into_orders) = (Rc::clone(&told), Rc::clone(&orders));
        let (up, down) = worker.dataflow::<u64, _, _>(|scope| {
            let (up, reports) = scope.new_input::<Vec<Up>>();
            reports.sink(Exchange::new(|_: &Up| 0), "Reports", move |(input, _frontier)| {
                input.for_each(|_time, batch| into_told.borrow_mut().extend(batch.drain(..)));
            });
            let (down, orders) = scope.new_input::<Vec<Down>>();
            orders.broadcast().sink(Pipeline, "Orders", move |(input, _frontier)| {
                input.for_each(|_time, batch| into_orders.borrow_mut().extend(batch.drain(..)));
            });
            (up, down)
        });
        Control { up, down, told, orders }
    }

    pub(super) fn tell(&mut self, what: Up) {
        self.up.send(what);
        // Only the end of a time hands over what waits in the exchange's buffers.
        self.up.advance_to(*self.up.time() + 1);
    }

    pub(super) fn order(&mut self, what: Down) {
        self.down.send(what);
        self.down.advance_to(*self.down.time() + 1);
    }

    pub(super) fn close(self) {
        self.up.close();
        self.down.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Partition;

    /// A manifest's file keeps something of them apart; between processes nothing may be lost of it.
    #[test]
    fn report_comes_with_its_cuts_whole() {
        let cut = PartitionCut {
            id: Partition::new("t", 3),
            seen: 10,
            last_offset: Some(9),
            read_to: Some(12),
            watermark_us: 0,
            accepted: 10,
            floor_us: i64::MIN,
            decisions: 0,
            released: false,
            ended: false,
            fronts: vec![1],
            side: Vec::new(),
        };
        let report = Report {
            worker: 1,
            epoch: 2,
            cuts: vec![cut],
            counts: Counts::default(),
            open: Vec::new(),
            blocks: Vec::new(),
            windows: Vec::new(),
            batches: Vec::new(),
            ended: false,
            idle: Vec::new(),
        };
        let bytes = bincode::serialize(&report).expect("it can be written");
        let there: Report = bincode::deserialize(&bytes).expect("and read");
        assert_eq!(there.cuts, report.cuts);
    }
}
