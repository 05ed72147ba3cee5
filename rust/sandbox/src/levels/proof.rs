//! Proves at start that a sandbox holds: small hostile programs each try one forbidden thing, some on a canary file.
//!
//! Return codes of the set-up are no proof: a container may accept a call and do nothing. Programs cannot do what a
//! probe could not do. Takes a fraction of a second.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::driver::input::Input;
use crate::driver::sandbox::Sandbox;
use crate::limits::Limits;
use crate::types::level::Level;
use crate::types::outcome::{End, Go, Limit, TestRun};
use crate::types::program::{Entry, Program};

/// The name of an attempt, and its code, which must raise an exception. `CANARY` and `FOLDER` are paths, `PARENT` is a
/// pid. All of them run in one process, one after the other.
const REFUSED: &[(&str, &str)] = &[
    ("read a file", "open(CANARY).read()"),
    ("write a file", "open(CANARY, 'w')"),
    (
        "append to a file",
        "os.open(CANARY, os.O_RDWR | os.O_APPEND)",
    ),
    ("create a file", "open(FOLDER + '/new', 'x')"),
    ("create a folder", "os.mkdir(FOLDER + '/folder')"),
    ("remove a file", "os.unlink(CANARY)"),
    ("rename a file", "os.rename(CANARY, FOLDER + '/other')"),
    ("link to a file", "os.symlink(CANARY, FOLDER + '/link')"),
    ("change a file's mode", "os.chmod(CANARY, 0o777)"),
    ("change a file's times", "os.utime(CANARY, (1, 1))"),
    ("list a folder", "os.listdir(FOLDER)"),
    (
        "read another's environment",
        "open(f'/proc/{PARENT}/environ').read(1)",
    ),
    (
        "read another's memory",
        "open(f'/proc/{PARENT}/mem', 'rb').read(1)",
    ),
    ("run a command", "os.posix_spawn('/bin/true', ['true'], {})"),
    ("become a command", "os.execv('/bin/true', ['true'])"),
    ("signal every process", "os.kill(-1, 0)"),
    ("signal the parent", "os.kill(PARENT, 0)"),
    ("open a network socket", "import socket; socket.socket()"),
    (
        "open a local socket",
        "import socket; socket.socket(socket.AF_UNIX)",
    ),
    (
        "open a kernel socket",
        "import socket; socket.socket(socket.AF_NETLINK, 3, 0)",
    ),
    ("make a file in memory", "os.memfd_create('x')"),
    (
        "raise a limit",
        "resource.setrlimit(resource.RLIMIT_NOFILE, (9999, 9999))",
    ),
    (
        "reach another's limits",
        "resource.prlimit(PARENT, resource.RLIMIT_CPU)",
    ),
    (
        "raise its priority",
        "os.setpriority(os.PRIO_PROCESS, 0, -5)",
    ),
    (
        "allocate too much memory",
        "import mmap; mmap.mmap(-1, 2 << 30)",
    ),
    ("inherit an environment", "assert len(os.environ) > 7"),
    ("fork", "os.fork()"),
    (
        "open too many descriptors",
        "[os.dup(1) for _ in range(200)]",
    ), // last: nothing can be opened after it
];
const THREADS: (&str, &str) = (
    "start threads without end",
    "e = threading.Event(); [threading.Thread(target=e.wait, daemon=True).start() for _ in range(40)]",
);
const OTHER_PIDS: (&str, &str) = ("see its parent", "assert os.getppid() > 0");
/// Attempts that must end the process, and how.
const ENDED: &[(&str, &str, Option<Limit>)] = &[
    ("change the root folder", "os.chroot('/')", None),
    (
        "write without end",
        "os.write(1, b'x' * (3 << 20))",
        Some(Limit::Output),
    ),
    ("compute without end", "while True: pass", Some(Limit::Cpu)),
    ("sleep without end", "time.sleep(99)", Some(Limit::Idle)),
];

/// Proofs so far in this process: part of their folders' names.
static COUNT: AtomicU32 = AtomicU32::new(0);

/// A file that no program may read, in a folder that every user can reach.
struct Canary {
    folder: PathBuf,
    file: PathBuf,
}

const SECRET: &str = "canary";

impl Canary {
    fn place() -> std::io::Result<Self> {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("opsd-proof-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder)?;
        let file = folder.join("canary");
        fs::write(&file, SECRET)?;
        Ok(Self { folder, file })
    }

    fn is_untouched(&self) -> bool {
        fs::read_to_string(&self.file).is_ok_and(|text| text == SECRET)
            && fs::read_dir(&self.folder).is_ok_and(|listing| listing.count() == 1)
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.folder).ok();
    }
}

impl Sandbox {
    /// Runs every probe that its level must stop; returns how many there are.
    ///
    /// # Errors
    /// The first breach, in one line: what a program could do and must not.
    pub fn prove(&mut self) -> Result<usize, String> {
        let canary = Canary::place().map_err(|error| format!("placing a canary: {error}"))?;
        let level = self.level();
        let mut refused = REFUSED.to_vec();
        if self.facts().thread_cap {
            refused.push(THREADS);
        }
        if level == Level::S3 {
            refused.push(OTHER_PIDS);
        }
        let attempts: Vec<String> = refused
            .iter()
            .map(|(name, attempt)| {
                let name = name.replace('\'', "\\'");
                format!(
                    "try:\n    {attempt}\n    print('{name}')\nexcept REFUSALS: num_held += 1\n"
                )
            })
            .collect();
        let run = attack(
            self,
            &format!("{}print(num_held)", attempts.concat()),
            &canary,
        )?;
        let said = String::from_utf8_lossy(&run.stdout).into_owned();
        if run.end != End::Finished || said != format!("{}\n", refused.len()) {
            let first = said.lines().next().unwrap_or_default();
            return Err(format!("a program can {first} ({:?})", run.end));
        }
        for &(name, attempt, limit) in ENDED {
            let run = attack(self, attempt, &canary)?;
            let as_it_must = match limit {
                None => matches!(run.end, End::Violation { .. }),
                Some(by) => run.end == End::Stopped { by },
            };
            if !as_it_must {
                return Err(format!("a program can {name} ({:?})", run.end));
            }
        }
        if !canary.is_untouched() {
            return Err("a program changed the canary".to_owned());
        }
        let outside = look_from_outside(self, level)?;
        Ok(refused.len() + ENDED.len() + outside)
    }
}

fn attack(sandbox: &mut Sandbox, attempt: &str, canary: &Canary) -> Result<TestRun, String> {
    let code = format!(
        "import os, resource, threading, time\nnum_held = 0\nPARENT = max(os.getppid(), 1)\nCANARY, FOLDER = {:?}, {:?}\n\
         REFUSALS = OSError, ValueError, RuntimeError, MemoryError, AssertionError\n{attempt}\n",
        canary.file.display().to_string(),
        canary.folder.display().to_string(),
    );
    let program = Program {
        code,
        entry: Entry::Stdin,
    };
    let limits = Limits {
        cpu_seconds: if attempt.starts_with("while") {
            0.02
        } else {
            2.0
        },
        idle_seconds: if attempt.starts_with("time") {
            0.05
        } else {
            10.0
        },
        output_mib: 1,
        memory_mib: 512,
        ..Limits::default()
    };
    let mut seen = None;
    let result = sandbox.run(
        &program,
        &[Input::from(Vec::new())],
        &limits,
        &mut |_, run| {
            seen = Some(run.clone());
            Go::Stop
        },
    );
    result.map_err(|error| format!("a probe did not run: {error}"))?;
    seen.ok_or_else(|| "a probe did not run".to_owned())
}

/// Checks what `/proc` says about a program's process before its first line.
fn look_from_outside(sandbox: &mut Sandbox, level: Level) -> Result<usize, String> {
    let program = Program {
        code: String::new(),
        entry: Entry::Stdin,
    };
    let child = sandbox
        .fork(
            &program.text(),
            &Limits::default(),
            &Input::from(Vec::new()),
            crate::wire::FIRST_STEP,
        )
        .map_err(|error| error.to_string())?;
    let read = |file: &str| fs::read_to_string(format!("/proc/{}/{file}", child.pid));
    let (status, network) = (read("status"), read("net/dev"));
    sandbox.reap(child).map_err(|error| error.to_string())?;
    let Ok(status) = status else {
        return Ok(0); // no /proc here: the probes must suffice
    };
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.map(|line| line.trim_start_matches(':').trim().to_owned())
    };
    let mut wanted = vec![
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
        ("CapEff", "0000000000000000"),
    ];
    wanted.retain(|(name, _)| field(name).is_some()); // gVisor shows fewer
    for (name, value) in &wanted {
        let found = field(name).unwrap_or_default();
        if found != *value {
            return Err(format!(
                "/proc shows {name} {found} for a program, not {value}"
            ));
        }
    }
    if level == Level::S3 {
        let pids = field("NSpid").unwrap_or_default();
        if pids.split_whitespace().count() < 2 {
            return Err("programs are not in a pid namespace of their own".to_owned());
        }
        if let Ok(network) = network
            && network
                .lines()
                .skip(2)
                .any(|line| !line.trim_start().starts_with("lo:"))
        {
            return Err("programs see this machine's network devices".to_owned());
        }
    }
    Ok(wanted.len())
}
