//! Inside the zygote: a warm interpreter that forks a process for each program.
//!
//! It has no job data: the child reads code and inputs after the fork. It ends with its driver: at the end of file on
//! its socket, or when the thread that started it ends.

use std::io;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};

use libc::sock_filter;

use crate::isolation::seccomp::bpf::Action;
use crate::types::layer::Layer;
use crate::{sys, wire};

/// Descriptors below this are for a child; the zygote's own are at or above it.
const FIRST_PRIVATE_FD: RawFd = 10;
/// A request to fork, as received: limits and where the child's descriptors are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Job {
    pub(crate) cpu_seconds: u64,
    pub(crate) address_space: u64,
    pub(crate) file_size: u64,
    pub(crate) stack: u64,
    /// The program may start threads where they are not counted.
    pub(crate) threads: bool,
    /// Bytes of the program, and whether they are in the report file instead of the first message.
    pub(crate) text_length: u64,
    pub(crate) text_in_file: bool,
    /// Files for standard output and standard error, unless the program's harness handles its own.
    pub(crate) output: Option<(RawFd, RawFd)>,
    pub(crate) control: RawFd,
    pub(crate) report: RawFd,
}

/// The zygote's state. One per process; never dropped.
#[derive(Debug)]
pub struct Zygote {
    pub(crate) socket: RawFd,
    without: u64,
    /// The parent's id that its children see.
    pub(crate) parent_id: i32,
    pub(crate) stage_two: Vec<sock_filter>,
    /// The same without threads.
    pub(crate) stage_two_single: Vec<sock_filter>,
    pub(crate) listen: bool,
    pub(crate) job: Option<Job>,
}

/// Which step of the set-up failed, and how.
pub(crate) fn step<T>(name: &str, result: io::Result<T>) -> Result<T, String> {
    result.map_err(|error| format!("{name}: {error}"))
}

impl Zygote {
    /// First thing in the new process: its socket is descriptor 0, everything else that leaked in is closed.
    ///
    /// # Errors
    /// Which step failed; the caller prints it and ends.
    pub fn new(parent: i32, without: u64) -> Result<Self, String> {
        step("close leaked descriptors", sys::close_from(3))?;
        step(
            "die with the driver",
            sys::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64),
        )?;
        if sys::parent_pid() != parent {
            return Err("the driver is gone".to_owned());
        }
        let socket = step("keep the socket", sys::dup_at_least(0, FIRST_PRIVATE_FD))?.into_raw_fd();
        // 0 and 3..10 become /dev/null, so that descriptors received later are above them. For reading and writing: a
        // harness may use it for all three standard streams, even where nothing can be opened later.
        let null = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/null");
        let null = step("open /dev/null", null)?.into_raw_fd(); // one of those numbers itself
        for fd in std::iter::once(0).chain(3..FIRST_PRIVATE_FD) {
            step("reserve descriptors", sys::dup_to(null, fd))?;
        }
        let mut zygote = Self {
            socket,
            without,
            parent_id: sys::pid(),
            stage_two: Vec::new(),
            stage_two_single: Vec::new(),
            listen: false,
            job: None,
        };
        zygote.listen = zygote.has(Layer::ThreadCap)
            && zygote.has(Layer::Seccomp)
            && sys::knows_action(Action::Notify.code());
        Ok(zygote)
    }

    /// Whether the layer is enabled.
    pub fn has(&self, layer: Layer) -> bool {
        self.without & layer.bit() == 0
    }

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

/// A descriptor number to use without owning it.
pub(crate) struct Borrowed(pub(crate) RawFd);

impl AsRawFd for Borrowed {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}
