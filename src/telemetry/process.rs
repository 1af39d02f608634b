//! What the operating system says of this process.

use serde::{Deserialize, Serialize};

/// This process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProcessView {
    /// Memory that is in use and resident, in bytes; 0 where the system does not say.
    pub resident_bytes: u64,
    /// Processor time used, in seconds; 0 where the system does not say.
    pub cpu_seconds: f64,
    /// Seconds since the start.
    pub uptime_seconds: f64,
    /// The version of tidegate.
    pub version: String,
}

impl ProcessView {
    /// As it is now, `uptime_seconds` after its start.
    pub fn now(uptime_seconds: f64) -> Self {
        ProcessView {
            resident_bytes: resident_bytes().unwrap_or(0),
            cpu_seconds: cpu_seconds().unwrap_or(0.0),
            uptime_seconds,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// User and system time of all threads. Linux gives them in ticks of 1/100 s on every architecture.
fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name, which may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) / 100.0)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_system_says_how_much_memory_is_in_use() {
        let now = ProcessView::now(1.5);
        assert!(now.resident_bytes > 100_000, "{now:?}");
        assert_eq!(now.uptime_seconds, 1.5);
        assert!(cpu_seconds().is_some());
    }
}
