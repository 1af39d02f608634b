//! `tidegate man`: the manual, from what the command line says of itself.

use std::path::Path;

use clap::CommandFactory;
use clap_mangen::Man;

use super::args::Cli;
use super::failure::Failure;
use super::ui::Ui;

/// Prints the page of the program, or writes that and one a command into `dir`.
pub(crate) fn run(ui: &Ui, dir: Option<&Path>) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        Failure::running(format!("cannot write the manual: {error}"))
            .mend("name a directory that can be written")
    };
    let Some(dir) = dir else {
        let mut page = Vec::new();
        Man::new(Cli::command()).render(&mut page).map_err(failed)?;
        return ui.result(String::from_utf8_lossy(&page));
    };
    std::fs::create_dir_all(dir).map_err(failed)?;
    clap_mangen::generate_to(Cli::command(), dir).map_err(failed)
}
