"""The size-bounded mapping against a plain twin that keeps a list."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from opsd_rs.base import SizedLru


class Plain:
    """Entries in a list, least recently used first, sizes added up each time."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.entries: list[tuple[int, str]] = []

    def get(self, key: int) -> str | None:
        for entry in self.entries:
            if entry[0] == key:
                self.entries.remove(entry)
                self.entries.append(entry)
                return entry[1]
        return None

    def put(self, key: int, value: str) -> list[tuple[int, str]]:
        self.entries = [entry for entry in self.entries if entry[0] != key] + [(key, value)]
        dropped = []
        while sum(len(text) for _, text in self.entries) > self.limit and len(self.entries) > 1:
            dropped.append(self.entries.pop(0))
        return dropped


KEYS = st.integers(0, 5)
CALLS = st.lists(st.tuples(KEYS, st.none() | st.text("x", max_size=12)), max_size=60)


@given(limit=st.integers(0, 30), calls=CALLS)
def test_it_does_what_the_plain_twin_does(limit: int, calls: list[tuple[int, str | None]]) -> None:
    ours, plain = SizedLru[int, str](limit, len), Plain(limit)
    for key, value in calls:
        if value is None:
            assert ours.get(key) == plain.get(key)
        else:
            assert ours.put(key, value) == plain.put(key, value)
        assert len(ours) == len(plain.entries)
        assert ours.total_size == sum(len(text) for _, text in plain.entries)
        assert [number in ours for number in range(6)] == [
            number in dict(plain.entries) for number in range(6)
        ]


@given(calls=CALLS)
def test_the_bound_holds_but_for_a_single_value(calls: list[tuple[int, str | None]]) -> None:
    kept = SizedLru[int, str](8, len)
    for key, value in calls:
        kept.put(key, value or "")
        assert kept.total_size <= 8 or len(kept) == 1
        assert kept.get(key) == (value or ""), "what came last stays"


def test_cleared_it_holds_nothing() -> None:
    kept = SizedLru[str, str](8, len)
    kept.put("a", "x" * 9)
    kept.clear()
    assert (len(kept), kept.total_size, kept.get("a")) == (0, 0, None)
