"""The command ``doctor``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from opsd_rs.cli.options import format_option

if TYPE_CHECKING:
    pass
from opsd_rs.cli.options import show


@click.command()
@format_option
def doctor(form: str) -> None:
    """What this machine can do, and what stands in the way."""
    from opsd_rs.doctor import examine

    findings = examine()
    show([finding._asdict() for finding in findings], form)
    if any(finding.state == "fault" for finding in findings):
        click.get_current_context().exit(1)
