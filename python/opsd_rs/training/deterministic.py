"""The same bits every time on a GPU, where some kernels add up in whatever order their parts arrive."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
"""cuBLAS reads it when a process first multiplies; without it, it may take another algorithm each time."""


@contextmanager
def deterministic(*, on: bool) -> Iterator[None]:
    """Deterministic kernels in this block, where ``on``; else nothing changes."""
    if not on:
        yield
        return
    os.environ.setdefault(WORKSPACE, ":4096:8")
    memory: Any = torch.utils.deterministic
    before = torch.are_deterministic_algorithms_enabled()
    filled = memory.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    # Every fresh tensor would be filled with nan first: a pass over memory, to find reads of what was never written.
    memory.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        memory.fill_uninitialized_memory = filled
