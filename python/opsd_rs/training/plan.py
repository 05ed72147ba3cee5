"""``opsd-rs train --check`` and ``--dry-run``: everything that can be known before the start, and nothing started.

Each check raises what the run itself would raise, so the first fault ends the list in one line. The estimate of memory
is that of ``model.training_memory``; what it rests on is said beside it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opsd_rs.base import resolve_plugin
from opsd_rs.config import Config
from opsd_rs.errors import BadInput
from opsd_rs.loss import make_objective
from opsd_rs.model import Memory
from opsd_rs.policy import check_launcher
from opsd_rs.rollout import check_engine
from opsd_rs.training.folder import run_folder
from opsd_rs.training.forecast import check_law
from opsd_rs.training.prepare import Prepared, dated, prepare
from opsd_rs.training.start import check_memory, check_start, gpu_gib
from opsd_rs.training.teachers import check_external


@dataclass(frozen=True)
class Plan:
    """What a run would do, as far as nothing has to be started to know it."""

    checks: list[dict[str, str]]
    """Rows of ``--check``: what was checked, and what was found."""
    lengths: list[dict[str, Any]]
    """Prompt lengths of the problems: a row for all, for those that stay, and for those left out."""
    memory: list[dict[str, Any]]
    """GiB per phase and GPU."""
    notes: list[str]
    """What is guessed, and what the run would say at its start."""


def plan_run(config: Config, resume: Path | None = None) -> Plan:
    """Check ``config`` and estimate what it takes.

    :raises BadInput: the first thing that would end the run at its start
    """
    config = dated(config) if resume is None else config
    checks = [{"check": "configuration", "found": "keys, types and rules between keys hold"}]

    def check(name: str, find: Callable[[], str]) -> None:
        checks.append({"check": name, "found": find()})

    check("launcher", lambda: _launcher(os.environ))
    check("plugins", lambda: _plugins(config))
    check("run folder", lambda: _folder(config, resume))
    prepared = prepare(config)
    check("model files", lambda: f"{config.model.path}: whole")
    check(
        "tokenizer and chat template", lambda: f"compiled, answers end at {list(prepared.assembler.eos_ids)}"
    )
    check("problems", lambda: _problems(prepared))
    check("external teacher", lambda: check_external(config, prepared))
    found = check_memory(config, prepared)
    check("memory", lambda: _fits(found))
    check("law", lambda: check_law(config, resume or Path(config.run.dir), prepared))
    check("gap.from and eval.from", lambda: _tables(config, resume, prepared))
    check("engine", lambda: check_engine(config, prepared.model_dir))
    with prepared.environment:
        check("grader", lambda: _grader(prepared))
    memory, notes = _memory(config, found)
    return Plan(checks, list(_lengths(prepared)), memory, [*prepared.notes, *notes])


def _launcher(environ: Mapping[str, str]) -> str:
    launched = check_launcher(environ)
    return f"{environ['WORLD_SIZE']} ranks" if launched else "one process"


def _plugins(config: Config) -> str:
    make_objective(config)
    for name in config.log.to:
        resolve_plugin(config.log.kind, name, key=config.log.key)
    return f"objective {config.objective.name}, loggers {', '.join(config.log.to) or 'none'}"


def _folder(config: Config, resume: Path | None) -> str:
    with run_folder(config, resume) as run_dir:
        return f"{run_dir}: {'can be resumed' if resume else 'free'}"


def _problems(prepared: Prepared) -> str:
    found = prepared.problem_set
    return (
        f"{len(found.train)} to train on, {len(found.held_out)} held out, {len(prepared.left_out)} left out"
    )


def _tables(config: Config, resume: Path | None, prepared: Prepared) -> str:
    check_start(config, Path(config.run.dir), resume, prepared)
    named = [
        key for key, value in (("gap.from", config.gap.from_), ("eval.from", config.eval.from_)) if value
    ]
    return f"{' and '.join(named)}: the same measurement" if named and resume is None else "none is needed"


def _grader(prepared: Prepared) -> str:
    if not prepared.problem_set.full:
        raise BadInput("problems.path: nothing to grade")
    identity = getattr(prepared.environment, "identity", None)
    return "starts" if identity is None else f"sandbox level {identity()['sandbox_level']}"


def _lengths(prepared: Prepared) -> Iterator[dict[str, Any]]:
    groups = {
        "all": list(prepared.prompt_tokens.values()),
        "kept": [n for name, n in prepared.prompt_tokens.items() if name not in prepared.left_out],
        "left out": list(prepared.left_out.values()),
    }
    for name, lengths in groups.items():
        ordered = sorted(lengths)
        if ordered:
            yield {
                "problems": name,
                "count": len(ordered),
                "shortest": ordered[0],
                "median": ordered[len(ordered) // 2],
                "p95": ordered[(len(ordered) * 95) // 100],
                "longest": ordered[-1],
            }


def _fits(found: Memory) -> str:
    host = f", {found.host:.1f} GiB in host memory" if found.host else ""
    return f"{found.fixed:.1f} GiB stay on each GPU{host}"


def _memory(config: Config, found: Memory) -> tuple[list[dict[str, Any]], list[str]]:
    """The table, and what it rests on."""
    budget = config.train.micro_batch_tokens
    rows = [
        {"phase": "stays", "GiB": found.fixed, "what": ", ".join(found.on_gpu)},
        *(
            [{"phase": "host memory", "GiB": found.host, "what": ", ".join(found.on_host)}]
            if found.host
            else []
        ),
        {"phase": "optimizer step", "GiB": found.fixed + found.step, "what": "with its temporary copies"},
        {
            "phase": "update",
            "GiB": found.update,
            "what": f"micro-batches of {budget} tokens"
            if budget
            else "the longest row alone; more go together where memory is free",
        },
        {"phase": "checkpoint", "GiB": found.checkpoint, "what": "on disk, all ranks"},
    ]
    notes = [
        "memory is an estimate: within 15 % of the peaks measured for SmolLM2-135M, Qwen3-0.6B and 4B on one H200;"
        " other shapes, more GPUs, gradients in bf16 and host memory are arithmetic",
        f"it takes every answer to be rollout.max_tokens = {config.rollout.max_tokens} long: shorter ones take less",
    ]
    total = gpu_gib(config)
    if total is not None:
        engine = found.engine_share * total
        if engine:
            rows.append({"phase": "vLLM", "GiB": engine, "what": "rollout.gpu_memory_utilization of the GPU"})
        if found.update + engine > total:
            notes.append(
                f"this does not fit: {found.update + engine:.1f} GiB of {total:.1f}; lower train.micro_batch_tokens,"
                " rollout.max_tokens or rollout.gpu_memory_utilization, set model.gradient_checkpointing, or use more"
                " GPUs"
            )
    elif found.engine_share:
        notes.append(
            f"beside it vLLM holds the weights and {config.rollout.kv_cache_gib} GiB of KV cache here, or"
            f" {found.engine_share:.0%} of a GPU's memory on a machine with one"
        )
    return [{**row, "GiB": round(row["GiB"], 3)} for row in rows], notes  # type: ignore[call-overload]
