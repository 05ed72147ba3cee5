"""Each objective's loss: its two paths, its gradient by finite differences, its formula written again, its keys."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from objective_cases import Case, case, on_path, rows_of
from opsd_rs.config import load_config, resolve
from opsd_rs.errors import BadInput
from opsd_rs.loss.grpo import advantages

TEACHER = f"opd.teacher={Path(__file__).parent}"
OBJECTIVES = {
    "opsd": (),
    "grpo": ("grpo.epsilon=0.1",),
    "rft": (),
    "ssd": (),
    "opd": (TEACHER,),
    "negative_advantage": ("negative_advantage.below=0.01",),
    "mixture": (
        TEACHER,
        "mixture.grpo=0.5",
        "mixture.opd=2.0",
        "mixture.rft=0.1",
        "mixture.negative_advantage=0.3",
    ),
}


def made(name: str, *words: str, **options: object) -> Case:
    return case(f"objective={name}", *OBJECTIVES[name], *words, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("temperature", ["1.0", "0.7"])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_path_from_hidden_states_is_the_plain_one(
    name: str, temperature: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = made(name, f"rollout.temperature={temperature}")
    on_path(monkeypatch, packed=False)
    plain = found.gradients()
    on_path(monkeypatch, packed=True)
    for ours, theirs in zip(found.gradients(), plain, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-10, rtol=1e-9)
    assert plain[1].abs().max() > 1e-4


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_gradients_are_finite_differences(name: str, packed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    on_path(monkeypatch, packed)
    # Without ratios, weights depend on nothing that moves: what is left is the gradient's own formula.
    found = made(
        name, "loss.is_clip=none", "loss.rollout_is_clip=none", "grpo.epsilon=0.9", "grpo.epsilon_high=50.0"
    )
    _, hidden, matrix = found.gradients()
    for leaf, gradient in ((found.hidden_TD, hidden), (found.matrix_VD, matrix)):
        direction = torch.randn(leaf.shape, dtype=leaf.dtype, generator=torch.Generator().manual_seed(1))
        values = []
        for step in (1e-6, -1e-6):
            with torch.no_grad():
                leaf.add_(step * direction)
            values.append(found.objective.loss(found.batch()).loss.item())
            with torch.no_grad():
                leaf.sub_(step * direction)
        slope = (values[0] - values[1]) / 2e-6
        assert slope == pytest.approx(float((gradient * direction).sum()), rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_mini_batch_in_parts_is_the_same(name: str) -> None:
    found = made(name)
    trained = np.flatnonzero(found.objective.trained_rows(found.rows)).tolist()
    whole = found.gradients()
    for ours, theirs in zip(found.gradients(*([row] for row in trained)), whole, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_the_likelihood_is_plain_cross_entropy() -> None:
    for name, chosen in (("rft", [0, 4, 5, 7]), ("ssd", list(range(8)))):
        found = made(name, "rollout.temperature=0.7")  # supervised: not that of the logits
        loss, hidden, matrix = found.gradients()
        kept = torch.from_numpy(np.isin(found.rows.student.completion_rows, chosen))
        ids = torch.from_numpy(found.rows.student.completion_ids)
        found.hidden_TD.grad = found.matrix_VD.grad = None
        logits = (found.hidden_TD @ found.matrix_VD.T).float()
        plain = torch.nn.functional.cross_entropy(logits[kept], ids[kept])
        plain.backward()
        assert loss == pytest.approx(plain.item(), rel=1e-6)
        torch.testing.assert_close(hidden, found.hidden_TD.grad, atol=1e-7, rtol=1e-5)
        torch.testing.assert_close(matrix, found.matrix_VD.grad, atol=1e-6, rtol=1e-5)


def test_advantages_are_each_groups_own() -> None:
    rows = rows_of([(True, False, None, False), (True, True), (None, None), (True,), (False, True)])
    plain = advantages(rows, scale="none")
    third = 1 / 3
    wanted = [2 * third, -third, math.nan, -third, 0, 0, math.nan, math.nan, 0, -0.5, 0.5]
    np.testing.assert_allclose(plain, wanted, rtol=1e-6)
    scaled = advantages(rows, scale="group")
    np.testing.assert_allclose(scaled[:2], np.array(wanted[:2]) / (np.sqrt(third) + 1e-4), rtol=1e-6)
    np.testing.assert_allclose(scaled[-1], 0.5 / (np.sqrt(0.5) + 1e-4), rtol=1e-6)
    found = made("grpo", rows=rows)
    assert np.flatnonzero(found.objective.trained_rows(rows)).tolist() == [0, 1, 3, 9, 10]


def test_a_rollout_without_verdict_is_no_rollout() -> None:
    """Neither a wrong answer nor a row that is divided by."""
    for loss_type in ("grpo", "dapo", "dr_grpo"):
        losses = []
        for group in ((True, False, False), (True, False, False, None)):
            words = (f"grpo.loss_type={loss_type}", "grpo.rollout_is_clip=none")
            found = made("grpo", *words, rows=rows_of([group]), moved=False)
            with torch.no_grad():  # the same numbers in both
                found.hidden_TD.fill_(0.1)
                found.matrix_VD.copy_(torch.linspace(-1, 1, found.matrix_VD.numel()).view_as(found.matrix_VD))
            losses.append(found.gradients()[2])
        torch.testing.assert_close(losses[0], losses[1])


def test_unlikely_tokens_alone_count() -> None:
    found = made("negative_advantage")
    batch = found.batch()
    logprobs = torch.log_softmax(batch.student_logits_TV, -1)
    sampled = logprobs.gather(-1, batch.completion_ids_T[:, None]).squeeze(-1)
    unlikely = sampled < math.log(0.01)
    assert 0 < int(unlikely.sum()) < len(sampled)
    out = found.objective.loss(batch)
    assert out.loss.item() == pytest.approx(sampled[unlikely].sum().item() / len(sampled))
    assert out.token_sums["unlikely"] == unlikely.sum()


def test_a_mixture_is_its_parts_with_weights() -> None:
    """Each on its own rows and by its own counts."""
    words = (TEACHER, "mixture.opsd=0.5", "mixture.grpo=2.0", "mixture.opd=0.25", "grpo.loss_type=grpo")
    mixed = case("objective=mixture", *words)
    parts = {name: case(f"objective={name}", *words) for name in ("opsd", "grpo", "opd")}
    trained = {name: part.objective.trained_rows(part.rows).tolist() for name, part in parts.items()}
    assert len({tuple(rows) for rows in trained.values()}) == 3
    rows = mixed.objective.trained_rows(mixed.rows)
    assert rows.tolist() == [any(each) for each in zip(*trained.values(), strict=True)]
    weights = {"opsd": 0.5, "grpo": 2.0, "opd": 0.25}
    sums = [
        sum(weights[name] * values for name, values in each.items())
        for each in (
            dict(zip(parts, values, strict=True))
            for values in zip(*(part.gradients() for part in parts.values()), strict=True)
        )
    ]
    for ours, wanted in zip(mixed.gradients(), sums, strict=True):
        torch.testing.assert_close(torch.as_tensor(ours), torch.as_tensor(wanted))
    out = mixed.objective.loss(mixed.batch())
    alone = parts["opsd"].objective.loss(parts["opsd"].batch())
    assert out.token_sums["kl"] == pytest.approx(alone.token_sums["kl"].item())
    assert out.token_counts["kl"] == len(parts["opsd"].batch().completion_ids_T)
    assert {"kl", "grpo.clipped", "opd.kl"} <= set(out.token_sums)


# key: two values, and keys that both need
KEYS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "loss.rows": ("all", "failed", ("objective=opsd",)),
    "grpo.loss_type": ("dapo", "grpo", ("objective=grpo",)),
    "grpo.scale_rewards": ("group", "none", ("objective=grpo",)),
    "grpo.epsilon": ("0.01", "0.5", ("objective=grpo",)),
    "grpo.epsilon_high": ("none", "0.01", ("objective=grpo",)),
    "grpo.rollout_is_clip": ("none", "0.5", ("objective=grpo",)),
    "negative_advantage.advantage": (
        "-1.0",
        "-0.5",
        ("objective=negative_advantage", "negative_advantage.below=0.5"),
    ),
    "negative_advantage.below": ("0.01", "0.5", ("objective=negative_advantage",)),
    "mixture.opsd": ("1.0", "0.5", ("objective=mixture",)),
    "mixture.grpo": ("0.0", "0.5", ("objective=mixture",)),
    "mixture.rft": ("0.0", "0.5", ("objective=mixture",)),
    "mixture.ssd": ("0.0", "0.5", ("objective=mixture",)),
    "mixture.opd": ("0.0", "0.5", ("objective=mixture", TEACHER)),
    "mixture.negative_advantage": ("0.0", "0.5", ("objective=mixture", "negative_advantage.below=0.5")),
}


@pytest.mark.parametrize("key", KEYS)
def test_two_values_have_other_gradients(key: str) -> None:
    one, two, both = KEYS[key]
    first, again, other = (case(*both, f"{key}={value}").gradients()[2] for value in (one, one, two))
    assert torch.equal(first, again)
    assert (first - other).abs().max() > 1e-4


def test_the_third_loss_type_divides_by_the_longest_answer() -> None:
    short, long = (
        case("objective=grpo", "grpo.loss_type=dr_grpo", f"rollout.max_tokens={n}").gradients()[0]
        for n in (9, 18)
    )
    assert short == pytest.approx(2 * long)


def test_rows_enter_by_their_grade() -> None:
    for which, wanted in (("all", [0, 2, 4, 6]), ("failed", [6]), ("passed", [0, 4])):
        found = case("objective=opsd", f"loss.rows={which}")
        assert (
            np.flatnonzero(found.objective.trained_rows(found.rows)).tolist() == wanted
        )  # every other has context


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("objective=opd",), 'opd.teacher = none: the objective "opd" needs a teacher'),
        (("objective=mixture", "mixture.opd=1.0"), 'opd.teacher = none: the objective "opd" needs a teacher'),
        (("objective=mixture", "mixture.opsd=0.0"), "mixture.opsd = 0.0, and so are all other weights"),
        (("objective=mixture", "mixture.grpo=-1.0"), "mixture.grpo must be greater than or equal to 0"),
        (("objective=mixture", "mixture.gpro=1.0"), "did you mean mixture.grpo?"),
        (("objective=grpo", "rollout.n=1"), "rollout.n = 1: a group of 1 has no advantage"),
        (("objective=grpo", "rollout.top_p=0.9"), 'grpo.rollout_is_clip = "none"'),
        (("objective=opd", TEACHER, "rollout.top_p=0.9"), 'loss.rollout_is_clip = "none"'),
        (("objective=grp",), "did you mean grpo?"),
        (("objective=grpo", "law.file=x.json"), "law.file = x.json: a forecast is made from the gap"),
        (
            ("teacher.kind=trust_region", "eval.teacher=true"),
            "eval.teacher = true: it needs weights to sample from",
        ),
    ],
)
def test_what_cannot_be_minimised_is_refused(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(BadInput) as raised:
        load_config([], ["control.mask=one", *words])
    assert message in str(raised.value)


def test_what_is_only_of_a_self_teacher_is_not_warned_of_without_one() -> None:
    words = ["context=none", "teacher.rate=0.9"]
    assert len(resolve([], words).warnings) == 2
    assert resolve([], [*words, "objective=rft"]).warnings == ()
