//! What is sent, by an exporter that keeps it.

use std::sync::Mutex;

use opentelemetry::trace::SpanId;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::SpanData;
use tidegate::checkpoint::Manifest;

use super::*;

#[derive(Clone, Debug, Default)]
struct Kept(Arc<Mutex<Vec<SpanData>>>);

impl opentelemetry_sdk::trace::SpanExporter for Kept {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().expect("nobody has panicked").extend(batch);
        Ok(())
    }
}

fn attribute(span: &SpanData, name: &str) -> Option<String> {
    let found = span.attributes.iter().find(|attribute| attribute.key.as_str() == name);
    found.map(|attribute| attribute.value.to_string())
}

#[test]
fn an_epoch_is_a_trace_with_a_span_a_step_and_an_event_a_failure() {
    let kept = Kept::default();
    let traces = Traces { processor: processor(kept.clone(), 0), runtime: None };
    let board = Board::default();
    traces.follow("activity", &board);
    let ms = Duration::from_millis;
    // At a start: an epoch that was decided before.
    board.sink_committed("kafka", 6, ms(3), 0);
    board.epoch_ended(ms(900), ms(0));
    board.sink_failed("postgres", "no route to host");
    board.sink_prepared("postgres", ms(20));
    board.sink_prepared("kafka", ms(10));
    board.checkpoint_failed("no space left");
    board.sink_committed("postgres", 7, ms(40), 0);
    board.sink_committed("kafka", 7, ms(5), 0);
    let manifest = Manifest { epoch: 7, generation: 2, ..Manifest::default() };
    board.epoch_decided(&manifest, ms(80), 1234, 0);
    board.epoch_ended(ms(700), ms(0));
    board.epoch_decided(&Manifest { epoch: 8, ..manifest }, ms(80), 1234, 0);
    drop(traces);

    let spans = kept.0.lock().expect("nobody has panicked");
    let (before, rest) = spans.split_first().expect("spans");
    assert_eq!((&*before.name, before.parent_span_id), ("commit", SpanId::INVALID));
    assert_eq!(attribute(before, "tidegate.epoch").as_deref(), Some("6"));

    let root = rest.iter().find(|span| span.name == "epoch").expect("the first epoch");
    assert_eq!(root.parent_span_id, SpanId::INVALID);
    for (name, value) in [
        ("tidegate.pipeline", "activity"),
        ("tidegate.epoch", "7"),
        ("tidegate.generation", "2"),
        ("tidegate.checkpoint_bytes", "1234"),
    ] {
        assert_eq!(attribute(root, name).as_deref(), Some(value), "{name}");
    }
    let trace = root.span_context.trace_id();
    let children: Vec<_> = rest.iter().filter(|span| span.span_context.trace_id() == trace).collect();
    let told: Vec<_> = children.iter().map(|span| (&*span.name, attribute(span, "tidegate.sink"))).collect();
    let of = |name: &str| Some(name.to_owned());
    let wanted = [
        ("read", None),
        ("prepare", of("postgres")),
        ("prepare", of("kafka")),
        ("commit", of("postgres")),
        ("commit", of("kafka")),
        ("epoch", None),
    ];
    assert_eq!(told, wanted);
    for child in &children[..5] {
        assert_eq!(child.parent_span_id, root.span_context.span_id());
        assert!(child.start_time >= root.start_time && child.end_time <= root.end_time, "{}", child.name);
    }
    let took = |span: &SpanData| span.end_time.duration_since(span.start_time).expect("forwards");
    assert_eq!(took(children[0]), ms(900));
    assert_eq!(took(children[3]), ms(40));
    let failures: Vec<_> = root
        .events
        .iter()
        .map(|event| event.attributes.iter().map(|a| a.value.to_string()).collect::<Vec<_>>())
        .collect();
    assert_eq!(failures, [["no route to host", "postgres"], ["no space left", "checkpoint"]]);

    let second = rest.last().expect("the second epoch");
    assert_eq!((&*second.name, attribute(second, "tidegate.epoch").as_deref()), ("epoch", Some("8")));
    assert_ne!(second.span_context.trace_id(), trace);
    assert!(second.events.is_empty(), "failures are told once");
}

#[test]
fn endpoints_come_from_the_settings_then_from_the_environment() {
    let none = |_: &str| None;
    let configured = |endpoint: &str| Config { endpoint: Some(endpoint.to_owned()) };
    assert_eq!(Config::default().address(none), None);
    for base in ["http://c:4318", "http://c:4318/"] {
        assert_eq!(configured(base).address(none).as_deref(), Some("http://c:4318/v1/traces"));
    }
    let set = |pairs: &'static [(&str, &str)]| {
        move |name: &str| pairs.iter().find(|(of, _)| *of == name).map(|(_, value)| (*value).to_owned())
    };
    let both = set(&[(VARIABLES[0], "http://t/as/it/is"), (VARIABLES[1], "http://all:4318")]);
    assert_eq!(Config::default().address(both).as_deref(), Some("http://t/as/it/is"));
    assert_eq!(configured("http://c").address(both).as_deref(), Some("http://c/v1/traces"));
    let all = set(&[(VARIABLES[1], "http://all:4318")]);
    assert_eq!(Config::default().address(all).as_deref(), Some("http://all:4318/v1/traces"));
    let off = set(&[(VARIABLES[1], "http://all:4318"), ("OTEL_SDK_DISABLED", "true")]);
    assert_eq!(configured("http://c").address(off), None);
    assert_eq!(Config::default().address(set(&[(VARIABLES[1], "")])), None);
}

#[test]
fn a_collector_that_is_away_holds_nobody_up() {
    // Nothing listens where a listener has just gone.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port");
    let config = Config { endpoint: Some(format!("http://{gone}")) };
    let traces = Traces::start(&config, 0).expect("it starts").expect("it was asked for");
    let board = Board::default();
    traces.follow("activity", &board);
    board.epoch_ended(Duration::from_millis(1), Duration::ZERO);
    board.epoch_decided(&Manifest::default(), Duration::ZERO, 0, 0);
    let began = std::time::Instant::now();
    drop(traces);
    assert!(began.elapsed() < 2 * PATIENCE);
}
