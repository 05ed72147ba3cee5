"""The commands below ``config``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

from opsd_rs.cli.options import show


@click.group()
def config() -> None:
    """The configuration: show the result of files and arguments, list the keys."""


@config.command("show")
@click.argument("words", nargs=-1, metavar="[CONFIG]... [KEY=VALUE]...")
@click.option("--format", "form", type=click.Choice(["toml", "json"]), default="toml", show_default=True)
@click.option("--why", metavar="KEY", help="Only this key: its value and what set it.")
def config_show(words: Sequence[str], form: str, why: str | None) -> None:
    """The resolved tree, each key with the file and line that set it."""
    from opsd_rs.config import explain_key, resolve, resolved_json, split_arguments, to_toml

    resolved = resolve(*split_arguments(words))
    for warning in resolved.warnings:
        click.echo(f"warning: {warning}", err=True)
    if why is not None:
        click.echo(explain_key(resolved, why))
    elif form == "json":
        click.echo(resolved_json(resolved.config), nl=False)
    else:
        click.echo(to_toml(resolved), nl=False)


@config.command("keys")
@click.option(
    "--format", "form", type=click.Choice(["table", "json", "markdown"]), default="table", show_default=True
)
def config_keys(form: str) -> None:
    """Every key with its type, default and meaning."""
    from opsd_rs.config import key_reference, key_rows

    if form == "markdown":
        click.echo(key_reference(), nl=False)
    else:
        show(key_rows(), form)
