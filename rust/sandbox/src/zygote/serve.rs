//! Inside the zygote: a warm interpreter that forks a process for each program.
//!
//! It has no job data: the child reads code and inputs after the fork. It ends with its driver: at the end of file on
//! its socket, or when the thread that started it ends.

use std::os::fd::OwnedFd;

use crate::zygote::state::{Job, Zygote};
use crate::{sys, wire};

impl Zygote {
    /// Forks a process for each requested program, and returns in that process: the program's text, and the largest size
    /// of a file that it may write. Reaps on request in between; end of file ends the process.
    ///
    /// The interpreter is not told about the fork: it has one thread, and would only recreate locks that nobody holds,
    /// each of them a page to copy.
    pub fn next_program(&mut self) -> (Vec<u8>, u64) {
        loop {
            self.next();
            match sys::fork() {
                Ok(0) => return self.enter(),
                Ok(pid) => self.forked(pid),
                Err(error) => self.forked(-error.raw_os_error().unwrap_or(libc::EAGAIN)),
            }
        }
    }

    /// Blocks until a program is requested.
    fn next(&mut self) {
        let mut bytes = [0; wire::LENGTH];
        let mut fds = [-1; sys::MAX_FDS];
        loop {
            match sys::receive(self.socket, &mut bytes, &mut fds) {
                Ok((wire::LENGTH, count)) => match (wire::unpack(&bytes), count) {
                    (
                        [
                            wire::FORK,
                            cpu_seconds,
                            address_space,
                            file_size,
                            stack,
                            threads,
                            text_length,
                            in_file,
                        ],
                        2 | 4,
                    ) => {
                        let [control, report, stdout, stderr] = fds;
                        self.job = Some(Job {
                            cpu_seconds,
                            address_space,
                            file_size,
                            stack,
                            threads: threads == 1,
                            text_length,
                            text_in_file: in_file == 1,
                            output: (count == 4).then_some((stdout, stderr)),
                            control,
                            report,
                        });
                        return;
                    }
                    ([wire::REAP, pid, ..], 0) => {
                        let (status, seconds, peak) = sys::reap(pid as i32).unwrap_or((-1, 0.0, 0));
                        let micros = (seconds * 1e6) as u64;
                        self.answer(wire::words([
                            wire::REAP,
                            u64::from(status as u32),
                            micros,
                            peak,
                        ]));
                    }
                    ([wire::DISCARD, pid, ..], 0) => {
                        sys::reap(pid as i32).ok(); // the driver does not ask how it ended
                    }
                    _ => sys::exit(wire::SETUP_FAILED),
                },
                Ok((0, _)) => sys::exit(0), // the driver is gone
                _ => sys::exit(wire::SETUP_FAILED),
            }
        }
    }

    /// In the parent after the fork: tells the driver the pid and closes the child's descriptors.
    fn forked(&mut self, pid: i32) {
        if let Some(job) = self.job.take() {
            let (stdout, stderr) = job.output.unzip();
            for fd in [Some(job.control), Some(job.report), stdout, stderr] {
                drop::<Option<OwnedFd>>(fd.map(sys::take_fd));
            }
        }
        self.answer(wire::words([wire::FORK, pid as u64]));
    }

    fn answer(&self, words: wire::Words) {
        if sys::send(self.socket, &wire::pack(words), &[]).is_err() {
            sys::exit(0); // the driver is gone
        }
    }
}
