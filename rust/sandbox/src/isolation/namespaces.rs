//! Kernel objects that programs no longer share with the machine: users, processes, networks, mounts, System V IPC.
//!
//! Done once, in the zygote; every program inherits it. That `unshare` succeeds proves nothing: some distributions
//! hand out user namespaces without any rights in them (Ubuntu since 23.10). So each step uses what it was given.
//!
//! The zygote itself stays in the old pid namespace: what it forks is born in the new one, while the zygote and the
//! driver go on using the pids that they know. An init of the new namespace waits beside it and reaps.

use std::io;

use crate::sys;

/// Everything at once: level S3.
pub(crate) const ALL: i32 = libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWNS;
/// What a mount jail needs.
pub(crate) const MOUNTS: i32 = libc::CLONE_NEWUSER | libc::CLONE_NEWNS;

fn step<T>(name: &str, result: io::Result<T>) -> Result<T, String> {
    result.map_err(|error| format!("{name}: {error}"))
}

/// Enters new namespaces. This process keeps its user and group ids; it holds every right inside until it drops them.
///
/// # Errors
/// Which step failed.
pub(crate) fn enter(kinds: i32) -> Result<(), String> {
    let (user, group) = (sys::user(), sys::group());
    // The files below belong to root while a process is not dumpable, as after a change of user.
    step("dumpable", sys::prctl(libc::PR_SET_DUMPABLE, 1))?;
    step("user namespace", sys::unshare(libc::CLONE_NEWUSER))?;
    let write = |file: &str, text: String| {
        step(
            &format!("user namespace, {file}"),
            std::fs::write(format!("/proc/self/{file}"), text),
        )
    };
    write("setgroups", "deny".to_owned())?;
    write("uid_map", format!("{user} {user} 1"))?;
    write("gid_map", format!("{group} {group} 1"))?;
    // Refused where the new user namespace carries no rights.
    step(
        "namespaces inside the user namespace",
        sys::unshare(kinds & !libc::CLONE_NEWUSER),
    )?;
    make_mounts_private()
}

/// Enters a mount namespace by root's own right (CAP_SYS_ADMIN), where user namespaces are refused.
///
/// # Errors
/// Which step failed.
pub(crate) fn enter_mounts_as_root() -> Result<(), String> {
    step("mount namespace", sys::unshare(libc::CLONE_NEWNS))?;
    make_mounts_private()
}

fn make_mounts_private() -> Result<(), String> {
    let private = libc::MS_REC | libc::MS_PRIVATE;
    step(
        "private mounts",
        sys::mount(None, c"/", None, private, None),
    )
}
