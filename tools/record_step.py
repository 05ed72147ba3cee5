"""Write one step's prompts and completions to a file that benchmarks and tests read: no weights, no text.

In: a configuration, as ``opsd-rs train`` takes it. Out: an .npz of token ids of both sides, where rows and completions
begin, the sampler's log-probs, which rows have context and which passed. The file under ``benches/data`` is of

    python tools/record_step.py benches/data/step256.npz reference rollout.max_tokens=512 \\
        train.prompts_per_step=32 train.mini_batch_prompts=32
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
from opsd_rs.config import load_config, split_arguments
from opsd_rs.training.session import open_session
from opsd_rs.training.update import pack_rollouts


def main(path: Path, arguments: list[str]) -> None:
    config = load_config(*split_arguments(arguments))
    with tempfile.TemporaryDirectory() as folder, open_session(config, Path(folder)) as session:
        problems = session.draw(0)
        requests = session.sample_requests(problems, config.rollout.n)
        rollouts = session.sample(requests, session.train_sampling(), purpose="train", step=0)
        seen = {problem.problem_id: problem for problem in problems}
        grades = session.grade(rollouts, seen, step=0)
        rows = pack_rollouts(rollouts, grades, session.contexts(session.assembler, rollouts, grades, seen, 0))
    order = list(seen)
    found = {
        f"{name}_{part}": array
        for name, batch in (("student", rows.student), ("teacher", rows.teacher))
        for part, array in (
            ("ids", batch.input_ids.astype(np.uint32 if batch.input_ids.max() >= 1 << 16 else np.uint16)),
            ("cu", batch.cu_seqlens),
            ("spans", batch.completion_spans.astype(np.int32)),
        )
    }
    assert rows.student.logprobs is not None
    np.savez_compressed(
        path,
        **found,  # type: ignore[arg-type]
        has_context=rows.teacher.has_context,
        logprobs=rows.student.logprobs.astype(np.float16),
        passed=np.array([grade.passed is True for grade in rows.grades]),
        problem=np.array([order.index(grade.problem_id) for grade in rows.grades], np.int16),
    )
    print(f"{path}: {len(rows)} rows, {int(rows.student.completion_lengths.sum())} completion tokens")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
