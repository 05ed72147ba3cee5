"""The memory that a process takes for the loss from hidden states is what it was given, whatever the tokens."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import opsd_rs
import pytest
import torch
from opsd_rs.loss import divergences, support
from torch.utils._python_dispatch import TorchDispatchMode

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


class LargestIds(TorchDispatchMode):
    """Bytes of the largest tensor of integers that any operation returns."""

    size = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for x in out if isinstance(out, tuple | list) else (out,):
            if isinstance(x, torch.Tensor) and not x.is_floating_point() and x.dtype != torch.bool:
                self.size = max(self.size, x.numel() * x.itemsize)
        return out


def test_ids_of_tied_rows_are_made_for_few_rows_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    logits_TV = torch.randint(3, (400, 1000), generator=torch.Generator().manual_seed(0)).bfloat16()
    logits_TV[::7] = 1.0
    expected = logits_TV.double().sort(dim=-1, descending=True, stable=True).indices[:, :5]
    monkeypatch.setattr(divergences, "TIE_BYTES", 40_000)
    with LargestIds() as mode:
        found = support(logits_TV, 5)
    assert torch.equal(found, expected)
    assert mode.size <= 40_000  # 1.6 MB for all rows at once; the ids themselves are 16 kB
