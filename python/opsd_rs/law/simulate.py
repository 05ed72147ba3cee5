"""Runs with a known slope: problems, contexts and seeds drawn, answers counted, as a table that ``law fit`` reads.

In: a setting. Out: rows of ``runs.parquet`` (marked synthetic) and of ``samples.parquet``. Problems differ in
difficulty (a beta distribution with the stated correlation within a problem), contexts in their gap, runs in what
training adds. Every accuracy is a count of drawn answers, so the errors in the table are those of real counts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opsd_rs.base import mean_accuracy
from opsd_rs.errors import BadInput
from opsd_rs.law.worlds import generator

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Setting:
    """What is true in a simulated study; accuracies, gaps and SDs are fractions.

    >>> Setting(contexts=4).true_gaps().round(6).tolist()
    [0.0, 0.05, 0.1, 0.15]
    """

    slope: float = 1.5
    intercept: float = 0.0
    contexts: int = 6
    seeds: int = 3
    gap_low: float = 0.0
    gap_high: float = 0.15
    tau: float = 0.01
    """SD of a context's improvement about the line."""
    training_sd: float = 0.01
    """SD of a run's improvement about its context's."""
    problems: int = 131
    accuracy: float = 0.28
    icc: float = 0.68
    """Correlation of two answers to one problem."""
    gap_samples: int = 8
    val_samples: int = 4
    shared_baseline: bool = True
    """One student measured before training for all contexts of a seed; False: each run measures its own."""
    family: str = "simulated"
    seed: int = 0

    def true_gaps(self) -> Floats:
        """(contexts,), evenly spread."""
        return np.linspace(self.gap_low, self.gap_high, self.contexts)


def simulate_runs(setting: Setting) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of runs and of samples for one draw of ``setting``.

    :raises BadInput: a setting that no accuracies between 0 and 1 can have
    """
    _check(setting)
    draw = generator(setting.seed, 1)
    spread = (1 - setting.icc) / setting.icc
    p_N = draw.beta(setting.accuracy * spread, (1 - setting.accuracy) * spread, setting.problems)
    gaps = setting.true_gaps()
    off = draw.normal(0, setting.tau, len(gaps)) if setting.tau else np.zeros(len(gaps))
    runs, samples = [], []
    bare: dict[tuple[int, int], tuple[Counts, Counts]] = {}
    for place, gap in enumerate(gaps.tolist()):
        context = f"context-{place}"
        for seed in range(setting.seeds):
            run = f"{setting.family}-{context}-{seed}"
            shared_by = (seed, -1 if setting.shared_baseline else place)
            if shared_by not in bare:
                bare[shared_by] = (
                    draw.binomial(setting.val_samples, p_N),
                    draw.binomial(setting.gap_samples, p_N),
                )
            before, student = bare[shared_by]
            gain = setting.intercept + setting.slope * gap + off[place] + draw.normal(0, setting.training_sd)
            teacher = draw.binomial(setting.gap_samples, _lifted(p_N, gap))
            after = draw.binomial(setting.val_samples, _lifted(p_N, gain))
            counts = {"B": student, "T": teacher, "V0": before, "V1": after}
            runs.append(_run(setting, run, context, seed, counts))
            samples += _samples(setting, run, context, seed, counts)
    return runs, samples


def _check(setting: Setting) -> None:
    if setting.contexts < 3 or setting.seeds < 1 or setting.problems < 2:
        raise BadInput("a simulated law needs three contexts, a seed and two problems")
    if not (0 < setting.icc < 1 and 0 < setting.accuracy < 1):
        raise BadInput("accuracy and icc lie between 0 and 1")
    for gap in (setting.gap_low, setting.gap_high):
        for name, lift in (("gap", gap), ("improvement", setting.intercept + setting.slope * gap)):
            if not -setting.accuracy < lift < 1 - setting.accuracy:
                raise BadInput(
                    f"a student of accuracy {setting.accuracy:g} has no {name} of {lift:g}: "
                    "narrow the gaps or the slope"
                )


def _lifted(p_N: Floats, lift: float) -> Floats:
    """Every problem's accuracy moved the same share of its way to 1 (or 0), so that the mean moves by ``lift``."""
    mean = float(p_N.mean())
    moved = p_N + (1 - p_N) * lift / (1 - mean) if lift >= 0 else p_N * (1 + lift / mean)
    return np.clip(moved, 0.0, 1.0)


def _run(setting: Setting, run: str, context: str, seed: int, counts: dict[str, Counts]) -> dict[str, Any]:
    k = {
        "B": setting.gap_samples,
        "T": setting.gap_samples,
        "V0": setting.val_samples,
        "V1": setting.val_samples,
    }
    means = {arm: mean_accuracy(count, np.full(len(count), k[arm])) for arm, count in counts.items()}
    accuracy = {arm: float(found.value or 0.0) for arm, found in means.items()}
    error = {arm: found.se_cond or 0.0 for arm, found in means.items()}
    return {
        "run_id": run,
        "config_id": f"{setting.family}/{context}",
        "family": setting.family,
        "context": context,
        "seed": seed,
        "n_problems": setting.problems,
        "k_gap": setting.gap_samples,
        "k_val": setting.val_samples,
        "acc_student_gap": accuracy["B"],
        "acc_teacher": accuracy["T"],
        "gap": accuracy["T"] - accuracy["B"],
        "gap_se_cond": math.hypot(error["T"], error["B"]),
        "acc_val0": accuracy["V0"],
        "acc_val1": accuracy["V1"],
        "improvement": accuracy["V1"] - accuracy["V0"],
        "improvement_se_cond": math.hypot(error["V1"], error["V0"]),
        "synthetic": True,
    }


def _samples(
    setting: Setting, run: str, context: str, seed: int, counts: dict[str, Counts]
) -> list[dict[str, Any]]:
    """The answers behind a run's row. As in training, runs of one seed hold equal answers of their shared baseline."""
    rows = []
    for arm, count in counts.items():
        k = setting.gap_samples if arm in ("B", "T") else setting.val_samples
        shared = {"run_id": run, "arm": arm, "step": int(arm == "V1"), "seed": seed, "group_id": None}
        shared["context_kind"] = context if arm == "T" else ""
        for problem, passed in enumerate(count.tolist()):
            rows += [
                {**shared, "problem_id": f"p{problem}", "sample_idx": sample, "correct": sample < passed}
                for sample in range(k)
            ]
    return rows
