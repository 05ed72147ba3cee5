"""Figures of the law: improvement against gap (by family, and by size), forecasts against outcomes, slopes, power.

In: ``Sources``. Out: a ``Drawing`` each, or ``Missing`` with what would be needed. Percentage points throughout.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from opsd_rs.base import t_interval, t_quantile
from opsd_rs.drawing import (
    GRID,
    INK,
    PAPER,
    RULE,
    Drawing,
    context_label,
    context_looks,
    counted,
    drawn_in_style,
    label,
    legend_above,
    panels,
    percent,
    widened,
)
from opsd_rs.law import draw_figure1, fit_line
from opsd_rs.report.missing import Missing
from opsd_rs.report.sources import Sources

SIZES = ("#9ecae1", "#6baed6", "#4292c6", "#2171b5", "#08519c", "#08306b")
"""From small to large."""
POWER = 2.8
"""z(0.975) + z(0.8): a difference of so many standard errors is found in 80 % of repetitions at the 5 % level."""


def families(sources: Sources) -> dict[str, Any]:
    """The fitted families.

    :raises Missing: there is no law
    """
    if sources.law is None:
        raise Missing("there is no line: it needs three configurations of a family.")
    found: dict[str, Any] = sources.law["families"]
    return found


def figure1(sources: Sources) -> Drawing:
    """Improvement against gap, a panel per family that has its points."""
    found = {name: entry for name, entry in families(sources).items() if entry["configs"]}
    if not found:
        raise Missing("the law does not hold its points.")
    return draw_figure1({"families": found})


@drawn_in_style
def figure3(sources: Sources) -> Drawing:
    """Improvement against gap over model sizes under one context, beside the line of one size over contexts."""
    rows = [row for row in sources.rows if row.get("size_b") and row.get("improvement") is not None]
    by_context: dict[str, dict[float, list[Mapping[str, Any]]]] = {}
    for row in rows:
        sizes = by_context.setdefault(str(row.get("context")), {})
        sizes.setdefault(round(float(row["size_b"]), 3), []).append(row)
    if not by_context:
        raise Missing("needs rows of runs.parquet with size_b.")
    context, sizes = max(by_context.items(), key=lambda item: len(item[1]))
    if len(sizes) < 2:
        found = ", ".join(f"{size:g} B" for size in sorted(sizes))
        raise Missing(f"needs runs of two model sizes or more under one context; here is {found}.")
    figure, (panel,) = panels(1, width=4.6, height=3.6)
    look = context_looks([context])[context]
    points = []
    for place, (size, members) in enumerate(sorted(sizes.items())):
        x = [100 * float(row["gap"]) for row in members]
        y = [100 * float(row["improvement"]) for row in members]
        at, bar = (_mean(x), _mean(y)), _sd(y)
        colour = SIZES[min(len(SIZES) - 1, 1 + place * (len(SIZES) - 1) // max(1, len(sizes)))]
        panel.errorbar(
            *at, yerr=bar, fmt=look.marker, color=colour, markersize=7, capsize=2, elinewidth=1, zorder=3,
            label=f"{size:g} B (n = {len(members)})",
        )  # fmt: skip
        panel.annotate(f"{size:g} B", at, xytext=(7, -10), textcoords="offset points", fontsize=8)
        points.append((*at, bar or 0.0))
    limits = widened([0.0, *(x for x, _, _ in points)])
    _reference(panel)
    said = "Two sizes give no line."
    if len(points) > 2:
        line = fit_line([x for x, _, _ in points], [y for _, y, _ in points])
        panel.plot(
            limits,
            [line.intercept + line.slope * x for x in limits],
            "--",
            color=INK,
            linewidth=1.3,
            zorder=2,
        )
        low, high = t_interval(line.slope, line.slope_se, line.df)
        said = f"Dashed: least squares over sizes, slope {line.slope:.2f}, 95 % interval [{low:.2f}, {high:.2f}]."
    panel.set(
        xlim=limits,
        ylim=widened([0.0, *(y + s * e for _, y, e in points for s in (-1, 1))]),
        xlabel="initial self-teacher gap (pp)",
        ylabel="final student improvement (pp)",
        title=context_label(context),
    )
    legend_above(figure, *panel.get_legend_handles_labels())
    runs = sum(map(len, sizes.values()))
    return Drawing(
        "Improvement against gap over model sizes",
        figure,
        f"Points: means per model size under {context_label(context)} (n = {len(sizes)} sizes, "
        f"{counted(runs, 'run')}). Vertical bars: ±1 SD over seeds; none where there is one run. {said} Dotted: y = x.",
    )


@drawn_in_style
def loo(sources: Sources) -> Drawing:
    """The forecast of the line without a configuration against what that configuration gained."""
    found = {name: entry for name, entry in families(sources).items() if _forecasts(entry)}
    if not found:
        raise Missing("Leave-one-out forecasts need a family whose line no single configuration determines.")
    looks = context_looks(point["context"] for entry in found.values() for point in _forecasts(entry))
    figure, axes = panels(len(found), width=4.2 if len(found) == 1 else 3.5, height=3.3)
    values = [
        100 * float(point[key])
        for entry in found.values()
        for point in _forecasts(entry)
        for key in ("loo_forecast", "improvement")
    ]
    limits = widened(values, above=0.25)
    shown: dict[str, Any] = {}
    for panel, (name, entry) in zip(axes, found.items(), strict=True):
        panel.axline((0, 0), slope=1, color=RULE, linewidth=1, linestyle=":")
        for point in _forecasts(entry):
            look = looks[point["context"]]
            shown[point["context"]] = panel.errorbar(
                100 * point["loo_forecast"], 100 * point["improvement"], yerr=percent(point["improvement_sd"]),
                fmt=look.marker, color=look.colour, markersize=6.5, capsize=2, elinewidth=1, markeredgewidth=1.3,
                markerfacecolor=PAPER if entry["synthetic"] or look.hollow else look.colour,
            )  # fmt: skip
        r2 = "undefined" if entry["loo_r2"] is None else f"{entry['loo_r2']:.2f}"
        panel.text(
            0.03, 0.97, f"RMSE {100 * entry['loo_rmse']:.1f} pp\nR² {r2}\nn = {entry['n']} configurations",
            transform=panel.transAxes, va="top", fontsize=7.5, linespacing=1.4,
        )  # fmt: skip
        panel.set(xlim=limits, ylim=limits, xlabel="forecast without it (pp)")
        panel.set_title(label(f"{name} (SYNTHETIC)" if entry["synthetic"] else name))
    axes[0].set_ylabel("outcome (pp)")
    legend_above(figure, list(shown.values()), [label(context_label(name)) for name in shown])
    counts = ", ".join(f"{name} n = {entry['n']}" for name, entry in found.items())
    return Drawing(
        "Forecast of each configuration by the others",
        figure,
        f"Points: configurations ({counts}), each forecast by the line through the others. "
        "Vertical bars: ±1 SD over seeds where there are several. Dotted: forecast = outcome.",
    )


def _forecasts(entry: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [point for point in entry["configs"] if point.get("loo_forecast") is not None]


@drawn_in_style
def forest(sources: Sources) -> Drawing:
    """The slope of each family with its interval."""
    found = {
        name: entry
        for name, entry in families(sources).items()
        if entry["slope"] is not None and entry["slope_ci95"]
    }
    if not found:
        raise Missing("The slope forest needs a family with a line.")
    figure, (panel,) = panels(1, width=6.2, height=0.75 + 0.42 * len(found))
    for place, (_, entry) in enumerate(reversed(found.items())):
        low, high = entry["slope_ci95"]
        hollow = entry["synthetic"]
        panel.plot([low, high], [place, place], color=INK, linewidth=1.4, solid_capstyle="butt")
        panel.plot(
            entry["slope"], place, "s", color=INK, markersize=6, markerfacecolor=PAPER if hollow else INK
        )
        panel.annotate(
            f"{entry['slope']:.2f} [{low:.2f}, {high:.2f}]", (1.01, place), va="center", fontsize=8,
            xycoords=("axes fraction", "data"), annotation_clip=False,
        )  # fmt: skip
    names = [f"{label(name)}  (n = {entry['n']})" for name, entry in reversed(found.items())]
    panel.set_yticks(range(len(found)), names)
    panel.set(ylim=(-0.6, len(found) - 0.4), xlabel="slope: pp of improvement per pp of gap")
    for place, style in ((0, "-"), (1, ":")):
        panel.axvline(place, color=RULE, linewidth=1, linestyle=style, zorder=0)
    panel.spines["left"].set_visible(False)
    panel.tick_params(axis="y", length=0)
    synthetic = " Hollow: SYNTHETIC points." if any(e["synthetic"] for e in found.values()) else ""
    return Drawing(
        "Slopes of the families",
        figure,
        f"Squares: least-squares slope of each family (n = {len(found)}; configurations in brackets). "
        "Bars: 95 % t interval. Dotted line: slope 1, where the student ends at the initial self-teacher's level."
        + synthetic,
    )


@drawn_in_style
def power(sources: Sources) -> Drawing:
    """What more samples, and more configurations, would let one see."""
    gaps = [row for row in sources.gaps if row.get("gap_se_cond") and row.get("k_gap")]
    lines = {
        name: entry
        for name, entry in (sources.law or {}).get("families", {}).items()
        if entry["slope"] is not None and entry["residual_sd"]
    }
    if not gaps and not lines:
        raise Missing("The power curve needs measured gaps with their errors, or a fitted line.")
    figure, axes = panels(bool(gaps) + bool(lines), width=3.6, height=2.9, share=False)
    captions = []
    if gaps:
        captions.append(_draw_smallest_difference(axes[0], gaps))
    if lines:
        captions.append(_draw_interval_widths(axes[-1], lines))
    return Drawing("What more samples and more runs would show", figure, " ".join(captions))


def _draw_smallest_difference(panel: Any, gaps: list[Mapping[str, Any]]) -> str:
    """Two contexts' gaps, independent errors."""
    # The variance of a gap falls with the samples per problem; the mean over the contexts is the scale.
    scale = _mean([float(row["gap_se_cond"]) ** 2 * float(row["k_gap"]) for row in gaps])
    here = _mean([float(row["k_gap"]) for row in gaps])
    ks = [2**i for i in range(1, 9)]
    at = [100 * POWER * math.sqrt(2 * scale / k) for k in ks]
    now = 100 * POWER * math.sqrt(2 * scale / here)
    panel.plot(ks, at, color=INK, linewidth=1.5)
    panel.plot([here], [now], "o", color=INK, markersize=6)
    panel.annotate(f"here: {now:.1f} pp", (here, now), xytext=(7, 5), textcoords="offset points", fontsize=8)
    panel.set(
        xscale="log", xlabel="samples per problem", ylabel="smallest visible difference (pp)", ylim=(0, None)
    )
    panel.set_xticks(ks, [str(k) for k in ks])
    panel.minorticks_off()
    panel.grid(axis="y")
    panel.set_title("between two contexts' gaps")
    return (
        "Between gaps: the smallest difference that is found in 80 % of repetitions at the 5 % level, from the mean "
        f"conditional variance of n = {len(gaps)} gaps; the point is their own number of samples."
    )


def _draw_interval_widths(panel: Any, lines: Mapping[str, Any]) -> str:
    """The half-width of a 95 % prediction interval at the mean gap, with each family's residual SD."""
    for (name, entry), dashes in zip(lines.items(), ("-", "--", "-.", ":") * len(lines), strict=False):
        ns = list(range(4, 25))
        widths = [100 * t_quantile(0.975, n - 2) * entry["residual_sd"] * math.sqrt(1 + 1 / n) for n in ns]
        panel.plot(ns, widths, dashes, color=INK, linewidth=1.4, label=label(name))
        if entry["n"] > 2:
            n = entry["n"]
            now = 100 * t_quantile(0.975, n - 2) * entry["residual_sd"] * math.sqrt(1 + 1 / n)
            panel.plot([n], [now], "o", color=INK, markersize=5)
    panel.set(xlabel="configurations in the fit", ylabel="half-width of its interval (pp)", ylim=(0, None))
    panel.grid(axis="y")
    panel.set_title("of a forecast")
    panel.legend(loc="upper right")
    sizes = ", ".join(f"{name} n = {entry['n']}" for name, entry in lines.items())
    return (
        "Forecasts: half-width of the 95 % prediction interval of one more configuration at the mean gap, with each "
        f"family's residual SD. Points: these fits ({sizes})."
    )


def _reference(panel: Any) -> None:
    panel.axhline(0, color=GRID, linewidth=0.9, zorder=0)
    panel.axvline(0, color=GRID, linewidth=0.9, zorder=0)
    panel.axline((0, 0), slope=1, color=RULE, linewidth=1, linestyle=":", zorder=1)


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)


def _sd(values: list[float]) -> float | None:
    if len(values) < 2:
        return None
    centre = _mean(values)
    return math.sqrt(math.fsum((value - centre) ** 2 for value in values) / (len(values) - 1))
