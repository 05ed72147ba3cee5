"""``benches/memory.py`` counts what student and teacher hold: 22 bytes per parameter, 20 with gradients in bf16."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

BENCH = str(Path(__file__).parents[2] / "benches" / "memory.py")
TEACHERS_HEAD = 2 * 512 * 64 / 856_896
"""Bytes per parameter of the tiny shape."""


@pytest.mark.parametrize(("words", "held"), [([], 22.0), (["optim.gradient_dtype=bfloat16"], 20.0)])
def test_what_is_held_while_gradients_are(words: list[str], held: float, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    command = [sys.executable, BENCH, "tiny", "--repeats", "2", "--json", str(out), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(out.read_text())
    assert found["parameters"] == 856_896
    assert found["gradients_held_bytes"] == pytest.approx(held + TEACHERS_HEAD, abs=0.01)
    assert found["rest_bytes"] <= held + 0.01
    assert all(len(found[f"{name}_seconds"]) == 2 for name in ("swap_in", "swap_out", "step", "follow"))
