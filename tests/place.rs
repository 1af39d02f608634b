//! The program as the tests of the command line start it: in an empty directory of its own, without settings from the
//! environment.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use serde_json::Value;
use tempfile::TempDir;

/// An empty directory to run in.
pub(crate) struct Place(TempDir);

/// What a run of the program left.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Place {
    /// A new one.
    pub(crate) fn new() -> Place {
        Place(tempfile::tempdir().expect("a directory"))
    }

    /// A path in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file.
    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs::write(path, text).expect("written");
    }

    /// `program` with the words of `line`.
    pub(crate) fn command(&self, program: &Path, line: &str) -> Command {
        let mut command = Command::new(program);
        command.args(line.split_whitespace()).current_dir(self.0.path()).stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("TIDEGATE_") || name == "CARGO_MANIFEST_DIR" {
                command.env_remove(name);
            }
        }
        command
    }

    /// Runs the program.
    pub(crate) fn run(&self, line: &str) -> Ran {
        Ran::of(self.command(tidegate(), line).output().expect("the program starts"))
    }

    /// A fixture of 5,000 events in `name`.
    pub(crate) fn fixture(&self, name: &str, flags: &str) {
        let line = format!("generate activity --fixture {name} --records 5000 --users 200 {flags}");
        self.run(&line).is(0);
    }

    /// The summary of an output directory.
    pub(crate) fn summary(&self, out: &str) -> Value {
        let text = fs::read_to_string(self.path(out).join("summary.json")).expect("a summary");
        serde_json::from_str(&text).expect("JSON")
    }

    /// The summary of `activity` without the seconds.
    pub(crate) fn results(&self, out: &str) -> Value {
        let mut activity = self.summary(out)["pipelines"]["activity"].take();
        activity.as_object_mut().expect("an object").remove("seconds");
        activity
    }
}

/// An address of this machine that nobody listens on. Its port is below those that the system gives to connections, so that no
/// connection of another test takes it before it is used; each call begins behind the port of the last.
pub(crate) fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 23_000 + (std::process::id() % 20) as u16 * 100;
    (0..100)
        .map(|_| SocketAddr::from(([127, 0, 0, 1], first + NEXT.fetch_add(1, Ordering::Relaxed) % 100)))
        .find(|address| TcpListener::bind(address).is_ok())
        .expect("one port of a hundred is free")
}

impl Ran {
    /// What `output` holds, as text.
    pub(crate) fn of(output: Output) -> Ran {
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// Asserts the exit code.
    #[track_caller]
    pub(crate) fn is(self, code: i32) -> Ran {
        assert_eq!(self.code, Some(code), "\nstdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }

    /// Asserts that standard error holds all of `texts`.
    #[track_caller]
    pub(crate) fn says(self, texts: &[&str]) -> Ran {
        for text in texts {
            assert!(self.err.contains(text), "{text:?} is not in:\n{}", self.err);
        }
        self
    }
}

/// The program.
pub(crate) fn tidegate() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_tidegate"))
}
