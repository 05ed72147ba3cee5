"""Both ways through an update on the real model: one recorded step of SmolLM2-135M, in 1, 2 and 8 micro-batches."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from update_paths import config_of, cosine, recorded, updated

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.samples_model, pytest.mark.model, pytest.mark.slow, pytest.mark.usefixtures("left_ranks"),
    pytest.mark.skipif(not os.environ.get("OPSD_RS_LONG_TESTS"), reason="minutes: OPSD_RS_LONG_TESTS=1 runs it"),
]  # fmt: skip

NUM_PROBLEMS = 4
"""Of 32, with 8 rows each: what two cores do in minutes."""


def test_packed_rows_and_states_give_the_update_of_padded_rows_and_logits(
    smollm2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = recorded(NUM_PROBLEMS)
    words = ["model.dtype=float32", "rollout.temperature=0.7", "model.gradient_checkpointing=true"]
    slow = updated(monkeypatch, str(smollm2), config_of(*words), rows, packed=False)
    assert slow.numbers["kl"] > 0.01
    total = int(rows.student.lengths.sum())
    for count in (1, 2, 8):
        budget = f"train.micro_batch_tokens={total // count + 600}"
        fast = updated(monkeypatch, str(smollm2), config_of(*words, budget), rows, packed=True)
        for name in ("loss", "kl", "grad_norm", "topk_mass", "rollout_logprob_difference"):
            assert fast.numbers[name] == pytest.approx(slow.numbers[name], rel=5e-3), (name, count)
        for name, gradient in slow.gradients[0].items():
            assert cosine(gradient, fast.gradients[0][name]) > 0.999, (name, count)
        print(count, "micro-batches:", {k: fast.numbers[k] for k in ("loss", "kl", "grad_norm")})
