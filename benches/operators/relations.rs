//! Operators that keep a relation: totals, the latest entry of each key, a left join.

use std::cell::RefCell;
use std::hint::black_box;
use std::rc::Rc;

use criterion::{Criterion, Throughput};
use differential_dataflow::input::InputSession;
use hashbrown::HashMap;
use tidegate::operators::latest::LatestByKey;
use tidegate::operators::left_join::LeftJoin;
use tidegate::operators::net_changes::NetChanges;
use tidegate::operators::totals::TotalByKey;
use tidegate::state::StateHub;
use timely::dataflow::ProbeHandle;
use timely::dataflow::operators::vec::Map;
use timely::worker::Worker;

use crate::data::{DATA, Each, USERS};
use crate::{add, compare, differential, operator, plain, thread};

fn latest(c: &mut Criterion) {
    let of = |(_, (time_us, offset)): (u32, (i64, i64))| (1, (time_us as u64).wrapping_mul(offset as u64));
    compare(
        &mut c.benchmark_group("latest by user"),
        || {
            operator(
                || Each::of(|event| (event.user, (event.time_us, event.offset))),
                move |entries| {
                    let latest = entries.latest_by_key("Latest", &StateHub::none()).net_changes();
                    latest.map(move |(entry, _)| of(entry))
                },
            )
        },
        DATA.events.iter().map(|event| (event.user, (event.time_us, event.offset))).collect(),
        move |records| {
            let rows = differential::relation(records, differential::latest);
            rows.into_iter().map(of).fold((0, 0), add)
        },
        plain::latest,
    );
}

fn totals(c: &mut Criterion) {
    let of = |page: u32, total: u64| (1, (u64::from(page) + 1).wrapping_mul(total));
    compare(
        &mut c.benchmark_group("totals by page"),
        || {
            operator(
                || Each::of(|event| (event.page, event.value as u64)),
                move |counts| {
                    let totals = counts.total_by_key("Totals", &StateHub::none()).net_changes();
                    totals.map(move |((page, total), _)| of(page, total as u64))
                },
            )
        },
        DATA.events.iter().map(|event| (event.page, (event.offset, event.value))).collect(),
        move |records| {
            let rows = differential::relation(records, |values| {
                values.reduce(|_page, values, output| {
                    output.push((values.iter().map(|((_, value), _)| value).sum::<i64>(), 1));
                })
            });
            rows.into_iter().map(|(page, total)| of(page, total as u64)).fold((0, 0), add)
        },
        move || {
            let mut totals = HashMap::<u32, u64>::new();
            for event in &DATA.events {
                *totals.entry(event.page).or_default() += event.value as u64;
            }
            totals.into_iter().map(|(page, total)| of(page, total)).fold((0, 0), add)
        },
    );
}

/// How often each (user, what is known of him, his label) is there.
type Rows = HashMap<(u32, (i64, Option<u8>)), isize>;

/// What is known of a user, and his label; every second one has none.
fn known(user: u32) -> (i64, Option<u8>) {
    (i64::from(user) * 7, user.is_multiple_of(2).then_some(0))
}

/// A left join that has been given everything, and now gets corrections.
struct Joined {
    worker: Worker,
    labels: InputSession<u64, (u32, u8), isize>,
    done: ProbeHandle<u64>,
    rows: Rc<RefCell<Rows>>,
    corrected: u64,
}

impl Joined {
    fn new() -> Self {
        let mut worker = thread();
        let (mut users, mut labels) = (InputSession::new(), InputSession::new());
        let (rows, done) = (Rc::<RefCell<Rows>>::default(), ProbeHandle::new());
        let into = Rc::clone(&rows);
        worker.dataflow::<u64, _, _>(|scope| {
            let joined = users.to_collection(scope).left_join(labels.to_collection(scope));
            let given = joined.inspect(move |(row, _, diff)| {
                let mut rows = into.borrow_mut();
                let times = rows.entry(*row).or_default();
                *times += diff;
                if *times == 0 {
                    rows.remove(row);
                }
            });
            given.probe_with(&done);
        });
        for user in 0..USERS as u32 {
            let (value, label) = known(user);
            users.insert((user, value));
            label.into_iter().for_each(|label| labels.insert((user, label)));
        }
        // Nothing more comes on the left.
        users.close();
        let mut joined = Joined { worker, labels, done, rows, corrected: 0 };
        joined.goes_on();
        joined
    }

    fn goes_on(&mut self) {
        let now = self.labels.time() + 1;
        self.labels.advance_to(now);
        self.labels.flush();
        while self.done.less_than(&now) {
            self.worker.step();
        }
    }

    /// Gives the next user that has a label another one.
    fn correct(&mut self) {
        let (user, old) = correction(self.corrected);
        self.labels.remove((user, old));
        self.labels.insert((user, old + 1));
        self.corrected += 1;
        self.goes_on();
    }
}

/// Whose label is corrected, and what it was before.
fn correction(number: u64) -> (u32, u8) {
    let labelled = USERS as u64 / 2;
    ((number % labelled * 2) as u32, (number / labelled) as u8)
}

/// The join of all, once more.
fn anew(corrected: u64) -> Rows {
    let mut labels: HashMap<u32, u8> =
        (0..USERS as u32).filter_map(|user| Some((user, known(user).1?))).collect();
    for number in 0..corrected {
        let (user, old) = correction(number);
        labels.insert(user, old + 1);
    }
    (0..USERS as u32).map(|user| ((user, (known(user).0, labels.get(&user).copied())), 1)).collect()
}

/// Unlike the others, one change at a time: that is what it is for. The rival makes the whole join again.
fn left_join(c: &mut Criterion) {
    let mut group = c.benchmark_group("left join of 10,000 rows, one label corrected");
    group.throughput(Throughput::Elements(1));
    let mut joined = Joined::new();
    (0..100).for_each(|_| joined.correct());
    assert_eq!(*joined.rows.borrow(), anew(100), "the loop gives another answer");
    // A label has so many values.
    let most = USERS as u64 / 2 * u64::from(u8::MAX);
    group.bench_function("operator", |b| {
        b.iter(|| {
            if joined.corrected == most {
                joined = Joined::new();
            }
            joined.correct();
        });
    });
    group.sample_size(10);
    group.bench_function("loop", |b| b.iter(|| black_box(anew(1)).len()));
}

/// All of them.
pub(crate) fn relations(c: &mut Criterion) {
    latest(c);
    totals(c);
    left_join(c);
}
