//! Inside the zygote, once: gives up every right that no program needs, in order.
//!
//! Every program is forked from the process after this; if a step fails, the zygote ends before it serves any.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use crate::isolation::seccomp::bpf::Action;
use crate::isolation::seccomp::calls::Arch;
use crate::isolation::seccomp::policy::{self, StageOne, StageTwo};
use crate::isolation::{jail, landlock, namespaces};
use crate::types::layer::Layer;
use crate::zygote::huge_pages;
use crate::zygote::readable::Readable;
use crate::zygote::state::{Zygote, step};
use crate::{sys, wire};

/// A user id that is very likely unused: for a zygote started by root, if the interpreter stays readable.
const UNUSED_UID: u32 = 1_999_999_999;
/// Limits that hold for the zygote and every program alike: name, resource, value.
pub(crate) const RLIMITS: &[(&str, u32, u64)] = &[
    ("core", libc::RLIMIT_CORE, 0),
    ("memlock", libc::RLIMIT_MEMLOCK, 0),
    ("msgqueue", libc::RLIMIT_MSGQUEUE, 0),
    ("nice", libc::RLIMIT_NICE, 0),
    ("rtprio", libc::RLIMIT_RTPRIO, 0),
    ("sigpending", libc::RLIMIT_SIGPENDING, 256),
];
/// Descriptors of a program. Not the zygote's limit: the kernel counts a user's descriptors in transit against the
/// limit of the sender (unix(7)), and several of its messages may be in transit at once.
pub(crate) const OPEN_FILES: u64 = 64;

impl Zygote {
    /// After the imports: gives up every right that no program needs, then reports HELLO.
    ///
    /// # Errors
    /// Which step failed.
    pub fn seal(&mut self, world: &Readable) -> Result<(), String> {
        huge_pages::remap()?;
        std::fs::write("/proc/self/oom_score_adj", "1000").ok(); // the trainer matters more; a stub in gVisor
        sys::lower_priority();
        self.limit_resources()?;
        let grants = world.grants();
        let jailed_by_root = self.has(Layer::Jail) && self.can_mount_as_root_only(world)?;
        if jailed_by_root {
            namespaces::enter_mounts_as_root()?;
            jail::enter(&grants)?;
        }
        if self.has(Layer::Privileges) && sys::user() == 0 {
            switch_user(world)?;
        }
        if self.has(Layer::Namespaces) {
            namespaces::enter(namespaces::ALL)?;
        } else if self.has(Layer::Jail) && !jailed_by_root {
            namespaces::enter(namespaces::MOUNTS)?;
            jail::enter(&grants)?;
        }
        if self.has(Layer::Privileges) {
            drop_privileges()?;
        }
        let abi = sys::landlock_abi().unwrap_or(0);
        if self.has(Layer::Landlock) {
            if abi == 0 {
                return Err(
                    "this kernel has no Landlock (5.13 or later, and `landlock` in lsm=)".into(),
                );
            }
            let domain = step("Landlock rules", landlock::domain(abi, &grants))?;
            step("enter Landlock", landlock::enter(&domain))?;
        }
        let pair = step("socket pair", sys::socket_pair())?; // the filters allow no such pair later
        let listener = if self.has(Layer::Seccomp) {
            self.install_filters()?
        } else {
            None
        };
        if self.has(Layer::Namespaces) {
            step("init of the pid namespace", sys::fork_init(pair))?;
            self.parent_id = 0; // a parent outside the namespace has no pid inside
        }
        let hello = wire::words([
            wire::HELLO,
            abi as u64,
            sys::user().into(),
            self.listen.into(),
        ]);
        let fds = listener.as_ref().map(AsRawFd::as_raw_fd);
        let hello = sys::send(self.socket, &wire::pack(hello), fds.as_slice());
        step("say hello", hello)
    }

    /// Whether the user that this process will become is refused user namespaces, while root may mount. Both are tried in
    /// forks of this process.
    fn can_mount_as_root_only(&self, world: &Readable) -> Result<bool, String> {
        if sys::user() != 0 {
            return Ok(false);
        }
        let by_user = || {
            (!self.has(Layer::Privileges) || switch_user(world).is_ok())
                && namespaces::enter(namespaces::MOUNTS).is_ok()
        };
        let by_root = || namespaces::enter_mounts_as_root().is_ok();
        Ok(!step("try a user namespace", sys::try_in_fork(by_user))?
            && step("try a mount namespace", sys::try_in_fork(by_root))?)
    }

    /// Installs stage one, with the listener for the requests of every child. Compiles stage two, into which each child
    /// writes its pid.
    fn install_filters(&mut self) -> Result<Option<OwnedFd>, String> {
        let arch = Arch::HERE.ok_or("no system-call table for this processor")?;
        let no_open = self.has(Layer::NoOpen);
        let install = |listen| {
            let stage_one = policy::stage_one(arch, StageOne::of(listen, no_open));
            sys::install(&stage_one, listen)
        };
        let mut installed = install(self.listen);
        // An outer process already listens, and there can be only one listener: threads are not counted here.
        if matches!(&installed, Err(error) if error.raw_os_error() == Some(libc::EBUSY)) {
            self.listen = false;
            installed = install(false);
        }
        let listener = step("install seccomp stage one", installed)?;
        let hide_parent = self.has(Layer::Namespaces);
        let second = |threads| {
            let how = StageTwo {
                threads,
                hide_parent,
            };
            policy::stage_two(arch, how)
        };
        self.stage_two = second(Action::Allow); // as stage one says
        self.stage_two_single = second(Action::Errno(libc::EAGAIN));
        Ok(self.listen.then(|| sys::take_fd(listener as RawFd)))
    }

    fn limit_resources(&self) -> Result<(), String> {
        if !self.has(Layer::Rlimits) {
            return Ok(());
        }
        for &(name, resource, value) in RLIMITS {
            step(name, sys::rlimit(resource, value, value))?;
        }
        Ok(())
    }
}

/// Becomes another user if the interpreter stays usable. With one in root's home the process stays root: otherwise a
/// lazy import would fail later, in some program.
fn switch_user(world: &Readable) -> Result<(), String> {
    let usable = || sys::set_user(UNUSED_UID).is_ok() && world.is_readable();
    if step("try another user", sys::try_in_fork(usable))? {
        sys::drop_bounding_set(); // an ordinary user may not do it any more
        step("become another user", sys::set_user(UNUSED_UID))?;
    }
    Ok(())
}

/// No capability, no new privileges, not dumpable.
fn drop_privileges() -> Result<(), String> {
    step("drop capabilities", sys::drop_capabilities())?;
    step(
        "no new privileges",
        sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1),
    )?;
    step("not dumpable", sys::prctl(libc::PR_SET_DUMPABLE, 0))?;
    // A change of user clears it.
    step(
        "die with the driver",
        sys::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64),
    )
    .map(drop)
}
