"""The commands below ``data`` and ``model``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from opsd_rs.cli.options import format_option, path_type

if TYPE_CHECKING:
    from collections.abc import Sequence

from opsd_rs.cli.options import show


@click.group()
def data() -> None:
    """Problems: check and show a file, fetch LiveCodeBench."""


@data.command("show")
@click.argument("path")
@click.argument("filters", nargs=-1, metavar="[KEY=VALUE]...")
@format_option
def data_show(path: str, filters: Sequence[str], form: str) -> None:
    """What a problems file holds: counts by kind, difficulty, platform, date. Filters: keys of [problems]."""
    from opsd_rs.config import load_config
    from opsd_rs.problems import describe

    words = [word if word.startswith("problems.") else f"problems.{word}" for word in filters]
    config = load_config([], [f"problems.path={path}", "control.mask=one", *words])
    show(describe(config.problems), form)


@data.command("check")
@click.argument("path")
@format_option
def data_check(path: str, form: str) -> None:
    """Open every row of a problems file: whose form it has, and what is wrong with which. Exit code 2 if any is."""
    from opsd_rs.errors import BadInput
    from opsd_rs.problems import check_file, check_rows

    found = check_file(path, progress=lambda line: click.echo(line, err=True))
    show(found if form == "json" else check_rows(found), form)
    for fault in found["faults"]:
        name = "" if fault["problem_id"] is None else f" ({fault['problem_id']})"
        click.echo(f"{fault['where']}{name}: {fault['kind']}: {fault['message']}", err=True)
    if found["faults"]:
        raise BadInput(
            f"{path}: {len(found['faults'])} of {found['num_rows']} rows cannot be graded, see above"
        )


@data.command("fetch-lcb")
@click.option(
    "--release", default="v6", show_default=True, help="v6, a range v4_v6, or release_v6 for all up to it."
)
@click.option("--out", type=path_type, metavar="DIR", help="Where to put it; default: the user's cache.")
def data_fetch_lcb(release: str, out: Path | None) -> None:
    """Download LiveCodeBench's problems from the hub and print where they are."""
    from opsd_rs.problems import fetch_lcb

    click.echo(fetch_lcb(release, out, progress=lambda line: click.echo(line, err=True)))


@click.group()
def model() -> None:
    """Models that opsd-rs knows by name."""


@model.command("fetch")
@click.argument("name")
def model_fetch(name: str) -> None:
    """Build a known model in the user's cache and print its folder."""
    from opsd_rs.model import fetch

    click.echo(fetch(name, progress=lambda line: click.echo(line, err=True)))
