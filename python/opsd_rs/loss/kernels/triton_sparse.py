# mypy: disable-error-code="untyped-decorator,no-untyped-def,no-untyped-call,import-untyped"
"""Sums over a few entries per row on a GPU: rows of the matrix for dH, hidden states for dW.

For dW the entries are sorted by id. A program adds up a piece of the sorted list; a run of one id that ends in another
piece is put together by a second kernel, in order. So no sum depends on which program comes first, and an id that every
token has takes no longer than others.
"""

# Shapes: R rows, K support, N = R K entries, D hidden size, P pieces.

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

PIECE = 256
"""Entries that a program adds up."""
WIDTH = 1024
"""Columns at a time."""


@triton.jit
def mixed_rows_kernel(
    entries_ptr, ids_ptr, ids_stride, w_ptr, w_stride, w_column, out_ptr, out_stride, D,
    K: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """sum_k entry_k W[id_k] of one row, BLOCK columns."""
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    total = tl.zeros((BLOCK,), tl.float32)
    for k in tl.range(0, K, loop_unroll_factor=4):
        index = tl.load(ids_ptr + row * ids_stride + k).to(tl.int64)
        w = tl.load(w_ptr + index * w_stride + at * w_column, mask=at < D, other=0.0)
        total += tl.load(entries_ptr + row * K + k) * w.to(tl.float32)
    tl.store(out_ptr + row * out_stride + at, total.to(out_ptr.dtype.element_ty), mask=at < D)


@triton.jit
def _add(pointers, total, mask):
    """To what is there; no other program of the launch writes it."""
    tl.store(pointers, tl.load(pointers, mask=mask, other=0.0) + total, mask=mask)


@triton.jit
def piece_sums_kernel(
    ids_ptr, tokens_ptr, entries_ptr, h_ptr, h_stride, sum_ptr, sum_stride, heads_ptr, tails_ptr, N, D,
    PIECE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Of each run of one id in a piece; what begins before or ends behind it is kept apart."""
    piece = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    start = piece * PIECE
    stop = tl.minimum(start + PIECE, N)
    current = tl.load(ids_ptr + start)
    before = tl.load(ids_ptr + start - 1, mask=start > 0, other=-1)
    behind = tl.load(ids_ptr + stop, mask=stop < N, other=-1)
    is_head = before == current
    total = tl.zeros((BLOCK,), tl.float32)
    for i in range(start, stop):
        index = tl.load(ids_ptr + i)
        if index != current:
            if is_head:
                tl.store(heads_ptr + piece * D + at, total, mask=at < D)
            else:
                _add(sum_ptr + current * sum_stride + at, total, at < D)
            is_head = index != index
            total = tl.zeros((BLOCK,), tl.float32)
            current = index
        h = tl.load(h_ptr + tl.load(tokens_ptr + i) * h_stride + at, mask=at < D, other=0.0)
        total += tl.load(entries_ptr + i) * h.to(tl.float32)
    if is_head:
        tl.store(heads_ptr + piece * D + at, total, mask=at < D)
    else:
        if behind == current:
            tl.store(tails_ptr + piece * D + at, total, mask=at < D)
        else:
            _add(sum_ptr + current * sum_stride + at, total, at < D)


@triton.jit
def joined_runs_kernel(
    ids_ptr, sum_ptr, sum_stride, heads_ptr, tails_ptr, N, D, PIECE: tl.constexpr, BLOCK: tl.constexpr
):
    """A run that begins in this piece and ends in a later one."""
    piece = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    start = piece * PIECE
    stop = start + PIECE
    current = tl.load(ids_ptr + tl.minimum(stop, N) - 1)
    before = tl.load(ids_ptr + start - 1, mask=start > 0, other=-1)
    following = tl.load(ids_ptr + stop, mask=stop < N, other=-1)
    if (following == current) & (before != current):
        total = tl.load(tails_ptr + piece * D + at, mask=at < D)
        while following == current:
            piece += 1
            stop += PIECE
            total += tl.load(heads_ptr + piece * D + at, mask=at < D)
            following = tl.load(ids_ptr + stop, mask=stop < N, other=-1)
        # Always true; Triton 3.7 fails on a loop whose condition is used nowhere else.
        ended = following != current
        _add(sum_ptr + current * sum_stride + at, total, (at < D) & ended)


def mixed_rows(entries_RK: Tensor, weight_VD: Tensor, ids_RK: Tensor, out_RD: Tensor) -> None:
    """sum_k entry_k W[id_k] into ``out_RD``."""
    (num_rows, topk), size = entries_RK.shape, weight_VD.shape[1]
    block = min(WIDTH, triton.next_power_of_2(size))
    if num_rows:
        mixed_rows_kernel[(num_rows, triton.cdiv(size, block))](
            entries_RK.contiguous(), ids_RK, ids_RK.stride(0), weight_VD, *weight_VD.stride(),
            out_RD, out_RD.stride(0), size, K=topk, BLOCK=block, num_warps=4,
        )  # fmt: skip


def add_entries(sum_VD: Tensor, entries_RK: Tensor, ids_RK: Tensor, hidden_RD: Tensor) -> None:
    """entry_rk h_r added to the rows ids_rk of ``sum_VD``; takes 2 / PIECE numbers per entry and column."""
    topk, size = entries_RK.shape[1], hidden_RD.shape[1]
    hidden_RD = hidden_RD.contiguous()
    ids_N, order_N = ids_RK.flatten().sort(stable=True)
    tokens_N, entries_N = order_N // topk, entries_RK.flatten()[order_N]
    num_entries, block = ids_N.numel(), min(WIDTH, triton.next_power_of_2(size))
    pieces = triton.cdiv(num_entries, PIECE)
    heads_PD, tails_PD = (
        torch.empty(pieces, size, dtype=torch.float32, device=hidden_RD.device) for _ in range(2)
    )
    if not pieces:
        return
    grid = (pieces, triton.cdiv(size, block))
    piece_sums_kernel[grid](
        ids_N, tokens_N, entries_N, hidden_RD, hidden_RD.stride(0), sum_VD, sum_VD.stride(0), heads_PD, tails_PD,
        num_entries, size, PIECE=PIECE, BLOCK=block, num_warps=4,
    )  # fmt: skip
    joined_runs_kernel[grid](
        ids_N, sum_VD, sum_VD.stride(0), heads_PD, tails_PD, num_entries, size, PIECE=PIECE, BLOCK=block, num_warps=4
    )  # fmt: skip
