//! `tidegate tap`: a look at what a topic, a fixture, a table or a lake holds.

mod rows;

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use tidegate::record::{Partition, Record};
use tidegate::source::Source;
use tidegate::source::bounded::Bounded;
use tidegate::source::fixture::{FixtureSource, append_kcat_line};
use tidegate::source::kafka::{KafkaSource, Settings, Start};
use tidegate::time;
use tidegate_dataflows::set_aside::{place, visit};

use self::rows::Rows;
use super::args::{Global, KafkaClient, start};
use super::failure::Failure;
use super::signals::Signals;
use super::ui::{Style, Ui, grouped};
use super::{kafka, record, settings};

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  tidegate tap user_activity --fixture fixtures/activity --count 3
  tidegate tap user_activity --bootstrap-servers localhost:9092 --from latest --follow
  tidegate tap enriched_activity --out out --every 1000 --json
  tidegate tap page_view_counts -c 5           rows of a table, in the database that the settings name
  tidegate tap page_view_counts --out out      or of embedded sinks, in out/tables.sqlite
  tidegate tap out/lake/activity --holding alice
                                               rows of a lake
  tidegate tap s3://bucket/delta-lake/vehicle_positions --every 100 --json")]
pub(crate) struct TapArgs {
    /// A topic: an input, an output, a .late or a .dlq topic. Or a table of a pipeline, by its name; or a lake or a Delta table, by its
    /// place: a directory with a /, hdfs://HOST:PORT/PATH or s3://BUCKET/PREFIX.
    #[arg(value_name = "TOPIC|TABLE|PLACE")]
    topic: String,
    /// An output directory of embedded sinks, whose table or topic it is.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["bootstrap_servers", "fixture"])]
    out: Option<PathBuf>,
    /// A fixture, or the topics/ of an output directory, in place of Kafka.
    #[arg(long, value_name = "DIR", conflicts_with = "bootstrap_servers")]
    fixture: Option<PathBuf>,
    /// Kafka brokers; KAFKA_BOOTSTRAP_SERVERS by default.
    #[arg(long, value_name = "HOST:PORT,…")]
    bootstrap_servers: Option<String>,
    #[command(flatten)]
    client: KafkaClient,
    /// How many records, or rows, are shown.
    #[arg(long, short = 'c', value_name = "N", default_value_t = 10)]
    count: u64,
    /// One record in so many is taken.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    every: u64,
    /// Only this partition.
    #[arg(long, value_name = "N")]
    partition: Option<i32>,
    /// Only records whose value holds this text, or rows of which a column does.
    #[arg(long, value_name = "TEXT")]
    holding: Option<String>,
    /// Where a topic is read from: earliest, latest, or the first records at or after a time.
    #[arg(long, value_name = "WHERE", default_value = "earliest", value_parser = start)]
    from: Start,
    /// Wait for more at the end of a topic, until --count records have come.
    #[arg(long)]
    follow: bool,
    /// Lines as kcat -J prints them, which are a fixture; an object a line of rows.
    #[arg(long)]
    json: bool,
}

/// Shows records, or rows.
pub(crate) fn run(ui: &Ui, global: &Global, args: &TapArgs) -> Result<(), Failure> {
    if let Some(rows) = Rows::find(global, args)? {
        return rows.show(ui, args);
    }
    let source = source(global, args)?;
    let signals = Signals::listen(ui, 1)?;
    let (mut met, mut shown, mut broken) = (0_u64, 0_u64, None);
    let mut each = |partition: &Partition, record: &Record<'_>| {
        if shown >= args.count {
            return false;
        }
        if !wanted(args, partition, record) {
            return true;
        }
        met += 1;
        if !(met - 1).is_multiple_of(args.every) {
            return true;
        }
        shown += 1;
        broken =
            ui.result(if args.json { json(partition, record) } else { text(ui, partition, record) }).err();
        broken.is_none() && shown < args.count
    };
    visit(&source, &|| signals.asked(), &mut each).map_err(record::source_failure)?;
    match broken {
        Some(failure) => Err(failure),
        None => {
            ui.note(format_args!("{} records of {}", grouped(shown), args.topic));
            Ok(())
        }
    }
}

fn source(global: &Global, args: &TapArgs) -> Result<Arc<dyn Source>, Failure> {
    let of_output = args.out.as_ref().map(|out| out.join("topics"));
    if let Some(dir) = of_output.as_ref().or(args.fixture.as_ref()) {
        let source = FixtureSource::open(dir, &|name| name == args.topic).map_err(record::source_failure)?;
        if source.topics().is_empty() {
            return Err(Failure::running(format!(
                "{} holds nothing of topic {:?}",
                dir.display(),
                args.topic
            ))
            .mend("mend the topic's or the table's name, or name another --fixture DIR or --out DIR"));
        }
        return Ok(Arc::new(source));
    }
    let brokers = kafka::brokers(args.bootstrap_servers.as_deref(), &args.client, &settings(global)?)?;
    let topic = Settings::new(brokers, [args.topic.as_str()]);
    let source = KafkaSource::open(topic).map_err(record::source_failure)?;
    let source = source.starting_at(&args.from).map_err(record::source_failure)?;
    source.begin().map_err(record::source_failure)?;
    if args.follow {
        return Ok(Arc::new(source));
    }
    let ends = source.ends().map_err(record::source_failure)?;
    Ok(Arc::new(Bounded::new(Arc::new(source), ends)))
}

fn wanted(args: &TapArgs, partition: &Partition, record: &Record<'_>) -> bool {
    let of_partition = args.partition.is_none_or(|number| number == partition.number);
    let holds = |text: &String| {
        record.value.is_some_and(|value| String::from_utf8_lossy(value.bytes()).contains(text.as_str()))
    };
    of_partition && args.holding.as_ref().is_none_or(holds)
}

fn json(partition: &Partition, record: &Record<'_>) -> String {
    let mut line = Vec::new();
    append_kcat_line(partition, record, &mut line);
    String::from_utf8_lossy(&line).into_owned()
}

fn text(ui: &Ui, partition: &Partition, record: &Record<'_>) -> String {
    let at = ui.styled(Style::TITLE, &place(partition, record.offset));
    let time = record.kafka_time.ms().and_then(|ms| ms.checked_mul(1_000));
    let time = time.map_or(String::new(), |us| format!("  {}", String::from_utf8_lossy(&time::format(us))));
    let key = record.key.map_or(String::new(), |key| format!("  key {}", String::from_utf8_lossy(key)));
    let headers: String = record
        .headers
        .iter()
        .map(|(name, value)| {
            let value = value.map_or("null".into(), String::from_utf8_lossy);
            format!("  {}: {value}\n", String::from_utf8_lossy(name))
        })
        .collect();
    let value = record.value.map_or("(no value)".into(), |value| String::from_utf8_lossy(value.bytes()));
    let head = ui.styled(Style::FAINT, &format!("{time}{key}"));
    format!("{at}{head}\n{headers}  {value}\n")
}
