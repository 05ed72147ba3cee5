"""The estimate of memory against peaks that were measured on an H200, and against counts."""

from __future__ import annotations

import pytest
from opsd_rs.config import Config, load_config
from opsd_rs.model.memory import GIB, Shape, training_memory

QWEN3 = {
    "0.6b": Shape(596_049_920, 28, 1024, 3072, 151_936),
    "4b": Shape(4_022_468_096, 36, 2560, 9728, 151_936),
}
MEASURED = [  # model, completion tokens, checkpointing, peak GiB of student, teacher and loss: one row, prompt 500
    ("0.6b", 1024, False, 19.7),
    ("0.6b", 4096, False, 32.5),
    ("0.6b", 8192, False, 49.4),
    ("0.6b", 16384, False, 83.4),
    ("0.6b", 1024, True, 17.0),
    ("0.6b", 4096, True, 24.1),
    ("0.6b", 8192, True, 33.6),
    ("0.6b", 16384, True, 52.7),
    ("0.6b", 32768, True, 90.8),
    ("4b", 1024, True, 105.6),
    ("4b", 4096, True, 107.7),
]


def config_of(*words: str) -> Config:
    return load_config([], ["train.micro_batch_tokens=8192", *words])


@pytest.mark.parametrize(("model", "tokens", "checkpointing", "peak"), MEASURED)
def test_the_peak_of_an_update_is_within_15_percent(
    model: str, tokens: int, checkpointing: bool, peak: float
) -> None:
    config = config_of(f"model.gradient_checkpointing={str(checkpointing).lower()}")
    found = training_memory(
        config, QWEN3[model], prompt_tokens=500, completion_tokens=tokens, num_gpus=1
    ).update
    assert found == pytest.approx(peak, rel=0.15)


def test_fixed_memory_is_24_bytes_a_parameter_and_is_shared_out() -> None:
    def fixed(stage: int, num_gpus: int, engine: str = "vllm") -> float:
        config = config_of(f"deepspeed.stage={stage}", f"rollout.engine={engine}")
        memory = training_memory(
            config, QWEN3["0.6b"], prompt_tokens=1, completion_tokens=1, num_gpus=num_gpus
        )
        return memory.fixed * GIB / QWEN3["0.6b"].num_parameters

    assert [fixed(stage, 1) for stage in (1, 2, 3)] == pytest.approx([24.0, 24.0, 24.0])
    assert [fixed(stage, 4) for stage in (1, 2, 3)] == pytest.approx([12.0, 9.0, 7.5])
    assert fixed(1, 1, "hf") == pytest.approx(26.0)


def test_more_rows_and_another_temperature_take_more() -> None:
    def update(*words: str) -> float:
        return training_memory(
            config_of(*words), QWEN3["0.6b"], prompt_tokens=500, completion_tokens=4096, num_gpus=1
        ).update

    one, two = update(), update("train.micro_batch_tokens=16384")
    fixed = training_memory(
        config_of(), QWEN3["0.6b"], prompt_tokens=1, completion_tokens=1, num_gpus=1
    ).fixed
    assert two - fixed == pytest.approx(2 * (one - fixed))
    logits = 4096 * 151_936
    assert update("rollout.temperature=0.7") - one == pytest.approx(logits / GIB)
