//! The system calls of this crate, each as one safe function: no policy, no allocation unless the name says so.
//!
//! Everything `unsafe` outside [`crate::child`] lives here.
#![allow(unsafe_code)]

use std::io;
use std::mem::{MaybeUninit, size_of, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::null;
use std::time::Duration;

use libc::{c_int, c_long, pollfd, sock_filter};

/// Result of a call; the error is its errno.
pub(crate) type Sys<T> = io::Result<T>;

fn check(result: c_long) -> Sys<c_long> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn owned(result: c_long) -> Sys<OwnedFd> {
    // SAFETY: the kernel has just made this descriptor for us; nobody else owns it.
    check(result).map(|fd| unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// An anonymous file in memory, close-on-exec.
pub(crate) fn memfd(name: &std::ffi::CStr) -> Sys<OwnedFd> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // SAFETY: name is a NUL-terminated string.
    owned(c_long::from(unsafe {
        libc::memfd_create(name.as_ptr(), flags)
    }))
}

/// Makes a memfd read-only for ever.
pub(crate) fn seal(fd: &OwnedFd) -> Sys<()> {
    let seals = libc::F_SEAL_WRITE | libc::F_SEAL_GROW | libc::F_SEAL_SHRINK | libc::F_SEAL_SEAL;
    // SAFETY: plain fcntl on an open descriptor.
    check(c_long::from(unsafe {
        libc::fcntl(fd.as_raw_fd(), libc::F_ADD_SEALS, seals)
    }))
    .map(drop)
}

/// Writes all of it at the start of the file; the offset stays where it is.
pub(crate) fn pwrite_all(fd: &OwnedFd, mut bytes: &[u8]) -> Sys<()> {
    let mut offset = 0;
    while !bytes.is_empty() {
        // SAFETY: pointer and length describe one live slice.
        let n = check(unsafe {
            libc::pwrite(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), offset) as c_long
        })?;
        bytes = &bytes[n as usize..];
        offset += n;
    }
    Ok(())
}

/// Size of an open file.
pub(crate) fn size(fd: &OwnedFd) -> Sys<u64> {
    let mut stat = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the kernel fills the struct when it returns 0.
    check(c_long::from(unsafe {
        libc::fstat(fd.as_raw_fd(), stat.as_mut_ptr())
    }))?;
    // SAFETY: filled, see above.
    Ok(unsafe { stat.assume_init() }.st_size as u64)
}

/// A copy of `length` bytes at `offset`, less if the file ends before. Allocates.
pub(crate) fn pread(fd: &OwnedFd, offset: u64, length: u64) -> Sys<Vec<u8>> {
    let mut bytes = vec![0; length as usize];
    let mut filled = 0;
    while filled < bytes.len() {
        let rest = &mut bytes[filled..];
        // SAFETY: pointer and length describe one live slice.
        let n = check(unsafe {
            let at = offset as i64 + filled as i64;
            libc::pread(fd.as_raw_fd(), rest.as_mut_ptr().cast(), rest.len(), at) as c_long
        })?;
        if n == 0 {
            break;
        }
        filled += n as usize;
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// Empties a file and starts again at its beginning, for everyone who shares the open file.
pub(crate) fn rewind(fd: &OwnedFd) -> Sys<()> {
    // SAFETY: plain calls on an open descriptor.
    unsafe {
        check(c_long::from(libc::ftruncate(fd.as_raw_fd(), 0)))?;
        check(libc::lseek(fd.as_raw_fd(), 0, libc::SEEK_SET) as c_long).map(drop)
    }
}

/// A pair of connected sockets that keep message borders, close-on-exec.
pub(crate) fn socket_pair() -> Sys<(OwnedFd, OwnedFd)> {
    let mut fds = [0; 2];
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
    // SAFETY: the array holds two descriptors.
    check(c_long::from(unsafe {
        libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr())
    }))?;
    // SAFETY: both are new and ours.
    Ok(unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) })
}

/// Most descriptors in one message.
pub(crate) const MAX_FDS: usize = 4;

#[repr(C, align(8))]
struct Ancillary([u8; 64]);

/// Sends one message, with descriptors. A dead peer is an error, not a signal.
pub(crate) fn send(socket: RawFd, bytes: &[u8], fds: &[RawFd]) -> Sys<()> {
    assert!(fds.len() <= MAX_FDS);
    let mut iov = libc::iovec {
        iov_base: bytes.as_ptr() as *mut _,
        iov_len: bytes.len(),
    };
    let mut space = Ancillary([0; 64]);
    // SAFETY: an all-zero msghdr is valid; every pointer set below outlives the call; the control buffer is
    // aligned for cmsghdr and larger than CMSG_SPACE(4 * MAX_FDS) = 32.
    let sent = unsafe {
        let mut message: libc::msghdr = zeroed();
        message.msg_iov = &raw mut iov;
        message.msg_iovlen = 1;
        if !fds.is_empty() {
            let length = size_of_val(fds) as u32;
            message.msg_control = space.0.as_mut_ptr().cast();
            message.msg_controllen = libc::CMSG_SPACE(length) as _;
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(length) as _;
            libc::CMSG_DATA(header).copy_from_nonoverlapping(fds.as_ptr().cast(), size_of_val(fds));
        }
        libc::sendmsg(socket, &raw const message, libc::MSG_NOSIGNAL)
    };
    check(sent as c_long).map(drop)
}

/// Receives one message into `bytes`; descriptors that came with it go to `fds`, close-on-exec.
/// Returns (bytes, descriptors); 0 bytes is the end.
pub(crate) fn receive(
    socket: RawFd,
    bytes: &mut [u8],
    fds: &mut [RawFd; MAX_FDS],
) -> Sys<(usize, usize)> {
    let mut iov = libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    };
    let mut space = Ancillary([0; 64]);
    // SAFETY: as in `send`; the kernel writes at most msg_controllen bytes, and CMSG_SPACE(16) = 32 bounds the
    // number of descriptors to four.
    unsafe {
        let mut message: libc::msghdr = zeroed();
        message.msg_iov = &raw mut iov;
        message.msg_iovlen = 1;
        message.msg_control = space.0.as_mut_ptr().cast();
        message.msg_controllen = libc::CMSG_SPACE(size_of::<[RawFd; MAX_FDS]>() as u32) as _;
        let n = loop {
            match check(libc::recvmsg(socket, &raw mut message, libc::MSG_CMSG_CLOEXEC) as c_long) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        let mut count = 0;
        if !header.is_null() && (*header).cmsg_type == libc::SCM_RIGHTS {
            count = ((*header).cmsg_len as usize - libc::CMSG_LEN(0) as usize) / size_of::<RawFd>();
            count = count.min(MAX_FDS);
            let data: *const RawFd = libc::CMSG_DATA(header).cast();
            for (index, slot) in fds.iter_mut().enumerate().take(count) {
                *slot = data.add(index).read_unaligned();
            }
        }
        Ok((n as usize, count))
    }
}

/// Receives without descriptors: any that come along are dropped by the kernel. `Ok(None)`: nothing there yet.
pub(crate) fn receive_plain(socket: &OwnedFd, bytes: &mut [u8]) -> Sys<Option<usize>> {
    // SAFETY: pointer and length describe one live slice.
    let n = unsafe {
        libc::recv(
            socket.as_raw_fd(),
            bytes.as_mut_ptr().cast(),
            bytes.len(),
            libc::MSG_DONTWAIT,
        )
    };
    match check(n as c_long) {
        Ok(n) => Ok(Some(n as usize)),
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(e) => Err(e),
    }
}

/// Takes ownership of a descriptor that a message brought.
pub(crate) fn adopt(fd: RawFd) -> OwnedFd {
    // SAFETY: called once per descriptor returned by `receive`.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Waits until one of the descriptors can be read; negative ones are skipped. Returns which are readable or hung up.
pub(crate) fn wait<const N: usize>(fds: [RawFd; N], timeout: Duration) -> Sys<[bool; N]> {
    let mut polled = fds.map(|fd| pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    });
    let time = libc::timespec {
        tv_sec: timeout.as_secs().min(1 << 30) as _,
        tv_nsec: timeout.subsec_nanos().into(),
    };
    // SAFETY: the array outlives the call; no signal mask.
    let n = unsafe { libc::ppoll(polled.as_mut_ptr(), N as _, &raw const time, null()) };
    match check(c_long::from(n)) {
        Ok(_) => Ok(polled.map(|p| p.revents != 0)),
        Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok([false; N]),
        Err(e) => Err(e),
    }
}

/// A handle that cannot come to mean another process. The pid must not have been reaped yet.
pub(crate) fn pidfd(pid: i32) -> Sys<OwnedFd> {
    // SAFETY: no pointers.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })
}

/// SIGKILL through a handle; a process that is already gone is fine.
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

/// Takes one pending notification. `None`: it is gone again (its thread was killed).
pub(crate) fn notification(listener: &OwnedFd) -> Sys<Option<u64>> {
    // SAFETY: an all-zero request is what the kernel asks for; it outlives the call.
    unsafe {
        let mut request: libc::seccomp_notif = zeroed();
        match check(c_long::from(libc::ioctl(
            listener.as_raw_fd(),
            NOTIF_RECV as _,
            &raw mut request,
        ))) {
            Ok(_) => Ok(Some(request.id)),
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::EINTR)) => Ok(None),
            Err(e) => Err(e),
        }
    }
}

/// Answers a notification: run the call, or fail it with `errno`. A thread that died meanwhile is fine.
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

/// Sets one resource limit of this process, soft and hard.
pub(crate) fn rlimit(resource: u32, soft: u64, hard: u64) -> Sys<()> {
    let limit = libc::rlimit {
        rlim_cur: soft,
        rlim_max: hard,
    };
    // SAFETY: the struct outlives the call.
    check(c_long::from(unsafe {
        libc::setrlimit(resource as _, &raw const limit)
    }))
    .map(drop)
}

/// prctl(2) with integer arguments.
pub(crate) fn prctl(option: c_int, argument: u64) -> Sys<c_long> {
    // SAFETY: only options without pointer arguments are used in this crate.
    check(c_long::from(unsafe {
        libc::prctl(option, argument, 0u64, 0u64, 0u64)
    }))
}

/// Reads this thread's personality, or sets it.
pub(crate) fn personality(persona: Option<u32>) -> Sys<u32> {
    // SAFETY: no pointers.
    let old = unsafe { libc::personality(persona.map_or(0xffff_ffff, Into::into)) };
    check(c_long::from(old)).map(|old| old as u32)
}

/// Installs a filter on this thread; with `listen` returns the notification listener.
pub(crate) fn install(filter: &[sock_filter], listen: bool) -> Sys<c_long> {
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_ptr().cast_mut(),
    };
    let flags = if listen {
        libc::SECCOMP_FILTER_FLAG_NEW_LISTENER
    } else {
        0
    };
    // SAFETY: the program outlives the call and the kernel only reads it.
    check(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const program,
        )
    })
}

/// Whether the kernel knows a seccomp action.
pub(crate) fn knows_action(action: u32) -> bool {
    // SAFETY: the integer outlives the call.
    unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_GET_ACTION_AVAIL,
            0,
            &raw const action,
        ) == 0
    }
}

/// Raw system call with integer arguments, for the few that need no pointers.
pub(crate) fn call(number: c_long, a: u64, b: u64, c: u64) -> Sys<c_long> {
    // SAFETY: callers pass integers only.
    check(unsafe { libc::syscall(number, a, b, c) })
}

/// `landlock_create_ruleset`: the ABI version, or a new rule set.
pub(crate) fn landlock_abi() -> Sys<c_long> {
    // SAFETY: a null attribute with size 0 asks for the version.
    check(unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            null::<u8>(),
            0usize,
            1u32,
        )
    })
}

/// A rule set from `struct landlock_ruleset_attr` = {fs, net, scoped}, of which `words` are known to this kernel.
pub(crate) fn landlock_ruleset(attr: [u64; 3], words: usize) -> Sys<OwnedFd> {
    // SAFETY: the array outlives the call, words * 8 <= its size.
    owned(unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            attr.as_ptr(),
            words.min(3) * 8,
            0u32,
        )
    })
}

/// Allows `rights` beneath an open path.
pub(crate) fn landlock_allow(ruleset: &OwnedFd, rights: u64, beneath: &OwnedFd) -> Sys<()> {
    #[repr(C, packed)]
    struct PathBeneath {
        rights: u64,
        fd: i32,
    }
    let attr = PathBeneath {
        rights,
        fd: beneath.as_raw_fd(),
    };
    // SAFETY: the struct has the kernel's layout (packed) and outlives the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_landlock_add_rule,
            ruleset.as_raw_fd(),
            1,
            &raw const attr,
            0u32,
        )
    })
    .map(drop)
}

/// Opens a path only to name it.
pub(crate) fn open_path(path: &std::ffi::CStr) -> Sys<OwnedFd> {
    // SAFETY: a NUL-terminated string.
    owned(c_long::from(unsafe {
        libc::open(path.as_ptr(), libc::O_PATH | libc::O_CLOEXEC)
    }))
}

/// Gives up every capability of this process for good; on the way becomes `user` if given.
pub(crate) fn drop_capabilities(user: Option<u32>) -> Sys<()> {
    for capability in 0..64 {
        if prctl(libc::PR_CAPBSET_DROP, capability).is_err() {
            break; // past the last one, or not privileged: then there is nothing to drop
        }
    }
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as u64).ok(); // absent before 4.3
    if let Some(id) = user {
        become_user(id)?;
    }
    let header = [0x2008_0522u32, 0]; // _LINUX_CAPABILITY_VERSION_3, this thread
    let none = [0u32; 6];
    // SAFETY: header and data have the sizes of version 3 and outlive the call.
    check(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) }).map(drop)
}

/// Becomes another user and group, for good, without supplementary groups.
pub(crate) fn become_user(id: u32) -> Sys<()> {
    // SAFETY: integers and a null list.
    unsafe {
        check(c_long::from(libc::setgroups(0, null())))?;
        check(c_long::from(libc::setresgid(id, id, id)))?;
        check(c_long::from(libc::setresuid(id, id, id))).map(drop)
    }
}

/// Runs `test` in a forked copy and returns whether it said yes. Only for single-threaded processes.
pub(crate) fn ask_a_fork(test: impl FnOnce() -> bool) -> Sys<bool> {
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

/// What wait4 says about a dead child: (status, CPU seconds, peak resident KiB).
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

/// This process's ids.
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

/// `dup2` onto a fixed number, not close-on-exec.
pub(crate) fn place(fd: RawFd, at: RawFd) -> Sys<()> {
    // SAFETY: integers; the callers own both numbers.
    check(c_long::from(unsafe { libc::dup2(fd, at) })).map(drop)
}

/// A copy of a descriptor at `least` or above, close-on-exec.
pub(crate) fn raise(fd: RawFd, least: c_int) -> Sys<OwnedFd> {
    // SAFETY: integers.
    owned(c_long::from(unsafe {
        libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, least)
    }))
}

/// Closes every descriptor from `first` on.
pub(crate) fn close_from(first: u32) -> Sys<()> {
    call(libc::SYS_close_range, first.into(), u32::MAX.into(), 0).map(drop)
}

/// Ends the process at once.
pub(crate) fn exit(code: c_int) -> ! {
    // SAFETY: does not return.
    unsafe { libc::_exit(code) }
}

/// Best-effort write of a short text.
pub(crate) fn write(fd: RawFd, bytes: &[u8]) {
    // SAFETY: pointer and length describe one live slice.
    unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) };
}

/// Sets a soft limit (at most the hard one) and leaves the hard one.
pub(crate) fn soft_rlimit(resource: u32, soft: u64) -> Sys<()> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the struct outlives both calls.
    check(c_long::from(unsafe {
        libc::getrlimit(resource as _, &raw mut limit)
    }))?;
    rlimit(resource, soft.min(limit.rlim_max), limit.rlim_max)
}

/// Peak resident memory of this process, KiB.
pub(crate) fn own_peak_kib() -> u64 {
    // SAFETY: an all-zero rusage is valid and outlives the call, which cannot fail for RUSAGE_SELF.
    unsafe {
        let mut usage: libc::rusage = zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage.ru_maxrss as u64
    }
}
