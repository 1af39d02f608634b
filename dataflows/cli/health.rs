//! `tidegate health`: whether a run is well, for supervisors and containers that have nothing else to ask with.

use clap::Args;

use super::failure::Failure;
use super::http::Page;
use super::ui::Ui;

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  tidegate health
  tidegate health --live --url http://127.0.0.1:4041
  tidegate health --url https://streams.example:4040 --ca-file ca.pem
  tidegate health --url https://streams.example:4040 --password-file /run/secrets/web")]
pub(crate) struct HealthArgs {
    #[command(flatten)]
    page: Page,
    /// Only whether it lives; by default whether it is ready, too: it has begun, and no pipeline has failed.
    #[arg(long)]
    live: bool,
}

/// Asks a run's page; exits with 0 when it is well and 1 when it is not.
pub(crate) fn run(ui: &Ui, args: &HealthArgs) -> Result<(), Failure> {
    let path = if args.live { "/livez" } else { "/readyz" };
    let answer = args.page.get(path)?;
    let says = answer.body.trim();
    match answer.status {
        200 => ui.result(format!("{}\n", if says.is_empty() { "well" } else { says })),
        status => Err(Failure::running(format!("the run is not well ({status}): {says}"))
            .mend("look at its page and its log; tidegate doctor looks at what it needs")),
    }
}
