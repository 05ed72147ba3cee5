"""The kernel's own bound on all programs together, where a control group (cgroup v2) is delegated to this process.

Where none is, the tests say why and are skipped; `systemd-run --user --scope -p Delegate=yes make test` runs them. The
limits are lowered from outside here, below what the grader would ever set, so that the kernel acts before the
governor does.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from opsd_rs import Case, Grader, Problem, Solution, _core
from processes import alive, children, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.sandbox, pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")]

TOUCH = "x = bytearray({mib} << 20)\nx[::4096] = bytes([1]) * len(x[::4096])\n"
REST = "print(sum(map(int, input().split())))"
PROBLEM = Problem(
    problem_id="add",
    prompt="Add the numbers.",
    tests=(Case("1 2 3", "6"), Case("4 5", "9")),
    time_limit_seconds=20.0,
    memory_limit_mib=1024,
)


def solution(index: int, start: str = "") -> tuple[Problem, Solution]:
    return PROBLEM, Solution("add", index, code=start + REST)


def mount() -> Path:
    """Where cgroup v2 is mounted, from its root on (mountinfo of proc(5))."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        place, kind = line.split(" - ")
        if kind.startswith("cgroup2 ") and place.split()[3] == "/":
            return Path(place.split()[4])
    pytest.skip("cgroup v2 is not mounted from its root")


def group_of(pid: int) -> Path:
    """The folder of a process's control group."""
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    (path,) = [line.removeprefix("0::") for line in lines if line.startswith("0::")]
    return mount() / path.lstrip("/")


def number(folder: Path, file: str, field: str = "") -> int:
    """A file's number, or that of one of its lines."""
    text = (folder / file).read_text()
    if field:
        (text,) = [line.split()[1] for line in text.splitlines() if line.split()[0] == field]
    return int(text)


@pytest.fixture(scope="module")
def controllers() -> str:
    (row,) = [row for row in _core.probe() if row[0] == "control_group"]
    if not row[2]:
        pytest.skip(f"no control group is delegated to this process: {row[3]}")
    return str(row[3])


@pytest.fixture
def grader(controllers: str) -> Iterator[Grader]:
    with Grader(workers=2, require="S1") as started:
        started.grade([solution(0)])  # from here on the limits are not raised any more
        yield started


def folder_of(grader: Grader) -> Path:
    """The one group that all zygotes of a grader are in."""
    assert grader.pid is not None
    zygotes = children(grader.pid)
    assert len(zygotes) == 2
    (folder,) = {group_of(zygote) for zygote in zygotes}
    assert folder != group_of(grader.pid)
    assert folder.name.startswith(f"opsd-rs.{grader.pid}.")
    return folder


def test_programs_are_in_a_group_with_limits(grader: Grader, controllers: str) -> None:
    folder = folder_of(grader)
    (grade,) = grader.grade([solution(1)])
    assert "control group" in grade.metadata["sandbox"]
    if "memory.max" in controllers:
        assert number(folder, "memory.max") >= (1024 + 2 * 128) << 20
        assert number(folder, "memory.oom.group") == 0
    if "pids.max" in controllers:
        assert number(folder, "pids.max") >= 2 * 2 * 32
    grader.close()
    assert not folder.exists()


def test_leftovers_of_a_killed_grader_are_swept(grader: Grader, controllers: str) -> None:
    folder = folder_of(grader)
    assert grader.pid is not None
    zygotes = children(grader.pid)
    os.kill(grader.pid, signal.SIGKILL)
    assert wait_until(lambda: not any(alive(zygote) for zygote in zygotes))
    assert folder.exists(), "nobody is left to remove it"
    with Grader(workers=2, require="S1") as second:
        second.grade([solution(0)])
        assert not folder.exists()
        assert folder_of(second).parent == folder.parent


def test_a_group_in_use_is_left_alone(grader: Grader) -> None:
    folder = folder_of(grader)
    with Grader(workers=2, require="S1") as second:
        assert [grade.passed for grade in second.grade([solution(0)])] == [True]
        assert folder_of(second) != folder
    assert folder_of(grader) == folder
    assert [grade.passed for grade in grader.grade([solution(1)])] == [True]


def needs(controller: str, controllers: str) -> None:
    if controller not in controllers:
        pytest.skip(f"{controller} is not among {controllers}")


def test_whom_the_kernel_kills_for_room_runs_again_alone(grader: Grader, controllers: str) -> None:
    """Two programs that fit one by one and not together: nobody loses its verdict."""
    needs("memory.max", controllers)
    folder = folder_of(grader)
    used = number(folder, "memory.current")
    (folder / "memory.max").write_text(str(used + (300 << 20)))
    wait = "import time\nwhile time.process_time() < 0.5: pass\n"  # together for a while
    grades = grader.grade([solution(index, TOUCH.format(mib=200) + wait) for index in range(4)])
    assert number(folder, "memory.events", "oom_kill") > 0, "the kernel had nothing to do"
    assert [grade.verdict for grade in grades] == ["accepted"] * 4
    assert any("killed" in grade.flags for grade in grades)
    assert folder_of(grader) == folder, "the zygotes were not killed along"


def test_whom_the_kernel_kills_alone_used_too_much(grader: Grader, controllers: str) -> None:
    needs("memory.max", controllers)
    folder = folder_of(grader)
    used = number(folder, "memory.current")
    (folder / "memory.max").write_text(str(used + (100 << 20)))
    hog, honest = grader.grade([solution(0, TOUCH.format(mib=400)), solution(1)])
    assert number(folder, "memory.events", "oom_kill") > 0
    assert (hog.verdict, honest.verdict) == ("memory_limit", "accepted")


def test_the_number_of_processes_is_bounded(grader: Grader, controllers: str) -> None:
    needs("pids.max", controllers)
    folder = folder_of(grader)
    (folder / "pids.max").write_text(str(number(folder, "pids.current") + 8))
    threads = (
        "import threading\nforever = threading.Event()\n"
        "for _ in range(20): threading.Thread(target=forever.wait, daemon=True).start()\n"
    )
    (many,) = grader.grade([solution(0, threads)])
    assert number(folder, "pids.events", "max") > 0
    (honest,) = grader.grade([solution(1)])  # not at the same time: its process would not fit
    assert (many.verdict, honest.verdict) == ("runtime_error", "accepted")
