"""A hundred thousand different programs in a row: does the grader leak or slow down?

    .venv/bin/python benches/soak.py [--programs 100000] [--workers 2] [--out soak.jsonl]
    .venv/bin/python benches/soak.py --oversubscribe 8

The first form grades textually different programs (right, wrong and failing ones) through one grader, without a cache,
and prints while it runs: resident memory and open descriptors of this process, of the supervisor and of its sandboxes,
and how many processes there are below the supervisor. It fails (exit code 1) if any of them grows after the first
tenth, if a sandbox was replaced, or if a verdict is not the known one. The second grades a mixed set once
with one worker and then with that many workers per core, and fails if a verdict changed; among them are fixed pieces of
work of 0.5 to 1.6 times the time limit.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from opsd_rs import Case, Grader, Problem, Solution
from opsd_rs.base.cores import whole_cores

Item = tuple[Problem, Solution]

ADD = Problem("add", "", tuple(Case(f"{a} {b}\n", f"{a + b}\n") for a, b in ((1, 2), (4, 5), (10, 20))))
CALL = Problem("call", "", (Case("1\n2", "3"), Case("[1]\n[2]", "[1, 2]")), entry_point="add")
KNOWN = [
    (ADD, "print(sum(map(int, input().split())) + {n} - {n})", "accepted"),
    (CALL, "def add(a, b):\n    return a + b  # {n}", "accepted"),
    (ADD, "print({n} - {n} - 1)", "wrong_answer"),
    (ADD, "n = {n}\n1 / 0", "runtime_error"),
    (
        ADD,
        "import sys\nx = list(range({n} % 1000))\nprint(sum(map(int, sys.stdin.read().split())))",
        "accepted",
    ),
    (ADD, "def f(:  # {n}", "compile_error"),
]
TIMED = Problem("timed", "", ADD.tests, time_limit_seconds=1.0)
BUSY = "import time\nstart = time.process_time()\nwhile time.process_time() < start + {seconds}: pass\n"
RIGHT = "print(sum(map(int, input().split())))"
MIXED = [
    *((problem, code) for problem, code, _ in KNOWN),
    (TIMED, BUSY.format(seconds=0.2) + RIGHT),
    (TIMED, BUSY.format(seconds=0.6) + RIGHT),
    (TIMED, "while True: pass"),
    (TIMED, "import time\ntime.sleep(0.5)\n" + RIGHT),
    (TIMED, "import time\ntime.sleep(60)"),
    (ADD, "x = bytearray(8 << 30)"),
    (ADD, "while True: print('x' * 100_000)"),
    (ADD, "import os\nos.abort()"),
    (
        ADD,
        "import threading\nt = threading.Thread(target=lambda: print(sum(map(int, input().split()))))\nt.start()",
    ),
    (ADD, "import ctypes, os\nos.fork()"),
]

WORK = "total = 0\nfor i in range({rounds}):\n    total += i * i % 7\n"
SHARES = (0.5, 0.7, 0.8, 1.2, 1.35, 1.6)
"""CPU time that a fixed piece of work takes with the machine to itself, in limits: neighbours make it more."""


def programs(number: int) -> Iterator[Item]:
    """So many programs, no two of the same text."""
    for n in range(number):
        problem, code, _ = KNOWN[n % len(KNOWN)]
        yield problem, Solution(problem.problem_id, n, code=code.format(n=n))


def state(pid: int) -> dict[str, int]:
    """Resident memory and descriptors of one process (proc(5)); descriptors are -1 where they cannot be read."""
    try:
        status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    except FileNotFoundError:  # a sandbox that was replaced; said at the end, and a failure of the soak
        return {"rss_kib": 0, "fds": 0}
    try:  # a program being started holds some for a moment: the fewest of a few looks
        num_fds = min(_num_fds(pid) for _ in range(20))
    except PermissionError:
        num_fds = -1
    return {"rss_kib": int(status["VmRSS"].split()[0]), "fds": num_fds}


def _num_fds(pid: int) -> int:
    time.sleep(0.005)
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def below(pid: int) -> list[int]:
    """The children of a process; of the supervisor these are its sandboxes."""
    try:
        tasks = [file.read_text() for file in Path(f"/proc/{pid}/task").glob("*/children")]
    except (FileNotFoundError, ProcessLookupError):
        return []
    return sorted(int(child) for task in tasks for child in task.split())


def all_below(pid: int) -> int:
    """How many processes there are below one, zombies included."""
    children = below(pid)
    return len(children) + sum(map(all_below, children))


def soak(number: int, workers: int, out: Path | None) -> int:
    """The first form."""
    series: list[dict[str, Any]] = []
    every = max(1, number // 20)
    wrong: Counter[str] = Counter()
    start = time.monotonic()
    with Grader(workers=workers) as grader:
        assert grader.pid is not None
        sandboxes = below(grader.pid)
        for done, (index, grade) in enumerate(grader.stream(programs(number)), start=1):
            if grade.verdict != KNOWN[index % len(KNOWN)][2]:
                wrong[f"{grade.verdict} for {KNOWN[index % len(KNOWN)][2]}"] += 1
            if done % every == 0:
                row = {
                    "done": done,
                    "seconds": round(time.monotonic() - start, 1),
                    "supervisor": state(grader.pid),
                    "sandboxes": [state(pid) for pid in sandboxes],
                    "here": state(os.getpid()),
                    # Programs under way are some of them: what is left behind adds to every look.
                    "processes": min(all_below(grader.pid) for _ in range(20)),
                }
                series.append(row)
                print(json.dumps(row), flush=True)
                if out is not None:
                    with out.open("a") as file:
                        file.write(json.dumps(row) + "\n")
        replaced = below(grader.pid) != sandboxes
    first, last = series[max(0, len(series) // 10 - 1)], series[-1]
    growth = [
        (name, after["rss_kib"] - before["rss_kib"], after["fds"] - before["fds"])
        for name, before, after in (
            ("this process", first["here"], last["here"]),
            ("supervisor", first["supervisor"], last["supervisor"]),
            *(
                (f"sandbox {at}", before, after)
                for at, (before, after) in enumerate(zip(first["sandboxes"], last["sandboxes"], strict=True))
            ),
        )
    ]
    for name, kib, fds in growth:
        print(f"{name}: {kib:+} KiB and {fds:+} descriptors from program {first['done']} to {last['done']}")
    print(f"verdicts that are not the known ones: {dict(wrong) or 'none'}; sandboxes replaced: {replaced}")
    processes = last["processes"] - first["processes"]
    print(
        f"processes: {processes:+}, {last['processes']} at the end; {number / last['seconds']:.0f} programs/s"
    )
    flat = processes <= workers and all(kib < 4096 and fds <= 0 for _, kib, fds in growth)
    return 0 if flat and not wrong and not replaced else 1


def working(grader: Grader) -> list[tuple[Problem, str]]:
    """Programs that take ``SHARES`` of the limit here, by the quickest of some runs of a known piece of work."""
    one = Problem("one", "", ADD.tests[:1], time_limit_seconds=100.0)
    pieces = [Solution("one", n, code=f"{WORK.format(rounds=2_000_000)}{RIGHT}  # {n}") for n in range(10)]
    seconds = [
        grade.tests[0].cpu_seconds or 0.0 for grade in grader.grade([(one, piece) for piece in pieces])
    ]
    per_round, limit = min(seconds) / 2_000_000, TIMED.time_limit_seconds
    single = Problem("single", "", ADD.tests[:1], time_limit_seconds=limit)
    return [(single, WORK.format(rounds=round(share * limit / per_round)) + RIGHT) for share in SHARES]


def oversubscribe(times: int, rounds: int) -> int:
    """The second form."""
    with Grader(workers=1) as grader:
        mixed = [*MIXED, *working(grader)]
        items = [
            (problem, Solution(problem.problem_id, n, code=f"{code.replace('{n}', str(n))}\n# {n}"))
            for n, (problem, code) in enumerate(mixed * rounds)
        ]
        alone = [[test.verdict for test in grade.tests] for grade in grader.grade(items[: len(mixed)])]
    workers = times * whole_cores()
    start = time.monotonic()
    with Grader(workers=workers) as grader:
        grades = grader.grade(items)
    changed = [
        (grade.sample, alone[grade.sample % len(mixed)], [test.verdict for test in grade.tests], grade.flags)
        for grade in grades
        if [test.verdict for test in grade.tests] != alone[grade.sample % len(mixed)]
    ]
    for line in changed:
        print(*line)
    share = {
        need: max(
            grade.tests[0].cpu_seconds or 0.0
            for grade in grades
            if grade.sample % len(mixed) == len(MIXED) + place
        )
        / TIMED.time_limit_seconds
        for place, need in enumerate(SHARES)
    }
    print(
        "CPU time in limits, alone: most beside the others",
        {need: round(most, 2) for need, most in share.items()},
    )
    flags = Counter(flag for grade in grades for flag in grade.flags)
    print(
        f"{len(items)} programs, {workers} workers on {whole_cores()} cores, {time.monotonic() - start:.0f} s: "
        f"{len(changed)} changed; flags {dict(flags)}; "
        f"verdicts {dict(Counter(grade.verdict for grade in grades).most_common())}"
    )
    return 1 if changed else 0


def main() -> int:
    """Parse and run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--programs", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=whole_cores())
    parser.add_argument("--out", type=Path)
    parser.add_argument("--oversubscribe", type=int, metavar="TIMES")
    parser.add_argument("--rounds", type=int, default=10, help="how often the mixed set is graded")
    given = parser.parse_args()
    if given.oversubscribe is not None:
        return oversubscribe(given.oversubscribe, given.rounds)
    return soak(given.programs, given.workers, given.out)


if __name__ == "__main__":
    sys.exit(main())
