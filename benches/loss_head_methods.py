"""What ``loss_head`` measures: ours, the matrix products alone, plain torch, and other libraries where installed.

Each method is called with ``Inputs`` and does one forward and backward pass, or one scoring. ``SAME`` names those of
the same mathematics: a divergence of student and teacher at the student's 20 ids and a tail.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from opsd_rs.config import LossConfig
from opsd_rs.loss import opsd_loss
from opsd_rs.loss.kernels import OutputHead, linear_lse_gather, linear_lse_topk, topk_kl
from torch import Tensor
from torch.utils.checkpoint import checkpoint

TOPK = 20
TARGET_LOGIT = 25.0
"""Largest logits of trained models are about this."""


class Inputs:
    """Student and teacher of one case; the student's tensors want gradients."""

    def __init__(self, tokens: int, hidden: int, vocabulary: int, device: str, dtype: torch.dtype) -> None:
        generator = torch.Generator(device).manual_seed(0)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, device=device, dtype=dtype)

        # The largest of V normal numbers is about 5 standard deviations.
        self.weight_VD = normal(vocabulary, hidden).mul_(TARGET_LOGIT / 5 / hidden**0.5).requires_grad_()
        self.taught_VD = (self.weight_VD.detach() * 1.01).contiguous()
        self.hidden_TD = normal(tokens, hidden).requires_grad_()
        self.taught_TD = self.hidden_TD.detach() + 0.05 * normal(tokens, hidden)
        self.ids_T = torch.randint(vocabulary, (tokens,), generator=generator, device=device)
        self.weight_T = torch.full((tokens,), 1 / tokens, device=device)
        self.scores_TK = torch.randint(vocabulary // TOPK, (tokens, TOPK), generator=generator, device=device)
        self.scores_TK += vocabulary // TOPK * torch.arange(TOPK, device=device)  # distinct in each row
        self.buffers: dict[tuple[str, tuple[int, ...]], Tensor] = {}

    def clear(self) -> None:
        """Drop gradients and buffers."""
        self.weight_VD.grad = self.hidden_TD.grad = None
        self.buffers = {}

    def buffer(self, name: str, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        """Made before the clock runs, in the turn that warms up."""
        key = name, shape
        if key not in self.buffers:
            like = self.weight_VD.detach()
            self.buffers[key] = torch.ones(shape, dtype=dtype or like.dtype, device=like.device)
            if name == "z_CV":
                self.buffers[key].normal_()  # products of constants run faster
        return self.buffers[key]


@torch.no_grad()
def products(x: Inputs, rows: int = 8192) -> None:
    """The four matrix products of the loss, some tokens at a time, into buffers."""
    tokens, (vocabulary, hidden) = x.ids_T.shape[0], x.weight_VD.shape
    rows = min(rows, tokens)
    z_CV, taught_CV = x.buffer("z_CV", rows, vocabulary), x.buffer("taught_CV", rows, vocabulary)
    d_hidden = x.buffer("d_hidden", tokens, hidden)
    sum_VD = x.buffer("sum_VD", vocabulary, hidden, dtype=torch.float32)
    for start in range(0, tokens - rows + 1, rows):
        part = slice(start, start + rows)
        torch.mm(x.hidden_TD[part], x.weight_VD.T, out=z_CV)
        torch.mm(x.taught_TD[part], x.taught_VD.T, out=taught_CV)
        torch.mm(z_CV, x.weight_VD, out=d_hidden[part])
        if z_CV.is_cuda:
            torch.addmm(sum_VD, z_CV.T, x.hidden_TD[part], out_dtype=torch.float32, out=sum_VD)
        else:
            sum_VD += z_CV.T @ x.hidden_TD[part]


@torch.no_grad()
def product(x: Inputs, rows: int = 8192) -> None:
    """The student's product alone."""
    rows = min(rows, x.ids_T.shape[0])
    z_CV = x.buffer("z_CV", rows, x.weight_VD.shape[0])
    for start in range(0, x.ids_T.shape[0] - rows + 1, rows):
        torch.mm(x.hidden_TD[start : start + rows], x.weight_VD.T, out=z_CV)


def ours(x: Inputs, **options: Any) -> None:
    """Our loss from hidden states."""
    heads = OutputHead(x.weight_VD), OutputHead(x.taught_VD)
    topk_kl(
        x.hidden_TD, heads[0], x.taught_TD, heads[1], x.ids_T, x.weight_T, **{"topk": TOPK, **options}
    ).loss.backward()


def scoring(x: Inputs, precision: Any = "refined") -> None:
    """The 20 most probable ids, their log-probs and a label's."""
    head = OutputHead(x.weight_VD.detach())
    linear_lse_topk(x.hidden_TD.detach(), head, TOPK, labels_T=x.ids_T, precision=precision)


def gathering(x: Inputs) -> None:
    """Log-probs of 20 given ids and a label."""
    linear_lse_gather(x.hidden_TD.detach(), OutputHead(x.weight_VD.detach()), x.scores_TK, labels_T=x.ids_T)


@torch.no_grad()
def scoring_in_torch(x: Inputs) -> None:
    """1,024 tokens at a time: product, fp32 log_softmax, topk, gather."""
    for part in torch.arange(x.ids_T.shape[0], device=x.ids_T.device).split(1024):
        logprobs_RV = torch.log_softmax(x.hidden_TD[part] @ x.weight_VD.T, -1, dtype=torch.float32)
        logprobs_RV.topk(TOPK, dim=-1)
        logprobs_RV.gather(-1, x.ids_T[part, None])


def _on_logits(student_TV: Tensor, taught_TV: Tensor, ids_T: Tensor, num_tokens: int) -> Tensor:
    ones_T = torch.ones_like(ids_T)
    config = LossConfig(topk=TOPK)
    return opsd_loss(student_TV, taught_TV, ids_T, ones_T, ones_T, config=config, num_tokens=num_tokens).loss


def eager(x: Inputs) -> None:
    """``opsd_loss`` on all logits."""
    with torch.no_grad():
        taught_TV = x.taught_TD @ x.taught_VD.T
    _on_logits(x.hidden_TD @ x.weight_VD.T, taught_TV, x.ids_T, x.ids_T.shape[0]).backward()


def in_chunks(x: Inputs, rows: int = 1024) -> None:
    """The same under activation checkpoints of 1,024 tokens."""

    def chunk(part: slice) -> Tensor:
        with torch.no_grad():
            taught_TV = x.taught_TD[part] @ x.taught_VD.T
        student_TV = x.hidden_TD[part] @ x.weight_VD.T
        return _on_logits(student_TV, taught_TV, x.ids_T[part], x.ids_T.shape[0])

    parts = [slice(start, start + rows) for start in range(0, x.ids_T.shape[0], rows)]
    losses: list[Tensor] = [checkpoint(chunk, part, use_reentrant=False) for part in parts]
    torch.stack(losses).sum().backward()


def trl_sdpo(x: Inputs) -> None:
    """TRL's SDPO loss at the student's 20 ids and a tail, on all logits."""
    from trl.experimental.sdpo.loss_utils import compute_topk_self_distillation_loss

    with torch.no_grad():
        taught_TV = x.taught_TD @ x.taught_VD.T
    loss_T = compute_topk_self_distillation_loss(
        x.hidden_TD @ x.weight_VD.T, taught_TV, distillation_topk=TOPK, distillation_alpha=1.0,
        distillation_add_tail=True,
    )  # fmt: skip
    (loss_T * x.weight_T).sum().backward()


def trl_divergence(x: Inputs) -> None:
    """TRL's chunked divergence."""
    from trl.kernels.chunked_divergence import ChunkedDivergenceFunction

    loss_T, _ = ChunkedDivergenceFunction.apply(
        x.hidden_TD, x.weight_VD, None, x.taught_TD, x.taught_VD, None, 1.0
    )
    (loss_T * x.weight_T).sum().backward()


def liger(x: Inputs) -> None:
    """Liger Kernel's chunked JSD."""
    from liger_kernel.chunked_loss import LigerFusedLinearJSDLoss

    loss = LigerFusedLinearJSDLoss(weight_hard_loss=0.0, weight_soft_loss=1.0, beta=0.5)
    value = loss(x.hidden_TD, x.weight_VD, x.taught_TD, x.taught_VD, x.ids_T)
    (value[0] if isinstance(value, tuple) else value).backward()


def cce(x: Inputs) -> None:
    """Cut cross-entropy."""
    from cut_cross_entropy import linear_cross_entropy

    linear_cross_entropy(x.hidden_TD, x.weight_VD, x.ids_T, impl="cce").backward()


class Method(NamedTuple):
    """How to run one, what it needs, and its least work in units of 2 T H V."""

    run: Callable[[Inputs], None]
    units: int
    needs: str | None = None
    same: bool = False


METHODS = {
    "products": Method(products, 8),
    "products, 4096 rows": Method(lambda x: products(x, 4096), 8),
    "ours": Method(ours, 8, same=True),
    "ours, rounded": Method(lambda x: ours(x, precision="rounded"), 8, same=True),
    "ours, no tail": Method(lambda x: ours(x, tail=False), 8),
    "ours, torch": Method(lambda x: ours(x, backend="torch"), 8, same=True),
    "eager": Method(eager, 8, same=True),
    "checkpointed chunks": Method(in_chunks, 8, same=True),
    "trl sdpo": Method(trl_sdpo, 8, "trl", same=True),
    "trl divergence": Method(trl_divergence, 8, "trl"),
    "liger jsd": Method(liger, 8, "liger_kernel"),
    "cce": Method(cce, 6, "cut_cross_entropy"),
    "product": Method(product, 2),
    "scoring": Method(scoring, 2),
    "gathering": Method(gathering, 2),
    "scoring in torch": Method(scoring_in_torch, 2),
}


def available(names: list[str]) -> dict[str, Method]:
    """Those asked for, or all, that can run here."""
    found = {name: method for name, method in METHODS.items() if not names or name in names}
    if unknown := set(names) - set(METHODS):
        raise SystemExit(f"unknown methods: {', '.join(sorted(unknown))}; there are {', '.join(METHODS)}")
    on_gpu = torch.cuda.is_available()
    return {
        name: method
        for name, method in found.items()
        if method.needs is None or (on_gpu and find_spec(method.needs) is not None)
    }
