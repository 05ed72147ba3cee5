"""Tensors in host memory that a GPU reads and writes: locked into place, streamed through it in chunks.

The same code runs on a CPU, where the chunks are copied all the same and nothing runs beside anything.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from opsd_rs.base import MIB
from opsd_rs.errors import BadInput

CHUNK = 64 * MIB
"""Elements of a chunk: 256 MiB of fp32, long enough for the bus to reach its speed."""


def host_zeros(owner: object, numel: int, device: torch.device) -> Tensor:
    """``numel`` fp32 zeros in host memory; locked for a GPU as long as ``owner`` lives.

    Torch's own pinned memory comes in powers of two, so that a tensor could take twice its size.

    :raises BadInput: the system does not lock that much
    """
    tensor = torch.zeros(numel)
    if device.type == "cuda":
        failed = int(_cudart().cudaHostRegister(tensor.data_ptr(), tensor.nbytes, 0))
        if failed:
            raise BadInput(
                f"{tensor.nbytes / (1024 * MIB):.1f} GiB of host memory cannot be locked for the GPU (CUDA error"
                f" {failed}): free memory or raise the container's bound, or set optim.offload or teacher.offload to"
                " false"
            )
        weakref.finalize(owner, _unlock, tensor.data_ptr()).atexit = False
    return tensor


def _unlock(address: int) -> None:
    _cudart().cudaHostUnregister(address)


def _cudart() -> Any:
    return torch.cuda.cudart()  # type: ignore[no-untyped-call]


def copied_from_host(source: Tensor, target: Tensor) -> None:
    """Copy ``source`` into ``target`` on its device, in chunks; ``target`` may round it.

    In fp32 up to there: a copy that changes the type on its way would be converted by the CPU.
    """

    def write(start: int, stop: int, staged: list[Tensor]) -> None:
        target[start:stop].copy_(staged[0])

    streamed([source], target.device, write, written=())


def streamed(
    host: Sequence[Tensor],
    device: torch.device,
    work: Callable[[int, int, list[Tensor]], None],
    *,
    written: Sequence[int],
) -> None:
    """Bring ``host`` tensors of one length to ``device`` chunk by chunk, ``work`` on them, write some of them back.

    ``work(start, stop, staged)`` gets the elements ``start:stop`` of each. Copies run beside the work; when this
    returns, everything is in host memory.

    :param written: places in ``host`` of those that ``work`` has changed
    """
    numel = host[0].numel()
    size = min(CHUNK, numel)
    slots = [
        [torch.empty(size, dtype=tensor.dtype, device=device) for tensor in host]
        for _ in range(1 if numel <= size else 2)
    ]
    lanes = _Lanes(device, len(slots)) if device.type == "cuda" else _OneLane()
    try:
        for number, start in enumerate(range(0, numel, size)):
            place, stop = number % len(slots), min(start + size, numel)
            staged = [buffer[: stop - start] for buffer in slots[place]]
            with lanes.reading(place):
                for buffer, source in zip(staged, host, strict=True):
                    buffer.copy_(source[start:stop], non_blocking=True)
            with lanes.working(place):
                work(start, stop, staged)
            with lanes.writing(place):
                for i in written:
                    host[i][start:stop].copy_(staged[i], non_blocking=True)
    finally:
        lanes.join()


class _OneLane:
    """A device that does one thing after the other."""

    @contextmanager
    def reading(self, place: int) -> Iterator[None]:
        yield

    working = writing = reading

    def join(self) -> None:
        pass


class _Lanes(_OneLane):
    """Three CUDA streams: reads of one chunk and writes of another run beside the work on a third."""

    def __init__(self, device: torch.device, num_slots: int) -> None:
        self._work = torch.cuda.current_stream(device)
        self._in: Any = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._out: Any = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        # The slots' memory may still be in use by what the current stream was given before.
        self._in.wait_stream(self._work)
        self._ready, self._done, self._free = ([_event() for _ in range(num_slots)] for _ in range(3))
        self._used: set[int] = set()

    @contextmanager
    def reading(self, place: int) -> Iterator[None]:
        if place in self._used:
            self._in.wait_event(self._free[place])
        self._used.add(place)
        with torch.cuda.stream(self._in):
            yield
        self._ready[place].record(self._in)

    @contextmanager
    def working(self, place: int) -> Iterator[None]:
        self._work.wait_event(self._ready[place])
        yield
        self._done[place].record(self._work)

    @contextmanager
    def writing(self, place: int) -> Iterator[None]:
        self._out.wait_event(self._done[place])
        with torch.cuda.stream(self._out):
            yield
        self._free[place].record(self._out)

    def join(self) -> None:
        self._in.synchronize()
        self._work.synchronize()
        self._out.synchronize()


def _event() -> Any:
    return torch.cuda.Event()  # type: ignore[no-untyped-call]
