//! What remote places share: the thread that drives a client, and how much is under way at once.

use std::future::Future;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use tokio::runtime::Runtime;

/// So many requests are under way at once.
const AT_ONCE: usize = 16;

/// Files with more bytes than this go one after the other, so that memory holds one of them and not sixteen.
const LARGE: u64 = 16 << 20;

/// How long one request may take, with the client's own retries.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// A runtime with a thread of its own, so that connections are looked after between calls.
pub(super) fn runtime() -> std::io::Result<Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(1).thread_name("storage").enable_io().enable_time().build()
}

/// Does `work` for each item, many at once where none of them is large; results in the order of the items.
pub(super) async fn each<I, T, E, F>(
    items: impl IntoIterator<Item = (u64, I)>,
    work: impl Fn(I) -> F,
) -> Result<Vec<T>, E>
where
    F: Future<Output = Result<T, E>>,
{
    let items: Vec<_> = items.into_iter().collect();
    let largest = items.iter().map(|(bytes, _)| *bytes).max().unwrap_or(0);
    let at_once = if largest > LARGE { 1 } else { AT_ONCE };
    let work = items.into_iter().map(|(_, item)| work(item));
    futures_util::stream::iter(work).buffered(at_once).try_collect().await
}
