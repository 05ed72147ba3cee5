//! The run lock: lets one program be measured while no other program of this supervisor runs.
//!
//! Every test takes a turn before its input is released. Turns are shared, except one taken alone: it waits until
//! the running tests have ended, and blocks new ones until it ends. Other programs change CPU time little (a sixth at
//! eight programs per core); alone, not at all.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

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

    /// A turn with no other. The caller must not hold one.
    pub(crate) fn alone(&self) -> Turn<'_> {
        let mut state = self.state();
        state.waiting += 1;
        while state.alone || state.running > 0 {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.waiting -= 1;
        state.alone = true;
        Turn {
            lock: self,
            alone: true,
        }
    }
}

impl Turn<'_> {
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
}
