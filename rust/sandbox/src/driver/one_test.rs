//! One test in one process: release the input, watch the clocks, copy the output, name the end.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use crate::driver::child::{Child, ExitInfo};
use crate::driver::clocks::{Clocks, threads};
use crate::driver::memory::MemoryLease;
use crate::driver::report;
use crate::driver::sandbox::Sandbox;
use crate::error::{Error, broken};
use crate::isolation::seccomp::calls::Arch;
use crate::limits::Limits;
use crate::types::outcome::{End, Limit, TestRun};
use crate::types::program::Entry;
use crate::{sys, wire};

/// Longest wait between two checks of whether the test was given up.
const LONGEST_WAIT: Duration = Duration::from_millis(400);

/// How often, and after which time, threads are counted again where a program has all that it may.
const LOOKS: u32 = 3;
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// A program killed after this share of its CPU limit was killed for reaching it: the kernel's clock is coarse.
const BACKSTOP: f64 = 0.9;

/// What ended the wait.
enum Event {
    /// The process said DONE; it reports this peak.
    Done { peak_kib: u64, report: Vec<u8> },
    /// The process ended.
    Dead,
    /// It reached a limit; we end it.
    LimitReached(Limit),
    /// It sent a message that the harness never sends.
    Forged,
    /// It made a forbidden system call, of this number.
    Forbidden(u32),
}

impl Sandbox {
    /// Waits for the end of the test whose input `child` has; returns the child if it can run another.
    pub(crate) fn test(
        &mut self,
        mut child: Child,
        limits: &Limits,
        entry: &Entry,
    ) -> Result<(TestRun, Option<Child>), Error> {
        let fresh = child.num_tests == 1;
        let cpu_of_earlier = child.cpu_before - child.cpu_at_start;
        let mut clocks = Clocks::start(child.pid, child.cpu_before);
        let seen = self.watch(&child, limits, &mut clocks)?;
        let wall_seconds = clocks.wall();
        let most_held = child.lease.as_ref().map_or(0, MemoryLease::peak_kib);
        let memory_mib = |peak_kib: u64| peak_kib.max(most_held) as f64 / 1024.0;
        if let Event::Done { peak_kib, report } = seen {
            let cpu_seconds = clocks.cpu().map_err(broken("read the child's clock"))?;
            if child.is_led {
                clocks.finish().map_err(broken("read the child's clock"))?;
            }
            let mut run = collect(&mut child, &report, limits)?;
            (run.cpu_seconds, run.wall_seconds, run.fresh) = (cpu_seconds, wall_seconds, fresh);
            run.process_cpu_seconds = cpu_of_earlier + cpu_seconds;
            (run.idle_seconds, run.waited_seconds) = clocks.idle_and_waited();
            run.ahead_seconds = clocks.ahead(cpu_seconds, wall_seconds);
            run.memory_mib = memory_mib(peak_kib);
            if cpu_seconds >= limits.cpu_seconds {
                run.end = End::Stopped { by: Limit::Cpu };
            }
            return Ok((run, Some(child)));
        }
        // Copy before reaping; our descriptors keep the files alive either way.
        let (stdout, stdout_full, stderr) = outputs(&mut child, limits)?;
        let alone = child.lease.as_ref().is_some_and(MemoryLease::is_alone);
        let held_too_much = child.lease.as_ref().is_some_and(MemoryLease::held_too_much);
        let death = self.reap(child)?;
        let cpu_seconds = clocks.cpu_of_total(death.cpu_seconds);
        let oom_killed = matches!(seen, Event::Dead)
            && death.oom_killed
            && cpu_seconds < BACKSTOP * limits.cpu_seconds;
        self.evicted |= oom_killed && !alone; // as if the governor had acted first
        let end = match seen {
            Event::LimitReached(by) => End::Stopped { by },
            Event::Dead if held_too_much => End::Stopped { by: Limit::Memory },
            Event::Dead if death.evicted || (oom_killed && !alone) => End::Signaled {
                signal: libc::SIGKILL,
            },
            Event::Dead if oom_killed => End::Stopped { by: Limit::Memory },
            Event::Forged => End::Violation { call: None },
            Event::Forbidden(number) => End::Violation {
                call: Arch::HERE
                    .and_then(|arch| arch.name(number))
                    .map(str::to_owned),
            },
            _ if stdout_full => End::Stopped { by: Limit::Output },
            _ => classify_exit(death, cpu_seconds, limits, entry),
        };
        let starved = end == End::Stopped { by: Limit::Wall };
        let (idle_seconds, waited_seconds) = clocks.idle_and_waited();
        let run = TestRun {
            starved,
            naps: starved && clocks.is_napping(),
            cpu_seconds,
            process_cpu_seconds: cpu_of_earlier + cpu_seconds,
            wall_seconds,
            idle_seconds,
            waited_seconds,
            ahead_seconds: clocks.ahead(cpu_seconds, wall_seconds),
            memory_mib: memory_mib(death.peak_kib),
            fresh,
            ..TestRun::bare(end, stdout, stderr)
        };
        Ok((run, None))
    }

    /// Waits for whatever ends the test first.
    fn watch(&self, child: &Child, limits: &Limits, clocks: &mut Clocks) -> Result<Event, Error> {
        let listener = self.listener.as_ref().map_or(-1, AsRawFd::as_raw_fd);
        let mut control = child.control.as_raw_fd();
        let pidfd = child.pidfd.as_raw_fd();
        let mut due = Instant::now() + Clocks::first_wait(limits);
        let mut bytes = [0; wire::LENGTH + wire::LONGEST_HERE];
        loop {
            let wait = due.saturating_duration_since(Instant::now());
            let [spoke, dead, asks] = sys::wait([control, pidfd, listener], wait.min(LONGEST_WAIT))
                .map_err(broken("watch a test"))?;
            if spoke {
                match sys::receive_plain(&child.control, &mut bytes) {
                    // It closed the socket: it can only exit or reach a limit.
                    Ok(Some(0)) | Err(_) => control = -1,
                    Ok(Some(length)) => return done(child, &bytes[..length], limits),
                    Ok(None) => {}
                }
            }
            if dead {
                return Ok(Event::Dead);
            }
            if self.given_up.load(Ordering::Relaxed) {
                return Ok(Event::LimitReached(Limit::Wall));
            }
            if asks
                && let Some(listener) = &self.listener
                && let Some(number) = answer(child.pid, listener, limits.threads)?
            {
                return Ok(Event::Forbidden(number));
            }
            // Not earlier: a program could choose the moments through its requests.
            if Instant::now() < due {
                continue;
            }
            match clocks
                .check(limits)
                .map_err(broken("read the child's clock"))?
            {
                Err(limit) => return Ok(Event::LimitReached(limit)),
                Ok(until_next) => due = Instant::now() + until_next,
            }
        }
    }
}

/// Parses a child's message.
fn done(child: &Child, message: &[u8], limits: &Limits) -> Result<Event, Error> {
    let Some((words, rest)) = message.split_first_chunk() else {
        return Ok(Event::Forged);
    };
    let [kind, done, peak_kib, length, place, ..] = wire::unpack(words);
    if kind != wire::DONE || done != child.num_tests as u64 - 1 {
        return Ok(Event::Forged);
    }
    let report = match place {
        wire::HERE if length == rest.len() as u64 => rest.to_vec(),
        wire::IN_FILE if rest.is_empty() => {
            let most = (limits.output_mib << 20) + (64 << 10);
            let copy = sys::pread(&child.report, 0, length.min(most));
            sys::truncate(&child.report, 0).map_err(broken("empty the report"))?;
            copy.map_err(broken("read the report"))?
        }
        _ => return Ok(Event::Forged),
    };
    Ok(Event::Done { peak_kib, report })
}

/// Answers one pending request for a thread. The filter checked the call's flags in registers, so that letting it
/// continue cannot be raced. Only live threads are counted; those just allowed and not started yet come on top, at most
/// one for each thread that asked, so that there are never more than `2 * most - 2`. Where threads cannot be counted,
/// none is allowed. Any other request is a forbidden call: its number is returned, and the call stays unanswered and
/// never runs.
fn answer(pid: i32, listener: &OwnedFd, most: u32) -> Result<Option<u32>, Error> {
    let Some((id, number)) = sys::notification(listener).map_err(broken("receive a request"))?
    else {
        return Ok(None);
    };
    if Arch::HERE.and_then(|arch| arch.number("clone")) != Some(number) {
        return Ok(Some(number));
    }
    let allowed = has_room(pid, most as usize);
    sys::answer(listener, id, (!allowed).then_some(libc::EAGAIN));
    Ok(None)
}

/// Whether a process has fewer than `most` threads. One that has been joined may take a moment longer to disappear: how
/// long must not decide whether the next one starts.
fn has_room(pid: i32, most: usize) -> bool {
    (0..LOOKS).any(|look| {
        if look > 0 {
            thread::sleep(LOOK_AGAIN);
        }
        threads(pid).is_some_and(|living| living < most)
    })
}

/// Output and report of a test whose process can run another; prepares its output files for that.
fn collect(child: &mut Child, report: &[u8], limits: &Limits) -> Result<TestRun, Error> {
    if child.is_led {
        return Ok(TestRun {
            value: Some(report.to_vec()),
            ..TestRun::bare(End::Finished, Vec::new(), Vec::new())
        });
    }
    let (stdout, full, stderr) = outputs(child, limits)?;
    if let Some((stdout, stderr)) = &mut child.output {
        let advanced = stdout.advance().and_then(|()| stderr.advance());
        advanced.map_err(broken("advance an output file"))?;
    }
    let report = report::parse(report);
    let end = if full {
        End::Stopped { by: Limit::Output }
    } else {
        report.end
    };
    Ok(TestRun {
        value: report.value,
        note: report.note,
        ..TestRun::bare(end, stdout, stderr)
    })
}

/// Standard output, whether it has reached its cap, and the end of standard error.
fn outputs(child: &mut Child, limits: &Limits) -> Result<(Vec<u8>, bool, Vec<u8>), Error> {
    let Some((stdout, stderr)) = &mut child.output else {
        return Ok((Vec::new(), false, Vec::new()));
    };
    let copy = stdout.copy(limits.output_mib << 20);
    let (copy, full) = copy.map_err(broken("read the output"))?;
    let tail = stderr.tail(limits.stderr_kib << 10);
    Ok((copy, full, tail.map_err(broken("read the error output"))?))
}

/// How the last test ended, from how its process ended.
fn classify_exit(death: ExitInfo, cpu_seconds: f64, limits: &Limits, entry: &Entry) -> End {
    let peak_is_at_limit = death.peak_kib as f64 >= 0.95 * 1024.0 * limits.memory_mib as f64;
    if libc::WIFEXITED(death.status) {
        return match (libc::WEXITSTATUS(death.status), entry) {
            (wire::OUT_OF_MEMORY, _) => End::Stopped { by: Limit::Memory },
            (0, Entry::Stdin) => End::Finished, // os._exit(0) after printing is a normal end
            (code, _) => End::Exited { code },
        };
    }
    match libc::WTERMSIG(death.status) {
        libc::SIGSYS => End::Violation { call: None },
        // The backstop (RLIMIT_CPU) may act before our own clock.
        libc::SIGKILL | libc::SIGXCPU if cpu_seconds >= BACKSTOP * limits.cpu_seconds => {
            End::Stopped { by: Limit::Cpu }
        }
        _ if peak_is_at_limit => End::Stopped { by: Limit::Memory },
        signal => End::Signaled { signal },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(status: i32, entry: &Entry) -> End {
        let death = ExitInfo {
            status,
            cpu_seconds: 0.0,
            peak_kib: 1,
            evicted: false,
            oom_killed: false,
        };
        classify_exit(death, 0.0, &Limits::default(), entry)
    }

    #[test]
    fn exits_are_classified() {
        let function = Entry::Function {
            entry_point: "f".to_owned(),
        };
        assert_eq!(named(0, &Entry::Stdin), End::Finished);
        assert_eq!(named(0, &function), End::Exited { code: 0 });
        assert_eq!(named(3 << 8, &Entry::Stdin), End::Exited { code: 3 });
        assert_eq!(
            named(libc::SIGSYS, &Entry::Stdin),
            End::Violation { call: None }
        );
        assert_eq!(
            named(libc::SIGSEGV, &Entry::Stdin),
            End::Signaled { signal: 11 }
        );
        let big = ExitInfo {
            status: libc::SIGSEGV,
            cpu_seconds: 0.0,
            peak_kib: 1 << 20,
            evicted: false,
            oom_killed: false,
        };
        let end = classify_exit(big, 0.0, &Limits::default(), &Entry::Stdin);
        assert_eq!(end, End::Stopped { by: Limit::Memory });
        let killed = ExitInfo {
            status: libc::SIGKILL,
            cpu_seconds: 7.0,
            peak_kib: 1,
            evicted: false,
            oom_killed: false,
        };
        let end = classify_exit(killed, 7.0, &Limits::default(), &Entry::Stdin);
        assert_eq!(end, End::Stopped { by: Limit::Cpu });
    }
}
