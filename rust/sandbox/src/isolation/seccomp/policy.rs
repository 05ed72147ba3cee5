//! Which system calls an untrusted Python program may make.
//!
//! Stage one is installed in the zygote once and inherited: an allow-list with argument rules. Stage two is installed
//! in each child: it removes what the zygote needed and a program does not. The stricter answer wins (seccomp(2)).
//!
//! The idea behind the list: compute, read what Landlock allows, write to open descriptors, start threads. No new process, no socket, no write-open, no signal to others, no kernel object that outlives the process.
//!
//! Calls that no honest program makes end it. Where the kernel can ask the driver (USER_NOTIF), stage one asks: the
//! driver, which got the listener with the zygote's first message, learns the call's number, kills the process, and
//! never lets the call through. Elsewhere the kernel kills, and the call's name stays unknown.

use libc::{EACCES, EINVAL, ENOPROTOOPT, ENOSYS, EOPNOTSUPP, EPERM, ESRCH, sock_filter};

use crate::isolation::seccomp::bpf::{Action, Check, Rule, Table, compile};
use crate::isolation::seccomp::calls::Arch;
use crate::isolation::seccomp::lists::{ALLOWED, KILLED};

/// First call number newer than this table (`cachestat`); libraries fall back on ENOSYS.
const UNKNOWN_FROM: u32 = 451;
/// Placeholders for the child's pid and for the number of its CPU clock, which [`bind`] replaces: no pid is this large,
/// and no process has such a clock.
const PID_SLOT: u32 = 0x7fff_fff1;
const CLOCK_SLOT: u32 = 0x8000_0008;
/// The control socket's descriptor in a child.
pub(crate) const CONTROL_FD: i32 = 3;

/// clone(2) flags of glibc's and musl's `pthread_create`.
const THREAD_FLAGS: [u32; 2] = [0x003d_0f00, 0x007d_0f00];
/// clone(2) flags of glibc's `fork`: `CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | SIGCHLD`.
const FORK_FLAGS: u32 = 0x0120_0011;
/// Any of these makes an open a write: `O_WRONLY | O_RDWR | O_CREAT | O_TRUNC | __O_TMPFILE`.
const WRITE_OPEN: u32 = 0o1 | 0o2 | 0o100 | 0o1000 | 0o20_000_000;

/// Clocks that are nobody else's: the machine's, those of own threads, and this process's, by 0 instead of its pid.
fn own_clocks() -> [Check; 3] {
    [
        Check::NoBits(0, DYNAMIC),
        Check::Masked(0, !OF_THREAD, OF_THREAD),
        Check::Masked(0, 0b11, clock_of(0)),
    ]
}

/// Reads past the page cache: a program could wait for the disk at will, which would count as the machine's fault.
const fn o_direct(arch: Arch) -> u32 {
    match arch {
        Arch::X86_64 => 0o40_000,
        Arch::Aarch64 => 0o200_000,
    }
}

/// The number of a process's CPU clock, linux/posix-timers.h; its low two bits say what is counted.
const fn clock_of(pid: u32) -> u32 {
    !pid << 3
}
/// Set in the numbers that the kernel hands out: CPU clocks of processes and threads, and clocks of devices.
const DYNAMIC: u32 = 1 << 31;
/// Set in the number of a thread's CPU clock. The kernel finds threads of the same process only.
const OF_THREAD: u32 = 1 << 2;

const MSG_OOB: u32 = 1;
/// Does nothing and reports success. For advice, and for syncing to disk: a program can write to no disk, and a loop of
/// such calls would spend time in the kernel that nobody counts.
const DONE_NOTHING: Action = Action::Errno(0);

/// An architecture may lack the call; then it needs no rule.
fn rule(arch: Arch, call: &str, checks: Vec<Check>, otherwise: i32) -> Option<(u32, Rule)> {
    let rule = Rule::when(checks, Action::Allow, Action::Errno(otherwise));
    arch.number(call).map(|number| (number, rule))
}

fn always(arch: Arch, call: &str, action: Action) -> Option<(u32, Rule)> {
    arch.number(call)
        .map(|number| (number, Rule::Always(action)))
}

/// What differs between machines and levels in stage one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StageOne {
    /// Answer to the calls that no honest program makes.
    pub(crate) never: Action,
    /// Answer to a new thread.
    pub(crate) threads: Action,
    /// Nothing is opened any more, not even to read (level S1).
    pub(crate) no_open: bool,
}

impl StageOne {
    /// With a listener to ask, or without.
    pub(crate) fn of(listen: bool, no_open: bool) -> Self {
        let (never, threads) = if listen {
            (Action::Notify, Action::Notify)
        } else {
            (Action::Kill, Action::Allow)
        };
        Self {
            never,
            threads,
            no_open,
        }
    }
}

/// The allow-list with its argument rules.
pub(crate) fn stage_one_table(arch: Arch, how: StageOne) -> Table {
    let clones = [
        (THREAD_FLAGS.to_vec(), how.threads),
        (vec![FORK_FLAGS], Action::Allow),
    ];
    let clones = clones.map(|(flags, action)| (vec![Check::In(0, flags)], action));
    let clone = Rule::Cases(clones.into(), Action::Errno(EPERM));
    // F_DUPFD F_GETFD F_SETFD F_GETFL F_DUPFD_CLOEXEC, and F_SETFL: no locks, leases, owners, pipe sizes, seals.
    let set_flags = vec![Check::In(1, vec![4]), Check::NoBits(2, o_direct(arch))];
    let fcntls = [vec![Check::In(1, vec![0, 1, 2, 3, 1030])], set_flags];
    let fcntls = fcntls.map(|checks| (checks, Action::Allow));
    let fcntl = Rule::Cases(fcntls.into(), Action::Errno(EPERM));
    // A timer could send any signal, SIGKILL too, which would look as if something else had killed the process. Without
    // the description it sends SIGALRM. And it could run on another process's clock.
    let timers = own_clocks().map(|clock| (vec![Check::Null(1), clock], Action::Allow));
    let timer = Rule::Cases(timers.into(), Action::Errno(EPERM));
    let rule = |call, checks, otherwise| rule(arch, call, checks, otherwise);
    let always = |call, action| always(arch, call, action);
    let open = |call, flags| {
        if how.no_open {
            always(call, Action::Errno(EACCES))
        } else {
            let refused = WRITE_OPEN | o_direct(arch);
            rule(call, vec![Check::NoBits(flags, refused)], EACCES)
        }
    };
    let mut rules = vec![
        open("open", 1),
        open("openat", 2),
        // FIONBIO FIOCLEX FIONCLEX FIONREAD TCGETS TIOCGWINSZ: asyncio, set_blocking and print need them.
        rule(
            "ioctl",
            vec![Check::In(
                1,
                vec![0x5421, 0x5451, 0x5450, 0x541B, 0x5401, 0x5413],
            )],
            EPERM,
        ),
        arch.number("fcntl").map(|number| (number, fcntl)),
        // asyncio's self-pipe: AF_UNIX, SOCK_STREAM with or without SOCK_NONBLOCK and SOCK_CLOEXEC.
        rule(
            "socketpair",
            vec![Check::In(0, vec![1]), Check::Masked(1, 0o2_004_000, 1)],
            EACCES,
        ),
        // To the other end only: an address would reach other processes' sockets. Urgent data (MSG_OOB) is kernel code
        // that no program needs and that attackers know.
        rule(
            "sendto",
            vec![Check::Null(4), Check::NoBits(3, MSG_OOB)],
            EACCES,
        ),
        rule("recvfrom", vec![Check::NoBits(3, MSG_OOB)], EACCES),
        // Type, error, buffers, listening, protocol, domain. Not who is at the other end, nor a handle on that process.
        rule(
            "getsockopt",
            vec![
                Check::In(1, vec![1]),
                Check::In(2, vec![3, 4, 7, 8, 30, 38, 39]),
            ],
            ENOPROTOOPT,
        ),
        // Flags would reveal what is in the page cache.
        rule("preadv2", vec![Check::In(5, vec![0])], EOPNOTSUPP),
        rule("pwritev2", vec![Check::In(5, vec![0])], EOPNOTSUPP),
        rule("prlimit64", vec![Check::In(0, vec![0])], EPERM),
        arch.number("timer_create").map(|number| (number, timer)),
        // MADV_MERGEABLE, _COLD, _PAGEOUT, _COLLAPSE: waiting for the disk or for other processors at will, which
        // would count as the machine's fault.
        rule(
            "madvise",
            [12, 20, 21, 25]
                .map(|advice| Check::Not(2, advice))
                .to_vec(),
            EINVAL,
        ),
        always("fsync", DONE_NOTHING),
        always("fdatasync", DONE_NOTHING),
        always("msync", DONE_NOTHING),
        always("fadvise64", DONE_NOTHING),
        // PR_SET_PDEATHSIG PR_SET_NAME PR_GET_NAME PR_SET_NO_NEW_PRIVS PR_SET_VMA
        rule(
            "prctl",
            vec![Check::In(0, vec![1, 15, 16, 38, 0x5356_4d41])],
            EPERM,
        ),
        arch.number("clone").map(|number| (number, clone)),
        always("clone3", Action::Errno(ENOSYS)), // glibc falls back to clone, whose flags are visible
        always("openat2", Action::Errno(ENOSYS)),
        always("socket", Action::Errno(EACCES)),
        always("connect", Action::Errno(EACCES)),
    ];
    rules.extend(ALLOWED.iter().map(|call| always(call, Action::Allow)));
    rules.extend(KILLED.iter().map(|call| always(call, how.never)));
    Table {
        rules: rules.into_iter().flatten().collect(),
        default: Action::Errno(EPERM),
        unknown_from: UNKNOWN_FROM,
        unknown: Action::Errno(ENOSYS),
    }
}

/// What differs between machines and levels in stage two.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StageTwo {
    /// Answer to a new thread: refuse it, or leave it to stage one.
    pub(crate) threads: Action,
    /// A parent outside the pid namespace would be 0, which to many calls means "myself": report that there is none.
    pub(crate) hide_parent: bool,
}

/// What a program may not do and the zygote may.
pub(crate) fn stage_two_table(arch: Arch, how: StageTwo) -> Table {
    // abort() and raise() work. Not SIGKILL: a process that dies from it counts as killed by something else, which
    // is not the program's fault.
    let own = |call, signal| {
        let checks = vec![
            Check::In(0, vec![PID_SLOT]),
            Check::Not(signal, libc::SIGKILL as u32),
        ];
        rule(arch, call, checks, EPERM)
    };
    // Another process's would tell what neighbours do.
    let clock = |call| {
        let clocks = own_clocks().into_iter();
        let clocks = clocks.chain([Check::Masked(0, 0b11, CLOCK_SLOT)]);
        let cases = clocks.map(|clock| (vec![clock], Action::Allow));
        let rule = Rule::Cases(cases.collect(), Action::Errno(EINVAL));
        arch.number(call).map(|number| (number, rule))
    };
    let control = vec![
        Check::In(0, vec![CONTROL_FD as u32]),
        Check::NoBits(2, MSG_OOB),
    ];
    let refused = |call| always(arch, call, Action::Errno(EPERM));
    let clone = Rule::when(
        vec![Check::In(0, THREAD_FLAGS.to_vec())],
        how.threads,
        Action::Errno(EPERM),
    );
    let rules = [
        arch.number("clone").map(|number| (number, clone)),
        own("kill", 1),
        own("tgkill", 2),
        clock("clock_gettime"),
        clock("clock_getres"),
        clock("clock_nanosleep"),
        rule(arch, "recvmsg", control, EPERM),
        // A message can carry descriptors, which count for the user while nobody receives them: the supervisor, of the
        // same user, could send none any more. Number 3 can be made another socket. `sendto` carries none.
        refused("sendmsg"),
        rule(
            arch,
            "prctl",
            vec![Check::In(0, vec![15, 16, 0x5356_4d41])],
            EPERM,
        ),
        // The driver watches the clock. With a limit set by the program the kernel would kill it, which would look as if
        // something else had. Reading the limit is fine.
        arch.number("prlimit64").map(|number| {
            let cases = vec![
                (vec![Check::Not(1, libc::RLIMIT_CPU)], Action::Allow),
                (vec![Check::Null(2)], Action::Allow),
            ];
            (number, Rule::Cases(cases, Action::Errno(EPERM)))
        }),
        rule(
            arch,
            "setrlimit",
            vec![Check::Not(0, libc::RLIMIT_CPU)],
            EPERM,
        ),
        refused("seccomp"),
        refused("landlock_create_ruleset"),
        refused("landlock_add_rule"),
        refused("landlock_restrict_self"),
    ];
    let mut rules: Vec<_> = rules.into_iter().flatten().collect();
    if how.hide_parent {
        rules.extend(always(arch, "getppid", Action::Errno(ESRCH)));
    }
    Table {
        rules,
        default: Action::Allow, // stage one has already refused the rest
        unknown_from: UNKNOWN_FROM,
        unknown: Action::Allow,
    }
}

/// Stage one, compiled.
pub(crate) fn stage_one(arch: Arch, how: StageOne) -> Vec<sock_filter> {
    compile(arch, &stage_one_table(arch, how))
}

/// Stage two, compiled, with a placeholder for the child's pid.
pub(crate) fn stage_two(arch: Arch, how: StageTwo) -> Vec<sock_filter> {
    compile(arch, &stage_two_table(arch, how))
}

/// Writes the pid and what depends on it into stage two, in place: the child must not allocate.
pub(crate) fn bind(filter: &mut [sock_filter], pid: u32) {
    for instruction in filter {
        match instruction.k {
            PID_SLOT => instruction.k = pid,
            CLOCK_SLOT => instruction.k = clock_of(pid),
            _ => {}
        }
    }
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
