"""Where a run stands: at the boundary before a step, or inside an update, when nothing may be saved."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class LoopState:
    """The step that comes next, and whether the weights are those of the boundary before it.

    >>> state = LoopState(step=3)
    >>> with state.update():
    ...     print(state)
    LoopState(step=3, at_boundary=False)
    >>> state
    LoopState(step=4, at_boundary=True)
    """

    step: int = 0
    at_boundary: bool = True

    @contextmanager
    def update(self) -> Iterator[None]:
        """The block does the step and writes it down. Where it fails, the weights stand between two boundaries."""
        self.at_boundary = False
        yield
        self.step += 1
        self.at_boundary = True
