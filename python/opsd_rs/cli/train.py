"""The commands ``train``, ``gap`` and ``eval``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from opsd_rs.cli.options import format_option, path_type, show, sources
from opsd_rs.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opsd_rs.config import Config


@click.command()
@click.argument("words", nargs=-1, metavar="[CONFIG... [KEY=VALUE]...]")
@click.option("--resume", type=path_type, metavar="RUN_DIR", help="Resume this run from its last checkpoint.")
@click.pass_obj
def train(obj: Mapping[str, Any], words: Sequence[str], resume: Path | None) -> None:
    """Measure the gap, then train; or resume a run."""
    if bool(words) == bool(resume):
        raise click.UsageError("give either CONFIG... or --resume RUN_DIR")
    config = _load(words) if resume is None else _of_run(resume)
    _prepare(obj)
    from opsd_rs.training import train as run

    run(config, resume=resume)


@click.command()
@sources
@format_option
@click.pass_obj
def gap(obj: Mapping[str, Any], words: Sequence[str], form: str) -> None:
    """Student and self-teacher accuracy before training, per context."""
    config = _load(words)
    _prepare(obj)
    from opsd_rs.training import measure_from_config

    show(measure_from_config(config), form)


@click.command("eval")
@sources
@format_option
@click.pass_obj
def evaluate(obj: Mapping[str, Any], words: Sequence[str], form: str) -> None:
    """Validation accuracy of a configuration's model, or of the last checkpoint of a run.

    For a run, give its folder instead of CONFIG; KEY=VALUE may change the [eval] table.
    """
    run_dir = Path(words[0]) if Path(words[0]).is_dir() else None
    config = _load(words) if run_dir is None else _of_run(run_dir, words[1:])
    _prepare(obj)
    from opsd_rs.training import evaluate_from_config

    show(evaluate_from_config(config, run_dir=run_dir), form)


def _load(words: Sequence[str]) -> Config:
    from opsd_rs.config import load_config, split_arguments

    return load_config(*split_arguments(words))


def _of_run(run_dir: Path, words: Sequence[str] = ()) -> Config:
    path = run_dir / "config.json"
    if not path.is_file():
        raise BadInput(f"{run_dir}: not a run folder: it has no config.json")
    return _load([str(path), *words])


def _prepare(obj: Mapping[str, Any]) -> None:
    """What must happen after the configuration was checked and before torch is loaded."""
    from opsd_rs.base import restart_on_cpu

    if obj["from_shell"]:
        restart_on_cpu()
