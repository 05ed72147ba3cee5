"""The two loops in examples/ run on the real small model, for a couple of tiny steps."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.samples_model, pytest.mark.slow]

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"


def run(name: str, *words: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "python"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *words],
        capture_output=True, text=True, env=environment, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def losses(text: str) -> list[float]:
    return [float(found) for found in re.findall(r"loss (\S+)", text)]


@pytest.mark.model
def test_the_plain_loop_trains(smollm2: Path) -> None:
    assert len((EXAMPLES / "plain_loop.py").read_text().splitlines()) <= 120
    words = ["--context", "reference_free", "--problems", "1", "--rollouts", "2", "--max-tokens", "24"]
    found = losses(run("plain_loop.py", "--model", str(smollm2), *words))
    assert len(found) == 2
    assert all(0.0 < loss < 10.0 for loss in found)  # the context changes what the teacher thinks


@pytest.mark.model
def test_the_trl_loop_trains(smollm2: Path, tmp_path: Path) -> None:
    words = ["--context", "reference_free", "--problems", "1", "--rollouts", "2", "--max-tokens", "16"]
    found = losses(run("trl_loop.py", "--model", str(smollm2), *words, "--out", str(tmp_path)))
    assert len(found) == 2
    assert all(0.0 < loss < 10.0 for loss in found)
