"""What a Hugging Face model does to the product of its output matrix, read from its configuration and checked.

Gemma caps logits softly (``cap * tanh(logits / cap)``), Granite divides them by ``logits_scaling``, Cohere multiplies
them by ``logit_scale``. A model that does anything else is refused by name: a loss on other logits than the sampler's
would be wrong without a sign.
"""

# Shapes: T positions, D hidden size, V vocabulary.

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


class LogitRule(NamedTuple):
    """logits = softcap * tanh(scale * product / softcap), without the cap where it is None.

    >>> LogitRule(2.0, None).apply(torch.tensor([1.0])).tolist()
    [2.0]
    """

    scale: float
    softcap: float | None

    @classmethod
    def of(cls, config: Any) -> LogitRule:
        """As a model's configuration says."""
        text = config.get_text_config()
        scale = 1.0
        if (divisor := _positive(text, "logits_scaling")) is not None:
            scale = 1.0 / divisor
        elif (factor := _positive(text, "logit_scale")) is not None:
            scale = factor
        return cls(scale, _positive(text, "final_logit_softcapping"))

    def apply(self, product_TV: Tensor) -> Tensor:
        """Logits in the type of the product."""
        if self.scale != 1.0:
            product_TV = product_TV * self.scale
        if self.softcap is not None:
            product_TV = torch.tanh(product_TV / self.softcap) * self.softcap
        return product_TV

    @torch.no_grad()
    def check(self, lm: nn.Module, named: str, logits: Callable[[Tensor], Tensor] | None = None) -> None:
        """Compare logits made by the rule with the model's own ``forward`` above the same hidden states, large ones.

        ``logits``: from hidden states; None: ``lm_head`` and the rule. ``named``: what the error begins with.

        :raises BadInput: the model's logits are others
        """
        model: Any = lm
        weight: Tensor = model.get_output_embeddings().weight
        generator = torch.Generator().manual_seed(0)
        hidden_TD = torch.randn(4, weight.shape[1], generator=generator).to(weight.device, weight.dtype)
        spread = model.lm_head(hidden_TD).float().std().item()
        if spread == 0.0:
            return  # an output matrix of zeros has nothing to compare
        hidden_TD = hidden_TD * (PROBE_STD / spread / self.scale)
        ours_TV = (logits(hidden_TD) if logits else self.apply(model.lm_head(hidden_TD))).float()
        below = model.model
        try:
            model.model = _Given(below, hidden_TD[None])
            found = model(
                input_ids=torch.zeros(1, 4, dtype=torch.int64, device=weight.device), use_cache=False
            )
        finally:
            model.model = below
        theirs_TV = found.logits[0].float()
        same_shape = theirs_TV.shape == ours_TV.shape
        if same_shape and (theirs_TV - ours_TV).abs().max().item() <= PROBE_TOLERANCE * PROBE_STD:
            return
        raise BadInput(
            f"{named}: {type(lm).__name__} changes its logits after the output matrix in a way that"
            " is not supported (supported: final_logit_softcapping, logits_scaling as in Granite, logit_scale as in"
            " Cohere)"
        )


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
