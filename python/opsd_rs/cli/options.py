"""Options and output that several commands share. Loads click alone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

format_option = click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="For people or programs.",
)


class _PathType(click.Path):
    """A path as ``opsd_rs.base.expand`` reads it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        from opsd_rs.base import expand

        return expand(os.fsdecode(super().convert(value, param, ctx)))


path_type = _PathType(path_type=Path)
sources = click.argument("words", nargs=-1, required=True, metavar="CONFIG... [KEY=VALUE]...")


def show(result: Any, form: str) -> None:
    """Print a command's result on stdout."""
    from opsd_rs.base import print_result

    print_result(result, form)
