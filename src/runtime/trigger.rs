//! Triggers: when results of open windows are wanted before their windows close.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use timely::scheduling::Activator;

/// A worker's trigger. In a replay it never fires; live it fires by the clock.
#[derive(Clone, Default)]
pub struct Trigger {
    fired: Rc<Cell<u64>>,
    listeners: Rc<RefCell<Vec<Activator>>>,
}

impl Trigger {
    /// Fires: the operators that listen are scheduled, and send what has changed.
    pub fn fire(&self) {
        self.fired.set(self.fired.get() + 1);
        self.listeners.borrow().iter().for_each(Activator::activate);
    }

    /// Schedules `activator` whenever the trigger fires.
    pub(crate) fn wake(&self, activator: Activator) {
        self.listeners.borrow_mut().push(activator);
    }

    /// Whether it has fired since `seen` was last brought up to date, which this does.
    pub(crate) fn fired_since(&self, seen: &mut u64) -> bool {
        std::mem::replace(seen, self.fired.get()) != self.fired.get()
    }
}
