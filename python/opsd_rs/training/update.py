"""The mathematics of one outer step: both sides read each completion, the loss joins them, AdamW moves the student.

In: rollouts with their teacher contexts. Out: numbers for ``metrics.jsonl``. Rows without context leave the loss;
they cost no forward, and under ``loss.aggregate = "sdpo"`` they still count in the denominator.

Shapes: T completion tokens of a micro-batch, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from opsd_rs.base import Ranks
from opsd_rs.config import Config
from opsd_rs.errors import Stopped
from opsd_rs.loss import logprobs_at, opsd_loss
from opsd_rs.policy import Batch, Student, Teacher
from opsd_rs.records import Rollout, TeacherContext


@dataclass(frozen=True)
class Row:
    """One rollout beside what the teacher reads before it."""

    rollout: Rollout
    context: TeacherContext

    @property
    def trained(self) -> bool:
        """Whether the row enters the loss: it has context and says something."""
        return self.context.has_context and len(self.rollout.completion_ids) > 0


@dataclass
class Sums:
    """What a step adds up over micro-batches and ranks."""

    loss: float = 0.0
    kl: float = 0.0
    tokens: int = 0
    topk_mass: float = 0.0
    rollout_difference: float = 0.0
    """Sum of |trainer - sampler| log-probs: large where the two disagree about the policy."""
    grad_norms: list[float] = field(default_factory=list)


def distill(
    student: Student,
    teacher: Teacher,
    rows: Sequence[Row],
    config: Config,
    ranks: Ranks,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, float | int | None]:
    """Update the student once per mini-batch of prompts; all ranks call it with the same rows.

    Raises ``Stopped`` on a loss or gradient norm that is not finite, before the optimizer has used it.
    """
    batches = _mini_batches(rows, config.train.mini_batch_prompts)
    trained_batches = [batch for batch in batches if any(row.trained for row in batch)]
    # With a single update the policy now is the policy at the start: no pass for the old log-probs is needed.
    needs_old = len(trained_batches) > 1 and config.loss.is_clip is not None
    old = _start_logprobs(student, trained_batches, config, ranks) if needs_old else None
    sums = Sums()
    for done, batch in enumerate(trained_batches):
        progress(done, len(trained_batches))
        _accumulate(student, teacher, batch, config, ranks, old, sums)
        norm = student.step()
        if not math.isfinite(norm):
            raise Stopped(
                f"gradient norm is {norm} after {student.num_optimizer_steps} optimizer steps: nothing past the last"
                ' checkpoint is kept; lower optim.lr, or try model.dtype = "float32"'
            )
        sums.grad_norms.append(norm)
    progress(len(trained_batches), len(trained_batches))
    return _numbers(sums, len(batches), ranks)


def _mini_batches(rows: Sequence[Row], prompts: int) -> list[list[Row]]:
    """Rows of ``prompts`` problems at a time, in order; a problem's rollouts stay together."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.rollout.problem_id, []).append(row)
    blocks = list(groups.values())
    return [
        [row for group in blocks[i : i + prompts] for row in group] for i in range(0, len(blocks), prompts)
    ]


def _micro_batches(batch: Sequence[Row], size: int, ranks: Ranks) -> list[list[Row]]:
    """This rank's trained rows in micro-batches. All ranks get equally many: ZeRO-3 gathers weights in each forward,
    so a rank without rows repeats one whose loss is multiplied by 0 (an empty list stands for that)."""
    trained = [row for row in batch if row.trained]
    # Rows of like length together waste the least padding; the order is a function of the rows alone.
    trained.sort(key=lambda row: -len(row.context.prompt_ids) - len(row.rollout.completion_ids))
    shares = [trained[rank :: ranks.world_size] for rank in range(ranks.world_size)]
    count = max(math.ceil(len(share) / size) for share in shares)
    mine = shares[ranks.rank]
    return [mine[i * size : (i + 1) * size] for i in range(count)]


def _accumulate(
    student: Student,
    teacher: Teacher,
    batch: Sequence[Row],
    config: Config,
    ranks: Ranks,
    old: dict[int, Tensor] | None,
    sums: Sums,
) -> None:
    """Forward and backward of one mini-batch: the sum of the shares is its loss, whatever the micro-batches."""
    num_tokens = sum(len(row.rollout.completion_ids) for row in batch if row.trained)
    micro = _micro_batches(batch, config.train.micro_batch_rows, ranks)
    dummy = next(row for row in batch if row.trained)
    for i, rows in enumerate(micro):
        weight, rows = (1.0, rows) if rows else (0.0, [dummy])
        ours = _student_batch(rows, student)
        theirs = Batch.of(
            [row.context.prompt_ids for row in rows],
            [row.rollout.completion_ids for row in rows],
            student.device,
        )
        teacher_logits_TV = teacher.logits(theirs.input_ids_BL, theirs.attention_mask_BL, theirs.index_T)
        student_logits_TV = student.logits(ours)
        rollout_logprobs_T = torch.tensor(
            [p for row in rows for p in row.rollout.logprobs], device=student.device
        )
        out = opsd_loss(
            student_logits_TV,
            teacher_logits_TV,
            ours.target_T,
            torch.ones_like(ours.target_T, dtype=torch.bool),
            ours.row_T,
            rollout_logprobs_T,
            None if old is None else torch.cat([old[id(row)] for row in rows]),
            config=config.loss,
            num_tokens=num_tokens,
            num_rows=len(batch),
            temperature=config.rollout.temperature,
        )
        # Every rank must learn of a bad loss, or the others would wait in the next collective for ever.
        if ranks.any(not bool(torch.isfinite(out.loss))):
            raise Stopped(
                f"loss is not finite in mini-batch after {student.num_optimizer_steps} optimizer steps: nothing past"
                " the last checkpoint is kept; lower optim.lr or look at the step's rollouts"
            )
        student.backward(out.loss * weight, last=i == len(micro) - 1)
        if weight:
            sums.loss += float(out.loss.detach())
            sums.kl += float(out.kl_T.sum())
            sums.tokens += out.kl_T.numel()
            sums.topk_mass += float(out.topk_mass_T.sum())
            sums.rollout_difference += float((out.student_logprob_T - rollout_logprobs_T).abs().sum())


def _student_batch(rows: Sequence[Row], student: Student) -> Batch:
    return Batch.of(
        [row.rollout.prompt_ids for row in rows], [row.rollout.completion_ids for row in rows], student.device
    )


def _start_logprobs(
    student: Student, batches: Sequence[Sequence[Row]], config: Config, ranks: Ranks
) -> dict[int, Tensor]:
    """Each trained row's log-probs before the step's first update, by the row's identity."""
    found: dict[int, Tensor] = {}
    for batch in batches:
        dummy = next(row for row in batch if row.trained)
        for rows in _micro_batches(batch, config.train.micro_batch_rows, ranks):
            read = rows or [dummy]
            inputs = _student_batch(read, student)
            logits_TV = student.logits_no_grad(inputs) / config.rollout.temperature
            logprob_T = logprobs_at(logits_TV, inputs.target_T.unsqueeze(-1)).squeeze(-1)
            lengths = [len(row.rollout.completion_ids) for row in read]
            for row, logprobs in zip(read, torch.split(logprob_T, lengths), strict=True):
                found[id(row)] = logprobs
    return found


def _numbers(sums: Sums, num_batches: int, ranks: Ranks) -> dict[str, float | int | None]:
    """Means over all ranks; None where nothing was trained (JSON has no NaN)."""
    everyone = ranks.gather([sums])
    tokens = sum(s.tokens for s in everyone)
    updates = len(sums.grad_norms)
    if tokens == 0:
        return {"loss": None, "kl": None, "grad_norm": None, "updates": 0, "trained_tokens": 0}
    return {
        "loss": sum(s.loss for s in everyone) / updates,
        "kl": sum(s.kl for s in everyone) / tokens,
        "grad_norm": sum(sums.grad_norms) / updates,
        "updates": updates,
        "updates_skipped": num_batches - updates,
        "trained_tokens": tokens,
        "topk_mass": sum(s.topk_mass for s in everyone) / tokens,
        "rollout_logprob_difference": sum(s.rollout_difference for s in everyone) / tokens,
    }
