//! `tidegate cluster`: the processes of one run, started, watched, and started again together.
//!
//! Timely's processes share one fate: when one is lost the others cannot go on, and the way back is the last
//! checkpoint. So a process that dies, stands still or cannot be reached ends all of them, by SIGKILL, and all are
//! started again. The new start claims a new generation; whatever is left of the old one can commit nothing.
//!
//! On several machines each has a `cluster` of its own, of some of the processes: the loss of one ends those of its machine by its
//! supervisor, and the others by themselves, since they lose their connection; all supervisors then start theirs again.

use std::io::Write;
use std::net::TcpListener;
use std::ops::Range;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::args::{ClusterArgs, Global};
use super::failure::{Failure, USAGE};
use super::run::{HEARTBEAT, SUPERVISOR};
use super::ui::Ui;

/// How often the processes are looked at.
const LOOK: Duration = Duration::from_millis(50);

/// Starts that failed longer ago than this are forgotten.
const MINUTE: Duration = Duration::from_secs(60);

/// So long a process may take at least until it shows the first sign of life: twice what it waits for the others.
const JOINED: Duration = Duration::from_secs(120);

struct Member {
    process: usize,
    child: Child,
    heartbeat: PathBuf,
    beat: Option<Vec<u8>>,
    seen: Instant,
}

/// Why all processes are to be started again, or the end.
enum Turn {
    Done,
    GiveUp(Failure),
    Again(String),
}

/// Starts the processes, and keeps them running until they are done.
pub(crate) fn run(ui: &Ui, global: &Global, args: &ClusterArgs) -> Result<(), Failure> {
    let program = std::env::current_exe()
        .map_err(|error| Failure::running(format!("cannot find this program to start it: {error}")))?;
    let scratch = tempfile::Builder::new().prefix("tidegate-cluster-").tempdir();
    let scratch = scratch.map_err(|error| Failure::running(format!("cannot make a directory: {error}")))?;
    let numbers = numbers(global, args)?;
    let stopping = Arc::new(AtomicBool::new(false));
    let heard = Arc::clone(&stopping);
    ctrlc::set_handler(move || heard.store(true, Ordering::SeqCst))
        .map_err(|error| Failure::running(format!("cannot hear signals: {error}")))?;
    let mut failed = Vec::<Instant>::new();
    loop {
        let mut members = start(global, args, &numbers, &program, scratch.path())?;
        let turn = watch(ui, args, &mut members, &stopping);
        for member in &mut members {
            // Already gone, or to go: nobody may commit beside the next start.
            drop(member.child.kill());
            drop(member.child.wait());
        }
        match turn {
            Turn::Done => return Ok(()),
            Turn::GiveUp(failure) => return Err(failure),
            Turn::Again(why) => {
                failed.retain(|at| at.elapsed() < MINUTE);
                failed.push(Instant::now());
                if failed.len() > args.restarts as usize {
                    return Err(Failure::running(format!(
                        "{why}; it was the {}th time within a minute, which is more than --restarts {}",
                        failed.len(),
                        args.restarts
                    ))
                    .mend("look at what the processes said; what is decided stays so"));
                }
                let pause = Duration::from_millis(100) * (1 << failed.len().min(6));
                ui.note(format_args!("{why}; starting all {} again from the last checkpoint", args.count));
                std::thread::sleep(pause);
            }
        }
    }
}

/// The numbers of the processes that are started here, and how many there are everywhere.
struct Numbers {
    here: Range<usize>,
    all: usize,
}

/// All, or those from `-p` on of `-n`, where others run elsewhere.
fn numbers(global: &Global, args: &ClusterArgs) -> Result<Numbers, Failure> {
    let Global { process: first, processes, hostfile, .. } = global;
    let (here, all) = (*first..first + args.count, (*processes).max(args.count));
    if here.end > all {
        return Err(Failure::usage(format!("process {} of {all} cannot be started", here.end - 1))
            .mend("let -n say how many processes there are on all machines, and -p the number of the first one here"));
    }
    if all > args.count && hostfile.is_none() {
        return Err(Failure::usage(format!(
            "{} of {all} processes are elsewhere, and nobody says where",
            all - args.count
        ))
        .mend("name a file with -h: a line HOST:PORT a process, the same on all machines"));
    }
    Ok(Numbers { here, all })
}

fn start(
    global: &Global,
    args: &ClusterArgs,
    numbers: &Numbers,
    program: &Path,
    scratch: &Path,
) -> Result<Vec<Member>, Failure> {
    let hosts = match &global.hostfile {
        Some(hosts) => hosts.clone(),
        None => free_hosts(args.count, scratch)
            .map_err(|error| Failure::running(format!("cannot find free ports: {error}")))?,
    };
    let mut members = Vec::new();
    for process in numbers.here.clone() {
        let heartbeat = scratch.join(format!("heartbeat-{process}"));
        // The last sign of life of the one before is none of this one.
        drop(std::fs::remove_file(&heartbeat));
        let mut command = Command::new(program);
        command.args(&args.command);
        command.arg("-n").arg(numbers.all.to_string()).arg("-p").arg(process.to_string());
        command.arg("-h").arg(&hosts);
        if global.workers > 1 && !args.command.iter().any(|word| word == "-w" || word == "--workers") {
            command.arg("-w").arg(global.workers.to_string());
        }
        if let Some(config) = &global.config {
            command.arg("--config").arg(config);
        }
        command.env(HEARTBEAT, &heartbeat).env(SUPERVISOR, std::process::id().to_string());
        let child = command.spawn().map_err(|error| {
            Failure::running(format!("cannot start process {process}, {}: {error}", program.display()))
        })?;
        members.push(Member { process, child, heartbeat, beat: None, seen: Instant::now() });
    }
    Ok(members)
}

/// A host file of as many free ports of this machine.
fn free_hosts(count: usize, scratch: &Path) -> std::io::Result<PathBuf> {
    let taken: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
    let path = scratch.join("hosts");
    let mut file = std::fs::File::create(&path)?;
    for listener in &taken {
        writeln!(file, "{}", listener.local_addr()?)?;
    }
    Ok(path)
}

fn watch(ui: &Ui, args: &ClusterArgs, members: &mut [Member], stopping: &AtomicBool) -> Turn {
    let mut told = false;
    loop {
        if stopping.load(Ordering::SeqCst) && !std::mem::replace(&mut told, true) {
            ui.note("stopping all processes at the end of the epoch");
            for member in members.iter() {
                if let Some(pid) = i32::try_from(member.child.id()).ok().and_then(Pid::from_raw) {
                    // One that has gone needs no signal.
                    kill_process(pid, Signal::TERM).unwrap_or_default();
                }
            }
        }
        let mut running = false;
        for member in members.iter_mut() {
            let process = member.process;
            match member.child.try_wait() {
                Ok(None) => running = true,
                Ok(Some(status)) if status.success() => continue,
                Ok(Some(status)) => return lost(process, status, told),
                Err(error) => return Turn::Again(format!("process {process} cannot be watched: {error}")),
            }
            let beat = std::fs::read(&member.heartbeat).ok();
            if beat != member.beat {
                (member.beat, member.seen) = (beat, Instant::now());
                continue;
            }
            // The first sign comes when all have joined, for which they have their own patience.
            let silence = if member.beat.is_some() { args.silence } else { args.silence.max(JOINED) };
            if member.seen.elapsed() > silence {
                let silence = humantime::format_duration(silence);
                return Turn::Again(format!("process {process} has shown no sign of life for {silence}"));
            }
        }
        if !running {
            return Turn::Done;
        }
        std::thread::sleep(LOOK);
    }
}

fn lost(process: usize, status: ExitStatus, told: bool) -> Turn {
    let why = format!("process {process} ended with {status}");
    if status.code() == Some(i32::from(USAGE)) {
        return Turn::GiveUp(Failure::usage(why).mend("look at what it said above"));
    }
    if told && status.signal() == Some(Signal::TERM.as_raw()) {
        // It was told to stop before it could hear it, and no run begins without it: the last checkpoint stands.
        return Turn::Done;
    }
    if told {
        return Turn::GiveUp(Failure::running(why).mend("it was to stop; start it again to go on"));
    }
    Turn::Again(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_was_told_to_stop_before_it_could_hear_it_has_stopped() {
        let ended_by = |signal, told| lost(1, ExitStatus::from_raw(signal), told);
        assert!(matches!(ended_by(15, true), Turn::Done));
        assert!(matches!(ended_by(15, false), Turn::Again(_)));
        assert!(matches!(ended_by(9, true), Turn::GiveUp(_)));
    }
}
