//! SIGINT, SIGTERM and SIGHUP: the first asks for a clean stop, the second does not wait for it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tidegate::runtime::Run;

use super::failure::{Failure, RUNNING};
use super::ui::Ui;

/// Hears signals.
#[derive(Clone, Default)]
pub(crate) struct Signals {
    asked: Arc<AtomicBool>,
    runs: Arc<Mutex<Vec<Weak<Run>>>>,
}

impl Signals {
    /// Hears signals from now on.
    pub(crate) fn listen(ui: &Ui) -> Result<Signals, Failure> {
        let signals = Signals::default();
        let (heard, ui) = (signals.clone(), ui.clone());
        let handler = move || {
            if heard.asked.swap(true, Ordering::SeqCst) {
                std::process::exit(i32::from(RUNNING));
            }
            ui.note("stopping; once more to stop at once");
            heard.stop_all();
        };
        ctrlc::set_handler(handler)
            .map_err(|error| Failure::running(format!("cannot hear signals: {error}")))?;
        Ok(signals)
    }

    /// Whether somebody has asked for a stop.
    pub(crate) fn asked(&self) -> bool {
        self.asked.load(Ordering::SeqCst)
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
        runs.iter().filter_map(Weak::upgrade).for_each(|run| run.stop());
    }
}
