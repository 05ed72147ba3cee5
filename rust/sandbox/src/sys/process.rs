//! Other processes: handles, clocks, requests for threads, exits; and this process's ids.

use std::io;
use std::mem::zeroed;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::null;

use libc::{c_int, c_long};

use super::result::{Sys, check, owned};

/// A handle that never refers to another process. The pid must not have been reaped yet.
pub(crate) fn pidfd(pid: i32) -> Sys<OwnedFd> {
    // SAFETY: no pointers.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })
}

/// SIGKILL through a handle; a process that has already ended is fine.
pub(crate) fn kill(pidfd: &OwnedFd) {
    // SAFETY: no pointers but a null siginfo.
    unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            libc::SIGKILL,
            null::<libc::siginfo_t>(),
            0,
        );
    }
}

/// Whether this process may signal another.
pub(crate) fn may_signal(pid: i32) -> bool {
    // SAFETY: signal 0 is never delivered.
    unsafe { libc::kill(pid, 0) == 0 }
}

/// CPU seconds (user + system, all threads) of another process so far; works on zombies.
pub(crate) fn cpu_seconds(pid: i32) -> Sys<f64> {
    let clock = (!pid << 3) | 2; // CPUCLOCK_SCHED of that process, see clock_getcpuclockid(3)
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the struct outlives the call.
    check(c_long::from(unsafe {
        libc::clock_gettime(clock, &raw mut time)
    }))?;
    Ok(time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9)
}

/// `SECCOMP_IOCTL_NOTIF_RECV`, `SECCOMP_IOCTL_NOTIF_SEND` (linux/seccomp.h).
const NOTIF_RECV: u64 = 0xc050_2100;
const NOTIF_SEND: u64 = 0xc018_2101;

/// Takes one pending notification: its id and the call's number. `None`: it has been withdrawn (its thread was killed).
pub(crate) fn notification(listener: &OwnedFd) -> Sys<Option<(u64, u32)>> {
    // SAFETY: an all-zero request is what the kernel asks for; it outlives the call.
    unsafe {
        let mut request: libc::seccomp_notif = zeroed();
        match check(c_long::from(libc::ioctl(
            listener.as_raw_fd(),
            NOTIF_RECV as _,
            &raw mut request,
        ))) {
            Ok(_) => Ok(Some((request.id, request.data.nr as u32))),
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::EINTR)) => Ok(None),
            Err(e) => Err(e),
        }
    }
}

/// Answers a notification: run the call, or fail it with `errno`. A thread that has ended meanwhile is fine.
pub(crate) fn answer(listener: &OwnedFd, id: u64, errno: Option<i32>) {
    let response = libc::seccomp_notif_resp {
        id,
        val: 0,
        error: errno.map_or(0, |e| -e),
        flags: if errno.is_none() {
            libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32
        } else {
            0
        },
    };
    // SAFETY: the struct outlives the call.
    unsafe { libc::ioctl(listener.as_raw_fd(), NOTIF_SEND as _, &raw const response) };
}

/// Reads this thread's personality, or sets it.
pub(crate) fn personality(persona: Option<u32>) -> Sys<u32> {
    // SAFETY: no pointers.
    let old = unsafe { libc::personality(persona.map_or(0xffff_ffff, Into::into)) };
    check(c_long::from(old)).map(|old| old as u32)
}

/// Forks: 0 in the copy, its pid here. Only for single-threaded processes.
pub(crate) fn fork() -> Sys<i32> {
    // SAFETY: the caller's process has one thread, so that no lock is held in the copy.
    check(c_long::from(unsafe { libc::fork() })).map(|pid| pid as i32)
}

/// Runs `test` in a forked copy of this process and returns its result. Only for single-threaded processes.
pub(crate) fn try_in_fork(test: impl FnOnce() -> bool) -> Sys<bool> {
    // SAFETY: the caller's process has one thread, so the copy may allocate; it ends with _exit.
    unsafe {
        let pid = libc::fork();
        if pid == 0 {
            libc::_exit(i32::from(!test()));
        }
        check(c_long::from(pid))?;
        let mut status = 0;
        check(c_long::from(libc::waitpid(pid, &raw mut status, 0)))?;
        Ok(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0)
    }
}

/// What wait4 says about an ended child: (status, CPU seconds, peak resident KiB).
pub(crate) fn reap(pid: i32) -> Sys<(i32, f64, u64)> {
    let mut status = 0;
    // SAFETY: both structs outlive the call; an all-zero rusage is valid.
    unsafe {
        let mut usage: libc::rusage = zeroed();
        loop {
            match check(c_long::from(libc::wait4(
                pid,
                &raw mut status,
                0,
                &raw mut usage,
            ))) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => break other.map(drop)?,
            }
        }
        let seconds = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 * 1e-6;
        Ok((
            status,
            seconds(usage.ru_utime) + seconds(usage.ru_stime),
            usage.ru_maxrss as u64,
        ))
    }
}

/// This process's id.
pub(crate) fn pid() -> i32 {
    // SAFETY: no arguments, cannot fail.
    unsafe { libc::getpid() }
}

/// The parent's pid.
pub(crate) fn parent_pid() -> i32 {
    // SAFETY: no arguments, cannot fail.
    unsafe { libc::getppid() }
}

/// The effective user.
pub(crate) fn user() -> u32 {
    // SAFETY: no arguments, cannot fail.
    unsafe { libc::geteuid() }
}

/// Ends the process at once.
pub(crate) fn exit(code: c_int) -> ! {
    // SAFETY: does not return.
    unsafe { libc::_exit(code) }
}

/// CPU time of this process, all threads.
pub(crate) fn own_cpu_nanoseconds() -> u64 {
    // SAFETY: an all-zero timespec is valid and outlives the call, which cannot fail for this clock.
    unsafe {
        let mut time: libc::timespec = zeroed();
        libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time);
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    }
}

/// Peak resident memory of this process, KiB.
pub(crate) fn peak_kib() -> u64 {
    // SAFETY: an all-zero rusage is valid and outlives the call, which cannot fail for RUSAGE_SELF.
    unsafe {
        let mut usage: libc::rusage = zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage.ru_maxrss as u64
    }
}

/// The effective group.
pub(crate) fn group() -> u32 {
    // SAFETY: no arguments, cannot fail.
    unsafe { libc::getegid() }
}

/// Processors that are switched on: no process has more CPU seconds than that in a second.
pub(crate) fn num_cores() -> usize {
    // SAFETY: no pointers; -1 where the number is unknown.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) })
        .unwrap_or(usize::MAX)
        .max(1)
}
