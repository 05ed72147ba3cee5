"""The records that pass between packages: frozen, each with one worked example.

Nothing here computes. Text becomes tokens in two places only (the sampler and the assembler);
``completion_ids`` pass unchanged from the sampler to the loss and are never tokenised again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from opsd_rs.base import Batch

Verdict = Literal[
    "accepted",
    "wrong_answer",
    "runtime_error",
    "time_limit",
    "idle_limit",
    "memory_limit",
    "output_limit",
    "security_violation",
    "compile_error",
    "no_code",
    "infra_error",
    "not_run",
]


@dataclass(frozen=True, slots=True)
class Case:
    """One test of a problem.

    For function calls ``input`` holds one JSON value per line (one per argument), ``output`` one JSON value.

    >>> Case(input='[1, 2]\\n3', output="6", public=False)
    Case(input='[1, 2]\\n3', output='6', public=False)
    """

    input: str
    output: str
    public: bool = False


@dataclass(frozen=True, slots=True)
class Problem:
    """A coding problem and its tests.

    >>> Problem(problem_id="add", prompt="Add two integers.", tests=(Case("1\\n2", "3"),), entry_point="add").kind
    'function'
    """

    problem_id: str
    prompt: str
    tests: tuple[Case, ...]
    starter_code: str | None = None
    entry_point: str | None = None
    """None: the program reads stdin. ``name`` or ``Class.name``: it is called with the test's arguments."""
    solution: str | None = None
    difficulty: str | None = None
    platform: str | None = None
    date: str | None = None
    """ISO date of the contest, ``2025-02-01``."""
    release: str | None = None
    time_limit_seconds: float = 6.0
    """CPU seconds per test."""
    memory_limit_mib: int = 1024
    compare: str | None = None
    """Which answers count as the expected one; None: as the grader is told. See ``Grader(compare=...)``."""

    @property
    def kind(self) -> Literal["stdin", "function"]:
        """How the program is run."""
        return "stdin" if self.entry_point is None else "function"


@dataclass(frozen=True, slots=True)
class Solution:
    """A candidate answer: ``code`` as it is, or a ``completion`` from which the code is taken.

    >>> Solution(problem_id="add", sample=0, code="def add(a, b):\\n    return a + b").sample
    0
    """

    problem_id: str
    sample: int
    code: str | None = None
    completion: str | None = None
    truncated: bool = False
    """The completion ended at the token limit, not at the end-of-turn token."""


@dataclass(frozen=True, slots=True)
class CaseResult:
    """One test's outcome. ``index`` is the test's place in ``Problem.tests``.

    >>> CaseResult(index=0, verdict="accepted", cpu_seconds=0.002, wall_seconds=0.003, memory_mib=11.0).verdict
    'accepted'
    """

    index: int
    verdict: Verdict
    cpu_seconds: float | None = None
    wall_seconds: float | None = None
    memory_mib: float | None = None


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a program did not pass, for programs; the feedback says it to people.

    >>> Reason(0, "time_limit").test
    0
    """

    test: int | None
    """Place of the failed test in ``Problem.tests``; None where no test was run."""
    verdict: Verdict
    exception: str | None = None
    """Class of the uncaught exception."""
    message: str = ""
    """``ZeroDivisionError: division by zero``, the checker's words, or what our own fault was."""
    line: int | None = None
    """In the program's own source, from 1."""
    function: str | None = None
    """``<module>`` at top level."""


@dataclass(frozen=True, slots=True)
class SecondVerdict:
    """The verdict under a second profile, ``Grader(also=...)``. ``passed`` is None where it has none; ``message`` says
    why.

    >>> SecondVerdict("lcb-2025-05", "accepted", True).passed
    True
    """

    profile: str
    verdict: Verdict | None
    passed: bool | None
    message: str | None = ""
    official_results: tuple[bool | int, ...] | None = None
    official_metadata: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class GraderIdentity:
    """The facts of a grader that its grades share.

    >>> GraderIdentity(profile="lcb-2025-05", sandbox_level="S2").stop
    'never'
    """

    sandbox: str = ""
    """The layers of isolation that held, in words."""
    python_version: str = ""
    stop: str = "never"
    """Which tests were left out, see ``GraderSettings.stop``."""
    compare: str = "official"
    """The rule of equal answers, see ``GraderSettings.compare``."""
    extract: str | None = None
    """The rule that found the program in a completion; None where the program was given as it is."""
    profile: str = "strict"
    """Whose rules judged: ``strict``, ``lcb-2025-05``, ``lcb-2025-01``."""
    isolation: Literal["solution", "test"] = "solution"
    """Tests of a program share a process, or each has its own."""
    sandbox_level: str = ""
    """Level of isolation that held, ``S2``; empty where nothing was run."""
    policy_hash: str = ""
    """Fingerprint of the layers and rules that held: equal hashes, equal sandboxes."""


NO_GRADER = GraderIdentity()
"""Of a grade that no grader gave."""


@dataclass(frozen=True, slots=True)
class Grade:
    """All that grading found out about one solution.

    ``passed`` is None for ``infra_error``: such a grade is left out of every mean and counted separately.

    >>> Grade("add", 0, passed=False, verdict="wrong_answer", tests=(), feedback="Test Case 1: ...").passed
    False
    """

    problem_id: str
    sample: int
    passed: bool | None
    verdict: Verdict
    tests: tuple[CaseResult, ...]
    feedback: str = ""
    """What the self-teacher may read about the failure; empty when every test passed."""
    message: str = ""
    """For a log: the exception, the checker's words, or what our own fault was."""
    reason: Reason | None = None
    """None when every test passed."""
    flags: tuple[str, ...] = ()
    """What a reader of the verdict should know: ``state_leak``, ``retried``, ``budget`` and the like."""
    official_results: tuple[bool | int, ...] | None = None
    """What LiveCodeBench's runner would list for the tests; None but under the profiles ``lcb-*``."""
    official_metadata: Mapping[str, Any] | None = None
    """What that runner would say of them."""
    also: SecondVerdict | None = None
    grader: GraderIdentity = NO_GRADER
    """Shared by all grades of a grader."""

    @property
    def profile(self) -> str:
        """Whose rules judged."""
        return self.grader.profile

    @property
    def isolation(self) -> Literal["solution", "test"]:
        """Tests of a program share a process, or each has its own."""
        return self.grader.isolation

    @property
    def sandbox_level(self) -> str:
        """Level of isolation that held, ``S2``; empty where nothing was run."""
        return self.grader.sandbox_level

    @property
    def policy_hash(self) -> str:
        """Fingerprint of the layers and rules that held."""
        return self.grader.policy_hash

    @property
    def metadata(self) -> dict[str, Any]:
        """The same facts as plain values, with the keys of ``metadata`` in a results file.

        >>> Grade("add", 0, None, "infra_error", (), message="the disk is full").metadata
        {'message': 'the disk is full'}
        """
        found: dict[str, Any] = {}
        graded = self.grader != NO_GRADER
        if graded:
            names = ("sandbox", "python_version", "stop", "compare", "extract")
            found = {name: getattr(self.grader, name) for name in names}
        if graded or self.message:
            found["message"] = self.message
        if graded:
            found["reason"] = None if self.reason is None else plain(self.reason)
        if self.official_results is not None:
            found["official_results"] = list(self.official_results)
            found["official_metadata"] = self.official_metadata
        if self.also is not None:
            results = self.also.official_results
            found["also"] = {
                **plain(self.also),
                "official_results": None if results is None else list(results),
            }
        return found


def plain(record: CaseResult | Reason | SecondVerdict) -> dict[str, Any]:
    """A record's fields by name, in order; ``dataclasses.asdict`` copies every leaf, which costs ten times as much.

    >>> plain(CaseResult(0, "not_run"))["verdict"]
    'not_run'
    """
    return {name: getattr(record, name) for name in record.__slots__}


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """One answer wanted from the sampler, by the student or by the teacher under its context.

    >>> SampleRequest("add", 0, (1, 9, 2)).sample
    0
    """

    problem_id: str
    sample: int
    prompt_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Rollout:
    """One sampled answer.

    >>> Rollout("add", 3, (1, 2), (5, 6, 2), (-0.1, -0.2, 0.0), "hi", truncated=False, policy_version=0).sample
    3
    """

    problem_id: str
    sample: int
    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    """As sampled, the end-of-turn token included when there is one."""
    logprobs: tuple[float, ...]
    """The sampler's log-probability of each completion token, after temperature."""
    text: str
    truncated: bool
    policy_version: int
    """How many weight syncs the sampler had seen."""


@dataclass(frozen=True, slots=True)
class TeacherContext:
    """What the self-teacher reads before it re-reads a rollout's completion: a row of the packed batch.

    >>> TeacherContext("add", 3, status="peer+feedback", has_context=True).status
    'peer+feedback'
    """

    problem_id: str
    sample: int
    status: str
    """Which sections it holds, joined by ``+`` (``peer+feedback``, ``attempt+reflection``, ``static``); ``bare``
    without any; ``dropped`` where the row leaves the batch altogether."""
    has_context: bool
    """False: nothing privileged was available, so the row leaves the loss (``control.mask`` may keep it)."""
    flags: tuple[str, ...] = ()
    """``cut:solution``, ``special:feedback``, ``leak:notes`` and the like."""
    batch: Batch | None = field(default=None, repr=False, compare=False)
    """The packed rows of all rollouts assembled together, each prompt followed by its completion."""
    row: int = 0
    """Which row of ``batch`` this is."""

    @property
    def prompt_ids(self) -> tuple[int, ...]:
        """The ids before the completion, made at each use; they end with the same generation header as the student's.

        Deprecated, kept for one release: take ``batch.prompt(row)``, an array that copies nothing.
        """
        return () if self.batch is None else tuple(self.batch.prompt(self.row).tolist())
