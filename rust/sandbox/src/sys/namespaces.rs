//! Namespaces, mounts, and the init process that keeps a pid namespace alive.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::ptr::{null, null_mut};

use libc::{c_int, c_long, c_ulong};

use super::result::{Sys, check};
use super::sockets;

/// Leaves the given namespaces for new ones (`CLONE_NEW*`). Needs a process with one thread for a user namespace.
pub(crate) fn unshare(kinds: c_int) -> Sys<()> {
    // SAFETY: no pointers.
    check(c_long::from(unsafe { libc::unshare(kinds) })).map(drop)
}

/// mount(2) with C strings; `None` is a null pointer.
pub(crate) fn mount(
    source: Option<&CStr>,
    target: &CStr,
    kind: Option<&CStr>,
    flags: c_ulong,
    data: Option<&CStr>,
) -> Sys<()> {
    let pointer = |text: Option<&CStr>| text.map_or(null(), CStr::as_ptr);
    // SAFETY: every pointer is null or a NUL-terminated string that outlives the call.
    check(c_long::from(unsafe {
        libc::mount(
            pointer(source),
            target.as_ptr(),
            pointer(kind),
            flags,
            pointer(data).cast(),
        )
    }))
    .map(drop)
}

/// Flags of the mount that holds an open path (`ST_*`, which for the lasting ones are the `MS_*` bits).
pub(crate) fn mount_flags(path: &CStr) -> Sys<c_ulong> {
    // SAFETY: an all-zero statvfs is valid and outlives the call.
    unsafe {
        let mut found: libc::statvfs = std::mem::zeroed();
        check(c_long::from(libc::statvfs(path.as_ptr(), &raw mut found)))?;
        Ok(found.f_flag)
    }
}

/// Makes the folder, which must be a mount point, the root of this mount namespace and forgets the old root.
pub(crate) fn pivot_root(folder: &CStr) -> Sys<()> {
    let here = c".".as_ptr();
    // SAFETY: NUL-terminated strings. Old and new root are the same path: the old one is stacked on top and
    // detached, pivot_root(2).
    unsafe {
        check(c_long::from(libc::chdir(folder.as_ptr())))?;
        check(libc::syscall(libc::SYS_pivot_root, here, here))?;
        check(c_long::from(libc::umount2(here, libc::MNT_DETACH)))?;
        check(c_long::from(libc::chdir(c"/".as_ptr()))).map(drop)
    }
}

/// Forks the first process of this process's new pid namespace: an init that reaps orphans until this
/// process ends. Only for single-threaded processes. The socket pair serves to learn that it is ready.
pub(crate) fn fork_init((ours, theirs): (OwnedFd, OwnedFd)) -> Sys<()> {
    // SAFETY: the caller has one thread; the copy makes plain system calls only and never returns.
    unsafe {
        let pid = libc::fork();
        if pid == 0 {
            reap_until_killed(ours.as_raw_fd(), theirs.as_raw_fd());
        }
        check(c_long::from(pid))?;
    }
    drop(theirs);
    let mut byte = [0; 1];
    match sockets::receive(ours.as_raw_fd(), &mut byte, &mut [-1; sockets::MAX_FDS])? {
        (1, _) => Ok(()),
        _ => Err(io::Error::other("the init of the pid namespace died")),
    }
}

/// What the init process does. The kernel ends its namespace with it, and it with its parent.
///
/// # Safety
/// In a fresh fork only: closes every descriptor and never returns.
unsafe fn reap_until_killed(parents: RawFd, own: RawFd) -> ! {
    // SAFETY: plain system calls on sets that outlive them.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0);
        let mut signals: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut signals);
        libc::sigprocmask(libc::SIG_BLOCK, &raw const signals, null_mut());
        // Fails if the parent ended before the line above; getppid() is 0 here in any case.
        libc::close(parents);
        if sockets::send(own, b"1", &[]).is_err() {
            libc::_exit(0);
        }
        libc::syscall(libc::SYS_close_range, 0u32, u32::MAX, 0u32);
        libc::sigemptyset(&raw mut signals);
        libc::sigaddset(&raw mut signals, libc::SIGCHLD);
        loop {
            libc::sigwaitinfo(&raw const signals, null_mut());
            while libc::waitpid(-1, null_mut(), libc::WNOHANG) > 0 {}
        }
    }
}
