"""Problems made by chance or by number, for the tests that read, split and draw them."""

from __future__ import annotations

from hypothesis import strategies as st
from opsd_rs.records import Case, Problem

# JSON has no half surrogate pairs, and neither has a program's stdin.
texts = st.text(st.characters(exclude_categories=["Cs"]))
cases = st.builds(Case, texts, texts, st.booleans())
stdin_problems = st.builds(
    Problem,
    problem_id=texts.filter(bool),
    prompt=texts,
    tests=st.lists(cases, min_size=1, max_size=12).map(tuple),
    starter_code=st.none() | texts,
    solution=st.none() | texts,
    difficulty=st.none() | st.sampled_from(["easy", "medium", "hard"]),
    platform=st.none() | texts,
    date=st.none() | st.dates().map(lambda day: day.isoformat()),
    release=st.none() | st.sampled_from(["v1", "v6"]),
    time_limit_seconds=st.floats(0.001, 1e6),
    memory_limit_mib=st.integers(1, 1 << 20),
)
seeds = st.integers(0, 2**32)


def some(count: int, *, num_tests: int = 10, num_public: int = 2) -> list[Problem]:
    tests = tuple(Case(str(i), str(i), public=i < num_public) for i in range(num_tests))
    return [Problem(f"p{i}", "?", tests) for i in range(count)]
