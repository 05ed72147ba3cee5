//! What a process gives up, permanently: resources, system calls, files, capabilities.

use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::null;
use std::sync::{Mutex, PoisonError};

use libc::{c_int, c_long, sock_filter};

use super::result::{Sys, check, owned};

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

/// No descendant of this process can regain a capability. Does nothing without the right to do so.
pub(crate) fn drop_bounding_set() {
    for capability in 0..64 {
        if prctl(libc::PR_CAPBSET_DROP, capability).is_err() {
            break; // past the last one, or not privileged: then there is nothing to drop
        }
    }
}

/// Gives up every capability of this process, permanently.
pub(crate) fn drop_capabilities() -> Sys<()> {
    drop_bounding_set();
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as u64).ok(); // absent before 4.3
    let header = [0x2008_0522u32, 0]; // _LINUX_CAPABILITY_VERSION_3, this thread
    let none = [0u32; 6];
    // SAFETY: header and data have the sizes of version 3 and outlive the call.
    check(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) }).map(drop)
}

/// Becomes another user and group, permanently, without supplementary groups.
pub(crate) fn set_user(id: u32) -> Sys<()> {
    // SAFETY: integers and a null list.
    unsafe {
        check(c_long::from(libc::setgroups(0, null())))?;
        check(c_long::from(libc::setresgid(id, id, id)))?;
        check(c_long::from(libc::setresuid(id, id, id))).map(drop)
    }
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

/// Raises the soft limit on open files to the hard one. The kernel also bounds by it how many descriptors of this user
/// may be on their way in messages.
pub(crate) fn raise_open_files() -> Sys<()> {
    soft_rlimit(libc::RLIMIT_NOFILE, u64::MAX)
}

/// Runs `work` while this process's soft stack limit is finite: 8 MiB instead of an unlimited one. The limit belongs to
/// the whole process, so one caller at a time: a second would find it changed, and lose it while at work.
pub(crate) fn with_finite_stack<T>(work: impl FnOnce() -> Sys<T>) -> Sys<T> {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    if soft_stack()? != libc::RLIM_INFINITY {
        return work();
    }
    soft_rlimit(libc::RLIMIT_STACK, 8 << 20)?;
    let done = work();
    soft_rlimit(libc::RLIMIT_STACK, libc::RLIM_INFINITY)?;
    done
}

fn soft_stack() -> Sys<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the struct outlives the call.
    check(c_long::from(unsafe {
        libc::getrlimit(libc::RLIMIT_STACK, &raw mut limit)
    }))?;
    Ok(limit.rlim_cur)
}

/// Lowers this process's priority: +5 nice, batch scheduling. Best effort.
pub(crate) fn lower_priority() {
    let priority = libc::sched_param { sched_priority: 0 };
    // SAFETY: the struct outlives the call; both calls concern this process only.
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, 5);
        libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const priority);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_at_a_time_find_a_finite_stack_and_leave_it_as_it_was() {
        let before = soft_stack().unwrap();
        if soft_rlimit(libc::RLIMIT_STACK, libc::RLIM_INFINITY).is_err()
            || soft_stack().unwrap() != libc::RLIM_INFINITY
        {
            return; // the hard limit is finite here: nothing to change
        }
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let within = with_finite_stack(|| {
                            std::thread::yield_now();
                            soft_stack()
                        });
                        assert_eq!(within.unwrap(), 8 << 20);
                    }
                });
            }
        });
        assert_eq!(soft_stack().unwrap(), libc::RLIM_INFINITY);
        soft_rlimit(libc::RLIMIT_STACK, before).unwrap();
    }
}
