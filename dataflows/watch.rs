//! Watches the input of a run that goes on for ever: new partitions are read from the next checkpoint on, and an input that is
//! not what it was ends the run.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Scope;
use std::time::Duration;

use tidegate::runtime::Run;
use tidegate::source::{Source, SourceError};

/// Asks the source of a run now and then whether it has grown, as long as the watch is there.
pub(crate) struct Watch {
    grown: Arc<Mutex<Option<Arc<dyn Source>>>>,
    /// Ends the thread when it goes.
    _until: mpsc::Sender<()>,
}

impl Watch {
    /// Watches `source`, which `run` reads. When it has grown the run is asked to stop, to go on with more.
    pub(crate) fn start<'scope>(
        scope: &'scope Scope<'scope, '_>,
        source: &Arc<dyn Source>,
        run: &Arc<Run>,
        every: Duration,
    ) -> Watch {
        let (until, dropped) = mpsc::channel();
        let grown = Arc::new(Mutex::new(None));
        let (into, source, run) = (Arc::clone(&grown), Arc::clone(source), Arc::clone(run));
        scope.spawn(move || {
            while dropped.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                match source.grown() {
                    Ok(None) => {}
                    Ok(Some(more)) => {
                        *into.lock().unwrap_or_else(PoisonError::into_inner) = Some(more);
                        run.ask_to_stop();
                        return;
                    }
                    Err(error @ SourceError::Unreachable { .. }) => {
                        tracing::debug!(%error, "cannot look for new partitions; trying again later");
                    }
                    Err(error) => {
                        run.fail(error.into());
                        return;
                    }
                }
            }
        });
        Watch { grown, _until: until }
    }

    /// The source with what has come, where it has grown.
    pub(crate) fn grown(self) -> Option<Arc<dyn Source>> {
        self.grown.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
