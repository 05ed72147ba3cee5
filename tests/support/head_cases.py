"""Heads, hidden states and the plain path for tests of ``opsd_rs.loss.kernels``."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from opsd_rs.config import LossConfig
from opsd_rs.loss import OpsdLoss, opsd_loss
from opsd_rs.loss.kernels import OutputHead, opsd_loss_from_hidden
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
EXTRAS: dict[str, dict[str, Any]] = {
    "plain": {},
    "bias": {"bias": True},
    "gemma": {"softcap": 5.0, "temperature": 0.7},
    "granite": {"scale": 0.25, "bias": True},
    "padded": {"valid_vocab": 41, "temperature": 1.3},
    "all": {"bias": True, "softcap": 8.0, "scale": 1.5, "valid_vocab": 50, "temperature": 0.6},
}
"""What a family does to its logits."""


class Case(NamedTuple):
    """Student and teacher of a micro-batch; ``leaves`` are what gets a gradient."""

    hidden_TD: Tensor
    head: OutputHead
    taught_TE: Tensor
    teacher: OutputHead
    ids_T: Tensor
    mask_T: Tensor
    row_T: Tensor
    temperature: float

    @property
    def leaves(self) -> tuple[Tensor, ...]:
        """Hidden states, matrix, and the bias where there is one."""
        bias = self.head.bias_V
        return (self.hidden_TD, self.head.weight_VD, *(() if bias is None else (bias,)))


def case(
    *,
    tokens: int = 13,
    size: int = 8,
    teacher_size: int = 6,
    vocabulary: int = 53,
    dtype: torch.dtype = torch.float64,
    device: str = "cpu",
    seed: int = 0,
    std: float = 1.0,
    bias: bool = False,
    temperature: float = 1.0,
    valid_vocab: int | None = None,
    **head: Any,
) -> Case:
    """Rows of four tokens, about a quarter of the tokens masked."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int, grad: bool = False) -> Tensor:
        values = std * torch.randn(*shape, generator=generator, dtype=torch.float64)
        return values.to(device, dtype).requires_grad_(grad)

    hidden_TD, weight_VD = normal(tokens, size, grad=True), normal(vocabulary, size, grad=True)
    bias_V = normal(vocabulary, grad=True) if bias else None
    ids_T = torch.randint(valid_vocab or vocabulary, (tokens,), generator=generator)
    mask_T = torch.rand(tokens, generator=generator) > 0.25
    return Case(
        hidden_TD,
        OutputHead(weight_VD, bias_V, valid_vocab=valid_vocab, **head),
        normal(tokens, teacher_size),
        OutputHead(normal(vocabulary, teacher_size), valid_vocab=valid_vocab, **head),
        ids_T.to(device),
        mask_T.to(device),
        (torch.arange(tokens) // 4).to(device),
        temperature,
    )


def upcast(case: Case) -> Case:
    """The same numbers in fp64."""

    def head(given: OutputHead) -> OutputHead:
        weight_VD = given.weight_VD.detach().double().requires_grad_(given.weight_VD.requires_grad)
        return OutputHead(weight_VD, given.bias_V, given.scale, given.softcap, given.valid_vocab)

    return case._replace(
        hidden_TD=case.hidden_TD.detach().double().requires_grad_(),
        head=head(case.head),
        taught_TE=case.taught_TE.double(),
        teacher=head(case.teacher),
    )


def plain(case: Case, config: LossConfig, **options: Any) -> OpsdLoss:
    """``opsd_loss`` on all logits."""
    return opsd_loss(
        case.head.logits(case.hidden_TD),
        case.teacher.logits(case.taught_TE),
        case.ids_T,
        case.mask_T,
        case.row_T,
        config=config,
        temperature=case.temperature,
        **options,
    )


def chunked(case: Case, config: LossConfig, **options: Any) -> OpsdLoss:
    """The same without them; by default a few tokens at a time."""
    options.setdefault("budget_bytes", 8000)
    return opsd_loss_from_hidden(
        case.hidden_TD,
        case.taught_TE,
        case.ids_T,
        case.mask_T,
        case.row_T,
        head=case.head,
        teacher_head=case.teacher,
        config=config,
        temperature=case.temperature,
        **options,
    )


def gradients(case: Case, out: OpsdLoss) -> tuple[Tensor, ...]:
    """Of every leaf."""
    return torch.autograd.grad(out.loss, case.leaves)


def relative(found: Tensor, exact: Tensor) -> float:
    """Frobenius norm of the difference over that of ``exact``."""
    exact = exact.double().cpu()
    return ((found.double().cpu() - exact).norm() / exact.norm()).item()


class Largest(TorchDispatchMode):
    """The largest tensor that any operation returns, and how many matrix products there are."""

    def __init__(self) -> None:
        super().__init__()
        self.numel, self.products = 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        found = out if isinstance(out, tuple | list) else (out,)
        self.numel = max([self.numel, *(x.numel() for x in found if isinstance(x, Tensor))])
        self.products += func.overloadpacket in (
            torch.ops.aten.mm,
            torch.ops.aten.addmm,
            torch.ops.aten.addmm_,
        )
        return out
