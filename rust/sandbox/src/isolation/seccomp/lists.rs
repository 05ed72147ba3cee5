//! The two lists of the policy: calls that every program may make, and calls that end it.
//!
//! A call in neither list is refused with EPERM, or has rules for its arguments in `policy`.

/// Harmless with any arguments, given Landlock, rlimits and the open descriptors.
#[rustfmt::skip]
pub(crate) const ALLOWED: &[&str] = &[
    // descriptors that are already open
    "read", "write", "close", "fstat", "lseek", "pread64",
    "pwrite64", "readv", "writev", "preadv", "pwritev",
    "dup", "dup2", "dup3", "close_range",
    "ftruncate", "getdents", "getdents64",
    // names and metadata, read only
    "stat", "lstat", "newfstatat", "statx", "access", "faccessat",
    "faccessat2", "readlink", "readlinkat", "getcwd", "statfs", "fstatfs",
    // memory
    "mmap", "mprotect", "munmap", "mremap", "brk",
    "mincore",
    // waiting
    "poll", "ppoll", "select", "pselect6", "epoll_create",
    "epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait", "epoll_pwait2",
    "eventfd2", "pipe", "pipe2", "pause", "nanosleep", "clock_nanosleep",
    "futex", "sched_yield", "restart_syscall",
    // own signals and timers
    "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigpending",
    "rt_sigtimedwait", "rt_sigsuspend", "sigaltstack", "alarm", "getitimer",
    "setitimer", "timer_settime", "timer_gettime",
    "timer_getoverrun", "timer_delete", "kill", "tgkill",
    // ids and clocks
    "getpid", "gettid", "getppid", "getpgrp", "getpgid", "getsid",
    "getuid", "geteuid", "getgid", "getegid", "getresuid", "getresgid",
    "getgroups", "uname", "sysinfo", "times", "time", "gettimeofday",
    "clock_gettime", "clock_getres", "getrusage", "getrlimit", "setrlimit",
    "getpriority", "sched_getaffinity", "sched_getparam", "sched_getscheduler",
    "sched_get_priority_max", "sched_get_priority_min", "getcpu", "getrandom",
    // threads and exit
    "set_tid_address", "set_robust_list", "rseq", "wait4", "waitid",
    "exit", "exit_group",
    // socketpair ends
    "shutdown", "getsockname", "getpeername",
    // the child's own set-up; stage two closes these
    "recvmsg", "sendmsg", "seccomp", "landlock_create_ruleset",
    "landlock_add_rule", "landlock_restrict_self",
];

/// No program that solves a problem makes these: it is ended at once and reported.
#[rustfmt::skip]
pub(crate) const KILLED: &[&str] = &[
    "ptrace", "process_vm_readv", "process_vm_writev", "kexec_load",
    "kexec_file_load", "init_module", "finit_module", "delete_module", "reboot",
    "swapon", "swapoff", "mount", "umount2", "pivot_root", "chroot",
    "setns", "unshare", "bpf", "perf_event_open", "open_by_handle_at",
    "iopl", "ioperm", "acct", "quotactl", "userfaultfd", "keyctl",
    "add_key", "request_key", "io_uring_setup",
];
