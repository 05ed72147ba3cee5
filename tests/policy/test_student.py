"""The student and its teacher on real DeepSpeed engines: accumulation, following, saving, at every stage."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest
import tiny_models
import torch
from engines import CPU, pair
from opsd_rs.base import Batch
from opsd_rs.config import Config, TeacherConfig
from opsd_rs.config.tree import DeepSpeedConfig, ModelConfig, OptimConfig
from opsd_rs.policy import CompletionModel, Student, Teacher, load_model, model_inputs, shards
from safetensors.torch import load_file

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("left_ranks")

CASES = [(1, "float32"), (1, "bfloat16"), (2, "float32"), (2, "bfloat16"), (3, "float32"), (3, "bfloat16")]
ROWS = [((1, 2, 3), (4, 5, 6)), ((1, 2), (7, 8, 9, 10)), ((3,), (11,)), ((5, 6, 7, 8), (12, 13))]


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_models.tiny(tmp_path_factory.mktemp("models") / "tiny", "qwen3"))


def config_of(stage: int, dtype: str, kind: str = "ema") -> Config:
    return Config(
        deepspeed=DeepSpeedConfig(stage=stage),
        model=ModelConfig.model_validate({"dtype": dtype}),
        optim=OptimConfig(lr=1e-3, eps=1e-2),  # a large eps: no rounding error becomes a full step
        teacher=TeacherConfig.model_validate({"kind": kind, "rate": 0.25}),
    )


def accumulate(student: Student, micro_batch_rows: int) -> None:
    num_tokens = sum(len(completion) for _, completion in ROWS)
    for start in range(0, len(ROWS), micro_batch_rows):
        rows = ROWS[start : start + micro_batch_rows]
        batch = Batch.of([p for p, _ in rows], [c for _, c in rows])
        logits_TV = student.logits(batch).float()
        loss = (
            torch.nn.functional.cross_entropy(
                logits_TV, torch.from_numpy(batch.completion_ids), reduction="sum"
            )
            / num_tokens
        )
        student.backward(loss, last=start + micro_batch_rows >= len(ROWS))


def update(student: Student, micro_batch_rows: int) -> float:
    accumulate(student, micro_batch_rows)
    return student.step()


def weights_of(source: Student | Teacher) -> dict[str, torch.Tensor]:
    return {name: tensor.clone().float() for name, tensor in source.weights()}


def largest_difference(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    assert a.keys() == b.keys()
    return max((a[name] - b[name]).abs().max().item() for name in a)


def test_inputs_are_padded_rows_and_the_positions_that_predict() -> None:
    batch = Batch.of([(1, 2), (3,)], [(4,), (5, 6, 7)])
    inputs = model_inputs(batch, CPU, packed=False)
    assert inputs.input_ids_BL.tolist() == [[1, 2, 4, 0], [3, 5, 6, 7]]
    assert inputs.attention_mask_BL.tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]
    assert inputs.index_T.tolist() == [1, 4, 5, 6]
    assert {tensor.dtype for tensor in inputs if isinstance(tensor, torch.Tensor)} == {torch.int64}
    assert batch.completion_ids.tolist() == [4, 5, 6, 7]
    assert batch.completion_rows.tolist() == [0, 1, 1, 1]


@pytest.mark.samples_model
@pytest.mark.parametrize("family", tiny_models.FAMILIES)
def test_completion_logits_are_the_models_own(family: tiny_models.Family, tmp_path: Path) -> None:
    folder = str(tiny_models.tiny(tmp_path / family, family))
    model = load_model(folder, "float32")
    batch = Batch.of([p for p, _ in ROWS], [c for _, c in ROWS])
    with torch.no_grad():
        ours_TV = CompletionModel(model)(*model_inputs(batch, CPU, packed=False))
        at = 0
        for prompt, completion in ROWS:  # each row alone, without padding
            whole = model(input_ids=torch.tensor([prompt + completion])).logits[0]
            wanted = whole[len(prompt) - 1 : len(prompt) + len(completion) - 1]
            torch.testing.assert_close(ours_TV[at : at + len(completion)], wanted, atol=1e-5, rtol=1e-4)
            at += len(completion)


@pytest.mark.samples_model
@pytest.mark.parametrize(("stage", "dtype"), CASES)
def test_update_does_not_depend_on_micro_batches_and_is_adamw(stage: int, dtype: str, model_dir: str) -> None:
    config = config_of(stage, dtype)
    whole, _ = pair(config, model_dir)
    parts, _ = pair(config, model_dir)
    norms = update(whole, 4), update(parts, 1)

    plain = CompletionModel(
        load_model(model_dir, dtype)
    ).float()  # from the weights that the student starts from
    optimizer = torch.optim.AdamW(plain.parameters(), lr=1e-3, eps=1e-2, weight_decay=0.01)
    batch = Batch.of([p for p, _ in ROWS], [c for _, c in ROWS])
    logits_TV = plain(*model_inputs(batch, CPU, packed=False))
    torch.nn.functional.cross_entropy(logits_TV, torch.from_numpy(batch.completion_ids)).backward()
    norm = torch.nn.utils.clip_grad_norm_(plain.parameters(), 1.0).item()
    optimizer.step()
    wanted = {name.removeprefix("lm."): p.detach() for name, p in plain.named_parameters()}

    assert norms == pytest.approx((norm, norm), rel=1e-5 if dtype == "float32" else 1e-2)
    for updated in (weights_of(whole), weights_of(parts)):
        assert updated.keys() == wanted.keys()
        for name, weight in updated.items():
            if dtype == "float32":
                torch.testing.assert_close(weight, wanted[name], atol=2e-6, rtol=0.0)
            else:  # published weights are rounded to bfloat16, by at most 2 ** -8 of their size
                torch.testing.assert_close(weight, wanted[name], atol=1e-4, rtol=2.0**-8)


@pytest.mark.samples_model
@pytest.mark.parametrize(("stage", "dtype"), CASES)
def test_teacher_follows_in_fp32_and_publishes(stage: int, dtype: str, model_dir: str) -> None:
    student, teacher = pair(config_of(stage, dtype), model_dir)
    start = [part.clone() for part in student.fp32_parts()]
    wanted = [part.clone() for part in start]
    for _ in range(3):
        update(student, 2)
        teacher.follow(student.fp32_parts())
        wanted = [w + 0.25 * (s - w) for w, s in zip(wanted, student.fp32_parts(), strict=True)]
    for average, want, first in zip(teacher.average, wanted, start, strict=True):
        torch.testing.assert_close(average, want, atol=1e-7, rtol=1e-6)
        assert not torch.equal(average, first)
    published = dict(teacher.weights())
    for name, whole in teacher.whole():
        assert torch.equal(published[name], whole.view(published[name].shape).to(published[name].dtype)), name
    assert {name for name, _ in teacher.whole()} == set(published)


@pytest.mark.samples_model
def test_settings_that_contradict_each_other_are_exported_as_they_are(model_dir: str, tmp_path: Path) -> None:
    """transformers loads such a generation_config.json and refuses to save it; the run has ended by then."""
    folder = tmp_path / "m"
    shutil.copytree(model_dir, folder)
    settings = {"do_sample": False, "temperature": 0.6, "top_p": 0.9, "eos_token_id": 2}
    (folder / "generation_config.json").write_text(json.dumps(settings))
    student, _ = pair(config_of(1, "float32"), str(folder))
    student.export(tmp_path / "out", str(folder), write=True)
    exported = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    assert settings.items() <= exported.items()
    assert (
        largest_difference(
            weights_of(student),
            {n: t.float() for n, t in load_file(tmp_path / "out" / "model.safetensors").items()},
        )
        == 0.0
    )


@pytest.mark.samples_model
@pytest.mark.parametrize("kind", ["fixed", "live", "trust_region"])
def test_teacher_kinds(kind: str, model_dir: str) -> None:
    student, teacher = pair(config_of(1, "float32", kind), model_dir)
    initial = weights_of(teacher)
    update(student, 4)
    teacher.follow(student.fp32_parts())
    wanted = weights_of(student) if kind == "live" else initial
    assert largest_difference(weights_of(teacher), wanted) == 0.0
    assert largest_difference(initial, weights_of(student)) > 0.0


@pytest.mark.samples_model
def test_a_blend_is_of_the_initial_and_the_current_weights(model_dir: str, tmp_path: Path) -> None:
    """Of these two alone, whatever lay between; also after a restart, which loads the initial weights again."""
    config = config_of(1, "float32", "blend")
    student, teacher = pair(config, model_dir)
    rate, initial = config.teacher.rate, weights_of(teacher)
    for _ in range(2):
        update(student, 4)
        teacher.follow(student.fp32_parts())
    now = weights_of(student)
    wanted = {name: initial[name] + rate * (now[name] - initial[name]) for name in now}
    assert largest_difference(now, initial) > 1e-4
    assert largest_difference(weights_of(teacher), wanted) < 1e-7
    student.save(tmp_path)
    teacher.save(tmp_path, 0)
    again, its_teacher = pair(config, model_dir)
    again.load(tmp_path)
    its_teacher.load(tmp_path, 0)
    its_teacher.follow(again.fp32_parts())
    assert largest_difference(weights_of(its_teacher), weights_of(teacher)) == 0.0


@pytest.mark.samples_model
@pytest.mark.parametrize(("stage", "dtype"), CASES)
def test_save_and_load_go_on_to_the_bit(stage: int, dtype: str, model_dir: str, tmp_path: Path) -> None:
    config = config_of(stage, dtype)
    student, teacher = pair(config, model_dir)
    update(student, 2)
    teacher.follow(student.fp32_parts())
    student.save(tmp_path)
    teacher.save(tmp_path, 0)
    update(student, 2)
    teacher.follow(student.fp32_parts())

    again, its_teacher = pair(config, model_dir)
    again.load(tmp_path)
    its_teacher.load(tmp_path, 0)
    update(again, 2)
    its_teacher.follow(again.fp32_parts())

    assert again.num_optimizer_steps == student.num_optimizer_steps == 2
    assert its_teacher.num_updates == teacher.num_updates == 2
    assert largest_difference(weights_of(again), weights_of(student)) == 0.0
    assert largest_difference(weights_of(its_teacher), weights_of(teacher)) == 0.0
    for ours, theirs in zip(teacher.average, its_teacher.average, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.samples_model
def test_the_norm_of_the_flat_gradient_is_exact_and_clips_all_of_it(
    model_dir: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DeepSpeed's own walk over the parameters is the twin of the clipping."""
    monkeypatch.setitem(shards.NORM_PIECE, "cpu", 1000)  # many pieces, the last of them short
    optim = OptimConfig(lr=1e-3, eps=1e-2, clip=1e-3)
    config = config_of(1, "bfloat16").model_copy(update={"optim": optim})
    weights = []
    for by_parameter in (False, True):
        student, _ = pair(config, model_dir)
        optimizer = student.engine.optimizer
        assert isinstance(student.shards, shards.BF16Shards)
        if by_parameter:
            del optimizer.get_grads_for_norm  # the class's own is left
        accumulate(student, 2)
        exact = torch.cat(optimizer.fp32_groups_gradients_flat).double().norm().item()
        assert student.step() == pytest.approx(exact, rel=2e-5 if by_parameter else 1e-6)
        assert exact > 1e-3
        weights.append(weights_of(student))
    for name, weight in weights[0].items():
        torch.testing.assert_close(weight, weights[1][name], atol=1e-5, rtol=2.0**-8)
