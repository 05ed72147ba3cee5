//! One memory budget for all programs. Each program has its own limit, but one program per worker may together need
//! more than the machine has; then the kernel would kill any process, the trainer included.
//!
//! The governor watches the resident memory of all programs. Over the budget no new program starts and the largest is
//! killed; it runs again alone, and only that run counts. A program that runs alone is never killed here: its own limit
//! bounds it.
//!
//! Where a control group is delegated to this process, all programs are in one (`cgroup`), and the kernel enforces the
//! bound too.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use crate::driver::cgroup::Group;
use crate::sys;

/// Between two checks. A program that touches pages at 2 GiB/s grows by 100 MiB in it.
const CHECK_EVERY: Duration = Duration::from_millis(50);
/// Share of the budget below which programs may start again.
const RESUME_BELOW: f64 = 0.8;
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
    process: Option<(i32, OwnedFd)>,
    evicted: bool,
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
        state.num_alone += usize::from(alone);
        let must_wait = |state: &mut State| {
            if alone {
                !state.leases.is_empty()
            } else {
                state.paused || state.num_alone > 0
            }
        };
        state = self
            .changed
            .wait_while(state, must_wait)
            .unwrap_or_else(PoisonError::into_inner);
        let number = state.next;
        state.next += 1;
        state.leases.push(Lease {
            number,
            process: None,
            evicted: false,
        });
        MemoryLease {
            governor: Arc::clone(self),
            number,
            alone,
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
        for (index, lease) in state.leases.iter().enumerate() {
            let Some((pid, _)) = &lease.process else {
                continue;
            };
            let resident = resident_kib(*pid).unwrap_or(0);
            total += resident;
            if largest.is_none_or(|(most, _)| resident > most) {
                largest = Some((resident, index));
            }
        }
        if total > self.budget_kib && state.leases.len() > 1 {
            state.paused = true;
            if let Some((_, index)) = largest {
                let lease = &mut state.leases[index];
                lease.evicted = true;
                if let Some((_, pidfd)) = &lease.process {
                    sys::kill(pidfd);
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
    /// Names the process that runs under this lease.
    pub(crate) fn attach(&self, pid: i32, pidfd: &OwnedFd) -> io::Result<()> {
        let pidfd = pidfd.try_clone()?;
        let mut state = self.governor.lock();
        if let Some(lease) = state.leases.iter_mut().find(|s| s.number == self.number) {
            lease.process = Some((pid, pidfd));
        }
        Ok(())
    }

    /// No other program runs.
    pub(crate) fn is_alone(&self) -> bool {
        self.alone
    }

    /// The governor killed it.
    pub(crate) fn was_evicted(&self) -> bool {
        let state = self.governor.lock();
        state
            .leases
            .iter()
            .any(|s| s.number == self.number && s.evicted)
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

/// Resident memory of a process.
fn resident_kib(pid: i32) -> Option<u64> {
    match pages(&format!("/proc/{pid}/statm"))? {
        // Its first thread has ended: ask the others.
        0 => fs::read_dir(format!("/proc/{pid}/task"))
            .ok()?
            .flatten()
            .filter_map(|task| pages(task.path().join("statm").to_str()?))
            .max(),
        pages => Some(pages),
    }
    .map(|pages| pages * sys::page_kib())
}

/// Second field of a `statm`, proc_pid_statm(5).
fn pages(statm: &str) -> Option<u64> {
    let text = fs::read_to_string(statm).ok()?;
    text.split_ascii_whitespace().nth(1)?.parse().ok()
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
        assert!(resident_kib(sys::pid()).unwrap() > 500);
    }
}
