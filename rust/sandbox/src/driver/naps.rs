//! Tells a process that sleeps and wakes all the time from one that the machine keeps waiting.
//!
//! On a busy machine a process that naps for 50 us waits for a core for milliseconds after each nap: hardly any of its
//! time is sleep, and hardly any is CPU time. What gives it away is that it leaves its core by itself, thousands of
//! times in each second of CPU time. A process that is merely starved loses its core to others.

use std::fs;

use crate::sys;

/// One thread's waiting so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Delay {
    pub(crate) thread: i32,
    /// Time in which it could have run and had no core.
    pub(crate) nanoseconds: u64,
    /// How many times it got one.
    pub(crate) slices: u64,
}

impl Delay {
    /// Reads a thread's `schedstat`: "time on cpu, time waiting, slices", nanoseconds.
    pub(crate) fn parse(thread: i32, text: &str) -> Option<Self> {
        let mut fields = text.split_ascii_whitespace().skip(1).map(str::parse);
        Some(Self {
            thread,
            nanoseconds: fields.next()?.ok()?,
            slices: fields.next()?.ok()?,
        })
    }
}

/// Turns on a core in a second of CPU time that only a process which naps needs.
const PER_SECOND: f64 = 1000.0;
/// Turns to look at before it is certain.
const ENOUGH: u64 = 64;
/// Share of them that it must have ended by itself.
const BY_ITSELF: f64 = 0.9;

/// What is known about one process's naps.
#[derive(Debug, Default)]
pub(crate) struct Naps {
    first: Option<Turns>,
    /// It naps.
    pub(crate) confirmed: bool,
}

#[derive(Debug, Clone, Copy)]
struct Turns {
    cpu: f64,
    slices: u64,
    voluntary: u64,
}

impl Turns {
    fn is_napping(self, since: Self) -> bool {
        let slices = self.slices.saturating_sub(since.slices);
        let voluntary = self.voluntary.saturating_sub(since.voluntary);
        slices >= ENOUGH
            && slices as f64 >= PER_SECOND * (self.cpu - since.cpu)
            && voluntary as f64 >= BY_ITSELF * slices as f64
    }
}

impl Naps {
    /// Looks once more; says whether the process has napped all the time since the first look.
    pub(crate) fn see(&mut self, pid: i32, delays: &[Delay]) -> bool {
        let Ok(cpu) = sys::cpu_seconds(pid) else {
            return false; // it has just ended
        };
        let now = Turns {
            cpu,
            slices: delays.iter().map(|delay| delay.slices).sum(),
            voluntary: delays
                .iter()
                .map(|delay| left_by_itself(pid, delay.thread))
                .sum(),
        };
        let since = *self.first.get_or_insert(now);
        self.confirmed = now.is_napping(since);
        if now.slices.saturating_sub(since.slices) >= ENOUGH {
            self.first = Some(now);
        }
        self.confirmed
    }
}

/// How many times a thread has left its core without having to, proc_pid_status(5).
fn left_by_itself(pid: i32, thread: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/task/{thread}/status"));
    let status = status.unwrap_or_default();
    let line = |line: &str| {
        line.strip_prefix("voluntary_ctxt_switches:")?
            .trim()
            .parse()
            .ok()
    };
    status.lines().find_map(line).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_schedstat() {
        let delay = Delay {
            thread: 5,
            nanoseconds: 456,
            slices: 7,
        };
        assert_eq!(Delay::parse(5, "123 456 7\n"), Some(delay));
        assert_eq!(Delay::parse(5, ""), None);
    }

    #[test]
    fn many_short_turns_that_it_ends_itself_are_naps() {
        let turns = |cpu, slices, voluntary| Turns {
            cpu,
            slices,
            voluntary,
        };
        let start = turns(1.0, 100, 100);
        assert!(turns(1.01, 1100, 1095).is_napping(start));
        assert!(!turns(1.01, 1100, 600).is_napping(start), "preempted");
        assert!(!turns(2.5, 1100, 1095).is_napping(start), "it computes");
        assert!(!turns(1.0, 110, 110).is_napping(start), "too few to know");
    }
}
