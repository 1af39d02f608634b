//! Runs, their times, and the table.

use std::time::Instant;

use cpu_time::ProcessTime;

/// A measured run.
pub(crate) struct Timed<F> {
    /// CPU seconds of the process.
    pub(crate) cpu: f64,
    /// Seconds on the clock.
    pub(crate) wall: f64,
    /// What was found.
    pub(crate) found: F,
}

impl<F> Timed<F> {
    /// Runs `work` and measures it.
    pub(crate) fn of(work: impl FnOnce() -> F) -> Self {
        let (cpu, wall) = (ProcessTime::now(), Instant::now());
        let found = work();
        Timed { cpu: cpu.elapsed().as_secs_f64(), wall: wall.elapsed().as_secs_f64(), found }
    }

    /// The same run, of whose findings only a part is of interest.
    pub(crate) fn map<G>(self, part: impl FnOnce(F) -> G) -> Timed<G> {
        Timed { cpu: self.cpu, wall: self.wall, found: part(self.found) }
    }
}

/// The same work measured again and again, in turns with other work.
pub(crate) struct Rounds<F>(Vec<Timed<F>>);

/// Runs each of `works` in turn, `rounds` times.
pub(crate) fn in_turns<F, const N: usize>(
    rounds: usize,
    mut works: [&mut dyn FnMut() -> Timed<F>; N],
) -> [Rounds<F>; N] {
    let mut all = std::array::from_fn(|_| Rounds(Vec::new()));
    for _ in 0..rounds.max(1) {
        for (Rounds(timed), work) in all.iter_mut().zip(&mut works) {
            timed.push(work());
        }
    }
    all
}

impl<F> Rounds<F> {
    /// The fastest: on a shared machine noise only ever adds.
    pub(crate) fn best(&self) -> &Timed<F> {
        self.0.iter().min_by(|a, b| a.cpu.total_cmp(&b.cpu)).expect("there was at least one round")
    }

    /// What `of` gives for each round of both; the median. Whatever slows the machine down for a while slows both down, which
    /// the fastest of each, from different moments, would not tell.
    pub(crate) fn paired(&self, other: &Rounds<F>, of: impl Fn(&Timed<F>, &Timed<F>) -> f64) -> f64 {
        let mut pairs: Vec<f64> = self.0.iter().zip(&other.0).map(|(a, b)| of(a, b)).collect();
        pairs.sort_by(f64::total_cmp);
        let middle = pairs.len() / 2;
        if pairs.len() % 2 == 1 { pairs[middle] } else { (pairs[middle - 1] + pairs[middle]) / 2.0 }
    }

    /// How many times the CPU of `other` it takes.
    pub(crate) fn cpu_to(&self, other: &Rounds<F>) -> f64 {
        self.paired(other, |mine, its| mine.cpu / its.cpu)
    }

    /// How many times the time of `other` it takes on the clock.
    pub(crate) fn wall_to(&self, other: &Rounds<F>) -> f64 {
        self.paired(other, |mine, its| mine.wall / its.wall)
    }
}

/// What was found has rows, which a line of the table tells.
pub(crate) trait Rows {
    /// How many.
    fn rows(&self) -> u64;
}

/// The table of results.
#[derive(Default)]
pub(crate) struct Report {
    records: u64,
    missed: usize,
}

impl Report {
    /// What follows is about measurements over `records` records.
    pub(crate) fn over(&mut self, records: u64) {
        self.records = records;
    }

    /// A line with a run's time, the fastest one.
    pub(crate) fn time<F: Rows>(&self, name: &str, rounds: &Rounds<F>) {
        let timed = rounds.best();
        let per_record = 1e9 / self.records as f64;
        println!(
            "  {name:<52} {:>8.1} ns CPU a record {:>8.1} ns wall {:>9.0} rows",
            timed.cpu * per_record,
            timed.wall * per_record,
            timed.found.rows() as f64,
        );
    }

    /// A line with a figure and what it is held to; NaN where it is only reported.
    pub(crate) fn figure(&mut self, name: &str, value: f64, at_most: f64) {
        let verdict = if at_most.is_nan() {
            String::new()
        } else if value <= at_most {
            format!("at most {at_most}: kept")
        } else {
            self.missed += 1;
            format!("at most {at_most}: MISSED")
        };
        println!("= {name:<52} {value:>8.3}  {verdict}");
    }

    /// Says how many were missed.
    pub(crate) fn finish(self) {
        println!("{} of the bounds missed", self.missed);
    }
}
