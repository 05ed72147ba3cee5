"""The summary of a graded file: pass@k, mean@k with its interval, counts; of all and by difficulty, platform, month.

In: each solution's problem and verdict. Out: plain values for JSON, and rows for people. Nulls (infrastructure
faults) leave every figure and are counted beside it. Problems are the clusters of the interval: the samples of one
problem are alike (Miller, arXiv 2411.00640).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from opsd_rs.base import mean_accuracy, pass_at_k, t_interval, tally_passed
from opsd_rs.grading.files.lcb import OFFICIAL_K
from opsd_rs.grading.flags import flag_shares
from opsd_rs.records import Grade, Problem, SecondVerdict

K_LIST = sorted({*OFFICIAL_K, *(2**power for power in range(10))})
"""The k of pass@k, as far as every problem has so many graded samples: the official runner's and powers of two."""

MISSING = re.compile(r"No module named \\?'([^'\\]+)")
"""In the message of a program that imports what is not there."""
GROUPS: Mapping[str, Callable[[Problem], str | None]] = {
    "difficulty": lambda problem: problem.difficulty,
    "platform": lambda problem: problem.platform,
    "month": lambda problem: problem.date[:7] if problem.date else None,
}


class Tally:
    """Collects verdicts as they come."""

    def __init__(self) -> None:
        self.passed: dict[str, list[bool | None]] = {}
        self.verdicts: Counter[str] = Counter()
        self.flags: Counter[str] = Counter()
        self.no_code: Counter[str] = Counter()
        self.missing_modules: Counter[str] = Counter()
        self.also: dict[str, Any] | None = None

    def add(self, grade: Grade) -> None:
        """Count one solution's grade."""
        self.passed.setdefault(grade.problem_id, []).append(grade.passed)
        self.verdicts[grade.verdict] += 1
        self.flags.update(grade.flags)
        if grade.verdict == "no_code":
            self.no_code[grade.message.partition(" (extract = ")[0]] += 1
        elif "no_code" in grade.flags:
            self.no_code[f"the rule {grade.grader.extract} finds no program"] += 1
        elif not grade.passed and (found := MISSING.search(grade.message)):
            self.missing_modules[found[1].partition(".")[0]] += 1
        if grade.also is not None:
            self._compare(grade, grade.also)

    def _compare(self, grade: Grade, second: SecondVerdict) -> None:
        """Count a second profile's verdict; where one of the two has none, they neither agree nor disagree."""
        if self.also is None:
            self.also = {"profile": second.profile, "num_agree": 0, "num_unknown": 0, "disagreements": []}
        if grade.passed is None or second.passed is None:
            self.also["num_unknown"] += 1
        elif grade.passed is second.passed:
            self.also["num_agree"] += 1
        else:
            names = {"problem_id": grade.problem_id, "sample": grade.sample}
            verdicts = {grade.profile: grade.verdict, second.profile: second.verdict}
            self.also["disagreements"].append({**names, **verdicts})


def summarise(tally: Tally, problems: Mapping[str, Problem]) -> dict[str, Any]:
    """All figures as plain values.

    :param problems: of every id in the tally; their tests are not looked at
    :returns: of the whole and, under ``by``, of each group: ``num_problems, num_solutions, num_null``;
        ``mean_at_k`` (fraction; None if nothing was graded), ``ci95`` (None below two problems), ``pass_at_k``;
        ``verdicts``; ``no_code``: why answers held no code, and how many; ``missing_modules``: how many solutions
        failed for want of each; ``flags``: see :func:`flag_shares`; ``also``: where the second profile's ``passed``
        differs, None without one
    """
    summary = figures(tally.passed.values())
    summary["verdicts"] = dict(tally.verdicts.most_common())
    summary["no_code"] = dict(tally.no_code.most_common())
    summary["missing_modules"] = dict(tally.missing_modules.most_common())
    summary["flags"] = flag_shares(tally.flags, summary["num_solutions"])
    by: dict[str, dict[str, Any]] = {}
    for name, value_of in GROUPS.items():
        groups: dict[str, list[Sequence[bool | None]]] = {}
        for problem_id, passed in tally.passed.items():
            groups.setdefault(value_of(problems[problem_id]) or "none", []).append(passed)
        if set(groups) - {"none"}:
            by[name] = {value: figures(groups[value]) for value in sorted(groups)}
    summary["by"] = by
    if tally.also is not None:
        tally.also["disagreements"].sort(key=lambda row: (row["problem_id"], row["sample"]))
    summary["also"] = tally.also
    return summary


def figures(passed: Iterable[Sequence[bool | None]]) -> dict[str, Any]:
    """Of one group of problems, a row of outcomes each."""
    outcomes = list(passed)
    correct_N, samples_N = tally_passed(outcomes)
    mean = mean_accuracy(correct_N, samples_N)
    spread = None
    if mean.value is not None and mean.se_super is not None:
        low, high = t_interval(mean.value, mean.se_super, mean.num_problems - 1)
        spread = [max(0.0, low), min(1.0, high)]
    graded = samples_N > 0
    fewest = int(samples_N[graded].min()) if graded.any() else 0
    return {
        "num_problems": len(outcomes),
        "num_solutions": sum(map(len, outcomes)),
        "num_null": sum(outcome is None for row in outcomes for outcome in row),
        "mean_at_k": mean.value,
        "ci95": spread,
        "pass_at_k": {
            str(k): float(pass_at_k(correct_N[graded], samples_N[graded], k).mean())
            for k in K_LIST
            if k <= fewest
        },
    }


def report_rows(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The figures as rows for people: the whole, then each group."""
    found = [_row("all", summary)]
    for name, groups in summary["by"].items():
        found += [_row(f"{name} {value}", part) for value, part in groups.items()]
    return found


def report_counts(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The verdicts and where they came from, as rows for people."""
    where = ("num_run", "num_resumed", "num_cached", "num_repeated")
    verdicts = [{"": name, "count": count} for name, count in summary["verdicts"].items()]
    found = verdicts + [{"": name, "count": summary[name]} for name in where if summary.get(name)]
    for name, part in summary["flags"].items():
        if part["count"] or name == "near_limit":
            found.append({"": f"{name} ({part['share']:.1%})", "count": part["count"]})
    also = summary["also"]
    if also is not None:
        disagree = {"num_disagree": len(also["disagreements"])}
        parts = {"num_agree": also["num_agree"], **disagree, "num_unknown": also["num_unknown"]}
        found += [{"": f"{also['profile']} {name}", "count": count} for name, count in parts.items()]
    return found


def report_notes(summary: Mapping[str, Any]) -> list[str]:
    """What a reader of the figures should know first: answers without code, programs that lack a module."""
    notes = []
    no_code, missing = summary["no_code"], summary["missing_modules"]
    if (count := sum(no_code.values())) > summary["num_solutions"] / 2:
        reason = next(iter(no_code))
        notes.append(
            f"{count} of {summary['num_solutions']} answers hold no code ({no_code[reason]}: {reason}): is --extract "
            "the rule for these answers, and were they cut?"
        )
    if missing:
        names = ", ".join(f"{name} {count}" for name, count in missing.items())
        notes.append(
            f"{sum(missing.values())} of {summary['num_solutions']} solutions failed for want of a module ({names}); "
            "where it is installed they may be right: --site-packages DIR lets programs import from a folder"
        )
    return notes


def _row(name: str, part: Mapping[str, Any]) -> dict[str, Any]:
    spread = part["ci95"]
    return {
        "": name,
        "problems": part["num_problems"],
        "solutions": part["num_solutions"],
        "null": part["num_null"],
        "mean@k": part["mean_at_k"],
        "95 % CI": None if spread is None else f"{spread[0]:.3f} to {spread[1]:.3f}",
        **{f"pass@{k}": value for k, value in part["pass_at_k"].items()},
    }
