"""Student -> sampler: the trainer's weights cross to the process that samples, and it is proved that they arrived.

In: ``(name, tensor)`` pairs under Hugging Face names. They travel as safetensors in anonymous shared memory
(memfd_create(2)): no path, no port, nothing left behind when either side is killed. In the sampler's process
``WorkerExtension`` loads them into vLLM in place. Two errors are silent there, so each has a fix and a proof:

- vLLM's CPU build keeps a packed copy of the output head. With tied embeddings a reload leaves that copy old
  (log-probabilities off by 0.4-1.3). Fix: pack it again. Proof: multiply the packed head by unit vectors, which
  must give back columns of the weight to the bit, however small the update was.
- Keys and values in the prefix cache outlive the weights that made them. Fix: reset the cache. Proof: a probe
  prompt longer than two cache blocks is cached before the load and must not hit the cache after it.

Two further checks need no knowledge of the engine: fingerprints of each tensor's bits, taken on both sides, and
``verify_against``, which compares the sampler's log-probabilities on the probe with the trainer's own forward.

Letters: V vocabulary, K probed tokens.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from safetensors import safe_open
from safetensors.torch import save

from opsd_rs.errors import OpsdError, Stopped

if TYPE_CHECKING:
    from pathlib import Path


BUCKET_BYTES = 1 << 29
"""Weights are packed in pieces of this size, so that the trainer never holds a second whole copy."""


def fingerprint(tensor: torch.Tensor) -> int:
    """64 bits that depend on every bit of ``tensor`` and on the order of its 32 KiB rows; any dtype and device.

    >>> fingerprint(torch.zeros(3)) != fingerprint(torch.tensor([0.0, 1e-45, 0.0]))
    True
    """
    raw = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
    if raw.numel() % 8 or raw.storage_offset() % 8:
        padded = raw.new_zeros(-(-raw.numel() // 8) * 8)
        padded[: raw.numel()] = raw
        raw = padded
    words = raw.view(torch.int64)
    num_rows = words.numel() // 4096
    rows = words[: num_rows * 4096].view(num_rows, 4096).sum(dim=1)
    weights = torch.arange(num_rows, device=rows.device) * 2 + 1
    total = int((rows * weights).sum()) + int(words[num_rows * 4096 :].sum()) * (2 * num_rows + 1)
    return total % 2**64  # the sums wrap, as two's complement does


class Parcel:
    """Weights packed for another process: open memfds and the fingerprint of each tensor in them."""

    def __init__(self) -> None:
        self.fds: list[int] = []
        self.fingerprints: dict[str, int] = {}

    def add(self, bucket: dict[str, torch.Tensor]) -> None:
        """Write one bucket as one safetensors file in memory."""
        fd = os.memfd_create("opsd-rs-weights", os.MFD_CLOEXEC)
        self.fds.append(fd)
        rest = memoryview(save(bucket))
        while rest:
            rest = rest[os.write(fd, rest) :]

    def close(self) -> None:
        """Free the memory (the reader's own handles keep it until they too are closed)."""
        while self.fds:
            os.close(self.fds.pop())


def pack(weights: Iterable[tuple[str, torch.Tensor]], dtype: torch.dtype, skip: frozenset[str]) -> Parcel:
    """Copy ``weights`` into shared memory, floating-point tensors as ``dtype``; names in ``skip`` stay here.

    The iterable may gather each tensor on demand: none is kept beyond its turn.

    Raises OpsdError where a tensor is empty (a partitioned parameter that was not gathered) or comes twice.
    """
    parcel = Parcel()
    bucket: dict[str, torch.Tensor] = {}
    size = 0
    try:
        for name, tensor in weights:
            if name in skip:
                continue
            if name in parcel.fingerprints:
                raise OpsdError(f"weight sync: {name} was sent twice")
            if tensor.numel() == 0:
                raise OpsdError(f"weight sync: {name} is empty: gather partitioned parameters before sending")
            wanted = dtype if tensor.is_floating_point() else tensor.dtype
            copy = tensor.detach().to(device="cpu", dtype=wanted, copy=True).contiguous()
            parcel.fingerprints[name] = fingerprint(copy)
            bucket[name] = copy
            size += copy.nbytes
            if size >= BUCKET_BYTES:
                parcel.add(bucket)
                bucket, size = {}, 0
        if bucket:
            parcel.add(bucket)
    except BaseException:
        parcel.close()
        raise
    return parcel


def unpack(fds: Sequence[int]) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors of a parcel, mapped, not copied, in the order in which each bucket holds them."""
    for fd in fds:
        with safe_open(f"/proc/self/fd/{fd}", framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 (safe_open is no mapping)
                yield name, file.get_tensor(name)


def checkpoint_names(model_dir: Path) -> frozenset[str]:
    """Names of all tensors in a model directory's safetensors files; empty where it has none."""
    names: set[str] = set()
    for path in sorted(model_dir.glob("*.safetensors")):
        with safe_open(str(path), framework="pt") as file:
            names.update(file.keys())
    return frozenset(names)


def verify_names(sent: Iterable[str], expected: frozenset[str], version: int) -> None:
    """Raise OpsdError where a tensor of the checkpoint was not sent: the engine would silently keep the old one."""
    missing = sorted(expected - set(sent))
    if missing:
        raise OpsdError(
            f"weight sync {version}: {len(missing)} of {len(expected)} tensors were not sent, first {missing[0]}; "
            "send every parameter under its Hugging Face name"
        )


def verify_fingerprints(sent: Mapping[str, int], received: Mapping[str, int], version: int) -> None:
    """Raise Stopped where the sampler read other bits than the trainer wrote."""
    differing = sorted(name for name in sent.keys() | received.keys() if sent.get(name) != received.get(name))
    if differing:
        raise Stopped(
            f"weight sync {version}: {len(differing)} of {len(sent)} tensors changed on the way to the sampler, "
            f"first {differing[0]}; resume from the last checkpoint"
        )
