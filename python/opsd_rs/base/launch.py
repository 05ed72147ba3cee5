"""Start-up on a machine without CUDA: the right OpenMP, before torch is loaded.

In: the environment a command was started with. Out: the same program, run again once with libiomp5
preloaded and the thread variables set. GNU's OpenMP, which torch's wheel brings, spins while it waits: one
core taken by another process then costs a factor of ten in torch and vLLM. A preload works only before the process
starts, hence the second start.

What it does not do: touch a machine with a CUDA device, or variables that the user has set.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from opsd_rs.base.cores import whole_cores

if TYPE_CHECKING:
    from collections.abc import Mapping

GUARD = "OPSD_RS_LAUNCHED"
"""Set on the second start and removed there, so that it reaches no other program."""


def has_cuda(environ: Mapping[str, str], devices: Path = Path("/dev")) -> bool:
    """Whether a CUDA device is there and not hidden."""
    if environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1"):
        return False
    return any(devices.glob("nvidia[0-9]*")) or (devices / "dxg").exists()


def cpu_environment(environ: Mapping[str, str], prefix: Path, cores: int) -> dict[str, str]:
    """The variables to add for a run on CPU; empty when all are there.

    ``prefix`` is the Python environment's folder. What the user has set is kept, a preload is extended.
    """
    wanted = openmp_environment(environ, prefix, cores)
    added = {name: value for name, value in wanted.items() if name == "LD_PRELOAD" or name not in environ}
    folders = environ.get("PATH", os.defpath).split(os.pathsep)
    scripts = str(prefix / "bin")
    if scripts not in folders:
        added["PATH"] = os.pathsep.join([scripts, *folders])  # DeepSpeed's builds look for ninja there
    return added


def openmp_environment(environ: Mapping[str, str], prefix: Path, cores: int) -> dict[str, str]:
    """The variables under which OpenMP leaves cores to others while it waits; ``LD_PRELOAD`` only where it changes."""
    wanted = {"OMP_NUM_THREADS": str(cores)}
    openmp = prefix / "lib" / "libiomp5.so"
    if not openmp.exists():
        return wanted | {"OMP_WAIT_POLICY": "PASSIVE"}
    wanted["KMP_BLOCKTIME"] = "1"  # milliseconds a thread spins before it sleeps
    preload = environ.get("LD_PRELOAD", "")
    if "libiomp5" not in preload:
        wanted["LD_PRELOAD"] = os.pathsep.join(filter(None, [str(openmp), preload]))
    return wanted


def restart_on_cpu() -> None:
    """Start this command again with the CPU's environment, unless that is done or not needed."""
    if os.environ.pop(GUARD, None) is not None or has_cuda(os.environ):
        return
    added = cpu_environment(os.environ, Path(sys.prefix), whole_cores())
    if added:
        sys.stdout.flush()
        sys.stderr.flush()
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **added, GUARD: "1"})
