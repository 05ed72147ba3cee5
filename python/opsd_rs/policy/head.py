"""From hidden states to logits: the output matrix, and what some families do to its product.

Gemma caps logits softly (``cap * tanh(logits / cap)``), Granite divides them by ``logits_scaling``, Cohere multiplies
them by ``logit_scale``. A model that does anything else is refused by name: a loss on other logits than the sampler's
would be wrong without a sign.

Shapes: T positions, D hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from opsd_rs.errors import BadInput

PROBE_STD = 60.0
"""Standard deviation of the logits that the check compares: far outside of any soft cap's linear part."""
PROBE_TOLERANCE = 0.02
"""Largest difference allowed there, as a share of that deviation; bf16 rounds to 0.004."""


class Head(nn.Module):
    """Logits of a causal LM from its last hidden states, as the model's own ``forward`` gives them.

    It holds no parameters: the output matrix stays where the model has it.
    """

    def __init__(self, lm: nn.Module) -> None:
        super().__init__()
        config: Any = lm.config
        text = config.get_text_config()
        self.softcap = _positive(text, "final_logit_softcapping")
        self.factor = 1.0
        if (scaling := _positive(text, "logits_scaling")) is not None:
            self.factor = 1.0 / scaling
        elif (scale := _positive(text, "logit_scale")) is not None:
            self.factor = scale

    def forward(self, lm_head: nn.Module, hidden_TD: Tensor) -> Tensor:
        """Logits_TV in the compute type."""
        logits_TV: Tensor = lm_head(hidden_TD)
        if self.factor != 1.0:
            logits_TV = logits_TV * self.factor
        if self.softcap is not None:
            logits_TV = torch.tanh(logits_TV / self.softcap) * self.softcap
        return logits_TV


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


def _positive(config: Any, name: str) -> float | None:
    value = getattr(config, name, None)
    return float(value) if value else None


class _Given(nn.Module):
    """Stands in for the model below the head: returns given hidden states, and has the model's other attributes."""

    def __init__(self, model: nn.Module, hidden_1TD: Tensor) -> None:
        super().__init__()
        self._stands_for = [model]  # in a list: not a child of this module
        self._hidden_1TD = hidden_1TD

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.__dict__["_stands_for"][0], name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return _Output(self._hidden_1TD)


class _Output(SimpleNamespace):
    """A model's output with nothing but hidden states; whatever else is asked for is None."""

    def __init__(self, hidden_1TD: Tensor) -> None:
        super().__init__(last_hidden_state=hidden_1TD)

    def __getattr__(self, name: str) -> None:
        return None

    def __getitem__(self, index: int) -> Tensor | None:
        found: Tensor | None = self.last_hidden_state if index == 0 else None
        return found


@torch.no_grad()
def check_head(lm: nn.Module, model_dir: str) -> None:
    """Compare ``Head`` with the model's own ``forward`` above the same hidden states, with large logits.

    :raises BadInput: the model's logits are not those of ``Head``
    """
    model: Any = lm
    weight: Tensor = model.lm_head.weight
    generator = torch.Generator().manual_seed(0)
    hidden_TD = torch.randn(4, weight.shape[1], generator=generator).to(weight.device, weight.dtype)
    spread = model.lm_head(hidden_TD).float().std().item()
    if spread == 0.0:
        return  # an output matrix of zeros has nothing to compare
    head = Head(lm)
    hidden_TD = hidden_TD * (PROBE_STD / spread / head.factor)
    ours_TV = head(model.lm_head, hidden_TD).float()
    below = model.model
    try:
        model.model = _Given(below, hidden_TD[None])
        found = model(input_ids=torch.zeros(1, 4, dtype=torch.int64, device=weight.device), use_cache=False)
    finally:
        model.model = below
    theirs_TV = found.logits[0].float()
    same_shape = theirs_TV.shape == ours_TV.shape
    if same_shape and (theirs_TV - ours_TV).abs().max().item() <= PROBE_TOLERANCE * PROBE_STD:
        return
    raise BadInput(
        f"model.path = {model_dir}: {type(lm).__name__} changes its logits after the output matrix in a way that is"
        " not supported (supported: final_logit_softcapping, logits_scaling as in Granite, logit_scale as in Cohere)"
    )
