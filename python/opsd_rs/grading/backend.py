"""The interface between a stream of grades and what grades: a supervisor on one machine, or a cluster."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol, TypeVar

from opsd_rs.records import Problem, Solution

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
    """What grades. Safe to share between threads; no call waits for a program or for another process."""

    def check(self) -> None:
        """Raise OpsdError if it can no longer grade."""
        ...

    def submit(self, problem: Problem, solution: Solution, results: Mailbox) -> int:
        """Accept a job; its number comes back with the reply."""
        ...

    def forget(self, jobs: Iterable[int]) -> None:
        """Cancel these jobs: end those that run, drop those that wait."""
        ...

    def close(self, reason: str) -> None:
        """End everything; callers that still wait get the reason."""
        ...


B = TypeVar("B", bound=Backend)
