//! Memory for all programs together. Each one has its own limit, but as many of them as there are workers may need more
//! than the machine has; then the kernel would kill whom it likes, the trainer included.
//!
//! The resident memory of all programs is watched. Over the budget nobody new is admitted and the largest is killed;
//! it runs again by itself, while nobody else does, and only that run counts. A program that runs alone is never
//! killed here: its own limit bounds it.
//!
//! Where a control group is delegated to this process, all of them are in one ([`crate::driver::cgroup`]), and the kernel keeps
//! the bound too.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use crate::driver::cgroup::Group;
use crate::sys;

/// Between two looks. A program that touches pages at 2 GiB/s grows by 100 MiB in it.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Share of the budget below which programs are admitted again.
const ADMIT_BELOW: f64 = 0.8;
/// Default budget: this share of the memory there is, and no more than `MOST_KIB`.
const SHARE: u64 = 4;
const MOST_KIB: u64 = 32 << 20;

/// One for all sandboxes of a process.
#[derive(Debug)]
pub struct Governor {
    budget_kib: u64,
    state: Mutex<State>,
    changed: Condvar,
    /// Or why there is none.
    group: Result<Group, String>,
}

#[derive(Debug, Default)]
struct State {
    seats: Vec<Taken>,
    next: u64,
    paused: bool,
    /// Somebody who was evicted waits to be alone, or is.
    num_alone: usize,
    num_evicted: u64,
}

#[derive(Debug)]
struct Taken {
    number: u64,
    process: Option<(i32, OwnedFd)>,
    evicted: bool,
}

/// The right to run one program; given back when dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    governor: Arc<Governor>,
    number: u64,
    alone: bool,
}

impl Governor {
    /// Starts watching. `None`: a quarter of this machine's (or container's) memory, at most 32 GiB.
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

    /// Waits for room. `alone`: until nobody else runs, and nobody else will before this seat is given back.
    pub(crate) fn admit(self: &Arc<Self>, alone: bool) -> Seat {
        let mut state = self.lock();
        state.num_alone += usize::from(alone);
        let must_wait = |state: &mut State| {
            if alone {
                !state.seats.is_empty()
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
        state.seats.push(Taken {
            number,
            process: None,
            evicted: false,
        });
        Seat {
            governor: Arc::clone(self),
            number,
            alone,
        }
    }

    /// One look: over the budget the largest goes.
    fn look(&self) {
        let mut state = self.lock();
        if state.seats.iter().any(|seat| seat.evicted) {
            return; // it is still dying
        }
        let mut total = 0;
        let mut largest: Option<(u64, usize)> = None;
        for (index, seat) in state.seats.iter().enumerate() {
            let Some((pid, _)) = &seat.process else {
                continue;
            };
            let resident = resident_kib(*pid).unwrap_or(0);
            total += resident;
            if largest.is_none_or(|(most, _)| resident > most) {
                largest = Some((resident, index));
            }
        }
        if total > self.budget_kib && state.seats.len() > 1 {
            state.paused = true;
            if let Some((_, index)) = largest {
                let seat = &mut state.seats[index];
                seat.evicted = true;
                if let Some((_, pidfd)) = &seat.process {
                    sys::kill(pidfd);
                }
                state.num_evicted += 1;
            }
        } else if state.paused && total as f64 <= ADMIT_BELOW * self.budget_kib as f64 {
            state.paused = false;
            self.changed.notify_all();
        }
    }
}

impl Seat {
    /// Who sits on it.
    pub(crate) fn occupy(&self, pid: i32, pidfd: &OwnedFd) -> io::Result<()> {
        let pidfd = pidfd.try_clone()?;
        let mut state = self.governor.lock();
        if let Some(seat) = state.seats.iter_mut().find(|s| s.number == self.number) {
            seat.process = Some((pid, pidfd));
        }
        Ok(())
    }

    /// Nobody else runs.
    pub(crate) fn is_alone(&self) -> bool {
        self.alone
    }

    /// The governor killed it.
    pub(crate) fn was_evicted(&self) -> bool {
        let state = self.governor.lock();
        state
            .seats
            .iter()
            .any(|s| s.number == self.number && s.evicted)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.governor.lock();
        state.seats.retain(|seat| seat.number != self.number);
        state.num_alone -= usize::from(self.alone);
        drop(state);
        self.governor.changed.notify_all();
    }
}

fn watch(governor: &Weak<Governor>) {
    while let Some(governor) = governor.upgrade() {
        governor.look();
        drop(governor);
        thread::sleep(LOOK_EVERY);
    }
}

/// What of a process lies in memory.
fn resident_kib(pid: i32) -> Option<u64> {
    match pages(&format!("/proc/{pid}/statm"))? {
        // Its first thread has ended: the others know.
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
    let there_is = limit
        .map_or(u64::MAX, |bytes| bytes >> 10)
        .min(total.unwrap_or(u64::MAX));
    (there_is / SHARE).min(MOST_KIB)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn whoever_wants_to_be_alone_is() {
        let governor = Governor::start(Some(1 << 20)).unwrap();
        let first = governor.admit(false);
        let running = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = [true, false, false, true]
            .into_iter()
            .map(|alone| {
                let (governor, running) = (Arc::clone(&governor), Arc::clone(&running));
                thread::spawn(move || {
                    let seat = governor.admit(alone);
                    let others = running.fetch_add(1, Ordering::SeqCst);
                    assert!(!alone || others == 0);
                    thread::sleep(Duration::from_millis(20));
                    running.fetch_sub(1, Ordering::SeqCst);
                    drop(seat);
                })
            })
            .collect();
        thread::sleep(Duration::from_millis(20));
        drop(first);
        for thread in threads {
            thread.join().unwrap();
        }
        assert!(governor.lock().seats.is_empty());
        assert_eq!(governor.lock().num_alone, 0);
    }

    #[test]
    fn the_budget_is_within_the_machine() {
        assert!((1..=MOST_KIB).contains(&default_budget_kib()));
        assert!(resident_kib(sys::pid()).unwrap() > 500);
    }
}
