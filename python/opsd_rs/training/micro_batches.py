"""Which rows go through the model together: a function of their lengths alone, the same on every rank.

Packed rows cost their tokens: the longest goes first into the emptiest bin, so that bins, and with them ranks, have
equal work. Padded rows cost the longest of them each: rows of like length go together. A row that is longer than the
budget goes alone.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence

import numpy as np

from opsd_rs.base import Ints

ATTENTION_TOKENS = 16_384
"""A row of so many tokens costs as much in attention as in everything else: SmolLM2 to Qwen3-8B lie at 10k to 25k."""

MicroBatches = list[list[list[int]]]
"""For each rank its micro-batches, equally many on all; each a list of rows, empty where a rank has none left."""


def micro_batches(
    rows: Sequence[int],
    lengths: Ints,
    *,
    budget: int,
    world_size: int,
    packed: bool,
    long_row: int | None = None,
) -> MicroBatches:
    """Divide ``rows`` among ranks and forward passes of at most ``budget`` tokens, a longer row alone.

    ZeRO-3 gathers weights in each forward pass, so all ranks make equally many.

    :param lengths: tokens of every row, of which ``rows`` are indices
    :param long_row: packed rows from so many tokens on go alone

    >>> micro_batches([0, 1, 2], np.array([5, 9, 4]), budget=10, world_size=1, packed=True)
    [[[1], [0, 2]]]
    >>> micro_batches([0, 1, 2], np.array([5, 9, 4]), budget=10, world_size=2, packed=False)
    [[[1]], [[0, 2]]]
    """
    of_row = {row: int(lengths[row]) for row in rows}
    longest_first = sorted(rows, key=lambda row: -of_row[row])
    if packed:
        bins = _packed(longest_first, of_row, budget, world_size, long_row)
    else:
        bins = _padded(longest_first, of_row, budget)
    return _shared_out(bins, of_row, world_size)


def _packed(
    longest_first: list[int], of_row: dict[int, int], budget: int, world_size: int, long_row: int | None
) -> list[list[int]]:
    alone_from = budget if long_row is None else min(budget, long_row)
    alone = [[row] for row in longest_first if of_row[row] >= alone_from]
    others = longest_first[len(alone) :]
    total = sum(of_row[row] for row in others)
    # As few bins as hold the tokens, and as many on each rank.
    count = max(math.ceil(total / budget), min(1, len(others)))
    count += -(count + len(alone)) % world_size
    while True:
        bins = _emptiest_first(others, of_row, min(count, len(others)))
        if all(sum(of_row[row] for row in rows) <= budget for rows in bins):
            return alone + bins
        count += 1


def _emptiest_first(longest_first: list[int], of_row: dict[int, int], count: int) -> list[list[int]]:
    bins: list[list[int]] = [[] for _ in range(count)]
    heap = [(0.0, index) for index in range(count)]
    for row in longest_first:
        full, index = heapq.heappop(heap)
        bins[index].append(row)
        heapq.heappush(heap, (full + of_row[row], index))
    return bins


def _padded(longest_first: list[int], of_row: dict[int, int], budget: int) -> list[list[int]]:
    bins: list[list[int]] = []
    for row in longest_first:
        if bins and (len(bins[-1]) + 1) * of_row[bins[-1][0]] <= budget:
            bins[-1].append(row)
        else:
            bins.append([row])
    return bins


def _shared_out(bins: list[list[int]], of_row: dict[int, int], world_size: int) -> MicroBatches:
    """The most expensive bin goes to the rank with the least work that can take one more."""
    most = math.ceil(len(bins) / world_size)
    shares: MicroBatches = [[] for _ in range(world_size)]
    work = [0.0] * world_size
    for rows in sorted(bins, key=lambda rows: -_cost(rows, of_row)):
        rank = min(
            (rank for rank in range(world_size) if len(shares[rank]) < most), key=lambda rank: work[rank]
        )
        shares[rank].append(rows)
        work[rank] += _cost(rows, of_row)
    return [share + [[]] * (most - len(share)) for share in shares]


def _cost(rows: list[int], of_row: dict[int, int]) -> float:
    return float(sum(np.float64(of_row[row]) * (1 + of_row[row] / ATTENTION_TOKENS) for row in rows))
