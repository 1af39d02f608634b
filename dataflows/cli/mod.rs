//! The command line: one file a command, and what they share.

mod args;
mod banner;
mod checkpoint;
mod cluster;
mod compact;
mod connect;
mod cycles;
mod dataset;
mod delta;
mod doctor;
mod failure;
mod generate;
mod graph;
mod health;
mod http;
mod init;
mod kafka;
mod man;
mod places;
mod produce;
mod progress;
mod prove;
mod record;
mod replay;
mod run;
mod screen;
mod set_aside;
mod signals;
mod sync;
mod tap;
mod top;
mod ui;
mod validate;
mod verify;
mod web;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use tidegate_dataflows::services::SinkSettings;
use tidegate_dataflows::set_aside::Kind;
use tidegate_dataflows::settings::{Layers, Settings, json_schema};

use self::args::{Cli, Command, Global, ReplayArgs};
use self::failure::Failure;
use self::ui::Ui;

/// Does what the command line says.
pub(crate) fn main() -> ExitCode {
    // Wrong usage ends here, with 2.
    let cli = Cli::parse();
    let ui = match Ui::new(cli.global.log_format) {
        Ok(ui) => ui,
        Err(failure) => {
            eprintln!("error: {failure}");
            return ExitCode::from(failure.code);
        }
    };
    match dispatch(&ui, &cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            ui.failure(&failure);
            ExitCode::from(failure.code)
        }
    }
}

fn dispatch(ui: &Ui, cli: &Cli) -> Result<(), Failure> {
    run::end_with_supervisor()?;
    let global = &cli.global;
    match &cli.command {
        None => replay::run(ui, global, &ReplayArgs::default()),
        Some(Command::Replay(args)) => replay::run(ui, global, args),
        Some(Command::Run(args)) => run::run(ui, global, args),
        Some(Command::Cluster(args)) => cluster::run(ui, global, args),
        Some(Command::Checkpoint(command)) => checkpoint::run(ui, global, command),
        Some(Command::Record(args)) => record::run(ui, global, args),
        Some(Command::Generate(args)) => generate::run(ui, global, args),
        Some(Command::Produce(command)) => produce::run(ui, global, command),
        Some(Command::Prove(args)) => prove::run(ui, global, args),
        Some(Command::Validate(args)) => validate::run(ui, global, args),
        Some(Command::Verify(args)) => verify::run(ui, global, args),
        Some(Command::Sync(args)) => sync::run(ui, global, args),
        Some(Command::Dataset(args)) => dataset::run(ui, global, args),
        Some(Command::Compact(args)) => compact::run(ui, global, args),
        Some(Command::Cycles(command)) => cycles::run(ui, global, command),
        Some(Command::Graph(args)) => graph::run(ui, global, args),
        Some(Command::Dlq(command)) => set_aside::run(ui, global, Kind::Dead, command),
        Some(Command::Late(command)) => set_aside::run(ui, global, Kind::Late, command),
        Some(Command::Delta(command)) => delta::run(ui, global, command),
        Some(Command::Tap(args)) => tap::run(ui, global, args),
        Some(Command::Doctor(args)) => doctor::run(ui, global, args),
        Some(Command::Health(args)) => health::run(ui, args),
        Some(Command::Top(args)) => top::run(ui, args),
        Some(Command::Init(args)) => init::run(ui, args),
        Some(Command::Schema) => ui.json(&json_schema()),
        Some(Command::Man { dir }) => man::run(ui, dir.as_deref()),
        Some(Command::Completions { shell }) => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "tidegate", &mut script);
            ui.result(String::from_utf8_lossy(&script))
        }
    }
}

/// Finds before anything is opened that `MONGO_URI` cannot be read.
fn check_mongo(settings: &Settings, sinks: &SinkSettings) -> Result<(), Failure> {
    let checked = sinks.mongo.config(&settings.secrets).check();
    checked.map_err(|cause| Failure::usage(format!("MONGO_URI: {cause}")))
}

/// The settings of all layers.
fn settings(global: &Global) -> Result<Settings, Failure> {
    Layers::of_process(global.config.clone()).load().map_err(Failure::usage)
}
