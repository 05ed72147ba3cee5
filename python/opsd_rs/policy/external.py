"""Another model as teacher: frozen, whole on each rank's device, in the compute type of the student."""

from __future__ import annotations

import torch
from torch import Tensor

from opsd_rs.base import Batch
from opsd_rs.policy.head import HeadParts
from opsd_rs.policy.inputs import model_inputs
from opsd_rs.policy.lm import CompletionModel, check_attention, load_model


class ExternalTeacher:
    """``ExternalTeacher(model_dir, dtype, device)`` loads the model.

    :param packed: rows go through it end to end, as through the student
    :raises BadInput: a model that the student could not be either
    """

    def __init__(self, model_dir: str, dtype: str, device: torch.device, *, packed: bool) -> None:
        self.device, self.packed = device, packed
        self.model = CompletionModel(load_model(model_dir, dtype, packed=packed)).to(device)
        self.model.requires_grad_(False)
        if packed:
            check_attention(self.model, model_dir)

    @torch.no_grad()
    def read(self, batch: Batch) -> tuple[Tensor, HeadParts]:
        """Hidden states (T, E) at the completion positions of ``batch``, and the output head."""
        heads: list[HeadParts] = []

        def keep(hidden_TE: Tensor, head: HeadParts) -> Tensor:
            heads.append(head)
            return hidden_TE

        hidden_TE: Tensor = self.model(*model_inputs(batch, self.device, packed=self.packed), keep)
        return hidden_TE, heads[0]
