//! Runs of this program as child processes, which end with their parent, at their deadline, or when one of
//! them fails.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tidegate::checkpoint::Manifest;

use super::plan::Run;

/// How often children are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How long an epoch lasts in runs that are killed.
const EPOCH: &str = "10ms";
/// How much of what a failed child said is shown.
const SHOWN_LINES: usize = 20;
/// How long the others may take to end when one process has failed.
const GRACE: Duration = Duration::from_secs(2);
/// How often a run is begun when a port that was free has been taken by somebody else meanwhile.
const ATTEMPTS: usize = 3;

/// What all runs of a proof have in common.
pub(super) struct Common<'a> {
    /// This program.
    pub(super) program: &'a Path,
    /// The pipeline.
    pub(super) pipeline: &'a str,
    /// The fixture.
    pub(super) fixture: &'a Path,
    /// Passed on.
    pub(super) config: Option<&'a Path>,
    /// How long a run may take.
    pub(super) timeout: Duration,
    /// Says whether to give up.
    pub(super) cancelled: &'a dyn Fn() -> bool,
}

/// Why a run gave no summary.
#[derive(Debug)]
pub(super) enum RunFailure {
    /// The system refused something.
    Io(io::Error),
    /// A process ended with a failure, or without a summary; what it said.
    Failed(String),
    /// It was not done in time.
    TimedOut(String),
    /// The caller gave up.
    Cancelled,
}

impl From<io::Error> for RunFailure {
    fn from(error: io::Error) -> Self {
        RunFailure::Io(error)
    }
}

/// Runs in the empty directory `dir`, and gives the summary's text and how often the run was killed before its end.
pub(super) fn run(common: &Common<'_>, run: &Run, dir: &Path) -> Result<(String, u32), RunFailure> {
    let deadline = Instant::now() + common.timeout;
    let checkpoint = dir.join("checkpoint").join(common.pipeline);
    let (mut kills, mut attempts) = (0, 1);
    loop {
        let mut children = start(common, run, dir, kills)?;
        // Killed again only behind where it was killed before: so it comes to its end.
        let decided = newest_epoch(&checkpoint);
        let is_to_die = || kills < run.kills && newest_epoch(&checkpoint) > decided;
        match children.wait(common, deadline, &is_to_die) {
            Err(RunFailure::Failed(said)) if is_a_port_taken(run, &said) && attempts < ATTEMPTS => {
                attempts += 1
            }
            Err(failure) => return Err(failure),
            Ok(Waited::Condition) => kills += 1,
            Ok(Waited::Ended) => {
                let summary = fs::read_to_string(dir.join("out/summary.json")).map_err(|error| {
                    let said = children.said(0);
                    RunFailure::Failed(format!("it wrote no summary ({error}); it said:\n{said}"))
                })?;
                return Ok((summary, kills));
            }
        }
    }
}

fn is_a_port_taken(run: &Run, said: &str) -> bool {
    run.processes > 1 && said.contains("Address already in use")
}

/// The newest epoch of which there is a manifest.
fn newest_epoch(checkpoint: &Path) -> u64 {
    let names = fs::read_dir(checkpoint).into_iter().flatten().flatten();
    names.filter_map(|file| Manifest::epoch_of(file.file_name().to_str()?)).max().unwrap_or(0)
}

fn start(common: &Common<'_>, run: &Run, dir: &Path, kills: u32) -> Result<Children, RunFailure> {
    let out = dir.join("out");
    let hosts = dir.join("hosts");
    if run.processes > 1 {
        fs::write(&hosts, free_addresses(run.processes)?)?;
    }
    let mut children = Children(Vec::new());
    for process in 0..run.processes {
        let said = dir.join(format!("process-{process}.log"));
        let mut command = Command::new(common.program);
        command
            .args([run.command(), common.pipeline, "--fixture"])
            .arg(common.fixture)
            .arg("--out")
            .arg(&out);
        command.args(run.flags(kills)).args(["-p", &process.to_string()]);
        if run.kills > 0 {
            command.arg("--checkpoint").arg(dir.join("checkpoint")).args(["--epoch", EPOCH, "--web", "off"]);
        }
        if run.processes > 1 {
            command.arg("-h").arg(&hosts);
        }
        if let Some(config) = common.config {
            command.arg("--config").arg(config);
        }
        let log = File::create(&said)?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).env("NO_COLOR", "1");
        children.0.push(Process { child: command.spawn()?, said, status: None });
    }
    Ok(children)
}

/// A host file with as many lines of free ports on this machine.
fn free_addresses(count: usize) -> io::Result<String> {
    // All are bound at once, so that they are distinct; somebody else may still be faster than the children.
    let bound =
        (0..count).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<io::Result<Vec<_>>>()?;
    bound.iter().map(|listener| Ok(format!("{}\n", listener.local_addr()?))).collect()
}

struct Process {
    child: Child,
    /// The file that it writes to.
    said: PathBuf,
    status: Option<ExitStatus>,
}

impl Process {
    fn has_failed(&self) -> bool {
        self.status.is_some_and(|status| !status.success())
    }
}

/// What was waited for.
enum Waited {
    Ended,
    Condition,
}

/// Killed when dropped.
struct Children(Vec<Process>);

impl Children {
    /// Waits until all have ended, or `condition` is met.
    fn wait(
        &mut self,
        common: &Common<'_>,
        deadline: Instant,
        condition: &dyn Fn() -> bool,
    ) -> Result<Waited, RunFailure> {
        let mut first_failure = None;
        loop {
            for process in self.0.iter_mut().filter(|process| process.status.is_none()) {
                process.status = process.child.try_wait()?;
            }
            let all_ended = self.0.iter().all(|process| process.status.is_some());
            if self.0.iter().any(Process::has_failed) {
                // Of several processes one fails first, the others because of it, and all are to be heard.
                let since = *first_failure.get_or_insert_with(Instant::now);
                if all_ended || since.elapsed() > GRACE {
                    return Err(RunFailure::Failed(self.failures()));
                }
            } else if all_ended {
                return Ok(Waited::Ended);
            } else if condition() {
                return Ok(Waited::Condition);
            }
            if (common.cancelled)() {
                return Err(RunFailure::Cancelled);
            }
            if Instant::now() >= deadline {
                let said: Vec<String> = (0..self.0.len()).map(|at| self.said(at)).collect();
                return Err(RunFailure::TimedOut(said.join("\n")));
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// How the processes that failed ended, and what they said.
    fn failures(&self) -> String {
        let failed = self.0.iter().enumerate().filter(|(_, process)| process.has_failed());
        let told = failed.map(|(at, process)| {
            let status = process.status.map(|status| status.to_string()).unwrap_or_default();
            format!("process {at} ended with {status}:\n{}", self.said(at))
        });
        told.collect()
    }

    /// The end of what process `at` said.
    fn said(&self, at: usize) -> String {
        let bytes = fs::read(&self.0[at].said).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        let shown = &lines[lines.len().saturating_sub(SHOWN_LINES)..];
        shown.iter().map(|line| format!("    {line}\n")).collect()
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        for process in self.0.iter_mut().filter(|process| process.status.is_none()) {
            // It may have ended by itself just now; then there is nothing to kill and nothing to do.
            process.child.kill().ok();
            process.child.wait().ok();
        }
    }
}
