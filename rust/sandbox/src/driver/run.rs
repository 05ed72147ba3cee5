//! One test in one process: release the input, watch the clocks, copy the output, name the end.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::driver::child::{Child, Death};
use crate::driver::clocks::{Clocks, threads};
use crate::driver::memory::Seat;
use crate::driver::report;
use crate::driver::sandbox::Sandbox;
use crate::error::{Error, broken};
use crate::isolation::seccomp::calls::Arch;
use crate::limits::Limits;
use crate::types::outcome::{End, Limit, TestRun};
use crate::types::program::Entry;
use crate::{sys, wire};

/// Look up at least so often: a test may have been given up meanwhile.
const LONGEST_NAP: Duration = Duration::from_millis(400);

/// Whoever is killed with this share of its CPU time used up was killed for that: the kernel's clock is coarse.
const BACKSTOP: f64 = 0.9;

/// How the watching ended.
enum Seen {
    /// The process said DONE; it reports this peak.
    Done { peak_kib: u64, report: Vec<u8> },
    /// The process ended.
    Dead,
    /// We end it.
    Over(Limit),
    /// It said something no harness says.
    Forged,
    /// It made a call that no honest program makes, of this number.
    Forbidden(u32),
}

impl Sandbox {
    /// Sees test `index`, whose input `child` has been given, to its end; gives the child back if it can take another.
    pub(crate) fn test(
        &mut self,
        mut child: Child,
        index: usize,
        limits: &Limits,
        entry: &Entry,
    ) -> Result<(TestRun, Option<Child>), Error> {
        let fresh = std::mem::replace(&mut child.fresh, false);
        let mut clocks = Clocks::start(child.pid, child.cpu_before);
        let seen = self.watch(&child, index, limits, &mut clocks)?;
        let wall_seconds = clocks.wall();
        if let Seen::Done { peak_kib, report } = seen {
            let cpu_seconds = clocks.cpu().map_err(broken("read the child's clock"))?;
            let mut run = collect(&mut child, &report, limits)?;
            (run.cpu_seconds, run.wall_seconds, run.fresh) = (cpu_seconds, wall_seconds, fresh);
            run.memory_mib = peak_kib as f64 / 1024.0;
            if cpu_seconds >= limits.cpu_seconds {
                run.end = End::Stopped { by: Limit::Cpu };
            }
            return Ok((run, Some(child)));
        }
        // Copy before burying: the files live on in our descriptors either way.
        let (stdout, stdout_full, stderr) = outputs(&mut child, limits)?;
        let alone = child.seat.as_ref().is_some_and(Seat::is_alone);
        let death = self.bury(child)?;
        let cpu_seconds = clocks.cpu_of_total(death.cpu_seconds);
        let out_of_room = matches!(seen, Seen::Dead)
            && death.out_of_room
            && cpu_seconds < BACKSTOP * limits.cpu_seconds;
        self.evicted |= out_of_room && !alone; // as if the governor had been quicker
        let end = match seen {
            Seen::Over(by) => End::Stopped { by },
            Seen::Dead if death.evicted || (out_of_room && !alone) => End::Signaled {
                signal: libc::SIGKILL,
            },
            Seen::Dead if out_of_room => End::Stopped { by: Limit::Memory },
            Seen::Forged => End::Violation { call: None },
            Seen::Forbidden(number) => End::Violation {
                call: Arch::HERE
                    .and_then(|arch| arch.name(number))
                    .map(str::to_owned),
            },
            _ if stdout_full => End::Stopped { by: Limit::Output },
            _ => name_death(death, cpu_seconds, limits, entry),
        };
        let run = TestRun {
            starved: end == End::Stopped { by: Limit::Wall },
            end,
            stdout,
            stderr,
            value: None,
            note: None,
            cpu_seconds,
            wall_seconds,
            memory_mib: death.peak_kib as f64 / 1024.0,
            fresh,
        };
        Ok((run, None))
    }

    /// Waits for the end of the test, whichever comes first.
    fn watch(
        &self,
        child: &Child,
        index: usize,
        limits: &Limits,
        clocks: &mut Clocks,
    ) -> Result<Seen, Error> {
        let listener = self.listener.as_ref().map_or(-1, AsRawFd::as_raw_fd);
        let mut control = child.control.as_raw_fd();
        let pidfd = child.pidfd.as_raw_fd();
        let mut due = Instant::now() + Clocks::first_nap(limits);
        let mut bytes = [0; wire::LENGTH + wire::LONGEST_HERE];
        loop {
            let nap = due.saturating_duration_since(Instant::now());
            let [spoke, dead, asks] = sys::wait([control, pidfd, listener], nap.min(LONGEST_NAP))
                .map_err(broken("watch a test"))?;
            if spoke {
                match sys::receive_plain(&child.control, &mut bytes) {
                    // It closed the socket: it can only end or run out of time.
                    Ok(Some(0)) | Err(_) => control = -1,
                    Ok(Some(length)) => return done(child, index, &bytes[..length], limits),
                    Ok(None) => {}
                }
            }
            if dead {
                return Ok(Seen::Dead);
            }
            if self.given_up.load(Ordering::Relaxed) {
                return Ok(Seen::Over(Limit::Wall));
            }
            if asks
                && let Some(listener) = &self.listener
                && let Some(number) = answer(child.pid, listener, limits.threads)?
            {
                return Ok(Seen::Forbidden(number));
            }
            // Not sooner: the program could choose the moments by what it asks.
            if Instant::now() < due {
                continue;
            }
            match clocks
                .check(limits)
                .map_err(broken("read the child's clock"))?
            {
                Err(limit) => return Ok(Seen::Over(limit)),
                Ok(until_next) => due = Instant::now() + until_next,
            }
        }
    }
}

/// Takes a child's message apart.
fn done(child: &Child, index: usize, message: &[u8], limits: &Limits) -> Result<Seen, Error> {
    let Some((words, rest)) = message.split_first_chunk() else {
        return Ok(Seen::Forged);
    };
    let [kind, done, peak_kib, length, place, ..] = wire::unpack(words);
    if kind != wire::DONE || done != index as u64 {
        return Ok(Seen::Forged);
    }
    let report = match place {
        wire::HERE if length == rest.len() as u64 => rest.to_vec(),
        wire::IN_FILE if rest.is_empty() => {
            let most = (limits.output_mib << 20) + (64 << 10);
            let copy = sys::pread(&child.report, 0, length.min(most));
            sys::cut(&child.report, 0).map_err(broken("empty the report"))?;
            copy.map_err(broken("read the report"))?
        }
        _ => return Ok(Seen::Forged),
    };
    Ok(Seen::Done { peak_kib, report })
}

/// Answers one pending request for a thread. The call's flags were checked in registers by the filter, so that
/// letting it continue cannot be raced. Counted are the threads that live: those allowed a moment ago and not born yet
/// come on top, at most one for each that asked, so that there are never more than `2 * most - 2`. Where nobody can
/// count there are none. Anything else asked for is a call that ends the program: its number; it stays unanswered and
/// never runs.
fn answer(pid: i32, listener: &OwnedFd, most: u32) -> Result<Option<u32>, Error> {
    let Some((id, number)) = sys::notification(listener).map_err(broken("hear a request"))? else {
        return Ok(None);
    };
    if Arch::HERE.and_then(|arch| arch.number("clone")) != Some(number) {
        return Ok(Some(number));
    }
    let room = threads(pid).is_some_and(|living| living < most as usize);
    sys::answer(listener, id, (!room).then_some(libc::EAGAIN));
    Ok(None)
}

/// Output and report of a test whose process lives on, and clean files for the next one.
fn collect(child: &mut Child, report: &[u8], limits: &Limits) -> Result<TestRun, Error> {
    if child.converses {
        return Ok(TestRun {
            value: Some(report.to_vec()),
            ..TestRun::bare(End::Finished, Vec::new(), Vec::new())
        });
    }
    let (stdout, full, stderr) = outputs(child, limits)?;
    if let Some((stdout, stderr)) = &mut child.output {
        let went_on = stdout.go_on().and_then(|()| stderr.go_on());
        went_on.map_err(broken("go on in an output file"))?;
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

/// Copies of standard output and of the end of standard error; whether the former has reached its cap.
fn outputs(child: &mut Child, limits: &Limits) -> Result<(Vec<u8>, bool, Vec<u8>), Error> {
    let Some((stdout, stderr)) = &mut child.output else {
        return Ok((Vec::new(), false, Vec::new()));
    };
    let copy = stdout.copy(limits.output_mib << 20);
    let (copy, full) = copy.map_err(broken("read the output"))?;
    let tail = stderr.tail(limits.stderr_kib << 10);
    Ok((copy, full, tail.map_err(broken("read the error output"))?))
}

/// What a process's own end says about its last test.
fn name_death(death: Death, cpu_seconds: f64, limits: &Limits, entry: &Entry) -> End {
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
        // The backstop (RLIMIT_CPU) may win the race against our own clock.
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
        let death = Death {
            status,
            cpu_seconds: 0.0,
            peak_kib: 1,
            evicted: false,
            out_of_room: false,
        };
        name_death(death, 0.0, &Limits::default(), entry)
    }

    #[test]
    fn ends_are_named() {
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
        let big = Death {
            status: libc::SIGSEGV,
            cpu_seconds: 0.0,
            peak_kib: 1 << 20,
            evicted: false,
            out_of_room: false,
        };
        let end = name_death(big, 0.0, &Limits::default(), &Entry::Stdin);
        assert_eq!(end, End::Stopped { by: Limit::Memory });
        let killed = Death {
            status: libc::SIGKILL,
            cpu_seconds: 7.0,
            peak_kib: 1,
            evicted: false,
            out_of_room: false,
        };
        let end = name_death(killed, 7.0, &Limits::default(), &Entry::Stdin);
        assert_eq!(end, End::Stopped { by: Limit::Cpu });
    }
}
