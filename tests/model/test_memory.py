"""The estimate of memory against peaks that were measured on an H200, and against counts."""

from __future__ import annotations

import re

import pytest
from opsd_rs.config import Config, load_config
from opsd_rs.model.memory import (
    GIB,
    Shape,
    activations,
    coming_bytes,
    shortage,
    token_budget,
    training_memory,
)
from opsd_rs.policy.host import CHUNK

QWEN3 = {
    "0.6b": Shape(596_049_920, 28, 1024, 3072, 151_936, 2048),
    "4b": Shape(4_022_468_096, 36, 2560, 9728, 151_936, 4096),
}
SMOLLM2 = Shape(134_515_008, 30, 576, 1536, 49_152, 576)
MEASURED = [  # GiB above what is there at rest, in the second update: benches/results/update.jsonl
    (SMOLLM2, 18_994, 10_270, "", 14.52),
    (SMOLLM2, 37_987, 20_539, "", 28.61),
    (QWEN3["0.6b"], 33_268, 32_768, "model.gradient_checkpointing=true", 5.28),
    (QWEN3["0.6b"], 8692, 8192, "model.keep_attention=true", 4.87),
    (QWEN3["0.6b"], 16_884, 16_384, "model.keep_attention=true", 6.33),
    (QWEN3["0.6b"], 33_268, 32_768, "model.keep_attention=true", 9.24),
    (QWEN3["4b"], 8692, 8192, "model.keep_attention=true", 9.06),
    (QWEN3["4b"], 16_884, 16_384, "model.keep_attention=true", 13.07),
    (QWEN3["4b"], 33_268, 32_768, "model.keep_attention=true", 23.49),
]


def config_of(*words: str) -> Config:
    return load_config([], ["control.mask=one", *words])  # without a budget: one row at a time


@pytest.mark.parametrize(("shape", "tokens", "completion_tokens", "word", "peak"), MEASURED)
def test_the_peak_of_an_update_is_within_15_percent(
    shape: Shape, tokens: int, completion_tokens: int, word: str, peak: float
) -> None:
    config = config_of(*filter(None, [word, word and "model.gradient_checkpointing=true"]))
    found = activations(config, shape, tokens=tokens, completion_tokens=completion_tokens) / GIB
    assert found == pytest.approx(peak, rel=0.15)


def test_a_chosen_budget_fills_free_memory_and_is_cut_at_both_ends() -> None:
    config, shape = config_of(), QWEN3["0.6b"]
    assert token_budget(config, shape, 0.0) == 1024
    assert token_budget(config, shape, 1e13) == 65_536
    chosen = token_budget(config, shape, 60 * GIB)
    assert chosen % 1024 == 0
    assert 10_000 < chosen < 40_000
    held, more = (
        activations(config, shape, tokens=n, completion_tokens=n) / GIB for n in (chosen, chosen + 1024)
    )
    assert held <= 0.85 * 60 < more
    recomputing = config_of("model.gradient_checkpointing=true")
    assert token_budget(recomputing, shape, 60 * GIB) > chosen
    assert coming_bytes(config, shape, 2) == 4 * shape.num_parameters
    assert coming_bytes(config_of("optim.offload=true"), shape, 2) == 0.0


def bytes_a_parameter(*words: str, num_gpus: int = 1) -> tuple[float, float, float]:
    """On a GPU, in host memory, on disk."""
    found = training_memory(
        config_of(*words), QWEN3["0.6b"], prompt_tokens=1, completion_tokens=1, num_gpus=num_gpus
    )
    unit = GIB / QWEN3["0.6b"].num_parameters
    return found.fixed * unit, found.host * unit, found.checkpoint * unit


def test_fixed_memory_is_22_bytes_a_parameter_and_is_shared_out() -> None:
    stages = [f"deepspeed.stage={stage}" for stage in (1, 2, 3)]
    bucket = 1e9 / QWEN3["0.6b"].num_parameters  # stage 3's, of half a billion gradients
    assert [bytes_a_parameter(stage)[0] for stage in stages] == pytest.approx([22.0, 22.0, 22.0 + bucket])
    assert [bytes_a_parameter(stage, num_gpus=4)[0] for stage in stages] == pytest.approx(
        [10.0, 7.0, 5.5 + bucket]
    )
    assert bytes_a_parameter("rollout.engine=hf")[0] == pytest.approx(24.0)
    assert bytes_a_parameter("model.dtype=float32")[0] == pytest.approx(24.0)


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ([], (22.0, 0.0, 18.0)),
        (["teacher.offload=true"], (18.0, 4.0, 18.0)),
        (["optim.gradient_dtype=bfloat16"], (20.0, 0.0, 18.0)),
        (["optim.gradient_dtype=bfloat16", "teacher.offload=true"], (16.0, 4.0, 18.0)),
        (["optim.gradient_dtype=bfloat16", "optim.offload=true"], (8.0, 12.0, 16.0)),
        (["optim.gradient_dtype=bfloat16", "optim.offload=true", "teacher.offload=true"], (4.0, 16.0, 16.0)),
    ],
)
def test_what_lies_in_host_memory_is_off_the_gpu(words: list[str], wanted: tuple[float, ...]) -> None:
    assert bytes_a_parameter(*words) == pytest.approx(wanted)


EIGHT_B = Shape(8_190_735_360, 36, 4096, 12_288, 151_936, 4096)


@pytest.mark.parametrize(
    ("words", "processes", "said"),
    [
        (
            [],
            1,
            r"on a GPU: weights 15.3 \+ gradients 30.5 \+ masters 30.5 \+ moments 61.0 \+ average 30.5 \+ vLLM",
        ),
        (
            ["optim.gradient_dtype=bfloat16"],
            1,
            r"set optim.offload \(-91.5\), set teacher.offload \(-30.5\), lower rollout.gpu_mem",
        ),
        (
            ["optim.offload=true", "rollout.gpu_memory_utilization=0.5"],
            1,
            r"of 139.8 GiB.*gradient_dtype = \"bfloat16\" \(-15.3\)",
        ),
        (["optim.offload=true", "optim.gradient_dtype=bfloat16"], 1, None),
        (
            ["optim.offload=true", "optim.gradient_dtype=bfloat16"],
            2,
            r"in host memory: 2 times masters 30.5 \+ moments 61.0 = 91.5 of 128.0 GiB; leave optim.offload",
        ),
    ],
)
def test_what_does_not_fit_is_said_with_the_sum(words: list[str], processes: int, said: str | None) -> None:
    config = config_of(*words)
    found = training_memory(config, EIGHT_B, prompt_tokens=500, completion_tokens=8192, num_gpus=1)
    fault = shortage(config, found, gpu_gib=139.8, host_gib=128.0, processes=processes)
    if said is None:
        assert fault is None
    else:
        assert fault is not None
        assert re.search(said, fault), fault
    assert shortage(config, found, gpu_gib=None, host_gib=1e6, processes=1) is None


def test_gradients_on_their_way_are_counted_as_deepspeeds_classes_hold_them() -> None:
    def above(*words: str) -> tuple[float, float]:
        found = training_memory(
            config_of(*words), QWEN3["0.6b"], prompt_tokens=500, completion_tokens=4096, num_gpus=1
        )
        return found.update - found.fixed, found.on_gpu.get("gradient bucket", 0.0)

    base, _ = above()
    bucket, gradients = 1e9 / GIB, 2 * QWEN3["0.6b"].num_parameters / GIB
    for words, more, stays in (
        (["optim.gradient_dtype=bfloat16"], bucket, 0.0),
        (["deepspeed.stage=2"], bucket, 0.0),
        (["deepspeed.stage=2", "optim.gradient_dtype=bfloat16"], bucket + gradients, 0.0),
        (["deepspeed.stage=3"], 0.0, bucket),
    ):
        found, bucket_stays = above(*words)
        assert found - base == pytest.approx(more), words
        assert bucket_stays == pytest.approx(stays), words


def test_a_step_from_host_memory_holds_chunks_alone() -> None:
    def step(*words: str) -> float:
        config = config_of(*words)
        return training_memory(config, EIGHT_B, prompt_tokens=1, completion_tokens=1, num_gpus=1).step

    assert step() == 0.0  # as measured
    assert step("deepspeed.stage=2") == pytest.approx(4 * EIGHT_B.num_parameters / GIB)
    assert step("optim.gradient_dtype=bfloat16") == pytest.approx(6 * EIGHT_B.num_parameters / GIB)
    assert step("optim.gradient_dtype=bfloat16", "deepspeed.stage=3") == pytest.approx(6e9 / GIB)
    assert step("optim.offload=true") == pytest.approx(1.75)
    assert pytest.approx(1.75) == CHUNK * 4 * 7 / GIB


def test_more_tokens_take_more() -> None:
    def update(*words: str) -> float:
        return training_memory(
            config_of(*words), QWEN3["0.6b"], prompt_tokens=500, completion_tokens=4096, num_gpus=1
        ).update

    one, same, two = (
        update(),
        update("train.micro_batch_tokens=1000"),
        update("train.micro_batch_tokens=9192"),
    )
    assert one == same  # a longer row goes alone
    assert one < two < 2 * one
    assert update("model.gradient_checkpointing=true") < one
