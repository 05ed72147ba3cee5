"""``opsd-rs grade``: its words, and what it prints. A corridor like ``cli``, of which it is a part."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from opsd_rs.cli.options import format_option, path_type
from opsd_rs.errors import OpsdError

_profiles = click.Choice(["strict", "lcb-2025-05", "lcb-2025-01"])
_levels = click.Choice(["S3", "S2", "S2j", "S1", "S0"])
_seconds = click.FloatRange(min=0, min_open=True)


@click.command()
@click.option(
    "--problems",
    required=True,
    metavar="P",
    help="Problems: jsonl, json or parquet (ours, LiveCodeBench, APPS, TACO, SDPO), or primer.",
)
@click.option(
    "--solutions",
    required=True,
    type=path_type,
    metavar="S",
    help="Solutions: one JSON per line, or LiveCodeBench's list of {question_id, code_list}.",
)
@click.option(
    "--out",
    required=True,
    type=path_type,
    metavar="R",
    help="Results: one JSON per line, or .parquet. R.journal goes beside it.",
)
@click.option("--resume", is_flag=True, help="Go on with R.journal; run only what it does not hold.")
@click.option("--cache", type=path_type, metavar="DIR", help="Verdicts kept between runs.")
@click.option(
    "--profile",
    type=_profiles,
    default="strict",
    show_default=True,
    help="Whose rules judge: a judge's, or LiveCodeBench's runner of that date.",
)
@click.option("--also", type=_profiles, help="Judge by a second profile too, and list where they disagree.")
@click.option(
    "--workers", type=click.IntRange(min=1), help="Programs at a time; default: one per usable core."
)
@click.option(
    "--stop",
    type=click.Choice(["never", "first-failure"]),
    default="never",
    show_default=True,
    help="When to leave a solution's remaining tests out.",
)
@click.option(
    "--isolation",
    type=click.Choice(["solution", "test"]),
    default="solution",
    show_default=True,
    help="A process per program, its state reset between tests; or a process per test.",
)
@click.option(
    "--level", type=_levels, help="Exactly this level of isolation; default: the best that the machine gives."
)
@click.option("--require", type=_levels, help="Lowest level accepted; default: S2, or L of --level.")
@click.option("--allow-unsandboxed", is_flag=True, help="Accept level S0, no isolation, where it is named.")
@click.option("--cpu-seconds", type=_seconds, metavar="X", help="CPU time per test; default: the problem's.")
@click.option("--idle-seconds", type=_seconds, metavar="X", help="Time neither computing nor ready to.")
@click.option(
    "--wall-seconds", type=_seconds, metavar="X", help="Backstop; a test that meets it is run again."
)
@click.option(
    "--memory-mib", type=click.IntRange(min=1), metavar="M", help="Address space; default: the problem's."
)
@click.option(
    "--memory-budget-mib",
    type=click.IntRange(min=1),
    metavar="M",
    help="Resident memory of all programs together; default: a quarter of the machine's.",
)
@click.option(
    "--compare",
    metavar="C",
    default="official",
    show_default=True,
    help="official, exact, tokens, tokens_ci, float[:1e-6] or float:abs=X,rel=Y, checker:PATH.",
)
@click.option(
    "--extract",
    metavar="E",
    default="last",
    show_default=True,
    help="Which part of a completion is the program: last, first, longest, official[:STYLE], after-think:RULE.",
)
@click.option(
    "--feedback",
    type=click.Choice(["leetcode", "sdpo", "lcb", "none"]),
    default="leetcode",
    show_default=True,
    help="Style of the text about failures.",
)
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
    form: str,
    **settings: Any,
) -> None:
    """Run solutions against the tests of their problems in the sandbox.

    Equal programs run once. A run that was stopped goes on with --resume.
    """
    from opsd_rs.base import print_result
    from opsd_rs.grading import grade_files, report_counts, report_rows
    from opsd_rs.problems import index

    found = index(problems, progress=lambda line: click.echo(line, err=True))
    summary = grade_files(found, solutions, out, resume=resume, cache=cache, progress=True, **settings)
    if form == "json":
        print_result(summary, form)
    else:
        for part in (report_rows(summary), report_counts(summary)):
            print_result(part, form)
        if summary["also"] is not None and summary["also"]["disagreements"]:
            print_result(summary["also"]["disagreements"], form)
    if summary["num_null"]:
        raise OpsdError(
            f"{summary['num_null']} of {summary['num_solutions']} solutions could not be graded (infra_error): they are"
            f" null in {out} and in no mean; run the command again with --resume to grade them"
        )
