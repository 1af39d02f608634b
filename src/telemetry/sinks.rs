//! What is known of a sink.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::histogram::{Histogram, HistogramView, WORK_SECONDS};

/// The facts of a sink, stated by whoever writes and commits.
#[derive(Debug)]
pub(super) struct SinkBoard {
    pub(super) name: String,
    rows: AtomicU64,
    retries: AtomicU64,
    refused: AtomicU64,
    epoch: AtomicU64,
    prepare: Histogram,
    commit: Histogram,
    trouble: Mutex<Option<String>>,
}

impl SinkBoard {
    pub(super) fn new(name: &str) -> Self {
        SinkBoard {
            name: name.to_owned(),
            rows: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            epoch: AtomicU64::new(0),
            prepare: Histogram::new(WORK_SECONDS),
            commit: Histogram::new(WORK_SECONDS),
            trouble: Mutex::new(None),
        }
    }

    pub(super) fn rows(&self, rows: u64) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
    }

    pub(super) fn given(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    pub(super) fn failed(&self, error: &str) {
        self.retries.fetch_add(1, Ordering::Relaxed);
        if let Ok(mut trouble) = self.trouble.lock() {
            *trouble = Some(error.to_owned());
        }
    }

    pub(super) fn prepared(&self, took: Duration) {
        self.prepare.observe(took.as_secs_f64(), 1);
        self.answers();
    }

    pub(super) fn committed(&self, epoch: u64, took: Duration, refused: u64) {
        self.refused.store(refused, Ordering::Relaxed);
        self.commit.observe(took.as_secs_f64(), 1);
        self.epoch.store(epoch, Ordering::Relaxed);
        self.answers();
    }

    pub(super) fn answers(&self) {
        if let Ok(mut trouble) = self.trouble.lock() {
            *trouble = None;
        }
    }

    pub(super) fn view(&self) -> SinkView {
        SinkView {
            name: self.name.clone(),
            rows: self.given(),
            retries: self.retries.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            epoch: Some(self.epoch.load(Ordering::Relaxed)).filter(|epoch| *epoch > 0),
            prepare_seconds: self.prepare.view(),
            commit_seconds: self.commit.view(),
            trouble: self.trouble.lock().map(|trouble| trouble.clone()).unwrap_or_default(),
        }
    }
}

/// A sink as it stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SinkView {
    /// Its name in the pipeline.
    pub name: String,
    /// Rows and lines that were given to it.
    pub rows: u64,
    /// Failed tries that were made again.
    pub retries: u64,
    /// Rows that its target refused for what they hold and keeps apart.
    #[serde(default)]
    pub refused: u64,
    /// The last epoch that this process made visible in it.
    pub epoch: Option<u64>,
    /// How long it took to make an epoch durable before the decision.
    pub prepare_seconds: HistogramView,
    /// How long it took to make a decided epoch visible.
    pub commit_seconds: HistogramView,
    /// What it fails with at present, and is tried again after.
    pub trouble: Option<String>,
}
