"""The divergence kept per token: by either way through an update the value of the formula, in the rollouts' order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars
import pytest
import tiny_models
import torch
from engines import pair
from opsd_rs.base import Batch, Ranks
from opsd_rs.config import Config
from opsd_rs.loss import RolloutBatch, make_objective
from opsd_rs.loss import objectives as objectives_module
from opsd_rs.policy import student as student_module
from opsd_rs.records import Grade, Rollout, TeacherContext
from opsd_rs.training.record import rollout_table
from opsd_rs.training.token_kl import TokenKl
from opsd_rs.training.update import distill
from transformers import AutoModelForCausalLM
from update_paths import config_of, random_model, recorded

pytestmark = [pytest.mark.samples_model, pytest.mark.usefixtures("left_ranks", "released")]
TEMPERATURE = 0.7


def sharp_model(folder: Path) -> str:
    """A random model whose answers depend on what it reads."""
    return str(tiny_models.sharpened(Path(random_model(folder, "llama"))))


def logprobs(model: torch.nn.Module, batch: Batch, row: int) -> torch.Tensor:
    """Of every token of the vocabulary, at each completion token of one row alone."""
    ids = torch.tensor([batch.prompt(row).tolist() + batch.completion(row).tolist()])
    count = len(batch.completion(row))
    with torch.no_grad():
        logits = model(input_ids=ids).logits[0, -count - 1 : -1].double()
    return torch.log_softmax(logits / TEMPERATURE, dim=-1)


def by_formula(model_dir: str, rows: RolloutBatch, topk: int) -> list[np.ndarray]:
    """KL(student || teacher) over the student's most probable tokens and one bucket for the others, by hand."""
    model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32).eval()
    found = []
    for row in range(len(rows)):
        student, teacher = (logprobs(model, side, row) for side in (rows.student, rows.teacher))
        ids = student.topk(topk, dim=-1).indices
        p, q = student.gather(-1, ids).exp(), teacher.gather(-1, ids).exp()
        p = torch.cat([p, 1 - p.sum(-1, keepdim=True)], dim=-1)
        q = torch.cat([q, 1 - q.sum(-1, keepdim=True)], dim=-1)
        found.append((p * (p / q).log()).sum(-1).numpy())
    return found


def kept(
    monkeypatch: pytest.MonkeyPatch, model: str, rows: RolloutBatch, config: Config, *, packed: bool
) -> tuple[TokenKl, float | int | None]:
    with monkeypatch.context() as patch:
        patch.setattr(student_module, "packs_rows", lambda device: packed)
        patch.setattr(objectives_module, "from_hidden", lambda device: packed)
        student, teacher = pair(config, model)
        found = TokenKl()
        numbers = distill(student, teacher, make_objective(config), rows, config, Ranks(), token_kl=found)
    return found, numbers["kl"]


@pytest.mark.parametrize("prompts", [4, 1], ids=["one mini-batch", "three"])
@pytest.mark.parametrize("packed", [False, True], ids=["padded", "packed"])
def test_the_values_are_the_formulas(
    packed: bool, prompts: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In any division into passes; the rate is so low that a later mini-batch meets the same student."""
    model, rows = sharp_model(tmp_path / "tiny"), recorded(3)
    rows.teacher.has_context[[3, 7, 10]] = False
    config = config_of(
        "model.dtype=float32", "train.micro_batch_tokens=1000", f"rollout.temperature={TEMPERATURE}",
        "optim.lr=1e-12", f"train.mini_batch_prompts={prompts}", "context=feedback"
    )  # fmt: skip
    found, mean = kept(monkeypatch, model, rows, config, packed=packed)
    expected = by_formula(model, rows, config.loss.topk or 0)
    trained = np.flatnonzero(rows.teacher.has_context).tolist()
    assert sorted(found.by_row) == trained
    assert len(trained) == len(rows) - 3
    assert max(values.max() for values in expected) > 1e-3
    for row in trained:
        assert found.by_row[row].dtype == np.float16
        np.testing.assert_allclose(found.by_row[row], expected[row], rtol=2e-3, atol=2e-6)
    everything = np.concatenate([found.by_row[row].astype(np.float64) for row in trained])
    assert mean == pytest.approx(everything.mean(), rel=2e-3)


def test_values_stand_beside_their_rollouts(tmp_path: Path) -> None:
    """A dropped rollout is no row of the batch, one without context is a row that is not trained: null for both."""
    rollouts = [
        Rollout("p", i, (1, 2), (5,) * (i + 1), (0.0,) * (i + 1), "x", truncated=False, policy_version=0)
        for i in range(4)
    ]
    statuses = ["peer", "dropped", "bare", "peer+feedback"]
    batch = Batch.of([(1, 9, 2)] * 4, [r.completion_ids for r in rollouts])
    contexts = [
        TeacherContext("p", i, status, has_context="peer" in status, batch=batch, row=i)
        for i, status in enumerate(statuses)
    ]
    grades = [Grade("p", i, True, "accepted", ()) for i in range(4)]
    kl = TokenKl()
    kl.add([2, 0], torch.tensor([4.0, 3.0, 2.0, 1.0, 1e9]), np.array([1, 3, 4]))
    kl.gather(Ranks())
    path = tmp_path / "rollouts.parquet"
    rollout_table(path, 0, rollouts, grades, contexts, kl)
    read = polars.read_parquet(path)
    assert read["token_kl"].to_list() == [[65504.0], None, None, [4.0, 3.0, 2.0, 1.0]]
    for found in (kl, TokenKl()):  # a step that trains nothing has the same columns
        rollout_table(path, 0, rollouts, grades, contexts, found)
        assert polars.read_parquet(path)["token_kl"].dtype == polars.List(polars.Float16)
    rollout_table(path, 0, rollouts, grades, contexts, None)
    assert "token_kl" not in polars.read_parquet(path).columns
