//! An aggregate over the inputs that are there.

use serde::{Deserialize, Serialize};

use super::{Aggregate, Retract};

/// An aggregate whose input may be absent: a record without it counts for other parts of a tuple and not here.
///
/// # Examples
/// ```
/// use tidegate::aggregate::{Aggregate, Count, IfPresent};
///
/// let mut counts = <(Count, IfPresent<Count>)>::identity();
/// counts.add(((), Some(())));
/// counts.add(((), None));
/// assert_eq!(counts.output(), (2, 1));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IfPresent<A>(A);

impl<A: Aggregate> Aggregate for IfPresent<A> {
    type Input<'a> = Option<A::Input<'a>>;
    type Output = A::Output;

    fn is_identity(&self) -> bool {
        self.0.is_identity()
    }

    #[inline]
    fn add(&mut self, input: Self::Input<'_>) {
        if let Some(input) = input {
            self.0.add(input);
        }
    }

    fn merge(&mut self, other: &Self) {
        self.0.merge(&other.0);
    }

    fn output(&self) -> A::Output {
        self.0.output()
    }

    fn renumber_partitions(&mut self, now: &dyn Fn(u64) -> u64) {
        self.0.renumber_partitions(now);
    }
}

impl<A: Retract> Retract for IfPresent<A> {
    type Running = A::Running;

    fn enter(running: &mut A::Running, partial: &Self) {
        A::enter(running, &partial.0);
    }

    fn leave(running: &mut A::Running, partial: &Self) {
        A::leave(running, &partial.0);
    }

    fn is_empty(running: &A::Running) -> bool {
        A::is_empty(running)
    }

    fn read(running: &A::Running) -> A::Output {
        A::read(running)
    }
}
