//! Inside the zygote: a warm interpreter that seals itself once and then forks a process per program.
//!
//! It holds no job data: code and inputs are read after the fork, in the child. It lives as long as its driver:
//! end of file on its socket, or the death of the thread that started it, ends it.

use std::io;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};

use libc::sock_filter;

use crate::bpf::Action;
use crate::calls::Arch;
use crate::plan::Layer;
use crate::policy::{self, StageOne, StageTwo};
use crate::readable::Readable;
use crate::{huge, jail, landlock, namespaces, sys, wire};

/// Descriptors below this are a child's own; what the zygote keeps and receives lies at or above it.
const FIRST_PRIVATE_FD: RawFd = 10;
/// Unlikely to be anybody's: used when started by root and the interpreter stays readable.
const UNUSED_UID: u32 = 1_999_999_999;
/// Limits that hold for the zygote and every program alike: name, resource, value.
pub(crate) const RLIMITS: &[(&str, u32, u64)] = &[
    ("core", libc::RLIMIT_CORE, 0),
    ("memlock", libc::RLIMIT_MEMLOCK, 0),
    ("msgqueue", libc::RLIMIT_MSGQUEUE, 0),
    ("nice", libc::RLIMIT_NICE, 0),
    ("rtprio", libc::RLIMIT_RTPRIO, 0),
    ("sigpending", libc::RLIMIT_SIGPENDING, 256),
];
/// Descriptors of a program. Not the zygote's limit: the kernel counts a user's descriptors under way in sockets
/// against the limit of whoever sends one (unix(7)), and many children may send their listeners at once.
pub(crate) const OPEN_FILES: u64 = 64;

/// A request to fork, as received: limits and where the child's descriptors are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Job {
    pub(crate) cpu_seconds: u64,
    pub(crate) address_space: u64,
    pub(crate) file_size: u64,
    pub(crate) stack: u64,
    /// Starting threads is allowed where nobody counts them.
    pub(crate) threads: bool,
    /// Bytes of the program, and whether they are in the report file instead of the first message.
    pub(crate) text_length: u64,
    pub(crate) text_in_file: bool,
    /// Files for standard output and standard error, where somebody reads them.
    pub(crate) output: Option<(RawFd, RawFd)>,
    pub(crate) control: RawFd,
    pub(crate) report: RawFd,
}

/// The zygote's state. One per process; never dropped.
#[derive(Debug)]
pub struct Zygote {
    socket: RawFd,
    without: u64,
    /// What its children see as their parent's id.
    pub(crate) parent_id: i32,
    pub(crate) stage_two: Vec<sock_filter>,
    /// The same with threads refused.
    pub(crate) stage_two_single: Vec<sock_filter>,
    pub(crate) listen: bool,
    pub(crate) job: Option<Job>,
}

/// Which step of the set-up failed, and how.
fn step<T>(name: &str, result: io::Result<T>) -> Result<T, String> {
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
        let socket = step("keep the socket", sys::raise(0, FIRST_PRIVATE_FD))?.into_raw_fd();
        // 0 and 3..10 become /dev/null, so that what is received later lands above them. For reading and writing: the
        // official profiles have it for all three standard streams, and where nothing can be opened later, too.
        let null = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/null");
        let null = step("open /dev/null", null)?.into_raw_fd(); // one of those numbers itself
        for fd in std::iter::once(0).chain(3..FIRST_PRIVATE_FD) {
            step("reserve descriptors", sys::place(null, fd))?;
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

    /// Whether the layer is put on.
    pub fn has(&self, layer: Layer) -> bool {
        self.without & layer.bit() == 0
    }

    /// After the imports: gives up every right that no program needs, then says hello.
    ///
    /// # Errors
    /// Which step failed.
    pub fn seal(&mut self, world: &Readable) -> Result<(), String> {
        huge::gather()?;
        std::fs::write("/proc/self/oom_score_adj", "1000").ok(); // the trainer is worth more; a stub in gVisor
        sys::step_back();
        self.limit_resources()?;
        let grants = world.grants();
        let jailed_by_root = self.has(Layer::Jail) && self.can_mount_as_root_only(world)?;
        if jailed_by_root {
            namespaces::enter_mounts_as_root()?;
            jail::enter(&grants)?;
        }
        if self.has(Layer::Privileges) && sys::user() == 0 {
            switch_user(world)?;
        }
        if self.has(Layer::Namespaces) {
            namespaces::enter(namespaces::ALL)?;
        } else if self.has(Layer::Jail) && !jailed_by_root {
            namespaces::enter(namespaces::MOUNTS)?;
            jail::enter(&grants)?;
        }
        if self.has(Layer::Privileges) {
            drop_privileges()?;
        }
        let abi = sys::landlock_abi().unwrap_or(0);
        if self.has(Layer::Landlock) {
            if abi == 0 {
                return Err(
                    "this kernel has no Landlock (5.13 or later, and `landlock` in lsm=)".into(),
                );
            }
            let domain = step("Landlock rules", landlock::domain(abi, &grants))?;
            step("enter Landlock", landlock::enter(&domain))?;
        }
        let pair = step("socket pair", sys::socket_pair())?; // the filters allow no such pair
        let listener = if self.has(Layer::Seccomp) {
            self.install_filters()?
        } else {
            None
        };
        if self.has(Layer::Namespaces) {
            step("init of the pid namespace", sys::fork_init(pair))?;
            self.parent_id = 0; // a parent outside the namespace has no number inside
        }
        let hello = wire::words([
            wire::HELLO,
            abi as u64,
            sys::user().into(),
            self.listen.into(),
        ]);
        let fds = listener.as_ref().map(AsRawFd::as_raw_fd);
        let hello = sys::send(self.socket, &wire::pack(hello), fds.as_slice());
        step("say hello", hello)
    }

    /// Whether user namespaces are refused to whom this process will be, and root's own right to mount is not. Both are
    /// tried by use, in copies of this process.
    fn can_mount_as_root_only(&self, world: &Readable) -> Result<bool, String> {
        if sys::user() != 0 {
            return Ok(false);
        }
        let by_user = || {
            (!self.has(Layer::Privileges) || switch_user(world).is_ok())
                && namespaces::enter(namespaces::MOUNTS).is_ok()
        };
        let by_root = || namespaces::enter_mounts_as_root().is_ok();
        Ok(!step("try a user namespace", sys::ask_a_fork(by_user))?
            && step("try a mount namespace", sys::ask_a_fork(by_root))?)
    }

    /// Stage one now, with the listener that hears the questions of every child; stage two is built once and each child
    /// only writes its pid into it.
    fn install_filters(&mut self) -> Result<Option<OwnedFd>, String> {
        let arch = Arch::HERE.ok_or("no system-call table for this processor")?;
        let no_open = self.has(Layer::NoOpen);
        let install = |listen| {
            let stage_one = policy::stage_one(arch, StageOne::of(listen, no_open));
            sys::install(&stage_one, listen)
        };
        let mut installed = install(self.listen);
        // Somebody further out listens already, and there can be one only: nobody counts threads here.
        if matches!(&installed, Err(error) if error.raw_os_error() == Some(libc::EBUSY)) {
            self.listen = false;
            installed = install(false);
        }
        let listener = step("install seccomp stage one", installed)?;
        let hide_parent = self.has(Layer::Namespaces);
        let second = |threads| {
            let how = StageTwo {
                threads,
                hide_parent,
            };
            policy::stage_two(arch, how)
        };
        self.stage_two = second(Action::Allow); // as stage one says
        self.stage_two_single = second(Action::Errno(libc::EAGAIN));
        Ok(self.listen.then(|| sys::adopt(listener as RawFd)))
    }

    fn limit_resources(&self) -> Result<(), String> {
        if !self.has(Layer::Rlimits) {
            return Ok(());
        }
        for &(name, resource, value) in RLIMITS {
            step(name, sys::rlimit(resource, value, value))?;
        }
        Ok(())
    }

    /// Forks a process for each program that is asked for, and returns there: the program's text, and the bytes that a
    /// file of its own may have. Reaps on request in between; end of file ends the process.
    ///
    /// The interpreter is not told of the fork: it has one thread, and what it would make anew are locks that nobody
    /// holds, each of them a page to copy.
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

    /// Blocks until a program is to be forked.
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
                    ([wire::BURY, pid, ..], 0) => {
                        sys::reap(pid as i32).ok(); // nobody asks how it ended
                    }
                    _ => sys::exit(wire::SETUP_FAILED),
                },
                Ok((0, _)) => sys::exit(0), // the driver is gone
                _ => sys::exit(wire::SETUP_FAILED),
            }
        }
    }

    /// In the parent after the fork: tells the driver the pid, lets go of the child's descriptors.
    fn forked(&mut self, pid: i32) {
        if let Some(job) = self.job.take() {
            let (stdout, stderr) = job.output.unzip();
            for fd in [Some(job.control), Some(job.report), stdout, stderr] {
                drop::<Option<OwnedFd>>(fd.map(sys::adopt));
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

/// Becomes another user where the interpreter stays usable. One in root's home must stay root's: a lazy import would
/// fail later, in one program of many.
fn switch_user(world: &Readable) -> Result<(), String> {
    let usable = || sys::become_user(UNUSED_UID).is_ok() && world.is_readable();
    if step("try another user", sys::ask_a_fork(usable))? {
        sys::drop_bounding_set(); // an ordinary user may not any more
        step("become another user", sys::become_user(UNUSED_UID))?;
    }
    Ok(())
}

/// No capability, no new privileges, not dumpable.
fn drop_privileges() -> Result<(), String> {
    step("drop capabilities", sys::drop_capabilities())?;
    step(
        "no new privileges",
        sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1),
    )?;
    step("not dumpable", sys::prctl(libc::PR_SET_DUMPABLE, 0))?;
    // A change of user clears it.
    step(
        "die with the driver",
        sys::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64),
    )
    .map(drop)
}

/// So that a rule set's number can be entered without owning it.
pub(crate) struct Borrowed(pub(crate) RawFd);

impl AsRawFd for Borrowed {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}
