"""The device copy of a batch: what the model's forward takes.

Packed: all rows end to end in one sequence, no padding; how a GPU reads them. Padded: rectangles with a mask; how a CPU
does. Both give the same hidden states at the same places.
"""

# Shapes: B rows, L padded length; packed: B = 1 and L the tokens of all rows; T completion tokens, R rows.

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from opsd_rs.base import Batch
from opsd_rs.policy.attention import LONG_ROW

ROUND_LONG = 1024
"""A long row alone is padded to a multiple of so many tokens: plain attention makes a plan for each length it meets."""


class ModelInputs(NamedTuple):
    """Rows on a device, and the positions whose logits are wanted.

    >>> model_inputs(Batch.of([[5, 6], [9]], [[7, 8], [4]]), torch.device("cpu"), packed=False).index_T.tolist()
    [1, 2, 4]
    >>> model_inputs(Batch.of([[5, 6], [9]], [[7, 8], [4]]), torch.device("cpu"), packed=True).index_T.tolist()
    [1, 2, 4]
    """

    input_ids_BL: Tensor
    attention_mask_BL: Tensor | None
    """None: packed."""
    position_ids_BL: Tensor | None
    cu_seqlens: Tensor | None
    """int32 (R + 1,), where rows begin in the sequence."""
    index_T: Tensor
    """Flat positions ``b * L + t`` whose logits predict a completion token."""
    longest: int
    """Tokens of the longest row."""


def model_inputs(batch: Batch, device: torch.device, *, packed: bool) -> ModelInputs:
    """The rows of ``batch`` on ``device``. No prompt may be empty."""
    if not packed:
        padded = batch.padded()
        return ModelInputs(
            _moved(padded.input_ids, device),
            _moved(padded.attention_mask, device),
            None,
            None,
            _moved(padded.predictors, device),
            padded.input_ids.shape[1],
        )
    ids, cu_seqlens, longest = batch.input_ids, batch.cu_seqlens, int(batch.lengths.max(initial=0))
    predictors = np.flatnonzero(batch.completion_mask) - 1
    if len(batch) == 1 and longest >= LONG_ROW:
        # Behind the row's end: no token of the row sees it.
        ids = np.pad(ids, (0, -longest % ROUND_LONG))
        longest = len(ids)
        cu_seqlens = np.array([0, longest], np.int32)
    positions = np.arange(len(ids)) - np.repeat(cu_seqlens[:-1], np.diff(cu_seqlens))
    return ModelInputs(
        _moved(ids[None], device),
        None,
        _moved(positions[None], device),
        _moved(cu_seqlens, device),
        _moved(predictors, device),
        longest,
    )


def _moved(array: NDArray[np.int64] | NDArray[np.int32], device: torch.device) -> Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
