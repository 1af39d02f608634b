//! `tidegate validate`.

use std::fmt::Write;

use serde_json::{Value, json};
use tidegate_dataflows::settings::{Fault, Layers, Origin, Settings, variable_of};

use super::args::{Global, ValidateArgs};
use super::connect::{self, Finding, Grade};
use super::failure::Failure;
use super::kafka;
use super::ui::{Style, Ui};

/// Checks the settings, and shows what is in effect and who said so.
pub(crate) fn run(ui: &Ui, global: &Global, args: &ValidateArgs) -> Result<(), Failure> {
    let loaded = Layers::of_process(global.config.clone()).load();
    if let (true, Err(faults)) = (args.json, &loaded) {
        ui.json(&json!({"faults": faults.0.iter().map(fault).collect::<Vec<_>>()}))?;
    }
    let settings = loaded.map_err(Failure::usage)?;
    let findings = if args.connect { services(&settings, args)? } else { Vec::new() };
    if args.json {
        ui.json(&as_json(&settings, &findings))?;
    } else {
        ui.result(table(ui, &settings))?;
        for finding in &findings {
            ui.result(finding.text(ui))?;
        }
    }
    let files: Vec<String> = settings.files.iter().map(|file| file.display().to_string()).collect();
    let read = if files.is_empty() { "no file".to_owned() } else { files.join(", ") };
    ui.note(format_args!("{} (read: {read})", ui.styled_err(Style::GOOD, "the configuration is valid")));
    verdict(&findings)
}

/// Fails when something that was found is bad.
pub(crate) fn verdict(findings: &[Finding]) -> Result<(), Failure> {
    let bad = findings.iter().filter(|finding| finding.grade == Grade::Bad).count();
    if bad == 0 {
        return Ok(());
    }
    let what =
        if bad == 1 { "1 thing does not work".to_owned() } else { format!("{bad} things do not work") };
    Err(Failure::running(what).mend("see above: each says what to do"))
}

fn services(settings: &Settings, args: &ValidateArgs) -> Result<Vec<Finding>, Failure> {
    let mut findings = connect::others(settings, &args.pipelines);
    let named = args.bootstrap_servers.as_deref();
    if named.or(settings.kafka.bootstrap_servers.as_deref()).is_some() {
        let properties = kafka::brokers(named, &args.client, settings)?;
        findings.extend(connect::kafka(&properties, settings, &args.pipelines));
    } else if findings.is_empty() {
        return Err(Failure::usage("there is no service to connect to").mend(
            "name the brokers with --bootstrap-servers or KAFKA_BOOTSTRAP_SERVERS, a database with DB_HOST and so on",
        ));
    }
    Ok(findings)
}

fn table(ui: &Ui, settings: &Settings) -> String {
    let mut text = String::new();
    let width = settings.effective.iter().map(|effective| effective.setting.len()).max().unwrap_or_default();
    for effective in &settings.effective {
        let origin = effective.origin.as_ref().map_or("default".to_owned(), ToString::to_string);
        let line = format!("{:<width$}  {}", effective.setting, effective.value);
        // Writing to a string does not fail.
        writeln!(text, "{line:<60}  {}", ui.styled(Style::FAINT, &origin)).ok();
    }
    text
}

/// A fault for programs; the line and the column count from 1, and are those of a file.
fn fault(fault: &Fault) -> Value {
    let Fault { origin, setting, cause, mend } = fault;
    let (line, column) = match origin {
        Origin::File { line, column, .. } => (Some(line), Some(column)),
        Origin::Whole(_) | Origin::Environment(_) => (None, None),
    };
    json!({
        "origin": origin.to_string(), "line": line, "column": column,
        "setting": setting, "cause": cause, "mend": mend,
    })
}

fn as_json(settings: &Settings, findings: &[Finding]) -> Value {
    let effective = settings.effective.iter().map(|effective| {
        json!({
            "setting": effective.setting,
            "value": effective.value,
            "origin": effective.origin.as_ref().map_or("default".to_owned(), ToString::to_string),
            "variable": variable_of(&effective.setting),
        })
    });
    json!({"files": settings.files, "settings": effective.collect::<Vec<_>>(), "services": findings})
}
