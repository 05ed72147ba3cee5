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
torch.set_num_threads(1)  # small blocks: threads that wait for each other are slow on a busy machine
tokens = 500 if kind == "whole" else 1500
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
run(tokens, budget)
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
    # All logits would be 76 MiB in fp32 for 500 tokens, once for each step of the loss, 229 for 1,500. The matrix's
    # gradients take 7, the allocator some.
    assert int(done.stdout) < 1.1 * budget + 24 * MIB
