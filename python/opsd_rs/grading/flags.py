"""The flags of a grade: what happened to a program beside its verdict, and how many grades have each."""

from __future__ import annotations

from collections.abc import Mapping

FLAGS = (
    "near_limit", "confirmed", "starved", "killed", "retried", "state_leak", "repeated", "budget",
    "profiles_disagree", "no_code",
)  # fmt: skip
"""All of ``Grade.flags``; the first three say how far verdicts depend on the machine."""


def flag_shares(flags: Mapping[str, int], num_graded: int) -> dict[str, dict[str, float]]:
    """``{flag: {"count", "share"}}`` of all flags; the share is a fraction of ``num_graded`` grades, 0 where none.

    >>> flag_shares({"near_limit": 1}, 8)["near_limit"]
    {'count': 1, 'share': 0.125}
    """
    return {
        name: {"count": flags.get(name, 0), "share": flags.get(name, 0) / num_graded if num_graded else 0.0}
        for name in (*FLAGS, *sorted(set(flags) - set(FLAGS)))
    }
