//! Workers: threads of this process, and the processes of one run.

use std::io::Write;
use std::net::ToSocketAddrs;
use std::path::{Path, PathBuf};

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use thiserror::Error;
use timely::communication::Config as Communication;
use timely::worker::{Config as WorkerConfig, Worker};

/// How long the processes of a run wait for one another.
const JOIN_DEADLINE: Duration = Duration::from_secs(60);

/// Which workers a run has, in timely's terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Worker threads in each process (`-w`).
    pub threads: usize,
    /// Processes (`-n`).
    pub processes: usize,
    /// The number of this process (`-p`).
    pub process: usize,
    /// A file with one `host:port` a line, one line a process (`-h`); without it localhost, ports from 2101.
    pub hosts: Option<PathBuf>,
}

/// Why the workers cannot be started.
#[derive(Debug, Error)]
pub enum ClusterError {
    /// The numbers do not fit together.
    #[error("{0}")]
    Nonsense(String),
    /// The host file cannot be read.
    #[error("cannot read the host file {path:?}: {cause}")]
    HostFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: std::io::Error,
    },
    /// The processes could not be joined.
    #[error("cannot start the workers: {0}")]
    Start(String),
    /// A worker did not return.
    #[error("a worker ended early: {0}")]
    Worker(String),
}

impl Default for Cluster {
    fn default() -> Self {
        Cluster { threads: 1, processes: 1, process: 0, hosts: None }
    }
}

impl Cluster {
    /// `threads` workers in one process.
    pub fn threads(threads: usize) -> Self {
        Cluster { threads, ..Cluster::default() }
    }

    /// The worker of process 0 that serves sink number `sink`: embedded sinks are written by process 0.
    pub fn sink_worker(&self, sink: usize) -> usize {
        sink % self.threads
    }

    fn communication(&self) -> Result<Communication, ClusterError> {
        let Cluster { threads, processes, process, .. } = *self;
        if threads == 0 || processes == 0 || process >= processes {
            return Err(ClusterError::Nonsense(format!(
                "{threads} workers in process {process} of {processes} cannot be: \
                 -w and -n are at least 1, -p is below -n"
            )));
        }
        if processes == 1 {
            return Ok(if threads == 1 { Communication::Thread } else { Communication::Process(threads) });
        }
        let addresses = match &self.hosts {
            Some(path) => read_hosts(path, processes)?,
            None => (0..processes).map(|p| format!("localhost:{}", 2101 + p)).collect(),
        };
        Ok(Communication::Cluster { threads, process, addresses, report: false, zerocopy: false })
    }
}

fn read_hosts(path: &Path, processes: usize) -> Result<Vec<String>, ClusterError> {
    let text = std::fs::read_to_string(path)
        .map_err(|cause| ClusterError::HostFile { path: path.to_owned(), cause })?;
    let hosts: Vec<_> =
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    if hosts.len() < processes {
        return Err(ClusterError::Nonsense(format!(
            "the host file {path:?} names {} hosts for {processes} processes; it needs one host:port a line",
            hosts.len()
        )));
    }
    for host in &hosts[..processes] {
        if let Err(cause) = host.to_socket_addrs() {
            return Err(ClusterError::Nonsense(format!("{host:?} in the host file {path:?}: {cause}")));
        }
    }
    Ok(hosts[..processes].to_vec())
}

/// Runs `work` on every worker of this process, and returns what each returned.
///
/// # Errors
/// When the cluster makes no sense, its processes cannot be joined, or a worker ended early.
pub fn execute<T, F>(cluster: &Cluster, work: F) -> Result<Vec<T>, ClusterError>
where
    T: Send + 'static,
    F: Fn(&mut Worker) -> T + Send + Sync + 'static,
{
    let communication = cluster.communication()?;
    let config = timely::Config { communication, worker: WorkerConfig::default() };
    let joined = Arc::new(AtomicBool::new(cluster.processes == 1));
    let deadline = Arc::clone(&joined);
    // Timely tries to reach the other processes for ever.
    std::thread::spawn(move || {
        std::thread::sleep(JOIN_DEADLINE);
        if !deadline.load(Ordering::SeqCst) {
            let hint = "error: the other processes of this run did not answer within 60 s: \
                        start all of them, with the same -n and -h, and look at what they say\n";
            drop(std::io::stderr().write_all(hint.as_bytes()));
            std::process::exit(1);
        }
    });
    let guards = timely::execute(config, work).map_err(ClusterError::Start)?;
    joined.store(true, Ordering::SeqCst);
    guards.join().into_iter().map(|result| result.map_err(ClusterError::Worker)).collect()
}

/// Makes any panic end the process with exit code 1, after its message: a worker thread that panics would
/// otherwise leave its peers waiting for ever, and a half-dead process must not go on writing. Timely panics
/// when another process of the run is lost, so the usual reason is said first.
pub fn exit_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        report(info);
        // Not through a logger: whatever it needs may be what has panicked.
        let hint = "error: a worker of this process has ended. Where timely reports a communication error, \
                    another process of the run was lost: nothing was made visible; start all processes again\n";
        drop(std::io::stderr().write_all(hint.as_bytes()));
        std::process::exit(1);
    }));
}
