"""The command ``sweep``."""

from __future__ import annotations

from pathlib import Path

import click

from opsd_rs.cli.options import format_option, path_type, show


@click.command()
@click.argument("grid", type=path_type, metavar="GRID")
@click.option("--check", is_flag=True, help="Check every configuration as `train --check` does, and stop.")
@click.option("--dry-run", is_flag=True, help="List the runs in their order, and stop.")
@click.option("--status", is_flag=True, help="List the runs with their state, and stop; also while it works.")
@click.option("--pack", "target", type=path_type, metavar="OUT.tar", help="Pack the small files, and stop.")
@click.option("--block", metavar="NAME", help="Run the runs of this block alone.")
@click.option(
    "--gpus",
    metavar="LIST",
    help="GPUs as CUDA_VISIBLE_DEVICES names them, or none for CPU; default: all that are visible.",
)
@click.option("--per-gpu", type=click.IntRange(min=1), metavar="N", help="Runs at a time on each GPU.")
@click.option(
    "--limit-minutes",
    type=click.FloatRange(min=0, min_open=True),
    metavar="M",
    help="Start no run that would not end within this time, by the longest run so far; what runs is finished.",
)
@click.option("--retry-failed", is_flag=True, help="Run again what has failed twice.")
@format_option
def sweep(
    grid: Path,
    check: bool,
    dry_run: bool,
    status: bool,
    target: Path | None,
    block: str | None,
    gpus: str | None,
    per_gpu: int | None,
    limit_minutes: float | None,
    retry_failed: bool,
    form: str,
) -> None:
    """Run a grid of models, contexts, seeds and recipes, or go on with it. A grid is a file or a built-in name (demo).

    Each run is a process of its own (`opsd-rs train`), several to a GPU if asked. What is shared is measured once. A
    sweep that was stopped or killed is continued by the same command.
    """
    if sum([check, dry_run, status, target is not None]) > 1:
        raise click.UsageError("--check, --dry-run, --status and --pack: one at a time")
    from opsd_rs.sweep import (
        grid_path,
        load_grid,
        pack_sweep,
        run_sweep,
        size_in_words,
        sweep_cells,
        sweep_status,
    )

    grid = grid_path(grid)
    if dry_run or status:
        show(sweep_cells(grid, block) if dry_run else sweep_status(grid, block), form)
        return
    if target is not None:
        click.echo(f"{target}: {size_in_words(*pack_sweep(Path(load_grid(grid).out), target))}")
        return
    named = None if gpus is None else [name.strip() for name in gpus.split(",") if name.strip() != "none"]
    line = run_sweep(
        grid,
        block=block,
        gpus=named,
        per_gpu=per_gpu,
        limit_minutes=limit_minutes,
        retry_failed=retry_failed,
        check_only=check,
    )
    click.echo(line)
