//! One sandbox as its user sees it: starts the zygote, asks it for processes, kills and reaps them.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::process::Child as Process;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use crate::driver::cgroup::Group;
use crate::driver::child::{Child, ExitInfo};
use crate::driver::input::{Input, OwnInput, send_text};
use crate::driver::memory::{Governor, MemoryLease};
use crate::driver::messages;
use crate::driver::options::{Facts, Options};
use crate::driver::output::Output;
use crate::driver::spawn::{may_start_threads, spawn};
use crate::error::{Error, START_TIMEOUT, broken};
use crate::isolation::seccomp::calls::Arch;
use crate::limits::Limits;
use crate::types::harness::Harness;
use crate::types::layer::Layer;
use crate::types::level::Level;
use crate::types::outcome::End;
use crate::{sys, wire};

/// One warm interpreter, driven by one thread, blocking.
///
/// Start it on the thread that drives it: the zygote dies with the thread that started it. Dropping it kills it.
#[derive(Debug)]
pub struct Sandbox {
    zygote: Process,
    socket: OwnedFd,
    /// Receives requests for threads, and forbidden calls, from the programs' processes.
    pub(crate) listener: Option<OwnedFd>,
    stderr: OwnedFd,
    landlock_abi: u64,
    uid: u64,
    thread_cap: bool,
    pub(crate) given_up: Arc<AtomicBool>,
    level: Level,
    pub(crate) numpy: bool,
    pub(crate) harness: Option<&'static Harness>,
    governor: Option<Arc<Governor>>,
    /// The program was killed because memory ran out; its next processes run alone.
    pub(crate) evicted: bool,
    /// What the zygote, and so each process at its start, has mapped read-only or shared, KiB.
    pub(crate) mapped_before: u64,
}

/// How long to wait for room for one more process.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(5);

/// `RLIMIT_CPU` of a program's process: should this driver hang, it ends some day. In whole hours, and twice as many
/// where the limit on a test is long, so that it does not tell a program how many tests are left, or that a test runs
/// under another limit than before.
fn backstop_seconds(cpu_seconds: f64) -> u64 {
    const HOUR: u64 = 3600;
    let hours = (2.0 * cpu_seconds / HOUR as f64).ceil() as u64;
    hours.max(1).next_power_of_two() * HOUR
}

impl Sandbox {
    /// Execs the zygote and waits until it has sealed itself.
    pub(crate) fn connect(options: &Options) -> Result<Self, Error> {
        if Arch::HERE.is_none() && options.has(Layer::Seccomp) {
            return Err(Error::Unavailable(
                "the system-call tables are for x86-64 and aarch64 only".to_owned(),
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
            listener: None,
            stderr,
            landlock_abi: 0,
            uid: 0,
            thread_cap: false,
            given_up: Arc::default(),
            level: options.level,
            numpy: options.numpy,
            harness: options.harness,
            governor: options.governor.clone(),
            evicted: false,
            mapped_before: 0,
        };
        if let Some(group) = sandbox.group() {
            group.add(sandbox.pid()).map_err(failed)?;
        }
        match sandbox.recv(wire::HELLO) {
            Ok([_, abi, uid, listen, ..]) => {
                sandbox.landlock_abi = abi;
                sandbox.uid = uid;
                sandbox.thread_cap = listen == 1;
                if uid != u64::from(sys::user()) && !sys::may_signal(sandbox.pid() as i32) {
                    return Err(Error::Unavailable(format!(
                        "programs would run as user {uid}, which this process may not kill: keep CAP_KILL, \
                         or start as an ordinary user"
                    )));
                }
                Ok(sandbox)
            }
            Err(error) => {
                sandbox.zygote.kill().ok(); // useless now, whether it still runs or not
                sandbox.zygote.wait().ok();
                let said = sandbox.stderr_tail();
                Err(failed(if said.is_empty() {
                    error.to_string()
                } else {
                    said
                }))
            }
        }
    }

    /// Once `flag` is set, a running test soon ends as if at its wall limit. Any thread may set it.
    pub fn give_up_when(&mut self, flag: &Arc<AtomicBool>) {
        self.given_up = Arc::clone(flag);
    }

    fn group(&self) -> Option<&Group> {
        self.governor.as_deref().and_then(Governor::group)
    }

    /// The zygote's pid.
    pub fn pid(&self) -> u32 {
        self.zygote.id()
    }

    /// A program can write any report about itself. A blocked import is believed only at the level that blocks imports,
    /// and only for a module that the program names.
    pub(crate) fn distrust_import_block(&self, end: &mut End, code: &str) {
        let End::ImportBlocked { module } = end else {
            return;
        };
        let name = module.split('.').next().unwrap_or_default();
        if self.level != Level::S1 || name.is_empty() || !code.contains(name) {
            *end = End::Raised {
                kind: "ImportError".to_owned(),
                message: format!("No module named {module:?}"),
                frames: Vec::new(),
            };
        }
    }

    /// The level whose layers are enabled.
    pub fn level(&self) -> Level {
        self.level
    }

    /// What `doctor` and the policy's fingerprint need to know about this machine.
    pub fn facts(&self) -> Facts {
        Facts {
            landlock_abi: self.landlock_abi,
            thread_cap: self.thread_cap,
        }
    }

    /// One line for logs: which protections hold.
    pub fn describe(&self) -> String {
        let files = match self.level {
            Level::S3 | Level::S2 => format!("landlock ABI {}", self.landlock_abi),
            Level::S2j => "mount jail".to_owned(),
            Level::S1 => "nothing opened after start-up".to_owned(),
            Level::S0 => return format!("no isolation, uid {}", self.uid),
        };
        let namespaces = if self.level == Level::S3 {
            ", own user, pid, net, ipc and mount namespaces"
        } else {
            ""
        };
        let threads = if self.thread_cap {
            "thread cap by notification"
        } else {
            "no thread cap"
        };
        let group = self.group().map_or("", |_| ", control group");
        format!(
            "seccomp, {files}{namespaces}, uid {}, {threads}{group}",
            self.uid
        )
    }

    /// A sealed process with the program's text in its report file, on its first test.
    pub(crate) fn fork(
        &mut self,
        text: &str,
        limits: &Limits,
        input: &Input,
        step: u64,
    ) -> Result<Child, Error> {
        let is_led = self.harness.is_some();
        let alone = self.evicted;
        let lease = self.governor.as_ref().map(|governor| governor.lease(alone));
        if let Some(group) = self.group() {
            group.make_room_for(limits).map_err(broken("make room"))?;
        }
        let killed_before = self.group().map_or(0, Group::num_killed);
        let report = sys::memfd(c"report").map_err(broken("memfd"))?;
        let output = if is_led {
            None // it handles its own streams
        } else {
            let file = |name| Output::new(name).map_err(broken("memfd"));
            Some((file(c"stdout")?, file(c"stderr")?))
        };
        let (control, theirs) = sys::socket_pair().map_err(broken("socket pair"))?;
        let in_file = send_text(text, &control, &report).map_err(broken("write the program"))?;
        let mut own = OwnInput::new(is_led);
        own.release(&control, 0, input, step)
            .map_err(broken("release the input"))?;

        let cpu = backstop_seconds(limits.cpu_seconds);
        let memory = limits.memory_mib << 20;
        let stack = limits.stack_mib << 20;
        let most_output = limits.output_mib << 20;
        let threads = u64::from(may_start_threads(text));
        let length = text.len() as u64;
        let in_file = u64::from(in_file);
        let request = [
            wire::FORK,
            cpu,
            memory,
            most_output,
            stack,
            threads,
            length,
            in_file,
        ];
        let mut fds = vec![theirs.as_raw_fd(), report.as_raw_fd()];
        if let Some((stdout, stderr)) = &output {
            fds.extend([stdout.as_raw_fd(), stderr.as_raw_fd()]);
        }
        let pid = self.ask_for_process(request, &fds)?;
        drop(theirs);
        let pidfd = sys::pidfd(pid).map_err(broken("pidfd of the child"))?;
        if let Some(lease) = &lease {
            lease
                .attach(pid, &pidfd, limits.memory_mib, self.mapped_before)
                .map_err(broken("watch its memory"))?;
        }
        let mut child = Child {
            pid,
            pidfd,
            control,
            output,
            report,
            input: own,
            cpu_at_start: 0.0,
            cpu_before: 0.0,
            num_tests: 1,
            is_led,
            killed_before,
            lease,
        };
        if let Err(cause) = child.wait_until_ready() {
            let said = sys::pread(&child.report, 0, 4096).unwrap_or_default();
            self.reap(child)?;
            let said = String::from_utf8_lossy(&said);
            let cause = format!(
                "{cause} {}",
                said.strip_prefix(wire::FAILED).unwrap_or_default()
            );
            return Err(Error::Broken {
                step: "seal a program's process",
                cause,
            });
        }
        Ok(child)
    }

    /// The pid of a new process. Where the user or the control group has no room for one, it waits for that.
    fn ask_for_process(&mut self, request: wire::Words, fds: &[RawFd]) -> Result<i32, Error> {
        let started = Instant::now();
        loop {
            sys::send(self.socket.as_raw_fd(), &wire::pack(request), fds)
                .map_err(broken("ask for a process"))?;
            let pid = self.recv(wire::FORK)?[1] as i32;
            if pid > 0 {
                return Ok(pid);
            }
            if pid != -libc::EAGAIN || started.elapsed() > PATIENCE {
                return Err(broken("fork")(format!("errno {}", -pid)));
            }
            thread::sleep(PAUSE);
        }
    }

    /// Kills a process without asking how it ended; the zygote waits for its end before it does anything else.
    #[expect(clippy::needless_pass_by_value)] // as in `reap`
    pub(crate) fn kill(&mut self, child: Child) -> Result<(), Error> {
        sys::kill(&child.pidfd);
        let request = wire::words([wire::DISCARD, child.pid as u64]);
        sys::send(self.socket.as_raw_fd(), &wire::pack(request), &[]).map_err(broken("ask to reap"))
    }

    /// Kills a process and waits for its end.
    #[expect(clippy::needless_pass_by_value)] // once reaped, it cannot be used again
    pub(crate) fn reap(&mut self, child: Child) -> Result<ExitInfo, Error> {
        sys::kill(&child.pidfd);
        let request = wire::words([wire::REAP, child.pid as u64]);
        sys::send(self.socket.as_raw_fd(), &wire::pack(request), &[])
            .map_err(broken("ask to reap"))?;
        let [_, status, micros, peak_kib, ..] = self.recv(wire::REAP)?;
        let evicted = child.lease.as_ref().is_some_and(MemoryLease::was_evicted);
        self.evicted |= evicted;
        let status = status as u32 as i32;
        let was_killed = libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL;
        let since = |group: &Group| group.num_killed() > child.killed_before;
        Ok(ExitInfo {
            evicted,
            oom_killed: was_killed && self.group().is_some_and(since),
            status,
            cpu_seconds: micros as f64 * 1e-6,
            peak_kib,
        })
    }

    /// The zygote's next message, which must be of this kind. The first one carries the listener.
    fn recv(&mut self, kind: u64) -> Result<wire::Words, Error> {
        let mut bytes = [0; wire::LENGTH];
        let mut fds = [-1; sys::MAX_FDS];
        let socket = self.socket.as_raw_fd();
        let ready = messages::wait_for_message(socket, self.pid() as i32, START_TIMEOUT);
        if !ready.map_err(broken("wait for the zygote"))? {
            let cause = format!("no message within {START_TIMEOUT:?}");
            return Err(broken("wait for the zygote")(cause));
        }
        let received = sys::receive(socket, &mut bytes, &mut fds);
        match received.map_err(broken("receive from the zygote"))? {
            (wire::LENGTH, count) if wire::unpack(&bytes)[0] == kind => {
                if count == 1 {
                    self.listener = Some(sys::take_fd(fds[0]));
                }
                Ok(wire::unpack(&bytes))
            }
            (0, _) => Err(broken("receive from the zygote")(format!(
                "it died: {}",
                self.stderr_tail()
            ))),
            (n, _) => Err(broken("receive from the zygote")(format!(
                "{n} unexpected bytes"
            ))),
        }
    }

    /// The end of what the zygote wrote to its standard error.
    fn stderr_tail(&self) -> String {
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
        self.group().inspect(|group| group.leave());
    }
}
