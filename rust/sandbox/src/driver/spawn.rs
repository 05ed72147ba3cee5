//! How a zygote's interpreter is started, and its arguments.

use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use crate::driver::options::Options;
use crate::sys;
use crate::types::layer::Layer;

/// What the zygote's interpreter runs: the extension by its path, then the harness inside it.
const BOOT: &str = "import sys\n\
    from importlib.machinery import ExtensionFileLoader, ModuleSpec\n\
    path = sys.argv[1]\n\
    loader = ExtensionFileLoader('_core', path)\n\
    core = loader.create_module(ModuleSpec('_core', loader, origin=path))\n\
    loader.exec_module(core)\n\
    core.sandbox_zygote(*map(int, sys.argv[2:6]), sys.argv[6].strip(), sys.argv[7:])\n";

/// The zygote's whole environment. `-I` would ignore `PYTHONHASHSEED`; `-s -P` and this list have the same effect.
const ENVIRONMENT: [(&str, &str); 7] = [
    ("LD_BIND_NOW", "1"), // otherwise every child binds its symbols itself and copies their pages
    ("PYTHONHASHSEED", "0"),
    ("TZ", "UTC"),
    ("LC_ALL", "C.UTF-8"),
    ("OMP_NUM_THREADS", "1"),
    ("OPENBLAS_NUM_THREADS", "1"),
    ("MALLOC_ARENA_MAX", "1"), // an arena per thread would use up the address space
];

/// `ADDR_NO_RANDOMIZE`, personality(2).
pub(crate) const NO_RANDOM_ADDRESSES: u32 = 0x0004_0000;
/// posix_spawn, never fork: the parent may be large, threaded, or hold expected outputs.
pub(crate) fn spawn(
    options: &Options,
    socket: OwnedFd,
    stderr: &OwnedFd,
) -> std::io::Result<Child> {
    let off = Layer::ALL.iter().filter(|&&layer| !options.has(layer));
    let without: u64 = off.map(|layer| layer.bit()).sum();
    let mut command = Command::new(std::path::absolute(&options.python)?);
    command
        .args(["-s", "-P", "-S", "-B", "-c", BOOT])
        .arg(std::path::absolute(&options.core)?)
        // Fixed width: the length of the arguments changes addresses.
        .args([
            format!("{:010}", std::process::id()),
            format!("{without:06}"),
            u8::from(options.numpy).to_string(),
            format!("{:02}", options.packages.len()),
            format!("{:16}", options.harness.map_or("", |harness| harness.name)),
        ])
        .args(&options.packages)
        .args(&options.site_packages)
        .stdin(socket)
        .stdout(Stdio::null())
        .stderr(stderr.try_clone()?)
        .current_dir("/")
        .process_group(0);
    if options.has(Layer::CleanEnv) {
        command.env_clear();
    }
    command.envs(ENVIRONMENT);
    // Kept across exec. Docker's default profile refuses it; then addresses differ from run to run.
    let before = sys::personality(None)?;
    let fixed = options.has(Layer::Determinism)
        && sys::personality(Some(before | NO_RANDOM_ADDRESSES)).is_ok();
    // An unlimited stack would change the new process's memory layout.
    let process = sys::with_finite_stack(|| command.spawn());
    if fixed {
        sys::personality(Some(before))?;
    }
    process
}

/// Whether a program's text mentions threads: where they cannot be counted, only such programs may start any.
pub(crate) fn may_start_threads(code: &str) -> bool {
    ["thread", "concurrent", "asyncio", "multiprocessing"]
        .iter()
        .any(|word| code.contains(word))
}
