"""How decisions and stops come out in simulated worlds: the tables of ``docs/law.md``, "Deciding".

    python benches/law_decisions.py decide --worlds 4000
    python benches/law_decisions.py stop --worlds 4000

``decide``: a law is fitted on some configurations, one more gap is measured, the product decides, and one new run is
drawn from the same world. ``stop``: a run's curve is drawn, its forecast is calibrated, and each rule watches its
validations. Everything is drawn from ``--seed``; a row is a JSON line with ``--json``.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from opsd_rs.law.curve import RULES, Look, StopTerms, first_stop, outlooks
from opsd_rs.law.decide import Measured, Terms, decide
from opsd_rs.law.forecasts import Spread, forecast
from opsd_rs.law.noise import seed_figures
from opsd_rs.law.regression import fit_line
from opsd_rs.law.rows import LawRow

BASE = 0.3
"""The student's accuracy before training."""


@dataclass(frozen=True)
class World:
    """What makes gaps and gains."""

    slope: float
    num_configs: int
    scatter: float
    """Between configurations about the line."""
    gap_se: float
    new_gap_se: float
    seeds: int = 3
    seed_sd: float = 0.015
    """Between runs of a configuration, validation noise in it."""


DECIDE = {
    f"slope {slope:g}, n {n}, scatter {100 * scatter:g} pp, gap SE {100 * se:g} pp": World(slope, n, scatter, 0.01, se)
    for slope in (0.0, 0.5, 1.0)
    for n in (6, 12)
    for scatter in (0.01, 0.03)
    for se in (0.01, 0.03)
}  # fmt: skip


def fitted(world: World, rng: np.random.Generator) -> dict[str, Any]:
    """An entry of ``law.json``, of configurations that were trained in this world."""
    gaps = rng.uniform(-0.05, 0.15, world.num_configs)
    gains = world.slope * gaps + rng.normal(0, world.scatter, world.num_configs)
    runs = gains[:, None] + rng.normal(0, world.seed_sd, (world.num_configs, world.seeds))
    seen = gaps + rng.normal(0, world.gap_se, world.num_configs)
    line = fit_line(seen, runs.mean(axis=1))
    spreads = runs.std(axis=1, ddof=1) if world.seeds > 1 else [None] * world.num_configs
    figures = seed_figures([{"num_seeds": world.seeds, "improvement_sd": sd} for sd in spreads])
    return {
        "slope": line.slope, "slope_se": line.slope_se, "intercept": line.intercept, "residual_sd": line.residual_sd,
        "n": line.n, "num_runs": runs.size, "gap_mean": line.x_mean, "gap_sxx": line.sxx, "gap_min": line.x_min,
        "gap_max": line.x_max, "gap_se2_mean": world.gap_se**2, "domain": {"lr": "1"}, **figures,
    }  # fmt: skip


def decide_once(
    world: World, terms: Terms, rng: np.random.Generator, *, excess: bool
) -> tuple[str, float, float]:
    """The verdict on a new configuration, P(gain >= worthwhile), and what one run of it then gains."""
    entry = fitted(world, rng)
    gap = float(rng.uniform(-0.05, 0.15))
    seen = gap + float(rng.normal(0, world.new_gap_se))
    gain = world.slope * gap + float(rng.normal(0, world.scatter)) + float(rng.normal(0, world.seed_sd))
    row = LawRow("m", "new", gap=seen, gap_se=world.new_gap_se, acc_val0=BASE)
    made = forecast(entry, [row], excess=excess)
    found = decide(entry, made, terms, Measured(samples=16, group_size=8))
    assert found.p_worthwhile is not None
    return found.verdict, found.p_worthwhile, gain


def decisions(
    worlds: int, seed: int, terms: Terms, *, cells: Mapping[str, World] = DECIDE
) -> Iterator[dict[str, Any]]:
    """A row per cell and interval: how often a verdict, how often a wrong one."""
    for name, world in cells.items():
        for excess in (False, True):
            rng = np.random.default_rng(seed)
            drawn = [decide_once(world, terms, rng, excess=excess) for _ in range(worlds)]
            poor = np.array([gain < terms.worthwhile for *_, gain in drawn])
            verdicts = np.array([verdict for verdict, *_ in drawn])
            likely = np.array([p >= terms.confidence for _, p, _ in drawn])
            train, skip = verdicts == "train", verdicts == "skip"
            yield {
                "world": name,
                "px": "excess" if excess else "full",
                "train": float(train.mean()),
                "skip": float(skip.mean()),
                "measure_more": float((verdicts == "measure more").mean()),
                "needs_anchors": float((verdicts == "needs anchors").mean()),
                "train_and_poor": float((train & poor).mean()),
                "p_and_poor": float((likely & poor).mean()),
                "poor_of_trained": float(poor[train].mean()) if train.any() else None,
                "skip_and_good": float((skip & ~poor).mean()),
            }


# ---- stops -----------------------------------------------------------------------------------------------

HORIZON, EVERY = 50, 5
Shape = Callable[[float], float]


def saturating(tau: float) -> Shape:
    """The rules' own curve; ``tau`` as a share of the run."""
    return lambda share: math.expm1(-share / tau) / math.expm1(-1 / tau)


SHAPES: dict[str, Shape] = {
    "fast (tau 0.1)": saturating(0.1),
    "middle (tau 0.3)": saturating(0.3),
    "slow (tau 1)": saturating(1.0),
    "straight": lambda share: share,
    "late (half of it after 70 % of the run)": lambda share: 1 / (1 + math.exp(-12 * (share - 0.7))),
    "up and down (peak at 40 %)": lambda share: math.sin(min(share / 0.8, 1.2) * math.pi),
}
"""Share of the gain by share of the run."""


@dataclass(frozen=True)
class Runs:
    """How runs gain and are validated."""

    gain: float
    """Mean of the gains; the law's forecast is right about it."""
    forecast_se: float = 0.03
    df: float = 8.0
    eval_se: float = 0.011
    """131 problems x 4 samples."""
    scatter: float = 0.005


def stop_once(
    shape: Shape, runs: Runs, terms: StopTerms, rng: np.random.Generator
) -> dict[str, tuple[int, float, float]]:
    """By rule: the step at which the run ends, the accuracy that this loses, the run's gain at its end."""
    gain = runs.gain + runs.forecast_se * float(rng.standard_t(runs.df))
    steps = range(0, HORIZON + 1, EVERY)
    true = {step: BASE + gain * shape(step / HORIZON) for step in steps}
    seen = []
    for step in steps:
        noise = math.hypot(runs.eval_se, runs.scatter if step else 0.0)
        seen.append(Look(step, true[step] + float(rng.normal(0, noise)), runs.eval_se))
    prior = Spread(runs.gain, runs.forecast_se, runs.df)
    expected = outlooks(seen, prior, HORIZON, terms)
    found = {}
    for rule in RULES:
        stop = first_stop(rule, expected, prior, HORIZON, terms)
        step = HORIZON if stop is None else stop.step
        found[rule] = (step, true[HORIZON] - true[step], true[HORIZON] - BASE)
    return found


def stops(worlds: int, seed: int, terms: StopTerms) -> Iterator[dict[str, Any]]:
    """A row per shape, mean gain and rule: how often it stops, what it saves and loses, against the full curve."""
    for name, shape in SHAPES.items():
        for gain in (0.0, 0.05, 0.12):
            rng = np.random.default_rng(seed)
            drawn = [stop_once(shape, Runs(gain), terms, rng) for _ in range(worlds)]
            for rule in RULES:
                steps, regrets, gains = (
                    np.array(column) for column in zip(*(one[rule] for one in drawn), strict=True)
                )
                stopped, good = steps < HORIZON, gains >= terms.worthwhile
                yield {
                    "curve": name,
                    "gain": gain,
                    "rule": rule,
                    "stopped": float(stopped.mean()),
                    "steps_saved": float(1 - steps.mean() / HORIZON),
                    "regret": float(regrets.mean()),
                    "regret_p95": float(np.quantile(regrets, 0.95)),
                    "stopped_of_good": float(stopped[good].mean()) if good.any() else None,
                    "stopped_of_poor": float(stopped[~good].mean()) if (~good).any() else None,
                }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", choices=["decide", "stop"])
    parser.add_argument("--worlds", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--worthwhile", type=float, default=0.02)
    parser.add_argument("--confidence", type=float, help="default: 0.8 to decide, 0.95 to stop")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if args.study == "decide":
        rows = decisions(args.worlds, args.seed, Terms(args.worthwhile, args.confidence or 0.8))
    else:
        rows = stops(args.worlds, args.seed, StopTerms(args.worthwhile, confidence=args.confidence or 0.95))
    for place, row in enumerate(rows):
        if args.json:
            print(json.dumps(row), flush=True)
            continue
        if not place:
            print("| " + " | ".join(row) + " |\n|" + "---|" * len(row))
        cells = ("-" if v is None else f"{v:.3f}" if isinstance(v, float) else str(v) for v in row.values())
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
