//! Three clocks of another process, read from outside: CPU time, time spent waiting for a core, and idle time. Only CPU
//! and idle time count against a program; waiting for a core is the machine's fault.
//!
//! Samples come at moments that a program cannot predict: one that could would be awake at each of them. Threads that
//! queue behind each other all wait at once; so a process has waited as long as the one of its threads that waited most.

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use crate::driver::naps::{Delay, Naps};
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
    waited_seconds: f64,
    /// Of all threads together.
    all_waited_seconds: f64,
    naps: Naps,
    chance: RandomState,
    num_samples: u64,
}

/// The clocks of a process at one moment.
#[derive(Debug, Clone)]
struct Sample {
    at: Instant,
    cpu: f64,
    /// Empty without schedstat(5), as in gVisor.
    delays: Vec<Delay>,
    asleep: bool,
    threads: usize,
}

/// Shortest time between two samples, and after one that found the process asleep: it uses no CPU time then.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);
const SHORTEST_SLEEP: Duration = Duration::from_millis(5);
/// Longest and shortest time between two samples where the process may use one core only.
const ONE_CORE_WAIT: (f64, f64) = (0.2, 0.02);
/// Share of its wall time that a process must have waited for a core if the machine is to blame for the wall cap.
const STARVED_SHARE: f64 = 0.5;
/// A test at least this long has its clocks read when it ends, where the caller wants to know how long it waited.
const LONG_SECONDS: f64 = 0.5;
/// Longest time before a test's first sample.
const FIRST_WAIT: Duration = Duration::from_millis(10);
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
            waited_seconds: 0.0,
            all_waited_seconds: 0.0,
            naps: Naps::default(),
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

    /// Seconds of sleep, and of waiting for a core, as far as samples saw them.
    pub(crate) fn idle_and_waited(&self) -> (f64, f64) {
        (self.idle_seconds, self.waited_seconds)
    }

    /// By how many seconds the threads together have computed, or waited for a core, for longer than wall time.
    pub(crate) fn ahead(&self, cpu: f64, wall: f64) -> f64 {
        cpu + self.all_waited_seconds - wall
    }

    /// It sleeps and wakes all the time, and has waited for a core as long as a program may sleep.
    pub(crate) fn is_napping(&self) -> bool {
        self.naps.confirmed
    }

    /// The last sample of a test that took long, so that `idle_and_waited` knows all of it.
    pub(crate) fn finish(&mut self) -> sys::Sys<()> {
        if self.wall() >= LONG_SECONDS {
            self.sample()?;
        }
        Ok(())
    }

    fn sample(&mut self) -> sys::Sys<&Sample> {
        let now = read_clocks(self.pid)?;
        if let Some(before) = &self.last {
            self.idle_seconds += idle_between(before, &now);
            self.waited_seconds += waited_between(before, &now);
            self.all_waited_seconds += delays_between(before, &now).sum::<f64>();
        }
        Ok(self.last.insert(now))
    }

    /// The limit that is reached, or how long to wait until one can be.
    pub(crate) fn check(&mut self, limits: &Limits) -> sys::Sys<Result<Duration, Limit>> {
        let cpu_before = self.cpu_before;
        let now = self.sample()?;
        let (cpu, asleep, threads) = ((now.cpu - cpu_before).max(0.0), now.asleep, now.threads);
        let blind = now.delays.is_empty();
        let wall = self.wall();
        if cpu >= limits.cpu_seconds {
            return Ok(Err(Limit::Cpu));
        }
        let ahead = self.ahead(cpu, wall);
        if ahead >= limits.ahead_seconds {
            return Ok(Err(Limit::Cores));
        }
        if wall >= limits.wall_seconds {
            return Ok(Err(self.at_the_wall(limits, blind)));
        }
        // Without schedstat, waiting for a core looks the same as sleeping: use a generous limit.
        let timeout = if blind {
            5.0 * limits.cpu_seconds + 10.0
        } else {
            limits.idle_seconds
        };
        if self.idle_seconds >= timeout {
            return Ok(Err(Limit::Idle));
        }
        let past = self.idle_seconds + self.waited_seconds >= timeout;
        if past
            && self
                .last
                .as_ref()
                .is_some_and(|now| self.naps.see(self.pid, &now.delays))
        {
            return Ok(Err(Limit::Wall));
        }
        // CPU time grows at most as fast as the number of threads that run at once.
        let num_threads = threads.max(1) as f64;
        let until_cpu = (limits.cpu_seconds - cpu) / num_threads.min(sys::num_cores() as f64);
        let until_idle = (timeout - self.idle_seconds).min(timeout / SAMPLES);
        let mut wait = until_cpu.min(self.chance() * until_idle);
        if limits.ahead_seconds.is_finite() {
            let until_ahead = (limits.ahead_seconds - ahead) / (num_threads - 1.0);
            wait = wait.min(until_ahead.clamp(ONE_CORE_WAIT.1, ONE_CORE_WAIT.0));
        }
        let wait = Duration::from_secs_f64(wait.min(limits.wall_seconds - wall).max(0.0));
        Ok(Ok(wait.max(if asleep {
            SHORTEST_SLEEP
        } else {
            SHORTEST_WAIT
        })))
    }

    /// What the wall cap means: the machine gave the process no core, or the process did not want one. It may have
    /// waited for a disk, say: not asleep, but no reason to call it starved, which would say nothing about the program.
    fn at_the_wall(&self, limits: &Limits, blind: bool) -> Limit {
        let explained = self.waited_seconds >= STARVED_SHARE * limits.wall_seconds;
        let may_be_idle = limits.idle_seconds < limits.wall_seconds;
        if explained || blind || !may_be_idle {
            Limit::Wall
        } else {
            Limit::Idle
        }
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
    let waited = waited_between(before, after);
    share * (wall - (after.cpu - before.cpu) - waited).max(0.0)
}

/// Seconds between two samples that the thread which waited most has waited for a core.
fn waited_between(before: &Sample, after: &Sample) -> f64 {
    delays_between(before, after).fold(0.0, f64::max)
}

/// The same for each thread.
fn delays_between(before: &Sample, after: &Sample) -> impl Iterator<Item = f64> {
    after.delays.iter().map(|delay| {
        let known = before
            .delays
            .iter()
            .find(|known| known.thread == delay.thread);
        let earlier = known.map_or(0, |known| known.nanoseconds);
        delay.nanoseconds.saturating_sub(earlier) as f64 * 1e-9
    })
}

/// Reads every clock. CPU time is exact; the rest comes from /proc and is missing for threads that have just ended.
fn read_clocks(pid: i32) -> sys::Sys<Sample> {
    let cpu = sys::cpu_seconds(pid)?;
    let (mut delays, mut asleep, mut threads) = (Vec::new(), true, 0);
    if let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) {
        for task in tasks.flatten() {
            threads += 1;
            let number = task.file_name().to_str().and_then(|name| name.parse().ok());
            let delay = fs::read_to_string(task.path().join("schedstat")).ok();
            let delay = delay.and_then(|text| Delay::parse(number?, &text));
            delays.extend(delay);
            let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            asleep &= is_asleep(&stat);
        }
    }
    Ok(Sample {
        at: Instant::now(),
        cpu,
        delays,
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

/// Live threads. `None` where /proc does not show them.
pub(crate) fn threads(pid: i32) -> Option<usize> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    Some(tasks.count())
}

#[cfg(test)]
mod tests {
    use super::*;

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

    fn sample(seconds: u64, cpu: f64, waited: &[u64], asleep: bool) -> Sample {
        let delay = |(thread, &seconds): (usize, &u64)| Delay {
            thread: thread as i32,
            nanoseconds: seconds * 1_000_000_000,
            slices: 0,
        };
        Sample {
            at: started() + Duration::from_secs(seconds),
            cpu,
            delays: waited.iter().enumerate().map(delay).collect(),
            asleep,
            threads: waited.len(),
        }
    }

    #[test]
    fn only_sleep_is_idle() {
        let before = sample(0, 1.0, &[2], true);
        let idle = |after: &Sample| idle_between(&before, after);
        assert!((idle(&sample(10, 4.0, &[3], true)) - 6.0).abs() < 1e-9);
        assert!((idle(&sample(10, 4.0, &[3], false)) - 3.0).abs() < 1e-9);
        assert!(idle(&sample(10, 4.0, &[12], true)) < 1e-9, "never negative");
        let (awake, later) = (sample(0, 1.0, &[2], false), sample(10, 4.0, &[3], false));
        assert!(idle_between(&awake, &later) < 1e-9, "stolen time");
    }

    #[test]
    fn threads_that_wait_at_once_have_waited_once() {
        let (before, after) = (
            sample(0, 1.0, &[9, 0, 0], true),
            sample(10, 2.0, &[9, 2, 1, 2], true),
        );
        assert!((waited_between(&before, &after) - 2.0).abs() < 1e-9);
        assert!((delays_between(&before, &after).sum::<f64>() - 5.0).abs() < 1e-9);
        assert!((idle_between(&before, &after) - 7.0).abs() < 1e-9);
    }

    #[test]
    fn the_machine_is_to_blame_for_the_wall_cap_only_if_the_process_waited_for_a_core() {
        let limits = Limits::default();
        let mut clocks = Clocks::start(sys::pid(), 0.0);
        clocks.waited_seconds = 0.6 * limits.wall_seconds;
        assert_eq!(clocks.at_the_wall(&limits, false), Limit::Wall);
        clocks.waited_seconds = 0.4 * limits.wall_seconds;
        assert_eq!(clocks.at_the_wall(&limits, false), Limit::Idle);
        assert_eq!(
            clocks.at_the_wall(&limits, true),
            Limit::Wall,
            "nothing is known"
        );
    }

    #[test]
    fn a_sleeping_process_is_not_looked_at_every_millisecond() {
        let cpu = sys::cpu_seconds(sys::pid()).unwrap();
        let mut clocks = Clocks::start(sys::pid(), cpu);
        let near = Limits {
            cpu_seconds: 60.0,
            ..Limits::default()
        };
        clocks.cpu_before = cpu - 59.999; // a millisecond is left
        let wait = clocks.check(&near).unwrap().unwrap();
        assert!(wait >= SHORTEST_WAIT, "this thread is awake: {wait:?}");
        let mut sleeper = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let pid = sleeper.id() as i32;
        while !is_asleep(&fs::read_to_string(format!("/proc/{pid}/stat")).unwrap()) {}
        let mut clocks = Clocks::start(pid, sys::cpu_seconds(pid).unwrap() - 59.9999);
        let wait = clocks.check(&near).unwrap().unwrap();
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
        assert!(wait >= SHORTEST_SLEEP, "{wait:?}");
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
