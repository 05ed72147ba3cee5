//! Quiet: one program measured while no other program of this supervisor runs.
//!
//! Every test takes a turn before its input is released. Turns are shared, except one asked for alone: it waits until
//! the tests now running have ended, and keeps new ones out until it is over. CPU time hardly depends on the
//! neighbours (a sixth at eight programs per core); alone it depends on them not at all.

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
    /// Want to be alone; new shared turns wait for them, or a steady stream would keep them out for ever.
    waiting: usize,
}

/// The right to run a test; given back when dropped.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    turnstile: &'a RunLock,
    alone: bool,
}

impl RunLock {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Beside others.
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
            turnstile: self,
            alone: false,
        }
    }

    /// With nobody else. The caller must hold no turn.
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
            turnstile: self,
            alone: true,
        }
    }
}

impl Turn<'_> {
    /// Whether another should go first.
    pub(crate) fn is_wanted(&self) -> bool {
        self.alone || self.turnstile.state().waiting > 0
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.turnstile.state();
        if self.alone {
            state.alone = false;
        } else {
            state.running -= 1;
        }
        drop(state);
        self.turnstile.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::RunLock;

    #[test]
    fn nobody_runs_beside_the_one_who_is_alone() {
        let turnstile = RunLock::default();
        let running = AtomicUsize::new(0);
        thread::scope(|scope| {
            for worker in 0..4 {
                let (turnstile, running) = (&turnstile, &running);
                scope.spawn(move || {
                    for round in 0..300 {
                        if (worker + round) % 7 == 0 {
                            let _turn = turnstile.alone();
                            assert_eq!(running.load(Ordering::SeqCst), 0);
                            thread::yield_now();
                            assert_eq!(running.load(Ordering::SeqCst), 0);
                        } else {
                            let _turn = turnstile.shared();
                            running.fetch_add(1, Ordering::SeqCst);
                            thread::yield_now();
                            running.fetch_sub(1, Ordering::SeqCst);
                        }
                    }
                });
            }
        });
        let (first, second) = (turnstile.shared(), turnstile.shared());
        assert!(!first.is_wanted() && !second.is_wanted());
    }
}
