"""Checkpoints: student, optimizer, EMA teacher, RNG and counters of one step boundary, complete or absent.

``checkpoints/step-000010/`` holds ``deepspeed/`` (every rank's shards), ``teacher_rank_N.pt``, ``rng_rank_N.pt`` and
``state.json``. It is written under a temporary name beside it, synced and renamed; a crash or a full disk leaves
the older ones.
Data order and request seeds are functions of (seed, step), so the step number is the data cursor.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from opsd_rs.base import MIB, Ranks, write_whole, writing
from opsd_rs.errors import BadInput
from opsd_rs.policy import Student, Teacher


@dataclass(frozen=True)
class State:
    """Counters of a step boundary.

    >>> State(step=10, world_size=1, num_optimizer_steps=320, num_teacher_updates=10).step
    10
    """

    step: int = 0
    world_size: int = 1
    num_optimizer_steps: int = 0
    num_teacher_updates: int = 0


def folders(run_dir: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    found = (run_dir / "checkpoints").glob("step-*/state.json")
    return sorted(path.parent for path in found)


def save_state(
    run_dir: Path, step: int, student: Student, teacher: Teacher, ranks: Ranks, *, keep: int
) -> Path:
    """Write the checkpoint of the boundary before ``step``; all ranks call it. Keeps the newest ``keep``.

    :raises DiskFull: no space left; older checkpoints stay as they are and nothing of this one does
    """
    final = run_dir / "checkpoints" / f"step-{step:06d}"
    what = f"the checkpoint of step {step}"
    if found := folders(run_dir):
        what += f" (the last one has {_size(found[-1]) / MIB:.1f} MiB)"
    partial = final.with_name(f".{final.name}.partial")
    try:
        with writing(what, final.parent, "free space there, or write elsewhere (run.dir)"):
            _save(partial, final, step, student, teacher, ranks)
    except BaseException:
        # A partial one would take the space that the next attempt needs. Other ranks cannot continue without this rank.
        shutil.rmtree(partial, ignore_errors=True)
        raise
    if ranks.first:
        for old in folders(run_dir)[:-keep]:
            shutil.rmtree(old)
    ranks.barrier()
    return final


def _save(partial: Path, final: Path, step: int, student: Student, teacher: Teacher, ranks: Ranks) -> None:
    """Write below ``partial``, then rename it."""
    if ranks.first:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    ranks.barrier()
    student.save(partial)
    teacher.save(partial, ranks.rank)
    rng = {"torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        rng["cuda"] = torch.cuda.get_rng_state()
    torch.save(rng, partial / f"rng_rank_{ranks.rank}.pt")
    ranks.barrier()
    if ranks.first:
        state = State(step, ranks.world_size, student.num_optimizer_steps, teacher.num_updates)
        write_whole(partial / "state.json", json.dumps(asdict(state)).encode())
        _sync_tree(partial)
        shutil.rmtree(final, ignore_errors=True)  # the same boundary, saved again after a resume
        partial.rename(final)
        _sync_folder(final.parent)


def restore_state(folder: Path, student: Student, teacher: Teacher, ranks: Ranks) -> State:
    """Restore student, optimizer and teacher bit by bit; all ranks call it."""
    state = State(**json.loads((folder / "state.json").read_text()))
    if state.world_size != ranks.world_size:
        raise BadInput(
            f"{folder} was written by {state.world_size} ranks and this run has {ranks.world_size}: resume with as"
            " many GPUs as before"
        )
    student.load(folder)
    teacher.load(folder, ranks.rank)
    rng = torch.load(folder / f"rng_rank_{ranks.rank}.pt", weights_only=True)
    torch.set_rng_state(rng["torch"])
    if "cuda" in rng and torch.cuda.is_available():
        torch.cuda.set_rng_state(rng["cuda"])
    return state


def _size(folder: Path) -> int:
    """Bytes of all files below ``folder``."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _sync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        else:
            _sync_folder(path)
    _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
