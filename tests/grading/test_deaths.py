"""What happens when one of the grader's processes dies: no hang, no orphan, no false verdict."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from graded import ADD, LOOP, RIGHT, one, verdicts
from opsd_rs import Case, Grader, Problem, Solution
from opsd_rs.errors import OpsdError
from processes import Watcher, alive, children, descriptors, family, wait_until

BUSY = "import time\nstart = time.process_time()\nwhile time.process_time() < start + {seconds}: pass\n"
OWN_FORKS = 4
"""Processes a sandbox forks for itself when it starts: a try of another user, three rehearsals (rust/sandbox)."""
SLOW = Problem("slow", "", ADD.tests[:1], time_limit_seconds=20)


def busy(number: int, seconds: float = 0.1) -> tuple[Problem, Solution]:
    """A right program that lives long enough to be seen, and killed."""
    return SLOW, Solution("slow", number, code=f"{BUSY.format(seconds=seconds)}{RIGHT}  # {number}")


def test_a_killed_supervisor_is_an_error_at_once() -> None:
    with Grader(workers=2) as grader:
        pid = grader.pid
        assert pid is not None
        before = family(pid)
        assert len(before) >= 3, "supervisor and two sandboxes"
        threading.Timer(0.5, os.kill, (pid, signal.SIGKILL)).start()
        start = time.monotonic()
        with pytest.raises(OpsdError, match="supervisor died: signal 9"):
            grader.grade([(ADD, Solution("add", n, code=LOOP)) for n in range(4)])
        assert time.monotonic() - start < 5
        with pytest.raises(OpsdError, match="supervisor died"):
            one(grader, ADD, RIGHT)
        assert wait_until(lambda: not any(map(alive, before))), "sandboxes outlive the supervisor"


PARENT = """
import os, sys, time
from opsd_rs import Case, Grader, Problem, Solution
grader = Grader(workers=2).__enter__()
problem = Problem("p", "", (Case("", ""),), time_limit_seconds=60)
stream = grader.stream([(problem, Solution("p", n, code="while True: pass")) for n in range(2)])
if sys.argv[1] == "forked" and os.fork() == 0:
    time.sleep(40)  # holds a copy of the socket after its parent is dead
    os._exit(0)
print(grader.pid, flush=True)
next(stream)
"""


@pytest.mark.parametrize("kind", ["alone", "forked"])
def test_nothing_outlives_a_killed_caller(kind: str) -> None:
    caller = subprocess.Popen([sys.executable, "-c", PARENT, kind], stdout=subprocess.PIPE, text=True)
    assert caller.stdout is not None
    with caller.stdout:
        supervisor = int(caller.stdout.readline())
        assert wait_until(lambda: len(family(supervisor)) >= 5), "supervisor, two sandboxes, two programs"
        below = family(supervisor)
        caller.kill()
        caller.wait()
        assert wait_until(lambda: not any(map(alive, below)), 30.0), [pid for pid in below if alive(pid)]


def test_a_killed_sandbox_is_replaced_and_the_verdict_stands() -> None:
    with Grader(workers=1) as grader:
        pid = grader.pid
        assert pid is not None
        [sandbox] = children(pid)
        threading.Timer(0.5, os.kill, (sandbox, signal.SIGKILL)).start()
        [grade] = grader.grade([busy(0, 1.5)])
    assert grade.verdict == "accepted"
    assert grade.flags == ("retried",)


def test_our_own_fault_is_never_a_failed_program() -> None:
    stop = threading.Event()
    problem = Problem("slow", "", ADD.tests, time_limit_seconds=20)
    with Grader(workers=1) as grader:
        pid = grader.pid
        assert pid is not None

        def kill_sandboxes() -> None:
            while not stop.wait(0.05):
                for sandbox in children(pid):
                    if children(sandbox):  # a program is under way
                        with contextlib.suppress(ProcessLookupError):  # it ended by itself just now
                            os.kill(sandbox, signal.SIGKILL)

        killer = threading.Thread(target=kill_sandboxes)
        killer.start()
        try:
            grade = one(grader, problem, LOOP)
        finally:
            stop.set()
            killer.join()
        assert grade.verdict == "infra_error"
        assert grade.passed is None
        assert grade.feedback == ""
        assert verdicts(grade) == ["infra_error", "not_run", "not_run"]
        assert one(grader, ADD, RIGHT).passed, "the grader itself goes on"


def test_a_forked_copy_of_the_caller_is_told_and_harms_nothing() -> None:
    with Grader(workers=1) as grader:
        pid = os.fork()
        if pid == 0:
            try:
                one(grader, ADD, RIGHT)
            except OpsdError as error:
                os._exit(0 if "forked" in str(error) else 2)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert one(grader, ADD, RIGHT).passed


# ---- programs and sandboxes killed by somebody else ----------------------------------------------------


def test_a_killed_program_is_run_again() -> None:
    with Grader(workers=1) as grader:
        assert grader.pid is not None
        watcher = Watcher(grader.pid)
        stream = grader.stream([busy(0, 1.0)])
        threading.Timer(0.3, lambda: [os.kill(pid, signal.SIGKILL) for pid in watcher.programs()]).start()
        with watcher:
            [(_, grade)] = list(stream)
    assert (grade.verdict, grade.flags) == ("accepted", ("killed",))
    assert len(watcher.seen) == 2


def test_a_program_killed_every_time_is_not_known() -> None:
    with Grader(workers=1) as grader:
        assert grader.pid is not None
        over, watcher = threading.Event(), Watcher(grader.pid)

        def kill() -> None:
            while not over.wait(0.02):
                for pid in watcher.programs():
                    os.kill(pid, signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        try:
            grade = one(grader, SLOW, LOOP)
        finally:
            over.set()
            killer.join()
        assert (grade.verdict, grade.passed, grade.feedback) == ("infra_error", None, "")
        assert "somebody else ended the program" in grade.metadata["message"]
        assert one(grader, ADD, RIGHT).passed


def test_no_program_can_pass_for_a_killed_one() -> None:
    code = "import os, signal, threading\ntry:\n    {}\nexcept PermissionError:\n    print('refused')"
    problem = Problem("p", "", (Case("", "refused"),))
    with Grader(workers=1) as grader:
        for call in (
            "os.kill(os.getpid(), signal.SIGKILL)",
            "signal.raise_signal(signal.SIGKILL)",
            "signal.pthread_kill(threading.get_ident(), signal.SIGKILL)",
        ):
            assert one(grader, problem, code.format(call)).verdict == "accepted", call
        assert one(grader, problem, "import os\nos.abort()").verdict == "runtime_error"


def test_kills_at_random_lose_and_invent_nothing() -> None:
    answers = {0: "accepted", 1: "wrong_answer", 2: "runtime_error"}
    ends = {0: RIGHT, 1: "print(0)", 2: "1 / 0"}
    items = [
        (SLOW, Solution("slow", n, code=f"{BUSY.format(seconds=0.05)}{ends[n % 3]}  # {n}"))
        for n in range(24)
    ]
    with Grader(workers=2) as grader:
        assert grader.pid is not None
        idle, before, ours = family(grader.pid), descriptors(grader.pid), descriptors(os.getpid())
        kills, restarts = 0, 0
        with Watcher(grader.pid) as watcher:
            for done, (index, grade) in enumerate(grader.stream(items)):
                assert grade.sample == index
                assert grade.verdict in (answers[index % 3], "infra_error"), grade
                assert grade.verdict != "infra_error" or grade.passed is None
                if done % 5 == 0:
                    victims = watcher.programs() if done % 2 else children(grader.pid)
                    for pid in victims[:1]:
                        os.kill(pid, signal.SIGKILL)
                        kills += 1
                        restarts += done % 2 == 0
        assert done == len(items) - 1
        assert kills >= 4
        most = len(items) + kills + OWN_FORKS * restarts
        assert len(watcher.seen) <= most, "one run each, and one more for each kill"

        def all_up() -> bool:
            """A sandbox that was killed when nothing was left to do is replaced when there is something again."""
            assert len(grader.grade(items[:4])) == 4
            return len(family(grader.pid or 0)) == len(idle)

        assert wait_until(all_up), "supervisor and two sandboxes"
        assert descriptors(grader.pid) == before, "no descriptor, no file in memory left"
        assert descriptors(os.getpid()) == ours


# ---- the supervisor and the caller, killed ------------------------------------------------------------


def test_what_a_killed_supervisor_had_found_stands_and_the_rest_is_run_once() -> None:
    items, done, started = [busy(number) for number in range(12)], {}, 0
    deaths: list[str] = []
    for attempt in range(3):
        left = [index for index in range(len(items)) if index not in done]
        ours = descriptors(os.getpid())
        with Grader(workers=2) as grader:
            assert grader.pid is not None
            with Watcher(grader.pid) as watcher:
                try:
                    for position, grade in grader.stream([items[index] for index in left]):
                        assert grade.verdict == "accepted"
                        done[left[position]] = grade
                        if attempt < 2 and len(done) == 4 * (attempt + 1):
                            os.kill(grader.pid, signal.SIGKILL)
                except OpsdError as error:
                    deaths.append(str(error))
            started += len(watcher.seen)
        assert descriptors(os.getpid()) == ours, "nothing of a dead supervisor is kept"
    assert deaths == ["the grader's supervisor died: signal 9"] * 2
    assert sorted(done) == list(range(12))
    assert started <= 12 + 2 * 2, "at most those in flight run twice"


CALLER = """
import json, sys
from pathlib import Path
sys.path.append("../support")
from test_deaths import Grader, busy
book = Path(sys.argv[1])
done = {json.loads(line)[0] for line in book.read_text().splitlines()} if book.exists() else set()
left = [number for number in range(12) if number not in done]
with Grader(workers=2) as grader, book.open("a") as file:
    print(grader.pid, flush=True)
    for index, grade in grader.stream(busy(number) for number in left):
        print(json.dumps([left[index], grade.verdict]), file=file, flush=True)
"""


def test_a_killed_caller_goes_on_where_it_was(tmp_path: Path) -> None:
    book, started = tmp_path / "book", 0
    for attempt in range(2):
        caller = subprocess.Popen(
            [sys.executable, "-c", CALLER, str(book)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parent,
        )
        assert caller.stdout is not None
        with caller.stdout, Watcher(int(caller.stdout.readline())) as watcher:
            below = family(watcher.supervisor)
            while caller.poll() is None:
                time.sleep(0.02)
                if attempt == 0 and book.exists() and len(book.read_text().splitlines()) >= 5:
                    caller.kill()
                    below += family(watcher.supervisor)
                    caller.wait()
            assert wait_until(lambda below=below: not any(map(alive, below))), "nothing outlives it"
        started += len(watcher.seen)
    lines = [json.loads(line) for line in book.read_text().splitlines()]
    assert sorted(lines) == [[number, "accepted"] for number in range(12)], "each once"
    assert started <= 12 + 2 * 2, "at most those run twice that were running, or done but not yet read"
