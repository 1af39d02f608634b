//! How many rows an output has, and their digest.

use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// Rows of one output.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputTally {
    /// How many.
    pub rows: u64,
    /// Their digest.
    pub digest: Digest,
}

/// The tallies of a pipeline's outputs, shared by the workers of the process that writes them.
#[derive(Debug)]
pub struct Tallies(Vec<Mutex<OutputTally>>);

impl Tallies {
    /// Nothing in any of `outputs` outputs.
    pub fn new(outputs: usize) -> Self {
        Tallies((0..outputs).map(|_| Mutex::default()).collect())
    }

    /// Goes on from what an earlier run had counted.
    pub fn of(outputs: Vec<OutputTally>) -> Self {
        Tallies(outputs.into_iter().map(Mutex::new).collect())
    }

    /// Adds `rows` rows with `digest` to an output; fewer than none where more were replaced than came.
    pub fn add(&self, output: usize, rows: i64, digest: &Digest) {
        if let Ok(mut tally) = self.0[output].lock() {
            tally.rows = tally.rows.wrapping_add_signed(rows);
            tally.digest.merge(digest);
        }
    }

    /// The tally of every output so far.
    pub fn read(&self) -> Vec<OutputTally> {
        self.0.iter().map(|tally| tally.lock().map(|tally| tally.clone()).unwrap_or_default()).collect()
    }
}
