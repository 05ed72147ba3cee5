"""The commands ``report`` and ``figure``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from opsd_rs.cli.options import path_type

if TYPE_CHECKING:
    from collections.abc import Sequence

inputs_argument = click.argument("inputs", nargs=-1, required=True, type=path_type, metavar="INPUT...")


@click.command()
@inputs_argument
@click.option(
    "-o", "--out", type=path_type, default="report.html", show_default=True, help="The page that is written."
)
@click.option(
    "--rollouts", type=click.IntRange(min=0), default=10_000, show_default=True,
    help="Most rollouts in the browser; 0 leaves it out.",
)  # fmt: skip
@click.option("--title", help="The page's title; the input's name unless given.")
def report(inputs: Sequence[Path], out: Path, rollouts: int, title: str | None) -> None:
    """One offline HTML page of runs, a sweep or a law: figures, tables, and every rollout.

    INPUT is a run folder, a folder of runs (a sweep), a table of runs, or law.json; several go together.
    """
    from opsd_rs.report import write_report

    click.echo(write_report(inputs, out, most_rollouts=rollouts, title=title))


@click.command()
@click.argument("name")
@inputs_argument
@click.option(
    "-o", "--out", type=path_type, required=True, metavar="PATH",
    help=".svg, .png or .pdf; without a suffix both .svg and .png.",
)  # fmt: skip
@click.option("--no-caption", is_flag=True, help="Leave the caption out of the picture.")
def figure(name: str, inputs: Sequence[Path], out: Path, no_caption: bool) -> None:
    """One figure: 1, 2, 3, loo, forest, gap, power, curves, timeline.

    INPUT as for `report`.
    """
    from opsd_rs.report import write_figure

    for path in write_figure(name, inputs, out, caption=not no_caption):
        click.echo(path)
