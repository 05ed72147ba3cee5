"""A second objective plugs in by name: cross entropy on the completions of rollouts that passed, defined here.

This file is the plugin: the runs below name it by ``file.py:CrossEntropy`` or ``module:CrossEntropy``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
import torch
from engines import pair
from opsd_rs.base import Batch, Bools, Ranks, read_lines, read_table
from opsd_rs.config import Section, load_config
from opsd_rs.loss import MicroBatch, Objective, ObjectiveLoss, RolloutBatch, make_objective
from opsd_rs.policy import Student, Teacher
from opsd_rs.records import Grade
from opsd_rs.training.update import distill

pytestmark = [pytest.mark.samples_model, pytest.mark.usefixtures("left_ranks")]

NAME = f"{__file__}:CrossEntropy"
SMALL = ["smoke", "model.dtype=float32", "optim.lr=1e-3", "optim.eps=1e-2", "train.micro_batch_tokens=14"]


class CrossEntropy(Objective):
    """Supervised: needs no teacher."""

    class Options(Section):
        passed_only: bool = True
        label_smoothing: float = 0.0

    options: Options

    def trained_rows(self, rows: RolloutBatch) -> Bools:
        passed = np.array([grade.passed is True for grade in rows.grades], np.bool_)
        return passed if self.options.passed_only else np.ones_like(passed)

    def loss(self, batch: MicroBatch) -> ObjectiveLoss:
        assert batch.teacher_logits_TV is None
        assert batch.old_logprobs_T is None
        loss_T = torch.nn.functional.cross_entropy(
            batch.student_logits_TV.float(),
            batch.completion_ids_T,
            reduction="none",
            label_smoothing=self.options.label_smoothing,
        )
        return ObjectiveLoss(loss_T.sum() / batch.num_tokens, {"cross_entropy": loss_T.detach().sum()})


class AllForwards(Objective):
    """Asks for everything and keeps what it was given."""

    needs = frozenset({"teacher", "old_logprobs"})
    seen: list[MicroBatch] = []  # noqa: RUF012

    def loss(self, batch: MicroBatch) -> ObjectiveLoss:
        self.seen.append(batch)
        return ObjectiveLoss(batch.student_logits_TV.logsumexp(-1).sum() / batch.num_tokens)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_models.tiny(tmp_path_factory.mktemp("models") / "tiny", "llama"))


def step_rows() -> RolloutBatch:
    """Two problems; of each one rollout passed and one did not, one has context and one has none."""
    completions = [[11, 12, 13], [21, 22], [31], [41, 42, 43, 44]]
    return RolloutBatch(
        student=Batch.of([[3, 4]] * 4, completions),
        teacher=Batch.of([[3, 9, 4]] * 4, completions, has_context=[True, False, True, False]),
        grades=tuple(Grade(f"p{i // 2}", i % 2, i % 2 == 0, "accepted", ()) for i in range(4)),
    )


def trained(model: str, *overrides: str) -> tuple[list[dict[str, Any]], Student, Teacher]:
    config = load_config(SMALL[:1], [*SMALL[1:], *overrides])
    student, teacher = pair(config, model)
    objective = make_objective(config)
    return (
        [distill(student, teacher, objective, step_rows(), config, Ranks()) for _ in range(3)],
        student,
        teacher,
    )


def test_cross_entropy_trains_on_what_passed(tiny: str) -> None:
    found, student, _ = trained(tiny, f"objective={NAME}")
    assert [numbers["trained_tokens"] for numbers in found] == [4] * 3  # of rollouts 0 and 2
    assert found[0]["kl"] is None
    assert found[0]["cross_entropy"] > found[1]["cross_entropy"] > found[2]["cross_entropy"]
    assert student.num_optimizer_steps == 6


def test_its_own_keys_have_their_effect(tiny: str) -> None:
    plain, *_ = trained(tiny, f"objective={NAME}", "objective.passed_only=false")
    smooth, *_ = trained(
        tiny, f"objective={NAME}", "objective.passed_only=false", "objective.label_smoothing=0.5"
    )
    assert plain[0]["trained_tokens"] == 10
    assert plain[2]["loss"] != pytest.approx(smooth[2]["loss"], rel=1e-3)


def test_an_objective_gets_the_forwards_it_needs(tiny: str) -> None:
    spec = f"{__file__}:AllForwards"
    config = load_config(SMALL[:1], [*SMALL[1:], f"objective={spec}", "train.mini_batch_prompts=1"])
    student, teacher = pair(config, tiny)
    objective = make_objective(config)
    assert not isinstance(objective, AllForwards)  # the file was run under a name of its own
    distill(student, teacher, objective, step_rows(), config, Ranks())
    first, second = type(objective).seen  # type: ignore[attr-defined]  # a micro-batch per problem's only row
    for batch, tokens in ((first, [11, 12, 13]), (second, [31])):
        assert batch.completion_ids_T.tolist() == tokens
        assert batch.row_T.tolist() == [0] * len(tokens)
        assert batch.teacher_logits_TV.shape == batch.student_logits_TV.shape
        assert batch.student_logits_TV.requires_grad
        assert not batch.teacher_logits_TV.requires_grad
        assert batch.old_logprobs_T.shape == batch.completion_ids_T.shape
        assert (batch.num_tokens, batch.num_rows) == (len(tokens), 2)
        assert batch.rollout_logprobs_T is None


@pytest.mark.slow
@pytest.mark.sandbox
def test_the_loop_runs_with_it(tmp_path: Path) -> None:
    """The real command; nothing of the loop knows the objective, here named by module."""
    folders = [str(Path(__file__).parent), str(Path(tiny_models.__file__).parent)]
    path = os.pathsep.join([*folders, *filter(None, [os.environ.get("PYTHONPATH")])])
    model = tiny_models.tiny(tmp_path / "tiny", "qwen3")
    words = [
        *SMALL,
        "objective=test_objectives:CrossEntropy",
        "objective.passed_only=false",  # a model of random weights passes nothing
        f"model.path={model}",
        f"run.dir={tmp_path / 'run'}",
        "rollout.engine=hf",
        "rollout.max_tokens=8",
        "problems.limit=2",
        "eval.n=1",
        "gap.n=2",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "opsd_rs.cli", "train", *words],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = read_lines(tmp_path / "run" / "metrics.jsonl")
    assert len(lines) == 2
    for line in lines:
        assert line["kl"] is None
        assert line["cross_entropy"] > 1.0
        assert line["updates"] == 2
    (row,) = read_table(tmp_path / "run" / "runs.parquet")
    assert row["recipe_id"].startswith("test_objectives:CrossEntropy-ema0.05-lr")  # [loss] was not read
    assert '"label_smoothing": 0.0' in (tmp_path / "run" / "config.json").read_text()
