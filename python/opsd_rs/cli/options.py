"""Options and output that several commands share. Loads click alone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager

    from opsd_rs.config import Config

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


def load(words: Sequence[str]) -> Config:
    """The configuration that CONFIG... and KEY=VALUE name."""
    from opsd_rs.config import load_config, split_arguments

    return load_config(*split_arguments(words))


def other_output_diverted() -> AbstractContextManager[None]:
    """What other libraries print does not reach stdout."""
    from opsd_rs.base import diverted

    return diverted()


def prepare(obj: Mapping[str, Any]) -> None:
    """What must happen after the configuration was checked and before torch is loaded."""
    from opsd_rs.base import restart_on_cpu

    if obj["from_shell"]:
        restart_on_cpu()
