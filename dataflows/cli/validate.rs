//! `tidegate validate`.

use std::fmt::Write;

use super::args::{Global, ValidateArgs};
use super::failure::Failure;
use super::settings;
use super::ui::{Style, Ui};

/// Checks the settings, and shows what is in effect and who said so.
pub(crate) fn run(ui: &Ui, global: &Global, args: &ValidateArgs) -> Result<(), Failure> {
    if args.connect {
        return Err(Failure::comes_later(
            "--connect",
            "validate without it: nothing is connected to in a replay",
        ));
    }
    let settings = settings(global)?;
    let mut text = String::new();
    let width = settings.effective.iter().map(|effective| effective.setting.len()).max().unwrap_or_default();
    for effective in &settings.effective {
        let origin = effective.origin.as_ref().map_or("default".to_owned(), ToString::to_string);
        let line = format!("{:<width$}  {}", effective.setting, effective.value);
        // Writing to a string does not fail.
        writeln!(text, "{line:<60}  {}", ui.styled(Style::FAINT, &origin)).ok();
    }
    ui.result(text)?;
    let files: Vec<String> = settings.files.iter().map(|file| file.display().to_string()).collect();
    let read = if files.is_empty() { "no file".to_owned() } else { files.join(", ") };
    ui.note(format_args!("{} (read: {read})", ui.styled_err(Style::GOOD, "the configuration is valid")));
    Ok(())
}
