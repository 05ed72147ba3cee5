"""A process that joins its ranks for a student is, once it has left them, the process it was before."""

from __future__ import annotations

import gc
import os
import weakref
from typing import TYPE_CHECKING

import pytest
import tiny_models
from engines import CPU, pair
from opsd_rs.base import Batch
from opsd_rs.config import Config
from opsd_rs.config.tree import DeepSpeedConfig, ModelConfig
from opsd_rs.policy import join_ranks, leave_ranks
from opsd_rs.rollout.vllm.options import LAUNCHER_VARIABLES

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("left_ranks")


def launched() -> dict[str, str]:
    """What the environment says of a launcher."""
    return {name: value for name, value in os.environ.items() if name.startswith(LAUNCHER_VARIABLES)}


@pytest.mark.samples_model
def test_students_leave_the_environment_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    accelerate = pytest.importorskip("accelerate")
    model_dir = str(tiny_models.tiny(tmp_path / "tiny", "qwen3"))
    before = launched()
    for stage in (1, 3):  # the second student joins a group of its own
        config = Config(deepspeed=DeepSpeedConfig(stage=stage), model=ModelConfig(dtype="float32"))
        student, _ = pair(config, model_dir)
        assert launched() == {"LOCAL_RANK": "0", **before}
        for _ in range(2):  # ZeRO-3 compares its ranks' order of work in the first step
            batch = Batch.of([(1, 2, 3)], [(4, 5)])
            student.backward(student.logits(batch).float().logsumexp(-1).sum(), last=True)
            assert student.step() > 0.0
        leave_ranks()
        assert launched() == before
    # What TRL asks first; a process that it takes for a launcher's has to say where its peers are.
    monkeypatch.setattr(accelerate.PartialState, "_shared_state", {})
    assert accelerate.PartialState(cpu=True).num_processes == 1


def test_a_variable_that_somebody_else_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "0")
    for _ in range(2):
        join_ranks(CPU)
        leave_ranks()
        assert os.environ["LOCAL_RANK"] == "0"


@pytest.mark.samples_model
@pytest.mark.parametrize("stage", [1, 2])
def test_a_student_that_is_over_leaves_no_weights_in_memory(stage: int, tmp_path: Path) -> None:
    config = Config(deepspeed=DeepSpeedConfig(stage=stage), model=ModelConfig(dtype="float32"))
    student, teacher = pair(config, str(tiny_models.tiny(tmp_path / "tiny", "qwen3")))
    weights = [weakref.ref(parameter) for parameter in student.parameters_by_name().values()]
    assert any(weight() is not None for weight in weights)
    leave_ranks()
    del student, teacher
    gc.collect()
    assert not [weight() for weight in weights if weight() is not None]
