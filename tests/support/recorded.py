"""Rollouts of SmolLM2 that were recorded once, for tests whose numbers must not depend on what a processor samples.

``recorded_rollouts.jsonl`` has a line per rollout: problem, sample, the completion's ids and their log-probabilities.
They were sampled in float32 at temperature 1. ``python tests/support/recorded.py`` records them again.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from opsd_rs import problems
from opsd_rs.records import Problem, Rollout

if TYPE_CHECKING:
    from opsd_rs.context import Assembler

FILE = Path(__file__).parents[1] / "data" / "recorded_rollouts.jsonl"
NUM_PROBLEMS = 2
NUM_SAMPLES = 3
MAX_TOKENS = 24


def chosen() -> list[Problem]:
    """The problems that were asked."""
    return problems.load("primer", kind="function", limit=NUM_PROBLEMS)


def rollouts(assembler: Assembler) -> list[Rollout]:
    """What was recorded, as answers to the assembler's prompts."""
    by_id = {problem.problem_id: problem for problem in chosen()}
    found = []
    for line in map(json.loads, FILE.read_text().splitlines()):
        ids = tuple(line["completion_ids"])
        found.append(
            Rollout(
                line["problem_id"], line["sample"], assembler.student_prompt(by_id[line["problem_id"]]), ids,
                tuple(line["logprobs"]), assembler.decode(ids), ids[-1] not in assembler.eos_ids, 0,
            )
        )  # fmt: skip
    return found


def record() -> None:
    """Sample the rollouts and write the file."""
    import torch
    from opsd_rs import model
    from opsd_rs.config import load_context
    from opsd_rs.context import Assembler
    from opsd_rs.rollout import HFEngine, Request, Sampling
    from opsd_rs.rollout.engine import request_seed

    folder = model.fetch("smollm2-135m")
    assembler = Assembler(folder, load_context("peer_solution_feedback"), prompt_style="plain")
    engine = HFEngine(
        folder, dtype="float32", device=torch.device("cpu"), max_model_len=1024, max_num_seqs=16
    )
    asked = [(problem, sample) for problem in chosen() for sample in range(NUM_SAMPLES)]
    requests = [
        Request(assembler.student_prompt(p), request_seed(0, "train", 0, p.problem_id, s)) for p, s in asked
    ]
    done = engine.generate(requests, Sampling(1.0, 1.0, MAX_TOKENS, tuple(assembler.eos_ids)))
    engine.close()
    lines = [
        {
            "problem_id": problem.problem_id,
            "sample": sample,
            "completion_ids": list(completion.completion_ids),
            "logprobs": [round(logprob, 4) for logprob in completion.logprobs],
        }
        for (problem, sample), completion in zip(asked, done, strict=True)
    ]
    FILE.write_text("".join(json.dumps(line) + "\n" for line in lines))


if __name__ == "__main__":
    record()
