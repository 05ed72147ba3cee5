"""The report's page: bytes, seconds to write it, and when a browser shows its first row and its first rollout.

In: nothing; run folders are made with ``--rollouts`` rollouts of ``--tokens`` tokens each over 40 steps, words of a
vocabulary drawn with frequencies like a text's. Out: a line; with ``--json FILE`` a line of JSON with every repeat.
Times are those of the page's own marks in headless Chromium, from the start of the navigation.

    python benches/report.py --rollouts 10000 --tokens 300 --json benches/results/report.jsonl
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from opsd_rs.base import write_table
from opsd_rs.report import write_report

STEPS = 40
VOCABULARY = 49_152


def make_run(folder: Path, rollouts: int, tokens: int) -> None:
    """A run folder with rollouts and nothing else."""
    drawn = np.random.default_rng(0)
    config = {
        "seed": 0,
        "context": {"name": "peer_solution_feedback"},
        "rollout": {"n": 8},
        "log": {"token_kl": True},
    }
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    write_table(
        folder / "tokens.parquet",
        [{"token_id": i, "bytes": f" {np.base_repr(i, 36).lower()}".encode()} for i in range(VOCABULARY)],
    )

    def words(count: int) -> list[int]:
        return np.minimum(VOCABULARY - 1, drawn.zipf(1.25, count)).tolist()

    for step in range(STEPS):
        rows: list[dict[str, Any]] = []
        for i in range(rollouts // STEPS):
            if i % 8 == 0:
                prompt = words(200)
            solution = words(200)
            rows.append(
                {
                    "step": step, "problem_id": f"problem-{step}-{i // 8}", "sample": i % 8, "text": "",
                    "truncated": False, "passed": i % 3 == 0, "verdict": "accepted" if i % 3 == 0 else "wrong_answer",
                    "feedback": "Test Case 1: Wrong Answer\n\nInput\n12\n", "context_status": "peer+feedback",
                    "context_flags": [], "prompt_ids": prompt, "teacher_prompt_ids": prompt + solution,
                    "completion_ids": words(tokens), "token_kl": drawn.gamma(0.3, 0.5, tokens).astype(np.float16),
                    "teacher_spans": [
                        {"section": "prompt", "start": 0, "end": 200},
                        {"section": "solution", "start": 200, "end": 400},
                    ],
                }
            )  # fmt: skip
        (folder / "rollouts").mkdir(exist_ok=True)
        write_table(folder / "rollouts" / f"step-{step:06d}.parquet", rows, halves=["token_kl"])


def shown(page: Path, repeats: int) -> list[dict[str, float]]:
    """Milliseconds to each of the page's marks, and to the end of its loading."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    found = []
    with sync_playwright() as playwright:
        for _ in range(repeats):  # a browser of its own each time: nothing is kept from the one before
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            view = browser.new_page(viewport={"width": 1200, "height": 900})
            view.goto(page.as_uri())
            view.wait_for_selector("#rollout pre")
            marks = "Object.fromEntries(performance.getEntriesByType('mark').map(m => [m.name, m.startTime]))"
            loaded = "performance.timing.loadEventEnd - performance.timing.navigationStart"
            found.append(view.evaluate(marks) | {"loaded": view.evaluate(loaded)})
            browser.close()
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rollouts", type=int, default=10_000)
    parser.add_argument("--tokens", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--commit")
    words = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make_run(Path(folder) / "run", words.rollouts, words.tokens)
        started = time.perf_counter()
        page = write_report([Path(folder) / "run"], Path(folder) / "report.html")
        seconds = time.perf_counter() - started
        mib = page.stat().st_size / 2**20
        marks = shown(page, words.repeats)
    middle = {name: statistics.median(mark[name] for mark in marks) for name in marks[0]}
    print(
        f"{words.rollouts} rollouts of {words.tokens} tokens: {mib:.1f} MiB, written in {seconds:.1f} s; first row "
        f"after {middle['first row']:.0f} ms, first rollout {middle['first rollout']:.0f} ms (median of {len(marks)})"
    )
    if words.json is not None:
        line = {
            "rollouts": words.rollouts, "tokens": words.tokens, "mib": round(mib, 2),
            "write_seconds": round(seconds, 2), "repeats": marks, "date": datetime.now(UTC).date().isoformat(),
            "commit": words.commit,
            "command": f"python benches/report.py --rollouts {words.rollouts} --tokens {words.tokens}",
            "python": platform.python_version(), "cores": os.cpu_count(),
        }  # fmt: skip
        with words.json.open("a") as file:
            file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
