"""Where runs go: GPUs, cores and shares of memory, handed out to the runs of a machine.

In: what the machine has. Out: ``Slot``s, one for each run at a time. Nothing here asks a GPU anything: devices are
counted by their files, so that the process that starts the runs takes no memory of theirs.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from opsd_rs.base import has_cuda, whole_cores
from opsd_rs.config import Config

GRADER_BUDGET_MIB = 32 * 1024
"""What graders may take of the machine's memory together: a quarter, at most this."""


@dataclass(frozen=True)
class Slot:
    """What one run at a time has.

    >>> Slot(0, "1", (2, 3), 2, 0.5, 4096).variables()
    {'CUDA_VISIBLE_DEVICES': '1', 'OMP_NUM_THREADS': '2'}
    """

    number: int
    gpu: str | None
    """As ``CUDA_VISIBLE_DEVICES`` names it; None: a run on CPU."""
    cores: tuple[int, ...]
    """To which it is bound; empty: to none, where a quota bounds the machine and not a set of cores."""
    threads: int
    gpu_share: float
    grader_mib: int
    also: tuple[int, ...] = ()
    """Numbers of other slots whose part it has too."""

    def variables(self) -> dict[str, str]:
        """Of a run's environment."""
        return {
            "CUDA_VISIBLE_DEVICES": "" if self.gpu is None else self.gpu,
            "OMP_NUM_THREADS": str(self.threads),
        }

    def words(self, config: Config) -> list[str]:
        """Of a run's configuration; what the user has set stays."""
        found = []
        grader = config.grader.settings()
        if grader.workers is None:
            found.append(f"grader.workers={self.threads}")
        if grader.memory_budget_mib is None:
            found.append(f"grader.memory_budget_mib={self.grader_mib}")
        if config.run.gpu_share == 1.0 and self.gpu is not None:
            found.append(f"run.gpu_share={self.gpu_share:.4g}")
        return found


def together(slots: Sequence[Slot]) -> Slot:
    """One slot with the parts of several on one GPU: for what runs while nothing else can.

    >>> together(share_out(["0"], 2, range(8), granted=8, memory_mib=8192)).cores
    (0, 1, 2, 3, 4, 5, 6, 7)
    """
    first, *others = slots
    return replace(
        first,
        cores=tuple(sorted({core for slot in slots for core in slot.cores})),
        threads=sum(slot.threads for slot in slots),
        gpu_share=min(1.0, sum(slot.gpu_share for slot in slots)),
        grader_mib=sum(slot.grader_mib for slot in slots),
        also=tuple(slot.number for slot in others),
    )


def share_out(
    gpus: Sequence[str], per_gpu: int, cores: Sequence[int], *, granted: float, memory_mib: int
) -> list[Slot]:
    """A slot for each run at a time: ``per_gpu`` on each GPU, or ``per_gpu`` in all where there is none.

    The first slot of each GPU comes first, then the second of each, so that runs spread over the GPUs. Cores go out in
    whole neighbouring pieces; where there are fewer than slots, slots share them in turns.

    :param cores: that this process may use
    :param granted: how many of them at a time (a quota may bound it)
    :param memory_mib: of the machine

    >>> [slot.gpu for slot in share_out(["0", "1"], 2, range(8), granted=8, memory_mib=1024)]
    ['0', '1', '0', '1']
    >>> [slot.cores for slot in share_out([], 2, range(5), granted=5, memory_mib=1024)]
    [(0, 1, 2), (3, 4)]
    """
    devices: Sequence[str | None] = gpus or [None]
    places = [(device, turn) for turn in range(per_gpu) for device in devices]
    number = len(places)
    quota = granted < len(cores)
    total = granted if quota else len(cores)
    budget = min(memory_mib // 4, GRADER_BUDGET_MIB)
    # Neighbouring slots of one GPU get neighbouring cores, which are often near it.
    order = sorted(range(number), key=lambda place: devices.index(places[place][0]))
    piece = {place: _piece(cores, at, number) for at, place in enumerate(order)}
    return [
        Slot(
            number=place,
            gpu=device,
            cores=() if quota else piece[place],
            threads=max(1, math.floor(total / number)) if quota else len(piece[place]),
            gpu_share=1.0 / per_gpu,
            grader_mib=max(256, budget // number),
        )
        for place, (device, _) in enumerate(places)
    ]


def _piece(cores: Sequence[int], at: int, number: int) -> tuple[int, ...]:
    if len(cores) < number:
        return (cores[at % len(cores)],)
    size, more = divmod(len(cores), number)
    first = at * size + min(at, more)
    return tuple(cores[first : first + size + (at < more)])


def slots_here(gpus: Sequence[str] | None, per_gpu: int) -> list[Slot]:
    """The slots of this machine.

    :param gpus: as ``CUDA_VISIBLE_DEVICES`` names them; None: all that this process may use
    """
    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return share_out(
        gpus_here(os.environ) if gpus is None else gpus,
        per_gpu,
        sorted(os.sched_getaffinity(0)),
        granted=whole_cores(),
        memory_mib=pages // 2**20,
    )


def gpus_here(environ: Mapping[str, str], devices: Path = Path("/dev")) -> list[str]:
    """The GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them; none on a machine without one."""
    if not has_cuda(environ, devices):
        return []
    if "CUDA_VISIBLE_DEVICES" in environ:
        listed = [name.strip() for name in environ["CUDA_VISIBLE_DEVICES"].split(",")]
        return [name for name in _before_hidden(listed) if name]
    count = len([path for path in devices.glob("nvidia[0-9]*") if path.name.removeprefix("nvidia").isdigit()])
    return [str(number) for number in range(count or (devices / "dxg").exists())]


def _before_hidden(listed: Sequence[str]) -> list[str]:
    """The names before a ``-1``, which hides all that follow, as CUDA reads the list."""
    return list(listed[: listed.index("-1")]) if "-1" in listed else list(listed)
