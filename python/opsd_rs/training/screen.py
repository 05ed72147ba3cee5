"""``opsd-rs screen``: rounds of whole groups for fewer and fewer contexts, then fresh samples of the best.

Which rounds there were is in ``RUN/screen.jsonl``, a line before each begins; the answers are in ``samples.parquet``.
A screening that was killed reads both and goes on where a context's answers are missing: what a round decides is
computed from the answers, so it decides the same. ``measure.screening`` holds the statistics.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from opsd_rs.base import add_rows, read_lines, write_lines, write_table, write_whole
from opsd_rs.config import Config, ContextConfig, config_names, load_context
from opsd_rs.errors import BadInput
from opsd_rs.measure import (
    CONTROL,
    Arms,
    Budget,
    Identity,
    Measurement,
    Round,
    Sample,
    Screened,
    arrange,
    base_identity,
    control,
    current,
    next_contexts,
    num_answers,
    num_rounds,
    screened,
    wall_seconds,
)
from opsd_rs.training import measured
from opsd_rs.training.columns import configuration_columns
from opsd_rs.training.gaps import contexts_of, engine_of, gate_of, known_samples, measuring
from opsd_rs.training.identity import gap_identity
from opsd_rs.training.prepare import dated
from opsd_rs.training.samples import keep_samples
from opsd_rs.training.session import Session


@dataclass(frozen=True)
class Limits:
    """Where a screening ends: at so many answers or minutes, or once the best is this sure.

    >>> Limits(samples=20_000).minutes is None
    True
    """

    samples: int | None = None
    minutes: float | None = None
    p_best: float | None = None


def screen_from_config(config: Config, limits: Limits, *, anyway: bool = False) -> Screened:
    """Screen ``gap.contexts``, or all built-in contexts; results in ``screen.parquet``, ``screen.json``, and the
    winner's row in ``gap.parquet``.

    :raises BadInput: a budget too small, fewer than two contexts, a control outside its gate
    """
    config = dated(config)
    contexts = contexts_of(config) or [
        load_context(name.rpartition("/")[2]) for name in config_names("contexts")
    ]
    if len(contexts) < 2:
        raise BadInput(
            "gap.contexts: screening compares two contexts or more; leave it empty for all that are built in"
        )
    if config.gap.baseline != "split":
        raise BadInput('gap.baseline = "paper": screening scores the student apart; use "split"')
    with measuring(config, contexts, "samples.parquet") as session:
        return Screening(session, contexts, limits, anyway=anyway).run()


class Screening:
    """One screening of a session."""

    def __init__(
        self, session: Session, contexts: Sequence[ContextConfig], limits: Limits, *, anyway: bool
    ) -> None:
        self._session = session
        self._limits = limits
        self._contexts = {context.name: context for context in contexts}
        # Rounds decide how many samples a context gets, so the number is not part of what they are samples of.
        self._identities = {c.name: replace(gap_identity(session, c), n=0) for c in contexts}
        self._base = base_identity(next(iter(self._identities.values())))
        self._gate = gate_of(session, anyway=anyway)
        self._path = session.run_dir / "screen.jsonl"
        config = session.config
        self._size = config.rollout.n
        self._bare = config.gap.baseline_samples * config.num_gap_groups * self._size
        self._arms = Arms(
            {problem.problem_id: problem for problem in session.train_problems},
            session.full_problems,
            self._size,
            keep=self._keep,
            samples=known_samples(session, self._base, self._identities),
            **engine_of(session),
        )
        self._per_group = len(session.train_problems) * self._size
        self._assemblers = {name: session.assembler_of(context) for name, context in self._contexts.items()}

    def run(self) -> Screened:
        """All rounds that the budget pays, then the winner's fresh samples."""
        say = self._session.progress.say
        rounds = self._known_rounds()
        if not rounds:
            self._check_budget()
        for number, round_ in enumerate(rounds, start=1):
            self._draw(round_, number)
        while (following := self._plan(rounds)) is not None:
            rounds.append(following)
            if self._session.ranks.first:
                line = {"measurement_id": self._base.short, **asdict(following)}
                write_lines(self._path, [*read_lines(self._path), line])
            self._draw(following, len(rounds))
            say(self._said(rounds))
        return self._finish(rounds)

    def _plan(self, rounds: Sequence[Round]) -> Round | None:
        """The next round; None at the end."""
        if not rounds:
            budget, num = self._budget(0.0, 0), len(self._contexts)
            # How many answers go into the minutes is known after the first round.
            groups = (
                1
                if self._limits.minutes is not None
                else budget.round_groups(num, num_rounds(num), budget.bare)
            )
            return Round(tuple(self._in_order(self._contexts)), 0, max(groups, 1))
        measured_now = self._measured()
        budget = self._budget(wall_seconds(measured_now), num_answers(measured_now))
        spent, last = num_answers(measured_now), rounds[-1]
        names, found = current(measured_now)
        sure = self._limits.p_best is not None and float(found.p_best.max()) >= self._limits.p_best
        if last.final and sure:
            return None
        if last.final:
            # A larger budget than before: the fresh samples join the search, among those that are not excluded.
            alive = [name for name, inside in zip(names, found.not_excluded(), strict=True) if inside]
            left = num_rounds(len(alive))
            groups = budget.round_groups(len(alive), left, spent) if len(alive) > 1 else 0
            return Round(tuple(self._in_order(alive)), last.last, groups) if groups else None
        places = next_contexts(found, [names.index(name) for name in last.contexts])
        alive = [names[place] for place in places]
        is_over = sure or len(last.contexts) <= 3
        groups = 0 if is_over else budget.round_groups(len(alive), num_rounds(len(last.contexts)) - 1, spent)
        if groups:
            return Round(tuple(self._in_order(alive)), last.last, groups)
        winner = next(name for name in alive if name != CONTROL)  # at least two are left
        groups = budget.final_groups(spent, early=sure)
        return Round((winner,), last.last, groups, final=True)

    def _budget(self, seconds: float, answers: int) -> Budget:
        """In answers; minutes count at the pace so far."""
        totals = [] if self._limits.samples is None else [float(self._limits.samples)]
        if self._limits.minutes is not None and answers:
            pace = answers / max(seconds, 1e-3)
            totals.append(answers + max(60 * self._limits.minutes - seconds, 0.0) * pace)
        bare = self._bare * len(self._session.train_problems)
        return Budget(self._per_group, bare, min(totals, default=float("inf")))

    def _check_budget(self) -> None:
        budget = self._budget(0.0, 0)
        least = budget.least(len(self._contexts))
        if self._limits.samples is not None and self._limits.samples < least:
            raise BadInput(
                f"--budget-samples {self._limits.samples}: {len(self._contexts)} contexts on"
                f" {len(self._session.train_problems)} problems need {least} answers for one round and the final"
                " samples; raise it, or lower gap.contexts, problems.limit or gap.baseline_samples"
            )

    def _draw(self, round_: Round, number: int) -> None:
        """What is missing of a round."""
        known = self._drawn()
        wanted = {
            (problem, sample)
            for problem in self._arms.train_problems
            for sample in range(round_.first * self._size, round_.last * self._size)
        }
        missing = [name for name in round_.contexts if not wanted <= known.get(("T", name), set())]
        bare = {(p, s) for p in self._arms.train_problems for s in range(self._bare)}
        prompt = self._session.assembler.student_prompt
        if not bare <= known.get(("B", ""), set()):
            self._arms.bare(prompt, self._bare)
        if not missing:
            self._judge(round_)
            return
        title = "final samples" if round_.final else f"round {number}"
        self._session.progress.say(
            f"{title}: {len(round_.contexts)} context{'s' if len(round_.contexts) > 1 else ''}, {round_.groups} x"
            f" {self._size} answers to each of {len(self._arms.train_problems)} problems"
            + (f", {len(missing)} left to draw" if len(missing) < len(round_.contexts) else "")
        )
        if CONTROL not in missing:
            self._judge(round_)
        of = self._arms.student(prompt, round_.first * self._size, round_.last * self._size, fully=True)
        for place, name in enumerate(missing, start=1):
            self._arms.teacher(name, self._assemblers[name], of)
            self._session.progress.say(f"{title}: {place}/{len(missing)} {name}")
            if name == CONTROL:
                self._judge(round_)

    def _judge(self, round_: Round) -> None:
        """The control's gate, after its first groups."""
        if round_.first == 0 and CONTROL in round_.contexts:
            found = control(self._measured())
            if found is not None:
                self._gate(found)
        elif round_.first == 0:
            self._session.progress.say(
                "control: none is not among the contexts, so nothing checks the harness"
            )

    def _said(self, rounds: Sequence[Round]) -> str:
        found = screened(self._measured(), rounds)
        first = found.rows[0]
        left = sum(row.not_excluded for row in found.rows)
        return (
            f"best {first.context}: gap {100 * first.gap:+.1f} pp ({first.estimate}, SE {100 * first.gap_se_cond:.1f}),"
            f" P(best) {first.p_best:.2f}, {left} not excluded; {found.samples:,} answers, {found.minutes:.1f} minutes"
        )

    def _finish(self, rounds: Sequence[Round]) -> Screened:
        session = self._session
        hashes = {name: context.sha256 for name, context in self._contexts.items()}
        found = screened(self._measured(), rounds, context_sha256=hashes)
        if session.ranks.first:
            run_dir = session.run_dir
            columns = {name: configuration_columns(session, self._contexts[name]) for name in self._contexts}
            student = found.rows[0].acc_teacher - found.rows[0].gap_raw
            write_table(
                run_dir / "screen.parquet",
                [{**columns[row.context], **asdict(row), "acc_student_gap": student} for row in found.rows],
            )
            write_whole(run_dir / "screen.json", json.dumps(asdict(found), indent=1).encode() + b"\n")
            if found.fresh is not None:
                row = found.fresh
                identity = replace(gap_identity(session, self._contexts[found.winner]), n=row.k_gap)
                known = measured.read_gap_rows(run_dir / "gap.parquet")
                if measured.matching(known, row.context, identity) is None:
                    columns[row.context] |= {"k_gap": row.k_gap, "gap_groups": row.gap_groups}
                    add_rows(
                        run_dir / "gap.parquet", [measured.gap_row(row, columns[row.context], identity, None)]
                    )
        session.ranks.barrier()
        return found

    def _known_rounds(self) -> list[Round]:
        lines = [line for line in read_lines(self._path) if line.pop("measurement_id") == self._base.short]
        rounds = [Round(**{**line, "contexts": tuple(line["contexts"])}) for line in lines]
        self._session.ranks.barrier()
        if rounds and set(rounds[0].contexts) != set(self._contexts):
            there = ", ".join(rounds[0].contexts)
            raise BadInput(
                f"{self._path}: this folder screens other contexts ({there}); name another run.dir, or the same"
                " contexts"
            )
        return rounds

    def _drawn(self) -> Mapping[tuple[str, str], set[tuple[str, int]]]:
        found: dict[tuple[str, str], set[tuple[str, int]]] = {}
        for sample in self._arms.samples:
            found.setdefault((sample.arm, sample.context), set()).add((sample.problem_id, sample.sample))
        return found

    def _measured(self) -> Measurement:
        found = arrange(self._arms.samples, group_size=self._size)
        assert found is not None
        return found

    @staticmethod
    def _in_order(names: Sequence[str] | Mapping[str, Any]) -> list[str]:
        """The control first: its gate comes before anything is spent on the others."""
        return sorted(names, key=lambda name: name != CONTROL)

    def _keep(self, samples: Sequence[Sample]) -> None:
        name = samples[0].context
        identity: Identity = self._identities[name] if name else self._base
        keep_samples(self._session, samples, identity)
