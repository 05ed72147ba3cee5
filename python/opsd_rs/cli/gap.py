"""The commands ``gap`` and ``screen``: what contexts are worth before any training."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from opsd_rs.cli.options import format_option, load, other_output_diverted, path_type, prepare, show, sources

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

POOLS = ("all_rollouts", "failed_only", "keep_success")
"""``measure.POOLS``, at hand without loading it."""

GAP_TABLE = (
    "context", "acc_student_gap", "acc_teacher", "gap", "gap_se_cond", "p_none", "coverage", "gain_with_context",
    "gap_failed", "gap_passed", "truncated_teacher", "gap_complete", "visible_gap", "k_gap", "gap_groups",
    "k_baseline", "nulls", "tokens_generated", "seconds",
)  # fmt: skip
"""What is shown of a row of ``gap.parquet``; ``--format json`` prints all of it."""


anyway_option = click.option(
    "--anyway", is_flag=True, help="Go on where the gap of the control none is outside its gate."
)


@click.command()
@click.argument("words", nargs=-1, metavar="CONFIG... [KEY=VALUE]...")
@click.option(
    "--show",
    "shown",
    type=path_type,
    metavar="RUN",
    help="Measure nothing: compute the gaps of RUN again from its samples.parquet, or from a table of samples.",
)
@click.option(
    "--pool",
    type=click.Choice(POOLS),
    help="With --show: another definition of the self-teacher's accuracy, for the data of others.",
)
@anyway_option
@format_option
@click.pass_obj
def gap(
    obj: Mapping[str, Any],
    words: Sequence[str],
    shown: Path | None,
    pool: str | None,
    anyway: bool,
    form: str,
) -> None:
    """Student and self-teacher accuracy before training, per context.

    Where none is among gap.contexts its gap must be 0 within 3 standard errors, else the command refuses (exit code 2;
    what was measured stays).
    """
    if (shown is None) == (not words):
        raise click.UsageError("give CONFIG..., or --show RUN")
    if pool is not None and shown is None:
        raise click.UsageError("--pool needs --show RUN")
    if shown is not None:
        _show_again(shown, pool, form)
        return
    config = load(words)
    prepare(obj)
    with other_output_diverted():
        from opsd_rs.training import measure_from_config

        rows = measure_from_config(config, anyway=anyway)
    _print_gaps(rows, form)


def _show_again(source: Path, pool: str | None, form: str) -> None:
    from opsd_rs.measure import show_gap

    found = show_gap(source, pool=pool)
    if pool is None:
        _print_gaps(found.rows, form)
    else:
        show(found.rows, form)
    for note in found.notes:
        click.echo(note, err=True)


def _print_gaps(rows: Sequence[Mapping[str, Any]], form: str) -> None:
    show(rows if form == "json" else [{name: row.get(name) for name in GAP_TABLE} for row in rows], form)
    differences = [row["visible_difference"] for row in rows if row.get("visible_difference")]
    if differences and form != "json":
        middle = sorted(differences)[len(differences) // 2]
        click.echo(
            f"smallest difference between two contexts that this sees in 80 % of measurements: {100 * middle:.1f} pp",
            err=True,
        )


SCREEN_TABLE = (
    "context", "gap", "gap_se_cond", "estimate", "p_best", "not_excluded", "gap_raw", "coverage", "k_gap", "rounds",
)  # fmt: skip
"""What is shown of a context; ``--format json`` prints all of it."""


@click.command()
@sources
@click.option(
    "--budget-samples",
    type=click.IntRange(min=1),
    metavar="N",
    help="Answers to draw in all, the student's own included.",
)
@click.option(
    "--minutes",
    type=click.FloatRange(min=0, min_open=True),
    metavar="M",
    help="Minutes of drawing and grading, those of an earlier, interrupted start included.",
)
@click.option(
    "--p-best",
    type=click.FloatRange(0.5, 1.0),
    metavar="P",
    help="End the search once one context is the best with this probability.",
)
@anyway_option
@format_option
@click.pass_obj
def screen(
    obj: Mapping[str, Any],
    words: Sequence[str],
    budget_samples: int | None,
    minutes: float | None,
    p_best: float | None,
    anyway: bool,
    form: str,
) -> None:
    """Find the context with the largest gap, on a budget.

    Rounds of whole groups for fewer and fewer of gap.contexts (or all built-in ones), then fresh samples of the best.
    The same command goes on after an interruption, and with a larger budget after its end.
    """
    if budget_samples is None and minutes is None:
        raise click.UsageError("give a budget: --budget-samples or --minutes")
    config = load(words)
    prepare(obj)
    with other_output_diverted():
        from opsd_rs.training import Limits, screen_from_config

        found = screen_from_config(config, Limits(budget_samples, minutes, p_best), anyway=anyway)
    if form == "json":
        show(found, form)
        return
    show([{name: getattr(row, name) for name in SCREEN_TABLE} for row in found.rows], form)
    for line in found.said(shlex.join(words), config.run.dir):
        click.echo(line)
