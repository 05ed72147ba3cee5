"""AdamW whose master weights and moments lie in host memory: 12 bytes a parameter there, none on the GPU at rest.

It takes the place of the ``step`` of DeepSpeed's optimizer, whichever class that is: norm and clipping are DeepSpeed's
own, then chunks of weights and moments pass through the GPU, where torch's AdamW works on them. Each element meets the
same operations as without it, so the weights come out equal to the bit. DeepSpeed's own offload would keep 18 bytes on
the host at stages 1 and 2, and compile an AdamW for the CPU.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from opsd_rs.policy import host
from opsd_rs.policy.shards import Shards

MOMENTS = ("exp_avg", "exp_avg_sq")


class HostAdamW:
    """The optimizer's step for the parts of ``shards``, with the settings of DeepSpeed's ``param_groups``.

    Made once DeepSpeed has its masters; they move to host memory.
    """

    def __init__(self, shards: Shards, device: torch.device) -> None:
        self._shards, self._device = shards, device
        self.num_steps = 0
        masters = shards.masters
        for i, master in enumerate(masters):
            moved = host.host_zeros(self, master.numel(), device)
            moved.copy_(master.detach())
            if hasattr(master, "ds_id"):
                moved.ds_id = master.ds_id  # type: ignore[attr-defined]
            masters[i] = moved.requires_grad_()
        shards.link_masters()
        self.moments = {
            name: [host.host_zeros(self, master.numel(), device) for master in masters] for name in MOMENTS
        }
        shards.optimizer.step = self.step
        if device.type == "cuda":
            torch.cuda.empty_cache()  # the masters' memory is for the sampler beside, too

    @torch.no_grad()
    def step(self) -> None:
        """Clip, AdamW, publish; nothing but the gradients goes where their norm is not finite."""
        shards = self._shards
        multiplier = shards.begin_step()
        if multiplier is None:
            return
        for part, compute in enumerate(shards.compute):
            self._update(part, compute, multiplier)
        self.num_steps += 1
        shards.end_step()

    def _update(self, part: int, compute: Tensor, multiplier: Tensor) -> None:
        gradients = _Pieces(self._shards.gradients(part))
        master = self._shards.masters[part].detach()
        moments = [self.moments[name][part] for name in MOMENTS]
        buffer = torch.empty(min(host.CHUNK, master.numel()), device=self._device)

        def work(start: int, stop: int, staged: list[Tensor]) -> None:
            gradient = buffer[: stop - start]
            gradients.copy(start, gradient)
            gradient.mul_(multiplier)
            self._adamw(staged[0], gradient, staged[1], staged[2])
            compute[start:stop].copy_(staged[0])

        host.streamed([master, *moments], self._device, work, written=(0, 1, 2))

    def _adamw(self, weights: Tensor, gradient: Tensor, first: Tensor, second: Tensor) -> None:
        from torch.optim.adamw import adamw

        settings: dict[str, Any] = self._shards.optimizer.param_groups[0]
        fused = self._device.type == "cuda"
        step = torch.tensor(float(self.num_steps), device=self._device if fused else "cpu")
        adamw(
            [weights],
            [gradient],
            [first],
            [second],
            [],
            [step],
            fused=fused or None,
            amsgrad=False,
            beta1=settings["betas"][0],
            beta2=settings["betas"][1],
            lr=settings["lr"],
            weight_decay=settings["weight_decay"],
            eps=settings["eps"],
            maximize=False,
        )

    def save(self, folder: Path, rank: int) -> None:
        """Write this rank's masters, moments and count of steps."""
        state = {
            "masters": [master.detach() for master in self._shards.masters],
            "moments": self.moments,
            "num_steps": self.num_steps,
        }
        torch.save(state, _file(folder, rank))

    @torch.no_grad()
    def load(self, folder: Path, rank: int) -> None:
        """Restore what ``save`` wrote, reading the file piece by piece, and publish the masters."""
        state = torch.load(_file(folder, rank), map_location="cpu", mmap=True, weights_only=True)
        for master, saved in zip(self._shards.masters, state["masters"], strict=True):
            master.detach().copy_(saved)
        for name in MOMENTS:
            for moment, saved in zip(self.moments[name], state["moments"][name], strict=True):
                moment.copy_(saved)
        self.num_steps = state["num_steps"]
        self._shards.take(self._shards.masters, on_host=True)


def _file(folder: Path, rank: int) -> Path:
    return folder / f"optimizer_rank_{rank}.pt"


class _Pieces:
    """Tensors that stand for one flat tensor, followed by zeros."""

    def __init__(self, pieces: list[Tensor]) -> None:
        self._pieces = pieces
        self._starts = [0]
        for piece in pieces:
            self._starts.append(self._starts[-1] + piece.numel())

    def copy(self, start: int, target: Tensor) -> None:
        """Elements from ``start`` on, converted to the type of ``target``, until it is full."""
        stop = start + target.numel()
        for piece, first, end in zip(self._pieces, self._starts, self._starts[1:], strict=False):
            low, high = max(first, start), min(end, stop)
            if low < high:
                target[low - start : high - start].copy_(piece[low - first : high - first])
        if stop > self._starts[-1]:
            target[max(self._starts[-1] - start, 0) :].zero_()
