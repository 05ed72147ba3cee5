"""Which rows go through the model together: each once, within the budget, equally many passes on every rank."""

from __future__ import annotations

from itertools import chain

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from opsd_rs.training.micro_batches import micro_batches

LENGTHS = st.lists(st.integers(1, 120), min_size=1, max_size=40)


@given(LENGTHS, st.integers(1, 300), st.integers(1, 4), st.booleans(), st.sampled_from([None, 50]))
def test_every_row_once_within_the_budget(
    lengths: list[int], budget: int, world_size: int, packed: bool, long_row: int | None
) -> None:
    sizes = np.array(lengths)
    rows = list(range(0, len(lengths), 2))
    found = micro_batches(rows, sizes, budget=budget, world_size=world_size, packed=packed, long_row=long_row)
    assert len(found) == world_size
    assert len({len(share) for share in found}) == 1
    bins = list(chain.from_iterable(found))
    assert sorted(chain.from_iterable(bins)) == rows
    for one in filter(None, bins):
        size = int(sizes[one].sum()) if packed else len(one) * int(sizes[one].max())
        assert size <= budget or len(one) == 1
        if packed and long_row is not None and sizes[one].max() >= long_row:
            assert len(one) == 1
    again = micro_batches(rows, sizes, budget=budget, world_size=world_size, packed=packed, long_row=long_row)
    assert found == again


def test_packed_bins_and_ranks_are_balanced() -> None:
    lengths = np.random.default_rng(0).integers(100, 1000, 256)
    found = micro_batches(range(256), lengths, budget=16_000, world_size=4, packed=True)
    sums = [int(lengths[one].sum()) for share in found for one in share]
    assert len(sums) == 12  # 140,000 tokens in nine bins, and equally many on each rank
    assert max(sums) < 1.02 * min(sums)
    of_ranks = [sum(int(lengths[one].sum()) for one in share) for share in found]
    assert max(of_ranks) < 1.01 * min(of_ranks)


def test_few_rows_are_shared_out_to_all_ranks() -> None:
    found = micro_batches(range(4), np.full(4, 10), budget=1000, world_size=2, packed=True)
    assert [len(share[0]) for share in found] == [2, 2]
