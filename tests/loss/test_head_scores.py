"""Log-probs from hidden states against log_softmax of all logits, with and without gradient."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from head_cases import DEVICES, EXTRAS, case
from opsd_rs.errors import BadInput
from opsd_rs.loss import logprobs_at, support
from opsd_rs.loss.divergences import MIN_LOGPROB, with_tail
from opsd_rs.loss.kernels import OutputHead, linear_lse_gather, linear_lse_topk, linear_topk_logp

pytestmark = pytest.mark.parametrize("device", DEVICES)


@pytest.mark.parametrize("topk", [1, 6, 53, 90, None])
@pytest.mark.parametrize("extra", EXTRAS)
def test_scores_are_those_of_all_logits(device, extra, topk) -> None:
    given = case(device=device, **EXTRAS[extra])
    logits_TV = given.head.logits(given.hidden_TD, given.temperature)
    ids_TK = support(logits_TV, topk)
    exact_TK = logprobs_at(logits_TV, ids_TK)
    label_T = logprobs_at(logits_TV, given.ids_T.unsqueeze(-1)).squeeze(-1)
    options: dict[str, Any] = {
        "labels_T": given.ids_T,
        "temperature": given.temperature,
        "budget_bytes": 9000,
    }
    chosen = linear_lse_topk(given.hidden_TD, given.head, topk, **options)
    assert torch.equal(chosen.ids_TK, ids_TK)
    for found in (chosen, linear_lse_gather(given.hidden_TD, given.head, ids_TK, **options)):
        torch.testing.assert_close(found.logprobs_TK, exact_TK, rtol=1e-9, atol=1e-11)
        torch.testing.assert_close(found.label_logprobs_T, label_T, rtol=1e-9, atol=1e-11)
        torch.testing.assert_close(
            found.log_tail_T.exp(), with_tail(exact_TK)[:, -1].exp(), rtol=1e-6, atol=1e-12
        )
        assert not found.logprobs_TK.requires_grad
    without = linear_lse_topk(given.hidden_TD, given.head, topk, temperature=given.temperature)
    torch.testing.assert_close(without.logprobs_TK, exact_TK, rtol=1e-9, atol=1e-11)
    assert without.label_logprobs_T is None


@pytest.mark.parametrize("given_ids", [True, False])
@pytest.mark.parametrize("extra", EXTRAS)
def test_any_loss_of_them_has_the_gradient_of_all_logits(device, extra, given_ids) -> None:
    """A loss of log-probs, tail and label; labels are in the support of some tokens and not of others."""
    given = case(device=device, seed=3, **EXTRAS[extra])
    logits_TV = given.head.logits(given.hidden_TD, given.temperature)
    ids_TK = support(logits_TV, 5)
    if given_ids:
        ids_TK = torch.rand(logits_TV.shape, device=device).argsort(-1)[:, :5]
    labels_T = given.ids_T.clone()
    labels_T[::3] = ids_TK[::3, 2]
    upstream_TK = torch.linspace(-1, 2, 65, dtype=torch.float64, device=device).view(13, 5)

    def loss(logprobs_TK: torch.Tensor, log_tail_T: torch.Tensor, label_T: torch.Tensor) -> torch.Tensor:
        value_T = (logprobs_TK * upstream_TK).sum(-1) + log_tail_T.exp().square() + label_T * label_T
        return value_T[given.mask_T].sum()

    found = linear_topk_logp(
        given.hidden_TD, given.head, None if given_ids else 5, ids_TK if given_ids else None,
        labels_T=labels_T, temperature=given.temperature, budget_bytes=9000,
    )  # fmt: skip
    assert torch.equal(found.ids_TK, ids_TK)
    assert found.label_logprobs_T is not None
    exact_TK = logprobs_at(logits_TV, ids_TK)
    label_T = logprobs_at(logits_TV, labels_T.unsqueeze(-1)).squeeze(-1)
    ours = torch.autograd.grad(
        loss(found.logprobs_TK, found.log_tail_T, found.label_logprobs_T), given.leaves
    )
    theirs = torch.autograd.grad(loss(exact_TK, with_tail(exact_TK)[:, -1], label_T), given.leaves)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("topk", [None, 2])
def test_gradcheck(device, topk) -> None:
    given = case(tokens=3, size=4, vocabulary=9, device=device, bias=True)

    def run(hidden, weight, bias):
        head = OutputHead(weight, bias, softcap=4.0, valid_vocab=8)
        ids_TK = None if topk else torch.tensor([[1, 7], [0, 3], [5, 2]], device=device)
        labels_T = torch.tensor([7, 4, 0], device=device)
        out = linear_topk_logp(hidden, head, topk, ids_TK, labels_T=labels_T, budget_bytes=1)
        return out.logprobs_TK, out.log_tail_T, out.label_logprobs_T

    assert torch.autograd.gradcheck(run, given.leaves)


def test_bf16_scores_are_close_to_fp64(device) -> None:
    given = case(tokens=64, size=256, vocabulary=2003, dtype=torch.bfloat16, std=0.6, device=device)
    exact_TV = (given.hidden_TD.double() @ given.head.weight_VD.double().T).log_softmax(-1)
    errors = {}
    for precision in ("refined", "rounded", "float32"):
        out = linear_lse_topk(given.hidden_TD, given.head, 20, labels_T=given.ids_T, precision=precision)  # type: ignore[arg-type]
        exact_TK = exact_TV.gather(-1, out.ids_TK)
        label_T = exact_TV.gather(-1, given.ids_T.unsqueeze(-1)).squeeze(-1)
        errors[precision] = max(
            (out.logprobs_TK - exact_TK).abs().max().item(),
            (out.label_logprobs_T - label_T).abs().max().item(),
        )
    assert errors["refined"] < 2e-3
    assert errors["float32"] < 2e-5
    assert errors["rounded"] > 0.02


def test_ids_of_equal_logits_are_the_lowest(device) -> None:
    """bf16, few levels: most rows tie at the k-th place."""
    generator = torch.Generator().manual_seed(1)
    hidden_TD = torch.randint(-1, 2, (60, 4), generator=generator).to(device, torch.bfloat16)
    weight_VD = torch.randint(-1, 2, (701, 4), generator=generator).to(device, torch.bfloat16)
    logits_TV = (hidden_TD.double() @ weight_VD.double().T).cpu()
    for topk in (1, 8, 100, 300):
        expected = logits_TV.sort(dim=-1, descending=True, stable=True).indices[:, :topk]
        found = linear_lse_topk(hidden_TD, OutputHead(weight_VD), topk, budget_bytes=200_000).ids_TK
        assert torch.equal(found.cpu(), expected)


def test_odd_rows(device) -> None:
    """No tokens; ids without probability; nan, inf and nothing but -inf."""
    head = OutputHead(torch.eye(5, device=device, dtype=torch.float32))
    empty = linear_lse_topk(
        torch.zeros(0, 5, device=device), head, 2, labels_T=torch.zeros(0, dtype=torch.long)
    )
    assert [tuple(x.shape) for x in empty] == [(0, 2), (0, 2), (0,), (0,)]  # type: ignore[union-attr]
    bias_V = torch.tensor([0.0, 0.0, -math.inf, -math.inf, -math.inf], device=device)
    masked = OutputHead(torch.eye(5, device=device), bias_V)
    out = linear_lse_topk(torch.zeros(1, 5, device=device), masked, 3)
    assert out.ids_TK.tolist() == [[0, 1, 2]]
    assert out.logprobs_TK[0, 2].item() == MIN_LOGPROB
    torch.testing.assert_close(out.logprobs_TK[0, :2].exp().cpu(), torch.full((2,), 0.5))
    nothing = OutputHead(torch.eye(5, device=device), torch.full((5,), -math.inf, device=device))
    assert linear_lse_topk(torch.zeros(1, 5, device=device), nothing, 3).logprobs_TK.isnan().all()
    rows = torch.zeros(3, 5, device=device)
    rows[0, 4], rows[2, 1] = math.nan, math.inf
    found = linear_lse_gather(rows, head, torch.tensor([[0], [0], [0]], device=device)).logprobs_TK
    assert found.isnan().flatten().tolist() == [True, False, True]


def test_large_logits_stay_finite(device) -> None:
    hidden_TD = torch.tensor([[1e4, -1e4, 9990.0, 0.0]], device=device)
    out = linear_lse_topk(hidden_TD, OutputHead(torch.eye(4, device=device)), 2)
    exact = hidden_TD.double().log_softmax(-1)[0, [0, 2]].cpu()
    torch.testing.assert_close(out.logprobs_TK[0].double().cpu(), exact, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("said", "options"),
    [
        ("none of them twice", {"ids_TK": torch.tensor([[1, 1]])}),
        ("the vocabulary has 5", {"ids_TK": torch.tensor([[1, 5]])}),
        ("at least one id", {"ids_TK": torch.zeros(1, 0, dtype=torch.long)}),
        ("one of the two", {"ids_TK": torch.tensor([[1]]), "topk": 1}),
        ("one of the two", {}),
        ("topk = 0", {"topk": 0}),
        ("temperature = -1", {"topk": 1, "temperature": -1.0}),
        ("precision = 'fp8'", {"topk": 1, "precision": "fp8"}),
        ("labels_T", {"topk": 1, "labels_T": torch.tensor([0, 1])}),
        ("budget_bytes = 0", {"topk": 1, "budget_bytes": 0}),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused(device, said, options) -> None:
    with pytest.raises(BadInput, match=said):
        linear_topk_logp(torch.zeros(1, 5), OutputHead(torch.eye(5)), **options)


def test_any_layout_of_hidden_states_and_matrix(device) -> None:
    """Every second hidden state, a matrix stored by columns, a slice that begins at an odd address."""
    generator = torch.Generator().manual_seed(2)
    wide = torch.randn(20, 2, 9, generator=generator).to(device, torch.bfloat16)
    columns = torch.randn(9, 131, generator=generator).to(device, torch.bfloat16)
    cases = [
        (wide[:, 1], columns.T),
        (wide[:, 0, 1:], columns.T[:, 1:]),
        (wide[:, 0, 1:], columns.T.contiguous()[1:, 1:]),
    ]
    for hidden_TD, weight_VD in cases:
        found, exact = [], []
        for kept, x, w in (
            (found, hidden_TD, weight_VD),
            (exact, hidden_TD.contiguous(), weight_VD.contiguous()),
        ):
            x, w = x.detach().requires_grad_(), w.detach().requires_grad_()
            out = linear_topk_logp(x, OutputHead(w), topk=5, budget_bytes=40_000)
            kept += [out.logprobs_TK, *torch.autograd.grad(out.logprobs_TK.sum(), (x, w))]
        for a, b in zip(found, exact, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-2, atol=1e-3)
