//! The runs of a proof.

use std::fmt;

/// One way of reading a log. None of it may change the results.
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
    /// How often it is killed at a random moment and started again from its checkpoint with another number of workers. 0: it is a
    /// replay, which has no checkpoints.
    pub kills: u32,
}

impl Run {
    /// The command of `tidegate` that reads a log like this.
    pub fn command(&self) -> &'static str {
        if self.kills == 0 { "replay" } else { "run" }
    }

    /// Its flags, but for `-p` and `-h`, when it is started after so many kills.
    pub fn flags(&self, kills: u32) -> Vec<String> {
        let first = WORKERS.iter().position(|workers| *workers == self.workers).unwrap_or_default();
        let workers =
            if kills == 0 { self.workers } else { WORKERS[(first + kills as usize) % WORKERS.len()] };
        let mut flags = vec![
            "-w".to_owned(),
            workers.to_string(),
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
        f.write_str(&self.flags(0).join(" "))?;
        if self.kills > 0 { write!(f, ", killed {} times", self.kills) } else { Ok(()) }
    }
}

const WORKERS: [usize; 4] = [1, 2, 3, 8];
const PROCESSES: [usize; 2] = [1, 2];
const BATCHES: [usize; 6] = [1, 7, 64, 4096, 1000, 65_536];
const DEFAULT_BATCH: usize = crate::replay::BATCH;
/// Small, so that there is something left to read when a run is killed.
const KILLED_BATCH: usize = 64;

/// All runs, or a chosen few when `quick`; the first is the reference. `seed` chooses the interleavings.
///
/// # Examples
/// ```
/// let runs = tidegate_dataflows::prove::runs(true, 7);
/// assert_eq!(runs[1].to_string(), "-w 2 -n 1 --batch 1 --shuffle 7");
/// ```
pub fn runs(quick: bool, seed: u64) -> Vec<Run> {
    let plain =
        |workers, processes| Run { workers, processes, shuffle: None, batch: DEFAULT_BATCH, kills: 0 };
    let killed = |workers, processes, kills| Run {
        shuffle: Some(seed.wrapping_add(u64::from(kills))),
        batch: KILLED_BATCH,
        kills,
        ..plain(workers, processes)
    };
    let mut runs = vec![plain(1, 1)];
    if quick {
        let few = [(2, 1, 1), (3, 1, 7), (8, 1, 4096), (1, 2, 64), (2, 2, 4096)];
        runs.extend((0..).zip(few).map(|(i, (workers, processes, batch))| {
            let shuffle = Some(seed.wrapping_add(i));
            Run { workers, processes, shuffle, batch, kills: 0 }
        }));
        runs.push(killed(2, 1, 2));
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
                runs.push(Run { workers, processes, shuffle: Some(seed), batch, kills: 0 });
            }
        }
    }
    runs.extend([killed(1, 1, 3), killed(2, 1, 5), killed(8, 1, 4), killed(1, 2, 2), killed(3, 2, 3)]);
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
        let replays = || runs.iter().filter(|run| run.kills == 0);
        let seeds: BTreeSet<_> = replays().filter_map(|run| run.shuffle).collect();
        assert_eq!(seeds.len(), 32, "every shuffled run has its own interleaving");
        let killed: BTreeSet<_> = runs.iter().filter(|run| run.kills > 0).map(|run| run.processes).collect();
        assert_eq!(killed, BTreeSet::from(PROCESSES));
    }

    #[test]
    fn quick_proof_is_few_runs_that_vary_everything() {
        let runs = runs(true, 1);
        assert!(runs.len() <= 7);
        assert_eq!(runs.iter().filter(|run| run.kills > 0).count(), 1);
        assert!(runs.iter().any(|run| run.processes == 2) && runs.iter().any(|run| run.workers == 8));
        assert_eq!(runs[0], Run { workers: 1, processes: 1, shuffle: None, batch: DEFAULT_BATCH, kills: 0 });
    }

    #[test]
    fn killed_run_goes_on_with_another_number_of_workers() {
        let killed = runs(true, 1).pop().expect("the last one");
        let workers: Vec<String> = (0..4).map(|kills| killed.flags(kills)[1].clone()).collect();
        assert_eq!(workers, ["2", "3", "8", "1"]);
        assert_eq!((killed.command(), runs(true, 1)[0].command()), ("run", "replay"));
    }
}
