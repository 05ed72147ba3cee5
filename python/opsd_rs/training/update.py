"""One outer step's update: the forwards that the objective needs, its loss, and AdamW, mini-batch by mini-batch.

In: rollouts packed as each side reads them. Out: numbers for ``metrics.jsonl``. Rows that the objective does not train
cost no forward; they still count among a mini-batch's rows.

The teacher does not change within a step, so it scores the rows of as many mini-batches at once as there is memory for
its hidden states (``scoring``); the student then meets these states in its own micro-batches.

Shapes: T completion tokens of a micro-batch, D hidden size.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from opsd_rs.base import Ranks
from opsd_rs.config import Config
from opsd_rs.context import student_batch
from opsd_rs.errors import Stopped
from opsd_rs.loss import MicroBatch, Objective, ObjectiveLoss, OutputHead, Predictions, RolloutBatch
from opsd_rs.policy import ExternalTeacher, HeadParts, Student, Teacher
from opsd_rs.records import Grade, Rollout, TeacherContext
from opsd_rs.training.scoring import (
    Pass,
    Scores,
    Step,
    external_predictions,
    groups,
    micro_batches_of,
    mixed_logits,
    start_logprobs,
    student_under_contexts,
    teacher_scores,
)
from opsd_rs.training.token_kl import TokenKl, kept_rollouts


def pack_rollouts(
    rollouts: Sequence[Rollout], grades: Sequence[Grade], contexts: Sequence[TeacherContext]
) -> RolloutBatch:
    """A step's rows: what the student and what the teacher reads, in order; ``dropped`` rows left out.

    ``contexts`` are rows of one packed batch, as the assembler makes them; or have none, as ``without_contexts`` does.
    """
    teacher = contexts[0].batch
    assert all(context.batch is teacher for context in contexts)
    kept = kept_rollouts(contexts)
    student = student_batch([rollouts[i] for i in kept])
    return RolloutBatch(
        student=student,
        teacher=replace(student, has_context=np.zeros(len(kept), np.bool_))
        if teacher is None
        else teacher.rows([contexts[i].row for i in kept]),
        grades=tuple(grades[i] for i in kept),
    )


@dataclass
class Sums:
    """What a step adds up over micro-batches and ranks."""

    loss: float = 0.0
    tokens: int = 0
    metrics: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    """The objective's, summed over tokens."""
    counts: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    """Over how many tokens each of them is."""
    grad_norms: list[float] = field(default_factory=list)


def distill(
    student: Student,
    teacher: Teacher,
    objective: Objective,
    rows: RolloutBatch,
    config: Config,
    ranks: Ranks,
    progress: Callable[[int, int], None] = lambda done, total: None,
    token_kl: TokenKl | None = None,
    external: ExternalTeacher | None = None,
) -> dict[str, float | int | None]:
    """Update the student once per mini-batch of prompts; all ranks call it with the same rows.

    ``external`` is there where the objective needs ``external_teacher``.

    Raises ``Stopped`` on a loss or gradient norm that is not finite, before the optimizer has used it.

    :param token_kl: takes the divergence of each trained token, as the loss found it
    """
    trained = objective.trained_rows(rows) & (rows.student.completion_lengths > 0)
    step = Step(student, teacher, objective, rows, trained, config, ranks, external)
    batches = _mini_batches(rows.grades, config.train.mini_batch_prompts)
    trained_batches = [batch for batch in batches if step.trained_of(batch)]
    # With a single update the policy now is the policy at the start: no pass for the old log-probs is needed.
    needs_old = len(trained_batches) > 1 and "old_logprobs" in objective.needs
    passes = [part for batch in trained_batches for part in micro_batches_of(step, batch)]
    old = start_logprobs(step, passes) if needs_old else None
    sums, done = Sums(), 0
    progress(done, len(trained_batches))
    for group in groups(step, passes):
        scores = teacher_scores(step, group)
        for part in group:
            _accumulate(step, part, scores, old, sums, token_kl)
            if part.last:
                sums.grad_norms.append(_optimizer_step(student))
                done += 1
                progress(done, len(trained_batches))
        teacher.release()
    if token_kl is not None:
        token_kl.gather(ranks)
    return _numbers(sums, len(batches), ranks)


def _optimizer_step(student: Student) -> float:
    norm = student.step()
    if not math.isfinite(norm):
        raise Stopped(
            f"gradient norm is {norm} after {student.num_optimizer_steps} optimizer steps: nothing past the last"
            ' checkpoint is kept; lower optim.lr, or try model.dtype = "float32"'
        )
    return norm


def _mini_batches(grades: Sequence[Grade], prompts: int) -> list[list[int]]:
    """Rows of ``prompts`` problems at a time, in order; a problem's rollouts stay together."""
    groups: dict[str, list[int]] = {}
    for row, grade in enumerate(grades):
        groups.setdefault(grade.problem_id, []).append(row)
    blocks = list(groups.values())
    return [
        [row for group in blocks[i : i + prompts] for row in group] for i in range(0, len(blocks), prompts)
    ]


def _accumulate(
    step: Step,
    part: Pass,
    scores: Scores | None,
    old: dict[int, Tensor] | None,
    sums: Sums,
    token_kl: TokenKl | None,
) -> None:
    """Forward and backward of one micro-batch: the sum of the shares is a mini-batch's loss, however it is divided."""
    student, objective = step.student, step.objective
    rows = step.rows.rows(part.rows)
    tokens = rows.student
    logprobs = tokens.logprobs
    found: list[ObjectiveLoss] = []
    other = external_predictions(step, rows)
    mixed = None if scores is None else student_under_contexts(step, part)

    def loss(hidden_TD: Tensor, head: HeadParts) -> Tensor:
        taught = None if scores is None else scores.predictions(part.rows, hidden_TD)
        if taught is not None and mixed is not None:
            taught = mixed_logits(taught, Predictions(mixed, OutputHead(*head)), step.config.teacher.rate)
        batch = MicroBatch(
            rows=rows,
            student=Predictions(hidden_TD, OutputHead(*head)),
            teacher=taught,
            external=other,
            completion_ids_T=step.tensor(tokens.completion_ids),
            row_T=step.tensor(tokens.completion_rows),
            rollout_logprobs_T=None if logprobs is None else step.tensor(logprobs),
            old_logprobs_T=None if old is None else torch.cat([old[row] for row in part.rows]),
            temperature=step.config.rollout.temperature,
            num_tokens=part.num_tokens,
            num_rows=part.num_rows,
            mini_batch=part.mini_batch,
            places=part.places,
        )
        found.append(objective.loss(batch))
        return found[0].loss

    total = student.read(tokens, loss)
    # Every rank must learn of a bad loss, or the others would wait in the next collective for ever.
    if step.ranks.any(not bool(torch.isfinite(total))):
        raise Stopped(
            f"loss is not finite in mini-batch after {student.num_optimizer_steps} optimizer steps: nothing past"
            " the last checkpoint is kept; lower optim.lr or look at the step's rollouts"
        )
    student.backward(total * (1.0 if part.counts else 0.0), last=part.last)
    if part.counts:
        sums.loss += float(total.detach())
        sums.tokens += int(tokens.completion_lengths.sum())
        for name, value in found[0].token_sums.items():
            sums.metrics[name] += float(value)
            sums.counts[name] += found[0].token_counts.get(name, int(tokens.completion_lengths.sum()))
        if token_kl is not None and found[0].token_kl_T is not None:
            token_kl.add(part.rows, found[0].token_kl_T, step.rows.student.completion_lengths)


def _numbers(sums: Sums, num_batches: int, ranks: Ranks) -> dict[str, float | int | None]:
    """Means over all ranks; None where nothing was trained (JSON has no NaN)."""
    everyone = ranks.gather([sums])
    tokens = sum(s.tokens for s in everyone)
    updates = len(sums.grad_norms)
    if tokens == 0:
        return {"loss": None, "kl": None, "grad_norm": None, "updates": 0, "trained_tokens": 0}
    names = dict.fromkeys(name for s in everyone for name in s.metrics)
    counts = {name: sum(s.counts.get(name, 0) for s in everyone) for name in names}
    means = {name: sum(s.metrics.get(name, 0.0) for s in everyone) / max(1, counts[name]) for name in names}
    return {
        "loss": sum(s.loss for s in everyone) / updates,
        "kl": means.pop("kl", None),
        "grad_norm": sum(sums.grad_norms) / updates,
        "updates": updates,
        "updates_skipped": num_batches - updates,
        "trained_tokens": tokens,
        **means,
    }
