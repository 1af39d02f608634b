//! The spans of epochs, made of the steps that a run tells.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{Event, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{
    IdGenerator, RandomIdGenerator, SpanData, SpanEvents, SpanLinks, SpanProcessor,
};
use tidegate::checkpoint::Manifest;
use tidegate::runtime::{Clock, SystemClock};
use tidegate::telemetry::{Step, Trace};

/// How many failures an epoch's span tells at most: one that waits for a day has had its say by then.
const MOST_EVENTS: usize = 100;

/// Makes a trace of every epoch of a pipeline.
#[derive(Debug)]
pub(super) struct Epochs<P> {
    pipeline: String,
    processor: Arc<P>,
    ids: RandomIdGenerator,
    open: Mutex<Open>,
}

/// The epoch that is on its way.
#[derive(Debug, Default)]
struct Open {
    root: Option<Root>,
    /// What has failed since the last epoch became visible.
    failures: Vec<Event>,
    untold: u32,
}

/// Where its spans belong.
#[derive(Clone, Copy, Debug)]
struct Root {
    trace: TraceId,
    span: SpanId,
    began: SystemTime,
}

impl<P: SpanProcessor> Epochs<P> {
    pub(super) fn new(pipeline: &str, processor: Arc<P>) -> Self {
        let (pipeline, ids) = (pipeline.to_owned(), RandomIdGenerator::default());
        Epochs { pipeline, processor, ids, open: Mutex::default() }
    }

    /// Begins an epoch's trace, with the span of its reading.
    fn ended(&self, open: &mut Open, took: Duration) {
        let ended = now();
        let began = ended.checked_sub(took).unwrap_or(ended);
        let root = Root { trace: self.ids.new_trace_id(), span: self.ids.new_span_id(), began };
        open.root = Some(root);
        self.child(open, "read", took, Vec::new());
    }

    /// A span of the open epoch that is over now; a trace of its own where none is open.
    fn child(&self, open: &Open, name: &'static str, took: Duration, attributes: Vec<KeyValue>) {
        let trace = open.root.map_or_else(|| self.ids.new_trace_id(), |root| root.trace);
        let parent = open.root.map_or(SpanId::INVALID, |root| root.span);
        let ended = now();
        let began = ended.checked_sub(took).unwrap_or(ended);
        self.end(
            name,
            trace,
            self.ids.new_span_id(),
            parent,
            (began, ended),
            attributes,
            SpanEvents::default(),
        );
    }

    /// Ends an epoch's trace.
    fn visible(&self, open: &mut Open, manifest: &Manifest, bytes: u64) {
        let mut events = SpanEvents::default();
        events.events = std::mem::take(&mut open.failures);
        events.dropped_count = std::mem::take(&mut open.untold);
        let Some(Root { trace, span, began }) = open.root.take() else { return };
        let attributes = vec![
            KeyValue::new("tidegate.epoch", whole(manifest.epoch)),
            KeyValue::new("tidegate.generation", whole(manifest.generation)),
            KeyValue::new("tidegate.records", whole(manifest.counts.read)),
            KeyValue::new("tidegate.rejected", whole(manifest.counts.rejected.iter().sum())),
            KeyValue::new("tidegate.watermark_us", manifest.watermark_us),
            KeyValue::new("tidegate.checkpoint_bytes", whole(bytes)),
        ];
        self.end("epoch", trace, span, SpanId::INVALID, (began, now()), attributes, events);
    }

    fn failed(&self, open: &mut Open, sink: Option<&str>, error: &str) {
        if open.failures.len() == MOST_EVENTS {
            open.untold += 1;
            return;
        }
        // As the conventions for exceptions name them.
        let attributes = vec![
            KeyValue::new("exception.message", error.to_owned()),
            KeyValue::new("tidegate.sink", sink.unwrap_or("checkpoint").to_owned()),
        ];
        open.failures.push(Event::new("exception", now(), attributes, 0));
    }

    #[allow(clippy::too_many_arguments)]
    fn end(
        &self,
        name: &'static str,
        trace: TraceId,
        span: SpanId,
        parent_span_id: SpanId,
        (start_time, end_time): (SystemTime, SystemTime),
        mut attributes: Vec<KeyValue>,
        events: SpanEvents,
    ) {
        attributes.push(KeyValue::new("tidegate.pipeline", self.pipeline.clone()));
        self.processor.on_end(SpanData {
            span_context: SpanContext::new(trace, span, TraceFlags::SAMPLED, false, TraceState::default()),
            parent_span_id,
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: Cow::Borrowed(name),
            start_time,
            end_time,
            attributes,
            dropped_attributes_count: 0,
            events,
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: InstrumentationScope::builder("tidegate").build(),
        });
    }
}

impl<P: SpanProcessor> Trace for Epochs<P> {
    fn step(&self, step: &Step<'_>) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |sink: &str| KeyValue::new("tidegate.sink", sink.to_owned());
        match *step {
            Step::Ended { open: took } => self.ended(&mut open, took),
            Step::Prepared { sink, took } => self.child(&open, "prepare", took, vec![of(sink)]),
            Step::Saved { took } => self.child(&open, "save", took, Vec::new()),
            Step::Decided { took } => self.child(&open, "decide", took, Vec::new()),
            Step::Committed { sink, epoch, took } => {
                let attributes = vec![of(sink), KeyValue::new("tidegate.epoch", whole(epoch))];
                self.child(&open, "commit", took, attributes);
            }
            Step::Failed { sink, error } => self.failed(&mut open, sink, error),
            Step::Visible { manifest, bytes } => self.visible(&mut open, manifest, bytes),
        }
    }
}

/// Spans are no part of any answer: their time is the wall's.
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_micros(SystemClock.now_us().max(0).unsigned_abs())
}

/// Attributes have signed numbers.
fn whole(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
