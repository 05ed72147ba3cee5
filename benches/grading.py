"""The grader against LiveCodeBench's official runner on one generated workload, and what its sandbox costs.

``python benches/grading.py --official PATH`` (a checkout of LiveCodeBench/LiveCodeBench; its interpreter, given by
``--official-python``, needs numpy and tqdm) grades the same programs with both, at equal workers, and prints CPU and
wall seconds and their ratios; each verdict must be the same. Without ``--official`` only the absolute figures are
printed: tests per second of one core, and the cost of all layers of isolation.

CPU seconds are those of all processes below each runner, its own included (wait4(2)), starting up and reading the
tests included. They hardly depend on other load; wall seconds do.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import pickle
import platform
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from grading_workload import Task, workload

Job = tuple[Task, str]
Found = dict[str, Any]

GROUPS = {
    "small": ((0,), 30),
    "failing": ((0, 1, 2), 4),
    "right": ((1,), 12),
    "large": ((2,), 2),
    "mix": ((0, 1), 1),
    "repeated": ((0, 1), 1),
}
"""Sizes of the tests, and problems per family and size at scale 1. small: all that end; failing: wrong and broken
programs; right and large: right ones, bound by their own CPU time; mix: all, endless ones with small tests only;
repeated: the mix with each program four times, ours from file to file, where equal programs run once."""
COPIES = 4
PR_SET_CHILD_SUBREAPER = 36
TRIVIAL = "print(sum(map(int, input().split())))"


def jobs_of(group: str, tasks: Sequence[Task]) -> list[Job]:
    """Which programs a group grades, shuffled: a run's order is no order of kinds."""
    kinds = {
        "small": ("right", "wrong", "error"),
        "failing": ("wrong", "error"),
        "right": ("right",),
        "large": ("right",),
    }.get(group, ("right", "wrong", "error", "endless"))
    chosen = [(task, kind) for task in tasks for kind in kinds if kind != "endless" or task.level == 0]
    chosen *= COPIES if group == "repeated" else 1
    random.Random(1).shuffle(chosen)
    return chosen


# --- one runner, in a process of its own -----------------------------------------------------------------------


def verdict(results: list[Any], metadata: dict[str, Any]) -> str:
    """A verdict's name from the official result list."""
    last = results[-1] if results else True
    if all(result is True or result == 1 for result in results):
        return "accepted"
    if last is False or (last == -2 and metadata.get("error_code") == -2):
        return "wrong_answer"
    if last == -3:
        return "time_limit"
    return "runtime_error"


def run_official(path: str, jobs: Sequence[Job], workers: int, seconds: int) -> Found:
    """Grade with the official runner."""
    sys.path.insert(0, path)
    from lcb_runner.evaluation import codegen_metrics  # type: ignore[import-not-found]

    _, results, metadata = codegen_metrics(
        [task.official() for task, _ in jobs],
        [[task.programs[kind]] for task, kind in jobs],
        k_list=[1],
        num_process_evaluate=workers,
        timeout=seconds,
    )
    lists = [results[index][0] for index in range(len(jobs))]
    plain = [
        [bool(x) if not isinstance(x, int) or isinstance(x, bool) else x for x in found] for found in lists
    ]
    pairs = zip(plain, (json.loads(text[0]) for text in metadata), strict=True)
    return {
        "verdicts": [verdict(*pair) for pair in pairs],
        "num_tests": sum(map(len, plain)),
        "user_cpu": 0.0,
    }


def problems_of(jobs: Sequence[Job], seconds: int) -> dict[str, Any]:
    """This package's problems, by name."""
    from opsd_rs import Case, Problem

    return {
        task.name: Problem(
            task.name,
            "",
            tuple(Case(*test) for test in zip(task.inputs, task.outputs, strict=True)),
            entry_point=task.entry_point,
            time_limit_seconds=float(seconds),
        )
        for task, _ in jobs
    }


def run_files(jobs: Sequence[Job], workers: int, seconds: int) -> Found:
    """Grade as `opsd-rs grade` does: from file to file, equal programs once."""
    from opsd_rs.grading import grade_files

    with tempfile.TemporaryDirectory() as folder:
        solutions, out = Path(folder) / "solutions.jsonl", Path(folder) / "out.jsonl"
        rows = [
            {"problem_id": task.name, "sample": index, "code": task.programs[kind]}
            for index, (task, kind) in enumerate(jobs)
        ]
        solutions.write_text("".join(json.dumps(row) + "\n" for row in rows))
        problems = list(problems_of(jobs, seconds).values())
        options = {"profile": "lcb-2025-05", "stop": "first-failure"}
        grade_files(problems, solutions, out, workers=workers, feedback=False, **options)
        lines = [json.loads(line) for line in out.read_text().splitlines()]
    verdicts = {line["sample"]: line["verdict"] for line in lines}
    return {
        "verdicts": [verdicts[index] for index in range(len(jobs))],
        "num_tests": 0,
        "user_cpu": 0.0,
        "boot_cpu": 0.0,
        "options": options,
    }


def run_ours(jobs: Sequence[Job], workers: int, seconds: int) -> Found:
    """Grade with this package: the official profile where this version has it, one run per program, no cache."""
    from opsd_rs import Grader, Solution

    options: dict[str, Any] = {"profile": "lcb-2025-05", "feedback": False, "stop": "first-failure"}
    problems = problems_of(jobs, seconds)
    items = [
        (problems[task.name], Solution(task.name, index, code=task.programs[kind]))
        for index, (task, kind) in enumerate(jobs)
    ]
    with Grader(workers=workers, **options) as grader:
        assert grader.pid is not None
        boot_cpu = tree_cpu(grader.pid) + time.process_time()
        grades = grader.grade(items)
    tests = [test for grade in grades for test in grade.tests if test.cpu_seconds is not None]
    return {
        "verdicts": [grade.verdict for grade in grades],
        "num_tests": len(tests),
        "user_cpu": sum(test.cpu_seconds or 0.0 for test in tests if test.verdict != "time_limit"),
        "boot_cpu": boot_cpu,
        "options": options,
    }


def apart(args: argparse.Namespace) -> None:
    """Entry of the process of its own: grades, waits for every process below it, says what all that took."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    answer, null = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)  # the official runner talks
    jobs = pickle.loads(Path(args.apart).read_bytes())
    begun = time.perf_counter()
    if args.official:
        found = run_official(args.official, jobs, args.workers, args.timeout)
    else:
        run = run_files if args.files else run_ours
        found = run(jobs, args.workers, args.timeout)
    found["wall"] = time.perf_counter() - begun
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()  # orphans come to us
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    found["cpu"] = sum(usage.ru_utime + usage.ru_stime for usage in usages)
    with open(answer, "w") as file:  # noqa: PTH123 - a descriptor
        json.dump(found, file)


def measure(args: argparse.Namespace, jobs: Sequence[Job], official: bool, files: bool = False) -> Found:
    """One runner on one list of jobs."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(pickle.dumps(list(jobs)))
        file.flush()
        command = [args.official_python if official else sys.executable, __file__, "--apart", file.name]
        command += ["--workers", str(args.workers), "--timeout", str(args.timeout)]
        command += ["--official", args.official] if official else []
        command += ["--files"] if files else []
        environment = {**os.environ, "TQDM_DISABLE": "1"}
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment)
        found: Found = json.loads(done.stdout)
    return found


def compare(args: argparse.Namespace, group: str, tasks: Sequence[Task]) -> None:
    """Both runners on one group; the verdicts must agree."""
    jobs = jobs_of(group, tasks)
    theirs = measure(args, jobs, official=True)
    ours = measure(args, jobs, official=False, files=group == "repeated")
    differ = [
        (task.name, kind, official, own)
        for (task, kind), official, own in zip(jobs, theirs["verdicts"], ours["verdicts"], strict=True)
        if official != own
    ]
    assert not differ, f"{group}: verdicts differ: {differ[:10]}"
    n = len(jobs)
    print(
        f"\n{group}: {n} programs, {dict(Counter(ours['verdicts']).most_common())}, options {ours['options']}"
    )
    for name, found in (("official", theirs), ("opsd-rs", ours)):
        print(
            f"  {name:9} {found['num_tests']:6} tests  wall {found['wall']:8.2f} s  CPU {found['cpu']:8.2f} s  "
            f"{1e3 * found['cpu'] / n:8.2f} ms CPU per program"
        )
    steady = theirs["cpu"] / (ours["cpu"] - ours["boot_cpu"])
    print(
        f"  ratio: CPU {theirs['cpu'] / ours['cpu']:.1f}x ({steady:.1f}x without the {ours['boot_cpu']:.2f} s "
        f"that a Grader takes to start, once), wall {theirs['wall'] / ours['wall']:.1f}x"
    )
    if group == "mix":
        num_endless = Counter(ours["verdicts"])["time_limit"]
        bound = (num_endless * args.timeout + ours["user_cpu"]) / args.workers
        print(
            f"  {num_endless} x {args.timeout} s + {ours['user_cpu']:.1f} s of the others' CPU, over {args.workers} "
            f"workers = {bound:.2f} s; wall is {100 * (ours['wall'] / bound - 1):+.1f} % of that"
        )


# --- absolute figures ------------------------------------------------------------------------------------------


def tree_cpu(pid: int) -> float:
    """CPU seconds of a process, its living descendants, and those it has waited for (proc_pid_stat(5))."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        below = [child for task in tasks for child in (task / "children").read_text().split()]
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0  # it has just ended: its parent's figure has it
    ticks = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return ticks + sum(tree_cpu(int(child)) for child in below)


def rate(isolation: str, programs: int, num_tests: int) -> tuple[float, float]:
    """Trivial tests per CPU second of supervisor, zygote and programs; and per second of wall."""
    from opsd_rs import Case, Grader, Problem, Solution

    tests = tuple(Case(f"{i} {i + 1}\n", f"{2 * i + 1}\n") for i in range(num_tests))
    problem = Problem("trivial", "", tests)
    options: dict[str, Any] = {"isolation": isolation, "feedback": False}
    with Grader(workers=1, **options) as grader:
        assert grader.pid is not None
        batches = []
        for batch in range(6):  # the first one warms up
            items = [
                (problem, Solution("trivial", i, code=f"{TRIVIAL} # {batch} {i}")) for i in range(programs)
            ]
            cpu, wall = tree_cpu(grader.pid), time.perf_counter()
            grades = grader.grade(items)
            batches.append((tree_cpu(grader.pid) - cpu, time.perf_counter() - wall))
            assert all(grade.verdict == "accepted" for grade in grades)
    n = programs * num_tests
    cpu, wall = (statistics.median(batch[i] for batch in batches[1:]) for i in (0, 1))
    return n / cpu, n / wall


def layers(forks: int) -> None:
    """CPU microseconds per forked test with every layer and with none, in turns: the median of the turns' differences,
    and the middle half of them. The kernel counts in hundredths of a second, so a turn is long."""
    from opsd_rs import _core

    bare = ["seccomp", "landlock", "rlimits", "thread_cap", "privileges"]
    sandboxes = [_core.Sandbox(sys.executable, _core.__file__, without=without) for without in ([], bare)]
    inputs = [b"1 2\n"] * forks

    def cost(sandbox: Any) -> float:
        cpu = tree_cpu(sandbox.pid) + time.process_time()
        sandbox.run(TRIVIAL, inputs, judge=lambda *_: "next_fresh")
        return (tree_cpu(sandbox.pid) + time.process_time() - cpu) / forks * 1e6

    turns = [[cost(sandbox) for sandbox in sandboxes] for _ in range(11)][1:]
    full, none = (statistics.median(turn[i] for turn in turns) for i in (0, 1))
    low, middle, high = statistics.quantiles((full - none for full, none in turns), n=4)
    print(
        f"layers: {full:.0f} us per forked test with all, {none:.0f} without; they cost {middle:.0f} us "
        f"(half of {len(turns)} turns: {low:.0f} to {high:.0f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--official", metavar="PATH", help="a checkout of LiveCodeBench/LiveCodeBench")
    parser.add_argument("--official-python", metavar="EXE", default=sys.executable)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--timeout", type=int, default=6, help="seconds per test, both runners")
    parser.add_argument("--scale", type=int, default=1, help="problems per family and size")
    parser.add_argument("--groups", nargs="*", default=list(GROUPS), choices=GROUPS)
    parser.add_argument("--apart", help=argparse.SUPPRESS)
    parser.add_argument("--files", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.apart:
        apart(args)
        return
    load = os.getloadavg()[0]
    print(
        f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores, load {load:.1f}"
    )
    for isolation, programs, num_tests, goal in (("test", 20, 20, 600), ("solution", 100, 20, 8000)):
        by_cpu, by_wall = rate(isolation, programs, num_tests)
        print(
            f"isolation={isolation}: {by_cpu:.0f} trivial tests per CPU second, {by_wall:.0f} per second of wall "
            f"(goal {goal}), {num_tests} per program"
        )
    layers(400)
    if args.official:
        for group in args.groups:
            levels, copies = GROUPS[group]
            compare(args, group, workload(levels, copies * args.scale))


if __name__ == "__main__":
    main()
