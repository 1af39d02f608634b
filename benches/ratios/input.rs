//! The input: read from another generator's files, or made from a seed.

use std::fmt::Write as _;
use std::path::PathBuf;

const PARTITIONS: usize = 8;
const BASE_MS: i64 = 1_767_225_600_000;
const HOUR_MS: i64 = 3_600_000;

/// What the program is told.
pub(crate) struct Arguments {
    /// A directory with `p0.ndjson`, `p1.ndjson`, …
    pub(crate) data: Option<PathBuf>,
    /// How many records to make.
    pub(crate) records: usize,
    /// How often each measurement is repeated; ratios are medians, times the best.
    pub(crate) rounds: usize,
    /// The only part that is measured, by its name.
    pub(crate) only: Option<String>,
}

impl Arguments {
    /// From the command line; flags of the bench harness are passed over.
    pub(crate) fn read() -> Self {
        let words: Vec<String> = std::env::args().collect();
        let after = |flag: &str| words.iter().position(|w| w == flag).and_then(|at| words.get(at + 1));
        let number =
            |flag, default| after(flag).and_then(|text: &String| text.parse().ok()).unwrap_or(default);
        let quick = words.iter().any(|word| word == "--test");
        Arguments {
            data: after("--data").map(PathBuf::from),
            records: number("--records", if quick { 50_000 } else { 5_000_000 }),
            rounds: number("--rounds", if quick { 1 } else { 11 }),
            only: after("--only").cloned(),
        }
    }

    /// Whether the part called `name` is to be measured.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only == name)
    }
}

/// The lines of each partition.
pub(crate) fn partitions(arguments: &Arguments) -> Vec<Vec<u8>> {
    if let Some(dir) = &arguments.data {
        let file = |p: usize| dir.join(format!("p{p}.ndjson"));
        let partitions: Vec<_> = (0..)
            .map(file)
            .take_while(|path| path.exists())
            .map(|path| std::fs::read(&path).unwrap_or_else(|error| panic!("{path:?}: {error}")))
            .collect();
        assert!(!partitions.is_empty(), "there is no p0.ndjson in {dir:?}: make it with the generator");
        return partitions;
    }
    make(arguments.records)
}

/// In place of an event type: one that there is not, none, and text that ends in its middle.
const BROKEN: [&str; 3] = ["view", "\",\"event_type\":7,\"x\":\"", "page_view\"\""];

/// splitmix64 (Steele et al. 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ z >> 31) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// An hour of clicks: disorder up to 30 s, 2 % stragglers of 3 to 10 minutes, popular pages more popular; 1 in 1,000 cannot be used.
fn make(records: usize) -> Vec<Vec<u8>> {
    let mut random = Random(1);
    let mut partitions = vec![Vec::new(); PARTITIONS];
    partitions.iter_mut().for_each(|partition: &mut Vec<u8>| partition.reserve(records / PARTITIONS * 140));
    let mut line = String::new();
    for i in 0..records {
        let now = BASE_MS + i as i64 * HOUR_MS / records as i64;
        let straggler = random.next() < 0.02;
        let back = if straggler { 180_000.0 + random.next() * 420_000.0 } else { random.next() * 30_000.0 };
        let user = (random.next() * 100_000.0) as usize;
        let page = (1000.0 * random.next().powi(3)) as usize;
        let kind = match (random.next() * 20.0) as usize {
            _ if i % 1000 == 999 => BROKEN[i / 1000 % BROKEN.len()],
            0..14 => "page_view",
            14..18 => "click",
            18 => "session_start",
            _ => "session_end",
        };
        let time = tidegate::time::format((now - back as i64) * 1000);
        let time = std::str::from_utf8(&time[..23]).expect("a time is ASCII");
        line.clear();
        writeln!(
            line,
            "{{\"event_time\":\"{time}Z\",\"user_id\":\"user_{user}\",\
             \"page_url\":\"https://example.com/page/{page}\",\"event_type\":\"{kind}\"}}"
        )
        .expect("a string takes everything");
        partitions[user % PARTITIONS].extend_from_slice(line.as_bytes());
    }
    partitions
}

/// The first sixth of each partition: ten minutes of the hour.
pub(crate) fn ten_minutes(partitions: &[Vec<u8>]) -> Vec<Vec<u8>> {
    partitions
        .iter()
        .map(|bytes| {
            let cut = bytes.len() / 6;
            let end = memchr::memchr(b'\n', &bytes[cut..]).map_or(bytes.len(), |at| cut + at + 1);
            bytes[..end].to_vec()
        })
        .collect()
}
