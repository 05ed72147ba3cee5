//! A root folder of their own for the programs, instead of Landlock: a file system in memory that holds read-only bind
//! mounts of what they may read, and nothing else. For kernels without Landlock, and gVisor.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use crate::isolation::landlock::Grant;
use crate::sys;

/// Folders to mount the new root on while it is built: the first that exists and holds nothing granted is used.
const SITES: [&str; 4] = ["/mnt", "/tmp", "/run", "/proc"];
/// Mount flags that a user namespace must not clear, mount_namespaces(7).
const LASTING: u64 = libc::MS_NOSUID
    | libc::MS_NODEV
    | libc::MS_NOEXEC
    | libc::MS_NOATIME
    | libc::MS_NODIRATIME
    | libc::MS_RELATIME;
/// Size of the file system: it holds only mount points.
const OPTIONS: &CStr = c"size=4m,nr_inodes=8192,mode=755";

fn step<T>(name: impl std::fmt::Display, result: io::Result<T>) -> Result<T, String> {
    result.map_err(|error| format!("mount jail, {name}: {error}"))
}

fn c(path: &Path) -> Result<CString, String> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| format!("{}: a NUL", path.display()))
}

/// Builds the jail and makes it the root. Needs the mount namespace of [`crate::isolation::namespaces::MOUNTS`].
///
/// # Errors
/// Which step failed.
pub(crate) fn enter(grants: &[Grant]) -> Result<(), String> {
    let site = SITES
        .iter()
        .map(Path::new)
        .find(|site| site.is_dir() && !grants.iter().any(|grant| grant.path().starts_with(site)))
        .ok_or("mount jail: no folder to build it on (/mnt, /tmp, /run, /proc)")?;
    let flags = libc::MS_NOSUID | libc::MS_NODEV;
    let root = c(site)?;
    step(
        "file system in memory",
        sys::mount(Some(c"jail"), &root, Some(c"tmpfs"), flags, Some(OPTIONS)),
    )?;
    link_top_level(site)?;
    for grant in grants {
        place(site, grant)?;
    }
    hide_parents(site, grants)?;
    step("new root", sys::pivot_root(&root))?;
    let read_only = libc::MS_REMOUNT | libc::MS_BIND | libc::MS_RDONLY | flags;
    step(
        "read-only root",
        sys::mount(None, c"/", None, read_only, None),
    )
}

/// Links such as `/lib -> usr/lib`, which the paths in the loader's cache use.
fn link_top_level(site: &Path) -> Result<(), String> {
    for entry in step("root folder", fs::read_dir("/"))?.flatten() {
        if let Ok(target) = entry.path().read_link()
            && target.components().count() <= 2
        {
            step("links", symlink(target, site.join(entry.file_name())))?;
        }
    }
    Ok(())
}

/// Parents of granted paths can be traversed, not listed.
fn hide_parents(site: &Path, grants: &[Grant]) -> Result<(), String> {
    let granted = |path: &Path| grants.iter().any(|grant| grant.path() == path);
    let parents: BTreeSet<&Path> = grants
        .iter()
        .flat_map(|grant| grant.path().ancestors().skip(1))
        .filter(|path| !granted(path))
        .collect();
    for parent in parents {
        let inside = site.join(parent.strip_prefix("/").unwrap_or(parent));
        if inside.is_dir() && !inside.is_symlink() {
            step(
                "parent folders",
                fs::set_permissions(inside, Permissions::from_mode(0o111)),
            )?;
        }
    }
    Ok(())
}

/// Adds one grant: an empty folder for one that may be listed, a bind mount for what may be read.
fn place(site: &Path, grant: &Grant) -> Result<(), String> {
    let path = grant.path();
    let Ok(real) = path.canonicalize() else {
        return Ok(()); // does not exist here, as with Landlock
    };
    let inside = site.join(path.strip_prefix("/").unwrap_or(path));
    let name = || path.display().to_string();
    if let Some(parent) = inside.parent() {
        step(name(), fs::create_dir_all(parent))?;
    }
    if real.is_dir() {
        step(name(), fs::create_dir_all(&inside))?;
    } else if !inside.exists() {
        step(name(), fs::write(&inside, ""))?;
    }
    if matches!(grant, Grant::List(_)) {
        return Ok(());
    }
    let target = c(&inside)?;
    let Ok(()) = sys::mount(
        Some(&c(&real)?),
        &target,
        None,
        libc::MS_BIND | libc::MS_REC,
        None,
    ) else {
        return Ok(()); // this user cannot read it: nothing to grant
    };
    let keep = step(name(), sys::mount_flags(&target))? & LASTING;
    let flags = libc::MS_REMOUNT | libc::MS_BIND | libc::MS_RDONLY | keep;
    step(name(), sys::mount(None, &target, None, flags, None))
}
