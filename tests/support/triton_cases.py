"""The Triton row kernels against their plain twin, on a GPU or, with TRITON_INTERPRET=1, on a CPU.

Run as a program it tries every case and prints how many there were: the interpreter is chosen when Triton is imported.
"""

from __future__ import annotations

import math
import sys
from typing import Any

import torch
from opsd_rs.loss.kernels.heads import LogitMap
from opsd_rs.loss.kernels.rows import PlainRows, selected_products
from torch import Tensor

MAPS: dict[str, dict[str, Any]] = {
    "none": {},
    "all": {"bias": True, "scale": 0.7, "softcap": 9.0, "temperature": 0.6},
    "scale": {"scale": 3.0},
}
VOCABULARIES = (5, 128, 129, 1187)
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
    plain, ours = PlainRows(product_RV, logit_map), TritonRows(product_RV, logit_map)
    topk = min(topk, vocabulary - 1)
    ids_RK, ids = plain.select(topk), ours.select(topk)
    good = torch.ones(3, dtype=torch.bool, device=device)
    good[0] = family not in ("nan", "inf", "nothing")
    if options.get("softcap") is None or family == "equal":
        # tanh differs in its last bit, which may order or tie two logits otherwise.
        assert torch.equal(ids[good], ids_RK[good]), (ids, ids_RK)
    assert all(len(set(row)) == topk and 0 <= min(row) <= max(row) < vocabulary for row in ids.tolist())
    label_R1 = torch.tensor([[0], [vocabulary - 1], [vocabulary // 3]], device=device)
    for ids_RJ, labelled in ((torch.cat([ids_RK, label_R1], -1), True), (ids_RK, False), (label_R1, False)):
        exact, found = plain.scores(ids_RJ, labelled, None), ours.scores(ids_RJ, labelled, None)
        tolerance = {"rtol": 2e-5, "atol": 2e-5}
        torch.testing.assert_close(found.logprobs_RJ, exact.logprobs_RJ, equal_nan=True, **tolerance)
        torch.testing.assert_close(found.max_R1[good], exact.max_R1[good], **tolerance)
        upstream_RJ = torch.linspace(-1, 2, ids_RJ.numel(), device=device).view(ids_RJ.shape)
        exact_RV, found_RV = torch.empty_like(product_RV), product_RV.clone()
        plain.write_gradient(exact, ids_RJ, upstream_RJ, exact_RV, labelled)
        TritonRows(found_RV, logit_map).write_gradient(exact, ids_RJ, upstream_RJ, found_RV, labelled)
        tolerance = {"rtol": 1e-4, "atol": 1e-6} if dtype == torch.float32 else {"rtol": 1e-2, "atol": 1e-4}
        torch.testing.assert_close(found_RV[good], exact_RV[good], **tolerance)


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
                dtype = (torch.float32, torch.bfloat16)[(place + vocabulary) % 2]
                for topk in topks:
                    compare(family, vocabulary, name, dtype, device, topk)
                    count += 1
    for dtype in (torch.float32, torch.bfloat16):
        compare_dots(dtype, device)
    return count


if __name__ == "__main__":
    # The interpreter takes a quarter of a second for each.
    print(
        main(sys.argv[1], (5, 300), (20,))
        if sys.argv[1] == "cpu"
        else main(sys.argv[1], topks=(1, 5, 20, 100))
    )
