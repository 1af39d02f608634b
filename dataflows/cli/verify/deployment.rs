//! `tidegate verify --deployment`: topics, checkpoint and sinks as they stand.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;
use tidegate::kafka::Properties;
use tidegate::runtime::SystemClock;
use tidegate::sink::Durability;
use tidegate::source::kafka::Settings as Input;
use tidegate::storage::Location;
use tidegate_dataflows::services::TopicKind;
use tidegate_dataflows::settings::Settings;
use tidegate_dataflows::targets::{KafkaTarget, LakeTarget, Targets};
use tidegate_dataflows::verify::deployment::{Check, Deployment, look};

use super::super::failure::Failure;
use super::super::http::Page;
use super::super::kafka;
use super::super::ui::{Style, Ui};
use super::VerifyArgs;

/// Looks, and says what is wrong.
pub(super) fn run(ui: &Ui, args: &VerifyArgs, settings: &Settings) -> Result<(), Failure> {
    let mut checks = look(&deployment(args, settings)?);
    checks.extend(page(args)?);
    if args.json {
        ui.json(&json!({"checks": checks}))?;
    } else {
        for check in &checks {
            ui.result(line(ui, check))?;
        }
    }
    match checks.iter().filter(|check| !check.ok).count() {
        0 => Ok(()),
        wrong => Err(Failure::running(format!("{wrong} of {} checks found something wrong", checks.len()))
            .mend("the lines above say what, and what to do")),
    }
}

fn deployment(args: &VerifyArgs, settings: &Settings) -> Result<Deployment, Failure> {
    let name = args.pipeline.as_str();
    let pipeline = settings.pipelines.live(name);
    let named = args.bootstrap_servers.as_deref();
    // A run with --out may read a fixture, and then there are no brokers to ask.
    let has_brokers = named.or(settings.kafka.bootstrap_servers.as_deref()).is_some();
    let brokers = if args.out.is_none() || has_brokers {
        Some(kafka::brokers(named, &args.client, settings)?)
    } else {
        None
    };
    let mut targets = targets(args, settings, brokers.as_ref());
    targets.credentials = settings.credentials();
    match &args.lake {
        Some(Some(place)) => targets.lake = vec![LakeTarget::At(place.clone())],
        Some(None) => {
            return Err(Failure::usage("--lake names no place")
                .mend("leave it out for the lake of the settings, or write --lake=URL"));
        }
        None => {}
    }
    // As a run has it: embedded sinks have their checkpoints beside them.
    let (data, checkpoint) = match &args.out {
        Some(out) if !settings.is_said_by_environment("checkpoint") => {
            (out.clone(), Location::Dir(beside(out)))
        }
        Some(out) => (out.clone(), settings.checkpoint.clone()),
        None => (settings.data.clone(), settings.checkpoint.clone()),
    };
    let inputs = pipeline.inputs();
    Ok(Deployment {
        targets,
        data,
        checkpoint: args.checkpoint.clone().unwrap_or(checkpoint).join(name),
        input: brokers.map(|properties| Input::new(properties, inputs)),
        fresh: args.fresh,
        max_lag: args.max_lag,
        deep: args.deep,
        updates: settings.pipelines.updates(name),
        clock: Arc::new(SystemClock),
        pipeline,
    })
}

fn targets(args: &VerifyArgs, settings: &Settings, brokers: Option<&Properties>) -> Targets {
    let name = args.pipeline.as_str();
    if args.out.is_some() {
        return Targets::embedded(Durability::Power);
    }
    let sinks = settings.sinks_of(name);
    let properties =
        brokers.filter(|_| sinks.topics.contains(&TopicKind::Kafka)).cloned().unwrap_or_default();
    sinks.targets(&settings.database_of(name), &settings.secrets, &KafkaTarget { properties })
}

fn beside(out: &std::path::Path) -> PathBuf {
    let mut name = out.as_os_str().to_owned();
    name.push(".checkpoint");
    PathBuf::from(name)
}

/// Asks the run's page, where there is one.
fn page(args: &VerifyArgs) -> Result<Option<Check>, Failure> {
    let Some(url) = &args.web else { return Ok(None) };
    let page = Page { url: url.clone(), access: args.access.clone() };
    let what = format!("run at {url}");
    Ok(Some(match page.get("/readyz") {
        Ok(answer) if answer.status == 200 => Check::good(what, "it says that it is well"),
        Ok(answer) => {
            let says = format!("it is not well ({}): {}", answer.status, answer.body.trim());
            Check::wrong(what, says, "look at its page and its log; tidegate doctor looks at what it needs")
        }
        Err(failure) if failure.code == super::super::failure::USAGE => return Err(failure),
        Err(failure) => {
            Check::wrong(what, failure.error.to_string(), "start the run: it goes on where it was")
        }
    }))
}

/// A check for people: a line, and one below it that says what to do.
fn line(ui: &Ui, check: &Check) -> String {
    let Check { what, ok, says, mend } = check;
    let (style, word) = if *ok { (Style::GOOD, "ok   ") } else { (Style::ERROR, "WRONG") };
    let mend = mend.as_ref().map_or_else(String::new, |mend| format!("\n      mend: {mend}"));
    format!("{} {what}: {says}{mend}\n", ui.styled(style, word))
}
