//! `tidegate top`: a run that is under way, in a terminal.

use std::fmt::Write;
use std::time::Duration;

use clap::Args;
use serde_json::Value;
use tidegate::time;

use super::failure::Failure;
use super::http::Page;
use super::screen::Screen;
use super::signals::Signals;
use super::ui::{Style, Ui, grouped};

/// A terminal shows about so many partitions of a pipeline.
const PARTITIONS: usize = 12;

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  tidegate top
  tidegate top --url http://127.0.0.1:4041 --once
  tidegate top --url https://streams.example:4040 --ca-file ca.pem --token-file token
  TIDEGATE_WEB_PASSWORD=… tidegate top --url https://streams.example:4040 --user ann")]
pub(crate) struct TopArgs {
    #[command(flatten)]
    page: Page,
    /// How often it is drawn anew.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = humantime::parse_duration)]
    every: Duration,
    /// Draw it once and end, as where standard output is no terminal, or a dumb one.
    #[arg(long)]
    once: bool,
    /// The state document of the API, as it is.
    #[arg(long)]
    json: bool,
}

/// Shows the state of a run until `q` is pressed or a signal comes.
pub(crate) fn run(ui: &Ui, args: &TopArgs) -> Result<(), Failure> {
    if args.json {
        return ui.result(format!("{}\n", ask(&args.page)?));
    }
    if args.once || !ui.has_screen() {
        return ui.result(draw(ui, &args.page.url, &parse(&ask(&args.page)?)?));
    }
    let signals = Signals::listen(ui, 1)?;
    // The terminal is as it was before anybody is told how it ended.
    let screen = Screen::open(ui)?;
    loop {
        screen.show(&draw(ui, &args.page.url, &parse(&ask(&args.page)?)?))?;
        if !screen.pause(args.every, || signals.asked()) {
            return Ok(());
        }
    }
}

fn ask(page: &Page) -> Result<String, Failure> {
    let answer = page.get("/api/v1/state")?;
    match answer.status {
        200 => Ok(answer.body),
        status => Err(Failure::running(format!("the page answers {status}"))
            .mend("see that --url is the page of a run of this version")),
    }
}

fn parse(text: &str) -> Result<Value, Failure> {
    serde_json::from_str(text)
        .map_err(|error| Failure::running(format!("the page's state is not JSON: {error}")))
}

/// The state as text.
fn draw(ui: &Ui, url: &str, state: &Value) -> String {
    let mut text = String::new();
    let process = &state["process"];
    let title = ui.styled(Style::TITLE, &format!("tidegate {}", process["version"].as_str().unwrap_or("")));
    let memory = process["resident_bytes"].as_u64().unwrap_or(0) >> 20;
    let uptime = humantime::format_duration(Duration::from_secs(
        process["uptime_seconds"].as_f64().unwrap_or(0.0) as u64,
    ));
    // Writing to a string does not fail, here and below.
    writeln!(text, "{title}  {url}  up {uptime}  {memory} MiB").ok();
    for pipeline in list(&state["pipelines"]) {
        draw_pipeline(ui, &mut text, pipeline);
    }
    text
}

fn draw_pipeline(ui: &Ui, text: &mut String, pipeline: &Value) {
    let name = ui.styled(Style::TITLE, pipeline["pipeline"].as_str().unwrap_or("?"));
    let phase = pipeline["phase"].as_str().unwrap_or("?");
    let style = if phase == "failed" { Style::ERROR } else { Style::GOOD };
    let rates = &pipeline["rates"];
    writeln!(
        text,
        "\n{name}  {}  {} records  {}/s in  {}/s processed  event time {}",
        ui.styled(style, phase),
        count(&pipeline["records"]),
        rate(&rates["input"]),
        rate(&rates["processed"]),
        instant(&pipeline["frontier_us"]),
    )
    .ok();
    let epochs = &pipeline["epochs"];
    let balance = match pipeline["balanced"].as_bool() {
        Some(true) => ui.styled(Style::GOOD, "balanced"),
        Some(false) => ui.styled(Style::ERROR, "NOT BALANCED"),
        None => "not yet known".to_owned(),
    };
    writeln!(
        text,
        "  epoch {} decided  {} checkpoint bytes  ledger {balance}  late {}/s  rejected {}/s",
        count(&epochs["decided"]),
        count(&epochs["checkpoint_bytes"]),
        rate(&rates["late"]),
        rate(&rates["rejected"]),
    )
    .ok();
    let partitions = list(&pipeline["partitions"]);
    let width = partitions.iter().map(|one| place(one).len()).max().unwrap_or(0);
    for partition in partitions.iter().take(PARTITIONS) {
        let holds = if partition["holds_frontier"] == true { "  ◄ holds event time" } else { "" };
        let standing = partition["standing"].as_str().unwrap_or("");
        writeln!(
            text,
            "  {:<width$}  lag {:>10}  watermark {}  {standing}{holds}",
            place(partition),
            count(&partition["lag"]),
            instant(&partition["watermark_us"]),
        )
        .ok();
    }
    if partitions.len() > PARTITIONS {
        writeln!(text, "  … and {} more partitions", partitions.len() - PARTITIONS).ok();
    }
    for sink in list(&pipeline["sinks"]) {
        let trouble = sink["trouble"]
            .as_str()
            .map_or(String::new(), |what| format!("  {}", ui.styled(Style::ERROR, what)));
        let name = sink["name"].as_str().unwrap_or("?");
        writeln!(
            text,
            "  sink {name}  {} rows  {} retries{trouble}",
            count(&sink["rows"]),
            count(&sink["retries"])
        )
        .ok();
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn place(partition: &Value) -> String {
    format!("{}-{}", partition["topic"].as_str().unwrap_or("?"), partition["partition"])
}

fn count(value: &Value) -> String {
    value.as_u64().map_or("-".to_owned(), grouped)
}

fn rate(value: &Value) -> String {
    value.as_f64().map_or("-".to_owned(), |rate| grouped(rate.round().max(0.0) as u64))
}

fn instant(value: &Value) -> String {
    value.as_i64().map_or("-".to_owned(), |us| String::from_utf8_lossy(&time::format(us)).into_owned())
}
