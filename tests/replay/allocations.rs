//! What a record costs of the allocator: nothing, once its shape, its page and its window have been seen.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ops::Range;

use tidegate::aggregate::Count;
use tidegate::decode::json::Limits;
use tidegate::ingest::{Decode, Front, Ledger, Place, Position, Verdicts};
use tidegate::operators::keyed_window::{Measure, WindowFront};
use tidegate::record::{Headers, KafkaTime, Partition, Record, Value};
use tidegate::window::WindowSpec;
use tidegate_dataflows::activity::{ActivityDecoder, ActivityEvent, EventType};

use crate::harness::{SECOND, event};

/// The system's allocator; it counts, for each thread on its own, how often it is asked for memory.
struct Counting;

thread_local! {
    // Neither made nor dropped by anything that allocates.
    static ASKED: Cell<u64> = const { Cell::new(0) };
}

fn asked() {
    ASKED.set(ASKED.get() + 1);
}

// SAFETY: every call goes to the system's allocator as it comes.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        asked();
        // SAFETY: what the caller promises is what is asked for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        asked();
        // SAFETY: likewise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        asked();
        // SAFETY: likewise.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: likewise.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Page views by page, as the pipeline measures them.
struct Views;

impl Measure<ActivityDecoder> for Views {
    type Aggregate = Count;

    fn measure<'e>(&self, _at: &Position<'_>, event: &'e ActivityEvent<'_>) -> Option<(&'e [u8], ())> {
        (event.event_type() == EventType::PageView).then(|| (event.page_url(), ()))
    }
}

const WARM_UP: usize = 100;
const RECORDS: usize = 1_100;

/// Documents end to end, as a source has them in its slab, and where each stands.
fn documents() -> (Vec<u8>, Vec<Range<usize>>) {
    let mut slab = Vec::new();
    let document = |n: usize| {
        let kind = ["page_view", "click", "session_start", "session_end"][n % 4];
        // A twentieth of a second each: all in one minute.
        let us = n as i64 * SECOND / 20;
        let begin = slab.len();
        let json = event(us, &format!("user-{}", n % 31), &format!("/page/{}", n % 7), kind);
        slab.extend_from_slice(json.as_bytes());
        begin..slab.len()
    };
    let spans = (0..RECORDS).map(document).collect();
    // A scanner may read a little beyond the last one.
    slab.resize(slab.len() + 256, b' ');
    (slab, spans)
}

/// How often memory is asked for while all records but the first ones are decoded and counted.
fn asked_for<'d>(value_of: impl Fn(usize) -> Value<'d>) -> u64 {
    let minute = WindowSpec::tumbling(60 * SECOND).expect("a minute");
    let mut decoder = ActivityDecoder::new(Limits::default());
    let mut views = WindowFront::<ActivityDecoder, _>::new(minute, Views, 0, 1);
    let ledger = Ledger::new(1);
    let place = Place { partition: Partition::new("user_activity", 0), rank: 0, floor_us: i64::MIN };
    let mut take = |n: usize| {
        let record = Record {
            offset: n as i64,
            kafka_time: KafkaTime::None,
            key: None,
            value: Some(value_of(n)),
            headers: Headers::default(),
        };
        let event = decoder.decode(&record).expect("a good record");
        let at = Position {
            record: &record,
            time_us: event.event_time_us(),
            watermark_us: i64::MIN,
            place: &place,
        };
        views.observe(&at, &event, &mut Verdicts::new(&ledger));
    };
    (0..WARM_UP).for_each(&mut take);
    let before = ASKED.get();
    (WARM_UP..RECORDS).for_each(&mut take);
    let asked = ASKED.get() - before;
    let counts = ledger.counts().outputs[0];
    assert_eq!([counts.counted, counts.filtered], [275, 825], "every fourth event is a page view");
    asked
}

#[test]
fn decoding_and_counting_known_pages_allocates_nothing() {
    let before = ASKED.get();
    let (slab, spans) = documents();
    assert!(ASKED.get() - before > RECORDS as u64, "what is asked for is counted");
    // With bytes to be read behind each, as in a source's buffer, and with none.
    assert_eq!(asked_for(|n| Value::within(&slab[spans[n].start..], spans[n].len())), 0);
    assert_eq!(asked_for(|n| Value::exact(&slab[spans[n].clone()])), 0);
}
