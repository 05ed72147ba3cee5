"""What is checked of a run before anything starts: that it fits, and what it takes from other runs' tables."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch

from opsd_rs.config import Config, ContextConfig
from opsd_rs.errors import BadInput
from opsd_rs.model import GIB, Memory, Shape, shortage, training_memory
from opsd_rs.policy import device_of_rank
from opsd_rs.training import measured, tables
from opsd_rs.training.forecast import check_law
from opsd_rs.training.identity import Subject, eval_identity, gap_identity
from opsd_rs.training.prepare import Prepared
from opsd_rs.training.teachers import check_external, external_parameters, keeps_teacher


def check_tables(
    config: Config, run_dir: Path, contexts: Sequence[ContextConfig], prepared: Prepared
) -> None:
    """Refuse what ``gap.from`` and ``eval.from`` hold of another measurement, unless the folder has its own.

    :raises BadInput: naming the fields that differ
    """
    subject = Subject(
        config, prepared.model_dir, prepared.environment, prepared.problem_set, prepared.assembler
    )
    if config.gap.from_ is not None:
        own = measured.read_gap_rows(run_dir / "gap.parquet")
        for context in contexts:
            identity = gap_identity(subject, context)
            if measured.matching(own, context.name, identity) is None:
                measured.gap_row_from(Path(config.gap.from_), context.name, identity)
    if config.eval.from_ is not None and not tables.at(tables.read_eval_rows(run_dir), 0, "student"):
        measured.baseline_from(Path(config.eval.from_), eval_identity(subject))


def check_memory(config: Config, prepared: Prepared) -> Memory:
    """Refuse a run of which what always stays does not fit; returns what it takes.

    :raises BadInput: with the sum, and what to change
    """
    num_gpus = max(1, int(os.environ.get("WORLD_SIZE") or 1))
    found = training_memory(
        config,
        Shape.of(prepared.model_dir),
        prompt_tokens=max(n for name, n in prepared.prompt_tokens.items() if name not in prepared.left_out),
        completion_tokens=config.rollout.max_tokens,
        num_gpus=num_gpus,
        self_teacher=keeps_teacher(config),
        external=external_parameters(config),
    )
    fault = shortage(
        config,
        found,
        gpu_gib=gpu_gib(config),
        host_gib=host_gib(),
        processes=int(os.environ.get("LOCAL_WORLD_SIZE") or num_gpus),
    )
    if fault is not None:
        raise BadInput(f"{config.model.path} {fault}")
    return found


def gpu_gib(config: Config) -> float | None:
    """Memory of this process's GPU, or its share of it; None where there is none."""
    if not torch.cuda.is_available():
        return None
    return torch.cuda.get_device_properties(device_of_rank()).total_memory / GIB * config.run.gpu_share


def host_gib() -> float:
    """Memory of this machine, or what its control group leaves of it."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    bound = Path("/sys/fs/cgroup/memory.max")
    text = bound.read_text().strip() if bound.is_file() else "max"
    return (physical if text == "max" else min(physical, int(text))) / GIB


def check_start(config: Config, run_dir: Path, resume: Path | None, prepared: Prepared) -> None:
    """``check_external``, ``check_memory``, ``check_law``, and ``check_tables`` of a run that starts; a resumed one has
    its tables."""
    check_external(config, prepared)
    check_memory(config, prepared)
    check_law(config, run_dir, prepared)
    if resume is None:
        check_tables(config, run_dir, [config.context], prepared)
