//! The loop of a worker in a run with checkpoints, and worker 0's part in it: when epochs end and begin.
//!
//! ```text
//! worker 0   End(e) ─► all          Begin(e + 1) ─► all            Over ─► all
//!                 sources flush, operators save, all comes to rest
//! all        ────────────────────► Report(e) ─► worker 0 ─► committer: manifest, sinks
//! ```
//!
//! `Begin(e + 1)` goes out as soon as all reports of e are there; the committer decides e meanwhile. At most one
//! epoch is being decided. A sink that is slow makes the next epoch longer, up to [`LONGEST`] intervals, and then the
//! source waits: back-pressure by whole epochs.

use std::sync::Arc;
use std::time::Duration;

use timely::worker::Worker;

use super::agreement::Agreement;
use super::control::{Control, Down, Outcome, Report, Up};
use super::epochs::Standing;
use super::{Epochs, Run};
use crate::checkpoint::{Committer, Decision, PartitionCut};
use crate::delivery::Tallies;
use crate::ingest::{Counts, IdleDecision, Ledger, OpenCounts};

/// How many intervals an epoch lasts at most while the one before is not decided.
const LONGEST: i64 = 5;

/// How long a worker sleeps when nothing happens.
const PARK: Duration = Duration::from_millis(2);

/// How often worker 0 asks whether the others are there.
const PING_US: i64 = 500_000;

/// How often a worker tells where its partitions stand in event time, and worker 0 what all agree on, at most.
const STAND_US: i64 = 10_000;

/// What worker 0 has beside the others.
pub struct Lead {
    /// Decides epochs.
    pub committer: Box<dyn Committer>,
    /// How long an epoch lasts.
    pub interval: Duration,
    /// The rows of the outputs.
    pub tallies: Arc<Tallies>,
    /// The ledger of earlier runs.
    pub counts: Counts,
    /// What of it is open.
    pub open: OpenCounts,
}

/// Steps `worker` until the run is over. `lead` is given to worker 0 and to no other.
///
/// All workers return the same outcome.
pub fn drive(
    worker: &mut Worker,
    run: &Run,
    epochs: &Epochs,
    ledger: &Ledger,
    lead: Option<Lead>,
) -> Outcome {
    let mut driver = Driver::new(worker, run, epochs, lead);
    let outcome = loop {
        worker.step_or_park(Some(PARK));
        if let Some(outcome) = driver.turn(worker, run, epochs, ledger) {
            break outcome;
        }
    };
    driver.end(run, epochs);
    while worker.has_dataflows() {
        worker.step_or_park(Some(PARK));
    }
    outcome
}

/// The loop of [`drive`] taken apart, for whoever steps workers in an order of their own: a simulation.
pub struct Driver {
    control: Control,
    head: Option<Head>,
    reporter: Reporter,
    /// Whether this worker says for its process what that shows of itself.
    speaks: bool,
}

impl Driver {
    /// The driver of `worker`; every worker of the run makes its own at the same point of its program.
    pub fn new(worker: &mut Worker, run: &Run, epochs: &Epochs, lead: Option<Lead>) -> Self {
        let control = Control::lay(worker);
        let head = lead.map(|lead| Head::new(lead, epochs, worker.peers(), run.clock().now_us()));
        let reporter = Reporter {
            next: epochs.plan().first(),
            worker: worker.index(),
            restoring: true,
            told: false,
            done: false,
            standing: None,
            stood_us: i64::MIN,
        };
        // Worker 0 listens.
        let speaks = run.board().speaks() && head.is_none();
        Driver { control, head, reporter, speaks }
    }

    /// What is done between two steps of the worker; the outcome, once the run is over.
    pub fn turn(&mut self, worker: &Worker, run: &Run, epochs: &Epochs, ledger: &Ledger) -> Option<Outcome> {
        let Driver { control, head, reporter, speaks } = self;
        reporter.report(run, epochs, ledger, control);
        if let Some(head) = head {
            head.lead(run, epochs, control);
        }
        let mut pinged = false;
        let over = control.orders.borrow_mut().drain(..).fold(None, |over, order| match order {
            Down::End(epoch) => {
                epochs.end(epoch);
                over
            }
            Down::Begin(epoch, wall_us) => {
                epochs.begin(epoch, wall_us);
                over
            }
            Down::Agreed(us) => {
                epochs.agree(us);
                over
            }
            Down::Ping => {
                pinged = true;
                over
            }
            Down::Over(outcome) => Some(outcome),
        });
        if pinged {
            let told = speaks.then(|| Box::new(run.board().snapshot(run.clock().now_us())));
            control.tell(Up::Pong(worker.index(), told));
            // Worker 0 shows life when all have answered.
            if head.is_none() {
                run.beat();
            }
        }
        over
    }

    /// Lets go of what is still under way: it belongs to an epoch that nobody will decide. The worker is then to be
    /// stepped until it has no dataflows.
    pub fn end(self, run: &Run, epochs: &Epochs) {
        run.stop();
        epochs.wake();
        self.control.close();
    }
}

/// What every worker does: says when an epoch has come to rest, and when somebody wants to stop.
struct Reporter {
    /// The next epoch to report.
    next: u64,
    worker: usize,
    restoring: bool,
    told: bool,
    done: bool,
    /// What was last told of the partitions' event time, and when.
    standing: Option<Standing>,
    stood_us: i64,
}

impl Reporter {
    /// Tells where a live source stands in event time, where that has changed.
    fn stand(&mut self, run: &Run, epochs: &Epochs, control: &mut Control) {
        let Some(standing) = epochs.standing().filter(|standing| Some(*standing) != self.standing) else {
            return;
        };
        let now_us = run.clock().elapsed_us();
        if now_us.saturating_sub(self.stood_us) >= STAND_US || self.standing.is_none() {
            (self.standing, self.stood_us) = (Some(standing), now_us);
            let quiet_us = now_us.saturating_sub(standing.read_us).max(0);
            control.tell(Up::Standing(self.worker, standing, quiet_us));
        }
    }

    fn report(&mut self, run: &Run, epochs: &Epochs, ledger: &Ledger, control: &mut Control) {
        self.stand(run, epochs, control);
        if let Some(error) = epochs.hub().failure() {
            run.fail(error.into());
        }
        if let Some(failure) = run.failure_text() {
            if !std::mem::replace(&mut self.told, true) {
                control.tell(Up::Failed(failure));
            }
            return;
        }
        if run.is_asked_to_stop() && !std::mem::replace(&mut self.told, true) {
            control.tell(Up::Stop);
        }
        if self.restoring {
            if !epochs.is_restored() {
                return;
            }
            self.restoring = false;
            control.tell(Up::Restored);
        }
        let open = epochs.open();
        let ended = open.is_none();
        if self.done || open.is_some_and(|open| open <= self.next) {
            return;
        }
        self.done = ended;
        control.tell(Up::Report(Box::new(Report {
            worker: self.worker,
            epoch: self.next,
            cuts: epochs.cuts(),
            counts: ledger.counts(),
            open: ledger.take_open(),
            blocks: epochs.hub().take(self.next),
            windows: epochs.hub().open_windows(),
            batches: epochs.batches(),
            ended,
            idle: epochs.take_idle(),
        })));
        self.next += 1;
    }
}

/// What worker 0 does.
struct Head {
    lead: Lead,
    /// The epoch under way, in the dataflow's numbers.
    epoch: u64,
    began_us: i64,
    /// What columns of wall-clock time have in it.
    wall_us: Option<i64>,
    end_sent: bool,
    stopping: bool,
    /// How many workers have their state.
    restored: usize,
    reports: Vec<Option<Report>>,
    /// The epoch whose reports are all in and whose successor has not begun.
    complete: bool,
    deciding: bool,
    over: bool,
    pinged_us: i64,
    ponged: Vec<bool>,
    /// Event times and records of the batches in the epoch that is being decided.
    batches: Vec<(i64, u64)>,
    /// Since when the epoch under way waits for the one before to be decided.
    held_us: Option<i64>,
    agreement: Agreement,
}

impl Head {
    fn new(lead: Lead, epochs: &Epochs, peers: usize, now_us: i64) -> Self {
        Head {
            lead,
            epoch: epochs.plan().first(),
            began_us: now_us,
            wall_us: None,
            end_sent: false,
            stopping: false,
            restored: 0,
            reports: (0..peers).map(|_| None).collect(),
            complete: false,
            deciding: false,
            over: false,
            pinged_us: i64::MIN,
            ponged: vec![true; peers],
            batches: Vec::new(),
            held_us: None,
            agreement: Agreement::new(peers),
        }
    }

    fn lead(&mut self, run: &Run, epochs: &Epochs, control: &mut Control) {
        if self.over {
            return;
        }
        if let Some(answer) = self.lead.committer.poll() {
            self.deciding = false;
            match answer {
                Err(error) => return self.over(control, Outcome::Failed(error.to_string())),
                Ok(decided) => {
                    self.tell_latency(run);
                    if decided.finished {
                        return self.over(control, Outcome::Finished);
                    }
                    if self.stopping && self.complete_epoch_is(epochs, decided.epoch) {
                        return self.over(control, Outcome::Stopped(decided.epoch));
                    }
                }
            }
        }
        let told: Vec<Up> = control.told.borrow_mut().drain(..).collect();
        for up in told {
            match up {
                Up::Stop => self.stopping = true,
                Up::Failed(what) => return self.over(control, Outcome::Failed(what)),
                Up::Restored => {
                    self.restored += 1;
                    if self.restored == self.reports.len() {
                        self.begin(run, control);
                    }
                }
                Up::Standing(worker, standing, quiet_us) => {
                    self.agreement.note(worker, standing, quiet_us, run.clock().elapsed_us());
                }
                Up::Pong(worker, snapshot) => {
                    self.ponged[worker] = true;
                    if let Some(snapshot) = snapshot {
                        run.board().hear(*snapshot);
                    }
                }
                Up::Report(report) => {
                    let worker = report.worker;
                    self.reports[worker] = Some(*report);
                }
            }
        }
        self.ping(run, control);
        if let Some(agreed_us) = self.agreement.news(run.clock().elapsed_us()) {
            control.order(Down::Agreed(agreed_us));
        }
        self.time_to_end(run, epochs, control);
        if !self.complete && !self.deciding && self.reports.iter().all(Option::is_some) {
            self.decide(run, epochs, control);
        }
    }

    /// Has all work in the epoch that is next.
    fn begin(&mut self, run: &Run, control: &mut Control) {
        self.began_us = run.clock().now_us();
        self.wall_us = run.source().is_live().then_some(self.began_us);
        control.order(Down::Begin(self.epoch, self.wall_us));
    }

    /// What was read in the epoch just decided is visible now.
    fn tell_latency(&mut self, run: &Run) {
        let now_us = run.clock().now_us();
        for (time_us, records) in self.batches.drain(..) {
            run.board().latency(now_us.saturating_sub(time_us).max(0) as f64 / 1e6, records);
        }
    }

    /// Asks all workers now and then whether they are there: a process that stands still, or that cannot be reached,
    /// leaves the whole run without a sign of life, and its supervisor starts it again.
    fn ping(&mut self, run: &Run, control: &mut Control) {
        let now_us = run.clock().now_us();
        if self.ponged.iter().all(|ponged| *ponged) {
            run.beat();
            self.pinged_us = self.pinged_us.min(now_us);
            if now_us.saturating_sub(self.pinged_us) >= PING_US {
                self.pinged_us = now_us;
                self.ponged.fill(false);
                control.order(Down::Ping);
            }
        }
    }

    /// Whether the epoch `run_epoch` is the one at whose end all sources wait.
    fn complete_epoch_is(&self, epochs: &Epochs, run_epoch: u64) -> bool {
        self.complete && epochs.plan().epoch(self.epoch) == run_epoch
    }

    fn time_to_end(&mut self, run: &Run, epochs: &Epochs, control: &mut Control) {
        // A repeated epoch ends where it ended the first time: sources know.
        let repeats = epochs.plan().until.is_some() && self.epoch == epochs.plan().first();
        if self.end_sent || self.complete || repeats {
            return;
        }
        let now_us = run.clock().now_us();
        // A clock that was set back must not keep an epoch open until it has caught up.
        self.began_us = self.began_us.min(now_us);
        let age_us = now_us.saturating_sub(self.began_us);
        let interval_us = i64::try_from(self.lead.interval.as_micros()).unwrap_or(i64::MAX);
        if self.deciding && age_us >= interval_us {
            self.held_us.get_or_insert(now_us);
        }
        let due_us = if self.deciding { interval_us.saturating_mul(LONGEST) } else { interval_us };
        if self.stopping || age_us >= due_us {
            self.end_sent = true;
            control.order(Down::End(self.epoch));
        }
    }

    fn decide(&mut self, run: &Run, epochs: &Epochs, control: &mut Control) {
        let now_us = run.clock().now_us();
        let mut counts = self.lead.counts.clone();
        let (mut partitions, mut blocks, mut finished) = (Vec::new(), Vec::new(), true);
        let mut windows = Vec::new();
        let mut idle = Vec::new();
        for report in self.reports.iter_mut().filter_map(Option::take) {
            counts.merge(&report.counts);
            self.lead.open.add(report.open);
            partitions.extend(report.cuts);
            blocks.extend(report.blocks);
            windows.extend(report.windows);
            self.batches.extend(report.batches);
            idle.extend(report.idle);
            finished &= report.ended;
        }
        partitions.sort_by(|a, b| a.id.cmp(&b.id));
        self.tell_epoch(run, now_us, &windows);
        let watermark_us = epochs.watermark_us().unwrap_or(i64::MAX);
        if self.stopping && !finished {
            idle.extend(partitions.iter_mut().filter_map(|cut| stopped_idle(cut, watermark_us)));
        }
        idle.sort();
        // At the end of the input everything is final.
        self.lead.open.pass(if finished { i64::MAX } else { watermark_us });
        let decision = Decision {
            epoch: epochs.plan().epoch(self.epoch),
            watermark_us,
            wall_us: self.wall_us,
            partitions,
            counts,
            open: self.lead.open.list(),
            tallies: self.lead.tallies.read(),
            blocks,
            finished,
            idle,
        };
        self.lead.committer.submit(decision);
        self.deciding = true;
        if finished || self.stopping {
            // Nobody begins another.
            self.complete = true;
            return;
        }
        self.epoch += 1;
        run.board().epoch_began(epochs.plan().epoch(self.epoch));
        self.end_sent = false;
        self.begin(run, control);
    }

    fn tell_epoch(&mut self, run: &Run, now_us: i64, windows: &[(String, u64)]) {
        let age = Duration::from_micros(now_us.saturating_sub(self.began_us).max(0).unsigned_abs());
        let held_us = self.held_us.take().map_or(0, |since_us| now_us.saturating_sub(since_us).max(0));
        run.board().epoch_ended(age, Duration::from_micros(held_us.unsigned_abs()));
        run.board().open_windows(windows);
    }

    fn over(&mut self, control: &mut Control, outcome: Outcome) {
        self.over = true;
        control.order(Down::Over(outcome));
    }
}

/// What is decided about a partition that is idle when the run stops: windows have closed without it, and a replay is to
/// know how far.
fn stopped_idle(cut: &mut PartitionCut, watermark_us: i64) -> Option<IdleDecision> {
    if !cut.released || watermark_us <= cut.watermark_us.max(cut.floor_us) {
        return None;
    }
    cut.floor_us = watermark_us;
    cut.decisions += 1;
    Some(IdleDecision {
        partition: cut.id.clone(),
        offset: cut.last_offset.map_or(0, |last| last + 1),
        floor_us: watermark_us,
        kafka_ms: -1,
        number: cut.decisions - 1,
    })
}
