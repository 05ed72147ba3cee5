//! Inside the zygote: a warm interpreter that seals itself once and then forks a process per program.
//!
//! It holds no job data: code and inputs are read after the fork, in the child. It lives as long as its driver:
//! end of file on its socket, or the death of the thread that started it, ends it.

use std::fs::{File, read_dir};
use std::io;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use libc::sock_filter;

use crate::bpf::Action;
use crate::landlock::{self, Grant};
use crate::plan::Layer;
use crate::{policy, sys, wire};

/// Descriptors below this are a child's own; what the zygote keeps and receives lies at or above it.
const FIRST_PRIVATE_FD: RawFd = 10;
/// Unlikely to be anybody's: used when started by root and the interpreter stays readable.
const UNUSED_UID: u32 = 1_999_999_999;
/// Folders of shared libraries that lazily imported extension modules (ssl, zlib, ...) need.
const LIBRARY_FOLDERS: &[&str] = &["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib"];
/// Single things that honest programs read.
const READABLE: &[&str] = &[
    "/etc/ld.so.cache",
    "/dev/null",
    "/dev/urandom",
    "/dev/zero",
    "/usr/share/zoneinfo",
    "/etc/localtime",
];

/// A request to fork, as received: limits and where the child's descriptors are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Job {
    pub(crate) cpu_seconds: u64,
    pub(crate) address_space: u64,
    pub(crate) file_size: u64,
    pub(crate) stack: u64,
    pub(crate) stdout: RawFd,
    pub(crate) stderr: RawFd,
    pub(crate) control: RawFd,
    pub(crate) report: RawFd,
}

/// The zygote's state. One per process; never dropped.
#[derive(Debug)]
pub struct Zygote {
    socket: RawFd,
    without: u64,
    pub(crate) pid: i32,
    pub(crate) scope: Option<RawFd>,
    pub(crate) stage_two: Vec<sock_filter>,
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
        // 0 and 3..10 become /dev/null (as 1 is), so that what is received later lands above them.
        for fd in std::iter::once(0).chain(3..FIRST_PRIVATE_FD) {
            step("reserve descriptors", sys::place(1, fd))?;
        }
        let mut zygote = Self {
            socket,
            without,
            pid: sys::pid(),
            scope: None,
            stage_two: Vec::new(),
            listen: false,
            job: None,
        };
        zygote.listen = zygote.has(Layer::ThreadCap)
            && zygote.has(Layer::Seccomp)
            && sys::knows_action(Action::Notify.code());
        Ok(zygote)
    }

    pub(crate) fn has(&self, layer: Layer) -> bool {
        self.without & layer.bit() == 0
    }

    /// After the imports: gives up every right that no program needs, then says hello.
    ///
    /// `library` is the standard library's folder, `prefix` the interpreter's, `packages` what programs may import
    /// besides.
    ///
    /// # Errors
    /// Which step failed.
    pub fn seal(
        &mut self,
        library: &Path,
        prefix: &Path,
        packages: &[PathBuf],
    ) -> Result<(), String> {
        std::fs::write("/proc/self/oom_score_adj", "1000").ok(); // the trainer is worth more; a stub in gVisor
        sys::step_back();
        self.limit_resources()?;
        if self.has(Layer::Privileges) {
            Self::drop_privileges(library, packages)?;
        }
        let abi = sys::landlock_abi().unwrap_or(0);
        if self.has(Layer::Landlock) {
            if abi == 0 {
                return Err(
                    "this kernel has no Landlock (5.13 or later, and `landlock` in lsm=)".into(),
                );
            }
            let scope = step("Landlock scope", landlock::own_scope(abi))?;
            self.scope = scope.map(IntoRawFd::into_raw_fd);
            let domain = step(
                "Landlock rules",
                landlock::domain(abi, &grants(library, prefix, packages)),
            )?;
            step("enter Landlock", landlock::enter(&domain))?;
        }
        if self.has(Layer::Seccomp) {
            step(
                "install seccomp stage one",
                sys::install(&policy::stage_one(), false),
            )?;
        }
        self.reset_stage_two();
        let hello = wire::words([
            wire::HELLO,
            abi as u64,
            sys::user().into(),
            self.listen.into(),
        ]);
        step("say hello", sys::send(self.socket, &wire::pack(hello), &[]))
    }

    /// Builds the per-child filter once; each child only writes its pid into it.
    fn reset_stage_two(&mut self) {
        let threads = if self.listen {
            Action::Notify
        } else {
            Action::Allow
        };
        self.stage_two = policy::stage_two(threads);
    }

    fn limit_resources(&self) -> Result<(), String> {
        if !self.has(Layer::Rlimits) {
            return Ok(());
        }
        for (name, resource, value) in [
            ("core", libc::RLIMIT_CORE, 0),
            ("memlock", libc::RLIMIT_MEMLOCK, 0),
            ("msgqueue", libc::RLIMIT_MSGQUEUE, 0),
            ("nice", libc::RLIMIT_NICE, 0),
            ("rtprio", libc::RLIMIT_RTPRIO, 0),
            ("sigpending", libc::RLIMIT_SIGPENDING, 256),
            ("nofile", libc::RLIMIT_NOFILE, 64),
        ] {
            step(name, sys::rlimit(resource, value, value))?;
        }
        Ok(())
    }

    /// No new privileges, no capability, not dumpable; another user where the interpreter stays usable.
    fn drop_privileges(library: &Path, packages: &[PathBuf]) -> Result<(), String> {
        if sys::user() == 0 {
            // An interpreter in root's home must stay root's: a lazy import would fail later, in one program of many.
            let usable = || {
                sys::become_user(UNUSED_UID).is_ok()
                    && File::open(library.join("os.py")).is_ok()
                    && read_dir(library.join("lib-dynload")).is_ok()
                    && packages.iter().all(|folder| read_dir(folder).is_ok())
            };
            let user = step("try another user", sys::ask_a_fork(usable))?.then_some(UNUSED_UID);
            step("drop capabilities", sys::drop_capabilities(user))?;
        }
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

    /// Blocks until a program is to be forked. Reaps on request in between; end of file ends the process.
    pub fn next(&mut self) {
        let mut bytes = [0; wire::LENGTH];
        let mut fds = [-1; sys::MAX_FDS];
        loop {
            match sys::receive(self.socket, &mut bytes, &mut fds) {
                Ok((wire::LENGTH, count)) => match (wire::unpack(&bytes), count) {
                    ([wire::FORK, cpu_seconds, address_space, file_size, stack, ..], 4) => {
                        let [stdout, stderr, control, report] = fds;
                        self.job = Some(Job {
                            cpu_seconds,
                            address_space,
                            file_size,
                            stack,
                            stdout,
                            stderr,
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
    pub fn forked(&mut self, pid: i32) {
        if let Some(job) = self.job.take() {
            for fd in [job.stdout, job.stderr, job.control, job.report] {
                drop::<OwnedFd>(sys::adopt(fd));
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

/// What programs may read. Never a folder of installed packages as a whole: this package's own problems, with their
/// expected outputs, may lie there.
fn grants(library: &Path, prefix: &Path, packages: &[PathBuf]) -> Vec<Grant> {
    let shared = |name: &str| !name.starts_with("python");
    let standard = |name: &str| !matches!(name, "site-packages" | "dist-packages");
    let foreign = |name: &str| !name.starts_with("opsd_rs");
    let mut folders: Vec<PathBuf> = LIBRARY_FOLDERS.iter().map(PathBuf::from).collect();
    folders.push(prefix.join("lib")); // where conda keeps its shared libraries
    // `/lib` is often `/usr/lib` by another name.
    folders = folders
        .iter()
        .filter_map(|folder| folder.canonicalize().ok())
        .collect();
    folders.sort();
    folders.dedup();
    let mut all: Vec<Grant> = READABLE
        .iter()
        .map(|path| Grant::Read(PathBuf::from(path)))
        .collect();
    all.extend(
        folders
            .iter()
            .flat_map(|folder| landlock::entries(folder, shared)),
    );
    all.extend(landlock::entries(library, standard));
    all.extend(
        packages
            .iter()
            .flat_map(|folder| landlock::entries(folder, foreign)),
    );
    all
}

/// So that a rule set's number can be entered without owning it.
pub(crate) struct Borrowed(pub(crate) RawFd);

impl AsRawFd for Borrowed {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}
