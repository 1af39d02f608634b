//! placeholder until merged
use serde::{Serialize, Deserialize};
/// A commutative monoid over inputs; what a pane keeps per key.
pub trait Aggregate: Clone + Default + 'static {
    /// in
    type Input<'a>;
    /// out
    type Output;
    /// id
    fn is_identity(&self) -> bool;
    /// add
    fn add(&mut self, input: Self::Input<'_>);
    /// merge
    fn merge(&mut self, other: &Self);
    /// out
    fn output(&self) -> Self::Output;
}
/// sliding
pub trait Retract: Aggregate {
    /// r
    type Running: Default + 'static;
    /// e
    fn enter(running: &mut Self::Running, partial: &Self);
    /// l
    fn leave(running: &mut Self::Running, partial: &Self);
    /// e
    fn is_empty(running: &Self::Running) -> bool;
    /// r
    fn read(running: &Self::Running) -> Self::Output;
}
/// count
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Count(pub u64);
impl Aggregate for Count {
    type Input<'a> = ();
    type Output = u64;
    #[inline] fn is_identity(&self) -> bool { self.0 == 0 }
    #[inline] fn add(&mut self, _: ()) { self.0 += 1 }
    #[inline] fn merge(&mut self, o: &Self) { self.0 += o.0 }
    #[inline] fn output(&self) -> u64 { self.0 }
}
impl Retract for Count {
    type Running = u64;
    #[inline] fn enter(r: &mut u64, p: &Self) { *r += p.0 }
    #[inline] fn leave(r: &mut u64, p: &Self) { *r -= p.0 }
    #[inline] fn is_empty(r: &u64) -> bool { *r == 0 }
    #[inline] fn read(r: &u64) -> u64 { *r }
}
