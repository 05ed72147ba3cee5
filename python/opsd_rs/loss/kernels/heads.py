"""An output matrix and what its family does to the product: the last step from hidden states to logits.

    z_v = cap * tanh(scale * (<h, W_v> + b_v) / cap) / temperature        (each part left out where it is not set)

Gemma caps softly, Granite and Cohere scale, every loss here divides by the rollouts' temperature. Vocabularies padded
to a round number have rows that no token uses; ``valid_vocab`` cuts them off, so that they take no probability.

What it does not do: hold a parameter of its own, or compute more rows of logits than it is asked for.
"""

# Shapes: T tokens, D hidden size, V vocabulary (``valid_vocab`` of it where given), J chosen ids of a token.

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from opsd_rs.errors import BadInput


@dataclass(frozen=True, slots=True)
class OutputHead:
    """``weight_VD`` (V, D) and ``bias_V`` (V,) of a language model, ``scale`` > 0, ``softcap`` > 0 or None.

    Raises BadInput where the parts do not fit together.

    >>> head = OutputHead(torch.eye(3), valid_vocab=2)
    >>> head.vocabulary, head.logits(torch.tensor([[1.0, 2.0, 3.0]])).tolist()
    (2, [[1.0, 2.0]])
    """

    weight_VD: Tensor
    bias_V: Tensor | None = None
    scale: float = 1.0
    softcap: float | None = None
    valid_vocab: int | None = None
    """Ids from here on are padding; None: every row of the matrix is a token."""

    def __post_init__(self) -> None:
        if self.weight_VD.dim() != 2 or self.weight_VD.shape[0] == 0:
            raise BadInput(
                f"OutputHead: weight_VD has shape {tuple(self.weight_VD.shape)}; give (V, D) with V > 0"
            )
        rows = self.weight_VD.shape[0]
        if self.bias_V is not None and self.bias_V.shape != (rows,):
            raise BadInput(f"OutputHead: bias_V has shape {tuple(self.bias_V.shape)}, not ({rows},)")
        if self.valid_vocab is not None and not 1 <= self.valid_vocab <= rows:
            raise BadInput(f"OutputHead: valid_vocab = {self.valid_vocab} is not between 1 and {rows}")
        for name, value in (("scale", self.scale), ("softcap", self.softcap)):
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise BadInput(f"OutputHead: {name} = {value} is not a positive number")

    @property
    def vocabulary(self) -> int:
        """Ids that can be drawn."""
        return self.weight_VD.shape[0] if self.valid_vocab is None else self.valid_vocab

    def matrix(self) -> Tensor:
        """The used rows of the matrix (V, D), a view."""
        return self.weight_VD[: self.vocabulary]

    def logit_map(self, temperature: float) -> LogitMap:
        """What follows the product."""
        bias_V = None if self.bias_V is None else self.bias_V[: self.vocabulary]
        return LogitMap(bias_V, self.scale, self.softcap, temperature)

    def logits(self, hidden_TD: Tensor, temperature: float = 1.0) -> Tensor:
        """All logits at once (T, V), fp32 or better, with autograd: the plain way, for small T."""
        return self.logit_map(temperature)(hidden_TD @ self.matrix().T)


@dataclass(frozen=True, slots=True)
class LogitMap:
    """From products <h, W_v> to logits z, in fp32 or better, and back.

    >>> LogitMap(None, 2.0, None, 4.0)(torch.tensor([[3.0]])).item()
    1.5
    """

    bias_V: Tensor | None
    scale: float
    softcap: float | None
    temperature: float

    def __call__(self, product: Tensor, ids_TJ: Tensor | None = None) -> Tensor:
        """Logits of ``product`` (T, V), or (T, J) at ``ids_TJ``. The same tensor where there is nothing to do."""
        z = product.to(torch.promote_types(product.dtype, torch.float32))
        if self.bias_V is not None:
            z = z + (self.bias_V if ids_TJ is None else self.bias_V[ids_TJ])
        if self.scale != 1.0:
            z = z * self.scale
        if self.softcap is not None:
            z = torch.tanh(z / self.softcap) * self.softcap
        return z if self.temperature == 1.0 else z * (1 / self.temperature)

    @property
    def factor(self) -> float:
        """dz / d product without a soft cap."""
        return self.scale / self.temperature

    def slope(self, z: Tensor) -> Tensor | float:
        """dz / d product at logits ``z``."""
        if self.softcap is None:
            return self.factor
        return self.factor * (1 - (z * (self.temperature / self.softcap)).square())
