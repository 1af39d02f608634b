//! How far a run is: a bar on a terminal, a line every few seconds elsewhere.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tidegate::runtime::Run;
use tracing::info;

use super::ui::{Ui, grouped};

const REDRAW_EVERY: Duration = Duration::from_millis(100);
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Shows the progress of a run until it is dropped.
pub(crate) struct Progress {
    /// Dropped to end the thread.
    until: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Progress {
    /// Shows how many of `expected` records `run` has read; 0: nobody knows.
    pub(crate) fn show(ui: &Ui, pipeline: &'static str, run: &Arc<Run>, expected: u64) -> Progress {
        let (until, dropped) = mpsc::channel();
        let (ui, run) = (ui.clone(), Arc::clone(run));
        let work = move || {
            let began = Instant::now();
            let bar = ui.has_bars().then(|| bar(&ui, pipeline, expected));
            let every = if bar.is_some() { REDRAW_EVERY } else { LINE_EVERY };
            while dropped.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                let at = At { records: run.records(), expected, elapsed: began.elapsed() };
                match &bar {
                    Some(bar) => {
                        bar.set_position(at.records);
                        bar.set_message(at.message());
                    }
                    None => at.line(&ui, pipeline),
                }
            }
            if let Some(bar) = bar {
                bar.finish_and_clear();
            }
        };
        // Without the thread the run goes on, unseen.
        let thread = std::thread::Builder::new().name("progress".to_owned()).spawn(work).ok();
        Progress { until: Some(until), thread }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.until = None;
        if let Some(thread) = self.thread.take() {
            // It has told of its own panic already.
            thread.join().ok();
        }
    }
}

fn bar(ui: &Ui, pipeline: &'static str, expected: u64) -> ProgressBar {
    let template = match (expected > 0, ui.is_colored()) {
        (true, true) => "{prefix:.bold} {wide_bar:.cyan} {percent:>3} % {msg}",
        (true, false) => "{prefix} [{wide_bar}] {percent:>3} % {msg}",
        (false, _) => "{prefix} {spinner} {msg}",
    };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::with_draw_target((expected > 0).then_some(expected), ProgressDrawTarget::stderr());
    bar.with_style(style.progress_chars("█▉▊▋▌▍▎▏ ")).with_prefix(pipeline)
}

/// A moment of a run.
struct At {
    records: u64,
    expected: u64,
    elapsed: Duration,
}

impl At {
    fn rate(&self) -> f64 {
        self.records as f64 / self.elapsed.as_secs_f64().max(1e-3)
    }

    /// How long it will still take, if it goes on like this.
    fn rest(&self) -> Option<Duration> {
        let missing = self.expected.checked_sub(self.records).filter(|missing| *missing > 0)?;
        let seconds = missing as f64 / self.rate();
        (self.records > 0 && seconds < 1e9).then(|| Duration::from_secs(seconds.ceil() as u64))
    }

    fn message(&self) -> String {
        let records = grouped(self.records);
        if self.expected > 0 && self.records >= self.expected {
            // Windows close and results are made visible; a rate of reading says nothing any more.
            return format!("{records} records, writing");
        }
        let rest = self.rest().map(|rest| format!(", {} left", humantime::format_duration(rest)));
        format!("{records} records, {}/s{}", grouped(self.rate() as u64), rest.unwrap_or_default())
    }

    fn line(&self, ui: &Ui, pipeline: &str) {
        if ui.is_json() {
            info!(
                pipeline,
                records = self.records,
                expected = self.expected,
                per_second = self.rate() as u64,
                "progress"
            );
            return;
        }
        let percent = match self.expected {
            0 => String::new(),
            expected => format!("{:.0} %, ", (100.0 * self.records as f64 / expected as f64).min(100.0)),
        };
        ui.note(format_args!("{pipeline}: {percent}{}", self.message()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_says_records_rate_and_rest() {
        let at = |records, expected| At { records, expected, elapsed: Duration::from_secs(2) };
        assert_eq!(at(2_000, 5_000).message(), "2,000 records, 1,000/s, 3s left");
        assert_eq!(at(5_000, 5_000).message(), "5,000 records, writing");
        assert_eq!(at(0, 5_000).message(), "0 records, 0/s");
        assert_eq!(at(2_000, 0).message(), "2,000 records, 1,000/s");
    }
}
