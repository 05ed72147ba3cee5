"""Triton kernels compiled for GPUs that are not here: registers and spills as ptxas reports them."""

from __future__ import annotations

import json
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import triton
from opsd_rs.loss.kernels import triton_kernels as kernels
from opsd_rs.loss.kernels import triton_loss_kernel as loss_kernel
from opsd_rs.loss.kernels import triton_rows, triton_sparse
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

BIN = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
ARCHITECTURES = {80: "sm_80", 90: "sm_90a", 100: "sm_100a"}


class Case(NamedTuple):
    """A kernel as ``triton_rows`` launches it."""

    name: str
    kernel: Any
    warps: int
    constants: dict[str, Any]


class Used(NamedTuple):
    """What ptxas says of one kernel."""

    registers: int
    spilled: int
    """Bytes, stored and loaded."""


def compiled(case: Case, capability: int, stored: str = "*bf16") -> Used:
    """PTX by Triton, machine code by the ptxas that comes with it, for rows of a type."""
    parts = {"HAS_BIAS": False, "HAS_FACTOR": False, "HAS_CAP": False, **case.constants}
    names = case.kernel.arg_names
    constants = {name: value for name, value in parts.items() if name in names}
    signature = {name: "constexpr" if name in constants else kind(name, stored) for name in names}
    source = ASTSource(
        fn=case.kernel, signature=signature, constexprs=constants, attrs=aligned(case.kernel, signature)
    )
    binary = triton.compile(
        source, target=GPUTarget("cuda", capability, 32), options={"num_warps": case.warps}
    )
    ptxas = BIN / ("ptxas-blackwell" if capability >= 100 else "ptxas")
    done = subprocess.run(
        [str(ptxas), "-v", f"--gpu-name={ARCHITECTURES[capability]}", "/dev/stdin", "-o", "/dev/null"],
        input=binary.asm["ptx"], capture_output=True, text=True, check=True,
    )  # fmt: skip
    (registers,) = re.findall(r"Used (\d+) registers", done.stderr)
    spilled = sum(int(size) for size in re.findall(r"(\d+) bytes spill", done.stderr))
    return Used(int(registers), spilled)


def kind(name: str, stored: str) -> str:
    """Type of an argument, by its name."""
    if name in ("z_ptr", "out_ptr", "h_ptr", "w_ptr"):
        return stored
    if name.endswith("_ptr"):
        return "*i64" if name in ("ids_ptr", "tokens_ptr") else "*fp32"
    if name in (
        "scale",
        "softcap",
        "inverse_temperature",
        "temperature",
        "slope",
        "alpha",
    ) or name.startswith(("is_", "rollout_", "min_", "max_")):
        return "fp32"
    return "i32"


def aligned(kernel: Any, signature: dict[str, str]) -> dict[tuple[int, ...], Any]:
    """Pointers and strides are multiples of 16, as the pipeline's are."""
    found = {}
    for place, name in enumerate(kernel.arg_names):
        if name.endswith("_ptr") or (name.endswith("stride") and signature[name] == "i32"):
            found[(place,)] = [["tt.divisibility", 16]]
    return found


GROUPS = {"GP": 2048}
LOSS = {
    "J": 21, "KP": 32, "HAS_OLD": True, "HAS_CLIP": True, "HAS_ROLLOUT": True, "HAS_SLOPE": False, "GRADIENT": True,
    "ROWS": triton_rows.LOSS_ROWS,
}  # fmt: skip
CHOSEN = {"LABELLED": True, "REFINED": True, **GROUPS}
CASES = [
    Case("sweep", kernels.sweep, triton_rows.SWEEP_WARPS, {"TILE": triton_rows.SWEEP_TILE}),
    Case("select 20", kernels.select, triton_rows.SELECT_WARPS, {"K": 20, "GP": 1024, "GP2": 256}),
    Case("score 21", kernels.score, 4, {"J": 21, "JP": 32, **CHOSEN}),
    Case("score 101", kernels.score, 16, {"J": 101, "JP": 128, **CHOSEN}),
    Case("gradient", kernels.gradient, 8, {"J": 20, "JP": 32, "BLOCK": triton_rows.GRADIENT_BLOCK}),
    Case("dots 21", kernels.dots, 4, {"D": 4096, "J": 21, "JP": 32, "BLOCK": 128}),
    Case("scaled", kernels.scaled, 8, {"BLOCK": 4096}),
    Case("row_loss reverse", loss_kernel.row_loss, 4, {"KIND": loss_kernel.REVERSE, "TAIL": True, **LOSS}),
    Case("row_loss jsd", loss_kernel.row_loss, 4, {"KIND": loss_kernel.JSD, "TAIL": True, **LOSS}),
    Case(
        "row_loss forward, no tail", loss_kernel.row_loss, 4, {"KIND": loss_kernel.FORWARD, "TAIL": False, **LOSS}
    ),
    Case("row_loss sampled", loss_kernel.row_loss, 4, {"KIND": loss_kernel.SAMPLED, "TAIL": True, **LOSS}),
    Case("mixed_rows", triton_sparse.mixed_rows_kernel, 4, {"K": 20, "BLOCK": triton_sparse.WIDTH}),
    Case(
        "piece_sums", triton_sparse.piece_sums_kernel, 4,
        {"PIECE": triton_sparse.PIECE, "BLOCK": triton_sparse.WIDTH},
    ),
    Case(
        "joined_runs", triton_sparse.joined_runs_kernel, 4,
        {"PIECE": triton_sparse.PIECE, "BLOCK": triton_sparse.WIDTH},
    ),
]  # fmt: skip


def compiled_names() -> set[str]:
    """Of the kernels in ``CASES``."""
    return {case.kernel.fn.__name__ for case in CASES}


def defined_names() -> set[str]:
    """Of the kernels in the package: compiled functions that are not helpers of others."""
    modules = (kernels, loss_kernel, triton_sparse)
    found = {
        value.fn.__name__
        for module in modules
        for value in vars(module).values()
        if hasattr(value, "arg_names")
    }
    return {name for name in found if not name.startswith("_")}


def main() -> None:
    """Print what every kernel takes, as JSON; four at a time, ptxas works by itself."""
    work = [(case, capability) for case in CASES for capability in ARCHITECTURES]
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda pair: compiled(*pair), work))
    found: dict[str, dict[str, Used]] = {}
    for (case, capability), used in zip(work, results, strict=True):
        found.setdefault(case.name, {})[ARCHITECTURES[capability]] = used
    print(json.dumps(found))


if __name__ == "__main__":
    main()
