//! The run lock: lets one program be measured while no other program of this supervisor runs.
//!
//! Every test takes a turn before its input is released. Turns are shared, except one taken alone: it waits until
//! the running tests have ended, and blocks new ones until it ends. Other programs change CPU time little (a sixth at
//! eight programs per core); alone, not at all.
//!
//! A test that does not end must not keep everybody waiting: whoever waits to be alone blocks new turns for a few
//! seconds at a time, and after two minutes takes a turn beside the others.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// New turns are blocked for the first time at first, then let through for as long; the times double up to the second.
const BLOCK: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(16));
/// How long to wait to be alone.
const PATIENCE: Duration = Duration::from_secs(120);

/// One per supervisor.
#[derive(Debug, Default)]
pub(crate) struct RunLock {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    running: usize,
    alone: bool,
    /// Wait to run alone. New shared turns wait for them: a steady stream of those would block them for ever.
    waiting: usize,
}

/// The right to run a test, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    lock: &'a RunLock,
    alone: bool,
}

impl RunLock {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A turn beside others.
    pub(crate) fn shared(&self) -> Turn<'_> {
        let mut state = self.state();
        while state.alone || state.waiting > 0 {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.running += 1;
        Turn {
            lock: self,
            alone: false,
        }
    }

    /// A turn with no other, or after two minutes one beside others. The caller must not hold one.
    pub(crate) fn alone(&self) -> Turn<'_> {
        self.alone_within(PATIENCE, BLOCK)
    }

    fn alone_within(&self, patience: Duration, (first, longest): (Duration, Duration)) -> Turn<'_> {
        let (started, mut block) = (Instant::now(), first);
        let is_taken = |state: &mut State| state.alone || state.running > 0;
        let mut state = self.state();
        while started.elapsed() < patience {
            state.waiting += 1;
            let waited = self.changed.wait_timeout_while(state, block, is_taken);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.waiting -= 1;
            if !is_taken(&mut state) {
                state.alone = true;
                return Turn {
                    lock: self,
                    alone: true,
                };
            }
            self.changed.notify_all();
            let waited = self.changed.wait_timeout_while(state, block, is_taken);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            block = (2 * block).min(longest);
        }
        drop(state);
        self.shared()
    }
}

impl Turn<'_> {
    /// Whether nothing runs beside it.
    pub(crate) fn is_alone(&self) -> bool {
        self.alone
    }

    /// Whether to end this turn soon, for a worker that waits to run alone.
    pub(crate) fn is_wanted(&self) -> bool {
        self.alone || self.lock.state().waiting > 0
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.lock.state();
        if self.alone {
            state.alone = false;
        } else {
            state.running -= 1;
        }
        drop(state);
        self.lock.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;
    use std::time::Duration;

    use super::RunLock;

    #[test]
    fn nothing_runs_beside_a_turn_taken_alone() {
        let lock = RunLock::default();
        let running = AtomicUsize::new(0);
        thread::scope(|scope| {
            for worker in 0..4 {
                let (lock, running) = (&lock, &running);
                scope.spawn(move || {
                    for round in 0..300 {
                        if (worker + round) % 7 == 0 {
                            let _turn = lock.alone();
                            assert_eq!(running.load(Ordering::SeqCst), 0);
                            thread::yield_now();
                            assert_eq!(running.load(Ordering::SeqCst), 0);
                        } else {
                            let _turn = lock.shared();
                            running.fetch_add(1, Ordering::SeqCst);
                            thread::yield_now();
                            running.fetch_sub(1, Ordering::SeqCst);
                        }
                    }
                });
            }
        });
        let (first, second) = (lock.shared(), lock.shared());
        assert!(!first.is_wanted() && !second.is_wanted());
    }

    #[test]
    fn a_test_that_does_not_end_keeps_nobody_waiting() {
        let (lock, moment) = (RunLock::default(), Duration::from_millis(40));
        let endless = lock.shared();
        thread::scope(|scope| {
            let lock = &lock;
            let waiter =
                scope.spawn(|| lock.alone_within(12 * moment, (moment, moment)).is_alone());
            let mut num_turns = 0;
            while !waiter.is_finished() {
                drop(lock.shared());
                num_turns += 1;
                thread::sleep(moment / 20);
            }
            assert!(num_turns > 10, "{num_turns} turns beside the waiter");
            assert!(!waiter.join().unwrap(), "it was never alone");
        });
        drop(endless);
        assert!(lock.alone().is_alone());
        assert!(!lock.shared().is_alone());
    }
}
