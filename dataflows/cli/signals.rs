//! SIGINT, SIGTERM and SIGHUP: the first asks for a clean stop, the second does not wait for it.
//!
//! A process of several cannot always stop cleanly: the others may not have heard the signal, and it would
//! wait for them for ever. It waits for a while and then ends as if it had died, and they with it, since
//! timely's processes share one fate.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use tidegate::runtime::Run;

use super::failure::{Failure, RUNNING};
use super::ui::Ui;

/// How long a process of several waits for the others to stop too.
const GRACE: Duration = Duration::from_secs(3);

/// How often a pause looks whether it is to end.
const LOOK: Duration = Duration::from_millis(100);

/// Hears signals.
#[derive(Clone, Default)]
pub(crate) struct Signals {
    asked: Arc<AtomicBool>,
    runs: Arc<Mutex<Vec<Weak<Run>>>>,
}

impl Signals {
    /// Hears signals from now on, in one of `processes` processes of a run.
    pub(crate) fn listen(ui: &Ui, processes: usize) -> Result<Signals, Failure> {
        let signals = Signals::default();
        let (heard, ui) = (signals.clone(), ui.clone());
        let handler = move || {
            if heard.asked.swap(true, Ordering::SeqCst) {
                std::process::exit(i32::from(RUNNING));
            }
            ui.note("stopping; once more to stop at once");
            heard.stop_all();
            if processes > 1 {
                let ui = ui.clone();
                // A thread of its own, so that a second signal is heard meanwhile.
                std::thread::spawn(move || {
                    std::thread::sleep(GRACE);
                    let what = "stopped before the end, without the other processes of the run; they end too";
                    ui.failure(
                        &Failure::running(what).mend("start all of them again; a replay begins afresh"),
                    );
                    std::process::exit(i32::from(RUNNING));
                });
            }
        };
        ctrlc::set_handler(handler)
            .map_err(|error| Failure::running(format!("cannot hear signals: {error}")))?;
        Ok(signals)
    }

    /// Whether somebody has asked for a stop.
    pub(crate) fn asked(&self) -> bool {
        self.asked.load(Ordering::SeqCst)
    }

    /// Waits, unless somebody has asked for a stop or does meanwhile; whether to go on.
    pub(crate) fn pause(&self, time: Duration) -> bool {
        let began = Instant::now();
        while !self.asked() {
            let left = time.saturating_sub(began.elapsed());
            if left.is_zero() {
                return true;
            }
            std::thread::sleep(left.min(LOOK));
        }
        false
    }

    /// Stops `run` when a signal comes, or at once when one has come.
    pub(crate) fn stops(&self, run: &Arc<Run>) {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(run));
        // After the push, so that a signal in between is not lost.
        if self.asked() {
            self.stop_all();
        }
    }

    fn stop_all(&self) {
        let runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        runs.iter().filter_map(Weak::upgrade).for_each(|run| run.ask_to_stop());
    }
}
