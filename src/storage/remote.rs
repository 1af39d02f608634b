//! What remote places share: the thread that drives a client, and how much is under way at once.

use std::future::Future;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use thiserror::Error;
use tokio::runtime::Runtime;

/// So many requests are under way at once.
const AT_ONCE: usize = 16;

/// Files with more bytes than this go one after the other, so that memory holds one of them and not sixteen.
const LARGE: u64 = 16 << 20;

/// How long one request may take, with the client's own retries, apart from the bytes that it moves.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// So many bytes a second is the slowest that is waited for.
const SLOWEST: u64 = 1_000_000;

/// No answer came in the time that a request may take.
#[derive(Debug, Error)]
#[error("no answer within {} s", .0.as_secs())]
pub(super) struct Slow(Duration);

/// How long a request may take that moves `bytes`.
fn patience(bytes: u64) -> Duration {
    PATIENCE + Duration::from_secs(bytes / SLOWEST)
}

/// Waits for a request that moves `bytes`, but not for ever: a server that was stopped does not hang up.
pub(super) async fn patiently<T, E: From<Slow>>(
    bytes: u64,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let patience = patience(bytes);
    tokio::time::timeout(patience, work).await.map_err(|_| Slow(patience))?
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_files_have_the_time_that_they_need() {
        assert_eq!(patience(0), PATIENCE);
        assert_eq!(patience(128_000_000), PATIENCE + Duration::from_secs(128));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let done: Result<u8, Slow> = runtime.block_on(patiently(0, async { Ok(1) }));
        assert_eq!(done.unwrap(), 1);
        assert_eq!(Slow(patience(9_000_000)).to_string(), "no answer within 69 s");
    }
}
