//! stub
use std::sync::Arc;
use serde::{Deserialize, Serialize};
#[derive(Debug, thiserror::Error)]
#[error("state")]
pub struct StateError;
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StateBlock;
impl StateBlock { pub fn is_delta(&self) -> bool { false } pub fn is_empty(&self) -> bool { true } }
#[derive(Debug, Default)]
pub struct Compactions;
impl Compactions { pub fn fold(&self, b: Vec<StateBlock>) -> Vec<StateBlock> { b } }
#[derive(Debug)]
pub struct Restored;
impl Restored { pub fn new(_: i64, _: Vec<u32>, _: Vec<StateBlock>) -> Self { Restored } }
#[derive(Clone)]
pub struct StateHub;
impl StateHub {
 pub fn none() -> Self { StateHub }
 pub fn new(_: Option<Arc<Restored>>, _: usize, _: usize, _: Arc<Compactions>) -> Self { StateHub }
 pub fn take(&self, _: u64) -> Vec<StateBlock> { vec![] }
}
