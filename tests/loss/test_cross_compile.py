"""Every Triton kernel becomes machine code for Ampere, Hopper and Blackwell here, without a GPU, within registers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import cross_compile
import opsd_rs
import pytest

pytest.importorskip("triton")

LIMITS = {
    "sweep": 80, "select 20": 88, "score 21": 96, "score 101": 80, "gradient": 48, "dots 21": 64, "scaled": 72,
    "row_loss reverse": 40, "row_loss jsd": 48, "row_loss forward, no tail": 40, "row_loss sampled": 40,
    "mixed_rows": 72, "piece_sums": 72, "joined_runs": 40,
}  # fmt: skip
"""Registers of a thread: a few more than the most that any of the three takes. 128 leave space for 16 warps."""
SPILL = 16
"""Bytes."""


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, list[int]]]:
    """Registers and spilled bytes by kernel and architecture; in a process without the interpreter."""
    path = Path(opsd_rs.__file__).parent.parent
    environment = {
        **{name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"},
        "PYTHONPATH": str(path),
        "TRITON_CACHE_DIR": str(tmp_path_factory.mktemp("triton")),
    }
    words = [sys.executable, "-W", "ignore", str(cross_compile.__file__)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, dict[str, list[int]]] = json.loads(done.stdout)
    return found


def test_every_kernel_is_compiled_for_every_architecture(used: dict[str, dict[str, list[int]]]) -> None:
    assert set(used) == set(LIMITS)
    assert all(set(found) == {"sm_80", "sm_90a", "sm_100a"} for found in used.values())
    assert cross_compile.compiled_names() == cross_compile.defined_names()


@pytest.mark.parametrize("name", LIMITS)
def test_registers_and_spills(used: dict[str, dict[str, list[int]]], name: str) -> None:
    for architecture, (registers, spilled) in used[name].items():
        assert registers <= LIMITS[name] <= 128, (architecture, registers)
        assert spilled <= SPILL, (architecture, spilled)
