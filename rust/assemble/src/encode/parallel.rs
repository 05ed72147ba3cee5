//! Work spread over the cores.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::encode::encoder::{Encoder, Session};
use crate::error::Error;

/// Maps `work` over `items` on as many threads as there are cores, keeping their order.
///
/// Threads live for this call only: a pool kept in the process would not survive the forks around a trainer.
pub(crate) fn on_every_core<T: Sync, R: Send>(
    encoder: &Encoder,
    items: &[T],
    work: impl Fn(&mut Session<'_>, &T) -> Result<R, Error> + Sync,
) -> Result<Vec<R>, Error> {
    let next = AtomicUsize::new(0);
    let take_turns = || {
        let mut session = encoder.session();
        let mut mine = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(at) else { break };
            mine.push((at, work(&mut session, item)));
        }
        (mine, session.found())
    };
    let cores = thread::available_parallelism()
        .map_or(1, usize::from)
        .min(items.len());
    let done: Vec<_> = if cores <= 1 {
        vec![take_turns()]
    } else {
        thread::scope(|scope| {
            let workers: Vec<_> = (0..cores).map(|_| scope.spawn(take_turns)).collect();
            workers
                .into_iter()
                .map(|worker| worker.join().expect("an assembling thread panicked"))
                .collect()
        })
    };
    let mut results = Vec::with_capacity(items.len());
    for (mine, found) in done {
        results.extend(mine);
        encoder.learn(found);
    }
    results.sort_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}
