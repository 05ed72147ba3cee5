"""``opsd-rs grade``: its options, and what it prints. An entry point, like the rest of ``cli``.

The options of the grader come from ``config/grader.py``; stated here are those that are about files and the cluster.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from opsd_rs.cli.options import format_option, path_type
from opsd_rs.config import OPTIONS, GraderSettings
from opsd_rs.errors import OpsdError


class FlagSettings(GraderSettings):
    """Settings whose errors name the flags of the command line."""

    @classmethod
    def name_of(cls, option: str) -> str:
        """``--memory-mib``."""
        return "--" + option.replace("_", "-")


def grader_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """An option of the command line for each option of a grader."""
    for name, option in reversed(list(OPTIONS.items())):
        kinds = {int: click.IntRange(min=option.least), float: click.FloatRange(min=0, min_open=True)}
        command = click.option(
            FlagSettings.name_of(name),
            type=click.Choice(option.choices) if option.choices else kinds.get(option.kind, option.kind),
            default=option.default,
            show_default=option.default not in (None, False, ()),
            is_flag=option.kind is bool,
            multiple=option.is_list,
            metavar="DIR" if option.is_list else {int: "N", float: "X"}.get(option.kind),
            help=option.help + " May be given again." * option.is_list,
        )(command)
    return command


@click.command()
@click.option(
    "--problems",
    required=True,
    metavar="P",
    help="Problems: primer, or a file of any known form (docs/grader.md); `opsd-rs data check P` says which.",
)
@click.option(
    "--solutions",
    required=True,
    type=path_type,
    metavar="S",
    help="Solutions: rows of {problem_id, code or completion}, or LiveCodeBench's {question_id, code_list}.",
)
@click.option(
    "--out",
    required=True,
    type=path_type,
    metavar="R",
    help="Results: one JSON per line, or .parquet. R.journal goes beside it.",
)
@click.option("--resume", is_flag=True, help="Continue with R.journal; run only what it does not hold.")
@click.option("--cache", type=path_type, metavar="DIR", help="Verdicts kept between runs.")
@grader_options
@click.option(
    "--ray",
    metavar="ADDRESS",
    help="Grade over this Ray cluster: an address, auto, or local for a new one here; --workers is per node.",
)
@format_option
def grade(
    problems: str,
    solutions: Path,
    out: Path,
    resume: bool,
    cache: Path | None,
    ray: str | None,
    form: str,
    **options: Any,
) -> None:
    """Run solutions against the tests of their problems in the sandbox.

    Equal programs run once. A run that was stopped continues with --resume.
    """
    settings = FlagSettings(**options)

    from opsd_rs.base import print_result
    from opsd_rs.grading import grade_files, report_counts, report_notes, report_rows
    from opsd_rs.problems import index

    found = index(problems, progress=lambda line: click.echo(line, err=True))
    summary = grade_files(
        found, solutions, out, resume=resume, cache=cache, progress=True, ray=ray, settings=settings
    )
    if form == "json":
        print_result(summary, form)
    else:
        for part in (report_rows(summary), report_counts(summary)):
            print_result(part, form)
        if summary["also"] is not None and summary["also"]["disagreements"]:
            print_result(summary["also"]["disagreements"], form)
    if found.unreadable:
        count, first = len(found.unreadable), found.unreadable[0]
        click.echo(
            f"note: {count} rows of the problems could not be read, no solution is theirs: {first}", err=True
        )
    for note in report_notes(summary):
        click.echo(f"note: {note}", err=True)
    if summary["num_null"]:
        raise OpsdError(
            f"{summary['num_null']} of {summary['num_solutions']} solutions could not be graded (infra_error): they are"
            f" null in {out} and in no mean; run the command again with --resume to grade them"
        )
