//! Proof at start that a sandbox holds: small hostile programs, each trying one way out, against a canary.
//!
//! Return codes of the set-up are not believed: a container may accept a call and do nothing. What a probe could not
//! do is what programs cannot do. Takes a fraction of a second.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::driver::Sandbox;
use crate::level::Level;
use crate::limits::Limits;
use crate::plan::{End, Entry, Go, Limit, Program, TestRun};

/// What must come of a probe.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Held {
    /// The attempt raised an exception.
    Refused,
    /// The process was ended for it.
    Killed,
    /// A limit ended it.
    Stopped(Limit),
}

/// What the probe is called, what it does, what must come of it. `CANARY` and `FOLDER` stand for paths.
const PROBES: &[(&str, &str, Held)] = &[
    ("read a file", "open(CANARY).read()", Held::Refused),
    ("write a file", "open(CANARY, 'w')", Held::Refused),
    (
        "append to a file",
        "os.open(CANARY, os.O_RDWR | os.O_APPEND)",
        Held::Refused,
    ),
    ("create a file", "open(FOLDER + '/new', 'x')", Held::Refused),
    (
        "create a folder",
        "os.mkdir(FOLDER + '/folder')",
        Held::Refused,
    ),
    ("remove a file", "os.unlink(CANARY)", Held::Refused),
    (
        "rename a file",
        "os.rename(CANARY, FOLDER + '/other')",
        Held::Refused,
    ),
    (
        "link to a file",
        "os.symlink(CANARY, FOLDER + '/link')",
        Held::Refused,
    ),
    (
        "change a file's mode",
        "os.chmod(CANARY, 0o777)",
        Held::Refused,
    ),
    (
        "change a file's times",
        "os.utime(CANARY, (1, 1))",
        Held::Refused,
    ),
    ("list a folder", "os.listdir(FOLDER)", Held::Refused),
    (
        "read another's environment",
        "open(f'/proc/{os.getppid() or 1}/environ').read(1)",
        Held::Refused,
    ),
    (
        "read another's memory",
        "open(f'/proc/{os.getppid() or 1}/mem', 'rb').read(1)",
        Held::Refused,
    ),
    ("fork", "os.fork()", Held::Refused),
    (
        "run a command",
        "os.posix_spawn('/bin/true', ['true'], {})",
        Held::Refused,
    ),
    (
        "become a command",
        "os.execv('/bin/true', ['true'])",
        Held::Refused,
    ),
    ("signal everybody", "os.kill(-1, 0)", Held::Refused),
    (
        "signal the parent",
        "os.kill(os.getppid() or 1, 0)",
        Held::Refused,
    ),
    (
        "open a network socket",
        "import socket; socket.socket()",
        Held::Refused,
    ),
    (
        "open a local socket",
        "import socket; socket.socket(socket.AF_UNIX)",
        Held::Refused,
    ),
    (
        "open a kernel socket",
        "import socket; socket.socket(socket.AF_NETLINK, 3, 0)",
        Held::Refused,
    ),
    (
        "make a file in memory",
        "os.memfd_create('x')",
        Held::Refused,
    ),
    (
        "raise a limit",
        "resource.setrlimit(resource.RLIMIT_NOFILE, (9999, 9999))",
        Held::Refused,
    ),
    (
        "reach another's limits",
        "resource.prlimit(os.getppid() or 1, resource.RLIMIT_CPU)",
        Held::Refused,
    ),
    (
        "gain priority",
        "os.setpriority(os.PRIO_PROCESS, 0, -5)",
        Held::Refused,
    ),
    (
        "hoard descriptors",
        "[os.dup(1) for _ in range(200)]",
        Held::Refused,
    ),
    ("hoard memory", "bytearray(2 << 30)", Held::Refused),
    ("change the root folder", "os.chroot('/')", Held::Killed),
    (
        "write without end",
        "os.write(1, b'x' * (3 << 20))",
        Held::Stopped(Limit::Output),
    ),
    (
        "compute without end",
        "\n    while True: pass",
        Held::Stopped(Limit::Cpu),
    ),
    (
        "sleep without end",
        "time.sleep(99)",
        Held::Stopped(Limit::Idle),
    ),
    (
        "inherit an environment",
        "assert set(os.environ) - set('PYTHONHASHSEED TZ LC_ALL OMP_NUM_THREADS \
        OPENBLAS_NUM_THREADS MALLOC_ARENA_MAX'.split())",
        Held::Refused,
    ),
];
const THREADS: (&str, &str, Held) = (
    "start threads without end",
    "e = threading.Event(); [threading.Thread(target=e.wait, daemon=True).start() for _ in range(40)]",
    Held::Refused,
);
const OTHER_PIDS: (&str, &str, Held) = ("see its parent", "assert os.getppid()", Held::Refused);

/// Proofs so far in this process; names their folders.
static COUNT: AtomicU32 = AtomicU32::new(0);

/// A file that no program may read, in a folder that everybody can reach.
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
    /// Runs every probe that its level promises to stop; the number that held.
    ///
    /// # Errors
    /// The first breach: in one line, what a program could do that it must not.
    pub fn prove(&mut self) -> Result<usize, String> {
        let canary = Canary::place().map_err(|error| format!("placing a canary: {error}"))?;
        let level = self.level();
        let mut probes = PROBES.to_vec();
        if self.facts().thread_cap {
            probes.push(THREADS);
        }
        if level == Level::S3 {
            probes.push(OTHER_PIDS);
        }
        for &(name, attempt, held) in &probes {
            let run = attack(self, attempt, &canary)
                .map_err(|error| format!("the probe \"{name}\" did not run: {error}"))?;
            let as_it_must = match held {
                Held::Refused => run.end == End::Finished && run.stdout == b"held\n",
                Held::Killed => matches!(run.end, End::Violation { .. }),
                Held::Stopped(by) => run.end == End::Stopped { by },
            };
            if !as_it_must || !canary.is_untouched() {
                return Err(format!(
                    "a program can {name}: {:?}, it said {:?}",
                    run.end,
                    String::from_utf8_lossy(&run.stdout[..run.stdout.len().min(80)])
                ));
            }
        }
        let outside = look_from_outside(self, level)?;
        Ok(probes.len() + outside)
    }
}

fn attack(sandbox: &mut Sandbox, attempt: &str, canary: &Canary) -> Result<TestRun, crate::Error> {
    let code = format!(
        "import os, resource, threading, time\nCANARY, FOLDER = {:?}, {:?}\ntry:\n    {attempt}\n\
         except (OSError, ValueError, RuntimeError, MemoryError, AssertionError):\n    print('held')\n\
         else:\n    print('done')\n",
        canary.file.display().to_string(),
        canary.folder.display().to_string(),
    );
    let program = Program {
        code,
        entry: Entry::Stdin,
    };
    let limits = Limits {
        cpu_seconds: if attempt.contains("while True") {
            0.02
        } else {
            2.0
        },
        idle_seconds: if attempt.contains("sleep") {
            0.05
        } else {
            10.0
        },
        output_mib: 1,
        memory_mib: 512,
        ..Limits::default()
    };
    let mut seen = None;
    sandbox.run(&program, &[Vec::new()], &limits, &mut |_, run| {
        seen = Some(run.clone());
        Go::Stop
    })?;
    seen.ok_or(crate::Error::Broken {
        step: "probe",
        cause: "no test was run".to_owned(),
    })
}

/// What `/proc` says about a program's process before its first line.
fn look_from_outside(sandbox: &mut Sandbox, level: Level) -> Result<usize, String> {
    let program = Program {
        code: String::new(),
        entry: Entry::Stdin,
    };
    let child = sandbox
        .fork(&program, &Limits::default(), 1)
        .map_err(|error| error.to_string())?;
    let read = |file: &str| fs::read_to_string(format!("/proc/{}/{file}", child.pid));
    let (status, network) = (read("status"), read("net/dev"));
    sandbox.bury(child).map_err(|error| error.to_string())?;
    let Ok(status) = status else {
        return Ok(0); // no /proc here: the probes have to do
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
