"""Rows of prompt and completion on a device, padded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Rows of ``prompt + completion``, padded on the right; ``index_T`` names the positions that predict.

    >>> Batch.of([(5, 6)], [(7, 8)], "cpu").index_T.tolist()  # logits at 6 and 7 predict 7 and 8
    [1, 2]
    """

    input_ids_BL: Tensor
    attention_mask_BL: Tensor
    index_T: Tensor
    """Flat positions ``b * L + t`` whose logits predict a completion token."""
    target_T: Tensor
    """The completion tokens themselves, verbatim."""
    row_T: Tensor
    """Which row of the micro-batch each completion token belongs to."""

    @classmethod
    def of(
        cls,
        prompts: Sequence[Sequence[int]],
        completions: Sequence[Sequence[int]],
        device: torch.device | str,
    ) -> Batch:
        """Lay out one micro-batch. Prompts must not be empty: the first completion token needs a predictor."""
        rows = [(*prompt, *completion) for prompt, completion in zip(prompts, completions, strict=True)]
        length = max(len(row) for row in rows)
        input_ids = torch.zeros(len(rows), length, dtype=torch.long)
        mask = torch.zeros(len(rows), length, dtype=torch.long)
        index: list[int] = []
        target: list[int] = []
        which: list[int] = []
        for b, (row, prompt) in enumerate(zip(rows, prompts, strict=True)):
            # Masks come from lengths, never from ids: the end-of-turn token may equal the padding token.
            input_ids[b, : len(row)] = torch.tensor(row)
            mask[b, : len(row)] = 1
            first = len(prompt)
            index.extend(range(b * length + first - 1, b * length + len(row) - 1))
            target.extend(row[first:])
            which.extend([b] * (len(row) - first))
        tensors = (input_ids, mask, torch.tensor(index), torch.tensor(target), torch.tensor(which))
        return cls(*(tensor.to(device) for tensor in tensors))
