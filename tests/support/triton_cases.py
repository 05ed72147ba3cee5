"""The Triton row kernels against their plain twin, on a GPU or, with TRITON_INTERPRET=1, on a CPU.

Run as a program it tries every case and prints how many there were: the interpreter is chosen when Triton is imported.
"""

from __future__ import annotations

import math
import sys
from typing import Any

import head_cases
import torch
from opsd_rs.config import LossConfig
from opsd_rs.loss.kernels import OutputHead
from opsd_rs.loss.kernels.heads import LogitMap
from opsd_rs.loss.kernels.row_losses import RowTerms, row_losses
from opsd_rs.loss.kernels.rows import (
    PlainRows,
    RowGradient,
    RowScores,
    add_entries,
    mixed_rows,
    selected_products,
)
from torch import Tensor

MAPS: dict[str, dict[str, Any]] = {
    "none": {},
    "all": {"bias": True, "scale": 0.7, "softcap": 9.0, "temperature": 0.6},
    "scale": {"scale": 3.0},
}
VOCABULARIES = (5, 128, 129, 1187)
LOSSES = (
    ("reverse_kl", 0.5),
    ("forward_kl", 0.5),
    ("jsd", 0.3),
    ("jsd", 0.0),
    ("jsd", 1.0),
    ("sampled_token", 0.5),
)
FAMILIES = ("normal", "ties", "equal", "large", "masked", "nothing", "nan", "inf", "spike")


def products(family: str, rows: int, vocabulary: int, dtype: torch.dtype, device: str) -> Tensor:
    """Products (R, V) in rows of a wider buffer, as the pipeline has them."""
    generator = torch.Generator().manual_seed(vocabulary)
    values = 3 * torch.randn(rows, vocabulary, generator=generator)
    if family == "ties":
        values = torch.randint(4, (rows, vocabulary), generator=generator).float()
    elif family == "equal":
        values = torch.full((rows, vocabulary), 1.5)
    elif family == "large":
        values = values * 3e3
    elif family == "masked":
        values[:, 3:] = -math.inf
    elif family == "nothing":
        values[0] = -math.inf
    elif family == "nan":
        values[0, vocabulary // 2] = math.nan
    elif family == "inf":
        values[0, vocabulary - 1] = math.inf
    elif family == "spike":
        values[:, vocabulary // 3] = 60.0
    wide = torch.zeros(rows, vocabulary + 3, dtype=dtype, device=device)
    wide[:, :vocabulary] = values.to(device)
    return wide[:, :vocabulary]


def compare(family: str, vocabulary: int, name: str, dtype: torch.dtype, device: str, topk: int) -> None:
    """Select, scores with and without label, gradient in place and into another type."""
    from opsd_rs.loss.kernels.triton_rows import TritonRows

    options = dict(MAPS[name])
    bias_V = torch.linspace(-1, 1, vocabulary, device=device) if options.pop("bias", False) else None
    logit_map = LogitMap(bias_V, **{"scale": 1.0, "softcap": None, "temperature": 1.0, **options})
    product_RV = products(family, 3, vocabulary, dtype, device)
    before_RV = product_RV.clone()
    plain, ours = PlainRows(before_RV, logit_map), TritonRows(product_RV, logit_map)
    topk = min(topk, vocabulary - 1)
    ids_RK, ids = (torch.full((3, topk + 1), -1, device=device) for _ in range(2))
    plain.select(topk, ids_RK)
    ours.select(topk, ids)
    assert (ids[:, -1] == -1).all()
    ids_RK, ids = ids_RK[:, :-1], ids[:, :-1]
    good = torch.ones(3, dtype=torch.bool, device=device)
    good[0] = family not in ("nan", "inf", "nothing")
    if options.get("softcap") is None or family == "equal":
        # tanh differs in its last bit, which may order or tie two logits otherwise.
        assert torch.equal(ids[good], ids_RK[good]), (ids, ids_RK)
    assert all(len(set(row)) == topk and 0 <= min(row) <= max(row) < vocabulary for row in ids.tolist())
    label_R1 = torch.tensor([[0], [vocabulary - 1], [vocabulary // 3]], device=device)
    for ids_RJ, labelled in ((torch.cat([ids_RK, label_R1], -1), True), (ids_RK, False), (label_R1, False)):
        exact, found = plain.scores(ids_RJ, labelled, None), ours.scores(ids_RJ, labelled, None)
        if isinstance(exact.slope_RJ, Tensor):
            torch.testing.assert_close(found.slope_RJ, exact.slope_RJ, rtol=1e-4, atol=1e-6, equal_nan=True)
        else:
            assert found.slope_RJ == exact.slope_RJ
        refined_RJ = torch.randn(ids_RJ.shape, device=device) + product_RV.gather(-1, ids_RJ)
        if labelled:  # the same id has the same value
            same = (ids_RJ == ids_RJ[:, -1:]).to(torch.int8).argmax(-1, keepdim=True)
            refined_RJ[:, -1:] = refined_RJ.gather(-1, same)
        pairs = [(exact, found)]
        pairs += [
            tuple(  # type: ignore[list-item]
                rows(product_RV.clone(), logit_map).scores(ids_RJ, labelled, refined_RJ)
                for rows in (PlainRows, TritonRows)
            )
        ]
        tolerance = {"rtol": 2e-5, "atol": 2e-5}
        assert torch.equal(ours.product_RV.nan_to_num(), before_RV.nan_to_num())
        for x, y in pairs:
            torch.testing.assert_close(y.logprobs_RJ, x.logprobs_RJ, equal_nan=True, **tolerance)
            torch.testing.assert_close(y.max_R1[good], x.max_R1[good], **tolerance)
        upstream_RJ = torch.linspace(-1, 2, ids_RJ.numel(), device=device).view(ids_RJ.shape)
        exact_RV, found_RV = torch.empty_like(product_RV), product_RV.clone()
        gradient = RowGradient.of(exact, upstream_RJ, labelled_RJ=ids_RJ if labelled else None)
        plain.write_gradient(exact, ids_RJ, gradient, exact_RV)
        TritonRows(found_RV, logit_map).write_gradient(exact, ids_RJ, gradient, found_RV)
        tolerance = {"rtol": 1e-4, "atol": 1e-6} if dtype == torch.float32 else {"rtol": 1e-2, "atol": 1e-4}
        torch.testing.assert_close(found_RV[good], exact_RV[good], **tolerance)


def log_probs(rows: int, size: int, device: str, near: Tensor | None = None) -> Tensor:
    """Of ``size`` distinct tokens and a label, of a larger vocabulary; some rows have nearly all of the mass."""
    generator = torch.Generator().manual_seed(size)
    logits = 3 * torch.randn(rows, 4 * size + 8, generator=generator).to(device)
    logits[::3, :size] += 12
    if near is not None:
        logits += near * torch.randn(logits.shape, generator=torch.Generator().manual_seed(1)).to(device)
    chosen = logits.log_softmax(-1)[:, : size + 1].contiguous()
    chosen[1, 0] = -math.inf
    chosen[4, 0] = -2e4
    if rows > 7:
        chosen[7] = math.nan
    return chosen


def compare_losses(kind: Any, alpha: float, tail: bool, device: str, *, weighted: bool, capped: bool) -> None:
    """Loss, what is told of it, and its gradient at the support, near convergence and far from it."""
    from opsd_rs.loss.kernels import triton_rows

    rows, size = 11, 1 if kind == "sampled_token" else 20
    generator = torch.Generator().manual_seed(2)
    weight_R, old_R, rollout_R = (torch.rand(rows, generator=generator).to(device) for _ in range(3))
    ones_R1 = torch.ones(rows, 1, device=device)
    for distance in (0.0, 0.01, 1.0):
        logprobs = log_probs(rows, size, device), log_probs(rows, size, device, torch.tensor(distance))
        if size == 1:
            logprobs = tuple(x[:, 1:].contiguous() for x in logprobs)  # type: ignore[assignment]
        slope = torch.rand(logprobs[0].shape, generator=generator).to(device) if capped else 0.3
        scores = [RowScores(x, ones_R1, ones_R1, slope) for x in logprobs]
        terms = RowTerms(
            kind, alpha, tail, 1.3 if weighted else None, 1.1 if weighted else None, weight_R,
            logprobs[0][:, -1] - old_R if weighted else None, logprobs[0][:, -1] - rollout_R if weighted else None,
        )  # fmt: skip
        found, exact = [], []
        for run, kept in ((triton_rows.row_losses, found), (row_losses, exact)):
            columns = torch.empty(5, rows + 3, device=device)
            gradient = run(*scores, terms, columns[:, :rows], True)  # type: ignore[operator]
            assert gradient is not None
            # What is outside of the support gets ``dense`` by its mass, which is all of the digits that fp32 leaves it.
            rest_R1 = 1 - columns[4, :rows, None] if tail and size > 1 else 1.0
            kept += [columns[:, :rows], gradient.dense_R1 * rest_R1, gradient.entries_RJ]
            again = torch.empty(5, rows + 3, device=device)
            assert run(*scores, terms, again[:, :rows], False) is None  # type: ignore[operator]
            torch.testing.assert_close(
                again[:, :rows], columns[:, :rows], rtol=1e-5, atol=1e-6, equal_nan=True
            )
        for ours, theirs in zip(found, exact, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=2e-6, equal_nan=True)
        if distance == 0.0:
            good = [x[..., [0, 1, 2, 3, 5, 6, 8, 9, 10]] for x in (found[0][:2], found[1].T, found[2].T)]
            assert not any(x.any() for x in good), good


def compare_dots(dtype: torch.dtype, device: str) -> None:
    """Gathered dots for sizes that are no powers of two."""
    from opsd_rs.loss.kernels import triton_rows

    for size, ids in ((7, 1), (300, 21), (1024, 101)):
        hidden_RD, weight_VD = (torch.randn(n, size, device=device).to(dtype) for n in (5, 200))
        ids_RJ = torch.stack([torch.randperm(200, device=device)[:ids] for _ in range(5)])
        found = triton_rows.selected_products(hidden_RD, weight_VD, ids_RJ)
        exact = torch.einsum("rd,rjd->rj", hidden_RD.double(), weight_VD.double()[ids_RJ])
        torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=1e-4)
        torch.testing.assert_close(
            found, selected_products(hidden_RD, weight_VD, ids_RJ), rtol=1e-5, atol=1e-4
        )


def compare_sums(dtype: torch.dtype, device: str, piece: int) -> None:
    """Sums for dH and dW: ids that one token has, and one that all have, over several pieces and parts."""
    from opsd_rs.loss.kernels import triton_sparse

    rows, topk, size, vocabulary = 45, 3, 20, 50
    hidden_RD, weight_VD = (torch.randn(n, size, device=device).to(dtype) for n in (rows, vocabulary))
    ids_RK = torch.stack([torch.randperm(vocabulary - 1, device=device)[:topk] + 1 for _ in range(rows)])
    ids_RK[:, 1] = 0
    entries_RK = torch.randn(rows, topk, device=device)
    wide_RJ = torch.cat([ids_RK, ids_RK[:, :1]], -1)
    d_hidden = torch.empty_like(hidden_RD)
    triton_sparse.mixed_rows(entries_RK, weight_VD, wide_RJ[:, :-1], d_hidden)
    exact = torch.einsum("rk,rkd->rd", entries_RK.double(), weight_VD.double()[ids_RK])
    torch.testing.assert_close(d_hidden.double(), exact, rtol=1e-2, atol=1e-2)
    plain = torch.empty_like(hidden_RD)
    mixed_rows(entries_RK, weight_VD, ids_RK, plain)
    torch.testing.assert_close(plain.double(), exact, rtol=1e-2, atol=1e-2)
    dense_RV = torch.zeros(rows, vocabulary, device=device).scatter_(1, ids_RK, entries_RK)
    exact = dense_RV.double().T @ hidden_RD.double() + 1
    before, triton_sparse.PIECE = triton_sparse.PIECE, piece
    try:
        for add in (triton_sparse.add_entries, add_entries):
            sum_VD = torch.ones(vocabulary, size, device=device)
            for part in (slice(0, 40), slice(40, rows), slice(0, 0)):
                add(sum_VD, entries_RK[part], wide_RJ[part, :-1], hidden_RD[part])
            torch.testing.assert_close(sum_VD.double(), exact, rtol=1e-5, atol=1e-4)
    finally:
        triton_sparse.PIECE = before


def compare_pipelines(kind: str, tail: bool, dtype: torch.dtype, device: str, budget: int) -> None:
    """The whole loss on both backends; equal models give nothing."""
    given = head_cases.case(tokens=7, vocabulary=140, dtype=dtype, device=device, **head_cases.EXTRAS["all"])
    given.ids_T[:3] = given.head.logits(given.hidden_TD).argmax(-1)[:3]  # sampled tokens of the support
    config = LossConfig(kind=kind, topk=6, tail=tail)  # type: ignore[arg-type]
    found = []
    for backend in ("triton", "torch"):
        out = head_cases.chunked(given, config, backend=backend, budget_bytes=budget)
        found.append(
            (out.loss, out.kl_T, out.student_logprob_T, out.topk_mass_T, *head_cases.gradients(given, out))
        )
    for ours, theirs in zip(*found, strict=True):
        assert head_cases.relative(ours, theirs) < (1e-4 if dtype == torch.float32 else 2e-2)
    head = given.head
    assert head.bias_V is not None
    copied = OutputHead(
        head.weight_VD.detach().clone(),
        head.bias_V.detach().clone(),
        head.scale,
        head.softcap,
        head.valid_vocab,
    )
    same = given._replace(taught_TE=given.hidden_TD.detach().clone(), teacher=copied)
    out = head_cases.chunked(same, config, backend="triton", budget_bytes=budget)
    assert kind == "sampled_token" or out.loss.item() == 0.0
    assert not any(gradient.any() for gradient in head_cases.gradients(same, out))


def main(
    device: str, vocabularies: tuple[int, ...] = VOCABULARIES, topks: tuple[int, ...] = (1, 5, 20)
) -> int:
    """Every combination; the number of them."""
    count = 0
    for family in FAMILIES:
        for vocabulary in vocabularies:
            for place, name in enumerate(MAPS):
                if name != "none" and family in ("masked", "nothing", "inf"):
                    continue  # -inf is a bias in practice, not a product
                if device == "cpu" and family not in ("normal", "ties") and name == "scale":
                    continue  # the interpreter is slow
                if device == "cpu" and family in ("large", "spike", "equal") and name != "all":
                    continue
                dtype = (torch.float32, torch.bfloat16)[(place + vocabulary) % 2]
                for topk in topks:
                    compare(family, vocabulary, name, dtype, device, topk)
                    count += 1
    for dtype in (torch.float32, torch.bfloat16):
        compare_dots(dtype, device)
        for piece in (4,) if device == "cpu" else (1, 4, 256):
            compare_sums(dtype, device, piece)
        for kind, tail in (
            ("reverse_kl", True),
            ("jsd", False),
            ("forward_kl", False),
            ("sampled_token", True),
        ):
            compare_pipelines(kind, tail, dtype, device, 1 if kind == "jsd" else 1 << 20)
            count += 1
    for kind, alpha in LOSSES:
        for tail in (True, False):
            for weighted, capped in ((True, True),) if device == "cpu" else ((False, False), (True, True)):
                compare_losses(kind, alpha, tail, device, weighted=weighted, capped=capped)
                count += 1
    return count


if __name__ == "__main__":
    # The interpreter takes a quarter of a second for each.
    print(
        main(sys.argv[1], (5, 300), (6,))
        if sys.argv[1] == "cpu"
        else main(sys.argv[1], topks=(1, 5, 20, 100))
    )
