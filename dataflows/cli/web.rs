//! The web server beside a run.

use std::sync::Arc;

use tidegate::runtime::{Run, SystemClock};
use tidegate::telemetry::Telemetry;
use tidegate_dataflows::graph::Topology;
use tidegate_dataflows::pipeline::METRICS;
use tidegate_dataflows::settings::web_address;
use tidegate_dataflows::web::{Config, Web, WebError};

use super::failure::Failure;
use super::ui::Ui;

/// What is served of a run; nothing, where nobody wants it or no port could be had.
pub(crate) struct Shown(Option<(Web, Arc<Telemetry>)>);

/// Serves as `config` says, or at the address `flag` of the command line.
///
/// A port that cannot be had is told and does not end the run.
pub(crate) fn start(ui: &Ui, config: &Config, flag: Option<&str>, process: usize) -> Result<Shown, Failure> {
    let mut config = config.clone();
    if let Some(text) = flag {
        config.address = web_address(text).map_err(|cause| {
            Failure::usage(format!("--web: {cause}")).mend("write 127.0.0.1:4040, or off")
        })?;
    }
    let telemetry = Arc::new(Telemetry::new(Arc::new(SystemClock), METRICS));
    let web = Web::start(&config, process, Arc::clone(&telemetry)).map_err(|error| {
        let mend = match error {
            WebError::Open { .. } => {
                "make a token with `openssl rand -hex 32 > token`; docs/api.md says more"
            }
            WebError::File { .. } => {
                "name a file that is there and may be read, in the section web of the settings"
            }
        };
        Failure::usage(error).mend(mend)
    })?;
    match web {
        None => Ok(Shown(None)),
        Some(Ok(web)) => {
            match ui.is_json() {
                true => tracing::info!(url = web.url(), "web page, metrics and API"),
                false => ui.note(format_args!("web page, metrics and API on {}", web.url())),
            }
            Ok(Shown(Some((web, telemetry))))
        }
        Some(Err(error)) => {
            tracing::warn!(%error, "no port for the web page; the run goes on without");
            Ok(Shown(None))
        }
    }
}

impl Shown {
    /// Shows a pipeline that begins.
    pub(crate) fn show(&self, pipeline: &Topology, run: &Run) {
        if let Some((web, telemetry)) = &self.0 {
            web.draw(pipeline);
            telemetry.show(run.board());
        }
    }
}
