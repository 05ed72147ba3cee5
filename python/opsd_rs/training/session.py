"""What a run needs beside student and teacher: problems, contexts, the sampler and the environment, opened together.

``open_session`` starts the environment and the sampler before training touches a GPU, and closes them on the way out
whatever happens. The methods of ``Session`` are the steps of the loop that cross packages: sample, grade, assemble.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import torch

from opsd_rs.base import Clock, Progress, Ranks, StopSignals
from opsd_rs.config import Config, ContextConfig
from opsd_rs.context import Assembler
from opsd_rs.environments import Environment, make_environment
from opsd_rs.errors import BadInput
from opsd_rs.model import resolve
from opsd_rs.policy import device_of_rank, join_ranks, leave_ranks
from opsd_rs.problems import ProblemSet, draw
from opsd_rs.records import Grade, Problem, Rollout, SampleRequest, Solution, TeacherContext
from opsd_rs.rollout import Sampler, Sampling, make_engine
from opsd_rs.training.notes import write_notes

Problems = Mapping[str, Problem]


@dataclass
class Session:
    """Everything a step needs but the student and the teacher."""

    config: Config
    run_dir: Path
    model_dir: str
    device: torch.device
    ranks: Ranks
    clock: Clock
    stop: StopSignals
    """Where a signal asks for the end; the phases ask it."""
    progress: Progress
    environment: Environment
    problem_set: ProblemSet
    left_out: Mapping[str, int]
    """Problems that are not in ``problem_set`` because their prompt is too long, with its tokens."""
    assembler: Assembler
    sampler: Sampler

    @property
    def train_problems(self) -> list[Problem]:
        """With the tests that training may see; the order is the draw's."""
        return self.problem_set.train

    @cached_property
    def full_problems(self) -> dict[str, Problem]:
        """The same, and the held-out ones, with all tests."""
        return {p.problem_id: p for p in (*self.problem_set.full, *self.problem_set.held_out)}

    @property
    def validation_ids(self) -> list[str]:
        """Problems of validation."""
        held_out = self.config.eval.problems == "held_out"
        return [p.problem_id for p in (self.problem_set.held_out if held_out else self.problem_set.full)]

    def assembler_of(self, context: ContextConfig) -> Assembler:
        """An assembler for another context, with the run's tokenizer and budgets."""
        return _assembler(self.config, self.environment, self.model_dir, context, self.train_problems)

    def draw(self, step: int) -> list[Problem]:
        """The problems of a step: shuffled epochs without replacement, a function of (seed, step)."""
        return draw(self.train_problems, step, self.config.train.prompts_per_step, self.config.seed)

    def train_sampling(self) -> Sampling:
        """The decoding of training rollouts and of the gap."""
        c = self.config.rollout
        return Sampling(c.temperature, c.top_p, c.max_tokens, tuple(self.assembler.eos_ids))

    def eval_sampling(self) -> Sampling:
        """The decoding of validation."""
        c = self.config.eval
        return Sampling(c.temperature, c.top_p, self.config.rollout.max_tokens, tuple(self.assembler.eos_ids))

    def sample_requests(self, problems: Sequence[Problem], n: int) -> list[SampleRequest]:
        """``n`` student answers to each problem."""
        return [
            SampleRequest(problem.problem_id, sample, self.assembler.student_prompt(problem))
            for problem in problems
            for sample in range(n)
        ]

    def sample(
        self,
        requests: Sequence[SampleRequest],
        sampling: Sampling,
        *,
        purpose: str,
        step: int,
        phase: str = "rollout",
    ) -> list[Rollout]:
        """Rollouts in the order of ``requests``; every rank draws its share and gets all."""
        with self.progress.phase(phase, step) as tick:
            return self.sampler.sample(requests, sampling, purpose=purpose, step=step, progress=tick)

    def grade(
        self, rollouts: Sequence[Rollout], problems: Problems, *, step: int, phase: str = "grade"
    ) -> list[Grade]:
        """Verdicts in the order of ``rollouts``; every rank grades its share and gets all."""
        mine = self.ranks.share(rollouts)
        items = [
            (
                problems[r.problem_id],
                Solution(r.problem_id, r.sample, completion=r.text, truncated=r.truncated),
            )
            for r in mine
        ]
        found: list[Grade] = []
        with self.progress.phase(phase, step) as tick, self.ranks.stop_together():
            found = self.environment.grade(items, tick)
        return self.ranks.gather(found)

    def contexts(
        self,
        assembler: Assembler,
        rollouts: Sequence[Rollout],
        grades: Sequence[Grade],
        problems: Problems,
        step: int,
        group: int = 0,
    ) -> list[TeacherContext]:
        """What the teacher reads before each rollout, in order; ``group`` as ``write_notes`` takes it."""
        notes = write_notes(self, assembler, rollouts, grades, problems, step, group=group)
        with self.progress.phase("assemble", step):
            return assembler.teacher_contexts(rollouts, grades, problems, notes)


class Opened(NamedTuple):
    """What stands before anything is started: enough to say what will be measured."""

    config: Config
    run_dir: Path
    model_dir: str
    environment: Environment
    problem_set: ProblemSet
    assembler: Assembler


@contextmanager
def open_session(
    config: Config,
    run_dir: Path,
    stop: StopSignals | None = None,
    *,
    check: Callable[[Opened], None] = lambda opened: None,
) -> Iterator[Session]:
    """Open everything that ``config`` names; ``run_dir`` must exist.

    :param check: called before sampler and environment start, to refuse what does not fit
    """
    stop = stop or StopSignals()
    device = device_of_rank()
    model_dir = resolve(config.model.path)
    environment = make_environment(config)
    problem_set = environment.problems()
    assembler = _assembler(config, environment, model_dir, config.context, problem_set.train)
    assembler.assert_generation_header()
    left_out = long_prompts(problem_set, assembler, config.rollout.max_prompt_tokens)
    if left_out:
        problem_set = without(problem_set, left_out, config)
        assembler = _assembler(config, environment, model_dir, config.context, problem_set.train)
    check(Opened(config, run_dir, model_dir, environment, problem_set, assembler))
    clock = Clock()
    with ExitStack() as stack:
        ranks = Ranks(*join_ranks(device))
        stack.callback(leave_ranks)
        stack.enter_context(environment)
        engine = make_engine(
            config, model_dir, device_index=device.index, log_path=run_dir / f"sampler_{ranks.rank}.log"
        )
        stack.callback(engine.close)
        progress = Progress(run_dir, clock, speak=ranks.first, stop=stop)
        for note in problem_set.notes:
            progress.say(note)
        yield Session(
            config=config,
            run_dir=run_dir,
            model_dir=model_dir,
            device=device,
            ranks=ranks,
            clock=clock,
            stop=stop,
            progress=progress,
            environment=environment,
            problem_set=problem_set,
            left_out=left_out,
            assembler=assembler,
            sampler=Sampler(engine, assembler.decode, run_seed=config.seed, ranks=ranks),
        )


def long_prompts(problem_set: ProblemSet, assembler: Assembler, max_prompt_tokens: int) -> dict[str, int]:
    """Problems whose prompt has more than ``max_prompt_tokens``, with their lengths."""
    lengths = {
        problem.problem_id: len(assembler.student_prompt(problem))
        for problem in (*problem_set.full, *problem_set.held_out)
    }
    return {name: length for name, length in lengths.items() if length > max_prompt_tokens}


def without(problem_set: ProblemSet, left_out: Mapping[str, int], config: Config) -> ProblemSet:
    """``problem_set`` without the problems of ``left_out``, and a note that says so.

    :raises BadInput: nothing is left to train on or to validate
    """
    key = f"rollout.max_prompt_tokens = {config.rollout.max_prompt_tokens}"
    train, full, held_out = (
        [problem for problem in side if problem.problem_id not in left_out]
        for side in (problem_set.train, problem_set.full, problem_set.held_out)
    )
    if not train or (config.eval.problems == "held_out" and not held_out):
        raise BadInput(f"{key}: no problem is left; the shortest prompt has {min(left_out.values())} tokens")
    total = len(problem_set.full) + len(problem_set.held_out)
    some = ", ".join(list(left_out)[:3]) + (", ..." if len(left_out) > 3 else "")
    note = f"{len(left_out)} of {total} problems are left out, their prompts are longer than {key}: {some}"
    return dataclasses.replace(
        problem_set,
        train=train,
        full=full,
        held_out=held_out,
        dropped={**problem_set.dropped, "max_prompt_tokens": len(left_out)},
        notes=(*problem_set.notes, note),
    )


def _assembler(
    config: Config,
    environment: Environment,
    model_dir: str,
    context: ContextConfig,
    pool: Sequence[Problem],
) -> Assembler:
    return Assembler(
        model_dir,
        context,
        enable_thinking=config.model.enable_thinking,
        max_context_tokens=config.teacher.max_context_tokens,
        prompt_style=environment.message,
        control_mask=config.control.mask,
        pool=pool,
    )
