"""The answers of ``law power`` and ``law simulate``: tables from the user's figures, and truth beside what a fit finds.

In: options, and tables of answers where there are some. Out: JSON-able dictionaries; ``plan_text`` prints them.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from opsd_rs.base import write_table
from opsd_rs.errors import BadInput
from opsd_rs.law.answers import counts_of, sample_tables
from opsd_rs.law.bootstrap import add_bootstrap
from opsd_rs.law.fit import fit_tables
from opsd_rs.law.power import (
    gap_table,
    icc_of,
    improvement_table,
    needed_contexts,
    slope_table,
    within_variance,
)
from opsd_rs.law.simulate import Setting, simulate_runs

ACCURACY, ICC = 0.28, 0.68
"""As in the published setting; taken where neither options nor answers say otherwise."""


def power_tables(samples: Sequence[Path], **given: Any) -> dict[str, Any]:
    """Smallest visible differences and the power of a slope, from options of ``law power``.

    :param samples: tables of answers, or run folders, that accuracy and correlation are taken from
    :raises BadInput: figures that no study can have
    """
    accuracy, icc, source = ACCURACY, ICC, "published setting"
    if samples:
        counted = counts_of(sample_tables(samples, ()))
        accuracy, within, icc = icc_of(*counted)
        source = f"{len(counted[0])} problems of {', '.join(map(str, samples))}"
    if given["accuracy"] is not None or given["icc"] is not None:
        source = "options"
        accuracy = accuracy if given["accuracy"] is None else given["accuracy"]
        icc = icc if given["icc"] is None else given["icc"]
    within = within_variance(accuracy, max(0.0, icc))
    low, high = given["gaps"]
    for name in ("tau", "training_sd"):
        if given[name] < 0:
            raise BadInput(f"--{name.replace('_', '-')} {given[name]:g}: an SD is not negative")
    if low == high:
        raise BadInput(f"--gaps {low:g} {high:g}: equal gaps have no slope")
    problems, slope = given["problems"], given["slope"]
    gap_se = math.sqrt(2 * within / (problems * given["gap_samples"]))
    # Improvements subtract two validations; the one before training is counted as each run's own.
    seed_sd = math.sqrt(given["training_sd"] ** 2 + 2 * within / (problems * given["val_samples"]))
    shared = {"tau": given["tau"], "seed_sd": seed_sd, "gap_se": gap_se}
    return {
        "accuracy": accuracy,
        "icc": icc,
        "within_variance": within,
        "source": source,
        "gap_se": gap_se,
        "seed_sd": seed_sd,
        "slope": slope,
        "gaps": [low, high],
        "tau": given["tau"],
        "problems": problems,
        "smallest_gap_difference": gap_table(within),
        "smallest_improvement_difference": improvement_table(
            within, given["training_sd"], problems=problems, k=given["val_samples"]
        ),
        "slope_power": slope_table(slope, (low, high), **shared),
        "needed_contexts": {
            str(seeds): needed_contexts(slope, (low, high), seeds=seeds, **shared) for seeds in (1, 2, 3, 5)
        },
    }


def recover(given: Mapping[str, Any], out: Path | None, samples: Path | None) -> dict[str, Any]:
    """Draw runs by options of ``law simulate``, fit them as any table, and put truth and finding side by side."""
    low, high = given["gaps"]
    kept = (
        "slope",
        "intercept",
        "contexts",
        "seeds",
        "tau",
        "training_sd",
        "problems",
        "accuracy",
        "icc",
        "seed",
    )
    setting = Setting(
        gap_low=low,
        gap_high=high,
        shared_baseline=not given["split_baselines"],
        **{name: given[name] for name in kept},
    )
    runs, answers = simulate_runs(setting)
    with tempfile.TemporaryDirectory() as folder:
        table, graded = Path(folder) / "runs.parquet", Path(folder) / "samples.parquet"
        write_table(table, runs)
        write_table(graded, answers)
        fitted = fit_tables([table])
        add_bootstrap(fitted, [graded], [table], draws=500)
    for path, rows in ((out, runs), (samples, answers)):
        if path is not None:
            if path.suffix != ".parquet":
                raise BadInput(f"{path}: drawn tables are written as .parquet")
            write_table(path, rows)
    (entry,) = fitted["families"].values()
    found = [
        {"figure": "slope", "true": setting.slope, "found": entry["slope"], "ci95": entry["slope_ci95"]},
        {
            "figure": "slope, corrected for the gaps' errors",
            "true": setting.slope,
            "found": entry["slope_corrected"],
            "ci95": entry["slope_corrected_ci95"],
        },
        {
            "figure": "intercept",
            "true": setting.intercept,
            "found": entry["intercept"],
            "ci95": entry["intercept_ci95"],
        },
        {"figure": "scatter beyond noise (tau)", "true": setting.tau, "found": entry["tau"], "ci95": None},
        {
            "figure": "SD of training between seeds",
            "true": setting.training_sd,
            "found": entry["bootstrap"]["training_sd"],
            "ci95": None,
        },
    ]
    return {"recovered": found, "fit": fitted, "written": [str(path) for path in (out, samples) if path]}
