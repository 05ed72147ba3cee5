"""The law's two figures: improvement against gap with the fitted lines, and accuracy against training steps.

In: a fit or tables of runs; rows of validation accuracy. Out: a ``Drawing``, or the same picture as .svg and .png.
matplotlib is loaded with the first figure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from opsd_rs.base import t_quantile
from opsd_rs.drawing import (
    GRID,
    INK,
    MUTED,
    PAPER,
    RULE,
    STUDENT,
    TEACHER,
    Drawing,
    Look,
    context_label,
    context_looks,
    counted,
    drawn_in_style,
    label,
    legend_above,
    panels,
    save_drawing,
    widened,
)
from opsd_rs.errors import BadInput
from opsd_rs.law.fit import fit_tables
from opsd_rs.law.regression import mean_se


def figure1(source: Mapping[str, Any] | Sequence[Path], out: Path) -> list[Path]:
    """Improvement against gap, a panel per family, from a fit or from tables; writes ``out`` as .svg and .png."""
    fit = source if isinstance(source, Mapping) else fit_tables(source)
    return _both(draw_figure1(fit), Path(out))


def figure2(rows: Sequence[Mapping[str, Any]], out: Path) -> list[Path]:
    """Accuracy against steps, student and self-teacher, a panel per run; writes ``out`` as .svg and .png.

    Rows {run, step, arm ("student" or "teacher"), accuracy, se}; fractions, se may be None.
    """
    return _both(_draw_figure2(rows), Path(out))


def _both(drawing: Drawing, out: Path) -> list[Path]:
    stem = out.with_suffix("") if out.suffix in (".svg", ".png", ".pdf") else out
    written = [stem.with_name(f"{stem.name}{suffix}") for suffix in (".svg", ".png")]
    for path in written:
        save_drawing(drawing, path)
    return written


@drawn_in_style
def draw_figure1(fit: Mapping[str, Any]) -> Drawing:
    """Figure 1 from what ``law.fit_tables`` returns: a panel per family, axes shared, percentage points."""
    families = fit["families"]
    looks = context_looks(point["context"] for entry in families.values() for point in entry["configs"])
    figure, axes = panels(len(families), width=4.2 if len(families) == 1 else 3.7, height=3.5)
    xs, ys = _limits(families)
    for panel, (name, entry) in zip(axes, families.items(), strict=True):
        panel.set(xlim=xs, ylim=ys, xlabel="initial self-teacher gap (pp)")
        panel.axhline(0, color=GRID, linewidth=0.9, zorder=0)
        panel.axvline(0, color=GRID, linewidth=0.9, zorder=0)
        panel.axline((0, 0), slope=1, color=RULE, linewidth=1, linestyle=":", zorder=1)
        if entry["slope"] is not None and entry["gap_sxx"] is not None:
            _draw_line(panel, entry, xs)
        for point in entry["configs"]:
            hollow = entry["synthetic"] or not point["fitted"]
            _draw_point(panel, point, looks[point["context"]], hollow=hollow)
        panel.set_title(label(f"{name} (SYNTHETIC points)" if entry["synthetic"] else name))
        panel.text(
            0.03,
            0.97,
            _inset(entry),
            transform=panel.transAxes,
            va="top",
            fontsize=7.5,
            linespacing=1.4,
            bbox={"facecolor": PAPER, "edgecolor": "none", "alpha": 0.8, "pad": 1.5},
        )
    axes[0].set_ylabel("final student improvement (pp)")
    legend_above(figure, _handles(looks, families))
    return Drawing("Improvement after training against the gap before it", figure, _caption(families))


@drawn_in_style
def _draw_figure2(rows: Sequence[Mapping[str, Any]]) -> Drawing:
    """Figure 2: a panel per run, student solid, self-teacher dashed, band ±1 standard error, in per cent.

    An arm measured once only (the teacher before training) is a level line.
    """
    if not rows:
        raise BadInput("no rows of validation to draw; figures need runs with eval.parquet")
    runs = list(dict.fromkeys(str(row["run"]) for row in rows))
    steps = [int(row["step"]) for row in rows]
    figure, axes = panels(len(runs), width=3.4, height=2.8)
    drawn: dict[str, Any] = {}
    once = False
    for panel, run in zip(axes, runs, strict=True):
        for arm, name, colour, dashes in (
            ("student", "student", STUDENT, "-"),
            ("teacher", "self-teacher", TEACHER, "--"),
        ):
            curve = sorted(
                (int(row["step"]), 100 * float(row["accuracy"]), _percent(row.get("se")))
                for row in rows
                if str(row["run"]) == run and row["arm"] in (arm, f"self_{arm}")
            )
            if curve:
                once |= len(curve) == 1
                drawn[name] = _draw_curve(panel, curve, colour, dashes, (min(steps), max(steps)))
        panel.set(title=run, xlabel="step")
        panel.grid(axis="y")
    axes[0].set_ylabel("accuracy (%)")
    axes[0].xaxis.get_major_locator().set_params(integer=True)
    legend_above(figure, list(drawn.values()), list(drawn))
    caption = "Bands: ±1 standard error." + (" A level line was measured once." if once else "")
    return Drawing("Accuracy during training", figure, caption)


def _draw_line(panel: Any, entry: Mapping[str, Any], xs: tuple[float, float]) -> None:
    """The fit and the 95 % band of its mean, drawn inside the measured gaps; thinner beyond them."""
    low, high = entry["gap_min"], entry["gap_max"]
    places = [low + (high - low) * i / 60 for i in range(61)]

    def at(x: float) -> float:
        return 100 * float(entry["intercept"] + entry["slope"] * x)

    shape = {"residual_sd": entry["residual_sd"], "n": entry["n"]}
    shape |= {"x_mean": entry["gap_mean"], "sxx": entry["gap_sxx"]}
    t = t_quantile(0.975, entry["df"])
    half = [100 * t * mean_se(x, **shape) for x in places]
    percent = [100 * x for x in places]
    lower = [at(x) - h for x, h in zip(places, half, strict=True)]
    upper = [at(x) + h for x, h in zip(places, half, strict=True)]
    panel.fill_between(percent, lower, upper, color=MUTED, alpha=0.13, linewidth=0, zorder=1)
    panel.plot(list(xs), [at(xs[0] / 100), at(xs[1] / 100)], "--", color=RULE, linewidth=0.8, zorder=2)
    panel.plot([100 * low, 100 * high], [at(low), at(high)], "--", color=INK, linewidth=1.4, zorder=2)


def _draw_point(panel: Any, point: Mapping[str, Any], look: Look, *, hollow: bool) -> None:
    """A configuration with its bars; ``hollow``: it is no point of the fit."""
    panel.errorbar(
        100 * point["gap"],
        100 * point["improvement"],
        xerr=_percent(point["gap_se"]),
        yerr=_percent(_bar(point)[0]),
        fmt=look.marker,
        color=look.colour,
        markerfacecolor=PAPER if hollow or look.hollow else look.colour,
        markersize=6.5,
        markeredgewidth=1.3,
        elinewidth=1,
        capsize=2,
        zorder=3,
    )


def _bar(point: Mapping[str, Any]) -> tuple[float | None, str]:
    """The vertical bar and its name: spread of seeds where there are several, else the one run's error."""
    if point["improvement_sd"] is not None:
        return point["improvement_sd"], "±1 SD over seeds"
    if point["improvement_se"] is not None:
        return point["improvement_se"], "±1 standard error of the one run"
    return None, "none (one run, no error given)"


def _inset(entry: Mapping[str, Any]) -> str:
    if entry["slope"] is None:
        return "no line: all gaps are equal"
    low, high = entry["slope_ci95"]
    sign = "+" if entry["intercept"] >= 0 else "−"
    loo = "undefined" if entry["loo_r2"] is None else f"{entry['loo_r2']:.2f}"
    r2 = "undefined" if entry["r2"] is None else f"{entry['r2']:.3f}"
    return (
        f"y = {entry['slope']:.2f} x {sign} {abs(100 * entry['intercept']):.1f} pp\n"
        f"slope 95 % CI [{low:.2f}, {high:.2f}]\n"
        f"R² {r2}, leave-one-out {loo}\n"
        f"n = {entry['n']} configurations, {entry['num_runs']} runs"
    )


def _caption(families: Mapping[str, Any]) -> str:
    kinds = dict.fromkeys(_bar(point)[1] for entry in families.values() for point in entry["configs"])
    across = any(point["gap_se"] for entry in families.values() for point in entry["configs"])
    synthetic = any(entry["synthetic"] for entry in families.values())
    sizes = ", ".join(
        f"{name} n = {entry['n']} from {counted(entry['num_runs'], 'run')}"
        for name, entry in families.items()
    )
    lines = [
        f"Points: configuration means ({sizes}). Vertical bars: {'; '.join(kinds)}."
        + (" Horizontal bars: ±1 standard error of the gap." if across else ""),
        "Dashed: least squares, band: 95 % of its mean. Dotted: y = x (the student reaches the initial self-teacher).",
    ]
    if not all(point["fitted"] for entry in families.values() for point in entry["configs"]):
        lines.append(
            "Hollow, and left out of the fit: the control none, whose gap and gain are 0 by construction."
        )
    if synthetic:
        lines.append("Hollow points are SYNTHETIC: invented, not measured.")
    return "\n".join(lines)


def _draw_curve(
    panel: Any,
    curve: Sequence[tuple[int, float, float | None]],
    colour: str,
    dashes: str,
    steps: tuple[int, int],
) -> Any:
    """(step, value, half of the band or None) as a line; a single measurement is level over all ``steps``."""
    if len(curve) == 1:
        ((_, value, error),) = curve
        curve = [(steps[0], value, error), (max(steps[1], steps[0] + 1), value, error)]
        marker = ""
    else:
        marker = "o" if len(curve) <= 30 else ""
    x, y = [c[0] for c in curve], [c[1] for c in curve]
    if all(c[2] is not None for c in curve):
        low = [c[1] - (c[2] or 0.0) for c in curve]
        high = [c[1] + (c[2] or 0.0) for c in curve]
        panel.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
    (line,) = panel.plot(x, y, dashes, color=colour, marker=marker, markersize=3.5, linewidth=1.6)
    return line


def _limits(families: Mapping[str, Any]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Axes that hold every point with its bars, and 0."""
    points = [point for entry in families.values() for point in entry["configs"]]
    x = [100 * (p["gap"] + s * (p["gap_se"] or 0)) for p in points for s in (-1, 1)]
    y = [100 * (p["improvement"] + s * (_bar(p)[0] or 0)) for p in points for s in (-1, 1)]
    return widened([*x, 0.0]), widened([*y, 0.0], above=0.35)  # space on top for the inset


def _handles(looks: Mapping[str, Look], families: Mapping[str, Any]) -> list[Any]:
    from matplotlib.lines import Line2D

    filled = {
        point["context"]
        for entry in families.values()
        for point in entry["configs"]
        if point["fitted"] and not entry["synthetic"]
    }
    return [
        Line2D(
            [],
            [],
            linestyle="",
            marker=look.marker,
            color=look.colour,
            markerfacecolor=look.colour if name in filled and not look.hollow else PAPER,
            label=label(context_label(name)),
        )
        for name, look in looks.items()
    ]


def _percent(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else 100 * value
