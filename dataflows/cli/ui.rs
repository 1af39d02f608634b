//! What people and programs see: results on standard output, everything else on standard error.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;

use tracing::{error, info};
use tracing_subscriber::EnvFilter;

use super::args::LogFormat;
use super::failure::Failure;

/// Says which messages are logged.
const FILTER_VARIABLE: &str = "TIDEGATE_LOG";

/// Where and how things are shown.
#[derive(Clone, Debug)]
pub(crate) struct Ui(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    json: bool,
    bars: bool,
    screen: bool,
    colored_out: bool,
    colored_err: bool,
}

/// Whether the terminal says that it only writes lines.
fn is_dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}

/// Where help and wrong usage may be coloured. By itself clap colours them on a dumb terminal too where `CI` is set.
pub(crate) fn color_of_usage() -> clap::ColorChoice {
    if is_dumb() { clap::ColorChoice::Never } else { clap::ColorChoice::Auto }
}

/// A style of the terminal, as its SGR parameters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style(&'static str);

impl Style {
    pub(crate) const ERROR: Style = Style("1;31");
    pub(crate) const TITLE: Style = Style("1");
    pub(crate) const GOOD: Style = Style("32");
    pub(crate) const FAINT: Style = Style("2");
}

impl Ui {
    /// Shows things as the terminal and the environment allow, and sends log messages the same way.
    pub(crate) fn new(format: LogFormat) -> Result<Ui, Failure> {
        // https://no-color.org: set and not empty.
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("CLICOLOR").is_some_and(|value| value == "0");
        let dumb = is_dumb();
        let (out, err) = (io::stdout().is_terminal(), io::stderr().is_terminal());
        let json = format == LogFormat::Json;
        let shared = Shared {
            json,
            bars: err && !dumb && !json,
            screen: out && !dumb,
            colored_out: out && !plain && !dumb,
            colored_err: err && !plain && !dumb && !json,
        };
        start_log(&shared)?;
        Ok(Ui(Arc::new(shared)))
    }

    /// Whether messages are objects for programs.
    pub(crate) fn is_json(&self) -> bool {
        self.0.json
    }

    /// Whether progress can be drawn over and over.
    pub(crate) fn has_bars(&self) -> bool {
        self.0.bars
    }

    /// Whether standard output is a terminal that can be drawn on.
    pub(crate) fn has_screen(&self) -> bool {
        self.0.screen
    }

    /// Whether standard error may be coloured.
    pub(crate) fn is_colored(&self) -> bool {
        self.0.colored_err
    }

    /// Writes a result to standard output.
    pub(crate) fn result(&self, text: impl Display) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        let written = write!(out, "{text}").and_then(|()| out.flush());
        match written {
            // Whoever read it has seen enough, as `head` does.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written.map_err(|error| Failure::running(format!("cannot write the result: {error}"))),
        }
    }

    /// Writes a result for programs.
    pub(crate) fn json(&self, value: &serde_json::Value) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value).map_err(Failure::running)?;
        self.result(format!("{text}\n"))
    }

    /// Writes a line to standard error.
    pub(crate) fn note(&self, text: impl Display) {
        if self.0.json {
            info!("{text}");
        } else {
            line_to_stderr(text);
        }
    }

    /// Writes a failure to standard error.
    pub(crate) fn failure(&self, failure: &Failure) {
        if self.0.json {
            let causes = failure.causes().join("; ");
            let mend = failure.mend.as_deref().unwrap_or_default();
            error!(exit_code = failure.code, causes, mend, "{}", failure.error);
        } else {
            line_to_stderr(format_args!("{} {failure}", self.styled_err(Style::ERROR, "error:")));
        }
    }

    /// `text` for standard output in `style`.
    pub(crate) fn styled(&self, style: Style, text: &str) -> String {
        styled(self.0.colored_out, style, text)
    }

    /// `text` for standard error in `style`.
    pub(crate) fn styled_err(&self, style: Style, text: &str) -> String {
        styled(self.0.colored_err, style, text)
    }
}

fn styled(colored: bool, Style(sgr): Style, text: &str) -> String {
    if colored { format!("\u{1b}[{sgr}m{text}\u{1b}[0m") } else { text.to_owned() }
}

/// One write a line, so that the lines of several processes do not mix.
fn line_to_stderr(text: impl Display) {
    // When standard error is gone there is nobody left to tell.
    io::stderr().write_all(format!("{text}\n").as_bytes()).ok();
}

fn start_log(shared: &Shared) -> Result<(), Failure> {
    let text = std::env::var(FILTER_VARIABLE).unwrap_or_else(|_| "info".to_owned());
    let filter = EnvFilter::try_new(&text).map_err(|error| {
        Failure::usage(format!("{FILTER_VARIABLE}={text:?} is no log filter: {error}"))
            .mend("write error, warn, info, debug or trace, also by module: info,tidegate::sink=debug")
    })?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let started = if shared.json {
        log.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
    } else {
        log.with_ansi(shared.colored_err).with_target(false).compact().try_init()
    };
    started.map_err(Failure::running)
}

/// `1234567` as `1,234,567`.
pub(crate) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped_by_three() {
        let numbers = [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")];
        assert!(numbers.iter().all(|(n, text)| grouped(*n) == *text));
    }

    #[test]
    fn nothing_is_coloured_where_it_must_not_be() {
        assert_eq!(styled(false, Style::ERROR, "x"), "x");
        assert_eq!(styled(true, Style::ERROR, "x"), "\u{1b}[1;31mx\u{1b}[0m");
    }
}
