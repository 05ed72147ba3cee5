//! Three clocks of another process, read from outside: CPU time, time spent waiting for a core, and idle time. Only CPU
//! and idle time count against a program; waiting for a core is the machine's fault.
//!
//! Samples come at moments that a program cannot predict: one that could would be awake at each of them.

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use crate::limits::Limits;
use crate::sys;
use crate::types::outcome::Limit;

/// The clocks of one test, from the moment its input was released.
#[derive(Debug)]
pub(crate) struct Clocks {
    pid: i32,
    started: Instant,
    cpu_before: f64,
    /// `None` until the first wait is over: most tests end earlier, and a sample costs more than they do.
    last: Option<Sample>,
    idle_seconds: f64,
    chance: RandomState,
    num_samples: u64,
}

/// The clocks of a process at one moment.
#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Instant,
    cpu: f64,
    /// `None` without schedstat(5), as in gVisor.
    waited: Option<f64>,
    asleep: bool,
    threads: usize,
}

/// Shortest time between two samples.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);
/// Longest time before a test's first sample.
const FIRST_WAIT: Duration = Duration::from_millis(10);
/// A process that is slow but busy gets at most this many times the timeout.
const SLOW_FACTOR: u32 = 10;
/// Samples per idle limit.
const SAMPLES: f64 = 8.0;

impl Clocks {
    /// Starts them, given the CPU seconds that the process had used when its input was released.
    pub(crate) fn start(pid: i32, cpu_before: f64) -> Self {
        Self {
            pid,
            started: Instant::now(),
            cpu_before,
            last: None,
            idle_seconds: 0.0,
            chance: RandomState::new(),
            num_samples: 0,
        }
    }

    /// How long to wait before the first sample. Idle time before it is not counted.
    pub(crate) fn first_wait(limits: &Limits) -> Duration {
        let shortest = limits.cpu_seconds / f64::from(limits.threads);
        let wait = shortest
            .min(limits.idle_seconds / SAMPLES)
            .min(limits.wall_seconds);
        Duration::from_secs_f64(wait).min(FIRST_WAIT)
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

    /// The limit that is reached, or how long to wait until one can be.
    pub(crate) fn check(&mut self, limits: &Limits) -> sys::Sys<Result<Duration, Limit>> {
        let now = read_clocks(self.pid)?;
        let (cpu, wall) = ((now.cpu - self.cpu_before).max(0.0), self.wall());
        self.idle_seconds += self.last.map_or(0.0, |before| idle_between(&before, &now));
        self.last = Some(now);
        if cpu >= limits.cpu_seconds {
            return Ok(Err(Limit::Cpu));
        }
        if wall >= limits.wall_seconds {
            return Ok(Err(Limit::Wall));
        }
        // Without schedstat, waiting for a core looks the same as sleeping: use a generous limit.
        let blind = now.waited.is_none();
        let timeout = if blind {
            5.0 * limits.cpu_seconds + 10.0
        } else {
            limits.idle_seconds
        };
        if self.idle_seconds >= timeout {
            return Ok(Err(Limit::Idle));
        }
        // CPU time grows at most as fast as the number of threads.
        let until_cpu = (limits.cpu_seconds - cpu) / now.threads.max(1) as f64;
        let until_idle = (timeout - self.idle_seconds).min(timeout / SAMPLES);
        let wait = until_cpu.min(self.chance() * until_idle);
        let wait = wait.min(limits.wall_seconds - wall);
        Ok(Ok(Duration::from_secs_f64(wait.max(0.0)).max(SHORTEST_WAIT)))
    }

    /// Uniform between 0.25 and 1.
    fn chance(&mut self) -> f64 {
        self.num_samples += 1;
        let drawn = self.chance.hash_one(self.num_samples) >> 11;
        0.25 + 0.75 * (drawn as f64 / (1u64 << 53) as f64)
    }
}

/// Seconds between two samples in which a program neither computed nor waited for a core. Half of them count for each
/// sample that finds it asleep: a virtual machine's stolen time, or a page loaded by the host, is missing from both
/// clocks too, but then the process is runnable.
fn idle_between(before: &Sample, after: &Sample) -> f64 {
    let share = 0.5 * f64::from(u8::from(before.asleep) + u8::from(after.asleep));
    let wall = after.at.duration_since(before.at).as_secs_f64();
    let waited = after.waited.unwrap_or(0.0) - before.waited.unwrap_or(0.0);
    share * (wall - (after.cpu - before.cpu) - waited.max(0.0)).max(0.0)
}

/// Reads every clock. CPU time is exact; the rest comes from /proc and is missing for threads that have just ended.
fn read_clocks(pid: i32) -> sys::Sys<Sample> {
    let cpu = sys::cpu_seconds(pid)?;
    let (mut waited, mut asleep, mut threads) = (None, true, 0);
    if let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) {
        for task in tasks.flatten() {
            threads += 1;
            let delay = fs::read_to_string(task.path().join("schedstat")).ok();
            if let Some(nanoseconds) = delay.and_then(|text| parse_run_delay(&text)) {
                waited = Some(waited.unwrap_or(0.0) + nanoseconds as f64 * 1e-9);
            }
            let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            asleep &= is_asleep(&stat);
        }
    }
    Ok(Sample {
        at: Instant::now(),
        cpu,
        waited,
        asleep,
        threads,
    })
}

/// State `S` (sleeping), `T` or `t` (stopped) in proc_pid_stat(5). Not `D`: the disk causes that. `Z` and `X` (ended)
/// count as asleep: a process can outlive its first thread.
fn is_asleep(stat: &str) -> bool {
    let state = stat
        .rsplit_once(')')
        .and_then(|(_, rest)| rest.trim_start().chars().next());
    matches!(state, Some('S' | 'T' | 't' | 'Z' | 'X'))
}

/// Second field of `/proc/*/schedstat`: "time on cpu, time waiting, slices", nanoseconds.
fn parse_run_delay(text: &str) -> Option<u64> {
    text.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Seconds that a process with one thread has computed, or waited for a core of a busy machine, so far.
fn busy_seconds(pid: i32) -> f64 {
    let delay = fs::read_to_string(format!("/proc/{pid}/schedstat")).ok();
    let waited = delay.and_then(|text| parse_run_delay(&text)).unwrap_or(0);
    sys::cpu_seconds(pid).unwrap_or(0.0) + waited as f64 * 1e-9
}

/// Waits until the process at the other end of the socket has sent something; `false` after `timeout` without it. A
/// process that is busy for most of that time is slow, not stuck: it gets up to `SLOW_FACTOR` times as long.
pub(crate) fn wait_for_message(socket: RawFd, pid: i32, timeout: Duration) -> sys::Sys<bool> {
    let started = Instant::now();
    // The answer usually comes at once, and reading the clocks would cost more.
    if let [true] = sys::wait([socket], timeout / 10)? {
        return Ok(true);
    }
    let (mut since, mut busy) = (Instant::now(), busy_seconds(pid));
    loop {
        let left = timeout.saturating_sub(since.elapsed());
        let [readable] = sys::wait([socket], left)?;
        if readable {
            return Ok(true);
        }
        if since.elapsed() < timeout {
            continue; // interrupted by a signal
        }
        let now = busy_seconds(pid);
        let is_slow = now - busy > 0.5 * timeout.as_secs_f64();
        if !is_slow || started.elapsed() >= timeout * SLOW_FACTOR {
            return Ok(false);
        }
        (since, busy) = (Instant::now(), now);
    }
}

/// Live threads. `None` where /proc does not show them.
pub(crate) fn threads(pid: i32) -> Option<usize> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    Some(tasks.count())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn a_sleeping_process_times_out_and_a_busy_one_gets_more_time() {
        let heard = |script: &str| {
            let (ours, theirs) = sys::socket_pair().unwrap();
            let mut shell = std::process::Command::new("sh");
            let mut child = shell.args(["-c", script]).stdin(theirs).spawn().unwrap();
            drop(shell); // and with it our copy of their end
            let timeout = Duration::from_secs(1);
            let heard = wait_for_message(ours.as_raw_fd(), child.id() as i32, timeout).unwrap();
            child.kill().unwrap();
            child.wait().unwrap();
            heard
        };
        assert!(!heard("exec sleep 9"));
        assert!(
            heard("(sleep 2; kill -9 $$) & while :; do :; done"),
            "its end closes the socket"
        );
    }

    #[test]
    fn parses_schedstat() {
        assert_eq!(parse_run_delay("123 456 7\n"), Some(456));
        assert_eq!(parse_run_delay(""), None);
    }

    #[test]
    fn states() {
        assert!(is_asleep("12 (a) b) S 1 2 3"));
        assert!(is_asleep("12 (x) T 1") && is_asleep("12 (x) Z 1"));
        assert!(!is_asleep("12 (x) R 1") && !is_asleep("12 (S) D 1") && !is_asleep(""));
    }

    #[test]
    fn threads_that_cannot_be_counted_are_not_none() {
        assert!(threads(sys::pid()).is_some_and(|num| num >= 1));
        assert_eq!(threads(i32::MAX), None, "no such process");
    }

    #[test]
    fn only_sleep_is_idle() {
        let sample = |seconds, cpu, waited, asleep| Sample {
            at: started() + Duration::from_secs(seconds),
            cpu,
            waited: Some(waited),
            asleep,
            threads: 1,
        };
        let before = sample(0, 1.0, 2.0, true);
        let idle = |after: &Sample| idle_between(&before, after);
        assert!((idle(&sample(10, 4.0, 3.0, true)) - 6.0).abs() < 1e-9);
        assert!((idle(&sample(10, 4.0, 3.0, false)) - 3.0).abs() < 1e-9);
        assert!(idle(&sample(10, 4.0, 12.0, true)) < 1e-9, "never negative");
        let (awake, later) = (sample(0, 1.0, 2.0, false), sample(10, 4.0, 3.0, false));
        assert!(idle_between(&awake, &later) < 1e-9, "stolen time");
    }

    fn started() -> Instant {
        static AT: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        *AT.get_or_init(Instant::now)
    }

    #[test]
    fn sample_times_cannot_be_predicted() {
        let draws = || {
            let mut clocks = Clocks::start(sys::pid(), 0.0);
            (0..99).map(|_| clocks.chance()).collect::<Vec<_>>()
        };
        let (one, two) = (draws(), draws());
        assert!(one != two && one.iter().all(|chance| (0.25..1.0).contains(chance)));
    }

    #[test]
    fn own_cpu_clock_runs() {
        let mut clocks = Clocks::start(sys::pid(), sys::cpu_seconds(sys::pid()).unwrap());
        assert!(clocks.check(&Limits::default()).unwrap().is_ok());
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
