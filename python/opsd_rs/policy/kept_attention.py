"""Attention outputs kept over a checkpoint: the backward pass recomputes a layer, but not its attention.

Of all that a layer computes, attention costs most at long rows, and its output is small. In the first pass of a
checkpointed layer ``attend`` keeps output and normaliser; when the layer is computed again, ``attend`` returns them,
and the backward pass starts from them. Outside of ``keeping`` it is plain attention.

CUDA: torch's own kernels, called below autograd, since autograd's own functions cannot be given an output. A CPU keeps
the output too and computes attention again for its backward pass: slow, and the twin of the other two.
"""

# Shapes: T tokens of all rows, H query heads, G key heads, D size of a head.

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

Plain = Callable[[Tensor, Tensor, Tensor], Tensor]


class Call(NamedTuple):
    """What an attention call is told beside its tensors.

    >>> Call(torch.tensor([0, 8]), 8, None, 0.125, long_row=False).left
    -1
    """

    cu_seqlens: Tensor
    longest: int
    window: int | None
    scaling: float | None
    long_row: bool
    """One row, through plain causal attention."""

    @property
    def left(self) -> int:
        """Tokens before its own that a token sees; -1: all."""
        return -1 if self.window is None else self.window - 1


@dataclass
class Kept:
    """The attention outputs of one checkpointed layer, in the order of their calls."""

    outputs: list[tuple[Tensor, ...]] = field(default_factory=list)
    replay: bool = False
    """The layer is computed again."""


_now = threading.local()


@contextmanager
def keeping(kept: Kept | None) -> Iterator[None]:
    """Attention in this block keeps its outputs in ``kept``, or takes them from there."""
    before = getattr(_now, "kept", None)
    _now.kept = kept
    try:
        yield
    finally:
        _now.kept = before


def attend(query_1HTD: Tensor, key_1GTD: Tensor, value_1GTD: Tensor, call: Call, plain: Plain) -> Tensor:
    """Attention output (1, H, T, D); ``plain`` computes it with autograd."""
    kept: Kept | None = getattr(_now, "kept", None)
    if kept is None:
        return plain(query_1HTD, key_1GTD, value_1GTD)
    if not kept.replay:
        forward = _forward if query_1HTD.is_cuda else _forward_plain
        outputs = forward(query_1HTD, key_1GTD, value_1GTD, call, plain)
        kept.outputs.append(outputs)
        return outputs[0]
    found: Tensor = _Replayed.apply(  # type: ignore[no-untyped-call]
        query_1HTD, key_1GTD, value_1GTD, call, plain, *kept.outputs.pop(0)
    )
    return found


class _Replayed(torch.autograd.Function):
    """An attention whose output is known."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, call: Call, plain: Plain, *outputs: Tensor
    ) -> Tensor:
        ctx.call, ctx.plain = call, plain
        ctx.save_for_backward(query, key, value, *outputs)
        return outputs[0].clone() if not query.is_cuda else outputs[0].view_as(outputs[0])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, *outputs = ctx.saved_tensors
        if query.is_cuda:
            found = _backward(gradient, query, key, value, ctx.call, outputs)
        else:
            with torch.enable_grad():
                leaves = [x.detach().requires_grad_() for x in (query, key, value)]
                found = torch.autograd.grad(ctx.plain(*leaves), leaves, gradient)
        return (*found, None, None, *(None for _ in outputs))


def _forward_plain(query: Tensor, key: Tensor, value: Tensor, call: Call, plain: Plain) -> tuple[Tensor, ...]:
    return (plain(query, key, value),)


def _forward(query: Tensor, key: Tensor, value: Tensor, call: Call, plain: Plain) -> tuple[Tensor, ...]:
    """The output, and what the backward kernel asks for beside it."""
    aten = torch.ops.aten
    if call.long_row:
        out, lse, *_, seed, offset, _ = aten._scaled_dot_product_cudnn_attention(
            query, key, value, None, True, 0.0, True, False, scale=call.scaling
        )
        return out, lse, seed, offset
    out_THD, lse, rng, unused, _ = aten._flash_attention_forward(
        *(_rows(x) for x in (query, key, value)),
        call.cu_seqlens, call.cu_seqlens, call.longest, call.longest, 0.0, call.window is None, False,
        scale=call.scaling, window_size_left=call.left, window_size_right=0,
    )  # fmt: skip
    return _heads(out_THD), lse, rng, unused


def _backward(
    gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, call: Call, outputs: list[Tensor]
) -> tuple[Tensor, ...]:
    aten, (out, lse, *rest) = torch.ops.aten, outputs
    if call.long_row:
        found: tuple[Tensor, ...] = aten._scaled_dot_product_cudnn_attention_backward(
            gradient, query, key, value, out, lse, *rest, None, None, None, call.longest, call.longest, 0.0, True,
            scale=call.scaling,
        )  # fmt: skip
        return found
    gradients_THD = aten._flash_attention_backward(
        *(_rows(x).contiguous() for x in (gradient, query, key, value, out)), lse,
        call.cu_seqlens, call.cu_seqlens, call.longest, call.longest, 0.0, call.window is None, *rest,
        scale=call.scaling, window_size_left=call.left, window_size_right=0,
    )  # fmt: skip
    return tuple(_heads(x) for x in gradients_THD)


def _rows(x_1HTD: Tensor) -> Tensor:
    return x_1HTD.squeeze(0).transpose(0, 1)


def _heads(x_THD: Tensor) -> Tensor:
    return x_THD.transpose(0, 1).unsqueeze(0)
