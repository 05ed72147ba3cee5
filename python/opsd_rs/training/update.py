"""One outer step's update: the forwards that the objective needs, its loss, and AdamW, mini-batch by mini-batch.

In: rollouts packed as each side reads them. Out: numbers for ``metrics.jsonl``. Rows that the objective does not train
cost no forward; they still count among a mini-batch's rows.

Shapes: T completion tokens of a micro-batch, V vocabulary.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from opsd_rs.base import Bools, Ranks
from opsd_rs.config import Config
from opsd_rs.context import student_batch
from opsd_rs.errors import Stopped
from opsd_rs.loss import MicroBatch, Objective, RolloutBatch, logprobs_at
from opsd_rs.policy import Student, Teacher
from opsd_rs.records import Grade, Rollout, TeacherContext


def pack_rollouts(
    rollouts: Sequence[Rollout], grades: Sequence[Grade], contexts: Sequence[TeacherContext]
) -> RolloutBatch:
    """A step's rows: what the student and what the teacher reads, in order; ``dropped`` rows left out.

    ``contexts`` are rows of one packed batch, as the assembler makes them.
    """
    teacher = contexts[0].batch
    assert teacher is not None
    assert all(context.batch is teacher for context in contexts)
    kept = [i for i, context in enumerate(contexts) if context.status != "dropped"]
    return RolloutBatch(
        student=student_batch([rollouts[i] for i in kept]),
        teacher=teacher.rows([contexts[i].row for i in kept]),
        grades=tuple(grades[i] for i in kept),
    )


@dataclass
class Sums:
    """What a step adds up over micro-batches and ranks."""

    loss: float = 0.0
    tokens: int = 0
    metrics: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    """The objective's, summed over tokens."""
    grad_norms: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class _Step:
    """What the parts of an update share."""

    student: Student
    teacher: Teacher
    objective: Objective
    rows: RolloutBatch
    trained: Bools
    """Per row: whether it enters the loss."""
    config: Config
    ranks: Ranks

    def trained_of(self, mini_batch: Sequence[int]) -> list[int]:
        """The rows of a mini-batch that enter the loss."""
        return [row for row in mini_batch if self.trained[row]]


def distill(
    student: Student,
    teacher: Teacher,
    objective: Objective,
    rows: RolloutBatch,
    config: Config,
    ranks: Ranks,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, float | int | None]:
    """Update the student once per mini-batch of prompts; all ranks call it with the same rows.

    Raises ``Stopped`` on a loss or gradient norm that is not finite, before the optimizer has used it.
    """
    trained = objective.trained_rows(rows) & (rows.student.completion_lengths > 0)
    step = _Step(student, teacher, objective, rows, trained, config, ranks)
    batches = _mini_batches(rows.grades, config.train.mini_batch_prompts)
    trained_batches = [batch for batch in batches if step.trained_of(batch)]
    # With a single update the policy now is the policy at the start: no pass for the old log-probs is needed.
    needs_old = len(trained_batches) > 1 and "old_logprobs" in objective.needs
    old = _start_logprobs(step, trained_batches) if needs_old else None
    sums = Sums()
    for done, batch in enumerate(trained_batches):
        progress(done, len(trained_batches))
        _accumulate(step, batch, old, sums)
        norm = student.step()
        if not math.isfinite(norm):
            raise Stopped(
                f"gradient norm is {norm} after {student.num_optimizer_steps} optimizer steps: nothing past the last"
                ' checkpoint is kept; lower optim.lr, or try model.dtype = "float32"'
            )
        sums.grad_norms.append(norm)
    progress(len(trained_batches), len(trained_batches))
    return _numbers(sums, len(batches), ranks)


def _mini_batches(grades: Sequence[Grade], prompts: int) -> list[list[int]]:
    """Rows of ``prompts`` problems at a time, in order; a problem's rollouts stay together."""
    groups: dict[str, list[int]] = {}
    for row, grade in enumerate(grades):
        groups.setdefault(grade.problem_id, []).append(row)
    blocks = list(groups.values())
    return [
        [row for group in blocks[i : i + prompts] for row in group] for i in range(0, len(blocks), prompts)
    ]


def _micro_batches(step: _Step, batch: Sequence[int]) -> list[list[int]]:
    """This rank's trained rows in micro-batches. All ranks get equally many: ZeRO-3 gathers weights in each forward,
    so a rank without rows repeats one whose loss is multiplied by 0 (an empty list stands for that)."""
    size, ranks = step.config.train.micro_batch_rows, step.ranks
    # Rows of like length together waste the least padding; the order is a function of the rows alone.
    lengths = step.rows.teacher.lengths
    trained = sorted(step.trained_of(batch), key=lambda row: -int(lengths[row]))
    shares = [trained[rank :: ranks.world_size] for rank in range(ranks.world_size)]
    count = max(math.ceil(len(share) / size) for share in shares)
    mine = shares[ranks.rank]
    return [mine[i * size : (i + 1) * size] for i in range(count)]


def _accumulate(step: _Step, batch: Sequence[int], old: dict[int, Tensor] | None, sums: Sums) -> None:
    """Forward and backward of one mini-batch: the sum of the shares is its loss, whatever the micro-batches."""
    student, objective, trained = step.student, step.objective, step.trained_of(batch)
    num_tokens = int(step.rows.student.completion_lengths[trained].sum())
    micro = _micro_batches(step, batch)
    for i, indices in enumerate(micro):
        weight, indices = (1.0, indices) if indices else (0.0, trained[:1])
        rows = step.rows.rows(indices)
        needs_teacher = "teacher" in objective.needs
        teacher_logits_TV = step.teacher.logits(rows.teacher) if needs_teacher else None
        logprobs = rows.student.logprobs
        out = objective.loss(
            MicroBatch(
                rows=rows,
                student_logits_TV=student.logits(rows.student),
                teacher_logits_TV=teacher_logits_TV,
                completion_ids_T=_tensor(rows.student.completion_ids, student),
                row_T=_tensor(rows.student.completion_rows, student),
                rollout_logprobs_T=None if logprobs is None else _tensor(logprobs, student),
                old_logprobs_T=None if old is None else torch.cat([old[row] for row in indices]),
                temperature=step.config.rollout.temperature,
                num_tokens=num_tokens,
                num_rows=len(batch),
            )
        )
        # Every rank must learn of a bad loss, or the others would wait in the next collective for ever.
        if step.ranks.any(not bool(torch.isfinite(out.loss))):
            raise Stopped(
                f"loss is not finite in mini-batch after {student.num_optimizer_steps} optimizer steps: nothing past"
                " the last checkpoint is kept; lower optim.lr or look at the step's rollouts"
            )
        student.backward(out.loss * weight, last=i == len(micro) - 1)
        if weight:
            sums.loss += float(out.loss.detach())
            sums.tokens += int(rows.student.completion_lengths.sum())
            for name, value in out.token_sums.items():
                sums.metrics[name] += float(value)


def _tensor(array: NDArray[Any], student: Student) -> Tensor:
    return torch.from_numpy(array).to(student.device)


@torch.no_grad()
def _start_logprobs(step: _Step, batches: Sequence[Sequence[int]]) -> dict[int, Tensor]:
    """Each trained row's log-probs before the step's first update, by the row's index."""
    found: dict[int, Tensor] = {}
    for batch in batches:
        for indices in _micro_batches(step, batch):
            read = indices or step.trained_of(batch)[:1]
            rows = step.rows.student.rows(read)
            logits_TV = step.student.logits(rows) / step.config.rollout.temperature
            target_T1 = _tensor(rows.completion_ids, step.student).unsqueeze(-1)
            logprob_T = logprobs_at(logits_TV, target_T1).squeeze(-1)
            parts = torch.split(logprob_T, rows.completion_lengths.tolist())
            found |= dict(zip(read, parts, strict=True))
    return found


def _numbers(sums: Sums, num_batches: int, ranks: Ranks) -> dict[str, float | int | None]:
    """Means over all ranks; None where nothing was trained (JSON has no NaN)."""
    everyone = ranks.gather([sums])
    tokens = sum(s.tokens for s in everyone)
    updates = len(sums.grad_norms)
    if tokens == 0:
        return {"loss": None, "kl": None, "grad_norm": None, "updates": 0, "trained_tokens": 0}
    names = dict.fromkeys(name for s in everyone for name in s.metrics)
    means = {name: sum(s.metrics.get(name, 0.0) for s in everyone) / tokens for name in names}
    return {
        "loss": sum(s.loss for s in everyone) / updates,
        "kl": means.pop("kl", None),
        "grad_norm": sum(sums.grad_norms) / updates,
        "updates": updates,
        "updates_skipped": num_batches - updates,
        "trained_tokens": tokens,
        **means,
    }
