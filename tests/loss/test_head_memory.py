"""The memory that a process takes for the loss from hidden states is what it was given, whatever the tokens."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import opsd_rs
import pytest

MIB = 1 << 20
PROGRAM = """
import resource, sys, torch
from opsd_rs.loss import OutputHead, topk_kl
kind, dtype, budget = sys.argv[1], getattr(torch, sys.argv[2]), int(sys.argv[3])
options = {"topk": None, "tail": False} if kind == "whole" else {"topk": 20}
hidden = torch.randn(1500, 16).to(dtype).requires_grad_()
if kind == "ties":
    hidden.data.zero_()
matrix = torch.randn(40_000, 16).to(dtype).requires_grad_()
head, taught, ids = OutputHead(matrix), hidden.detach() * 1.1, torch.zeros(1500, dtype=torch.long)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
def run(tokens, budget):
    part = slice(0, tokens)
    topk_kl(hidden[part], head, taught[part], head, ids[part], budget_bytes=budget, **options).loss.backward()
run(4, 1 << 20)  # libraries' own
before = peak()
run(1500, budget)
print(peak() - before)
"""


@pytest.mark.parametrize(
    ("kind", "dtype"), [("topk", "bfloat16"), ("ties", "float32"), ("whole", "bfloat16")]
)
def test_a_process_grows_by_no_more_than_the_budget(kind: str, dtype: str) -> None:
    budget = 96 * MIB
    path = str(Path(opsd_rs.__file__).parent.parent)
    words = [sys.executable, "-c", PROGRAM, kind, dtype, str(budget)]
    done = subprocess.run(
        words, env={"PYTHONPATH": path}, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    # One fp32 tensor of all logits would be 229 MiB. The matrix's gradients take 7, the allocator some.
    assert int(done.stdout) < 1.1 * budget + 24 * MIB
