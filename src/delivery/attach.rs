//! The operator that hands blocks to a sink.

use std::sync::Arc;

use timely::ExchangeData;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::Probe;
use timely::dataflow::operators::generic::Operator;

use super::shared::Shared;
use super::tally::Tallies;
use crate::digest::Digest;
use crate::runtime::{Epochs, Run};
use crate::sink::Sink;
use crate::tick::Tick;

/// A [`Shared`] sink.
pub type SharedSink<S> = Arc<Shared<S>>;

/// Sends all blocks of `stream` to `worker`, which stages them in each of `sinks` and tallies them.
///
/// `about` gives a block's output (an index into the tallies), its rows and their digest; `batch` makes of
/// it what the sinks take, each the same. Without a sink the rows are counted and not written. Output of epochs that were decided
/// before this run ([`EpochPlan::decided`](crate::runtime::EpochPlan)) is neither.
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
    epochs: &Epochs,
    tallies: &Arc<Tallies>,
    sinks: Vec<SharedSink<S>>,
    about: A,
    batch: M,
) where
    B: ExchangeData + Clone,
    S: Sink<Batch: Clone> + 'static,
    A: for<'b> Fn(&'b B) -> (usize, i64, &'b Digest) + 'static,
    M: Fn(B) -> S::Batch + 'static,
{
    let (run, tallies) = (Arc::clone(run), Arc::clone(tallies));
    let to_worker = Exchange::new(move |_: &B| worker as u64);
    let probe = epochs.probe().clone();
    let epochs = epochs.clone();
    let fed = run.board().fed_by(name);
    let done = stream.unary::<Nothing, _, _, _>(to_worker, name, move |_capability, _info| {
        move |input, _output| {
            input.for_each(|time, blocks| {
                let epoch = epochs.plan().epoch(time.time().epoch);
                if run.stopping() || epoch <= epochs.plan().decided {
                    // Nothing of this run will be made visible.
                    blocks.clear();
                    return;
                }
                for block in blocks.drain(..) {
                    let (output, rows, digest) = about(&block);
                    tallies.add(output, rows, digest);
                    let rows = rows.unsigned_abs();
                    fed.rows(rows);
                    let Some((last, others)) = sinks.split_last() else { continue };
                    let batch = batch(block);
                    let copies = others.iter().map(|sink| sink.write(epoch, batch.clone(), rows));
                    let failed = copies.filter_map(Result::err).last();
                    if let Some(error) = failed.or(last.write(epoch, batch, rows).err()) {
                        run.fail(error.into());
                    }
                }
            });
        }
    });
    done.probe_with(&probe);
}

/// The output of an operator that ends a dataflow: nothing but its frontier, for the probe.
type Nothing = CapacityContainerBuilder<Vec<()>>;

/// Counts the results of `stream` where they are, and writes none.
pub fn count<B, N>(
    stream: StreamVec<'_, Tick, B>,
    output: usize,
    epochs: &Epochs,
    tallies: &Arc<Tallies>,
    results: N,
) where
    B: Clone + 'static,
    N: Fn(&B) -> usize + 'static,
{
    let tallies = Arc::clone(tallies);
    let done = stream.unary::<Nothing, _, _, _>(Pipeline, "Count", move |_capability, _info| {
        move |input, _output| {
            input.for_each(|_time, blocks| {
                let counted: usize = blocks.drain(..).map(|block| results(&block)).sum();
                tallies.add(output, counted as i64, &Digest::default());
            });
        }
    });
    done.probe_with(epochs.probe());
}
