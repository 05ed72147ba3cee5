//! The policy against its lists: both stages, both architectures, every call number, by a plain interpreter.

use super::*;
use crate::isolation::seccomp::bpf::tests::interpret;

const ARCH: Arch = Arch::X86_64;
const HOW: StageOne = StageOne {
    never: Action::Kill,
    threads: Action::Allow,
    no_open: false,
};

const PLAIN: StageTwo = StageTwo {
    threads: Action::Allow,
    hide_parent: true,
};

fn nr(call: &str) -> u32 {
    ARCH.number(call).unwrap()
}

fn one(call: &str, args: [u64; 6]) -> u32 {
    interpret(&stage_one(ARCH, HOW), ARCH.audit(), nr(call), args)
}

fn two(call: &str, args: [u64; 6]) -> u32 {
    let mut code = stage_two(ARCH, PLAIN);
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
            .filter(|(_, rule)| matches!(rule, Rule::Cases(..)))
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
                Some("fsync" | "fdatasync" | "msync" | "fadvise64") => Action::Errno(0),
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
        stage_two_table(arch, PLAIN)
    }] {
        let named = |arch: Arch| {
            let rules = stage(arch, HOW).rules;
            let name = |(number, rule): (u32, Rule)| (arch.name(number).unwrap(), rule);
            rules.into_iter().map(name).collect::<Vec<_>>()
        };
        let mut x86 = named(Arch::X86_64);
        x86.retain(|(call, _)| Arch::Aarch64.number(call).is_some());
        let mut arm = named(Arch::Aarch64);
        // The bit of O_DIRECT differs.
        for rules in [&mut x86, &mut arm] {
            rules.retain(|(call, _)| !matches!(*call, "openat" | "fcntl"));
        }
        assert_eq!(x86, arm);
    }
}

#[test]
fn nothing_is_opened_at_s1() {
    let how = StageOne {
        no_open: true,
        ..HOW
    };
    let code = stage_one(ARCH, how);
    for call in ["open", "openat"] {
        let answer = interpret(&code, ARCH.audit(), nr(call), [0; 6]);
        assert_eq!(answer, Action::Errno(EACCES).code());
    }
}

/// The answer of both stages together: the stricter one, seccomp(2).
#[test]
fn the_driver_is_asked_about_exactly_the_calls_that_kill_and_about_threads() {
    let rank = |answer: u32| match answer & 0xffff_0000 {
        0x8000_0000 => 0,
        0x0005_0000 => 1,
        0x7fc0_0000 => 2,
        _ => 3,
    };
    for arch in [Arch::X86_64, Arch::Aarch64] {
        let single = StageTwo {
            threads: Action::Errno(libc::EAGAIN),
            ..PLAIN
        };
        let first = stage_one(arch, StageOne::of(true, false));
        let strongest = |second: &[sock_filter], number, args| {
            let answers = [&first, second].map(|f| interpret(f, arch.audit(), number, args));
            answers.into_iter().min_by_key(|&a| rank(a)).unwrap()
        };
        let second = stage_two(arch, PLAIN);
        for number in 0..UNKNOWN_FROM + 9 {
            let killed = arch.name(number).is_some_and(|call| KILLED.contains(&call));
            let asked = strongest(&second, number, [0; 6]) == Action::Notify.code();
            assert_eq!(asked, killed, "{arch:?} {number}");
        }
        let clone = arch.number("clone").unwrap();
        for flags in THREAD_FLAGS {
            let args = [flags.into(), 0, 0, 0, 0, 0];
            assert_eq!(strongest(&second, clone, args), Action::Notify.code());
            let none = strongest(&stage_two(arch, single), clone, args);
            assert_eq!(none, Action::Errno(libc::EAGAIN).code());
        }
        let fork = [FORK_FLAGS.into(), 0, 0, 0, 0, 0];
        assert_eq!(strongest(&second, clone, fork), NO);
        assert_eq!(interpret(&first, arch.audit(), clone, fork), OK);
    }
}

#[test]
fn stage_one_reads_arguments() {
    let at = |flags: u64| one("openat", [0, 0, flags, 0, 0, 0]);
    assert_eq!(at(0o2_000_000), OK, "O_RDONLY | O_CLOEXEC");
    for flags in [1, 2, 0o101, 0o1000, 0o20_200_000, 0o40_000] {
        assert_eq!(at(flags), Action::Errno(EACCES).code(), "{flags:o}");
    }
    assert_eq!(one("fcntl", [0, 1030, 0, 0, 0, 0]), OK);
    assert_eq!(one("fcntl", [0, 4, 0o4_000, 0, 0, 0]), OK, "O_NONBLOCK");
    assert_eq!(one("fcntl", [0, 4, 0o44_000, 0, 0, 0]), NO, "O_DIRECT");
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
    assert_eq!(one("timer_create", [1, 0, 1, 0, 0, 0]), OK);
    assert_eq!(
        one("timer_create", [1, 1 << 40, 1, 0, 0, 0]),
        NO,
        "any signal"
    );
    assert_eq!(one("madvise", [1, 1, 4, 0, 0, 0]), OK, "MADV_DONTNEED");
    assert_eq!(
        one("madvise", [1, 1, 21, 0, 0, 0]),
        Action::Errno(EINVAL).code(),
        "MADV_PAGEOUT"
    );
    assert_eq!(one("sendto", [5, 1, 1, 1, 0, 0]), denied, "MSG_OOB");
    assert_eq!(one("getsockopt", [5, 1, 4, 1, 1, 0]), OK, "SO_ERROR");
    assert_eq!(
        one("getsockopt", [3, 1, 77, 1, 1, 0]),
        Action::Errno(ENOPROTOOPT).code(),
        "SO_PEERPIDFD"
    );
    assert_eq!(one("preadv2", [5, 1, 1, 0, 0, 0]), OK);
    assert_eq!(
        one("preadv2", [5, 1, 1, 0, 0, 8]),
        Action::Errno(EOPNOTSUPP).code(),
        "RWF_NOWAIT"
    );
    for flags in [u64::from(FORK_FLAGS), 0x3d_0f00] {
        assert_eq!(one("clone", [flags, 0, 0, 0, 0, 0]), OK);
    }
    for flags in [17, 0x8011, 0x4111, 0x1000_0011, 0x3d_0f00 | 0x1000_0000] {
        assert_eq!(one("clone", [flags, 0, 0, 0, 0, 0]), NO, "clone {flags:#x}");
    }
}

/// O_DIRECT has another value on each; where x86-64 has it, 64-bit ARM has O_DIRECTORY.
#[test]
fn no_architecture_reads_past_the_page_cache() {
    for (arch, direct, directory) in [
        (Arch::X86_64, 0o40_000, 0o200_000),
        (Arch::Aarch64, 0o200_000, 0o40_000),
    ] {
        let code = stage_one(arch, HOW);
        let ask = |call, args| interpret(&code, arch.audit(), arch.number(call).unwrap(), args);
        let denied = Action::Errno(EACCES).code();
        assert_eq!(ask("openat", [0, 0, direct, 0, 0, 0]), denied, "{arch:?}");
        assert_eq!(ask("openat", [0, 0, directory, 0, 0, 0]), OK, "{arch:?}");
        assert_eq!(ask("fcntl", [0, 4, direct, 0, 0, 0]), NO, "{arch:?}");
        assert_eq!(
            ask("fcntl", [0, 3, direct, 0, 0, 0]),
            OK,
            "F_GETFL ignores it"
        );
    }
}

/// linux/posix-timers.h: `(!pid << 3) | what`, 4 more for a thread's.
#[test]
fn a_program_reads_its_own_clocks() {
    let no = Action::Errno(EINVAL).code();
    let process = |pid: i32, what: i32| u64::from(((!pid << 3) | what) as u32);
    for call in ["clock_gettime", "clock_getres", "clock_nanosleep"] {
        let ask = |clock: u64| two(call, [clock, 0, 0, 0, 0, 0]);
        for clock in 0..12 {
            assert_eq!(ask(clock), OK, "{call} {clock}");
        }
        for what in 0..3 {
            assert_eq!(ask(process(0, what)), OK, "{call}, this process");
            assert_eq!(
                ask(process(4242, what)),
                OK,
                "{call}, this process by its pid"
            );
            assert_eq!(ask(process(4243, what | 4)), OK, "{call}, a thread");
            for pid in [1, 2, 4241, 4243, i32::MAX >> 3] {
                assert_eq!(ask(process(pid, what)), no, "{call}, process {pid}");
            }
        }
        assert_eq!(ask(process(1, 3)), no, "{call}, a device's clock");
    }
    for (clock, want) in [
        (1, OK),
        (process(0, 2), OK),
        (process(9, 6), OK),
        (process(9, 2), NO),
    ] {
        assert_eq!(
            one("timer_create", [clock, 0, 1, 0, 0, 0]),
            want,
            "{clock:x}"
        );
        assert_eq!(
            one("timer_create", [clock, 1, 1, 0, 0, 0]),
            NO,
            "any signal"
        );
    }
}

#[test]
fn stage_two_closes_what_the_zygote_needed() {
    assert_eq!(two("clone", [u64::from(FORK_FLAGS), 0, 0, 0, 0, 0]), NO);
    assert_eq!(two("clone", [0x3d_0f00, 0, 0, 0, 0, 0]), OK);
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
    assert_eq!(two("recvmsg", [3, 0, 1, 0, 0, 0]), NO, "MSG_OOB");
    assert_eq!(
        two("sendmsg", [3, 0, 0, 0, 0, 0]),
        NO,
        "descriptors in flight"
    );
    assert_eq!(two("prctl", [1, 0, 0, 0, 0, 0]), NO, "PR_SET_PDEATHSIG");
    let (cpu, stack) = (libc::RLIMIT_CPU.into(), libc::RLIMIT_STACK.into());
    for (resource, new, want) in [(cpu, 0, OK), (cpu, 1 << 40, NO), (stack, 1 << 40, OK)] {
        assert_eq!(two("prlimit64", [0, resource, new, 1, 0, 0]), want);
    }
    assert_eq!(two("setrlimit", [cpu, 1, 0, 0, 0, 0]), NO);
    assert_eq!(two("setrlimit", [stack, 1, 0, 0, 0, 0]), OK);
    assert_eq!(two("getppid", [0; 6]), Action::Errno(ESRCH).code());
    assert_eq!(two("seccomp", [1, 0, 0, 0, 0, 0]), NO);
    assert_eq!(two("read", [0; 6]), OK);
    let length = stage_two(ARCH, PLAIN).len();
    assert!(
        length <= 110,
        "a per-child filter must stay small: {length}"
    );
}
