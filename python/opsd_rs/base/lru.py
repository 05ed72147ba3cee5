"""A mapping bounded by the size of its values: what was not used for the longest time leaves first.

It keeps the tests of problems between calls, at each of the places where reading or sending them again would cost more
than the memory. What this file does not do: lock; callers share it under a lock of their own.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from opsd_rs.records import Problem

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

MOST_TEST_CHARS = 1 << 28
"""Default bound of the tests kept in one place, in characters."""


def num_test_chars(problem: Problem) -> int:
    """Size of a problem: the characters of its tests, of which some problems hold hundreds of megabytes.

    >>> from opsd_rs.records import Case, Problem
    >>> num_test_chars(Problem("add", "Add.", (Case("1 2", "3"), Case("4 5", "9"))))
    8
    """
    return sum(len(test.input) + len(test.output) for test in problem.tests)


class SizedLru(Generic[K, V]):
    """Holds values up to ``limit`` in total size, and always the value that came last, whatever its size.

    :param size: of a value; asked once, when the value is put

    >>> kept = SizedLru[str, str](limit=5, size=len)
    >>> kept.put("a", "xx"), kept.put("b", "yy"), kept.get("a")
    ([], [], 'xx')
    >>> kept.put("c", "zz"), kept.get("b"), kept.total_size
    ([('b', 'yy')], None, 4)
    """

    def __init__(self, limit: int, size: Callable[[V], int]) -> None:
        self.limit = limit
        self.total_size = 0
        self._size = size
        self._kept: OrderedDict[K, tuple[V, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, key: object) -> bool:
        return key in self._kept

    def get(self, key: K) -> V | None:
        """The value under ``key``, which counts as a use; None where there is none."""
        if key not in self._kept:
            return None
        self._kept.move_to_end(key)
        return self._kept[key][0]

    def put(self, key: K, value: V) -> list[tuple[K, V]]:
        """Keep ``value``, in place of another under this key; the entries that left to make space, oldest first."""
        if key in self._kept:
            self.total_size -= self._kept.pop(key)[1]
        size = self._size(value)
        self._kept[key] = value, size
        self.total_size += size
        dropped = []
        while self.total_size > self.limit and len(self._kept) > 1:
            oldest, (old, old_size) = self._kept.popitem(last=False)
            self.total_size -= old_size
            dropped.append((oldest, old))
        return dropped

    def clear(self) -> None:
        """Drop everything."""
        self._kept.clear()
        self.total_size = 0
