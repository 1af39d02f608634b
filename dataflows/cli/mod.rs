//! The command line: one file a command, and what they share.

mod args;
mod banner;
mod checkpoint;
mod cluster;
mod failure;
mod generate;
mod graph;
mod kafka;
mod places;
mod progress;
mod prove;
mod record;
mod replay;
mod run;
mod signals;
mod ui;
mod validate;
mod verify;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use tidegate_dataflows::settings::{Layers, Settings};

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
    let global = &cli.global;
    match &cli.command {
        None => replay::run(ui, global, &ReplayArgs::default()),
        Some(Command::Replay(args)) => replay::run(ui, global, args),
        Some(Command::Run(args)) => run::run(ui, global, args),
        Some(Command::Cluster(args)) => cluster::run(ui, global, args),
        Some(Command::Checkpoint(command)) => checkpoint::run(ui, command),
        Some(Command::Record(args)) => record::run(ui, args),
        Some(Command::Generate(args)) => generate::run(ui, global, args),
        Some(Command::Prove(args)) => prove::run(ui, global, args),
        Some(Command::Validate(args)) => validate::run(ui, global, args),
        Some(Command::Verify(args)) => verify::run(ui, global, args),
        Some(Command::Graph(args)) => graph::run(ui, global, args),
        Some(Command::Completions { shell }) => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "tidegate", &mut script);
            ui.result(String::from_utf8_lossy(&script))
        }
    }
}

/// The settings of all layers.
fn settings(global: &Global) -> Result<Settings, Failure> {
    Layers::of_process(global.config.clone()).load().map_err(Failure::usage)
}
