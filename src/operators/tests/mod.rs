//! The operators as dataflows on one to three workers, against models that share nothing with them.

mod baseline;
mod distinct;
mod keyed;
mod keyed_window;
mod latest;
mod left_join;
mod pivot;
mod restore;
mod second_opinion;
mod sessions;
mod totals;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Probe;
use timely::dataflow::operators::generic::{Operator, operator::source};
use timely::dataflow::{Scope, StreamVec};
use timely::worker::Worker;
use timely::{Config, ExchangeData};

use crate::ingest::{Counts, Ledger};
use crate::tick::Tick;

/// What a scripted source does when it is next scheduled.
#[derive(Clone, Debug)]
enum Step<I> {
    /// Sends an item at its capability.
    Send(I),
    /// Moves its capability.
    To(Tick),
}

/// Something that an operator gave.
#[derive(Clone, Debug)]
struct Given<O> {
    worker: usize,
    at: Tick,
    item: O,
}

/// How long a dataflow may take to end after its input has; far beyond what any takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A source that follows `script` one step an activation, and then drops its capability.
fn play<'s, I: Clone + 'static>(scope: Scope<'s, Tick>, script: Vec<Step<I>>) -> StreamVec<'s, Tick, I> {
    source(scope, "Script", move |capability, info| {
        let activator = scope.activator_for(info.address);
        let mut held = Some(capability);
        let mut script = script.into_iter();
        move |output| {
            match (script.next(), &mut held) {
                (Some(Step::Send(item)), Some(capability)) => output.session(capability).give(item),
                (Some(Step::To(tick)), Some(capability)) => capability.downgrade(&tick),
                _ => held = None,
            }
            if held.is_some() {
                activator.activate();
            }
        }
    })
}

/// Feeds each worker's script to the operators that `build` makes, until everything has ended. Gives all that
/// came out, and the sum of the workers' ledgers (of one output).
///
/// # Panics
/// When an operator keeps a capability after its input has ended.
fn run<I, O, B>(scripts: &[Vec<Step<I>>], build: B) -> (Vec<Given<O>>, Counts)
where
    I: ExchangeData + Clone + Sync,
    O: Clone + Send + 'static,
    B: for<'s> Fn(StreamVec<'s, Tick, I>, &Ledger) -> StreamVec<'s, Tick, O> + Send + Sync + 'static,
{
    let given = Arc::new(Mutex::new(Vec::new()));
    let (into, scripts) = (Arc::clone(&given), scripts.to_vec());
    let config = if scripts.len() == 1 { Config::thread() } else { Config::process(scripts.len()) };
    let work = move |worker: &mut Worker| {
        let (ledger, index, into) = (Ledger::new(1), worker.index(), Arc::clone(&into));
        let probe = worker.dataflow::<Tick, _, _>(|scope| {
            let (probe, stream) = build(play(scope, scripts[index].clone()), &ledger).probe();
            stream.sink(Pipeline, "Collect", move |(input, _frontier)| {
                input.for_each(|time, items| {
                    let at = *time.time();
                    let given = items.drain(..).map(|item| Given { worker: index, at, item });
                    into.lock().expect("no panic").extend(given);
                });
            });
            probe
        });
        let deadline = Instant::now() + PATIENCE;
        while !probe.done() && Instant::now() < deadline {
            worker.step_or_park(Some(Duration::from_millis(1)));
        }
        let ended = probe.done();
        worker.installed_dataflows().into_iter().for_each(|dataflow| worker.drop_dataflow(dataflow));
        (ended, ledger.counts())
    };
    let mut counts = Counts::default();
    for result in timely::execute(config, work).expect("threads start").join() {
        let (ended, of_worker) = result.expect("no worker panics");
        assert!(ended, "the input has ended and the output has not");
        counts.merge(&of_worker);
    }
    let given = std::mem::take(&mut *given.lock().expect("no panic"));
    (given, counts)
}

/// How a worker goes through its events: at each step, how many it sends together, how far its capability then
/// moves (in percent of what it may), and whether a new epoch begins.
type Pace = Vec<(usize, i64, bool)>;

fn pace() -> impl Strategy<Value = Pace> {
    prop::collection::vec((0_usize..6, 0_i64..=100, prop::bool::weighted(0.2)), 1..12)
}

/// The script of a worker that sends `events` in their order: `pack` makes items of events that go together,
/// and `limit` says how far the capability may move while some are still to come.
fn script<E, I>(
    events: &[E],
    pace: &Pace,
    mut pack: impl FnMut(&[E]) -> Vec<I>,
    limit: impl Fn(&[E]) -> Option<i64>,
) -> Vec<Step<I>> {
    let mut at = Tick::new(Tick::FIRST_EPOCH, EARLY);
    let mut steps = vec![Step::To(at)];
    let mut sent = 0;
    // After the given pace the rest comes at once, so that a script ends.
    for &(many, percent, new_epoch) in pace.iter().chain(&[(events.len(), 0, false)]) {
        let coming = &events[sent..events.len().min(sent + many)];
        sent += coming.len();
        steps.extend(pack(coming).into_iter().map(Step::Send));
        let furthest = limit(&events[sent..]).unwrap_or(at.time_us);
        at = Tick::new(
            at.epoch + u64::from(new_epoch),
            at.time_us + furthest.saturating_sub(at.time_us).max(0) * percent / 100,
        );
        steps.push(Step::To(at));
    }
    steps
}

/// Before every event time in these tests.
const EARLY: i64 = -1_000_000_000_000;
