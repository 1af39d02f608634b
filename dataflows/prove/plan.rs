//! The runs of a proof.

use std::fmt;

/// One way of running a replay. None of it may change the results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Workers in each process.
    pub workers: usize,
    /// Processes.
    pub processes: usize,
    /// The seed of the interleaving; `None` reads aligned in event time, as a replay does by itself.
    pub shuffle: Option<u64>,
    /// Records per activation, at most.
    pub batch: usize,
}

impl Run {
    /// The flags of `tidegate replay` that make a run like this, but for `-p` and `-h`.
    pub fn flags(&self) -> Vec<String> {
        let mut flags = vec![
            "-w".to_owned(),
            self.workers.to_string(),
            "-n".to_owned(),
            self.processes.to_string(),
            "--batch".to_owned(),
            self.batch.to_string(),
        ];
        if let Some(seed) = self.shuffle {
            flags.extend(["--shuffle".to_owned(), seed.to_string()]);
        }
        flags
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.flags().join(" "))
    }
}

const WORKERS: [usize; 4] = [1, 2, 3, 8];
const PROCESSES: [usize; 2] = [1, 2];
const BATCHES: [usize; 6] = [1, 7, 64, 4096, 1000, 65_536];
const DEFAULT_BATCH: usize = crate::replay::BATCH;

/// All runs, or a chosen few when `quick`; the first is the reference. `seed` chooses the interleavings.
///
/// # Examples
/// ```
/// let runs = tidegate_dataflows::prove::runs(true, 7);
/// assert_eq!(runs[1].to_string(), "-w 2 -n 1 --batch 1 --shuffle 7");
/// ```
pub fn runs(quick: bool, seed: u64) -> Vec<Run> {
    let plain = |workers, processes| Run { workers, processes, shuffle: None, batch: DEFAULT_BATCH };
    let mut runs = vec![plain(1, 1)];
    if quick {
        let few = [(2, 1, 1), (3, 1, 7), (8, 1, 4096), (1, 2, 64), (2, 2, 4096)];
        runs.extend((0..).zip(few).map(|(i, (workers, processes, batch))| {
            let shuffle = Some(seed.wrapping_add(i));
            Run { workers, processes, shuffle, batch }
        }));
        return runs;
    }
    let mut batches = BATCHES.into_iter().cycle();
    let mut seeds = (0..).map(|i| seed.wrapping_add(i));
    for processes in PROCESSES {
        for workers in WORKERS {
            if (workers, processes) != (1, 1) {
                runs.push(plain(workers, processes));
            }
            // Four of six, so that every number of workers meets every size of batch in turn.
            for (batch, seed) in batches.by_ref().zip(seeds.by_ref()).take(4) {
                runs.push(Run { workers, processes, shuffle: Some(seed), batch });
            }
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn full_proof_runs_every_number_of_workers_in_every_number_of_processes() {
        let runs = runs(false, 1);
        let shapes: BTreeSet<_> = runs.iter().map(|run| (run.workers, run.processes)).collect();
        assert_eq!(shapes.len(), 8);
        let batches: BTreeSet<_> = runs.iter().map(|run| run.batch).collect();
        assert_eq!(batches, BTreeSet::from(BATCHES));
        let seeds: BTreeSet<_> = runs.iter().filter_map(|run| run.shuffle).collect();
        assert_eq!(seeds.len(), 32, "every shuffled run has its own interleaving");
    }

    #[test]
    fn quick_proof_is_few_runs_that_vary_everything() {
        let runs = runs(true, 1);
        assert!(runs.len() <= 6);
        assert!(runs.iter().any(|run| run.processes == 2) && runs.iter().any(|run| run.workers == 8));
        assert_eq!(runs[0], Run { workers: 1, processes: 1, shuffle: None, batch: DEFAULT_BATCH });
    }
}
