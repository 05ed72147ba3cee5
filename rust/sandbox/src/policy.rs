//! Which system calls an untrusted Python program may make (x86-64).
//!
//! Stage one goes on the zygote once and is inherited: an allow-list with argument rules. Stage two goes on each
//! child: what the zygote needed and a program does not. Both apply, the stricter answer wins (seccomp(2)).
//!
//! The idea behind the list: compute, read what Landlock lets one read, write to descriptors already open, start
//! threads. No new process, no socket, no write-open, no signal to others, no kernel object that outlives the process.

use libc::{EACCES, ENOSYS, EPERM, c_long, sock_filter};

use crate::bpf::{Action, Check, Rule, Table, compile};

/// First call number younger than this table (`cachestat`); libraries fall back when told ENOSYS.
const UNKNOWN_FROM: u32 = 451;
/// Stands for the child's pid until [`bind`] writes it in; no pid is this large.
const PID_SLOT: u32 = 0x7fff_fff1;
/// The control socket's descriptor in a child.
pub(crate) const CONTROL_FD: i32 = 3;

/// clone(2) flags of glibc's and musl's `pthread_create`.
const THREAD_FLAGS: [u32; 2] = [0x003d_0f00, 0x007d_0f00];
/// clone(2) flags of glibc's `fork`: `CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | SIGCHLD`.
const FORK_FLAGS: u32 = 0x0120_0011;
/// Any of these makes an open a write: `O_WRONLY | O_RDWR | O_CREAT | O_TRUNC | __O_TMPFILE`.
const WRITE_OPEN: u32 = 0o1 | 0o2 | 0o100 | 0o1000 | 0o20_000_000;

/// Harmless whatever their arguments, given Landlock, rlimits and the descriptors at hand.
#[rustfmt::skip]
const ALLOWED: &[c_long] = &[
    // descriptors that are already open
    libc::SYS_read, libc::SYS_write, libc::SYS_close, libc::SYS_fstat, libc::SYS_lseek, libc::SYS_pread64,
    libc::SYS_pwrite64, libc::SYS_readv, libc::SYS_writev, libc::SYS_preadv, libc::SYS_pwritev, libc::SYS_preadv2,
    libc::SYS_pwritev2, libc::SYS_dup, libc::SYS_dup2, libc::SYS_dup3, libc::SYS_close_range, libc::SYS_fsync,
    libc::SYS_fdatasync, libc::SYS_ftruncate, libc::SYS_fadvise64, libc::SYS_getdents, libc::SYS_getdents64,
    // names and metadata, read only
    libc::SYS_stat, libc::SYS_lstat, libc::SYS_newfstatat, libc::SYS_statx, libc::SYS_access, libc::SYS_faccessat,
    libc::SYS_faccessat2, libc::SYS_readlink, libc::SYS_readlinkat, libc::SYS_getcwd, libc::SYS_statfs, libc::SYS_fstatfs,
    // memory
    libc::SYS_mmap, libc::SYS_mprotect, libc::SYS_munmap, libc::SYS_mremap, libc::SYS_brk, libc::SYS_madvise,
    libc::SYS_mincore, libc::SYS_msync, libc::SYS_membarrier,
    // waiting
    libc::SYS_poll, libc::SYS_ppoll, libc::SYS_select, libc::SYS_pselect6, libc::SYS_epoll_create,
    libc::SYS_epoll_create1, libc::SYS_epoll_ctl, libc::SYS_epoll_wait, libc::SYS_epoll_pwait, libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2, libc::SYS_pipe, libc::SYS_pipe2, libc::SYS_pause, libc::SYS_nanosleep, libc::SYS_clock_nanosleep,
    libc::SYS_futex, libc::SYS_sched_yield, libc::SYS_restart_syscall,
    // own signals and timers
    libc::SYS_rt_sigaction, libc::SYS_rt_sigprocmask, libc::SYS_rt_sigreturn, libc::SYS_rt_sigpending,
    libc::SYS_rt_sigtimedwait, libc::SYS_rt_sigsuspend, libc::SYS_sigaltstack, libc::SYS_alarm, libc::SYS_getitimer,
    libc::SYS_setitimer, libc::SYS_timer_create, libc::SYS_timer_settime, libc::SYS_timer_gettime,
    libc::SYS_timer_getoverrun, libc::SYS_timer_delete, libc::SYS_kill, libc::SYS_tgkill,
    // who and when am I
    libc::SYS_getpid, libc::SYS_gettid, libc::SYS_getppid, libc::SYS_getpgrp, libc::SYS_getpgid, libc::SYS_getsid,
    libc::SYS_getuid, libc::SYS_geteuid, libc::SYS_getgid, libc::SYS_getegid, libc::SYS_getresuid, libc::SYS_getresgid,
    libc::SYS_getgroups, libc::SYS_uname, libc::SYS_sysinfo, libc::SYS_times, libc::SYS_time, libc::SYS_gettimeofday,
    libc::SYS_clock_gettime, libc::SYS_clock_getres, libc::SYS_getrusage, libc::SYS_getrlimit, libc::SYS_setrlimit,
    libc::SYS_getpriority, libc::SYS_sched_getaffinity, libc::SYS_sched_getparam, libc::SYS_sched_getscheduler,
    libc::SYS_sched_get_priority_max, libc::SYS_sched_get_priority_min, libc::SYS_getcpu, libc::SYS_getrandom,
    // threads and the end
    libc::SYS_set_tid_address, libc::SYS_set_robust_list, libc::SYS_rseq, libc::SYS_wait4, libc::SYS_waitid,
    libc::SYS_exit, libc::SYS_exit_group,
    // socketpair ends
    libc::SYS_recvfrom, libc::SYS_shutdown, libc::SYS_getsockname, libc::SYS_getpeername, libc::SYS_getsockopt,
    // the child's own set-up; stage two closes these
    libc::SYS_recvmsg, libc::SYS_sendmsg, libc::SYS_seccomp, libc::SYS_landlock_create_ruleset,
    libc::SYS_landlock_add_rule, libc::SYS_landlock_restrict_self,
];

/// No program that solves a problem makes these: ending it at once says so loudly.
#[rustfmt::skip]
const KILLED: &[c_long] = &[
    libc::SYS_ptrace, libc::SYS_process_vm_readv, libc::SYS_process_vm_writev, libc::SYS_kexec_load,
    libc::SYS_kexec_file_load, libc::SYS_init_module, libc::SYS_finit_module, libc::SYS_delete_module, libc::SYS_reboot,
    libc::SYS_swapon, libc::SYS_swapoff, libc::SYS_mount, libc::SYS_umount2, libc::SYS_pivot_root, libc::SYS_chroot,
    libc::SYS_setns, libc::SYS_unshare, libc::SYS_bpf, libc::SYS_perf_event_open, libc::SYS_open_by_handle_at,
    libc::SYS_iopl, libc::SYS_ioperm, libc::SYS_acct, libc::SYS_quotactl, libc::SYS_userfaultfd, libc::SYS_keyctl,
    libc::SYS_add_key, libc::SYS_request_key, libc::SYS_io_uring_setup,
];

fn rule(call: c_long, checks: Vec<Check>, otherwise: i32) -> (u32, Rule) {
    (
        call as u32,
        Rule::If(checks, Action::Allow, Action::Errno(otherwise)),
    )
}

fn always(call: c_long, action: Action) -> (u32, Rule) {
    (call as u32, Rule::Always(action))
}

/// The allow-list with its argument rules.
pub(crate) fn stage_one_table() -> Table {
    let mut clones = THREAD_FLAGS.to_vec();
    clones.push(FORK_FLAGS);
    let mut rules = vec![
        rule(libc::SYS_open, vec![Check::NoBits(1, WRITE_OPEN)], EACCES),
        rule(libc::SYS_openat, vec![Check::NoBits(2, WRITE_OPEN)], EACCES),
        // FIONBIO FIOCLEX FIONCLEX FIONREAD TCGETS TIOCGWINSZ: asyncio, set_blocking and print need them.
        rule(
            libc::SYS_ioctl,
            vec![Check::In(
                1,
                vec![0x5421, 0x5451, 0x5450, 0x541B, 0x5401, 0x5413],
            )],
            EPERM,
        ),
        // F_DUPFD F_GETFD F_SETFD F_GETFL F_SETFL F_DUPFD_CLOEXEC: no locks, leases, owners, pipe sizes, seals.
        rule(
            libc::SYS_fcntl,
            vec![Check::In(1, vec![0, 1, 2, 3, 4, 1030])],
            EPERM,
        ),
        // asyncio's self-pipe: AF_UNIX, SOCK_STREAM with or without SOCK_NONBLOCK and SOCK_CLOEXEC.
        rule(
            libc::SYS_socketpair,
            vec![Check::In(0, vec![1]), Check::Masked(1, 0o2_004_000, 1)],
            EACCES,
        ),
        // To the other end only: an address would reach other people's sockets.
        rule(libc::SYS_sendto, vec![Check::Null(4)], EACCES),
        rule(libc::SYS_prlimit64, vec![Check::In(0, vec![0])], EPERM),
        // PR_SET_PDEATHSIG PR_SET_NAME PR_GET_NAME PR_SET_NO_NEW_PRIVS PR_SET_VMA
        rule(
            libc::SYS_prctl,
            vec![Check::In(0, vec![1, 15, 16, 38, 0x5356_4d41])],
            EPERM,
        ),
        rule(libc::SYS_clone, vec![Check::In(0, clones)], EPERM),
        always(libc::SYS_clone3, Action::Errno(ENOSYS)), // glibc falls back to clone, whose flags are visible
        always(libc::SYS_openat2, Action::Errno(ENOSYS)),
        always(libc::SYS_socket, Action::Errno(EACCES)),
        always(libc::SYS_connect, Action::Errno(EACCES)),
    ];
    rules.extend(ALLOWED.iter().map(|&call| always(call, Action::Allow)));
    rules.extend(KILLED.iter().map(|&call| always(call, Action::Kill)));
    Table {
        rules,
        default: Action::Errno(EPERM),
        unknown_from: UNKNOWN_FROM,
        unknown: Action::Errno(ENOSYS),
    }
}

/// What a program loses against the zygote. `threads` is the answer to a new thread: ask, or let it through.
pub(crate) fn stage_two_table(threads: Action) -> Table {
    // abort() and raise() work. Not SIGKILL: a process that died of it was killed by somebody else, which is no fault
    // of the program.
    let own = |call, signal| {
        let checks = vec![
            Check::In(0, vec![PID_SLOT]),
            Check::Not(signal, libc::SIGKILL as u32),
        ];
        rule(call, checks, EPERM)
    };
    let control = |call| rule(call, vec![Check::In(0, vec![CONTROL_FD as u32])], EPERM);
    let refused = |call| always(call, Action::Errno(EPERM));
    let clone = Rule::If(
        vec![Check::In(0, THREAD_FLAGS.to_vec())],
        threads,
        Action::Errno(EPERM),
    );
    let rules = vec![
        (libc::SYS_clone as u32, clone),
        own(libc::SYS_kill, 1),
        own(libc::SYS_tgkill, 2),
        control(libc::SYS_recvmsg),
        control(libc::SYS_sendmsg),
        rule(
            libc::SYS_prctl,
            vec![Check::In(0, vec![15, 16, 0x5356_4d41])],
            EPERM,
        ),
        refused(libc::SYS_seccomp),
        refused(libc::SYS_landlock_create_ruleset),
        refused(libc::SYS_landlock_add_rule),
        refused(libc::SYS_landlock_restrict_self),
    ];
    Table {
        rules,
        default: Action::Allow, // stage one has already said no
        unknown_from: UNKNOWN_FROM,
        unknown: Action::Allow,
    }
}

/// Stage one, ready for the kernel.
pub(crate) fn stage_one() -> Vec<sock_filter> {
    compile(&stage_one_table())
}

/// Stage two with an open slot for the child's pid.
pub(crate) fn stage_two(threads: Action) -> Vec<sock_filter> {
    compile(&stage_two_table(threads))
}

/// Writes the pid into stage two, in place: the child must not allocate.
pub(crate) fn bind(filter: &mut [sock_filter], pid: u32) {
    for instruction in filter.iter_mut().filter(|i| i.k == PID_SLOT) {
        instruction.k = pid;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpf::{ARCH_X86_64, tests::interpret};

    fn one(call: c_long, args: [u64; 6]) -> u32 {
        interpret(&stage_one(), ARCH_X86_64, call as u32, args)
    }

    fn two(call: c_long, args: [u64; 6]) -> u32 {
        let mut code = stage_two(Action::Notify);
        bind(&mut code, 4242);
        interpret(&code, ARCH_X86_64, call as u32, args)
    }

    const OK: u32 = Action::Allow.code();
    const NO: u32 = Action::Errno(EPERM).code();

    /// The table's own answer for a call without regard to arguments that pass no check.
    #[test]
    fn stage_one_answers_every_number_as_its_lists_say() {
        let code = stage_one();
        let with_rules: Vec<u32> = stage_one_table()
            .rules
            .iter()
            .filter(|(_, rule)| matches!(rule, Rule::If(..)))
            .map(|&(number, _)| number)
            .collect();
        for number in 0..UNKNOWN_FROM + 200 {
            if with_rules.contains(&number) {
                continue;
            }
            let call = c_long::from(number);
            let want = match call {
                _ if number >= UNKNOWN_FROM => Action::Errno(ENOSYS),
                _ if ALLOWED.contains(&call) => Action::Allow,
                _ if KILLED.contains(&call) => Action::Kill,
                libc::SYS_clone3 | libc::SYS_openat2 => Action::Errno(ENOSYS),
                libc::SYS_socket | libc::SYS_connect => Action::Errno(EACCES),
                _ => Action::Errno(EPERM),
            };
            assert_eq!(
                interpret(&code, ARCH_X86_64, number, [0; 6]),
                want.code(),
                "call {number}"
            );
        }
        assert_eq!(
            interpret(&code, ARCH_X86_64, 0x4000_0000, [0; 6]),
            Action::Kill.code(),
            "x32 read"
        );
        assert_eq!(
            interpret(&code, 0x4000_0003, 3, [0; 6]),
            Action::Kill.code(),
            "int 0x80"
        );
        assert!(code.len() < 512, "{} instructions", code.len());
    }

    #[test]
    fn stage_one_reads_arguments() {
        let at = |flags: u64| one(libc::SYS_openat, [0, 0, flags, 0, 0, 0]);
        assert_eq!(at(0o2_000_000), OK, "O_RDONLY | O_CLOEXEC");
        for flags in [1, 2, 0o101, 0o1000, 0o20_200_000] {
            assert_eq!(at(flags), Action::Errno(EACCES).code(), "{flags:o}");
        }
        assert_eq!(one(libc::SYS_fcntl, [0, 1030, 0, 0, 0, 0]), OK);
        for command in [5, 6, 8, 1024, 1031, 1033] {
            assert_eq!(
                one(libc::SYS_fcntl, [0, command, 0, 0, 0, 0]),
                NO,
                "fcntl {command}"
            );
        }
        assert_eq!(one(libc::SYS_ioctl, [0, 0x5412, 0, 0, 0, 0]), NO, "TIOCSTI");
        let denied = Action::Errno(EACCES).code();
        assert_eq!(one(libc::SYS_socketpair, [1, 0o2_004_001, 0, 0, 0, 0]), OK);
        assert_eq!(
            one(libc::SYS_socketpair, [30, 1, 0, 0, 0, 0]),
            denied,
            "TIPC"
        );
        assert_eq!(
            one(libc::SYS_socketpair, [1, 2, 0, 0, 0, 0]),
            denied,
            "datagram"
        );
        assert_eq!(one(libc::SYS_sendto, [5, 1, 1, 0, 0, 0]), OK);
        assert_eq!(
            one(libc::SYS_sendto, [5, 1, 1, 0, 1 << 33, 16]),
            denied,
            "an address"
        );
        assert_eq!(
            one(libc::SYS_prlimit64, [1, 3, 0, 0, 0, 0]),
            NO,
            "another process"
        );
        for flags in [u64::from(FORK_FLAGS), 0x3d_0f00] {
            assert_eq!(one(libc::SYS_clone, [flags, 0, 0, 0, 0, 0]), OK);
        }
        for flags in [17, 0x8011, 0x4111, 0x1000_0011, 0x3d_0f00 | 0x1000_0000] {
            assert_eq!(
                one(libc::SYS_clone, [flags, 0, 0, 0, 0, 0]),
                NO,
                "clone {flags:#x}"
            );
        }
    }

    #[test]
    fn stage_two_closes_what_the_zygote_needed() {
        assert_eq!(
            two(libc::SYS_clone, [u64::from(FORK_FLAGS), 0, 0, 0, 0, 0]),
            NO
        );
        assert_eq!(
            two(libc::SYS_clone, [0x3d_0f00, 0, 0, 0, 0, 0]),
            Action::Notify.code()
        );
        for call in [libc::SYS_kill, libc::SYS_tgkill] {
            assert_eq!(two(call, [4242, 6, 6, 0, 0, 0]), OK);
            for pid in [0, 1, 4241, u64::MAX, (-4242i64) as u64] {
                assert_eq!(two(call, [pid, 6, 6, 0, 0, 0]), NO, "{call} to {pid}");
            }
        }
        assert_eq!(two(libc::SYS_kill, [4242, 9, 0, 0, 0, 0]), NO);
        assert_eq!(two(libc::SYS_tgkill, [4242, 4242, 9, 0, 0, 0]), NO);
        assert_eq!(two(libc::SYS_recvmsg, [3, 0, 0, 0, 0, 0]), OK);
        assert_eq!(two(libc::SYS_recvmsg, [4, 0, 0, 0, 0, 0]), NO);
        assert_eq!(
            two(libc::SYS_prctl, [1, 0, 0, 0, 0, 0]),
            NO,
            "PR_SET_PDEATHSIG"
        );
        assert_eq!(two(libc::SYS_seccomp, [1, 0, 0, 0, 0, 0]), NO);
        assert_eq!(two(libc::SYS_read, [0; 6]), OK);
        let length = stage_two(Action::Notify).len();
        assert!(length <= 80, "a per-child filter must stay small: {length}");
    }
}
