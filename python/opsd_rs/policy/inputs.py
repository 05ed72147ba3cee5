"""The device copy of a batch: what the model's forward takes."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from opsd_rs.base import Batch


class ModelInputs(NamedTuple):
    """Padded rows on a device, and the positions whose logits are wanted.

    >>> model_inputs(Batch.of([[5, 6], [9]], [[7, 8], [4]]), torch.device("cpu")).index_T.tolist()
    [1, 2, 4]
    """

    input_ids_BL: Tensor
    attention_mask_BL: Tensor
    index_T: Tensor
    """Flat positions ``b * L + t`` whose logits predict a completion token."""


def model_inputs(batch: Batch, device: torch.device) -> ModelInputs:
    """The rows of ``batch`` on ``device``, padded on the right. No prompt may be empty."""
    padded = batch.padded()
    arrays = (padded.input_ids, padded.attention_mask, padded.predictors)
    return ModelInputs(*(torch.from_numpy(array).to(device) for array in arrays))
