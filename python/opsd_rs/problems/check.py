"""What a problem file is, and what is wrong with which of its rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from opsd_rs.errors import BadInput
from opsd_rs.problems.files import index
from opsd_rs.problems.unsupported import Unsupported

FORM_NAMES = {
    "ours": "ours",
    "livecodebench": "LiveCodeBench",
    "input_output": "APPS, TACO (input_output)",
    "tests": "SDPO, DeepCoder (tests)",
    "test_cases": "test_cases",
    "reward_model": "verl (reward_model.ground_truth)",
    "verification_info": "open-r1 (verification_info)",
    "official_tests": "open-r1/codeforces (official_tests)",
    "unit_tests": "unit_tests",
    "ground_truth": "ground_truth",
    "public_tests": "CodeContests (public_tests, private_tests, generated_tests)",
    "private_tests": "CodeContests (public_tests, private_tests, generated_tests)",
    "generated_tests": "CodeContests (public_tests, private_tests, generated_tests)",
    "test_list": "MBPP (test_list)",
    "test": "HumanEval (test)",
    "base_input": "HumanEval+, MBPP+ (base_input)",
    "plus_input": "HumanEval+, MBPP+ (base_input)",
}
"""How the forms are called, by :class:`Entry`'s form or the key of a row's tests."""


def check_file(path: str | Path, *, progress: Callable[[str], None] | None = None) -> dict[str, Any]:
    """Open every row of a problem file.

    :returns: ``num_rows``; ``forms``, ``kinds``: how many rows of each; ``num_tests``; ``renamed``: rows that share an
        index and are called by their source too; ``faults``: ``{where, problem_id, kind, message}`` of each row that
        cannot be graded, ``kind`` "broken" or "unsupported"
    :raises BadInput: the file itself cannot be read, or no row of it has a name
    """
    found = index(path, progress=progress)
    forms: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    num_tests = 0
    faults = [_fault("broken", message, None) for message in found.unreadable]
    for entry in found.values():
        forms[FORM_NAMES[entry.shape]] += 1
        try:
            problem = entry.open()
        except Unsupported as error:
            faults.append(_fault("unsupported", str(error), entry.problem_id))
        except BadInput as error:
            faults.append(_fault("broken", str(error), entry.problem_id))
        else:
            kinds[problem.kind] += 1
            num_tests += len(problem.tests)
    return {
        "num_rows": len(found) + len(found.unreadable),
        "forms": dict(forms.most_common()),
        "kinds": dict(kinds.most_common()),
        "num_tests": num_tests,
        "renamed": sum(map(len, found.ambiguous.values())),
        "faults": faults,
    }


def check_rows(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The counts of :func:`check_file` as rows for people."""
    rows = [{"": "rows", "count": result["num_rows"]}]
    rows += [{"": f"form {name}", "count": count} for name, count in result["forms"].items()]
    rows += [{"": f"kind {name}", "count": count} for name, count in result["kinds"].items()]
    rows.append({"": "tests", "count": result["num_tests"]})
    if result["renamed"]:
        rows.append(
            {"": "rows named with their source, since they share an index", "count": result["renamed"]}
        )
    for kind in ("unsupported", "broken"):
        count = sum(fault["kind"] == kind for fault in result["faults"])
        if count:
            rows.append({"": f"rows {kind}", "count": count})
    return rows


def _fault(kind: str, message: str, problem_id: str | None) -> dict[str, str | None]:
    """``where`` stands before the first ": " of a message."""
    where, _, reason = message.partition(": ")
    return {"where": where, "problem_id": problem_id, "kind": kind, "message": reason}
