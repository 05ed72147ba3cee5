"""What vLLM's worker does with a parcel of weights: load it in place, pack the head again, prove both.

Letters: V vocabulary, C probed columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    pass
from opsd_rs.rollout.weights.parcel import fingerprint, unpack


class WorkerExtension:
    """Methods that vLLM adds to its worker (``worker_extension_cls``); called through ``collective_rpc``.

    The prefix is required: vLLM refuses an extension whose names its worker already has.
    """

    model_runner: Any
    reload_weights: Any

    def opsd_load(self, fds: list[int]) -> dict[str, int]:
        """Load a parcel in place, pack the head again; return the fingerprints of what was read."""
        received: dict[str, int] = {}

        def stream() -> Iterator[tuple[str, torch.Tensor]]:
            for name, tensor in unpack(fds):
                received[name] = fingerprint(tensor)
                yield name, tensor

        self.reload_weights(weights_iterator=stream())
        self.opsd_refresh_head()
        return received

    def opsd_refresh_head(self) -> None:
        """Pack the output head from its current weight; a no-op on a GPU, where it is used as it is."""
        head = self._opsd_packed_head()
        if head is not None:
            from vllm.model_executor.layers.utils import dispatch_cpu_unquantized_gemm

            dispatch_cpu_unquantized_gemm(head, remove_weight=False)

    def opsd_stale_head(self, version: int, num_columns: int = 128) -> int:
        """How many entries of the packed head differ from its weight, over a window of columns.

        The window moves with ``version``. A product with a unit vector has one non-zero term, so it is exact in
        any precision.
        """
        head = self._opsd_packed_head()
        if head is None:
            return 0
        weight_VH = head.weight.detach()
        hidden = weight_VH.shape[1]
        first = version * num_columns % hidden
        columns = (torch.arange(min(num_columns, hidden)) + first) % hidden
        units_CH = torch.nn.functional.one_hot(columns, hidden).to(weight_VH.dtype)
        with torch.inference_mode():
            seen_CV = head.quant_method.apply(head, units_CH)
        return int((seen_CV != weight_VH[:, columns].T).sum())

    def _opsd_packed_head(self) -> Any | None:
        """The head's layer on a platform that packs it."""
        from vllm.platforms import current_platform

        if not current_platform.is_cpu():
            return None
        head = getattr(self.model_runner.get_model(), "lm_head", None)
        return head if getattr(head, "weight", None) is not None else None
