//! Brings one value from every worker to worker 0.

use std::cell::RefCell;
use std::rc::Rc;

use timely::ExchangeData;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::{Input, Probe};
use timely::worker::Worker;

/// Sends `value` to worker 0, across processes too; every worker of the run must call it.
///
/// Returns all values on worker 0, in no particular order, and an empty vector elsewhere.
pub fn gather<V: ExchangeData + Clone>(worker: &mut Worker, value: V) -> Vec<V> {
    let gathered = Rc::new(RefCell::new(Vec::new()));
    let into = Rc::clone(&gathered);
    let (mut input, probe) = worker.dataflow::<u64, _, _>(|scope| {
        let (input, stream) = scope.new_input::<Vec<V>>();
        let done = stream.unary::<timely::container::CapacityContainerBuilder<Vec<()>>, _, _, _>(
            Exchange::new(|_: &V| 0),
            "Gather",
            move |_capability, _info| {
                move |input, _output| {
                    input.for_each(|_time, values| into.borrow_mut().append(values));
                }
            },
        );
        (input, done.probe().0)
    });
    input.send(value);
    input.close();
    while !probe.done() {
        worker.step_or_park(Some(std::time::Duration::from_millis(10)));
    }
    gathered.take()
}
