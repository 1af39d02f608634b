//! Settings: where they come from, and what they may be.
//!
//! ```text
//! config/dev.yaml ─► --config FILE ─► .env ─► environment ─► one tree ─► typed settings, or every fault
//! ```
//!
//! A later layer wins, setting by setting. Each fault carries its place, its cause and its mend, and all are
//! reported at once; a value that a later layer replaces is judged too. A setting that is nowhere has the
//! default of contract section 6; `config/dev.yaml` in the repository states them all.

mod activity;
mod environment;
mod fault;
mod hydraulic;
mod hydraulic_kinds;
mod iot;
mod iot_rules;
mod kinds;
mod memory;
mod schema;
mod secrets;
mod section;
mod sinks;
mod traces;
mod transit;
mod tree;
mod web;
mod yaml;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tidegate::storage::{Credentials, Location};

pub use environment::variable_of;
pub use fault::{Fault, Faults, Origin};
pub use schema::json_schema;
pub use secrets::Secrets;
pub use section::Effective;
pub use web::address as web_address;

use tidegate::sink::postgres;

use self::section::{Findings, Section};
use self::tree::{Content, Node};
use crate::pipeline::{IOT_VALIDATE, PIPELINES, Pipelines};
use crate::services::{Brokers, SinkSettings};

/// The file that is read when it is there, under the current directory.
pub const DEFAULT_FILE: &str = "config/dev.yaml";
const ENV_FILE: &str = ".env";

/// Everything that can be set.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The pipelines', each in a section of its name.
    pub pipelines: Pipelines,
    /// Where a live run keeps what is its own: staged output, files that stand for sinks; setting `data`.
    pub data: PathBuf,
    /// Where checkpoints lie; setting `checkpoint`, by default that directory in `data`.
    pub checkpoint: Location,
    /// How many bytes the state of a run may take in a process; setting `memory_limit`, by default none.
    pub memory_limit: Option<usize>,
    /// How long a live partition stays at its end before it holds no window open; setting `idle_timeout`.
    pub idle_timeout: Option<Duration>,
    /// The brokers; section `kafka`.
    pub kafka: Brokers,
    /// The sinks of each of the pipelines, in their order; section `sinks` of the pipeline's.
    pub sinks: Vec<(&'static str, SinkSettings)>,
    /// What only the environment may say.
    pub secrets: Secrets,
    /// The web server; section `web`.
    pub web: crate::web::Config,
    /// Where traces go; section `traces`.
    pub traces: crate::traces::Config,
    /// The files that were read, in their order.
    pub files: Vec<PathBuf>,
    /// Every setting, its value, and who made it.
    pub effective: Vec<Effective>,
}

impl Settings {
    /// What S3 is reached with: from `.env` and the environment.
    pub fn credentials(&self) -> Credentials {
        let of_process = |name: &str| std::env::var(name).ok();
        Credentials::of(|name| self.secrets.get(name).map(str::to_owned).or_else(|| of_process(name)))
    }

    /// Whether a variable of the process's environment has the last word on `setting`.
    pub fn is_said_by_environment(&self, setting: &str) -> bool {
        let said = self.effective.iter().filter(|effective| effective.setting == setting);
        said.map(|effective| &effective.origin).any(|origin| matches!(origin, Some(Origin::Environment(_))))
    }

    /// The sinks of `pipeline`.
    pub fn sinks_of(&self, pipeline: &str) -> SinkSettings {
        // The two stages of `iot` are one pipeline to who sets them.
        let pipeline = if pipeline == IOT_VALIDATE { "iot" } else { pipeline };
        let set = self.sinks.iter().find(|(name, _)| *name == pipeline);
        set.map_or_else(|| SinkSettings::of(pipeline), |(_, sinks)| sinks.clone())
    }

    /// The database that gets the rows of `pipeline`, if one does, with its password.
    pub fn database_of(&self, pipeline: &str) -> postgres::Config {
        let secret = if pipeline.starts_with("iot") { "POSTGRES_PASSWORD" } else { "DB_PASSWORD" };
        let password = self.secrets.get(secret).unwrap_or_default().to_owned().into();
        postgres::Config { password, ..self.sinks_of(pipeline).postgres }
    }
}

/// Where settings come from.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    /// The directory that `config/dev.yaml` and `.env` are looked for in.
    pub dir: PathBuf,
    /// A file that must be there, read after `config/dev.yaml`.
    pub config: Option<PathBuf>,
    /// The environment.
    pub environment: Vec<(OsString, OsString)>,
}

impl Layers {
    /// The current directory, this process's environment, and `config`.
    pub fn of_process(config: Option<PathBuf>) -> Layers {
        Layers { dir: PathBuf::new(), config, environment: std::env::vars_os().collect() }
    }

    /// Reads all layers.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    ///
    /// # Examples
    /// ```
    /// use tidegate_dataflows::settings::Layers;
    ///
    /// let set = |value: &str| vec![("TIDEGATE_ACTIVITY_DELAY".into(), value.into())];
    /// let layers = Layers { dir: "nowhere".into(), environment: set("90s"), ..Layers::default() };
    /// assert_eq!(layers.load().unwrap().pipelines.activity.delay.as_secs(), 90);
    ///
    /// let faults = Layers { environment: set("90"), ..layers }.load().unwrap_err();
    /// assert!(faults.0[0].cause.contains("has no unit"));
    /// ```
    pub fn load(&self) -> Result<Settings, Faults> {
        let mut findings = Findings::default();
        let mut files = Vec::new();
        let mut tree = nothing();
        let default = self.dir.join(DEFAULT_FILE);
        // The same file twice would say everything twice.
        let is_default = self.config.as_deref().is_some_and(|config| same_file(config, &default));
        let default = (!is_default).then_some((default, false));
        for (path, required) in default.into_iter().chain(self.config.clone().map(|path| (path, true))) {
            let path: Arc<Path> = path.into();
            if let Some(text) = read_file(&path, required, &mut findings.faults) {
                if let Some(node) = yaml::parse(&path, &text, &mut findings.faults) {
                    tree.overlay(node);
                }
                files.push(path.to_path_buf());
            }
        }
        let settings = names();
        let mut secrets = Secrets::default();
        let env_path: Arc<Path> = self.dir.join(ENV_FILE).into();
        if let Some(text) = read_file(&env_path, false, &mut findings.faults) {
            let variables = environment::of_file(&env_path, &text, &mut findings.faults);
            environment::overlay(&mut tree, variables, &settings, &mut secrets, &mut findings.faults);
            files.push(env_path.to_path_buf());
        }
        let variables = environment::of_process(self.environment.iter().cloned(), &mut findings.faults);
        environment::overlay(&mut tree, variables, &settings, &mut secrets, &mut findings.faults);
        let mut settings = interpret(&tree, &mut findings);
        if !findings.faults.is_empty() {
            let mut faults = findings.faults;
            in_order(&mut faults, &files);
            return Err(Faults(faults));
        }
        settings.files = files;
        settings.secrets = secrets;
        settings.effective = findings.effective;
        Ok(settings)
    }
}

/// The dotted names of all settings.
pub fn names() -> Vec<String> {
    let mut findings = Findings::default();
    interpret(&nothing(), &mut findings);
    findings.effective.into_iter().map(|effective| effective.setting).collect()
}

/// The configuration in which nobody says anything.
fn nothing() -> Node {
    Node::new(Origin::Whole(Path::new("").into()), Content::Map(Vec::new()))
}

fn interpret(tree: &Node, findings: &mut Findings) -> Settings {
    let idle_timeout = Some(Duration::from_secs(30));
    let mut settings = Settings { data: "data".into(), idle_timeout, ..Settings::default() };
    let mut root = Section::root(tree);
    root.read("data", &sinks::PATH, &mut settings.data, findings);
    let mut checkpoint = Location::Dir(settings.data.join("checkpoint"));
    root.read("checkpoint", &sinks::CHECKPOINT, &mut checkpoint, findings);
    settings.checkpoint = checkpoint;
    memory::read(&mut root, &mut settings.memory_limit, findings);
    root.read("idle_timeout", &kinds::OPTIONAL_DURATION, &mut settings.idle_timeout, findings);
    let mut section = root.section("kafka", findings);
    sinks::brokers(&mut section, &mut settings.kafka, findings);
    section.finish(findings);
    for name in PIPELINES {
        let mut section = root.section(name, findings);
        let pipelines = &mut settings.pipelines;
        match name {
            "activity" => activity::read(&mut section, &mut pipelines.activity, findings),
            "iot" => iot::read(&mut section, &mut pipelines.iot, findings),
            "transit" => transit::read(&mut section, &mut pipelines.transit, findings),
            _ => hydraulic::read(&mut section, &mut pipelines.hydraulic, findings),
        }
        let mut of_sinks = SinkSettings::of(name);
        let pipeline = pipelines.called(name);
        let is_delta = !pipeline.delta().is_empty();
        if is_delta {
            section.read("schema", &sinks::SCHEMA, &mut of_sinks.schema, findings);
        }
        let mut inner = section.section("sinks", findings);
        sinks::read(&mut inner, &mut of_sinks, pipeline.lake().is_some(), is_delta, findings);
        inner.finish(findings);
        settings.sinks.push((name, of_sinks));
        section.finish(findings);
    }
    let mut section = root.section("web", findings);
    web::read(&mut section, &mut settings.web, findings);
    section.finish(findings);
    let mut section = root.section("traces", findings);
    traces::read(&mut section, &mut settings.traces, findings);
    section.finish(findings);
    root.finish(findings);
    settings
}

fn same_file(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

fn read_file(path: &Arc<Path>, required: bool, faults: &mut Vec<Fault>) -> Option<String> {
    let bytes = match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && !required => return None,
        read => read,
    };
    let text = bytes.map_err(|error| error.to_string()).and_then(|bytes| {
        String::from_utf8(bytes)
            .map_err(|error| format!("it is not UTF-8 from byte {} on", error.utf8_error().valid_up_to()))
    });
    text.map_err(|cause| {
        faults.push(Fault {
            origin: Origin::Whole(Arc::clone(path)),
            setting: String::new(),
            cause: format!("cannot be read: {cause}"),
            mend: "name a file of YAML that is there and may be read".to_owned(),
        });
    })
    .ok()
}

/// Sorts by layer, then by place.
fn in_order(faults: &mut [Fault], files: &[PathBuf]) {
    let layer = |path: &Path| files.iter().position(|file| file == path).unwrap_or(files.len());
    faults.sort_by_key(|fault| match &fault.origin {
        Origin::Whole(path) => (layer(path), 0, 0),
        Origin::File { path, line, column } => (layer(path), *line, *column),
        Origin::Environment(_) => (usize::MAX, 0, 0),
    });
}

#[cfg(test)]
mod tests;
