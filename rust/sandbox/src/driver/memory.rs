//! One memory budget for all programs. Each program has its own limit, but one program per worker may together need
//! more than the machine has; then the kernel would kill any process, the trainer included.
//!
//! The governor watches the memory of all programs, as `footprint` counts it. Over the budget no new program starts and
//! the largest is killed; it runs again alone, and only that run counts. A program that runs alone is killed here only
//! if it holds more than its own limit, which the limit on its address space does not see: in page tables.
//!
//! A program that is to run alone waits until the others have ended. It keeps new ones from starting, for a few seconds
//! at a time: one that does not end must not keep everybody waiting.
//!
//! Where a control group is delegated to this process, all programs are in one (`cgroup`), and the kernel enforces the
//! bound too.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use crate::driver::cgroup::Group;
use crate::driver::footprint::held_kib;
use crate::sys;

/// Between two checks. A program that touches pages at 2 GiB/s grows by 100 MiB in it.
const CHECK_EVERY: Duration = Duration::from_millis(50);
/// Share of the budget below which programs may start again.
const RESUME_BELOW: f64 = 0.8;
/// A program that waits to be alone keeps others out for at most so long, lets them in for as long, and so on; the times
/// double up to the second figure. After the third it keeps them out until it is alone.
const KEEP_OUT: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(8));
const PATIENCE: Duration = Duration::from_secs(60);
/// Share of its own limit above which a program is ended.
const OVER_OWN_LIMIT: f64 = 1.1;
/// Default budget: one part in this many of the memory, at most `MOST_KIB`.
const SHARE: u64 = 4;
const MOST_KIB: u64 = 32 << 20;

/// Watches the memory of all programs: one for all sandboxes of a process.
#[derive(Debug)]
pub struct Governor {
    budget_kib: u64,
    state: Mutex<State>,
    changed: Condvar,
    /// Or why no group is used.
    group: Result<Group, String>,
}

#[derive(Debug, Default)]
struct State {
    leases: Vec<Lease>,
    next: u64,
    paused: bool,
    /// Evicted programs that run alone or wait for it.
    num_alone: usize,
    num_evicted: u64,
}

#[derive(Debug)]
struct Lease {
    number: u64,
    process: Option<Watched>,
    evicted: bool,
    held_too_much: bool,
    peak_kib: u64,
}

#[derive(Debug)]
struct Watched {
    pid: i32,
    pidfd: OwnedFd,
    most_kib: u64,
    mapped_before: u64,
}

/// The right to run one program; returned when dropped.
#[derive(Debug)]
pub(crate) struct MemoryLease {
    governor: Arc<Governor>,
    number: u64,
    alone: bool,
}

impl Governor {
    /// Starts the thread that watches. `None`: a quarter of this machine's (or container's) memory, at most 32 GiB.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(budget_mib: Option<u64>) -> io::Result<Arc<Self>> {
        let most = budget_mib.map_or_else(default_budget_kib, |mib| mib << 10);
        let governor = Arc::new(Self {
            budget_kib: most,
            group: Group::new(most >> 10),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let watched = Arc::downgrade(&governor);
        thread::Builder::new()
            .name("governor".to_owned())
            .spawn(move || watch(&watched))?;
        Ok(governor)
    }

    /// How many programs were killed to be run again alone.
    pub fn num_evicted(&self) -> u64 {
        self.lock().num_evicted
    }

    /// The control group of the zygotes and programs, where there is one.
    pub(crate) fn group(&self) -> Option<&Group> {
        self.group.as_ref().ok()
    }

    /// Ends all programs and zygotes and removes their control group. Nothing can be started after it.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn close(&self) -> io::Result<()> {
        self.group().map_or(Ok(()), Group::end)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a program may run. `alone`: until no other runs; no other starts before this lease is dropped.
    pub(crate) fn lease(self: &Arc<Self>, alone: bool) -> MemoryLease {
        let mut state = self.lock();
        if alone {
            state = self.wait_alone(state);
        } else {
            state = self
                .changed
                .wait_while(state, |state| state.paused || state.num_alone > 0)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let number = state.next;
        state.next += 1;
        state.leases.push(Lease {
            number,
            process: None,
            evicted: false,
            held_too_much: false,
            peak_kib: 0,
        });
        MemoryLease {
            governor: Arc::clone(self),
            number,
            alone,
        }
    }

    /// Counts as alone from the return on: nothing runs, and nothing starts.
    fn wait_alone<'s>(&'s self, mut state: MutexGuard<'s, State>) -> MutexGuard<'s, State> {
        let (started, mut keep_out) = (Instant::now(), KEEP_OUT.0);
        loop {
            state.num_alone += 1;
            let (limit, is_last) = if started.elapsed() < PATIENCE {
                (keep_out, false)
            } else {
                (Duration::MAX, true)
            };
            let waited = self
                .changed
                .wait_timeout_while(state, limit, |state| !state.leases.is_empty());
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            if state.leases.is_empty() || is_last {
                return state;
            }
            state.num_alone -= 1;
            self.changed.notify_all();
            let waited = self
                .changed
                .wait_timeout_while(state, keep_out, |state| !state.leases.is_empty());
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            keep_out = (2 * keep_out).min(KEEP_OUT.1);
        }
    }

    /// Compares the memory in use with the budget; over it, kills the largest program.
    fn check(&self) {
        let mut state = self.lock();
        if state.leases.iter().any(|lease| lease.evicted) {
            return; // a killed program is still ending
        }
        let mut total = 0;
        let mut largest: Option<(u64, usize)> = None;
        for (index, lease) in state.leases.iter_mut().enumerate() {
            let Some(process) = &lease.process else {
                continue;
            };
            let held = held_kib(process.pid, process.mapped_before).unwrap_or(0);
            lease.peak_kib = lease.peak_kib.max(held);
            if held as f64 > OVER_OWN_LIMIT * process.most_kib as f64 {
                lease.held_too_much = true;
                sys::kill(&process.pidfd);
            }
            total += held;
            if largest.is_none_or(|(most, _)| held > most) {
                largest = Some((held, index));
            }
        }
        if total > self.budget_kib && state.leases.len() > 1 {
            state.paused = true;
            if let Some((_, index)) = largest {
                let lease = &mut state.leases[index];
                lease.evicted = true;
                if let Some(process) = &lease.process {
                    sys::kill(&process.pidfd);
                }
                state.num_evicted += 1;
            }
        } else if state.paused && total as f64 <= RESUME_BELOW * self.budget_kib as f64 {
            state.paused = false;
            self.changed.notify_all();
        }
    }
}

impl MemoryLease {
    /// Names the process that runs under this lease, its own limit, and what it had mapped before its program began, KiB.
    pub(crate) fn attach(
        &self,
        pid: i32,
        pidfd: &OwnedFd,
        most_mib: u64,
        mapped_before: u64,
    ) -> io::Result<()> {
        let process = Watched {
            pid,
            pidfd: pidfd.try_clone()?,
            most_kib: most_mib << 10,
            mapped_before,
        };
        let mut state = self.governor.lock();
        if let Some(lease) = state.leases.iter_mut().find(|s| s.number == self.number) {
            lease.process = Some(process);
        }
        Ok(())
    }

    fn read<T: Default>(&self, field: impl FnOnce(&Lease) -> T) -> T {
        let state = self.governor.lock();
        let lease = state.leases.iter().find(|s| s.number == self.number);
        lease.map(field).unwrap_or_default()
    }

    /// The most that its process held, as far as the governor saw.
    pub(crate) fn peak_kib(&self) -> u64 {
        self.read(|lease| lease.peak_kib)
    }

    /// The governor killed it, because it held more than its own limit.
    pub(crate) fn held_too_much(&self) -> bool {
        self.read(|lease| lease.held_too_much)
    }

    /// No other program runs.
    pub(crate) fn is_alone(&self) -> bool {
        self.alone
    }

    /// The governor killed it.
    pub(crate) fn was_evicted(&self) -> bool {
        self.read(|lease| lease.evicted)
    }
}

impl Drop for MemoryLease {
    fn drop(&mut self) {
        let mut state = self.governor.lock();
        state.leases.retain(|lease| lease.number != self.number);
        state.num_alone -= usize::from(self.alone);
        drop(state);
        self.governor.changed.notify_all();
    }
}

fn watch(governor: &Weak<Governor>) {
    while let Some(governor) = governor.upgrade() {
        governor.check();
        drop(governor);
        thread::sleep(CHECK_EVERY);
    }
}

fn default_budget_kib() -> u64 {
    let limit = fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let limit = limit.and_then(|text| text.trim().parse::<u64>().ok());
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB"))
        .and_then(|kib| kib.trim().parse::<u64>().ok());
    let available = limit
        .map_or(u64::MAX, |bytes| bytes >> 10)
        .min(total.unwrap_or(u64::MAX));
    (available / SHARE).min(MOST_KIB)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn a_lease_alone_excludes_all_others() {
        let governor = Governor::start(Some(1 << 20)).unwrap();
        let first = governor.lease(false);
        let running = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = [true, false, false, true]
            .into_iter()
            .map(|alone| {
                let (governor, running) = (Arc::clone(&governor), Arc::clone(&running));
                thread::spawn(move || {
                    let lease = governor.lease(alone);
                    let others = running.fetch_add(1, Ordering::SeqCst);
                    assert!(!alone || others == 0);
                    thread::sleep(Duration::from_millis(20));
                    running.fetch_sub(1, Ordering::SeqCst);
                    drop(lease);
                })
            })
            .collect();
        thread::sleep(Duration::from_millis(20));
        drop(first);
        for thread in threads {
            thread.join().unwrap();
        }
        assert!(governor.lock().leases.is_empty());
        assert_eq!(governor.lock().num_alone, 0);
    }

    #[test]
    fn the_budget_is_within_the_machine() {
        assert!((1..=MOST_KIB).contains(&default_budget_kib()));
    }
}
