"""The two figures: improvement against gap with the fitted lines, and accuracy against training steps.

In: a fit or tables of runs; rows of validation accuracy. Out: the same picture as .svg and .png. matplotlib is loaded
with the first figure.
"""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from opsd_rs.base import t_quantile, write_whole
from opsd_rs.errors import BadInput
from opsd_rs.law.fit import fit_tables
from opsd_rs.law.regression import mean_se


def figure1(source: Mapping[str, Any] | Sequence[Path], out: Path) -> list[Path]:
    """Improvement against gap, a panel per family, from a fit or from tables; writes ``out`` as .svg and .png."""

    fit = source if isinstance(source, Mapping) else fit_tables(source)
    return improvement_against_gap(fit, Path(out))


def figure2(rows: Sequence[Mapping[str, Any]], out: Path) -> list[Path]:
    """Accuracy against steps, student and self-teacher, a panel per run; writes ``out`` as .svg and .png.

    Rows {run, step, arm ("student" or "teacher"), accuracy, se}; fractions, se may be None.
    """

    return accuracy_against_steps(rows, Path(out))


# Okabe and Ito's colours, which the colour-blind can tell apart; a marker too, for print.
LOOKS = {
    "none": ("#7F7F7F", "o"),
    "expert_preamble": ("#56B4E9", "s"),
    "feedback": ("#E69F00", "^"),
    "llm_peer_hints": ("#009E73", "D"),
    "own_solution_feedback": ("#0072B2", "v"),
    "peer_solution_feedback": ("#D55E00", "P"),
}
"""The paper's six contexts look the same in every figure."""
LABELS = {
    "none": "none (control)",
    "expert_preamble": "expert preamble",
    "feedback": "feedback",
    "llm_peer_hints": "LLM peer hints",
    "own_solution_feedback": "own solution + feedback",
    "peer_solution_feedback": "peer solution + feedback",
}
OTHER_LOOKS = (("#CC79A7", "X"), ("#8C6D1F", "p"), ("#000000", "*"), ("#B0A800", "h"), ("#5B3A8C", "<"))
MAX_COLUMNS = 4
STUDENT, TEACHER = "#0072B2", "#D55E00"
STYLE = {
    "svg.hashsalt": "opsd-rs",  # else element ids differ from run to run
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "savefig.dpi": 300,
}


def improvement_against_gap(fit: Mapping[str, Any], out: Path) -> list[Path]:
    """Figure 1 from what ``law.fit_tables`` returns: a panel per family, axes shared, percentage points."""
    matplotlib = _matplotlib()
    families = fit["families"]
    looks = _looks(families)
    with matplotlib.rc_context(STYLE):
        figure, panels = _panels(len(families), width=3.7, height=3.6)
        xs, ys = _limits(families)
        for panel, (name, entry) in zip(panels, families.items(), strict=True):
            panel.set(xlim=xs, ylim=ys, xlabel="initial self-teacher gap (pp)")
            panel.axhline(0, color="0.85", linewidth=0.8, zorder=0)
            panel.axvline(0, color="0.85", linewidth=0.8, zorder=0)
            panel.axline((0, 0), slope=1, color="0.55", linewidth=1, linestyle=":", zorder=1)
            if entry["slope"] is not None:
                _draw_line(panel, entry, xs)
            for point in entry["configs"]:
                hollow = entry["synthetic"] or not point["fitted"]
                _draw_point(panel, point, looks[point["context"]], hollow=hollow)
            panel.set_title(f"{name} (SYNTHETIC points)" if entry["synthetic"] else name)
            panel.text(
                0.03,
                0.97,
                _inset(entry),
                transform=panel.transAxes,
                va="top",
                fontsize=7.5,
                linespacing=1.4,
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5},
            )
        panels[0].set_ylabel("final student improvement (pp)")
        figure.legend(handles=_handles(looks, families), loc="outside right upper", fontsize=8)
        figure.supxlabel(_caption(families), fontsize=7, color="0.35", x=0.01, ha="left")
        return _save(figure, out)


def accuracy_against_steps(rows: Sequence[Mapping[str, Any]], out: Path) -> list[Path]:
    """Figure 2: a panel per run, student solid, self-teacher dashed, band ±1 standard error, in per cent.

    An arm measured once only (the teacher before training) is a level line.
    """
    matplotlib = _matplotlib()
    if not rows:
        raise BadInput("no rows of validation to draw; figures need runs with eval.parquet")
    runs = list(dict.fromkeys(str(row["run"]) for row in rows))
    steps = [int(row["step"]) for row in rows]
    with matplotlib.rc_context(STYLE):
        figure, panels = _panels(len(runs), width=3.4, height=2.9)
        drawn: dict[str, Any] = {}
        once = False
        for panel, run in zip(panels, runs, strict=True):
            for arm, label, colour, dashes in (
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
                    drawn[label] = _draw_curve(panel, curve, colour, dashes, (min(steps), max(steps)))
            panel.set(title=run, xlabel="step")
            panel.grid(axis="y", color="0.92", linewidth=0.8)
            panel.set_axisbelow(True)
        panels[0].set_ylabel("accuracy (%)")
        panels[0].xaxis.get_major_locator().set_params(integer=True)
        figure.legend(list(drawn.values()), list(drawn), loc="outside right upper", fontsize=8)
        caption = "Bands: ±1 standard error." + (" A level line was measured once." if once else "")
        figure.supxlabel(caption, fontsize=7, color="0.35", x=0.01, ha="left")
        return _save(figure, out)


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
    panel.fill_between(percent, lower, upper, color="0.5", alpha=0.13, linewidth=0, zorder=1)
    panel.plot(list(xs), [at(xs[0] / 100), at(xs[1] / 100)], "--", color="0.6", linewidth=0.8, zorder=2)
    panel.plot([100 * low, 100 * high], [at(low), at(high)], "k--", linewidth=1.4, zorder=2)


def _draw_point(panel: Any, point: Mapping[str, Any], look: tuple[str, str], *, hollow: bool) -> None:
    colour, marker = look
    panel.errorbar(
        100 * point["gap"],
        100 * point["improvement"],
        xerr=_percent(point["gap_se"]),
        yerr=_percent(_bar(point)[0]),
        fmt=marker,
        color=colour,
        markerfacecolor="white" if hollow else colour,
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
        f"R$^2$ {r2}, leave-one-out {loo}\n"
        f"n = {entry['n']} configurations, {entry['num_runs']} runs"
    )


def _caption(families: Mapping[str, Any]) -> str:
    kinds = dict.fromkeys(_bar(point)[1] for entry in families.values() for point in entry["configs"])
    across = any(point["gap_se"] for entry in families.values() for point in entry["configs"])
    synthetic = any(entry["synthetic"] for entry in families.values())
    sizes = ", ".join(
        f"{name} n = {entry['n']} from {entry['num_runs']} runs" for name, entry in families.items()
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
    width = 40 + 62 * min(len(families), MAX_COLUMNS)  # characters under the panels
    return "\n".join(textwrap.fill(line, width, break_on_hyphens=False) for line in lines)


def _draw_curve(
    panel: Any,
    curve: Sequence[tuple[int, float, float | None]],
    colour: str,
    dashes: str,
    steps: tuple[int, int],
) -> Any:
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
    return _widened([*x, 0.0]), _widened([*y, 0.0], above=0.35)


def _widened(values: Sequence[float], above: float = 0.08) -> tuple[float, float]:
    """``above``: space on top for the inset."""
    span = max(values) - min(values) or 1.0
    return min(values) - 0.08 * span, max(values) + above * span


def _looks(families: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Colour and marker of each context; those that are not the paper's take the rest in turn."""
    names = dict.fromkeys(point["context"] for entry in families.values() for point in entry["configs"])
    others = [name for name in names if name not in LOOKS]
    spare = {name: OTHER_LOOKS[place % len(OTHER_LOOKS)] for place, name in enumerate(others)}
    ordered = [*(name for name in LOOKS if name in names), *others]
    return {name: LOOKS.get(name) or spare[name] for name in ordered}


def _handles(looks: Mapping[str, tuple[str, str]], families: Mapping[str, Any]) -> list[Any]:
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
            marker=marker,
            color=colour,
            markerfacecolor=colour if name in filled else "white",
            label=LABELS.get(name, name),
        )
        for name, (colour, marker) in looks.items()
    ]


def _percent(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else 100 * value


def _panels(count: int, *, width: float, height: float) -> tuple[Any, list[Any]]:
    from matplotlib.figure import Figure

    columns = min(count, MAX_COLUMNS)
    rows = -(-count // columns)
    figure = Figure(figsize=(width * columns + 1.7, height * rows + 0.5), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    panels = list(grid.flat)
    for unused in panels[count:]:
        unused.set_visible(False)
    return figure, panels[:count]


def _save(figure: Any, out: Path) -> list[Path]:
    """Both formats beside each other; neither holds a date or a version."""
    stem = out.with_suffix("") if out.suffix in (".svg", ".png", ".pdf") else out
    written = []
    for suffix, metadata in (
        (".svg", {"Date": None, "Creator": "opsd-rs"}),
        (".png", {"Software": "opsd-rs"}),
    ):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=suffix[1:], metadata=metadata)
        path = stem.with_name(stem.name + suffix)
        write_whole(path, buffer.getvalue())
        written.append(path)
    return written


def _matplotlib() -> Any:
    try:
        import matplotlib
    except ImportError as error:
        raise BadInput(
            "figures need matplotlib: install the plot extra, `pip install opsd-rs[plot]`"
        ) from error
    return matplotlib
