"""The options of a grader: name, type, default, range and help of each, stated once.

``GraderSettings`` is what every interface is made from: the keyword arguments of ``Grader``, ``RayGrader`` and
``grade_files``, the options of ``opsd-rs grade``, and the ``[grader]`` section of a configuration. It checks values and
their combinations; the rules of ``compare`` and ``extract`` are checked where they are used, by the Rust side. Only the
standard library is needed, because ``opsd-rs grade --help`` loads this file.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, TypedDict, Union, get_args, get_origin

from opsd_rs.errors import BadInput

Profile = Literal["strict", "lcb-2025-05", "lcb-2025-01"]
Stop = Literal["never", "first-timeout", "first-failure"]
Isolation = Literal["solution", "test"]
Level = Literal["S3", "S2", "S2j", "S1", "S0"]
"""Levels of isolation, best first."""
FeedbackStyle = Literal["leetcode", "sdpo", "lcb", "none"]


class BadOption(BadInput):
    """A value of an option that is refused; ``option`` is its name in :class:`GraderSettings`, ``reason`` the rule."""

    option = ""
    reason = ""


@dataclass(frozen=True, kw_only=True)
class GraderSettings:
    """How a grader judges. An annotation holds an option's help and, where it is not 1, the least whole number.

    >>> GraderSettings(stop="first-failure", cpu_seconds=2).stop
    'first-failure'
    >>> GraderSettings(threads=0)
    Traceback (most recent call last):
    opsd_rs.config.grader.BadOption: threads = 0: must be a whole number above 0
    """

    profile: Annotated[Profile, "Whose rules judge: a judge's, or LiveCodeBench's runner of that date."] = (
        "strict"
    )
    """``strict``: a judge's. ``lcb-2025-05`` and ``lcb-2025-01``: those of LiveCodeBench's runner of that date, its
    surprises included; tests run in their order up to the first failure, whatever ``stop`` says, and a test's limit is
    ``cpu_seconds`` or the problem's own, as wall time rounded up to whole seconds.
    See docs/appendix/grader-profiles.md."""
    also: Annotated[
        Profile | None, "Judge by a second profile too, and report where the verdicts disagree."
    ] = None
    """Its verdict is ``Grade.also``; the flag ``profiles_disagree`` says that ``passed`` differs."""
    workers: Annotated[int | None, "Programs at a time; default: one per usable core."] = None
    stop: Annotated[
        Stop,
        "Tests that are left out: none, those after the first test over a limit, those after the first failure.",
    ] = "never"
    """Tests run smallest input first, then the largest, then the others as given; results keep the order given.
    ``first-failure`` leaves out the tests that would run after a solution's first failure (``not_run``);
    ``first-timeout`` those after the first test that reached a limit of any kind (CPU or idle time, memory, output),
    the expensive failures. ``never`` runs all, but after a failure only within ``min(tests x time limit, 30 s)`` of
    CPU time for the whole solution.
    ``passed`` does not depend on it; a failure after the last test run is missing from the feedback."""
    isolation: Annotated[
        Isolation, "A process per program, its state reset between tests; or a process per test."
    ] = "solution"
    """``solution`` runs a program's tests one after the other in one process and confirms failures in a fresh one;
    ``test`` gives every test a process of its own."""
    level: Annotated[
        Level | None, "Exactly this level of isolation; default: the best that the machine gives."
    ] = None
    """See docs/sandbox.md. The level is proved by small hostile programs before the first program runs."""
    require: Annotated[
        Level | None, "Lowest level of isolation accepted; default: S2, or the level where one is named."
    ] = None
    """A machine that gives less is an error."""
    allow_unsandboxed: Annotated[bool, "Accept level S0, no isolation, where it is named."] = False
    cpu_seconds: Annotated[float | None, "CPU time per test; default: the problem's."] = None
    """In place of each problem's ``time_limit_seconds``."""
    idle_seconds: Annotated[float | None, "Time per test neither computing nor waiting for a core."] = None
    wall_seconds: Annotated[
        float | None, "Wall time per test, a backstop: a test that meets it is run again."
    ] = None
    """If it has waited for a core for half of that time; else it is idle. It runs again alone; after the second time
    it is given up as starved, which is never counted against the program."""
    memory_mib: Annotated[int | None, "Address space; default: the problem's."] = None
    output_mib: Annotated[
        int | None, "Standard output per test; never less than the expected output, up to 512 MiB."
    ] = None
    threads: Annotated[int | None, "Threads of a program alive at once."] = None
    memory_budget_mib: Annotated[
        int | None,
        "Memory of all programs together; default: a quarter of the machine's, at most 32 GiB.",
    ] = None
    """Over it the largest program is killed and runs again by itself."""
    compare: Annotated[
        str, "official, exact, tokens, tokens_ci, float[:1e-6] or float:abs=X,rel=Y, checker:PATH."
    ] = "official"
    """For a program's output: ``official`` (LiveCodeBench's: stripped lines, exact decimal numbers), ``exact`` (bytes
    but for one last newline), ``tokens`` (words), ``tokens_ci`` (words in any case), ``float`` (words, numbers within
    1e-6 absolute or relative; ``float:1e-9``, ``float:abs=1e-9,rel=1e-6``), ``checker:PATH`` (a Python program of yours
    decides). For a function's result: ``float`` holds numbers at any depth to its tolerance, ``checker`` sees JSON, all
    others mean ``==``. A problem's own ``compare`` comes first. A checker runs in a sandbox of its own;
    ``sys.argv[1:4]`` are three files to be read with ``open``: input, expected output, the program's output (standard
    input, too). It accepts by exit code 0 or 42, rejects by 1 or 43. Anything else, an uncaught exception too, is a
    ``wrong_answer`` if it can judge the expected output in place of the answer, and ``infra_error`` if not."""
    extract: Annotated[
        str | None,
        "Which part of a completion is the program: last, first, longest, official[:STYLE], after-think:RULE; default: "
        "last, under a profile lcb-* official.",
    ] = None
    """``last``: in what is no thought, the last block that is a program: it reads standard input, or defines a function
    or class that is no test; blocks of other languages count only where there are no others, and a block that is never
    closed counts unless the answer was cut. ``first``: the first block of Python. ``longest``: SDPO's rule.
    ``official``: LiveCodeBench's, between the last two fence lines (``official:GenericBase`` is the whole text,
    ``official:CodeLLaMaInstruct`` finds none, as the official code does). ``after-think:RULE`` removes the thoughts
    first, for any rule; thoughts without an end hold no code. docs/grader.md has an example of each."""
    feedback: Annotated[bool | FeedbackStyle, "Style of the text about failures."] = "leetcode"
    """``leetcode`` (True means it), ``sdpo`` (what the self-teacher reads), ``lcb`` (self-repair), ``none`` (False)."""
    feedback_chars: Annotated[int, "Longest feedback, in characters.", 300] = 2000
    """:func:`opsd_rs.grading.feedback.fit_tokens` cuts by tokens."""
    site_packages: Annotated[
        Sequence[str | Path], "Folders outside the standard library that programs may read and import from."
    ] = ()
    """Whatever lies in them is open to the programs."""

    def __post_init__(self) -> None:
        if isinstance(self.feedback, bool):
            object.__setattr__(self, "feedback", "leetcode" if self.feedback else "none")
        if isinstance(self.site_packages, list):
            object.__setattr__(self, "site_packages", tuple(self.site_packages))
        for name, option in OPTIONS.items():
            if reason := option.fault(getattr(self, name)):
                raise self.refusal(name, reason)
        for name, reason in self._conflicts():
            raise self.refusal(name, reason)

    @property
    def extraction(self) -> str:
        """The rule of ``extract``, or the one that ``profile`` implies.

        >>> GraderSettings().extraction, GraderSettings(profile="lcb-2025-05").extraction
        ('last', 'official')
        """
        implied = "last" if self.profile == "strict" else "official"
        return implied if self.extract is None else self.extract

    @classmethod
    def name_of(cls, option: str) -> str:
        """How the user wrote the name of an option; other interfaces than keyword arguments override it."""
        return option

    def refusal(self, option: str, reason: str) -> BadOption:
        """The error for a value of this option."""
        error = BadOption(f"{self.name_of(option)} = {getattr(self, option)!r}: {reason}")
        error.option, error.reason = option, reason
        return error

    def _conflicts(self) -> Iterator[tuple[str, str]]:
        """Options that cannot go together: the one to change, and why."""
        levels = get_args(Level)
        for name in ("level", "require"):
            if getattr(self, name) == "S0" and not self.allow_unsandboxed:
                accepts = self.name_of("allow_unsandboxed")
                yield name, f"runs programs without any isolation; only {accepts} accepts it"
        if self.level and self.require and levels.index(self.level) > levels.index(self.require):
            require = self.name_of("require")
            yield "level", f"is below {require} = {self.require!r}; lower {require} as well"
        if self.also == self.profile:
            yield "also", "is the profile itself; leave it out or name another"
        official = [one for one in (self.profile, self.also) if one not in ("strict", None)]
        if official and self.isolation == "test":
            yield (
                "isolation",
                f"profile {official[0]} runs all tests of a program in one process; use solution",
            )
        if "strict" not in (self.profile, self.also):
            if self.compare != "official":
                yield "compare", f"profile {self.profile} compares officially; use official"
            for name in ("idle_seconds", "wall_seconds"):
                if getattr(self, name) is not None:
                    yield (
                        name,
                        f"profile {self.profile} has no such limit; leave it out or use profile strict",
                    )


class GraderOptions(TypedDict, total=False):
    """The fields of :class:`GraderSettings` as keyword arguments, for type checkers; a test holds the two equal."""

    profile: Profile
    also: Profile | None
    workers: int | None
    stop: Stop
    isolation: Isolation
    level: Level | None
    require: Level | None
    allow_unsandboxed: bool
    cpu_seconds: float | None
    idle_seconds: float | None
    wall_seconds: float | None
    memory_mib: int | None
    output_mib: int | None
    threads: int | None
    memory_budget_mib: int | None
    compare: str
    extract: str | None
    feedback: bool | FeedbackStyle
    feedback_chars: int
    site_packages: Sequence[str | Path]


class Option(NamedTuple):
    """One option, as an interface is made from it.

    >>> OPTIONS["stop"].choices, OPTIONS["stop"].default, OPTIONS["threads"].may_be_unset
    (('never', 'first-timeout', 'first-failure'), 'never', True)
    """

    kind: type
    """str, int, float or bool; of the items where ``is_list``."""
    default: Any
    help: str
    choices: tuple[str, ...]
    may_be_unset: bool
    is_list: bool
    least: int

    def fault(self, value: Any) -> str | None:
        """Why a value is refused; None: it is right."""
        right, rule = isinstance(value, self.kind), "a string" if self.kind is str else "True or False"
        if self.choices:
            right, rule = value in self.choices, f"one of {', '.join(self.choices)}"
        elif self.is_list:
            right = isinstance(value, tuple) and all(isinstance(item, str | Path) for item in value)
            rule = "a list of folders"
        elif self.kind in (int, float):
            lowest = "above 0" if self.least == 1 else f"of at least {self.least}"
            rule = f"a whole number {lowest}" if self.kind is int else "a number above 0"
            right = isinstance(value, int | self.kind) and not isinstance(value, bool)
            right = right and (value >= self.least if self.kind is int else 0 < value < math.inf)
        return None if right or (value is None and self.may_be_unset) else f"must be {rule}"


def _option(default: Any, hint: Any) -> Option:
    hint, help, *least = get_args(hint)
    is_list = get_origin(hint) is Sequence
    kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    choices = next((get_args(kind) for kind in kinds if get_origin(kind) is Literal), ())
    kind = str if choices or is_list else next(kind for kind in kinds if kind is not NoneType)
    return Option(kind, default, help, choices, NoneType in kinds, is_list, *(least or [1]))


# `one.type` is a type, not its text, because this file does without `from __future__ import annotations`.
OPTIONS = {one.name: _option(one.default, one.type) for one in fields(GraderSettings)}
"""All options by name, in order."""
