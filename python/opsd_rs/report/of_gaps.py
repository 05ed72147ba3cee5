"""The gap of each context, taken apart: how often there was context, times what it gave where there was.

In: ``Sources``. Out: a ``Drawing``, or ``Missing``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from opsd_rs.drawing import (
    GRID,
    INK,
    PAPER,
    RULE,
    Drawing,
    context_label,
    context_looks,
    drawn_in_style,
    label,
    panels,
)
from opsd_rs.report.missing import Missing
from opsd_rs.report.sources import Sources


def conditional_gain(row: Mapping[str, Any]) -> float | None:
    """The gain where there was context: the gap over the coverage. None where no answer had context.

    >>> conditional_gain({"gap": 0.1, "coverage": 0.5})
    0.2
    """
    coverage = row.get("coverage")
    return float(row["gap"]) / float(coverage) if coverage else None


@drawn_in_style
def gaps(sources: Sources) -> Drawing:
    """Coverage, gain where there was context, and the gap, a row of bars per context."""
    rows = [row for row in sources.gaps if row.get("coverage") is not None]
    if not rows:
        raise Missing("The gap's decomposition needs gap.parquet, or runs.parquet with its column coverage.")
    looks = context_looks(str(row["context"]) for row in rows)
    order = sorted(
        rows, key=lambda row: (list(looks).index(str(row["context"])), _who(row), row.get("seed") or 0)
    )
    several = len({_who(row) for row in rows}) > 1
    seeds = len({row.get("seed") for row in rows}) > 1
    figure, axes = panels(3, width=3.0, height=1.0 + 0.26 * len(order), share=False)
    titles = ("coverage", "gain where there was context (pp)", "gap (pp)")
    for place, row in enumerate(reversed(order)):
        look = looks[str(row["context"])]
        gain = conditional_gain(row)
        bars = (float(row["coverage"]), None if gain is None else 100 * gain, 100 * float(row["gap"]))
        for panel, value in zip(axes, bars, strict=True):
            if value is None:
                panel.annotate(
                    "no context",
                    (0, place),
                    xytext=(4, 0),
                    textcoords="offset points",
                    va="center",
                    fontsize=7,
                )
                continue
            panel.barh(
                place, value, height=0.62, color=PAPER if look.hollow else look.colour, edgecolor=look.colour,
                linewidth=1.1,
            )  # fmt: skip
        if row.get("gap_se_cond"):
            axes[2].errorbar(
                bars[2] or 0.0, place, xerr=100 * float(row["gap_se_cond"]), fmt="none", ecolor=INK, elinewidth=1.1,
                capsize=3,
            )  # fmt: skip
    for panel, title in zip(axes, titles, strict=True):
        panel.set_title(title)
        panel.axvline(0, color=RULE, linewidth=0.8)
        panel.grid(axis="x", color=GRID)
        panel.set(ylim=(-0.6, len(order) - 0.4))
        panel.tick_params(axis="y", length=0)
        panel.spines["left"].set_visible(False)
        panel.set_yticks(range(len(order)), [""] * len(order))
    axes[0].set_xlim(0, 1)
    names = [
        context_label(str(row["context"]))
        + (f" {label(_who(row))}" if several else "")
        + (f" (seed {row.get('seed')})" if seeds else "")
        for row in reversed(order)
    ]
    axes[0].set_yticks(range(len(order)), names)
    return Drawing(
        "The gap is coverage times gain",
        figure,
        f"Bars: n = {len(order)} measured gaps. Coverage: share of answers whose teacher had anything privileged to "
        "read; gap = coverage × gain where there was context. Lines on the gap: ±1 conditional standard error (these "
        f"problems, other draws){_samples(order)}. Hollow: the control, which has no context.",
    )


def _samples(rows: Sequence[Mapping[str, Any]]) -> str:
    """How many answers are behind each gap, where it is the same number."""
    counts = {(row.get("n_problems_gap") or row.get("n_problems"), row.get("k_gap")) for row in rows}
    if len(counts) != 1:
        return ""
    ((problems, answers),) = counts
    if not problems or not answers:
        return ""
    return f", {int(answers)} answers to each of {int(problems)} problems"


def _who(row: Mapping[str, Any]) -> str:
    return str(row.get("base_model") or row.get("family") or "")
