"""The grader: solutions and their problems in; verdicts per test, one per solution, and feedback out.

One supervisor process does the work (``rust/grade``): it is exec'd with a clean environment, alone knows the expected
outputs, and drives one sandbox per worker. This process is never forked, so it may hold torch, CUDA, threads and any
amount of memory. A program that fails is a verdict; a fault of ours is retried and then reported apart
(``infra_error``, ``passed`` None).

What it does not do: load problems, read or write files (``grading.files``), protect from faults of the kernel.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from opsd_rs import __version__
from opsd_rs.base import usable_cores
from opsd_rs.errors import BadInput
from opsd_rs.grading.official import PROFILES, Profile, grade_metadata
from opsd_rs.grading.settings import (
    LEVELS,
    FeedbackStyle,
    Isolation,
    Level,
    Stop,
    amounts,
    comparator,
    extraction,
    feedback_text,
)
from opsd_rs.grading.stream import Flow
from opsd_rs.grading.supervisor import Supervisor
from opsd_rs.records import CaseResult, Grade, Solution


def _numpy() -> list[str]:
    """Folders of the installed numpy, which programs may import: itself and its shared libraries, nothing beside."""
    found = find_spec("numpy")  # looks, does not import
    if found is None or not found.submodule_search_locations:
        return []
    folder = Path(next(iter(found.submodule_search_locations))).resolve()
    return [str(path) for path in (folder, folder.with_name("numpy.libs")) if path.is_dir()]


class Grader(Flow[Supervisor]):
    """A pool of sandboxes; a context manager, started when entered or at first use. Safe to share between threads.

    :param profile: whose rules judge. ``strict``: a judge's. ``lcb-2025-05`` and ``lcb-2025-01``: those of
        LiveCodeBench's runner of that date, surprises included; tests run in their order up to the first failure,
        whatever ``stop`` says, a test's limit is ``cpu_seconds`` or the problem's own, as wall time rounded up to whole
        seconds; see ``Grade.metadata`` and docs/grader-profiles.md
    :param also: a second profile to grade by; its verdict is ``Grade.metadata["also"]``, and ``profiles_disagree``
        among the flags says that ``passed`` differs
    :param workers: programs running at the same time; None: one per usable core
    :param stop: tests run smallest input first, then the largest, then the others as given; results keep the order
        given. ``first-failure`` leaves those that would run after a solution's first failure out (``not_run``);
        ``first-timeout`` those after the first ``time_limit`` or ``idle_limit``, the failures that are dear. ``never``
        runs all, but after a failure only within ``min(tests x time limit, 30 s)`` of CPU time for the whole solution
    :param isolation: ``solution`` runs a program's tests one after the other in one process, state reset in between
        and failures confirmed in a fresh process; ``test`` gives every test a process of its own
    :param cpu_seconds: per test, in place of each problem's ``time_limit_seconds``; so do the other limits:
        ``idle_seconds`` (neither computing nor waiting for a core), ``wall_seconds`` (then the test is given up as
        starved, never counted against the program), ``memory_mib`` (address space, in place of the problem's),
        ``output_mib`` (standard output), ``threads`` (alive at once)
    :param level: exactly this level of isolation (S3, S2, S2j, S1 or S0, see ``docs/sandbox.md``); None: the best that
        the machine gives. Either is proved by small hostile programs before the first one of yours
    :param require: lowest level of isolation accepted; a machine that gives less is an error. None: S2, or ``level``
        where that is named
    :param memory_budget_mib: resident memory of all programs together; over it the largest is run again by itself.
        None: a quarter of this machine's memory, at most 32 GiB
    :param allow_unsandboxed: accepts level S0, no isolation at all, where ``level`` or ``require`` names it
    :param compare: which answers count as the expected one. For a program's output: ``official`` (LiveCodeBench's:
        stripped lines, exact decimal numbers), ``exact`` (bytes but for one last newline), ``tokens`` (words),
        ``tokens_ci`` (words in any case), ``float`` (words, numbers within 1e-6 absolute or relative; ``float:1e-9``,
        ``float:abs=1e-9,rel=1e-6``), ``checker:PATH`` (a Python program of yours decides). For a function's result:
        ``float`` holds numbers at any depth to its tolerance, ``checker`` sees JSON, all others mean ``==``. A
        problem's own ``compare`` comes first. A checker runs in a sandbox of its own; ``sys.argv[1:4]`` are three
        files to be read with ``open``: input, expected output, the program's output (standard input, too). It accepts
        by exit code 0 or 42, rejects by 1 or 43; anything else, an uncaught exception too, is ``infra_error``
    :param extract: which part of a completion is the program: the ``last`` closed fence or the ``first`` (in what
        follows ``</think>``), the ``longest`` (SDPO's rule), ``official`` (LiveCodeBench's: between the last two fence
        lines; ``official:GenericBase`` is the whole text, ``official:CodeLLaMaInstruct`` finds none, as the official
        code does). ``after-think:RULE`` cuts thoughts off first, for any rule; thoughts without an end hold no code
    :param feedback: style of the text about failures: ``leetcode`` (also True), ``sdpo`` (what the self-teacher
        reads), ``lcb`` (self-repair), ``none`` (also False)
    :param feedback_chars: its longest length; :func:`opsd_rs.grading.feedback.fit_tokens` cuts by tokens
    :param site_packages: folders outside the standard library that programs may read and import from; whatever lies
        in them is open to the programs

    >>> from opsd_rs import Case, Problem, Solution
    >>> problem = Problem("add", "Add.", (Case("1\\n2", "3"),), entry_point="add")
    >>> with Grader(workers=1) as grader:
    ...     [grade] = grader.grade([(problem, Solution("add", 0, code="def add(a, b): return a + b"))])
    >>> grade.verdict
    'accepted'
    """

    def __init__(
        self,
        *,
        profile: Profile = "strict",
        also: Profile | None = None,
        workers: int | None = None,
        stop: Stop = "never",
        isolation: Isolation = "solution",
        cpu_seconds: float | None = None,
        idle_seconds: float | None = None,
        wall_seconds: float | None = None,
        memory_mib: int | None = None,
        output_mib: int | None = None,
        threads: int | None = None,
        level: Level | None = None,
        require: Level | None = None,
        allow_unsandboxed: bool = False,
        memory_budget_mib: int | None = None,
        compare: str = "official",
        extract: str = "last",
        feedback: bool | FeedbackStyle = True,
        feedback_chars: int = 2000,
        site_packages: Sequence[str | Path] = (),
    ) -> None:
        if workers is not None and workers < 1:
            raise BadInput(f"workers = {workers}: must be at least 1")
        for name, value, allowed in (
            ("profile", profile, PROFILES),
            ("also", also, (None, *PROFILES)),
            ("stop", stop, ("never", "first-timeout", "first-failure")),
            ("isolation", isolation, ("solution", "test")),
            ("level", level, (*LEVELS, None)),
            ("require", require, (*LEVELS, None)),
        ):
            if value not in allowed:
                names = ", ".join(word for word in allowed if word is not None)
                raise BadInput(f"{name} = {value!r}: must be one of {names}")
        if "S0" in (level, require) and not allow_unsandboxed:
            raise BadInput(
                "level S0 runs programs without any isolation; only allow_unsandboxed=True accepts it"
            )
        if level is not None and require is not None and LEVELS.index(level) > LEVELS.index(require):
            raise BadInput(f"level = {level!r} is below require = {require!r}; lower require or leave it out")
        if also == profile:
            raise BadInput(f"also = {also!r}: is the profile itself; leave it out or name another")
        official = [one for one in (profile, also) if one not in ("strict", None)]
        if official and isolation == "test":
            raise BadInput(
                f'isolation = "test": profile {official[0]} runs all tests of a program in one process, as the '
                'official runner does; use isolation = "solution"'
            )
        if compare != "official" and "strict" not in (profile, also):
            raise BadInput(
                f'compare = {compare!r}: profile {profile} compares officially; use compare = "official"'
            )
        for name, seconds in (("idle_seconds", idle_seconds), ("wall_seconds", wall_seconds)):
            if seconds is not None and "strict" not in (profile, also):
                raise BadInput(
                    f"{name}: profile {profile} has no such limit; leave it out or use profile strict"
                )
        self.workers = usable_cores() if workers is None else workers
        self._settings: dict[str, Any] = {
            "profile": profile,
            "also": also,
            "workers": self.workers,
            "stop": stop,
            "isolation": isolation,
            "limits": {
                **amounts(
                    whole=False, cpu_seconds=cpu_seconds, idle_seconds=idle_seconds, wall_seconds=wall_seconds
                ),
                **amounts(whole=True, memory_mib=memory_mib, output_mib=output_mib, threads=threads),
            },
            "level": level,
            "require": require or level or "S2",
            "allow_unsandboxed": allow_unsandboxed,
            **amounts(whole=True, memory_budget_mib=memory_budget_mib),
            "compare": comparator(compare),
            "extract": extraction(extract),
            "feedback": feedback_text(feedback, feedback_chars),
            "site_packages": [str(Path(folder).resolve()) for folder in site_packages],
            "packages": _numpy(),
        }
        super().__init__()

    @property
    def pid(self) -> int | None:
        """Process id of the supervisor, None before it started."""
        return None if self._backend is None else self._backend.process.pid

    def identity(self) -> dict[str, Any]:
        """All that verdicts depend on beside problem and solution; graders of equal identities may share them."""
        from importlib.metadata import version

        supervisor = self._ready()
        # The level that was asked for matters less than the one that holds; who is killed for the budget runs again.
        apart = ("workers", "level", "require", "allow_unsandboxed", "memory_budget_mib")
        mine = {name: value for name, value in self._settings.items() if name not in apart}
        return {
            **mine,
            "sandbox_level": supervisor.sandbox_level,
            "policy_hash": supervisor.policy_hash,
            "python_version": platform.python_version(),
            "numpy_version": version("numpy") if self._settings["packages"] else None,
            "version": __version__,
        }

    def code_of(self, solution: Solution) -> str:
        """The program that a solution comes to: its code, or what the extraction rule finds; else empty."""
        from opsd_rs import _core

        if solution.code is not None or solution.completion is None:
            return solution.code or ""
        return _core.extract_code(solution.completion, self._settings["extract"]) or ""

    def _grade(self, solution: Solution, found: Mapping[str, Any]) -> Grade:
        supervisor = self._backend
        assert supervisor is not None, "a reply without a supervisor"
        return Grade(
            problem_id=solution.problem_id,
            sample=solution.sample,
            passed=found["passed"],
            verdict=found["verdict"],
            tests=tuple(CaseResult(**test) for test in found["tests"]),
            feedback=found["feedback"],
            metadata={
                "sandbox": supervisor.sandbox,
                "python_version": platform.python_version(),
                "stop": self._settings["stop"],
                "compare": self._settings["compare"]["rule"],
                "extract": None if solution.code is not None else self._settings["extract"],
                "message": found["message"],
                "reason": found["reason"],
                **grade_metadata(found),
            },
            profile=self._settings["profile"],
            isolation=self._settings["isolation"],
            sandbox_level=supervisor.sandbox_level,
            policy_hash=supervisor.policy_hash,
            flags=tuple(found["flags"]),
        )

    def _start(self) -> Supervisor:
        from opsd_rs import _core

        return Supervisor(str(_core.__file__), self._settings)
