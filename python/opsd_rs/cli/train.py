"""The commands ``train`` and ``eval``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from opsd_rs.cli.options import (
    format_option,
    load,
    other_output_diverted,
    path_type,
    prepare,
    show,
    sources,
)
from opsd_rs.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opsd_rs.config import Config


@click.command()
@click.argument("words", nargs=-1, metavar="[CONFIG...] [KEY=VALUE]...")
@click.option("--resume", type=path_type, metavar="RUN_DIR", help="Resume this run from its last checkpoint.")
@click.option("--check", is_flag=True, help="Check everything that can be known before the start, and stop.")
@click.option(
    "--dry-run",
    is_flag=True,
    help="Also print the configuration, the problems by length and the memory it takes.",
)
@click.pass_obj
def train(
    obj: Mapping[str, Any], words: Sequence[str], resume: Path | None, check: bool, dry_run: bool
) -> None:
    """Measure the gap, then train; or resume a run.

    With --resume, KEY=VALUE may change the optimizer's settings, the number of steps, and how often to validate,
    save and log.
    """
    if resume is None and not words:
        raise click.UsageError("give CONFIG..., or --resume RUN_DIR")
    config = load(words) if resume is None else _of_run(resume, words)
    prepare(obj)
    if check or dry_run:
        _print_plan(config, resume, words if dry_run else None)
        return
    with other_output_diverted():
        from opsd_rs.training import train as run

        run(config, resume=resume)


def _print_plan(config: Config, resume: Path | None, words: Sequence[str] | None) -> None:
    """``words``: what the configuration came from, to print it too."""
    with other_output_diverted():
        from opsd_rs.training import plan_run

        plan = plan_run(config, resume)
    if words is not None:
        from opsd_rs.config import resolve, split_arguments, to_toml

        files, overrides = split_arguments(words)
        click.echo(to_toml(resolve([str(resume / "config.json")] if resume else files, overrides)))
    for rows in (plan.checks, plan.lengths, plan.memory):
        show(rows, "table")
        click.echo()
    for note in plan.notes:
        click.echo(note)


@click.command("eval")
@sources
@click.option(
    "--exported", is_flag=True, help="Evaluate RUN_DIR/model, the exported weights, not the checkpoint."
)
@click.option(
    "--out",
    type=path_type,
    metavar="PATH",
    help="Keep the problems' rows in this table (.parquet), for eval.from; what it holds is not measured again.",
)
@format_option
@click.pass_obj
def evaluate(
    obj: Mapping[str, Any], words: Sequence[str], exported: bool, out: Path | None, form: str
) -> None:
    """Validation accuracy of a configuration's model, or of the last checkpoint of a run.

    For a run, give its folder instead of CONFIG; KEY=VALUE may change the [eval] table. The folder is only read.
    """
    run_dir = Path(words[0]) if Path(words[0]).is_dir() else None
    if exported and run_dir is None:
        raise click.UsageError("--exported needs a run folder")
    if out is not None and run_dir is not None:
        raise click.UsageError("--out keeps the baseline of a CONFIG; a run has its own eval.parquet")
    config = load(words) if run_dir is None else _of_run(run_dir, words[1:])
    prepare(obj)
    with other_output_diverted():
        from opsd_rs.training import evaluate_from_config

        rows = evaluate_from_config(config, run_dir=run_dir, exported=exported, out=out)
    show(rows, form)


def _of_run(run_dir: Path, words: Sequence[str] = ()) -> Config:
    from opsd_rs.config import load_config, split_arguments

    path = run_dir / "config.json"
    if not path.is_file():
        raise BadInput(f"{run_dir}: not a run folder: it has no config.json")
    files, overrides = split_arguments(words)
    if files:
        raise BadInput(f"{files[0]}: a run has its own configuration; give KEY=VALUE")
    return load_config([str(path)], overrides)
