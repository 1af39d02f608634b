//! `tidegate doctor`: what this machine and its surroundings offer a run, and what will be in its way.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use tidegate_dataflows::settings::{Layers, Settings};

use super::args::{Global, KafkaClient};
use super::connect::{self, Finding};
use super::failure::Failure;
use super::ui::Ui;
use super::validate::verdict;
use super::{kafka, places};

/// A run that writes a lake holds about so many files open, and its sinks as many again while they compact.
const OPEN_FILES: u64 = 4_096;
/// Below this a full disk is near.
const DISK_BYTES: u64 = 1 << 30;

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  tidegate doctor
  tidegate doctor --bootstrap-servers localhost:9092 --json")]
pub(crate) struct DoctorArgs {
    /// Where results would go.
    #[arg(long, value_name = "DIR", default_value = "out")]
    out: PathBuf,
    /// Kafka brokers; KAFKA_BOOTSTRAP_SERVERS by default. Without any, Kafka is not asked.
    #[arg(long, value_name = "HOST:PORT,…")]
    bootstrap_servers: Option<String>,
    #[command(flatten)]
    client: KafkaClient,
    /// One object in place of text.
    #[arg(long)]
    json: bool,
}

/// Looks around, and says what is wrong. Nothing is changed, but for a file that is made and removed to see
/// whether that can be done.
pub(crate) fn run(ui: &Ui, global: &Global, args: &DoctorArgs) -> Result<(), Failure> {
    let mut findings = vec![Finding::good(
        "tidegate",
        format!("version {} for {}", env!("CARGO_PKG_VERSION"), std::env::consts::ARCH),
    )];
    let settings = match Layers::of_process(global.config.clone()).load() {
        Ok(settings) => {
            let files: Vec<String> = settings.files.iter().map(|file| file.display().to_string()).collect();
            let from = if files.is_empty() { "defaults only".to_owned() } else { files.join(", ") };
            findings.push(Finding::good("settings", format!("valid ({from})")));
            settings
        }
        Err(faults) => {
            findings.push(Finding::bad("settings", faults.to_string(), "tidegate validate shows them alone"));
            Settings::default()
        }
    };
    findings.push(cores(global.workers));
    findings.extend(memory());
    findings.extend(open_files());
    findings.push(directory("results", &args.out));
    findings.push(match places::fixture(None) {
        Ok(dir) => Finding::good("recorded fixtures", dir.display().to_string()),
        Err(_) => Finding::good("recorded fixtures", "none here: replays need --fixture DIR"),
    });
    findings.extend(connect::others(&settings, &[]));
    let named = args.bootstrap_servers.as_deref();
    if named.or(settings.kafka.bootstrap_servers.as_deref()).is_some() {
        let properties = kafka::brokers(named, &args.client, &settings)?;
        findings.extend(connect::kafka(&properties, &settings, &[]));
    } else {
        findings.push(Finding::good("Kafka", "not asked: no brokers are named"));
    }
    if args.json {
        ui.json(&json!({"findings": findings}))?;
    } else {
        for finding in &findings {
            ui.result(finding.text(ui))?;
        }
    }
    verdict(&findings)
}

fn cores(workers: usize) -> Finding {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if workers > cores {
        let says = format!("{cores}, for {workers} workers that take turns");
        return Finding::warning(
            "cores",
            says,
            format!("-w {cores} is as fast; results do not depend on it"),
        );
    }
    Finding::good("cores", format!("{cores}; -w {cores} uses them all"))
}

fn memory() -> Option<Finding> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib = line.split_whitespace().next()?.parse::<u64>().ok()?;
    let says = format!("{} MiB available", kib >> 10);
    Some(if kib < 512 << 10 {
        Finding::warning(
            "memory",
            says,
            "a run holds the state of its open windows and sessions: give it more",
        )
    } else {
        Finding::good("memory", says)
    })
}

fn open_files() -> Option<Finding> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let soft = line.split_whitespace().next()?;
    let Ok(count) = soft.parse::<u64>() else { return Some(Finding::good("open files", soft)) };
    Some(if count < OPEN_FILES {
        Finding::warning("open files", format!("at most {count}"), format!("ulimit -n {OPEN_FILES}"))
    } else {
        Finding::good("open files", format!("at most {count}"))
    })
}

/// Whether files can be made in `dir`, or where it would be made, and how much room is there.
fn directory(what: &str, dir: &Path) -> Finding {
    let shown = dir.display();
    let absolute = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    let Some(there) = absolute.ancestors().find(|place| place.is_dir()) else {
        return Finding::bad(what, format!("{shown} lies nowhere"), "name another directory");
    };
    if let Err(error) = tempfile::Builder::new().prefix(".tidegate-doctor").tempfile_in(there) {
        let mend = format!("let this user write to {}", there.display());
        return Finding::bad(what, format!("nothing can be written to {shown}: {error}"), mend);
    }
    let room = rustix::fs::statvfs(there).ok().map(|stat| stat.f_bavail.saturating_mul(stat.f_frsize));
    match room {
        Some(bytes) if bytes < DISK_BYTES => Finding::warning(
            what,
            format!("{shown} can be written, with {} MiB of room", bytes >> 20),
            "make room: a full disk holds a run back until there is some",
        ),
        Some(bytes) => {
            Finding::good(what, format!("{shown} can be written, with {} MiB of room", bytes >> 20))
        }
        None => Finding::good(what, format!("{shown} can be written")),
    }
}
