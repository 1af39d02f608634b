//! What does it cost to get from a record's bytes to typed members?
//!
//! Data: synthetic events of the pipelines' inputs, about 130 bytes each, made outside the timed part
//! and laid end to end as a source would hand them on; also the same with members in another order,
//! with one more member, with an escape in each, and with readings in place of texts.
//!
//! Rivals: the decoder's own tokenizer (`strict`), which judges what the scanner does not know;
//! `serde_json` into a borrowing struct, its best case, which neither refuses repeated names it does
//! not know nor unescapes; `serde_json::Value`, its general case. Both rivals are given the same
//! cached reading of times.
//!
//! The rest is the text that leaves: times written, payloads put into JSON strings.

use std::borrow::Cow;
use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde::Deserialize;
use tidegate::decode::json::{JsonDecoder, Kind, Limits, Member};
use tidegate::decode::text;
use tidegate::record::Value;
use tidegate::time::{TimeFormatter, TimeParser};

const RECORDS: usize = 10_000;

const TYPES: &[&str] = &["page_view", "click", "session_start", "session_end"];

const ACTIVITY: [Member; 4] = [
    Member::new("event_time", Kind::Time),
    Member::new("user_id", Kind::Text),
    Member::new("page_url", Kind::Text),
    Member::new("event_type", Kind::Choice(TYPES)),
];

const READING: [Member; 4] = [
    Member::new("sensor", Kind::Choice(&["PS1", "PS2", "PS3", "PS4", "PS5", "PS6", "EPS1", "FS1", "FS2"])),
    Member::new("cycle", Kind::Integer),
    Member::new("timestamp", Kind::Time),
    Member::new("value", Kind::Number),
];

/// Documents end to end, and where each begins and ends.
struct Documents {
    slab: Vec<u8>,
    spans: Vec<(usize, usize)>,
}

impl Documents {
    fn new(document: impl Fn(&mut dyn FnMut(u64) -> u64, u64) -> String) -> Self {
        let mut state = 42_u64;
        let mut below = |n: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % n
        };
        let mut documents = Documents { slab: Vec::new(), spans: Vec::new() };
        for i in 0..RECORDS as u64 {
            let start = documents.slab.len();
            documents.slab.extend_from_slice(document(&mut below, i).as_bytes());
            documents.spans.push((start, documents.slab.len()));
            documents.slab.push(b'\n');
        }
        documents
    }

    fn values(&self) -> impl Iterator<Item = Value<'_>> {
        self.spans.iter().map(|(start, end)| Value::within(&self.slab[*start..], end - start))
    }
}

fn activity(below: &mut dyn FnMut(u64) -> u64, i: u64) -> [String; 4] {
    let late_ms = below(30_000);
    let ms = 1_767_225_600_000 + 20 * i - late_ms;
    let time = tidegate::time::format(ms as i64 * 1_000);
    let time = String::from_utf8_lossy(&time[..23]);
    let kind = TYPES[[0, 0, 0, 0, 0, 0, 1, 1, 2, 3][below(10) as usize]];
    [
        format!("\"event_time\":\"{time}Z\""),
        format!("\"user_id\":\"user_{}\"", below(100_000)),
        format!("\"page_url\":\"https://example.com/page/{}\"", below(500)),
        format!("\"event_type\":\"{kind}\""),
    ]
}

fn object(members: &[String]) -> String {
    format!("{{{}}}", members.join(","))
}

#[derive(Deserialize)]
struct Activity<'a> {
    #[serde(borrow)]
    event_time: Cow<'a, str>,
    #[serde(borrow)]
    user_id: Cow<'a, str>,
    #[serde(borrow)]
    page_url: Cow<'a, str>,
    #[serde(borrow)]
    event_type: Cow<'a, str>,
}

/// One pass over all documents; something of each value is used.
fn pass<const N: usize>(decoder: &mut JsonDecoder<N>, documents: &Documents) -> i64 {
    let mut sum = 0;
    for value in documents.values() {
        if let Ok(decoded) = decoder.decode(Some(value)) {
            sum += decoded.event_time_us() + decoded.choice(3) as i64;
            sum += (decoded.text(1).len() + decoded.text(2).len()) as i64;
        }
    }
    sum
}

fn documents(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode");
    group.throughput(Throughput::Elements(RECORDS as u64));
    let shapes = [
        ("activity", Documents::new(|below, i| object(&activity(below, i)))),
        (
            "two_shapes",
            Documents::new(|below, i| {
                let mut members = activity(below, i);
                members.rotate_left(i as usize % 2);
                object(&members)
            }),
        ),
        (
            "other_member",
            Documents::new(|below, i| {
                let mut members = activity(below, i).to_vec();
                members.push(format!("\"referrer\":{{\"page\":{}}}", below(500)));
                object(&members)
            }),
        ),
        ("escaped", Documents::new(|below, i| object(&activity(below, i)).replace("/p", "\\/p"))),
    ];
    for (name, documents) in &shapes {
        let mut decoder = JsonDecoder::new(ACTIVITY, Limits::default());
        group.bench_function(format!("{name}/decoder"), |b| b.iter(|| pass(&mut decoder, documents)));
        let mut decoder = JsonDecoder::strict(ACTIVITY, Limits::default());
        group.bench_function(format!("{name}/strict"), |b| b.iter(|| pass(&mut decoder, documents)));
    }
    group.finish();
}

fn readings(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode");
    group.throughput(Throughput::Elements(RECORDS as u64));
    let readings = Documents::new(|below, i| {
        let ms = 1_767_225_600_000 + 10 * i as i64;
        let time = tidegate::time::format(ms * 1_000);
        let time = String::from_utf8_lossy(&time[..23]);
        format!(
            "{{\"sensor\":\"PS{}\",\"cycle\":{},\"timestamp\":\"{time}Z\",\"value\":{}.{}}}",
            1 + below(6),
            i / 6_000,
            below(200),
            below(100)
        )
    });
    let mut decoder = JsonDecoder::new(READING, Limits::default());
    group.bench_function("reading/decoder", |b| b.iter(|| pass(&mut decoder, &readings)));
    let mut decoder = JsonDecoder::strict(READING, Limits::default());
    group.bench_function("reading/strict", |b| b.iter(|| pass(&mut decoder, &readings)));

    group.finish();
}

fn rivals(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode");
    group.throughput(Throughput::Elements(RECORDS as u64));
    let documents = Documents::new(|below, i| object(&activity(below, i)));
    let mut time = TimeParser::default();
    group.bench_function("activity/serde_json_struct", |b| {
        b.iter(|| {
            let mut sum = 0;
            for value in documents.values() {
                let Ok(event) = serde_json::from_slice::<Activity<'_>>(value.bytes()) else { continue };
                let Some(us) = time.parse(event.event_time.as_bytes()) else { continue };
                let Some(kind) = TYPES.iter().position(|kind| *kind == event.event_type) else { continue };
                sum += us + (kind + event.user_id.len() + event.page_url.len()) as i64;
            }
            sum
        });
    });
    group.bench_function("activity/serde_json_value", |b| {
        b.iter(|| {
            let read = |value: Value<'_>, time: &mut TimeParser| {
                let event: serde_json::Value = serde_json::from_slice(value.bytes()).ok()?;
                let us = time.parse(event.get("event_time")?.as_str()?.as_bytes())?;
                let kind = event.get("event_type")?.as_str()?;
                let kind = TYPES.iter().position(|k| *k == kind)?;
                let texts = event.get("user_id")?.as_str()?.len() + event.get("page_url")?.as_str()?.len();
                Some(us + (kind + texts) as i64)
            };
            documents.values().filter_map(|value| read(value, &mut time)).sum::<i64>()
        });
    });
    group.finish();
}

fn texts(c: &mut Criterion) {
    let mut group = c.benchmark_group("write");
    group.throughput(Throughput::Elements(RECORDS as u64));
    let documents = Documents::new(|below, i| object(&activity(below, i)));
    let mut out = Vec::new();
    let mut each = |name: &str, write: &mut dyn FnMut(&[u8], &mut Vec<u8>)| {
        group.bench_function(name, |b| {
            b.iter(|| {
                out.clear();
                for value in documents.values() {
                    write(value.bytes(), &mut out);
                }
                black_box(&out).len()
            });
        });
    };
    each("payload_as_string", &mut |bytes, out| text::write_string(bytes, out));
    let appender = text::MemberAppender::new("processing_time");
    each("with_member", &mut |bytes, out| {
        black_box(appender.write(bytes, b"\"now\"", out));
    });
    each("compact", &mut |bytes, out| text::compact(bytes, out));
    let mut formatter = TimeFormatter::default();
    let mut us = 1_767_225_600_000_000;
    each("time", &mut |_, out| {
        us += 20_001;
        formatter.write(us, out);
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(30);
    targets = documents, readings, rivals, texts
}
criterion_main!(benches);
