"""Student -> sampler: the trainer's weights cross to the process that samples, and it is proved that they arrived.

In: ``(name, tensor)`` pairs under Hugging Face names. They travel as safetensors in anonymous shared memory
(memfd_create(2)): no path, no port, nothing left behind when either side is killed. In the sampler's process
``WorkerExtension`` loads them into vLLM in place. Two traps are silent there, so each has a mend and a proof:

- vLLM's CPU build keeps a packed copy of the output head. With tied embeddings a reload leaves that copy old
  (log-probabilities off by 0.4-1.3). Mend: pack it again. Proof: multiply the packed head by unit vectors, which
  must give back columns of the weight to the bit, however small the update was.
- Keys and values in the prefix cache outlive the weights that made them. Mend: reset the cache. Proof: a probe
  prompt longer than two cache blocks is cached before the load and must not hit the cache after it.

Two further checks ask for no knowledge of the engine: fingerprints of each tensor's bits, taken on both sides, and
``verify_against``, which compares the sampler's log-probabilities on the probe with the trainer's own forward.

Letters: V vocabulary, K probed tokens.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from safetensors.torch import save

from opsd_rs.errors import OpsdError, Stopped

if TYPE_CHECKING:
    from pathlib import Path

BUCKET_BYTES = 1 << 29
"""Weights are packed in pieces of this size, so that the trainer never holds a second whole copy."""
PROBE_TOKENS = 320
"""Longer than two cache blocks of vLLM's CPU build (128 tokens each; 16 on CUDA)."""
PROBE_TOP = 20
"""Tokens whose log-probability is compared; vLLM's default ceiling."""
TOLERANCE = {"float32": 1e-3, "bfloat16": 0.25}
"""Nats, mean |difference| over the probed tokens between the sampler and the trainer's forward, by the sampler's type.

Measured with SmolLM2-135M, vLLM on CPU, 4 sets of weights, 13 prompts each of 200-320 tokens: at most 0.11 in bf16
(against bf16, autocast and fp32 forwards; single tokens reach 0.30) and 3e-5 in fp32. A stale head or cache moves
single tokens by 0.4-1.3 where weights moved by a tenth of their spread; smaller moves are for the exact proofs.
"""


@dataclass(frozen=True, slots=True)
class ProbeScore:
    """The most probable next tokens after a prompt.

    >>> ProbeScore(token_ids=(7, 2), logprobs=(-0.2, -1.9)).token_ids
    (7, 2)
    """

    token_ids: tuple[int, ...]
    """K ids, most probable first."""
    logprobs: tuple[float, ...]
    """Of the whole vocabulary's softmax at temperature 1, in nats."""


def probe_prompt(vocab_size: int, max_model_len: int) -> tuple[int, ...]:
    """A fixed prompt of pseudo-random ids, the same for every run of a model.

    >>> probe_prompt(1000, 4096)[:3] == probe_prompt(1000, 4096)[:3], len(probe_prompt(1000, 4096))
    (True, 320)
    """
    length = min(PROBE_TOKENS, max_model_len - 2)
    stream = hashlib.shake_128(b"opsd-rs probe").digest(4 * length)
    return tuple(int.from_bytes(stream[4 * i : 4 * i + 4], "little") % vocab_size for i in range(length))


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
        """Give the memory back (the reader's own handles keep it until they too are closed)."""
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


def verify_against(
    engine: ProbeScore, trainer_logprobs_V: torch.Tensor, tolerance: float, *, step: int
) -> float:
    """Compare the sampler with the trainer's forward on the same prompt; return the mean |difference| over K.

    ``trainer_logprobs_V``: shape (V,), log-softmax of the last position at temperature 1, any dtype or device.

    Raises Stopped where the difference exceeds ``tolerance`` nats or is not a number.
    """
    ids = torch.tensor(engine.token_ids, device=trainer_logprobs_V.device)
    trainer_K = trainer_logprobs_V.detach().float()[ids].cpu()
    difference = (trainer_K - torch.tensor(engine.logprobs)).abs().mean().item()
    if math.isnan(difference) or difference > tolerance:
        raise Stopped(
            f"step {step}: the sampler does not hold the trainer's weights: log-probabilities of the probe prompt "
            f"differ by {difference:.4g} on average (allowed {tolerance:g}). Either an old copy of its (tied) output "
            "head or of another layer survived the sync, or its prefix cache kept keys and values of older weights; "
            "resume from the last checkpoint"
        )
    return float(difference)


class WorkerExtension:
    """Methods that vLLM adds to its worker (``worker_extension_cls``); called through ``collective_rpc``.

    The prefix is required: vLLM refuses an extension whose names its worker already has.
    """

    model_runner: Any
    reload_weights: Any

    def opsd_load(self, fds: list[int]) -> dict[str, int]:
        """Load a parcel in place, pack the head anew; return the fingerprints of what was read."""
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
