"""The divergence of each trained token, kept for the rollout record.

In: what the loss reports of a micro-batch, on its device. Out: a list of float16 per rollout. The values wait on the
device until the step's updates are done, 2 bytes a token, so that no update waits for a copy.

A row's values are those of its own forward pass: a later mini-batch of a step meets a student that the earlier ones
have moved.
"""

# Shapes: T completion tokens of a micro-batch.

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from opsd_rs.base import Ints, Ranks
from opsd_rs.records import TeacherContext

Halves = NDArray[np.float16]
LARGEST = float(np.finfo(np.float16).max)


def kept_rollouts(contexts: Sequence[TeacherContext]) -> list[int]:
    """Which rollouts are rows of the step's batch: all that are not ``dropped``."""
    return [i for i, context in enumerate(contexts) if context.status != "dropped"]


class TokenKl:
    """A step's divergences by row of its batch, filled while the update goes on.

    >>> kept = TokenKl()
    >>> kept.add([1, 0], torch.tensor([0.5, 0.25, 2.0]), np.array([1, 2]))
    >>> kept.gather(Ranks())
    >>> [values.tolist() for values in kept.by_row.values()]
    [[0.5, 0.25], [2.0]]
    """

    def __init__(self) -> None:
        self._rows: list[int] = []
        self._lengths: list[int] = []
        self._parts: list[Tensor] = []
        self.by_row: dict[int, Halves] = {}
        """Of all ranks, after ``gather``."""

    def add(self, rows: Sequence[int], kl_T: Tensor, lengths: Ints) -> None:
        """A micro-batch's values.

        :param lengths: completion tokens of every row of the step, of which ``rows`` are indices
        """
        self._rows += rows
        self._lengths += lengths[list(rows)].tolist()
        self._parts.append(kl_T.detach().float().clamp(-LARGEST, LARGEST).half())

    def gather(self, ranks: Ranks) -> None:
        """Bring the values of all ranks together; every rank must call it."""
        mine: list[tuple[int, Halves]] = []
        if self._parts:
            values = torch.cat(self._parts).cpu().numpy()
            ends = np.cumsum(self._lengths)
            mine = list(zip(self._rows, np.split(values, ends[:-1]), strict=True))
        for found in ranks.gather([mine]):
            self.by_row |= dict(found)

    def of_rollouts(self, contexts: Sequence[TeacherContext]) -> list[Halves | None]:
        """Each rollout's values, in order; None where it was not trained."""
        place = {rollout: row for row, rollout in enumerate(kept_rollouts(contexts))}
        return [self.by_row.get(place.get(i, -1)) for i in range(len(contexts))]
