"""What grades programs behind a stream: the interface that one machine's supervisor and a cluster share."""

from __future__ import annotations

from collections.abc import (
    Iterable,
)
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from opsd_rs.records import Problem, Solution

if TYPE_CHECKING:
    pass


Item = tuple[Problem, Solution]
Reply = dict[str, Any]
"""``kind`` is ``done`` (``job``, ``grade``), ``refused`` (``job``, ``message``: the user's data) or ``fault``
(``message``: nothing more will come)."""


class Mailbox(Protocol):
    """Where replies go; from any thread."""

    def put(self, reply: Reply, /) -> None:
        """Never blocks."""
        ...


class Backend(Protocol):
    """Who grades. Safe to share between threads; no call waits for a program or for another process."""

    def check(self) -> None:
        """Raise OpsdError if nothing can be graded here any more."""
        ...

    def submit(self, problem: Problem, solution: Solution, results: Mailbox) -> int:
        """Take a job; its number comes back with the reply."""
        ...

    def forget(self, jobs: Iterable[int]) -> None:
        """Nobody waits for these any more: end what runs, drop what waits."""
        ...

    def close(self, reason: str) -> None:
        """End everything; whoever still waits is told the reason."""
        ...


B = TypeVar("B", bound=Backend)
