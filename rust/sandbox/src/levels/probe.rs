//! Which mechanisms work on this machine, for `doctor`: each is tried, and nothing is changed permanently.

use std::fs;

use crate::driver::delegation;
use crate::isolation::seccomp::bpf::Action;
use crate::isolation::seccomp::calls::Arch;
use crate::sys;

/// One mechanism and whether it works here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerStatus {
    /// `seccomp`, `landlock`, `user_notif`, ...
    pub name: &'static str,
    /// Grading refuses to start without it.
    pub required: bool,
    /// It works.
    pub available: bool,
    /// Its version, or why it is missing and what follows.
    pub detail: String,
}

/// Tries every mechanism that the sandbox uses.
pub fn probe() -> Vec<LayerStatus> {
    let known = Arch::HERE.is_some();
    let seccomp = known && sys::knows_action(Action::Kill.code());
    let abi = sys::landlock_abi();
    let pidfd = sys::pidfd(sys::pid());
    let notif = seccomp && sys::knows_action(Action::Notify.code());
    let addresses = sys::personality(None).and_then(|now| sys::personality(Some(now)));
    let fixed = addresses.is_ok() && can_fix_addresses();
    let delay = fs::read_to_string("/proc/self/schedstat").is_ok();
    let root = sys::user() == 0;
    let group = delegation::find();
    vec![
        LayerStatus {
            name: "seccomp",
            required: true,
            available: seccomp,
            detail: match (known, seccomp) {
                (false, _) => "the system-call tables are for x86-64 and aarch64 only".to_owned(),
                (_, true) => "system-call filters with KILL_PROCESS".to_owned(),
                _ => "needs Linux 4.14 with CONFIG_SECCOMP_FILTER".to_owned(),
            },
        },
        LayerStatus {
            name: "landlock",
            required: true,
            available: abi.is_ok(),
            detail: match &abi {
                Ok(version @ 6..) => {
                    format!("ABI {version}: files, TCP, abstract sockets and signals")
                }
                Ok(version @ 4..) => {
                    format!("ABI {version}: files, TCP; seccomp alone guards the rest")
                }
                Ok(version) => format!("ABI {version}: files; seccomp alone guards the rest"),
                Err(error) => format!("needs Linux 5.13 and `landlock` in lsm= ({error})"),
            },
        },
        LayerStatus {
            name: "pidfd",
            required: true,
            available: pidfd.is_ok(),
            detail: match &pidfd {
                Ok(_) => "a process is killed by handle, never by number".to_owned(),
                Err(error) => format!("needs Linux 5.3 ({error})"),
            },
        },
        LayerStatus {
            name: "user_notif",
            required: false,
            available: notif,
            detail: if notif {
                "threads are counted one by one".to_owned()
            } else {
                "threads are bounded by the address space only".to_owned()
            },
        },
        LayerStatus {
            name: "fixed_addresses",
            required: false,
            available: fixed,
            detail: if fixed {
                "printed addresses are equal in every run".to_owned()
            } else {
                "personality(2) is refused: programs that print addresses differ from run to run"
                    .to_owned()
            },
        },
        LayerStatus {
            name: "run_delay",
            required: false,
            available: delay,
            detail: if delay {
                "a loaded machine's delay is told from a sleeping program".to_owned()
            } else {
                "no /proc/*/schedstat: idleness is judged by a generous wall limit".to_owned()
            },
        },
        LayerStatus {
            name: "control_group",
            required: false,
            available: group.is_ok(),
            detail: match &group {
                Ok(place) => place.describe(),
                Err(cause) => format!(
                    "{cause}: memory is bounded per program and by the governor alone. For the kernel's bound start \
                     with `systemd-run --user --scope -p Delegate=yes COMMAND`; in a container mount cgroup v2 writable"
                ),
            },
        },
        LayerStatus {
            name: "unprivileged",
            required: false,
            available: !root,
            detail: if root {
                "started by root: programs run without capabilities, as another user where Python is readable to all"
                    .to_owned()
            } else {
                format!("user {}", sys::user())
            },
        },
    ]
}

/// Tries it on a new thread: a personality belongs to a thread.
fn can_fix_addresses() -> bool {
    std::thread::spawn(|| {
        let now = sys::personality(None)?;
        sys::personality(Some(now | crate::driver::spawn::NO_RANDOM_ADDRESSES))
    })
    .join()
    .is_ok_and(|result| result.is_ok())
}

#[cfg(test)]
mod tests {
    #[test]
    fn probe_names_each_mechanism_once_and_gives_a_cause() {
        let mut names: Vec<_> = super::probe().iter().map(|status| status.name).collect();
        assert!(
            super::probe()
                .iter()
                .all(|status| !status.detail.is_empty())
        );
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 8);
    }
}
