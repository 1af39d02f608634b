//! Early rows: those of open windows that go to tables before the end of their epoch.
//!
//! ```text
//! early rows ─► [`EarlyRows`] ─► beside who decides epochs ─► [`Sink::show`], between what else is asked of the sink
//! ```
//!
//! They are a courtesy to whoever looks: nothing is counted, staged or promised of them. The end of the epoch gives all of them
//! again, as part of it, so that any of them may be dropped: while a sink is away, or when more come than it can take.

use std::sync::{Arc, Mutex, PoisonError};

use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Probe;
use timely::dataflow::operators::generic::Operator;

use super::{SharedSink, TableBlock};
use crate::runtime::{Epochs, Run};
use crate::sink::tables::TableBatch;
use crate::sink::{Sink, SinkError};
use crate::tick::Tick;

/// Early rows for one sink.
pub struct Show {
    /// The number of the sink among those that show.
    pub(crate) sink: usize,
    /// The epoch that goes on.
    pub(crate) epoch: u64,
    batches: Vec<TableBatch>,
    write: Arc<Write>,
}

/// Writes rows of an epoch, for a generation.
type Write = dyn Fn(u64, u64, &[TableBatch]) -> Result<(), SinkError> + Send + Sync;

impl Show {
    /// Early rows of nothing, for whose writing `write` is called.
    #[cfg(test)]
    pub(crate) fn of(sink: usize, epoch: u64, write: impl Fn() + Send + Sync + 'static) -> Self {
        let write = move |_: u64, _: u64, _: &[TableBatch]| {
            write();
            Ok(())
        };
        Show { sink, epoch, batches: Vec::new(), write: Arc::new(write) }
    }

    /// Writes them, for the generation `generation`.
    pub(crate) fn write(self, generation: u64) -> Result<(), SinkError> {
        (self.write)(self.epoch, generation, &self.batches)
    }

    /// How many they are.
    pub(crate) fn rows(&self) -> usize {
        self.batches.iter().map(|batch| batch.rows.len()).sum()
    }

    /// Adds later ones of the same sink and epoch.
    pub(crate) fn extend(&mut self, later: Show) {
        self.batches.extend(later.batches);
    }
}

/// Takes what is to be shown; drops it where there is no room.
type Taker = Box<dyn Fn(Show) + Send>;

/// The way of early rows to whoever shows them: closed until there is somebody, and after.
#[derive(Clone, Default)]
pub struct EarlyRows(Arc<Mutex<Option<Taker>>>);

impl EarlyRows {
    /// From now on `taker` gets them. It must not block: workers wait for it.
    pub fn open(&self, taker: impl Fn(Show) + Send + 'static) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(taker));
    }

    /// From now on nobody gets them.
    pub fn close(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(crate) fn offer(&self, show: Show) {
        if let Some(taker) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            taker(show);
        }
    }
}

/// Sends all blocks of `stream`, which are early ones, to `worker`, which offers them to those of `sinks` that show such rows.
///
/// # Shape
/// | port | record | timestamp | partitioned by |
/// | --- | --- | --- | --- |
/// | in | [`TableBlock`] | the epoch that goes on | none: all to one worker |
/// # Guarantees
/// None but that they are offered in the order in which they come.
pub fn show_early<S>(
    stream: StreamVec<'_, Tick, TableBlock>,
    worker: usize,
    run: &Arc<Run>,
    epochs: &Epochs,
    early: &EarlyRows,
    sinks: &[SharedSink<S>],
) where
    S: Sink<Batch = TableBatch> + Send + 'static,
{
    let write = |sink: &SharedSink<S>| -> Option<Arc<Write>> {
        let opened = sink.lock().ok().filter(|sink| sink.shows())?;
        Some(match opened.shows_beside() {
            Some(beside) => {
                Arc::new(move |epoch, generation, batches| beside.show(epoch, generation, batches))
            }
            None => {
                let sink = Arc::clone(sink);
                Arc::new(move |epoch, generation, batches| sink.lock()?.show(epoch, generation, batches))
            }
        })
    };
    let sinks: Vec<_> = sinks.iter().filter_map(write).collect();
    let (run, early, probe) = (Arc::clone(run), early.clone(), epochs.probe().clone());
    let epochs = epochs.clone();
    let to_worker = Exchange::new(move |_: &TableBlock| worker as u64);
    let done = stream.unary::<CapacityContainerBuilder<Vec<()>>, _, _, _>(
        to_worker,
        "EarlyRows",
        move |_capability, _info| {
            move |input, _output| {
                input.for_each_time(|time, blocks| {
                    let epoch = epochs.plan().epoch(time.time().epoch);
                    let blocks = blocks.flat_map(|blocks| blocks.drain(..));
                    let batch = |block: TableBlock| TableBatch {
                        table: block.table as usize,
                        rows: block.rows,
                        provisional: true,
                    };
                    let batches: Vec<_> = blocks.map(batch).collect();
                    if run.stopping() || epoch <= epochs.plan().decided {
                        return;
                    }
                    for (sink, write) in sinks.iter().enumerate() {
                        let (batches, write) = (batches.clone(), Arc::clone(write));
                        early.offer(Show { sink, epoch, batches, write });
                    }
                });
            }
        },
    );
    done.probe_with(&probe);
}
