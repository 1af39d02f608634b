//! `tidegate dlq` and `tidegate late`: what was set aside, looked at and put before a pipeline again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tidegate::kafka::Writer;
use tidegate::record::{Headers, Partition, Record};
use tidegate::source::Source;
use tidegate::source::bounded::Bounded;
use tidegate::source::fixture::FixtureSource;
use tidegate::source::kafka::{KafkaSource, Settings, Start};
use tidegate_dataflows::generate::{Form, Packed, Target};
use tidegate_dataflows::set_aside::{Kind, REPLAYED, SetAside, parse_place, place, visit};

use super::args::{Global, KafkaClient};
use super::failure::Failure;
use super::signals::Signals;
use super::ui::{Style, Ui, grouped};
use super::{kafka, record, settings};

/// What can be done with records that were set aside.
#[derive(Debug, Subcommand)]
pub(crate) enum SetAsideCommand {
    /// A line a record: where it lies, why it is there, what it holds; and how many there are by reason.
    List(ListArgs),
    /// One record whole: where it came from, its headers, key and payload.
    Show(ShowArgs),
    /// Put records before a pipeline again: into their input topic, another one, or a fixture.
    ///
    /// Each is written as it first came, with its key, payload and Kafka timestamp, and a header
    /// tidegate-replayed that says where it lay. What was set aside stays where it is: a second replay writes it
    /// a second time. A dead letter counts once its cause is mended. A late record stays late in its own topic,
    /// where the watermark has passed it: a fixture, or a topic of its own, is the place for it.
    Replay(ReplayAsideArgs),
}

/// Where the records lie, and which of them.
#[derive(Args, Debug)]
pub(crate) struct Chosen {
    /// An output directory of embedded sinks [default: out, where no brokers are named].
    #[arg(long, value_name = "DIR", conflicts_with = "bootstrap_servers")]
    pub(crate) out: Option<PathBuf>,
    /// The Kafka brokers whose topics are read in place of files.
    #[arg(long, value_name = "HOST:PORT,…")]
    pub(crate) bootstrap_servers: Option<String>,
    #[command(flatten)]
    pub(crate) client: KafkaClient,
    /// The input topic; may be given several times. Files tell by themselves, brokers are asked for these.
    #[arg(long, value_name = "TOPIC")]
    pub(crate) topic: Vec<String>,
    /// Only those with this reason, such as schema or late; may be given several times.
    #[arg(long, value_name = "REASON")]
    pub(crate) reason: Vec<String>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  tidegate dlq list --out out --reason schema
  tidegate late list --bootstrap-servers localhost:9092 --topic user_activity --json")]
pub(crate) struct ListArgs {
    #[command(flatten)]
    chosen: Chosen,
    /// How many records are listed; all are counted.
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
    /// One object: the records, and the counts by reason.
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  tidegate dlq show user_activity.dlq-0@12 --out out")]
pub(crate) struct ShowArgs {
    /// Where it lies, as list says: topic, partition and offset.
    #[arg(value_name = "TOPIC-PARTITION@OFFSET")]
    at: String,
    #[command(flatten)]
    chosen: Chosen,
    /// One object in place of text.
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  tidegate dlq replay --out out --reason range --to-fixture mended
  tidegate dlq replay --bootstrap-servers localhost:9092 --topic user_activity
  tidegate late replay --bootstrap-servers localhost:9092 --topic user_activity --to-topic user_activity_again")]
pub(crate) struct ReplayAsideArgs {
    #[command(flatten)]
    chosen: Chosen,
    /// Write a fixture, which a replay reads; a directory that is new or empty.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["to", "to_topic"])]
    to_fixture: Option<PathBuf>,
    /// The brokers to write to [default: those that are read].
    #[arg(long, value_name = "HOST:PORT,…")]
    to: Option<String>,
    /// The topic to write to [default: the one that each record came from].
    #[arg(long, value_name = "TOPIC")]
    to_topic: Option<String>,
    /// Only count what would be written.
    #[arg(long)]
    dry_run: bool,
}

/// Looks at what was set aside, or puts it before a pipeline again.
pub(crate) fn run(ui: &Ui, global: &Global, kind: Kind, command: &SetAsideCommand) -> Result<(), Failure> {
    match command {
        SetAsideCommand::List(args) => list(ui, global, kind, args),
        SetAsideCommand::Show(args) => show(ui, global, kind, args),
        SetAsideCommand::Replay(args) => replay(ui, global, kind, args),
    }
}

/// The source that holds them: the files of an output directory, or topics up to their present end.
fn source(
    global: &Global,
    chosen: &Chosen,
    kind: Kind,
    also: Option<&str>,
) -> Result<Arc<dyn Source>, Failure> {
    let asked: Vec<String> = chosen
        .topic
        .iter()
        .map(|topic| format!("{topic}{}", kind.suffix()))
        .chain(also.map(str::to_owned))
        .collect();
    if let Some(servers) = &chosen.bootstrap_servers {
        if asked.is_empty() {
            return Err(Failure::usage("which input topic's?").mend("name it: --topic TOPIC"));
        }
        let brokers = kafka::brokers(Some(servers), &chosen.client, &settings(global)?)?;
        let source = KafkaSource::open(Settings::new(brokers, asked)).map_err(record::source_failure)?;
        let source = source.starting_at(&Start::Earliest).map_err(record::source_failure)?;
        let ends = source.ends().map_err(record::source_failure)?;
        return Ok(Arc::new(Bounded::new(Arc::new(source), ends)));
    }
    let out = chosen.out.as_deref().unwrap_or(Path::new("out"));
    let topics = out.join("topics");
    if !topics.is_dir() {
        return Err(Failure::usage(format!("{out:?} is no output directory: it has no topics/"))
            .mend("name the DIR of a replay's or run's --out, or --bootstrap-servers for Kafka"));
    }
    let wanted = |name: &str| {
        name.ends_with(kind.suffix()) && (asked.is_empty() || asked.iter().any(|topic| topic == name))
    };
    Ok(Arc::new(FixtureSource::open(&topics, &wanted).map_err(record::source_failure)?))
}

/// Shows those that are chosen to `each`, which may say that it has seen enough.
fn each_chosen(
    ui: &Ui,
    chosen: &Chosen,
    kind: Kind,
    source: &Arc<dyn Source>,
    each: &mut dyn FnMut(&Partition, &Record<'_>, SetAside) -> bool,
) -> Result<(), Failure> {
    let signals = Signals::listen(ui, 1)?;
    let mut show = |partition: &Partition, record: &Record<'_>| {
        let aside = SetAside::of(partition, record, kind);
        let wanted = chosen.reason.is_empty() || chosen.reason.contains(&aside.reason);
        !wanted || each(partition, record, aside)
    };
    visit(source, &|| signals.asked(), &mut show).map_err(record::source_failure)
}

fn list(ui: &Ui, global: &Global, kind: Kind, args: &ListArgs) -> Result<(), Failure> {
    let source = source(global, &args.chosen, kind, None)?;
    let (mut lines, mut counts) = (Vec::new(), BTreeMap::<String, u64>::new());
    each_chosen(ui, &args.chosen, kind, &source, &mut |_, record, aside| {
        *counts.entry(aside.reason.clone()).or_default() += 1;
        if lines.len() < args.limit {
            lines.push((aside, preview(record)));
        }
        true
    })?;
    let total: u64 = counts.values().sum();
    if args.json {
        let records = lines.iter().map(|(aside, payload)| {
            let mut object = json!(aside);
            object["payload"] = json!(payload);
            object
        });
        let all = json!({"total": total, "by_reason": counts, "records": records.collect::<Vec<_>>()});
        return ui.json(&all);
    }
    let mut text = String::new();
    for (aside, payload) in &lines {
        let why = match (aside.late_by_ms, &aside.detail) {
            (Some(ms), _) => format!("by {ms} ms for {}", aside.outputs.as_deref().unwrap_or("?")),
            (None, Some(detail)) => detail.clone(),
            (None, None) => String::new(),
        };
        let (at, reason) = (&aside.at, ui.styled(Style::TITLE, &aside.reason));
        text.push_str(&format!("{at}  {reason}  {why}  {}\n", ui.styled(Style::FAINT, payload)));
    }
    ui.result(text)?;
    let by_reason: Vec<String> =
        counts.iter().map(|(reason, count)| format!("{reason} {}", grouped(*count))).collect();
    let more = total.saturating_sub(lines.len() as u64);
    let more = if more > 0 { format!("; {} more, --limit shows them", grouped(more)) } else { String::new() };
    let by_reason = if total == 0 { String::new() } else { format!(" ({})", by_reason.join(", ")) };
    ui.note(format_args!("{} records{by_reason}{more}", grouped(total)));
    Ok(())
}

fn show(ui: &Ui, global: &Global, kind: Kind, args: &ShowArgs) -> Result<(), Failure> {
    let Some((wanted, offset)) = parse_place(&args.at) else {
        return Err(Failure::usage(format!("{:?} is not where a record lies", args.at))
            .mend("write topic, partition and offset as list does: user_activity.dlq-0@12"));
    };
    let source = source(global, &args.chosen, kind, Some(&wanted.topic))?;
    let mut found = None;
    each_chosen(ui, &args.chosen, kind, &source, &mut |partition, record, aside| {
        if *partition == wanted && record.offset == offset {
            found = Some(describe(record, &aside));
        }
        found.is_none()
    })?;
    let Some(found) = found else {
        return Err(
            Failure::running(format!("there is no record at {}", args.at)).mend("list says which are there")
        );
    };
    if args.json {
        return ui.json(&found);
    }
    let mut text = String::new();
    for (name, value) in found.as_object().into_iter().flatten() {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        text.push_str(&format!("{name:<13} {value}\n"));
    }
    ui.result(text)
}

fn replay(ui: &Ui, global: &Global, kind: Kind, args: &ReplayAsideArgs) -> Result<(), Failure> {
    let source = source(global, &args.chosen, kind, None)?;
    let mut sinks = Outlet::open(global, args, kind, &source)?;
    let mut written = 0_u64;
    let mut failure = None;
    each_chosen(ui, &args.chosen, kind, &source, &mut |partition, record, aside| {
        // Records that were replayed once and set aside again say so themselves: they are taken like all others.
        match sinks.write(partition, record, &aside) {
            Ok(()) => written += 1,
            Err(error) => failure = Some(error),
        }
        failure.is_none()
    })?;
    if let Some(failure) = failure {
        return Err(failure);
    }
    let place = sinks.finish()?;
    ui.note(format_args!("{} records: {place}", grouped(written)));
    Ok(())
}

/// Where replayed records go.
enum Outlet {
    Nowhere,
    Fixture { target: Box<Target>, ids: Vec<Partition>, next: Vec<i64>, dir: PathBuf },
    Kafka { writer: Writer, topic: Option<String>, servers: String },
}

impl Outlet {
    fn open(
        global: &Global,
        args: &ReplayAsideArgs,
        kind: Kind,
        source: &Arc<dyn Source>,
    ) -> Result<Outlet, Failure> {
        if args.dry_run {
            return Ok(Outlet::Nowhere);
        }
        if let Some(dir) = &args.to_fixture {
            // A record lies in the partition of the one that it was made of.
            let mut ids: Vec<Partition> =
                source.partitions().iter().map(|info| origin_of(&info.id, kind)).collect();
            ids.sort();
            ids.dedup();
            let target = Target::create_of(dir, ids.clone(), Form::Kcat(Packed::Plain));
            let target = Box::new(target.map_err(record::target_failure)?);
            return Ok(Outlet::Fixture { target, next: vec![0; ids.len()], ids, dir: dir.clone() });
        }
        let Some(servers) = args.to.clone().or_else(|| args.chosen.bootstrap_servers.clone()) else {
            return Err(Failure::usage("where to?").mend(
                "write a fixture with --to-fixture DIR, or to Kafka with --to HOST:PORT; --dry-run only counts",
            ));
        };
        let properties = kafka::brokers(Some(&servers), &args.chosen.client, &settings(global)?)?;
        let writer = Writer::open(&properties, kafka::TIMEOUT).map_err(kafka::failure)?;
        Ok(Outlet::Kafka { writer, topic: args.to_topic.clone(), servers })
    }

    fn write(&mut self, at: &Partition, record: &Record<'_>, aside: &SetAside) -> Result<(), Failure> {
        let lay = place(at, record.offset);
        match self {
            Outlet::Nowhere => Ok(()),
            Outlet::Fixture { target, ids, next, .. } => {
                let origin = aside.origin();
                let Some(index) = ids.iter().position(|id| *id == origin) else {
                    return Err(Failure::running(format!(
                        "{lay} came from {origin}, of which nothing else is here"
                    )));
                };
                let mut wire = Vec::new();
                let mut count = 1;
                for (name, value) in record.headers.iter().filter(|(name, _)| is_the_senders(name)) {
                    Headers::append(&mut wire, name, value);
                    count += 1;
                }
                Headers::append(&mut wire, REPLAYED.as_bytes(), Some(lay.as_bytes()));
                let headers = Headers::from_wire(count, &wire);
                let again = Record { offset: next[index], headers, ..*record };
                next[index] += 1;
                target.write_record(index, &again).map_err(record::target_failure)
            }
            Outlet::Kafka { writer, topic, .. } => {
                let origin = aside.origin();
                let to =
                    topic.as_deref().map_or(origin.clone(), |topic| Partition::new(topic, origin.number));
                writer.write_record(&to, record, &is_the_senders, (REPLAYED, &lay)).map_err(kafka::failure)
            }
        }
    }

    /// Where they are now.
    fn finish(self) -> Result<String, Failure> {
        match self {
            Outlet::Nowhere => Ok("nothing was written".to_owned()),
            Outlet::Fixture { target, dir, .. } => {
                target.finish().map_err(record::target_failure)?;
                Ok(format!("{}", dir.display()))
            }
            Outlet::Kafka { writer, topic, servers } => {
                writer.finish().map_err(kafka::failure)?;
                let topic = topic.unwrap_or_else(|| "the topics that they came from".to_owned());
                Ok(format!("{topic} on {servers}"))
            }
        }
    }
}

fn origin_of(aside: &Partition, kind: Kind) -> Partition {
    let topic = aside.topic.strip_suffix(kind.suffix()).unwrap_or(&aside.topic);
    Partition::new(topic, aside.number)
}

/// Whether a header is the sender's, and none that was added when the record was set aside.
fn is_the_senders(name: &[u8]) -> bool {
    const ADDED: [&[u8]; 8] =
        [b"reason", b"detail", b"outputs", b"late_by_ms", b"topic", b"partition", b"offset", b"entity_id"];
    !ADDED.contains(&name) && !name.starts_with(b"tidegate-")
}

/// The beginning of the payload, in one line.
fn preview(record: &Record<'_>) -> String {
    const SHOWN: usize = 120;
    let Some(value) = record.value else { return "(no value)".to_owned() };
    let text = String::from_utf8_lossy(value.bytes());
    let mut short: String = text.chars().take(SHOWN).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(SHOWN).is_some() {
        short.push('…');
    }
    short
}

fn describe(record: &Record<'_>, aside: &SetAside) -> Value {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut object = json!(aside);
    object["timestamp_ms"] = json!(record.kafka_time.ms());
    object["key"] = json!(record.key.map(text));
    object["payload"] = json!(record.value.map(|value| text(value.bytes())));
    let others = record.headers.iter().filter(|(name, _)| is_the_senders(name));
    let others: serde_json::Map<String, Value> =
        others.map(|(name, value)| (text(name), json!(value.map(text)))).collect();
    if !others.is_empty() {
        object["headers"] = Value::Object(others);
    }
    object
}
