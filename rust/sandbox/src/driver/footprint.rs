//! How much memory a process holds, as far as the kernel tells everybody: proc_pid_status(5).
//!
//! Resident memory is not all of it. The page tables of scattered mappings can be larger than what they map. And shared
//! anonymous memory stays, in the kernel's own file system, when a process drops its pages: nothing is resident, and
//! nothing is free. How much of that there is cannot be read without rights over the process, but it is bounded: it is
//! in no count of private writable memory, of code, or of the stack, so it is within what is left of the address
//! space, less what was mapped in this way when the process began.

use std::fs;

/// Fields of a `status`, KiB.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Status {
    size: u64,
    resident: u64,
    resident_shared: u64,
    private: u64,
    stack: u64,
    code: u64,
    libraries: u64,
    page_tables: u64,
}

impl Status {
    fn parse(text: &str) -> Option<Self> {
        let mut status = Self::default();
        for line in text.lines() {
            let Some((name, value)) = line.split_once(':') else {
                continue;
            };
            let field = match name {
                "VmSize" => &mut status.size,
                "VmRSS" => &mut status.resident,
                "RssShmem" => &mut status.resident_shared,
                "VmData" => &mut status.private,
                "VmStk" => &mut status.stack,
                "VmExe" => &mut status.code,
                "VmLib" => &mut status.libraries,
                "VmPTE" => &mut status.page_tables,
                _ => continue,
            };
            *field = value.trim().strip_suffix(" kB")?.trim().parse().ok()?;
        }
        (status.size > 0).then_some(status)
    }

    /// Of a process; where its first thread has ended, of another one.
    fn of(pid: i32) -> Option<Self> {
        let read = |path: String| Self::parse(&fs::read_to_string(path).ok()?);
        read(format!("/proc/{pid}/status")).or_else(|| {
            let tasks = fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten();
            let mut paths = tasks.filter_map(|task| {
                task.path()
                    .join("status")
                    .into_os_string()
                    .into_string()
                    .ok()
            });
            paths.find_map(read)
        })
    }

    /// Mapped read-only, shared or not at all accessible.
    fn mapped(&self) -> u64 {
        let counted = self.private + self.stack + self.code + self.libraries;
        self.size.saturating_sub(counted)
    }

    fn held(&self, mapped_before: u64) -> u64 {
        let mapped = self.mapped().saturating_sub(mapped_before);
        let hidden = mapped.saturating_sub(self.resident_shared);
        (self.resident + hidden).min(self.size.max(self.resident)) + self.page_tables
    }
}

/// KiB that a process has mapped in a way that may hide memory.
pub(crate) fn mapped_kib(pid: i32) -> u64 {
    Status::of(pid).map_or(0, |status| status.mapped())
}

/// KiB that a process holds, which had `mapped_before` mapped when its program began.
pub(crate) fn held_kib(pid: i32, mapped_before: u64) -> Option<u64> {
    Status::of(pid).map(|status| status.held(mapped_before))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys;

    const TEXT: &str = "Name:\tpython\nVmSize:\t  900000 kB\nVmRSS:\t   34000 kB\nRssShmem:\t    8000 kB\n\
                        VmData:\t   11000 kB\nVmStk:\t     132 kB\nVmExe:\t    2800 kB\nVmLib:\t    5000 kB\n\
                        VmPTE:\t    1900 kB\nThreads:\t1\n";

    #[test]
    fn what_is_shared_counts_whether_it_is_resident_or_not() {
        let status = Status::parse(TEXT).unwrap();
        let mapped = 900_000 - 11_000 - 132 - 2_800 - 5_000;
        assert_eq!(status.mapped(), mapped);
        assert_eq!(status.held(mapped), 34_000 + 1_900, "as at its start");
        let hidden = 868_000 - 8_000;
        assert_eq!(status.held(mapped - 868_000), 34_000 + hidden + 1_900);
        assert_eq!(status.held(0), 900_000 + 1_900, "never more than there is");
        assert_eq!(Status::parse("Name:\tgone\nState:\tZ (zombie)\n"), None);
    }

    #[test]
    fn this_process_holds_what_it_maps() {
        let pid = sys::pid();
        let before = mapped_kib(pid);
        assert!(held_kib(pid, before).unwrap() > 500);
        assert_eq!(held_kib(i32::MAX, 0), None, "no such process");
    }
}
