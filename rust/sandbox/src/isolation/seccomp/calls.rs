//! System-call numbers by name, for both architectures: filters are written with names, and a forbidden call is reported
//! by name.
//!
//! Numbers: `arch/x86/entry/syscalls/syscall_64.tbl` and `include/uapi/asm-generic/unistd.h` of Linux. At
//! compile time those of the target architecture are compared with libc's.

/// A processor architecture whose calls are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arch {
    /// x86-64; x32 and i386 calls are never allowed.
    X86_64,
    /// 64-bit ARM; 32-bit calls are never allowed.
    Aarch64,
}

impl Arch {
    /// What this crate is compiled for; `None`: another architecture, where programs cannot be isolated.
    pub(crate) const HERE: Option<Self> = if cfg!(target_arch = "x86_64") {
        Some(Self::X86_64)
    } else if cfg!(target_arch = "aarch64") {
        Some(Self::Aarch64)
    } else {
        None
    };

    /// `AUDIT_ARCH_*`, linux/audit.h: ELF machine, 64 bit, little endian.
    pub(crate) const fn audit(self) -> u32 {
        match self {
            Self::X86_64 => 0xC000_003E,
            Self::Aarch64 => 0xC000_00B7,
        }
    }

    /// Number of a call; `None`: this architecture never had it (only x86-64 has `open`, `stat`, ...).
    pub(crate) fn number(self, name: &str) -> Option<u32> {
        let (_, x86_64, aarch64) = CALLS
            .iter()
            .find(|call| call.0 == name)
            .unwrap_or_else(|| panic!("no system call {name} in the table"));
        match self {
            Self::X86_64 => *x86_64,
            Self::Aarch64 => *aarch64,
        }
    }

    /// Name of a call, where it is in the table.
    pub(crate) fn name(self, number: u32) -> Option<&'static str> {
        let mine = |call: &&Call| match self {
            Self::X86_64 => call.1 == Some(number),
            Self::Aarch64 => call.2 == Some(number),
        };
        CALLS.iter().find(mine).map(|call| call.0)
    }
}

/// Name, number on x86-64, number on aarch64.
type Call = (&'static str, Option<u32>, Option<u32>);

macro_rules! number {
    (-) => {
        None
    };
    ($number:literal) => {
        Some($number)
    };
}

macro_rules! agrees_with_libc {
    ($call:ident -) => {};
    ($call:ident $number:literal) => {
        const _: () = assert!(libc::$call == $number);
    };
}

macro_rules! calls {
    ($($call:ident $x86_64:tt $aarch64:tt;)*) => {
        const CALLS: &[Call] = &[$((short(stringify!($call)), number!($x86_64), number!($aarch64)),)*];
        #[cfg(target_arch = "x86_64")]
        const _: () = { $(agrees_with_libc!($call $x86_64);)* };
        #[cfg(target_arch = "aarch64")]
        const _: () = { $(agrees_with_libc!($call $aarch64);)* };
    };
}

/// `SYS_read` to `read`.
const fn short(name: &'static str) -> &'static str {
    name.split_at("SYS_".len()).1
}

#[rustfmt::skip]
calls! {
    SYS_access 21 -; SYS_acct 163 89; SYS_add_key 248 217; SYS_alarm 37 -; SYS_bpf 321 280; SYS_brk 12 214;
    SYS_chroot 161 51; SYS_clock_getres 229 114; SYS_clock_gettime 228 113; SYS_clock_nanosleep 230 115;
    SYS_clone 56 220; SYS_clone3 435 435; SYS_close 3 57; SYS_close_range 436 436; SYS_connect 42 203;
    SYS_delete_module 176 106; SYS_dup 32 23; SYS_dup2 33 -; SYS_dup3 292 24; SYS_epoll_create 213 -;
    SYS_epoll_create1 291 20; SYS_epoll_ctl 233 21; SYS_epoll_pwait 281 22; SYS_epoll_pwait2 441 441;
    SYS_epoll_wait 232 -; SYS_eventfd2 290 19; SYS_exit 60 93; SYS_exit_group 231 94; SYS_faccessat 269 48;
    SYS_faccessat2 439 439; SYS_fadvise64 221 223; SYS_fcntl 72 25; SYS_fdatasync 75 83;
    SYS_finit_module 313 273; SYS_fstat 5 80; SYS_fstatfs 138 44; SYS_fsync 74 82; SYS_ftruncate 77 46;
    SYS_futex 202 98; SYS_getcpu 309 168; SYS_getcwd 79 17; SYS_getdents 78 -; SYS_getdents64 217 61;
    SYS_getegid 108 177; SYS_geteuid 107 175; SYS_getgid 104 176; SYS_getgroups 115 158; SYS_getitimer 36 102;
    SYS_getpeername 52 205; SYS_getpgid 121 155; SYS_getpgrp 111 -; SYS_getpid 39 172; SYS_getppid 110 173;
    SYS_getpriority 140 141; SYS_getrandom 318 278; SYS_getresgid 120 150; SYS_getresuid 118 148;
    SYS_getrlimit 97 163; SYS_getrusage 98 165; SYS_getsid 124 156; SYS_getsockname 51 204;
    SYS_getsockopt 55 209; SYS_gettid 186 178; SYS_gettimeofday 96 169; SYS_getuid 102 174;
    SYS_init_module 175 105; SYS_io_uring_setup 425 425; SYS_ioctl 16 29; SYS_ioperm 173 -; SYS_iopl 172 -;
    SYS_kexec_file_load 320 294; SYS_kexec_load 246 104; SYS_keyctl 250 219; SYS_kill 62 129;
    SYS_landlock_add_rule 445 445; SYS_landlock_create_ruleset 444 444; SYS_landlock_restrict_self 446 446;
    SYS_lseek 8 62; SYS_lstat 6 -; SYS_madvise 28 233; SYS_membarrier 324 283; SYS_mincore 27 232;
    SYS_mmap 9 222; SYS_mount 165 40; SYS_mprotect 10 226; SYS_mremap 25 216; SYS_msync 26 227;
    SYS_munmap 11 215; SYS_nanosleep 35 101; SYS_newfstatat 262 79; SYS_open 2 -;
    SYS_open_by_handle_at 304 265; SYS_openat 257 56; SYS_openat2 437 437; SYS_pause 34 -;
    SYS_perf_event_open 298 241; SYS_pipe 22 -; SYS_pipe2 293 59; SYS_pivot_root 155 41; SYS_poll 7 -;
    SYS_ppoll 271 73; SYS_prctl 157 167; SYS_pread64 17 67; SYS_preadv 295 69; SYS_preadv2 327 286;
    SYS_prlimit64 302 261; SYS_process_vm_readv 310 270; SYS_process_vm_writev 311 271; SYS_pselect6 270 72;
    SYS_ptrace 101 117; SYS_pwrite64 18 68; SYS_pwritev 296 70; SYS_pwritev2 328 287; SYS_quotactl 179 60;
    SYS_read 0 63; SYS_readlink 89 -; SYS_readlinkat 267 78; SYS_readv 19 65; SYS_reboot 169 142;
    SYS_recvfrom 45 207; SYS_recvmsg 47 212; SYS_request_key 249 218; SYS_restart_syscall 219 128;
    SYS_rseq 334 293; SYS_rt_sigaction 13 134; SYS_rt_sigpending 127 136; SYS_rt_sigprocmask 14 135;
    SYS_rt_sigreturn 15 139; SYS_rt_sigsuspend 130 133; SYS_rt_sigtimedwait 128 137;
    SYS_sched_get_priority_max 146 125; SYS_sched_get_priority_min 147 126; SYS_sched_getaffinity 204 123;
    SYS_sched_getparam 143 121; SYS_sched_getscheduler 145 120; SYS_sched_yield 24 124; SYS_seccomp 317 277;
    SYS_select 23 -; SYS_sendmsg 46 211; SYS_sendto 44 206; SYS_set_robust_list 273 99;
    SYS_set_tid_address 218 96; SYS_setitimer 38 103; SYS_setns 308 268; SYS_setrlimit 160 164;
    SYS_shutdown 48 210; SYS_sigaltstack 131 132; SYS_socket 41 198; SYS_socketpair 53 199; SYS_stat 4 -;
    SYS_statfs 137 43; SYS_statx 332 291; SYS_swapoff 168 225; SYS_swapon 167 224; SYS_sysinfo 99 179;
    SYS_tgkill 234 131; SYS_time 201 -; SYS_timer_create 222 107; SYS_timer_delete 226 111;
    SYS_timer_getoverrun 225 109; SYS_timer_gettime 224 108; SYS_timer_settime 223 110; SYS_times 100 153;
    SYS_umount2 166 39; SYS_uname 63 160; SYS_unshare 272 97; SYS_userfaultfd 323 282; SYS_wait4 61 260;
    SYS_waitid 247 95; SYS_write 1 64; SYS_writev 20 66;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_unique_and_lead_back() {
        for arch in [Arch::X86_64, Arch::Aarch64] {
            for &(name, ..) in CALLS {
                if let Some(number) = arch.number(name) {
                    assert_eq!(arch.name(number), Some(name), "{arch:?} {number}");
                }
            }
            assert_eq!(arch.name(9999), None);
        }
    }

    /// From 424 on, every architecture has the same numbers.
    #[test]
    fn young_calls_have_one_number() {
        for &(name, x86_64, aarch64) in CALLS {
            if x86_64.max(aarch64) >= Some(424) {
                assert_eq!(x86_64, aarch64, "{name}");
            }
        }
    }

    /// The kernel's headers, where they are installed.
    #[test]
    fn aarch64_numbers_are_those_of_the_generic_header() {
        let Ok(header) = std::fs::read_to_string("/usr/include/asm-generic/unistd.h") else {
            return;
        };
        let mut seen = 0;
        for line in header.lines() {
            let words: Vec<_> = line.split_whitespace().collect();
            let ["#define", define, number] = words[..] else {
                continue;
            };
            let name = define
                .strip_prefix("__NR3264_")
                .or(define.strip_prefix("__NR_"));
            let (Some(name), Ok(number)) = (name, number.parse::<u32>()) else {
                continue;
            };
            let name = if name == "fstatat" {
                "newfstatat"
            } else {
                name
            };
            if CALLS.iter().any(|call| call.0 == name) {
                assert_eq!(Arch::Aarch64.number(name), Some(number), "{name}");
                seen += 1;
            }
        }
        let known = CALLS.iter().filter(|call| call.2.is_some()).count();
        assert!(seen >= known - 3, "{seen} of {known} found in the header");
    }
}
