"""From hidden states to logits: the output matrix, and what some families do to its product (``LogitRule``).

Shapes: T positions, D hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor, nn

from opsd_rs.base import LogitRule


class Head(nn.Module):
    """Logits of a causal LM from its last hidden states, as the model's own ``forward`` gives them.

    It holds no parameters: the output matrix stays where the model has it.
    """

    def __init__(self, lm: nn.Module) -> None:
        super().__init__()
        config: Any = lm.config
        self.rule = LogitRule.of(config)
        self.factor, self.softcap = self.rule

    def forward(self, lm_head: nn.Module, hidden_TD: Tensor) -> Tensor:
        """Logits_TV in the compute type."""
        return self.rule.apply(lm_head(hidden_TD))


class HeadParts(NamedTuple):
    """Logits are ``softcap * tanh(scale * (h W^T + b) / softcap)``; no tanh without ``softcap``."""

    weight_VD: Tensor
    bias_V: Tensor | None
    scale: float
    softcap: float | None


def make_readable(lm: nn.Module, head: Head) -> None:
    """Let ``lm.lm_head(hidden_TD, read)`` return ``read(hidden_TD, parts)``; called with hidden states alone it stays
    what it was.

    A loss that needs the whole output matrix is computed inside of the module that holds it: there the hooks by which
    ZeRO-3 gathers the module's weights have run.
    """
    module: Any = lm.lm_head
    plain = module.forward

    def forward(hidden_TD: Tensor, read: Callable[[Tensor, HeadParts], Tensor] | None = None) -> Tensor:
        if read is None:
            logits: Tensor = plain(hidden_TD)
            return logits
        bias_V = getattr(module, "bias", None)
        return read(hidden_TD, HeadParts(module.weight, bias_V, head.factor, head.softcap))

    module.forward = forward


def check_head(lm: nn.Module, model_dir: str) -> None:
    """Compare ``Head`` with the model's own ``forward`` above the same hidden states, with large logits.

    :raises BadInput: the model's logits are not those of ``Head``
    """
    Head(lm).rule.check(lm, f"model.path = {model_dir}")
