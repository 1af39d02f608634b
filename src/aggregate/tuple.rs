//! Several aggregates at once: a tuple of aggregates is an aggregate over the tuple of their inputs.
//!
//! One mapping from a record makes all the inputs, `|r| ((), r.temperature, r.temperature)` for
//! `(Count, Avg, Max<Finite>)`; each part takes what it needs.

use super::{Aggregate, Retract};

macro_rules! tuple {
    ($($part:ident $i:tt),+) => {
        impl<$($part: Aggregate),+> Aggregate for ($($part,)+) {
            type Input<'a> = ($($part::Input<'a>,)+);
            type Output = ($($part::Output,)+);

            #[inline]
            fn is_identity(&self) -> bool {
                $(self.$i.is_identity())&&+
            }

            #[inline]
            fn add(&mut self, input: Self::Input<'_>) {
                $(self.$i.add(input.$i);)+
            }

            #[inline]
            fn merge(&mut self, other: &Self) {
                $(self.$i.merge(&other.$i);)+
            }

            fn output(&self) -> Self::Output {
                ($(self.$i.output(),)+)
            }

            fn renumber_partitions(&mut self, now: &dyn Fn(u64) -> u64) {
                $(self.$i.renumber_partitions(now);)+
            }
        }

        impl<$($part: Retract),+> Retract for ($($part,)+) {
            type Running = ($($part::Running,)+);

            fn enter(running: &mut Self::Running, partial: &Self) {
                $($part::enter(&mut running.$i, &partial.$i);)+
            }

            fn leave(running: &mut Self::Running, partial: &Self) {
                $($part::leave(&mut running.$i, &partial.$i);)+
            }

            fn is_empty(running: &Self::Running) -> bool {
                $($part::is_empty(&running.$i))&&+
            }

            fn read(running: &Self::Running) -> Self::Output {
                ($($part::read(&running.$i),)+)
            }
        }
    };
}

tuple!(A 0, B 1);
tuple!(A 0, B 1, C 2);
tuple!(A 0, B 1, C 2, D 3);
tuple!(A 0, B 1, C 2, D 3, E 4);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5, G 6);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);
