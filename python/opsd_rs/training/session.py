"""What a run needs beside student and teacher: problems, contexts, the sampler and the environment, opened together.

``open_session`` starts the environment and the sampler before training touches a GPU, and closes them on the way out
whatever happens. The methods of ``Session`` are the steps of the loop that cross packages: sample, grade, assemble.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch

from opsd_rs.base import Clock, Progress, Ranks, StopSignals, keep_output
from opsd_rs.config import Config, ContextConfig
from opsd_rs.context import Assembler
from opsd_rs.environments import Environment
from opsd_rs.policy import check_launcher, device_of_rank, join_ranks, leave_ranks
from opsd_rs.problems import ProblemSet, draw
from opsd_rs.records import Grade, Problem, Rollout, SampleRequest, Solution, TeacherContext
from opsd_rs.rollout import Sampler, Sampling, make_engine
from opsd_rs.training.notes import write_notes
from opsd_rs.training.prepare import Prepared, make_assembler, prepare
from opsd_rs.training.token_budget import hold_to_share

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
    progress: Progress
    environment: Environment
    problem_set: ProblemSet
    left_out: Mapping[str, int]
    """Problems that are not in ``problem_set`` because their prompt is too long, with its tokens."""
    assembler: Assembler
    sampler: Sampler
    stop: StopSignals = field(default_factory=StopSignals)
    """Where a signal asks for the end; the phases ask it."""

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
        return make_assembler(self.config, self.environment, self.model_dir, context, self.train_problems)

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
        seed: int | None = None,
    ) -> list[Rollout]:
        """Rollouts in the order of ``requests``; every rank draws its share and gets all.

        :param seed: of these draws; by default the run's
        """
        with self.progress.phase(phase, step) as tick:
            return self.sampler.sample(
                requests, sampling, purpose=purpose, step=step, seed=seed, progress=tick
            )

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


@contextmanager
def open_session(
    config: Config,
    run_dir: Path,
    stop: StopSignals | None = None,
    *,
    check: Callable[[Prepared], None] = lambda prepared: None,
    keeps_logs: bool = True,
) -> Iterator[Session]:
    """Open everything that ``config`` names; ``run_dir`` must exist.

    :param keeps_logs: what other libraries and the engine print stays in ``run_dir``; else in no place, but for that of
        an engine that failed
    :param check: called before sampler and environment start, to refuse what does not fit
    """
    stop = stop or StopSignals()
    check_launcher(os.environ)
    device = device_of_rank()
    hold_to_share(config, device)
    prepared = prepare(config)
    check(prepared)
    clock = Clock()
    with ExitStack() as stack:
        ranks = Ranks(*join_ranks(device))
        stack.callback(leave_ranks)
        kept = keeps_logs and keep_output(run_dir / "log")  # the first rank has made the folder by now
        stack.enter_context(prepared.environment)
        engine = make_engine(
            config,
            prepared.model_dir,
            device_index=device.index,
            log_path=run_dir / f"sampler_{ranks.rank}.log" if keeps_logs else None,
        )
        stack.callback(engine.close)
        progress = Progress(run_dir, clock, speak=ranks.first, stop=stop)
        notes = [*prepared.notes, *([f"other libraries write to {run_dir / 'log'}"] if kept else [])]
        for note in notes:
            progress.say(note)
        yield Session(
            config=config,
            run_dir=run_dir,
            model_dir=prepared.model_dir,
            device=device,
            ranks=ranks,
            clock=clock,
            stop=stop,
            progress=progress,
            environment=prepared.environment,
            problem_set=prepared.problem_set,
            left_out=prepared.left_out,
            assembler=prepared.assembler,
            sampler=Sampler(engine, prepared.assembler.decode, run_seed=config.seed, ranks=ranks),
        )
