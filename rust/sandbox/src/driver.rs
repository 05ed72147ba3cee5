//! The outside of one sandbox: starts the zygote, asks it for processes, buries them.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child as Process, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use crate::handle::{Child, Death};
use crate::input::{Input, OwnInput};
use crate::limits::Limits;
use crate::plan::{Entry, Error, Go, Layer, Options, Program, TestRun};
use crate::{sys, wire};

/// What the zygote's interpreter runs: the extension by its path, then the harness inside it.
const BOOT: &str = "import sys\n\
    from importlib.machinery import ExtensionFileLoader, ModuleSpec\n\
    path = sys.argv[1]\n\
    loader = ExtensionFileLoader('_core', path)\n\
    core = loader.create_module(ModuleSpec('_core', loader, origin=path))\n\
    loader.exec_module(core)\n\
    core.sandbox_zygote(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])\n";

/// The zygote's whole environment. `-I` would ignore `PYTHONHASHSEED`; `-s -P` and this list amount to the same.
const ENVIRONMENT: [(&str, &str); 6] = [
    ("PYTHONHASHSEED", "0"),
    ("TZ", "UTC"),
    ("LC_ALL", "C.UTF-8"),
    ("OMP_NUM_THREADS", "1"),
    ("OPENBLAS_NUM_THREADS", "1"),
    ("MALLOC_ARENA_MAX", "1"), // an arena per thread would use up the address space
];

/// `ADDR_NO_RANDOMIZE`, personality(2).
pub(crate) const NO_RANDOM_ADDRESSES: u32 = 0x0004_0000;
/// A zygote boots in about 60 ms on a quiet machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Programs run before the first real one.
const REHEARSALS: usize = 3;

/// One warm interpreter, driven by one thread, blocking.
///
/// Start it on the thread that drives it: the zygote dies with the thread that started it. Dropping it kills it.
#[derive(Debug)]
pub struct Sandbox {
    zygote: Process,
    socket: OwnedFd,
    stderr: OwnedFd,
    landlock_abi: u64,
    uid: u64,
    thread_cap: bool,
    pub(crate) given_up: Arc<AtomicBool>,
}

pub(crate) fn broken<E: ToString>(step: &'static str) -> impl FnOnce(E) -> Error {
    move |cause| Error::Broken {
        step,
        cause: cause.to_string(),
    }
}

impl Sandbox {
    /// Execs the zygote and waits until it has sealed itself.
    ///
    /// # Errors
    /// `Unavailable` when the machine lacks a required layer, `Start` when the interpreter does not come up.
    pub fn start(options: &Options) -> Result<Self, Error> {
        if !cfg!(target_arch = "x86_64") {
            return Err(Error::Unavailable(
                "the system-call tables are for x86-64 only".to_owned(),
            ));
        }
        let failed = |cause: String| Error::Start {
            python: options.python.clone(),
            cause,
        };
        let (ours, theirs) = sys::socket_pair().map_err(broken("socket pair"))?;
        let stderr = sys::memfd(c"zygote-stderr").map_err(broken("memfd"))?;
        let zygote = spawn(options, theirs, &stderr).map_err(|e| failed(e.to_string()))?;
        let mut sandbox = Self {
            zygote,
            socket: ours,
            stderr,
            landlock_abi: 0,
            uid: 0,
            thread_cap: false,
            given_up: Arc::default(),
        };
        match sandbox.hear(wire::HELLO) {
            Ok([_, abi, uid, listen, ..]) => {
                sandbox.landlock_abi = abi;
                sandbox.uid = uid;
                sandbox.thread_cap = listen == 1;
                if uid != u64::from(sys::user()) && !sys::may_signal(sandbox.pid() as i32) {
                    return Err(Error::Unavailable(format!(
                        "programs would run as user {uid}, whom this process may not kill: keep CAP_KILL, \
                         or start as an ordinary user"
                    )));
                }
                sandbox.rehearse()?;
                Ok(sandbox)
            }
            Err(error) => {
                sandbox.zygote.kill().ok(); // it is of no use any more, dead or not
                sandbox.zygote.wait().ok();
                let said = sandbox.last_words();
                Err(failed(if said.is_empty() {
                    error.to_string()
                } else {
                    said
                }))
            }
        }
    }

    /// Runs a program whose answer is known, a few times: proof that the whole chain works here, and the first
    /// rounds of anything allocate a little in the zygote for good, so that from now on every program is forked from
    /// the same heap, to the byte.
    fn rehearse(&mut self) -> Result<(), Error> {
        let program = Program {
            code: "print(int(input()) + 1)".to_owned(),
            entry: Entry::Stdin,
        };
        for _ in 0..REHEARSALS {
            let mut answer = None;
            self.run(
                &program,
                &[b"5\n".to_vec().into()],
                &Limits::default(),
                &mut |_, run| {
                    answer = Some(run.clone());
                    Go::Stop
                },
            )?;
            match answer {
                Some(run) if run.stdout == b"6\n" => {}
                other => return Err(broken("rehearse")(format!("{other:?}"))),
            }
        }
        Ok(())
    }

    /// Forks one process for the program and hands it the inputs one by one. After each test `judge` says how to
    /// go on; a process that died is replaced by a fresh one for the remaining tests.
    ///
    /// # Errors
    /// Infrastructure faults only; the sandbox is then of no further use.
    pub fn run(
        &mut self,
        program: &Program,
        inputs: &[Input],
        limits: &Limits,
        judge: &mut dyn FnMut(usize, &TestRun) -> Go,
    ) -> Result<(), Error> {
        limits.check().map_err(Error::Limits)?;
        let mut child: Option<Child> = None;
        let mut index = 0;
        while let Some(input) = inputs.get(index) {
            let ready = match child.take() {
                Some(mut child) if child.alive()? => {
                    child.release(index, input)?;
                    child
                }
                old => {
                    old.map_or(Ok(()), |old| self.dismiss(old))?;
                    self.fork(program, limits, inputs.len() - index, index, input)?
                }
            };
            let (run, survivor) = self.test(ready, index, limits, &program.entry)?;
            child = survivor;
            match judge(index, &run) {
                Go::Next => index += 1,
                Go::Stop => break,
                go @ (Go::Again | Go::NextFresh) => {
                    index += usize::from(go == Go::NextFresh);
                    child.take().map_or(Ok(()), |old| self.dismiss(old))?;
                }
            }
        }
        // The caller may count on it: nothing of the program is left.
        child.map_or(Ok(()), |old| self.bury(old).map(drop))
    }

    /// From now on a test is ended as at its wall limit, within a moment, once `flag` is set. Any thread may set it.
    pub fn give_up_when(&mut self, flag: &Arc<AtomicBool>) {
        self.given_up = Arc::clone(flag);
    }

    /// The zygote's pid.
    pub fn pid(&self) -> u32 {
        self.zygote.id()
    }

    /// One line for logs: which protections hold.
    pub fn describe(&self) -> String {
        let threads = if self.thread_cap {
            "thread cap by notification"
        } else {
            "no thread cap"
        };
        format!(
            "seccomp, landlock ABI {}, uid {}, {threads}",
            self.landlock_abi, self.uid
        )
    }

    /// A sealed process with the program's text in its report file, on its first test.
    fn fork(
        &mut self,
        program: &Program,
        limits: &Limits,
        tests: usize,
        index: usize,
        input: &Input,
    ) -> Result<Child, Error> {
        let memfd = |name| sys::memfd(name).map_err(broken("memfd"));
        let (stdout, stderr, report) = (memfd(c"stdout")?, memfd(c"stderr")?, memfd(c"report")?);
        let name = match &program.entry {
            Entry::Stdin => "",
            Entry::Function { entry_point } => entry_point,
        };
        let text = format!("{}\n{}", name.replace('\n', " "), program.code);
        sys::pwrite_all(&report, text.as_bytes()).map_err(broken("write the program"))?;
        let (control, theirs) = sys::socket_pair().map_err(broken("socket pair"))?;
        let mut own = OwnInput::new().map_err(broken("an input file"))?;
        own.release(&control, index, input)
            .map_err(broken("release the input"))?;

        let cpu = (limits.cpu_seconds * tests as f64).ceil() as u64 + 1;
        let memory = limits.memory_mib << 20;
        let stack = 64 << 20;
        let request = wire::words([wire::FORK, cpu, memory, limits.output_mib << 20, stack]);
        let fds = [&stdout, &stderr, &theirs, &report].map(AsRawFd::as_raw_fd);
        sys::send(self.socket.as_raw_fd(), &wire::pack(request), &fds)
            .map_err(broken("ask for a process"))?;
        drop(theirs);
        let pid = self.hear(wire::FORK)?[1] as i32;
        if pid <= 0 {
            return Err(broken("fork")(format!("errno {}", -pid)));
        }
        let pidfd = sys::pidfd(pid).map_err(broken("pidfd of the child"))?;
        let mut child = Child {
            pid,
            pidfd,
            control,
            listener: None,
            stdout,
            stderr,
            report,
            input: own,
            cpu_before: 0.0,
            fresh: true,
        };
        if let Err(cause) = child.await_ready() {
            let said = sys::pread(&child.stderr, 0, 4096).unwrap_or_default();
            self.bury(child)?;
            let cause = format!("{cause} {}", String::from_utf8_lossy(&said));
            return Err(Error::Broken {
                step: "seal a program's process",
                cause,
            });
        }
        Ok(child)
    }

    /// Kills a process that nobody asks about any more; the zygote waits for its end before it does anything else.
    #[expect(clippy::needless_pass_by_value)] // as in `bury`
    fn dismiss(&mut self, child: Child) -> Result<(), Error> {
        sys::kill(&child.pidfd);
        let request = wire::words([wire::BURY, child.pid as u64]);
        sys::send(self.socket.as_raw_fd(), &wire::pack(request), &[]).map_err(broken("ask to bury"))
    }

    /// Kills a process and waits for its end.
    #[expect(clippy::needless_pass_by_value)] // once buried, nobody may use it again
    pub(crate) fn bury(&mut self, child: Child) -> Result<Death, Error> {
        sys::kill(&child.pidfd);
        let request = wire::words([wire::REAP, child.pid as u64]);
        sys::send(self.socket.as_raw_fd(), &wire::pack(request), &[])
            .map_err(broken("ask to reap"))?;
        let [_, status, micros, peak_kib, ..] = self.hear(wire::REAP)?;
        Ok(Death {
            status: status as u32 as i32,
            cpu_seconds: micros as f64 * 1e-6,
            peak_kib,
        })
    }

    /// The zygote's next message, which must be of this kind.
    fn hear(&self, kind: u64) -> Result<wire::Words, Error> {
        let mut bytes = [0; wire::LENGTH];
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let [readable] = sys::wait([self.socket.as_raw_fd()], left)
                .map_err(broken("wait for the zygote"))?;
            if !readable && left.is_zero() {
                return Err(broken("wait for the zygote")(format!(
                    "silent for {PATIENCE:?}"
                )));
            }
            match sys::receive_plain(&self.socket, &mut bytes).map_err(broken("hear the zygote"))? {
                None => {}
                Some(wire::LENGTH) if wire::unpack(&bytes)[0] == kind => {
                    return Ok(wire::unpack(&bytes));
                }
                Some(0) => {
                    return Err(broken("hear the zygote")(format!(
                        "it died: {}",
                        self.last_words()
                    )));
                }
                Some(n) => return Err(broken("hear the zygote")(format!("{n} odd bytes"))),
            }
        }
    }

    /// The end of what the zygote wrote to its standard error.
    fn last_words(&self) -> String {
        let size = sys::size(&self.stderr).unwrap_or(0);
        let tail = sys::pread(&self.stderr, size.saturating_sub(4096), 4096).unwrap_or_default();
        String::from_utf8_lossy(&tail).trim().to_owned()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // Its children die with it (PDEATHSIG); both calls fail only if it is already gone.
        self.zygote.kill().ok();
        self.zygote.wait().ok();
    }
}

/// posix_spawn, never fork: the parent may be large, threaded, or hold expected outputs.
fn spawn(options: &Options, socket: OwnedFd, stderr: &OwnedFd) -> std::io::Result<Process> {
    let without: u64 = options.without.iter().map(|layer| layer.bit()).sum();
    let mut command = Command::new(std::path::absolute(&options.python)?);
    command
        .args(["-s", "-P", "-S", "-B", "-c", BOOT])
        .arg(std::path::absolute(&options.core)?)
        // Fixed width: the length of the arguments moves addresses.
        .args([
            format!("{:010}", std::process::id()),
            format!("{without:04}"),
        ])
        .args(&options.site_packages)
        .stdin(socket)
        .stdout(Stdio::null())
        .stderr(stderr.try_clone()?)
        .current_dir("/")
        .process_group(0);
    if !options.without.contains(&Layer::CleanEnv) {
        command.env_clear();
    }
    command.envs(ENVIRONMENT);
    // Inherited over exec. Docker's default profile refuses it; then addresses differ from run to run.
    let before = sys::personality(None)?;
    let fixed = !options.without.contains(&Layer::Determinism)
        && sys::personality(Some(before | NO_RANDOM_ADDRESSES)).is_ok();
    let stack = sys::finite_stack()?; // an unlimited one would flip the new process's memory layout
    let process = command.spawn();
    if let Some(soft) = stack {
        sys::soft_rlimit(libc::RLIMIT_STACK, soft)?;
    }
    if fixed {
        sys::personality(Some(before))?;
    }
    process
}
