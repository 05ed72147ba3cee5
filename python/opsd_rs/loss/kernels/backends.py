"""Which row operations a block gets: Triton kernels on a GPU, the plain ones elsewhere and for what those cannot do."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from opsd_rs.errors import BadInput
from opsd_rs.loss.kernels import row_losses, rows
from opsd_rs.loss.kernels.heads import LogitMap
from opsd_rs.loss.kernels.row_losses import RowTerms
from opsd_rs.loss.kernels.rows import RowGradient, RowScores

Backend = Literal["auto", "torch", "triton"]
"""``auto``: Triton on a CUDA device for bf16 and fp32, up to 128 ids and not the whole vocabulary; else plain torch."""

MAX_TRITON_IDS = 128
"""More take a tile of logits that does not fit into registers."""
PLAIN_SCRATCH = 20
"""Bytes per logit of a block: teacher's product, fp32 logits and exponentials, and what their operations take."""
WHOLE_SCRATCH = 256
"""The same where the support is the whole vocabulary and the divergence's own tensors are as large."""


class Rows(Protocol):
    """A block of products (R, V) and what is asked of it; see ``rows.PlainRows``."""

    def select(self, topk: int, ids_RJ: Tensor) -> None:
        """Ids of the largest logits."""

    def slope(self, ids_RJ: Tensor) -> Tensor | float:
        """Of the logits by the products."""

    def scores(self, ids_RJ: Tensor, last_is_label: bool, refined_RJ: Tensor | None) -> RowScores:
        """Log-probs at ids."""

    def write_gradient(
        self, scores: RowScores, ids_RJ: Tensor, gradient: RowGradient, out_RV: Tensor
    ) -> None:
        """Gradient with respect to the products."""


class RowOps(NamedTuple):
    """What works on blocks.

    >>> choose("auto", torch.device("cpu"), torch.float32, num_ids=21, whole=False).name
    'torch'
    """

    name: str
    rows: Callable[[Tensor, LogitMap], Rows]
    selected_products: Callable[[Tensor, Tensor, Tensor], Tensor]
    losses: Callable[[RowScores, RowScores, RowTerms, Tensor, bool], RowGradient | None]
    mixed_rows: Callable[[Tensor, Tensor, Tensor, Tensor], None]
    add_entries: Callable[[Tensor, Tensor, Tensor, Tensor], None]
    scratch: float
    """Bytes per logit of a block, beside what is kept of a chunk."""


def choose(
    backend: Backend, device: torch.device, stored: torch.dtype, *, num_ids: int, whole: bool
) -> RowOps:
    """The operations for products of type ``stored``.

    :raises BadInput: ``triton`` is asked for and cannot do it
    """
    if backend not in ("auto", "torch", "triton"):
        raise BadInput(f"backend = {backend!r} is unknown; take auto, torch or triton")
    scratch = WHOLE_SCRATCH if whole else PLAIN_SCRATCH
    plain = RowOps(
        "torch",
        rows.PlainRows,
        rows.selected_products,
        row_losses.row_losses,
        rows.mixed_rows,
        rows.add_entries,
        scratch,
    )
    if backend == "torch":
        return plain
    reasons = {
        "triton is not installed": find_spec("triton") is None,
        f"{stored} is neither bfloat16 nor float32": stored not in (torch.bfloat16, torch.float32),
        f"there are {num_ids} ids, at most {MAX_TRITON_IDS} fit": num_ids > MAX_TRITON_IDS,
        "the support is the whole vocabulary": whole,
    }
    if backend == "auto" and (device.type != "cuda" or any(reasons.values())):
        return plain
    if reason := next((said for said, holds in reasons.items() if holds), None):
        raise BadInput(f"backend = triton: {reason}; use auto")
    from opsd_rs.loss.kernels import triton_rows, triton_sparse

    # The teacher's product, and max and sum of groups of 128 for both.
    return RowOps(
        "triton",
        triton_rows.TritonRows,
        triton_rows.selected_products,
        triton_rows.row_losses,
        triton_sparse.mixed_rows,
        triton_sparse.add_entries,
        stored.itemsize + 0.25,
    )


def scaled(values: Tensor, factor: Tensor, dtype: torch.dtype) -> Tensor:
    """``values`` times a number, in the type ``dtype``."""
    floats = (torch.bfloat16, torch.float32)
    if values.is_cuda and values.dtype in floats and dtype in floats and find_spec("triton") is not None:
        from opsd_rs.loss.kernels import triton_rows

        with torch.cuda.device(values.device):
            return triton_rows.scaled(values, factor, dtype)
    return torch.mul(values, factor, out=torch.empty_like(values, dtype=dtype))
