"""The adapters inside the trainers themselves: verl's loading of reward functions and its managers, TRL's GRPOTrainer.

Each test runs where its trainer is installed; verl is no dependency of ours (docs/grader.md says how to try it).
"""

from __future__ import annotations

import asyncio
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import opsd_rs
import pytest
import tiny_models
from graded import RIGHT
from opsd_rs.compat import trl
from opsd_rs.errors import OpsdError

pytestmark = pytest.mark.usefixtures("ended_graders")

TRUTH = json.dumps({"inputs": ["1 2\n", "4 5\n"], "outputs": ["3\n", "9\n"]})
ANSWERS = [f"Here:\n```python\n{code}\n```\n" for code in (RIGHT, "print(3)", "1 / 0")] + ["I cannot."]
SCORES = [1.0, 0.0, 0.0, 0.0]
SHARES = [1.0, 0.5, 0.0, 0.0]

needs_verl = pytest.mark.skipif(
    not (find_spec("verl") and find_spec("tensordict")), reason="verl is not installed: see docs/grader.md"
)
needs_trl = pytest.mark.skipif(not find_spec("trl"), reason="trl is not installed")


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.tiny(tmp_path_factory.mktemp("models") / "tiny", "qwen3")


# ---- verl ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tokenizer(model_dir: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model_dir)


def rollouts(tokenizer: Any, answers: list[str]) -> Any:
    """What verl's workers hand to a reward manager: prompts padded on the left, responses on the right."""
    import torch
    from verl import DataProto

    ids = [tokenizer.encode(answer, add_special_tokens=False) for answer in answers]
    width, pad = max(map(len, ids)) + 2, tokenizer.pad_token_id or 0
    responses = torch.tensor([row + [pad] * (width - len(row)) for row in ids])
    prompt = tokenizer.encode("Add.", add_special_tokens=False)
    prompts = torch.tensor([[pad, *prompt]] * len(answers))
    mask = torch.tensor([[0] + [1] * (len(prompt) + len(row)) + [0] * (width - len(row)) for row in ids])
    rows = {
        "data_source": ["taco"] * len(answers),
        "reward_model": [{"style": "rule", "ground_truth": TRUTH} for _ in answers],
        "extra_info": [{"index": n} for n in range(len(answers))],
    }
    return DataProto.from_dict(
        tensors={"prompts": prompts, "responses": responses, "attention_mask": mask},
        non_tensors={name: np.array(values, dtype=object) for name, values in rows.items()},
    )


def configured(
    name: str, *, path: str = "pkg://opsd_rs.compat.verl", manager: str = "naive", **grader: Any
) -> Any:
    """The configuration of a run, as Hydra hands it over."""
    from omegaconf import OmegaConf

    function = {"path": path, "name": name, "reward_kwargs": {"grader": {"workers": 2, **grader}}}
    return OmegaConf.create(
        {
            "reward": {
                "custom_reward_function": function,
                "reward_manager": {"source": "register", "name": manager},
            }
        }
    )


@needs_verl
@pytest.mark.parametrize(
    ("name", "manager"),
    [("compute_score", "naive"), ("compute_score_async", "naive"), ("compute_score_async", "dapo")],
)
def test_verl_reward_loop(name: str, manager: str, tokenizer: Any) -> None:
    from verl.trainer.ppo.reward import load_reward_manager

    data = rollouts(tokenizer, ANSWERS * 2)

    async def main() -> list[dict[str, Any]]:
        found = load_reward_manager(configured(name, manager=manager), tokenizer)
        return list(await asyncio.gather(*(found.run_single(data[n : n + 1]) for n in range(len(data)))))

    found = asyncio.run(main())
    assert [row["reward_score"] for row in found] == SCORES * 2
    assert [row["reward_extra_info"]["acc"] for row in found] == SHARES * 2
    assert "Wrong Answer" in found[1]["reward_extra_info"]["feedback"]


@needs_verl
@pytest.mark.parametrize(
    "path", ["pkg://opsd_rs.compat.verl", str(Path(opsd_rs.__file__).parent / "compat/verl.py")]
)
@pytest.mark.parametrize(("name", "manager"), [("compute_score", "naive"), ("compute_score_batch", "batch")])
def test_verl_managers_of_older_versions(name: str, manager: str, path: str, tokenizer: Any) -> None:
    from verl.trainer.ppo.reward import get_custom_reward_fn
    from verl.workers.reward_manager import get_reward_manager_cls

    function = get_custom_reward_fn(configured(name, path=path))
    made = get_reward_manager_cls(manager)(tokenizer=tokenizer, num_examine=0, compute_score=function)
    data = rollouts(tokenizer, ANSWERS)
    found = made(data, return_dict=True)
    rewards = found["reward_tensor"]
    lengths = data.batch["attention_mask"][:, -rewards.shape[1] :].sum(-1)
    assert rewards.sum(-1).tolist() == SCORES
    assert [row[length - 1] for row, length in zip(rewards.tolist(), lengths, strict=True)] == SCORES
    assert found["reward_extra_info"]["acc"] == SHARES
    assert all(len(values) == len(ANSWERS) for values in found["reward_extra_info"].values())


@needs_verl
def test_verl_stops_at_an_infrastructure_fault(tokenizer: Any) -> None:
    from verl.trainer.ppo.reward import load_reward_manager

    sleeper = "```python\nimport time\ntime.sleep(9)\n```"

    async def main() -> Any:
        config = configured("compute_score_async", wall_seconds=0.05, idle_seconds=30.0)
        return await load_reward_manager(config, tokenizer).run_single(rollouts(tokenizer, [sleeper]))

    with pytest.raises(OpsdError, match="could not be graded, which is no fault of it"):
        asyncio.run(main())


# ---- TRL ----------------------------------------------------------------------------------------------


@pytest.mark.samples_model
@needs_trl
def test_trl_trainer_logs_our_rewards(model_dir: Path, tmp_path: Path) -> None:
    """A model of random weights, so the tests are made for what it says: any program that does nothing passes."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    silent = {"inputs": ["", ""], "outputs": ["", "never said"]}
    rows = [
        {"prompt": [{"role": "user", "content": f"Say nothing ({n})."}], "ground_truth": json.dumps(silent)}
        for n in range(2)
    ]
    asked: list[list[str]] = []

    def program(completions: list[Any], **columns: Any) -> list[float | None]:
        """``reward_func`` on programs instead of the model's answers, which hold none."""
        asked.append([trl.text(completion) for completion in completions])
        codes = ["pass", "import time\ntime.sleep(9)"]  # the second meets the backstop: not its fault
        return continuous([f"```python\n{code}\n```" for code in codes], **columns)

    continuous = trl.make_reward_func(continuous=True, workers=2, wall_seconds=2.0, idle_seconds=30.0)
    trainer = GRPOTrainer(
        str(model_dir),
        reward_funcs=[trl.reward_func, program],
        train_dataset=Dataset.from_list(rows),
        args=GRPOConfig(
            output_dir=str(tmp_path), max_steps=1, per_device_train_batch_size=2, num_generations=2,
            max_completion_length=4, report_to=[], use_cpu=True, save_strategy="no", logging_steps=1, bf16=False,
        ),
    )  # fmt: skip
    trainer.train()
    [logged] = [entry for entry in trainer.state.log_history if "rewards/program/mean" in entry]
    assert len(asked[0]) == 2
    assert logged["rewards/reward_func/mean"] == 0.0, "words of a random model are no programs"
    assert logged["rewards/program/mean"] == pytest.approx(0.5), "half of its tests; the other counts nowhere"
    assert logged["infra_error"] == pytest.approx(0.5), "none by one function, one by the other"
