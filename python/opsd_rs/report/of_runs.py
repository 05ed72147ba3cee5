"""Figures of the runs: accuracy during training with the predicted end, training curves, where the time went.

In: ``Sources``. Out: a ``Drawing`` each, or ``Missing`` with what would be needed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from opsd_rs.drawing import (
    INK,
    MUTED,
    PAPER,
    Drawing,
    Look,
    context_label,
    context_looks,
    counted,
    drawn_in_style,
    label,
    legend_above,
    panels,
)
from opsd_rs.measure import EvalRow, eval_accuracy
from opsd_rs.report.missing import Missing
from opsd_rs.report.sources import Run, Sources

PHASES = {
    "rollout": "#56b4e9", "grade": "#e69f00", "notes": "#cc79a7", "assemble": "#7f7f7f", "update": "#0072b2",
    "follow": "#009e73", "sync": "#d55e00", "eval rollout": "#9ecae1", "eval grade": "#f0c56b", "save": "#5b6570",
}  # fmt: skip
"""Colours of the phases, in the order of a step."""
OTHER_PHASE = "#9aa3ad"
DASHES = ("-", (0, (4, 1.5)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)))
"""Seeds of one context, in turn."""
MOST_PANELS = 6
Curve = list[tuple[int, float, float | None]]
"""(step, accuracy in per cent, half of the band)."""


def accuracies(run: Run, arm: str) -> dict[int, tuple[float, float | None]]:
    """Validation accuracy and its conditional standard error by step, fractions."""
    names = [field.name for field in fields(EvalRow)]
    by_step: dict[int, list[EvalRow]] = {}
    for row in run.evals:
        if row["arm"] == arm:
            by_step.setdefault(int(row["step"]), []).append(EvalRow(**{name: row[name] for name in names}))
    found = {step: eval_accuracy(rows) for step, rows in sorted(by_step.items())}
    return {step: (mean.value, mean.se_cond) for step, mean in found.items() if mean.value is not None}


@drawn_in_style
def figure2(sources: Sources) -> Drawing:
    """Accuracy of student and self-teacher against steps, a panel per context, with the predicted end."""
    runs = [run for run in sources.runs if accuracies(run, "student")]
    if not runs:
        raise Missing("Figure 2 needs runs with eval.parquet.")
    looks = context_looks(run.context for run in runs)
    figure, axes = panels(len(looks), width=2.9, height=2.6)
    kinds: set[str] = set()
    predicted = False
    for panel, (context, look) in zip(axes, looks.items(), strict=True):
        members = [run for run in runs if run.context == context]
        for arm, dashes, hollow in (("teacher", "--", True), ("student", "-", False)):
            curve, kind = _over_seeds(members, arm)
            if curve:
                kinds.add(kind)
                _draw_curve(panel, curve, look, dashes, hollow=hollow)
        initial = _initial_teacher(members)
        if initial is not None:
            panel.annotate(
                "", (0, initial), xytext=(-9, 0), textcoords="offset points",
                arrowprops={"arrowstyle": "-", "color": INK, "linewidth": 2.2},
            )  # fmt: skip
        predicted |= _draw_predicted_end(panel, members)
        panel.set(title=f"{context_label(context)} (n = {len(members)})", xlabel="step")
        panel.grid(axis="y")
    axes[0].set_ylabel("validation accuracy (%)")
    axes[0].xaxis.get_major_locator().set_params(integer=True)
    legend_above(figure, _arms(predicted))
    return Drawing(
        "Accuracy during training",
        figure,
        f"Lines: mean over n runs of a context. Bands: {'; '.join(sorted(kinds))}. Tick on the left axis: the "
        "self-teacher before training."
        + (
            " Bar at the end: the law's forecast before the start, 80 % (thick) and 95 % interval."
            if predicted
            else " No run holds a forecast, so no predicted end is drawn."
        ),
    )


def _over_seeds(members: Sequence[Run], arm: str) -> tuple[Curve, str]:
    """The mean over runs at each step that all have, and what its band is."""
    each = [found for run in members if (found := accuracies(run, arm))]
    if not each:
        return [], ""
    shared = sorted(set.intersection(*(set(found) for found in each)))
    if len(each) == 1:
        return [
            (step, 100 * value, None if se is None else 100 * se) for step, (value, se) in each[0].items()
        ], "±1 conditional standard error where there is one run"
    curve: Curve = []
    for step in shared:
        values = [100 * found[step][0] for found in each]
        centre = math.fsum(values) / len(values)
        spread = math.sqrt(math.fsum((value - centre) ** 2 for value in values) / (len(values) - 1))
        curve.append((step, centre, spread))
    return curve, "±1 SD over seeds"


def _draw_curve(panel: Any, curve: Curve, look: Look, dashes: str, *, hollow: bool) -> None:
    x, y = [c[0] for c in curve], [c[1] for c in curve]
    if all(c[2] is not None for c in curve) and len(curve) > 1:
        low = [c[1] - (c[2] or 0.0) for c in curve]
        high = [c[1] + (c[2] or 0.0) for c in curve]
        panel.fill_between(x, low, high, color=look.colour, alpha=0.14, linewidth=0)
    panel.plot(
        x, y, dashes, color=look.colour, marker="o", markersize=4, linewidth=1.6,
        markerfacecolor=PAPER if hollow else look.colour,
    )  # fmt: skip


def _initial_teacher(members: Sequence[Run]) -> float | None:
    values = [found[0][0] for run in members if 0 in (found := accuracies(run, "teacher"))]
    return 100 * math.fsum(values) / len(values) if values else None


def predicted_end(run: Run) -> tuple[float, tuple[float, float], tuple[float, float]] | None:
    """Final accuracy by the run's own forecast, with the 80 and 95 % interval, in per cent; None without one."""
    said = run.forecast or {}
    if said.get("forecast_final") is None or not said.get("pi80") or not said.get("pi95"):
        return None

    def within(value: float) -> float:
        return 100 * min(1.0, max(0.0, value))

    (low80, high80), (low95, high95) = said["pi80"], said["pi95"]
    inner, outer = (within(low80), within(high80)), (within(low95), within(high95))
    return within(said["forecast_final"]), inner, outer


def _draw_predicted_end(panel: Any, members: Sequence[Run]) -> bool:
    ends = [(run, end) for run in members if (end := predicted_end(run))]
    for place, (run, (centre, inner, outer)) in enumerate(ends):
        x = run.steps * (1.03 + 0.04 * place)
        panel.plot([x, x], outer, color=INK, linewidth=1.1, solid_capstyle="butt")
        panel.plot([x, x], inner, color=INK, linewidth=3.2, solid_capstyle="butt")
        panel.plot([x], [centre], "_", color=INK, markersize=9, markeredgewidth=1.6)
    return bool(ends)


def _arms(predicted: bool) -> list[Any]:
    from matplotlib.lines import Line2D

    options: dict[str, Any] = {"color": MUTED, "marker": "o", "markersize": 4, "linewidth": 1.6}
    found = [
        Line2D([], [], linestyle="-", label="student", **options),
        Line2D([], [], linestyle="--", markerfacecolor=PAPER, label="self-teacher", **options),
    ]
    if predicted:
        found.append(Line2D([], [], linestyle="-", color=INK, linewidth=3.2, label="predicted end"))
    return found


METRICS = {
    "student_accuracy": ("rollouts that passed (%)", 100.0),
    "kl": ("KL to the self-teacher (nats a token)", 1.0),
    "grad_norm": ("gradient norm", 1.0),
    "coverage": ("rollouts with context (%)", 100.0),
    "truncated": ("truncated (%)", 100.0),
    "tokens_a_rollout": ("tokens a rollout", 1.0),
}


@drawn_in_style
def curves(sources: Sources) -> Drawing:
    """What every step of every run said of itself."""
    runs = [run for run in sources.runs if run.metrics]
    if not runs:
        raise Missing("Training curves need runs with metrics.jsonl.")
    looks = context_looks(run.context for run in runs)
    seeds = sorted({run.seed for run in runs})
    shown = [
        name
        for name in METRICS
        if any(_value(run, line, name) is not None for run in runs for line in run.metrics)
    ]
    figure, axes = panels(len(shown), width=2.9, height=2.2, share=False, columns=3)
    for panel, name in zip(axes, shown, strict=True):
        title, scale = METRICS[name]
        for run in runs:
            points = [
                (line["step"], scale * value)
                for line in run.metrics
                if (value := _value(run, line, name)) is not None
            ]
            panel.plot(
                *zip(*points, strict=True), color=looks[run.context].colour, linewidth=1.3,
                linestyle=DASHES[seeds.index(run.seed) % len(DASHES)],
                marker=looks[run.context].marker if len(points) <= 30 else "", markersize=3.5,
            )  # fmt: skip
        panel.set(title=title, xlabel="step")
        panel.grid(axis="y")
        panel.xaxis.get_major_locator().set_params(integer=True)
    legend_above(figure, _contexts_and_seeds(looks, seeds))
    return Drawing(
        "Training curves",
        figure,
        f"Lines: one run each (n = {len(runs)}), raw values of metrics.jsonl without smoothing; no bars. "
        + ("Dashes tell seeds apart." if len(seeds) > 1 else f"All of seed {seeds[0]}."),
    )


def _value(run: Run, line: Mapping[str, Any], name: str) -> float | None:
    if name == "tokens_a_rollout":
        count = int(run.config["train"]["prompts_per_step"]) * int(run.config["rollout"]["n"])
        return float(line["completion_tokens"]) / count
    value = line.get(name)
    return None if value is None else float(value)


def _contexts_and_seeds(looks: Mapping[str, Look], seeds: Sequence[int]) -> list[Any]:
    from matplotlib.lines import Line2D

    found = [
        Line2D(
            [], [], color=look.colour, marker=look.marker, markersize=4.5, label=label(context_label(name))
        )
        for name, look in looks.items()
    ]
    if len(seeds) > 1:
        found += [
            Line2D([], [], color=MUTED, linestyle=DASHES[place % len(DASHES)], label=f"seed {seed}")
            for place, seed in enumerate(seeds)
        ]
    return found


@drawn_in_style
def timeline(sources: Sources) -> Drawing:
    """Seconds of each phase, a bar per step."""
    runs = [run for run in sources.runs if any(line.get("seconds") for line in run.metrics)]
    if not runs:
        raise Missing("The step timeline needs runs with metrics.jsonl.")
    shown, left = runs[:MOST_PANELS], len(runs) - MOST_PANELS
    names = [name for run in shown for line in run.metrics for name in line["seconds"]]
    phases = [
        *(name for name in PHASES if name in names),
        *dict.fromkeys(n for n in names if n not in PHASES),
    ]
    figure, axes = panels(len(shown), width=3.1, height=2.3, columns=3)
    for panel, run in zip(axes, shown, strict=True):
        steps = [line["step"] for line in run.metrics]
        base = [0.0] * len(steps)
        for phase in phases:
            heights = [float(line["seconds"].get(phase, 0.0)) for line in run.metrics]
            panel.bar(
                steps, heights, 0.84, bottom=base, color=PHASES.get(phase, OTHER_PHASE), label=label(phase),
                linewidth=0,
            )  # fmt: skip
            base = [below + height for below, height in zip(base, heights, strict=True)]
        panel.set(title=label(run.name), xlabel="step")
        panel.grid(axis="y")
    axes[0].set_ylabel("seconds")
    axes[0].xaxis.get_major_locator().set_params(integer=True)
    handles, labels = axes[0].get_legend_handles_labels()
    legend_above(figure, handles, labels)
    return Drawing(
        "Where the time of a step went",
        figure,
        f"Bars: wall seconds of each phase of a step (n = {sum(len(run.metrics) for run in shown)} steps of "
        f"{counted(len(shown), 'run')}), as metrics.jsonl has them."
        + (f" Left out of this figure: {counted(left, 'run')}." if left > 0 else ""),
    )
