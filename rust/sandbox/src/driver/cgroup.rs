//! A control group (cgroup v2) for all zygotes and programs of this process: the kernel's own bound on their memory
//! and number, behind the governor, which acts first and knows what to run again.
//!
//! Only where a group is delegated to us, see `delegation`. The limits grow with the zygotes in it, so that the
//! governor's budget, or one program alone with its own limit, always fits. What the kernel still kills runs again
//! alone, like what the governor kills. The kernel picks the largest process; `memory.oom.group` stays off, because it
//! would kill the zygotes and the programs of all other workers too.
//!
//! A group is held by a lock on its folder, which ends with its process in any case; the next process to start
//! removes the groups that nobody holds.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::driver::delegation::{self, PREFIX, Place};
use crate::limits::Limits;

/// On top of the programs' memory, per zygote: its own, a program's growth between two checks of the governor, and what
/// the kernel holds for it (pipes, sockets, page tables), MiB.
const ROOM_MIB: u64 = 128;
/// On top of the programs' threads: the zygote, the init of its namespace, processes that are just ending.
const ROOM_PIDS: u64 = 16;
/// A killed process is gone after milliseconds.
const REMOVE_TIMEOUT: Duration = Duration::from_secs(2);

/// To create a group.
const ATTEMPTS: usize = 3;

/// Groups created so far in this process: part of their names.
static COUNT: AtomicU32 = AtomicU32::new(0);

/// One group, until dropped or ended.
#[derive(Debug)]
pub(crate) struct Group {
    folder: PathBuf,
    place: Place,
    budget_mib: u64,
    needs: Mutex<Needs>,
    _held: File,
}

/// The largest requests so far.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Needs {
    zygotes: u64,
    /// The most at one time.
    most_zygotes: u64,
    memory_mib: u64,
    output_mib: u64,
    threads: u64,
}

impl Needs {
    /// `memory.max`, bytes.
    fn memory(self, budget_mib: u64) -> u64 {
        let each = ROOM_MIB + 2 * self.output_mib; // standard output, and a report of the same size
        (budget_mib.max(self.memory_mib) + self.most_zygotes * each).saturating_mul(1 << 20)
    }

    /// `pids.max`. Twice the threads: as many more may exist as ask for one at the same moment.
    fn pids(self) -> u64 {
        self.most_zygotes * (2 * self.threads + ROOM_PIDS)
    }
}

fn step<T>(name: &str, result: io::Result<T>) -> Result<T, String> {
    result.map_err(|error| format!("control group, {name}: {error}"))
}

impl Group {
    /// A new one below the group that this process was given. Where that one holds processes, they move into a
    /// group beside it: a group has processes or limits for its children, never both, cgroups(7).
    ///
    /// # Errors
    /// Why there is none here: nothing is delegated, or which step failed.
    pub(crate) fn new(budget_mib: u64) -> Result<Self, String> {
        let place = delegation::find()?;
        sweep(&place.folder);
        place.prepare()?;
        // Another process may remove it before it is held.
        let mut made = Self::make(&place, budget_mib);
        for _ in 1..ATTEMPTS {
            if made.is_err() {
                made = Self::make(&place, budget_mib);
            }
        }
        made
    }

    fn make(place: &Place, budget_mib: u64) -> Result<Self, String> {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}.{number}", std::process::id());
        let folder = place.folder.join(name);
        step("create", fs::create_dir(&folder))?;
        let held = step(
            "hold",
            File::open(&folder).and_then(|f| f.lock().map(|()| f)),
        )?;
        let limits = Limits::default();
        let group = Self {
            folder,
            place: place.clone(),
            budget_mib,
            needs: Mutex::default(),
            _held: held,
        };
        group.make_room(|needs| {
            needs.most_zygotes = 1;
            needs.cover(&limits);
        })?;
        if group.place.memory && group.folder.join("memory.swap.max").exists() {
            // With swap, a program would become slow instead of being stopped.
            step("memory.swap.max", group.write("memory.swap.max", "0"))?;
        }
        Ok(group)
    }

    fn write(&self, file: &str, text: &str) -> io::Result<()> {
        fs::write(self.folder.join(file), text)
    }

    /// Raises the limits where needed; they never fall, because that could kill programs.
    fn make_room(&self, change: impl FnOnce(&mut Needs)) -> Result<(), String> {
        let mut needs = self.needs.lock().unwrap_or_else(PoisonError::into_inner);
        let before = *needs;
        change(&mut needs);
        if needs.memory(self.budget_mib) > before.memory(self.budget_mib) && self.place.memory {
            let most = needs.memory(self.budget_mib).to_string();
            step("memory.max", self.write("memory.max", &most))?;
        }
        if needs.pids() > before.pids() && self.place.pids {
            step(
                "pids.max",
                self.write("pids.max", &needs.pids().to_string()),
            )?;
        }
        Ok(())
    }

    /// Moves a zygote into the group; its forks start in it.
    pub(crate) fn add(&self, zygote: u32) -> Result<(), String> {
        self.make_room(|needs| {
            needs.zygotes += 1;
            needs.most_zygotes = needs.most_zygotes.max(needs.zygotes);
        })?;
        step("enter", self.write("cgroup.procs", &zygote.to_string()))
    }

    /// A zygote has ended.
    pub(crate) fn leave(&self) {
        let mut needs = self.needs.lock().unwrap_or_else(PoisonError::into_inner);
        needs.zygotes = needs.zygotes.saturating_sub(1);
    }

    /// Raises the limits for a program that is about to start.
    pub(crate) fn make_room_for(&self, limits: &Limits) -> Result<(), String> {
        self.make_room(|needs| needs.cover(limits))
    }

    /// How many of its processes the kernel has killed because memory ran out.
    pub(crate) fn num_killed(&self) -> u64 {
        let events = fs::read_to_string(self.folder.join("memory.events"));
        events.map_or(0, |text| field(&text, "oom_kill").unwrap_or(0)) // the file is missing without the controller
    }

    /// Kills everything in it and removes it.
    pub(crate) fn end(&self) -> io::Result<()> {
        remove(&self.folder)
    }
}

impl Needs {
    fn cover(&mut self, limits: &Limits) {
        self.memory_mib = self.memory_mib.max(limits.memory_mib);
        self.output_mib = self.output_mib.max(limits.output_mib);
        self.threads = self.threads.max(limits.threads.into());
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.end().ok(); // otherwise the next process removes it
    }
}

/// The number of one field in a file of `name number` lines.
fn field(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.find(|line| line.0 == name)?.1.trim().parse().ok()
}

/// Kills and removes. A group that is already gone is fine.
fn remove(folder: &Path) -> io::Result<()> {
    fs::write(folder.join("cgroup.kill"), "1").ok(); // since 5.14; on older kernels they die with the driver
    let deadline = Instant::now() + REMOVE_TIMEOUT;
    loop {
        match fs::remove_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error)
                if error.kind() == io::ErrorKind::ResourceBusy && Instant::now() < deadline =>
            {
                thread::sleep(Duration::from_millis(1)); // processes are still ending
            }
            other => return other,
        }
    }
}

/// Removes groups whose processes are gone.
fn sweep(place: &Path) {
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        let ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        if ours
            && let Ok(folder) = File::open(entry.path())
            && folder.try_lock().is_ok()
        {
            remove(&entry.path()).ok(); // fails for another user's group, which limits nobody
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_fit_the_budget_and_one_program_alone() {
        let mut needs = Needs {
            most_zygotes: 2,
            ..Needs::default()
        };
        needs.cover(&Limits {
            memory_mib: 4096,
            output_mib: 16,
            threads: 32,
            ..Limits::default()
        });
        assert_eq!(needs.memory(1024) >> 20, 4096 + 2 * (128 + 32));
        assert_eq!(needs.memory(8192) >> 20, 8192 + 2 * (128 + 32));
        assert_eq!(needs.pids(), 2 * (64 + 16));
        let more = needs;
        needs.cover(&Limits::default());
        assert_eq!(needs, more, "needs never fall");
    }

    #[test]
    fn events_are_read() {
        let text = "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 1\n";
        assert_eq!(field(text, "oom_kill"), Some(2));
        assert_eq!(field(text, "oom_group_kill"), Some(1));
        assert_eq!(field("oom_kill x\n", "oom_kill"), None);
        assert_eq!(field("", "oom_kill"), None);
    }

    #[test]
    fn a_missing_group_counts_as_removed() {
        let nowhere = std::env::temp_dir().join("opsd-no-such-group");
        assert!(remove(&nowhere).is_ok());
    }
}
