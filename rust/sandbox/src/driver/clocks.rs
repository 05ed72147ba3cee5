//! Three clocks of another process, read from outside: what it computed, how long it waited for a core, how long
//! it did neither. Only the first and the last count against a program; the middle one is the machine's.
//!
//! A look comes at a moment that the program cannot foresee: one that knew could be awake just then.

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
    /// None until the first nap is over: most tests end before, and a look costs more than they do.
    last: Option<Look>,
    idle_seconds: f64,
    chance: RandomState,
    num_looks: u64,
}

/// One look at a process.
#[derive(Debug, Clone, Copy)]
struct Look {
    at: Instant,
    cpu: f64,
    /// `None` without schedstat(5), as in gVisor.
    waited: Option<f64>,
    asleep: bool,
    threads: usize,
}

/// Never look more often than this.
const SHORTEST_NAP: Duration = Duration::from_millis(1);
/// Longest time before the first look at a test.
const FIRST_NAP: Duration = Duration::from_millis(10);
/// As many times its patience at most is waited for a process that is only slow.
const LONGEST_SILENCE: u32 = 10;
/// Looks per idle limit.
const LOOKS: f64 = 8.0;

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
            num_looks: 0,
        }
    }

    /// How long to sleep before the first look. Idle time before it is not counted.
    pub(crate) fn first_nap(limits: &Limits) -> Duration {
        let shortest = limits.cpu_seconds / f64::from(limits.threads);
        let nap = shortest
            .min(limits.idle_seconds / LOOKS)
            .min(limits.wall_seconds);
        Duration::from_secs_f64(nap).min(FIRST_NAP)
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
    pub(crate) fn check(&mut self, limits: &Limits) -> sys::Sys<Result<Duration, Limit>> {
        let now = look(self.pid)?;
        let (cpu, wall) = ((now.cpu - self.cpu_before).max(0.0), self.wall());
        self.idle_seconds += self.last.map_or(0.0, |before| idle_between(&before, &now));
        self.last = Some(now);
        if cpu >= limits.cpu_seconds {
            return Ok(Err(Limit::Cpu));
        }
        if wall >= limits.wall_seconds {
            return Ok(Err(Limit::Wall));
        }
        // Without schedstat a machine's delay cannot be told from a program's: be generous.
        let blind = now.waited.is_none();
        let patience = if blind {
            5.0 * limits.cpu_seconds + 10.0
        } else {
            limits.idle_seconds
        };
        if self.idle_seconds >= patience {
            return Ok(Err(Limit::Idle));
        }
        // CPU time grows at most as fast as the threads that burn it.
        let until_cpu = (limits.cpu_seconds - cpu) / now.threads.max(1) as f64;
        let until_idle = (patience - self.idle_seconds).min(patience / LOOKS);
        let nap = until_cpu.min(self.chance() * until_idle);
        let nap = nap.min(limits.wall_seconds - wall);
        Ok(Ok(Duration::from_secs_f64(nap.max(0.0)).max(SHORTEST_NAP)))
    }

    /// Between a quarter and one, evenly.
    fn chance(&mut self) -> f64 {
        self.num_looks += 1;
        let drawn = self.chance.hash_one(self.num_looks) >> 11;
        0.25 + 0.75 * (drawn as f64 / (1u64 << 53) as f64)
    }
}

/// Seconds between two looks in which a program neither computed nor waited for a core. Half of them count for each
/// look that finds it asleep: a virtual machine's stolen time, or a page brought in by the host, is missing from both
/// clocks too, but such a process is runnable.
fn idle_between(before: &Look, after: &Look) -> f64 {
    let share = 0.5 * f64::from(u8::from(before.asleep) + u8::from(after.asleep));
    let wall = after.at.duration_since(before.at).as_secs_f64();
    let waited = after.waited.unwrap_or(0.0) - before.waited.unwrap_or(0.0);
    share * (wall - (after.cpu - before.cpu) - waited.max(0.0)).max(0.0)
}

/// Reads every clock at once. CPU time is exact; the rest comes from /proc and is missing for threads just ended.
fn look(pid: i32) -> sys::Sys<Look> {
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
    Ok(Look {
        at: Instant::now(),
        cpu,
        waited,
        asleep,
        threads,
    })
}

/// State `S` (sleeping), `T` or `t` (stopped) in proc_pid_stat(5). Not `D`: that is a disk's doing. `Z` and `X` (ended)
/// count as asleep: a process lives on without its first thread.
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

/// Waits until the socket has something from the process at its other end, or that one has been silent for `patience`.
/// While it is busy for most of that time it is slow, not silent: up to `LONGEST_SILENCE` times as long.
pub(crate) fn await_word(socket: RawFd, pid: i32, patience: Duration) -> sys::Sys<bool> {
    let started = Instant::now();
    // The usual answer comes at once, and a look at its clocks would cost more.
    if let [true] = sys::wait([socket], patience / 10)? {
        return Ok(true);
    }
    let (mut since, mut busy) = (Instant::now(), busy_seconds(pid));
    loop {
        let left = patience.saturating_sub(since.elapsed());
        let [readable] = sys::wait([socket], left)?;
        if readable {
            return Ok(true);
        }
        if since.elapsed() < patience {
            continue; // a signal came
        }
        let now = busy_seconds(pid);
        let is_slow = now - busy > 0.5 * patience.as_secs_f64();
        if !is_slow || started.elapsed() >= patience * LONGEST_SILENCE {
            return Ok(false);
        }
        (since, busy) = (Instant::now(), now);
    }
}

/// Live threads. `None` where /proc does not show them: nobody can say how many there are.
pub(crate) fn threads(pid: i32) -> Option<usize> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    Some(tasks.count())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn whoever_sleeps_is_silent_and_whoever_computes_is_slow() {
        let heard = |script: &str| {
            let (ours, theirs) = sys::socket_pair().unwrap();
            let mut shell = std::process::Command::new("sh");
            let mut child = shell.args(["-c", script]).stdin(theirs).spawn().unwrap();
            drop(shell); // and with it our copy of their end
            let patience = Duration::from_secs(1);
            let heard = await_word(ours.as_raw_fd(), child.id() as i32, patience).unwrap();
            child.kill().unwrap();
            child.wait().unwrap();
            heard
        };
        assert!(!heard("exec sleep 9"));
        assert!(
            heard("i=0; while [ $i -lt 1500000 ]; do i=$((i+1)); done"),
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
        let look = |seconds, cpu, waited, asleep| Look {
            at: started() + Duration::from_secs(seconds),
            cpu,
            waited: Some(waited),
            asleep,
            threads: 1,
        };
        let before = look(0, 1.0, 2.0, true);
        let idle = |after: &Look| idle_between(&before, after);
        assert!((idle(&look(10, 4.0, 3.0, true)) - 6.0).abs() < 1e-9);
        assert!((idle(&look(10, 4.0, 3.0, false)) - 3.0).abs() < 1e-9);
        assert!(idle(&look(10, 4.0, 12.0, true)) < 1e-9, "never negative");
        let (awake, later) = (look(0, 1.0, 2.0, false), look(10, 4.0, 3.0, false));
        assert!(idle_between(&awake, &later) < 1e-9, "stolen time");
    }

    fn started() -> Instant {
        static AT: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        *AT.get_or_init(Instant::now)
    }

    #[test]
    fn looks_cannot_be_foreseen() {
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
