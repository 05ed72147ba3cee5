//! Which system calls an untrusted Python program may make.
//!
//! Stage one goes on the zygote once and is inherited: an allow-list with argument rules. Stage two goes on each
//! child: what the zygote needed and a program does not. Both apply, the stricter answer wins (seccomp(2)).
//!
//! The idea behind the list: compute, read what Landlock lets one read, write to descriptors already open, start
//! threads. No new process, no socket, no write-open, no signal to others, no kernel object that outlives the process.
//!
//! Calls that no honest program makes end it. Where the kernel can ask the driver (USER_NOTIF), stage one and two both
//! say "ask": in a child the driver learns the call's number and kills, and never lets it through; in the zygote, which
//! nobody listens to, the kernel itself refuses. Elsewhere the kernel kills, and the call has no name.

use libc::{EACCES, ENOSYS, EPERM, sock_filter};

use crate::bpf::{Action, Check, Rule, Table, compile};
use crate::calls::Arch;
use crate::lists::{ALLOWED, KILLED};

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

/// The number may be missing on an architecture; then there is nothing to rule.
fn rule(arch: Arch, call: &str, checks: Vec<Check>, otherwise: i32) -> Option<(u32, Rule)> {
    let rule = Rule::If(checks, Action::Allow, Action::Errno(otherwise));
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
    /// Nothing is opened any more, not even to read (level S1).
    pub(crate) no_open: bool,
}

/// The allow-list with its argument rules.
pub(crate) fn stage_one_table(arch: Arch, how: StageOne) -> Table {
    let mut clones = THREAD_FLAGS.to_vec();
    clones.push(FORK_FLAGS);
    let rule = |call, checks, otherwise| rule(arch, call, checks, otherwise);
    let always = |call, action| always(arch, call, action);
    let open = |call, flags| {
        if how.no_open {
            always(call, Action::Errno(EACCES))
        } else {
            rule(call, vec![Check::NoBits(flags, WRITE_OPEN)], EACCES)
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
        // F_DUPFD F_GETFD F_SETFD F_GETFL F_SETFL F_DUPFD_CLOEXEC: no locks, leases, owners, pipe sizes, seals.
        rule(
            "fcntl",
            vec![Check::In(1, vec![0, 1, 2, 3, 4, 1030])],
            EPERM,
        ),
        // asyncio's self-pipe: AF_UNIX, SOCK_STREAM with or without SOCK_NONBLOCK and SOCK_CLOEXEC.
        rule(
            "socketpair",
            vec![Check::In(0, vec![1]), Check::Masked(1, 0o2_004_000, 1)],
            EACCES,
        ),
        // To the other end only: an address would reach other people's sockets.
        rule("sendto", vec![Check::Null(4)], EACCES),
        rule("prlimit64", vec![Check::In(0, vec![0])], EPERM),
        // PR_SET_PDEATHSIG PR_SET_NAME PR_GET_NAME PR_SET_NO_NEW_PRIVS PR_SET_VMA
        rule(
            "prctl",
            vec![Check::In(0, vec![1, 15, 16, 38, 0x5356_4d41])],
            EPERM,
        ),
        rule("clone", vec![Check::In(0, clones)], EPERM),
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

/// What a program loses against the zygote. `threads` is the answer to a new thread: ask, refuse, or let it through.
/// `ask_never`: put the calls that no honest program makes to the driver.
pub(crate) fn stage_two_table(arch: Arch, threads: Action, ask_never: bool) -> Table {
    // abort() and raise() work. Not SIGKILL: a process that died of it was killed by somebody else, which is no fault
    // of the program.
    let own = |call, signal| {
        let checks = vec![
            Check::In(0, vec![PID_SLOT]),
            Check::Not(signal, libc::SIGKILL as u32),
        ];
        rule(arch, call, checks, EPERM)
    };
    let control = |call| {
        let socket = vec![Check::In(0, vec![CONTROL_FD as u32])];
        rule(arch, call, socket, EPERM)
    };
    let refused = |call| always(arch, call, Action::Errno(EPERM));
    let clone = Rule::If(
        vec![Check::In(0, THREAD_FLAGS.to_vec())],
        threads,
        Action::Errno(EPERM),
    );
    let rules = [
        arch.number("clone").map(|number| (number, clone)),
        own("kill", 1),
        own("tgkill", 2),
        control("recvmsg"),
        control("sendmsg"),
        rule(
            arch,
            "prctl",
            vec![Check::In(0, vec![15, 16, 0x5356_4d41])],
            EPERM,
        ),
        refused("seccomp"),
        refused("landlock_create_ruleset"),
        refused("landlock_add_rule"),
        refused("landlock_restrict_self"),
    ];
    let mut rules: Vec<_> = rules.into_iter().flatten().collect();
    if ask_never {
        rules.extend(runs_with_never(arch).map(|number| (number, Rule::Always(Action::Notify))));
    }
    Table {
        rules,
        default: Action::Allow, // stage one has already said no
        unknown_from: UNKNOWN_FROM,
        unknown: Action::Allow,
    }
}

/// The calls that no honest program makes, and their neighbours that stage one refuses anyway: its refusal is
/// stronger than a question (seccomp(2)), so asking about them too changes nothing but the length of the filter.
fn runs_with_never(arch: Arch) -> impl Iterator<Item = u32> {
    let how = StageOne {
        never: Action::Notify,
        no_open: false,
    };
    let rules = stage_one_table(arch, how).rules;
    let answer = move |number: u32| {
        rules
            .iter()
            .find(|rule| rule.0 == number)
            .map(|r| r.1.clone())
    };
    let free: Vec<Option<bool>> = (0..UNKNOWN_FROM)
        .map(|number| match answer(number) {
            Some(Rule::Always(Action::Notify)) => Some(true),
            None => Some(false),
            Some(_) => None,
        })
        .collect();
    let mut numbers = Vec::new();
    let mut start = 0;
    for run in free.split(Option::is_none) {
        if run.contains(&Some(true)) {
            numbers.extend(start..start + run.len() as u32);
        }
        start += run.len() as u32 + 1;
    }
    numbers.into_iter()
}

/// Stage one, ready for the kernel.
pub(crate) fn stage_one(arch: Arch, how: StageOne) -> Vec<sock_filter> {
    compile(arch, &stage_one_table(arch, how))
}

/// Stage two with an open slot for the child's pid.
pub(crate) fn stage_two(arch: Arch, threads: Action, ask_never: bool) -> Vec<sock_filter> {
    compile(arch, &stage_two_table(arch, threads, ask_never))
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
    use crate::bpf::tests::interpret;

    const ARCH: Arch = Arch::X86_64;
    const HOW: StageOne = StageOne {
        never: Action::Kill,
        no_open: false,
    };

    fn nr(call: &str) -> u32 {
        ARCH.number(call).unwrap()
    }

    fn one(call: &str, args: [u64; 6]) -> u32 {
        interpret(&stage_one(ARCH, HOW), ARCH.audit(), nr(call), args)
    }

    fn two(call: &str, args: [u64; 6]) -> u32 {
        let mut code = stage_two(ARCH, Action::Notify, true);
        bind(&mut code, 4242);
        interpret(&code, ARCH.audit(), nr(call), args)
    }

    const OK: u32 = Action::Allow.code();
    const NO: u32 = Action::Errno(EPERM).code();

    /// The table's own answer for a call without regard to arguments that pass no check.
    #[test]
    fn stage_one_answers_every_number_as_its_lists_say() {
        for arch in [Arch::X86_64, Arch::Aarch64] {
            let code = stage_one(arch, HOW);
            let with_rules: Vec<u32> = stage_one_table(arch, HOW)
                .rules
                .iter()
                .filter(|(_, rule)| matches!(rule, Rule::If(..)))
                .map(|&(number, _)| number)
                .collect();
            for number in 0..UNKNOWN_FROM + 200 {
                if with_rules.contains(&number) {
                    continue;
                }
                let want = match arch.name(number) {
                    _ if number >= UNKNOWN_FROM => Action::Errno(ENOSYS),
                    Some(call) if ALLOWED.contains(&call) => Action::Allow,
                    Some(call) if KILLED.contains(&call) => Action::Kill,
                    Some("clone3" | "openat2") => Action::Errno(ENOSYS),
                    Some("socket" | "connect") => Action::Errno(EACCES),
                    _ => Action::Errno(EPERM),
                };
                assert_eq!(
                    interpret(&code, arch.audit(), number, [0; 6]),
                    want.code(),
                    "{arch:?} call {number}"
                );
            }
            let kill = Action::Kill.code();
            let x32 = interpret(&code, arch.audit(), 0x4000_0000, [0; 6]);
            assert_eq!(x32, kill, "{arch:?}");
            assert_eq!(interpret(&code, 0x4000_0003, 3, [0; 6]), kill, "int 0x80");
            assert_eq!(interpret(&code, 0x4000_0028, 3, [0; 6]), kill, "32-bit ARM");
            assert!(code.len() < 512, "{} instructions", code.len());
        }
    }

    /// The two architectures differ only in calls that aarch64 never had.
    #[test]
    fn both_architectures_get_the_same_policy() {
        for stage in [stage_one_table as fn(Arch, StageOne) -> Table, |arch, _| {
            stage_two_table(arch, Action::Notify, false)
        }] {
            let named = |arch: Arch| {
                let rules = stage(arch, HOW).rules;
                let name = |(number, rule): (u32, Rule)| (arch.name(number).unwrap(), rule);
                rules.into_iter().map(name).collect::<Vec<_>>()
            };
            let mut x86 = named(Arch::X86_64);
            x86.retain(|(call, _)| Arch::Aarch64.number(call).is_some());
            assert_eq!(x86, named(Arch::Aarch64));
        }
    }

    #[test]
    fn nothing_is_opened_at_s1() {
        let how = StageOne {
            never: Action::Kill,
            no_open: true,
        };
        let code = stage_one(ARCH, how);
        for call in ["open", "openat"] {
            let answer = interpret(&code, ARCH.audit(), nr(call), [0; 6]);
            assert_eq!(answer, Action::Errno(EACCES).code());
        }
    }

    /// What the kernel makes of both stages together: the stronger answer, seccomp(2).
    #[test]
    fn both_stages_ask_about_exactly_the_calls_that_kill() {
        let rank = |answer: u32| match answer & 0xffff_0000 {
            0x8000_0000 => 0,
            0x0005_0000 => 1,
            0x7fc0_0000 => 2,
            _ => 3,
        };
        for arch in [Arch::X86_64, Arch::Aarch64] {
            let how = StageOne {
                never: Action::Notify,
                no_open: false,
            };
            let (first, second) = (stage_one(arch, how), stage_two(arch, Action::Notify, true));
            for number in 0..UNKNOWN_FROM + 9 {
                let answers = [&first, &second].map(|f| interpret(f, arch.audit(), number, [0; 6]));
                let strongest = answers.into_iter().min_by_key(|&a| rank(a)).unwrap();
                let killed = arch.name(number).is_some_and(|call| KILLED.contains(&call));
                assert_eq!(
                    strongest == Action::Notify.code(),
                    killed,
                    "{arch:?} {number}"
                );
                assert!(
                    !killed || answers[1] == strongest,
                    "the listener is stage two's"
                );
            }
        }
    }

    #[test]
    fn stage_one_reads_arguments() {
        let at = |flags: u64| one("openat", [0, 0, flags, 0, 0, 0]);
        assert_eq!(at(0o2_000_000), OK, "O_RDONLY | O_CLOEXEC");
        for flags in [1, 2, 0o101, 0o1000, 0o20_200_000] {
            assert_eq!(at(flags), Action::Errno(EACCES).code(), "{flags:o}");
        }
        assert_eq!(one("fcntl", [0, 1030, 0, 0, 0, 0]), OK);
        for command in [5, 6, 8, 1024, 1031, 1033] {
            assert_eq!(
                one("fcntl", [0, command, 0, 0, 0, 0]),
                NO,
                "fcntl {command}"
            );
        }
        assert_eq!(one("ioctl", [0, 0x5412, 0, 0, 0, 0]), NO, "TIOCSTI");
        let denied = Action::Errno(EACCES).code();
        assert_eq!(one("socketpair", [1, 0o2_004_001, 0, 0, 0, 0]), OK);
        assert_eq!(one("socketpair", [30, 1, 0, 0, 0, 0]), denied, "TIPC");
        assert_eq!(one("socketpair", [1, 2, 0, 0, 0, 0]), denied, "datagram");
        assert_eq!(one("sendto", [5, 1, 1, 0, 0, 0]), OK);
        assert_eq!(
            one("sendto", [5, 1, 1, 0, 1 << 33, 16]),
            denied,
            "an address"
        );
        assert_eq!(one("prlimit64", [1, 3, 0, 0, 0, 0]), NO, "another process");
        for flags in [u64::from(FORK_FLAGS), 0x3d_0f00] {
            assert_eq!(one("clone", [flags, 0, 0, 0, 0, 0]), OK);
        }
        for flags in [17, 0x8011, 0x4111, 0x1000_0011, 0x3d_0f00 | 0x1000_0000] {
            assert_eq!(one("clone", [flags, 0, 0, 0, 0, 0]), NO, "clone {flags:#x}");
        }
    }

    #[test]
    fn stage_two_closes_what_the_zygote_needed() {
        assert_eq!(two("clone", [u64::from(FORK_FLAGS), 0, 0, 0, 0, 0]), NO);
        assert_eq!(
            two("clone", [0x3d_0f00, 0, 0, 0, 0, 0]),
            Action::Notify.code()
        );
        for call in ["kill", "tgkill"] {
            assert_eq!(two(call, [4242, 6, 6, 0, 0, 0]), OK);
            for pid in [0, 1, 4241, u64::MAX, (-4242i64) as u64] {
                assert_eq!(two(call, [pid, 6, 6, 0, 0, 0]), NO, "{call} to {pid}");
            }
        }
        assert_eq!(two("kill", [4242, 9, 0, 0, 0, 0]), NO);
        assert_eq!(two("tgkill", [4242, 4242, 9, 0, 0, 0]), NO);
        assert_eq!(two("recvmsg", [3, 0, 0, 0, 0, 0]), OK);
        assert_eq!(two("recvmsg", [4, 0, 0, 0, 0, 0]), NO);
        assert_eq!(two("prctl", [1, 0, 0, 0, 0, 0]), NO, "PR_SET_PDEATHSIG");
        assert_eq!(two("seccomp", [1, 0, 0, 0, 0, 0]), NO);
        assert_eq!(two("read", [0; 6]), OK);
        let length = stage_two(ARCH, Action::Notify, true).len();
        assert!(
            length <= 120,
            "a per-child filter must stay small: {length}"
        );
    }
}
