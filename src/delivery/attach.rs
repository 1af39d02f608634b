//! The operator that hands blocks to a sink.

use std::sync::{Arc, Mutex};

use timely::ExchangeData;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::Operator;

use super::tally::Tallies;
use crate::digest::Digest;
use crate::runtime::Run;
use crate::sink::{Sink, SinkError};
use crate::tick::Tick;

/// A sink that the worker which feeds it and the one that commits epochs share.
pub type SharedSink<S> = Arc<Mutex<S>>;

/// Sends all blocks of `stream` to `worker`, which stages them in `sink` and tallies them.
///
/// `about` gives a block's output (an index into the tallies), its rows and their digest; `batch` makes of
/// it what the sink takes. Without a sink the rows are counted and not written.
///
/// # Shape
/// | port | record | timestamp | partitioned by |
/// | --- | --- | --- | --- |
/// | in | `B` | the epoch of the output | none: all to one worker |
/// # Errors
/// A sink that fails ends the run: see [`Run::fail`].
#[allow(clippy::too_many_arguments)] // A pipeline reads them once, in the order in which a block meets them.
pub fn deliver<B, S, A, M>(
    stream: StreamVec<'_, Tick, B>,
    name: &str,
    worker: usize,
    run: &Arc<Run>,
    tallies: &Arc<Tallies>,
    sink: Option<SharedSink<S>>,
    about: A,
    batch: M,
) where
    B: ExchangeData + Clone,
    S: Sink + 'static,
    A: for<'b> Fn(&'b B) -> (usize, u64, &'b Digest) + 'static,
    M: Fn(B) -> S::Batch + 'static,
{
    let (run, tallies) = (Arc::clone(run), Arc::clone(tallies));
    let to_worker = Exchange::new(move |_: &B| worker as u64);
    stream.sink(to_worker, name, move |(input, _frontier)| {
        input.for_each(|time, blocks| {
            let epoch = time.time().epoch;
            if run.stopping() {
                // Nothing of this run will be made visible.
                blocks.clear();
                return;
            }
            for block in blocks.drain(..) {
                let (output, rows, digest) = about(&block);
                tallies.add(output, rows, digest);
                if let Some(sink) = &sink
                    && let Err(error) = write(sink, epoch, batch(block))
                {
                    run.fail(error.into());
                }
            }
        });
    });
}

fn write<S: Sink>(sink: &SharedSink<S>, epoch: u64, batch: S::Batch) -> Result<(), SinkError> {
    let mut sink = sink.lock().map_err(|_| SinkError::Failed {
        sink: "embedded".into(),
        cause: "a worker panicked while it wrote; the run cannot go on".into(),
    })?;
    sink.write(epoch, batch)
}

/// Counts the results of `stream` where they are, and writes none.
pub fn count<B, N>(stream: StreamVec<'_, Tick, B>, output: usize, tallies: &Arc<Tallies>, results: N)
where
    B: Clone + 'static,
    N: Fn(&B) -> usize + 'static,
{
    let tallies = Arc::clone(tallies);
    stream.sink(Pipeline, "Count", move |(input, _frontier)| {
        input.for_each(|_time, blocks| {
            let counted: usize = blocks.drain(..).map(|block| results(&block)).sum();
            tallies.add(output, counted as u64, &Digest::default());
        });
    });
}
