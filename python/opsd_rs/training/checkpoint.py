"""Checkpoints: student, optimizer, EMA teacher, RNG and counters of one step boundary, complete or absent.

``checkpoints/step-000010/`` holds ``deepspeed/`` (every rank's shards; under ``optim.offload`` ``optimizer_rank_N.pt``
instead, from whose masters the weights come back), ``teacher_rank_N.pt``, ``rng_rank_N.pt`` and
``state.json`` with the size of every file. It is written under a temporary name beside it, synced and renamed; a crash
or a full disk leaves the older ones. A checkpoint with a file missing or cut is passed over for the one before it.
Data order and request seeds are functions of (seed, step), so the step number is the data cursor.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable, Sequence
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


def folder_of(run_dir: Path, step: int) -> Path:
    """Where the checkpoint of the boundary before ``step`` is."""
    return run_dir / "checkpoints" / f"step-{step:06d}"


def step_of(folder: Path) -> int:
    """The step that comes after this checkpoint."""
    return int(folder.name.removeprefix("step-"))


def folders(run_dir: Path) -> list[Path]:
    """Checkpoints, oldest first, damaged ones included."""
    return sorted((run_dir / "checkpoints").glob("step-*"))


def damage(folder: Path) -> str | None:
    """What is missing from a checkpoint, as far as names and sizes tell; None where it looks whole."""
    try:
        state = json.loads((folder / "state.json").read_bytes())
        sizes: dict[str, int] = state.get("files", {})
        State(**{name: value for name, value in state.items() if name != "files"})
    except FileNotFoundError:
        return "state.json is missing"
    except (ValueError, TypeError, AttributeError):
        return "state.json cannot be read"
    for name, size in sizes.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if (found := path.stat().st_size) != size:
            return f"{name} has {found} of {size} bytes"
    return None


def whole(run_dir: Path) -> list[Path]:
    """Checkpoints that look whole, oldest first."""
    return [folder for folder in folders(run_dir) if damage(folder) is None]


def is_saved(run_dir: Path, step: int) -> bool:
    """Whether the boundary before ``step`` has a checkpoint that looks whole."""
    return damage(folder_of(run_dir, step)) is None


def save_state(
    run_dir: Path, step: int, student: Student, teacher: Teacher, ranks: Ranks, *, keep: int
) -> Path:
    """Write the checkpoint of the boundary before ``step``; all ranks call it. Keeps the newest ``keep``.

    :raises DiskFull: no space left; older checkpoints stay as they are and nothing of this one does
    """
    student.check_own("a checkpoint")
    final = folder_of(run_dir, step)
    what = f"the checkpoint of step {step}"
    if found := whole(run_dir):
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
        oldest_kept = whole(run_dir)[-keep:][0]
        for old in folders(run_dir):
            if old < oldest_kept:
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
        sizes = {str(p.relative_to(partial)): p.stat().st_size for p in partial.rglob("*") if p.is_file()}
        write_whole(partial / "state.json", json.dumps({**asdict(state), "files": sizes}).encode())
        _sync_tree(partial)
        shutil.rmtree(final, ignore_errors=True)  # the same boundary, saved again after a resume
        partial.rename(final)
        _sync_folder(final.parent)


def restore_newest(
    run_dir: Path, student: Student, teacher: Teacher, ranks: Ranks, say: Callable[[str], None]
) -> int:
    """Load the newest whole checkpoint, if there is one; returns the step that comes next. All ranks call it.

    A damaged one is passed over, in one line to ``say``.

    :raises BadInput: all are damaged, or the run was written by another number of ranks
    """
    student.check_own("restoring a checkpoint")  # no damage of a file
    passed: list[str] = []
    for folder in reversed(folders(run_dir)):
        fault = damage(folder) or _restored(folder, student, teacher, ranks)
        if fault is None:
            if passed:
                say(f"{'; '.join(passed)}: resuming from {folder.name}, later steps are done again")
            return step_of(folder)
        passed.append(f"checkpoint {folder.name} is damaged ({fault})")
    if passed:
        raise BadInput(f"{run_dir}: {no_whole_checkpoint(passed)}")
    return 0


def no_whole_checkpoint(faults: Sequence[str]) -> str:
    """What to do where every checkpoint is damaged."""
    return (
        f"{'; '.join(faults)}; no checkpoint is whole: put the files back, or remove the folder checkpoints/ and start"
        " again in another run.dir"
    )


DAMAGE = (OSError, EOFError, RuntimeError, ValueError, KeyError, AssertionError, pickle.UnpicklingError)
"""What torch and DeepSpeed raise while they read a file that is cut or overwritten."""


def _restored(folder: Path, student: Student, teacher: Teacher, ranks: Ranks) -> str | None:
    """Load ``folder``; a fault of its files on any rank as text. The next one then overwrites what was loaded."""
    fault: str | None = None
    try:
        restore_state(folder, student, teacher, ranks)
    except torch.OutOfMemoryError:
        raise
    except DAMAGE as error:
        fault = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    found = [text for text in ranks.gather([fault]) if text is not None]
    return found[0] if found else None


def restore_state(folder: Path, student: Student, teacher: Teacher, ranks: Ranks) -> State:
    """Restore student, optimizer and teacher bit by bit; all ranks call it."""
    counters = json.loads((folder / "state.json").read_text())
    counters.pop("files", None)
    state = State(**counters)
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
