//! Namespaces of the programs' own: users, processes, networks, mounts, System V IPC.
//!
//! Entered once, by the zygote; every program inherits them. That `unshare` succeeds proves nothing: some distributions
//! create user namespaces without any rights in them (Ubuntu since 23.10). So each step uses the rights that it got.
//!
//! The zygote itself stays in the old pid namespace: its forks start in the new one, while the zygote and the driver
//! keep using the pids that they know. An init process of the new namespace reaps orphans.

use std::io;

use crate::sys;

/// All of them: level S3.
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

/// Enters new namespaces. This process keeps its user and group ids; it has every right inside until it drops them.
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
    // Refused if the new user namespace has no rights.
    step(
        "namespaces inside the user namespace",
        sys::unshare(kinds & !libc::CLONE_NEWUSER),
    )?;
    make_mounts_private()
}

/// Enters a mount namespace as root (CAP_SYS_ADMIN), for machines that refuse user namespaces.
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
