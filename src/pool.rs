//! Work on several threads whose results are in order.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, ScopedJoinHandle};

/// Calls `work` once for each item, on at most `jobs` threads, which take the items
/// in their order. The results are in that order, too.
pub(crate) fn map<T: Sync, R: Send>(items: &[T], jobs: usize, work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let take = || {
        let mut results = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else {
                return results;
            };
            results.push((index, work(item)));
        }
    };
    let join = |worker: ScopedJoinHandle<_>| match worker.join() {
        Ok(results) => results,
        Err(panic) => std::panic::resume_unwind(panic),
    };
    let mut results: Vec<(usize, R)> = thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs.min(items.len())).map(|_| scope.spawn(take)).collect();
        workers.into_iter().flat_map(join).collect()
    });
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn results_are_in_order_and_work_overlaps() {
        let items: Vec<u32> = (0..100).collect();
        // Nothing goes on before two are under way.
        let two = Barrier::new(2);
        let doubled = map(&items, 2, |item| {
            two.wait();
            item * 2
        });
        assert_eq!(doubled, (0..100).map(|item| item * 2).collect::<Vec<_>>());
        assert_eq!(map(&[0_u8; 0], 4, |item| *item), [0; 0]);
        assert_eq!(map(&[7_u8], 4, |item| *item), [7]);
    }
}
