"""A workload of LiveCodeBench's shape, made from a seed: problems with small and large tests, and programs for them
that are right, wrong, broken, or never end.

As there, a problem's first tests are the few bytes of its statement's examples, and of the others some are small, some
as large as the problem's limits allow: what fails usually fails early, but the whole problem has to be carried.

Ten families, half of them reading standard input, half called as methods of ``class Solution``. Expected outputs come
from each family's own right program, run here. Nothing is downloaded.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass

KINDS = ("right", "wrong", "error", "endless")


@dataclass(frozen=True)
class Task:
    """One problem with its tests and one program per kind."""

    name: str
    level: int
    """The largest tests are 0: of a few bytes, 1: kilobytes, 2: up to about two megabytes."""
    entry_point: str | None
    inputs: list[str]
    outputs: list[str]
    programs: dict[str, str]

    def official(self) -> dict[str, str]:
        """The record that the official runner takes."""
        tests = {"inputs": self.inputs, "outputs": self.outputs, "fn_name": self.entry_point}
        return {"input_output": json.dumps(tests)}


@dataclass(frozen=True)
class Family:
    """A right program, its tests, and one edit that makes it wrong (each ``wrong[0]`` becomes ``wrong[1]``)."""

    name: str
    code: str
    make: Callable[[random.Random, int], tuple[object, ...]]
    wrong: tuple[str, str]
    sizes: tuple[int, int, int]
    entry_point: str | None = None


def numbers(rng: random.Random, n: int) -> list[int]:
    return [rng.randint(-(10**6), 10**6) for _ in range(n)]


def lines(*rows: object) -> tuple[object, ...]:
    """One text: a row of a list is joined by blanks."""
    return ("".join((" ".join(map(str, row)) if isinstance(row, list) else str(row)) + "\n" for row in rows),)


def grid(rng: random.Random, n: int) -> tuple[object, ...]:
    rows = ["".join(rng.choice("....#") for _ in range(n)) for _ in range(n)]
    return lines(f"{n} {n}", *rows)


def words(rng: random.Random, n: int) -> list[str]:
    return ["".join(rng.choice("abcde") for _ in range(rng.randint(1, 6))) for _ in range(n)]


FAMILIES = [
    Family(
        "largest-sum",
        """\
n = int(input())
a = list(map(int, input().split()))
best = cur = a[0]
for x in a[1:]:
    cur = max(x, cur + x)
    best = max(best, cur)
print(best)
""",
        lambda rng, n: lines(n, numbers(rng, n)),
        ("print(best)", "print(best + 1)"),
        (8, 2_000, 250_000),
    ),
    Family(
        "word-counts",
        """\
import sys
from collections import Counter
n, *w = sys.stdin.read().split()
for word, count in sorted(Counter(w).items()):
    print(word, count)
""",
        lambda rng, n: lines(n, words(rng, n)),
        ("print(word, count)", "print(count, word)"),
        (10, 3_000, 300_000),
    ),
    Family(
        "shortest-path",
        """\
import sys
from collections import deque
data = sys.stdin.read().split()
n, m = int(data[0]), int(data[1])
g = data[2:]
d = {(0, 0): 0}
q = deque([(0, 0)])
while q:
    r, c = q.popleft()
    for s, t in ((r + 1, c), (r - 1, c), (r, c + 1), (r, c - 1)):
        if 0 <= s < n and 0 <= t < m and g[s][t] == '.' and (s, t) not in d:
            d[s, t] = d[r, c] + 1
            q.append((s, t))
print(d.get((n - 1, m - 1), -1))
""",
        grid,
        ("-1))\n", "-2) + 1)\n"),
        (5, 40, 300),
    ),
    Family(
        "knapsack",
        """\
n, c = map(int, input().split())
f = [0] * (c + 1)
for _ in range(n):
    w, v = map(int, input().split())
    for j in range(c, w - 1, -1):
        if f[j - w] + v > f[j]:
            f[j] = f[j - w] + v
print(f[c])
""",
        lambda rng, n: lines(
            f"{n} {10 * n}", *(f"{rng.randint(1, 2 * n)} {rng.randint(1, 1000)}" for _ in range(n))
        ),
        ("print(f[c])", "print(f[c] - 1)"),
        (5, 50, 300),
    ),
    Family(
        "prime-counts",
        """\
import sys
q = list(map(int, sys.stdin.read().split()))[1:]
top = max(q) + 1
s = bytearray([1]) * (top + 1)
s[0:2] = b'\\0\\0'
for i in range(2, int(top ** 0.5) + 1):
    if s[i]:
        s[i * i :: i] = bytearray(len(range(i * i, top + 1, i)))
c = [0] * (top + 1)
for i in range(1, top + 1):
    c[i] = c[i - 1] + s[i]
for x in q:
    print(c[x])
""",
        lambda rng, n: lines(n, [rng.randint(2, 20 * n) for _ in range(n)]),
        ("print(c[x])", "print(c[x - 1] + 1)"),
        (5, 500, 40_000),
    ),
    Family(
        "two-sum",
        """\
class Solution:
    def pairs(self, a: List[int], t: int) -> int:
        seen, found = Counter(), 0
        for x in a:
            found += seen[t - x]
            seen[x] += 1
        return found
""",
        lambda rng, n: ([rng.randint(0, n) for _ in range(n)], n),
        ("return found", "return found + 1"),
        (8, 2_000, 200_000),
        "pairs",
    ),
    Family(
        "rising",
        """\
class Solution:
    def rising(self, a: List[int]) -> int:
        tails = []
        for x in a:
            i = bisect_left(tails, x)
            tails[i:i + 1] = [x]
        return len(tails)
""",
        lambda rng, n: (numbers(rng, n),),
        ("len(tails)", "len(tails) - 1"),
        (8, 2_000, 200_000),
        "rising",
    ),
    Family(
        "prefixes",
        """\
class Solution:
    def prefixes(self, a: List[int]) -> List[int]:
        return list(accumulate(a))
""",
        lambda rng, n: (numbers(rng, n),),
        ("list(accumulate(a))", "list(accumulate(a))[::-1] + [0]"),
        (6, 2_000, 100_000),
        "prefixes",
    ),
    Family(
        "palindromes",
        """\
class Solution:
    def palindromes(self, s: str) -> int:
        n, total = len(s), 0
        for c in range(2 * n - 1):
            l, r = c // 2, (c + 1) // 2
            while l >= 0 and r < n and s[l] == s[r]:
                total += 1
                l -= 1
                r += 1
        return total
""",
        lambda rng, n: ("".join(rng.choice("ab") for _ in range(n)),),
        ("return total", "return total * 2 + 1"),
        (10, 1_000, 60_000),
        "palindromes",
    ),
    Family(
        "merged",
        """\
class Solution:
    def merged(self, a: List[List[int]]) -> List[List[int]]:
        out = []
        for l, r in sorted(a):
            if out and l <= out[-1][1]:
                out[-1][1] = max(out[-1][1], r)
            else:
                out.append([l, r])
        return out
""",
        lambda rng, n: ([[x, x + rng.randint(0, 99)] for x in (rng.randint(0, 50 * n) for _ in range(n))],),
        ("return out", "return out + [[0, 0]]"),
        (6, 1_000, 50_000),
        "merged",
    ),
]


def answer(family: Family, arguments: tuple[object, ...]) -> tuple[str, str]:
    """A test: input and expected output, by the right program."""
    if family.entry_point is None:
        text, out = str(arguments[0]), io.StringIO()
        before, sys.stdin = sys.stdin, io.StringIO(text)
        try:
            with contextlib.redirect_stdout(out):
                exec(compile(family.code, family.name, "exec"), {"__name__": "__main__"})
        finally:
            sys.stdin = before
        return text, out.getvalue()
    names: dict[str, object] = {}
    exec(
        "from typing import *\nfrom collections import *\nfrom bisect import *\nfrom itertools import *",
        names,
    )
    exec(compile(family.code, family.name, "exec"), names)
    text = "\n".join(json.dumps(argument) for argument in arguments)
    solution: object = names["Solution"]()  # type: ignore[operator]
    return text, json.dumps(getattr(solution, family.entry_point)(*map(json.loads, text.split("\n"))))


def programs(family: Family, number: int) -> dict[str, str]:
    """One program per kind, each text different from every other problem's."""
    mark = f"# {family.name} {number}\n"
    old, new = family.wrong
    assert old in family.code
    head, body = ("", family.code) if family.entry_point is None else family.code.split("\n", 1)
    indent = "" if family.entry_point is None else "        "
    bad = {"error": "undefined_name += 1", "endless": "while True: pass"}
    made = {"right": mark + family.code, "wrong": mark + family.code.replace(old, new)}
    for kind, line in bad.items():
        if family.entry_point is None:
            made[kind] = f"{mark}{line}\n{family.code}"
        else:
            signature, rest = body.split("\n", 1)
            made[kind] = f"{mark}{head}\n{signature}\n{indent}{line}\n{rest}"
    return made


def test_sizes(rng: random.Random, sizes: tuple[int, int, int], level: int) -> list[int]:
    """Of one problem's tests, in order: examples, then from small to as large as its level allows."""
    examples = [rng.randint(max(2, sizes[0] // 2), sizes[0]) for _ in range(2)]
    if level == 0:
        return examples + [rng.randint(max(2, sizes[0] // 2), sizes[0]) for _ in range(18)]
    middle = [rng.randint(sizes[0], sizes[1]) for _ in range(8 if level == 1 else 4)]
    large = [rng.randint(sizes[level] // 2, sizes[level]) for _ in range(10 if level == 1 else 6)]
    return examples + middle + large


def workload(levels: tuple[int, ...] = (0, 1, 2), copies: int = 2, seed: int = 7) -> list[Task]:
    """``copies`` problems per family and level, with 20 tests each (12 at level 2)."""
    rng = random.Random(seed)
    tasks = []
    for copy in range(copies):
        for level in levels:
            for family in FAMILIES:
                sizes = test_sizes(rng, family.sizes, level)
                made = [answer(family, family.make(rng, size)) for size in sizes]
                tasks.append(
                    Task(
                        f"{family.name}-{level}-{copy}",
                        level,
                        family.entry_point,
                        [test[0] for test in made],
                        [test[1] for test in made],
                        programs(family, 10 * copy + level),
                    )
                )
    return tasks
