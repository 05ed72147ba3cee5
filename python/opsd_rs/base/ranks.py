"""Which share of a step a rank does: rank and world size, shares that interleave, and gathers that undo them.

Every rank samples and grades its own share and then holds all results, so that groups, contexts and mini-batches
are the same on every rank, whatever the number of GPUs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from opsd_rs.errors import Stopped

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """This process among its peers.

    >>> Ranks(1, 2).share(["a", "b", "c", "d"])
    ['b', 'd']
    """

    rank: int = 0
    world_size: int = 1

    @property
    def first(self) -> bool:
        """The rank that writes files and prints."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> list[T]:
        """This rank's part of ``items``."""
        return list(items[self.rank :: self.world_size])

    def gather(self, mine: Sequence[T]) -> list[T]:
        """All ranks' shares, in the order of the list that was shared. Every rank must call it."""
        if self.world_size == 1:
            return list(mine)
        import torch.distributed as dist

        shares: list[list[T]] = [[] for _ in range(self.world_size)]
        dist.all_gather_object(shares, list(mine))
        total = sum(len(share) for share in shares)
        return [shares[i % self.world_size][i // self.world_size] for i in range(total)]

    def broadcast(self, value: T) -> T:
        """The first rank's ``value``, on every rank. Every rank must call it."""
        if self.world_size == 1:
            return value
        import torch.distributed as dist

        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def any(self, flag: bool) -> bool:
        """Whether ``flag`` holds on any rank. Every rank must call it."""
        return any(self.gather([flag]))

    @contextmanager
    def stop_together(self) -> Iterator[None]:
        """Where the block raises Stopped on one rank, raise it on all, so that none waits for ever. All call it."""
        stopped: Stopped | None = None
        try:
            yield
        except Stopped as stop:
            stopped = stop
        if self.any(stopped is not None):
            raise stopped or Stopped("another rank was stopped")

    def barrier(self) -> None:
        """Wait for all ranks."""
        if self.world_size > 1:
            import torch.distributed as dist

            dist.barrier()
