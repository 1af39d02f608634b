//! What the dataflows of all pipelines are made of: where they are built, their near ends, and their ends in the sinks.

use std::sync::Arc;
use std::time::Duration;

use tidegate::delivery::{TableBlock, deliver, show_early};
use tidegate::digest::Digest;
use tidegate::ingest::{
    AcceptAll, Decode, FrontSet, Ingested, LakeBlock, Ledger, Settings, SideTopics, Validate,
    ingest_validated,
};
use tidegate::operators::keyed_window::Mode;
use tidegate::runtime::{Epochs, Run, Trigger};
use tidegate::sink::lake::LakeBatch;
use tidegate::sink::tables::TableBatch;
use tidegate::sink::topic::TopicBatch;
use tidegate::state::StateHub;
use tidegate::tick::{Tick, micros, step_us};
use tidegate::topic_lines::{TopicBlock, TopicLines};
use tidegate::window::Firing;
use timely::ExchangeData;
use timely::dataflow::operators::vec::Branch;
use timely::dataflow::{Scope, StreamVec};

use crate::outputs::{Outputs, Plan, Sinks};

/// A worker this far ahead of the others in event time waits for them.
const MAX_SKEW_US: i64 = 600_000_000;

/// Where on a worker a dataflow is built, in what run, and where its results go.
#[derive(Clone, Copy)]
pub struct Site<'scope, 'run> {
    /// The dataflow.
    pub scope: Scope<'scope, Tick>,
    /// How it is run.
    pub plan: &'run Plan,
    /// The run.
    pub run: &'run Arc<Run>,
    /// The worker's counts.
    pub ledger: &'run Ledger,
    /// The run's epochs.
    pub epochs: &'run Epochs,
    /// Where its results go.
    pub outputs: &'run Outputs,
}

impl<'scope> Site<'scope, '_> {
    /// How records are taken in whose partition watermarks stay `delay` behind, and which may be `max_ahead` of their Kafka
    /// timestamps; the dataflow has windows with panes of these widths, and gives results of open ones as [`Site::mode`] says.
    pub(crate) fn settings(
        &self,
        delay: Duration,
        max_ahead: Duration,
        panes_us: &[i64],
        update_every: Option<Duration>,
    ) -> Settings {
        Settings {
            delay_us: micros(delay),
            max_ahead_us: micros(max_ahead),
            batch: self.plan.batch,
            interleave: self.plan.interleave,
            step_us: step_us(panes_us),
            max_skew_us: MAX_SKEW_US,
            early: update_every.and_then(|every| Trigger::early_period(every, self.plan.interval?)),
        }
    }

    /// Where late and unusable records go; `judged` names the outputs that records meet.
    pub(crate) fn side(&self, judged: &[&'static str], late: TopicLines, dead: TopicLines) -> SideTopics {
        SideTopics::new(Arc::from(judged), late, dead).count_only(self.plan.count_only)
    }

    /// The near end of the dataflow; see [`ingest`](tidegate::ingest::ingest).
    pub(crate) fn ingest<D: Decode, F: FrontSet<D>>(
        &self,
        settings: Settings,
        decoder: D,
        fronts: F,
        side: SideTopics,
    ) -> Ingested<'scope, F::Streams<'scope>> {
        self.ingest_validated(settings, decoder, AcceptAll, fronts, side)
    }

    /// The near end of a dataflow that refuses records by what is in them; see [`ingest_validated`].
    pub(crate) fn ingest_validated<D: Decode, V: Validate<D>, F: FrontSet<D>>(
        &self,
        settings: Settings,
        decoder: D,
        validator: V,
        fronts: F,
        side: SideTopics,
    ) -> Ingested<'scope, F::Streams<'scope>> {
        let ledger = self.ledger.clone();
        ingest_validated(
            self.scope,
            self.run,
            settings,
            decoder,
            validator,
            fronts,
            ledger,
            side,
            self.epochs,
        )
    }

    /// When results leave windows: also every so often before they close, where that is asked for and there are epochs.
    pub(crate) fn mode(&self, update_every: Option<Duration>) -> Mode {
        let Some((every, interval)) = update_every.zip(self.plan.interval) else { return Mode::Final };
        let first = self.epochs.plan().first_given();
        let trigger = Trigger::new(every, Arc::clone(self.run.clock()), first);
        Mode::Update(trigger.within_epochs_of(interval))
    }

    /// What operators save their state with.
    pub(crate) fn state(&self) -> &StateHub {
        self.epochs.hub()
    }

    /// Table rows go to the tables' sinks.
    pub(crate) fn deliver_tables(&self, mut rows: StreamVec<'scope, Tick, TableBlock>) {
        if self.plan.interval.is_some() {
            let (staged, early) = rows.branch(|_, block| block.firing == Firing::Early);
            let (worker, outputs) = (self.plan.cluster.sink_worker(0), self.outputs);
            show_early(early, worker, self.run, self.epochs, &outputs.early, &outputs.tables);
            rows = staged;
        }
        self.deliver(
            rows,
            "Tables",
            0,
            &self.outputs.tables,
            |block: &TableBlock| (block.table as usize, block.net_rows, &block.digest),
            |block| TableBatch {
                table: block.table as usize,
                rows: block.rows,
                provisional: !block.firing.is_final(),
            },
        );
    }

    /// Rows of the lake, which is the pipeline's output number `output`, go to the lake's sinks as `batch` makes them.
    pub(crate) fn deliver_lake(
        &self,
        rows: StreamVec<'scope, Tick, LakeBlock>,
        output: usize,
        batch: impl Fn(LakeBlock) -> LakeBatch + 'static,
    ) {
        self.deliver(
            rows,
            "Lake",
            1,
            &self.outputs.lake,
            move |block: &LakeBlock| (output, block.rows.len() as i64, &block.digest),
            batch,
        );
    }

    /// Lines go to the topics' sinks, whose first topic is the pipeline's output number `first`.
    pub(crate) fn deliver_topics(&self, lines: StreamVec<'scope, Tick, TopicBlock>, first: usize) {
        self.deliver(
            lines,
            "Topics",
            2,
            &self.outputs.topics,
            |block: &TopicBlock| (block.topic as usize, block.count as i64, &block.digest),
            move |block| TopicBatch {
                topic: block.topic as usize - first,
                partition: block.partition,
                lines: block.lines,
                count: block.count,
            },
        );
    }

    /// Sends blocks to the worker that feeds these sinks, the `nth` kind of them; see [`deliver`].
    pub(crate) fn deliver<B, S>(
        &self,
        blocks: StreamVec<'scope, Tick, B>,
        name: &str,
        nth: usize,
        sinks: &Sinks<S>,
        about: impl for<'b> Fn(&'b B) -> (usize, i64, &'b Digest) + 'static,
        batch: impl Fn(B) -> S + 'static,
    ) where
        B: ExchangeData + Clone,
        S: Clone + 'static,
    {
        let worker = self.plan.cluster.sink_worker(nth);
        let (run, epochs, tallies) = (self.run, self.epochs, &self.outputs.tallies);
        deliver(blocks, name, worker, run, epochs, tallies, sinks.clone(), about, batch);
    }
}
