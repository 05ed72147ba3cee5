//! Three clocks of another process, read from outside: what it computed, how long it waited for a core, how long
//! it did neither. Only the first and the last count against a program; the middle one is the machine's.

use std::fs;
use std::time::{Duration, Instant};

use crate::limits::Limits;
use crate::plan::Limit;
use crate::sys;

/// The clocks of one test, from the moment its input was released.
#[derive(Debug)]
pub(crate) struct Clocks {
    pid: i32,
    started: Instant,
    cpu_before: f64,
    waiting_before: f64,
}

/// Never look more often than this.
const SHORTEST_NAP: Duration = Duration::from_millis(1);

impl Clocks {
    /// Starts them.
    pub(crate) fn start(pid: i32) -> sys::Sys<Self> {
        Ok(Self {
            pid,
            started: Instant::now(),
            cpu_before: sys::cpu_seconds(pid)?,
            waiting_before: run_delay(pid).unwrap_or(0.0),
        })
    }

    /// Wall seconds.
    pub(crate) fn wall(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// CPU seconds of all threads.
    pub(crate) fn cpu(&self) -> sys::Sys<f64> {
        Ok((sys::cpu_seconds(self.pid)? - self.cpu_before).max(0.0))
    }

    /// CPU seconds of this test, given the whole process's total from wait4.
    pub(crate) fn cpu_of_total(&self, total: f64) -> f64 {
        (total - self.cpu_before).max(0.0)
    }

    /// Which limit is reached, or how long one may sleep until one can be.
    pub(crate) fn check(&self, limits: &Limits) -> sys::Sys<Result<Duration, Limit>> {
        let (cpu, wall) = (self.cpu()?, self.wall());
        if cpu >= limits.cpu_seconds {
            return Ok(Err(Limit::Cpu));
        }
        if wall >= limits.wall_seconds {
            return Ok(Err(Limit::Wall));
        }
        let until_idle = match run_delay(self.pid) {
            Some(waiting) => {
                limits.idle_seconds - (wall - cpu - (waiting - self.waiting_before).max(0.0))
            }
            // No schedstat (gVisor): a machine's delay cannot be told from a program's.
            None => 5.0 * limits.cpu_seconds + 10.0 - wall,
        };
        if until_idle <= 0.0 {
            return Ok(Err(Limit::Idle));
        }
        // CPU time grows at most as fast as the threads that burn it.
        let until_cpu = (limits.cpu_seconds - cpu) / threads(self.pid).max(1) as f64;
        let nap = until_cpu.min(until_idle).min(limits.wall_seconds - wall);
        Ok(Ok(Duration::from_secs_f64(nap.max(0.0)).max(SHORTEST_NAP)))
    }
}

/// Seconds that all threads of a process have been runnable without running. `None` without schedstat(5).
fn run_delay(pid: i32) -> Option<f64> {
    let mut nanoseconds = 0u64;
    let mut seen = false;
    for task in fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
        // A thread may end between the listing and the reading.
        let Ok(text) = fs::read_to_string(task.path().join("schedstat")) else {
            continue;
        };
        nanoseconds += parse_run_delay(&text)?;
        seen = true;
    }
    seen.then_some(nanoseconds as f64 * 1e-9)
}

/// Second field of `/proc/*/schedstat`: "time on cpu, time waiting, slices", nanoseconds.
fn parse_run_delay(text: &str) -> Option<u64> {
    text.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Live threads.
pub(crate) fn threads(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_schedstat() {
        assert_eq!(parse_run_delay("123 456 7\n"), Some(456));
        assert_eq!(parse_run_delay(""), None);
    }

    #[test]
    fn own_clocks_tell_computing_from_sleeping() {
        let clocks = Clocks::start(sys::pid()).unwrap();
        let limits = Limits {
            idle_seconds: 0.2,
            ..Limits::default()
        };
        assert!(clocks.check(&limits).unwrap().is_ok());
        assert!(threads(sys::pid()) >= 1);
        let (mut x, before) = (0u64, clocks.cpu().unwrap());
        while clocks.cpu().unwrap() < before + 0.02 {
            x = std::hint::black_box(x + 1);
        }
        let tight = Limits {
            cpu_seconds: 0.02,
            ..Limits::default()
        };
        assert_eq!(clocks.check(&tight).unwrap(), Err(Limit::Cpu));
    }
}
