"""How many tokens at a time: logits of a chunk are kept until its two matrix products, those of a block are scratch.

A chunk is a whole number of blocks. Student and teacher logits are computed by blocks of the same size, so that equal
models give equal bits: libraries choose their summation order by shape.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from opsd_rs.errors import BadInput
from opsd_rs.loss.kernels.heads import OutputHead

Precision = Literal["refined", "rounded", "float32"]
"""Of the logits, where hidden states are bf16. ``refined``: products rounded to bf16, the chosen ones again in fp32.
``rounded``: all as rounded, what ``lm_head`` gives. ``float32``: all in fp32. fp32 and fp64 inputs keep their type."""

CPU_BUDGET, GPU_BUDGET = 512 << 20, 3 << 30
"""Bytes for logits and what is made of them, unless the caller says. On a GPU chunks must be large: adding a chunk's
share to the fp32 gradient of the matrix reads and writes all of it, a fifth of the product's time at 4,096 tokens."""
MAX_BLOCK = 2048
"""Tokens; more make no matrix product faster."""
PITCH = 8
"""Rows of logits begin at multiples of 16 bytes: matrix products on a GPU lose their fast kernels otherwise."""


class Plan(NamedTuple):
    """Tokens of a chunk, and of a block.

    >>> Plan.of(1000, 100, budget=64_000, kept=4, scratch=28)
    Plan(chunk=77, block=11)
    """

    chunk: int
    block: int

    @classmethod
    def of(cls, num_tokens: int, vocabulary: int, *, budget: int, kept: int, scratch: float) -> Plan:
        """Half of ``budget`` bytes or less for a block, at ``scratch`` per logit; the rest for a chunk, at ``kept``.

        One token at a time where even that is more.
        """
        if budget < 1:
            raise BadInput(f"budget_bytes = {budget}: give at least 1")
        block = int(max(1, min(num_tokens, MAX_BLOCK, budget // 2 // (vocabulary * scratch))))
        fitting = int((budget - block * vocabulary * scratch) // (vocabulary * kept))
        return cls(max(block, min(fitting, num_tokens) // block * block), block)


def default_budget(device: torch.device) -> int:
    """Bytes."""
    return GPU_BUDGET if device.type == "cuda" else CPU_BUDGET


def slices(start: int, stop: int, size: int) -> Iterator[slice]:
    """``start`` to ``stop`` in steps of ``size``; nothing where they are equal.

    >>> list(slices(2, 7, 3))
    [slice(2, 5, None), slice(5, 7, None)]
    """
    return (slice(at, min(stop, at + size)) for at in range(start, stop, size))


def product_dtype(hidden_dtype: torch.dtype, precision: Precision) -> torch.dtype:
    """Type in which products are stored."""
    return torch.promote_types(hidden_dtype, torch.float32) if precision == "float32" else hidden_dtype


def products(hidden_RD: Tensor, weight_VD: Tensor, out_RV: Tensor) -> Tensor:
    """``hidden_RD @ weight_VD.T`` into ``out_RV``, of the inputs' type or fp32."""
    if out_RV.dtype == hidden_RD.dtype:
        return torch.mm(hidden_RD, weight_VD.T, out=out_RV)
    if hidden_RD.is_cuda:
        return torch.mm(hidden_RD, weight_VD.T, out_dtype=out_RV.dtype, out=out_RV)
    return torch.mm(hidden_RD.to(out_RV.dtype), weight_VD.T.to(out_RV.dtype), out=out_RV)


@contextmanager
def settled(device: torch.device) -> Iterator[None]:
    """Products as written: no autocast, no sums in bf16 (a product over the vocabulary is split into parts and added),
    and the tensors' GPU current, where kernels are launched."""
    matmul = torch.backends.cuda.matmul
    before = matmul.allow_bf16_reduced_precision_reduction
    matmul.allow_bf16_reduced_precision_reduction = False
    try:
        current = torch.cuda.device(device) if device.type == "cuda" else nullcontext()
        with torch.autocast(device.type, enabled=False), current:
            yield
    finally:
        matmul.allow_bf16_reduced_precision_reduction = before


def buffer(num_rows: int, vocabulary: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Uninitialised (R, V), each row at an aligned address."""
    pitch = -(-vocabulary // PITCH) * PITCH
    whole = torch.empty(num_rows, pitch, dtype=dtype, device=device)
    # bf16 products on a CPU read pairs: what follows an odd row is multiplied by 0, and may not be nan.
    whole[:, vocabulary:] = 0
    return whole[:, :vocabulary]


def check_inputs(who: str, hidden_TD: Tensor, head: OutputHead, precision: Precision) -> None:
    """Raise BadInput on shapes, types or devices that do not fit."""
    weight = head.weight_VD
    if hidden_TD.dim() != 2 or hidden_TD.shape[1] != weight.shape[1]:
        raise BadInput(
            f"{who}: hidden states {tuple(hidden_TD.shape)} do not fit {tuple(weight.shape)} (V, D)"
        )
    if hidden_TD.dtype != weight.dtype or hidden_TD.device != weight.device:
        raise BadInput(
            f"{who}: hidden states are {hidden_TD.dtype} on {hidden_TD.device}, the output matrix is {weight.dtype} on"
            f" {weight.device}; give both the same (`weight.to(hidden.dtype)` carries gradients)"
        )
    if hidden_TD.dtype not in (torch.bfloat16, torch.float32, torch.float64):
        raise BadInput(
            f"{who}: {hidden_TD.dtype} is not supported: gradients of 1 / tokens underflow in it; use bfloat16"
        )
    if precision not in ("refined", "rounded", "float32"):
        raise BadInput(f"precision = {precision!r} is unknown; take refined, rounded or float32")


def check_ids(who: str, ids: Tensor, vocabulary: int) -> None:
    """Raise BadInput on token ids outside of the vocabulary."""
    if ids.dtype not in (torch.int64, torch.int32):
        raise BadInput(f"{who}: ids are {ids.dtype}; give int64 or int32")
    if not ids.numel():
        return
    low, high = torch.stack(ids.aminmax()).tolist()  # one wait for the device
    if not 0 <= low <= high < vocabulary:
        raise BadInput(f"{who}: ids from {low} to {high}, the vocabulary has {vocabulary}")
