"""A sampler's configuration, its requests, and log-probabilities by one plain forward, for the tests of samplers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from opsd_rs.config import Config
from opsd_rs.rollout import Completion, Request, Sampling
from opsd_rs.rollout.engine import request_seed

STOP = 2  # <|im_end|> of SmolLM2


def config(engine: str = "vllm", dtype: str = "float32", **rollout: Any) -> Config:
    return Config.model_validate(
        {
            "model": {"dtype": dtype},
            "rollout": {"engine": engine, "max_tokens": 64, "max_prompt_tokens": 512, **rollout},
            "teacher": {"max_context_tokens": 512},
        }
    )


def prompts(model_dir: Path, count: int) -> list[tuple[int, ...]]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    return [
        tuple(
            tokenizer.apply_chat_template(
                [{"role": "user", "content": "Write a Python function that adds numbers." + " Please!" * i}],
                add_generation_prompt=True,
                return_dict=False,
            )
        )
        for i in range(count)
    ]


def requests_of(prompt_ids: list[tuple[int, ...]], n: int = 2) -> list[Request]:
    return [
        Request(ids, request_seed(0, "test", 0, str(i), sample))
        for i, ids in enumerate(prompt_ids)
        for sample in range(n)
    ]


def plain_logprobs(model: Any, request: Request, done: Completion, sampling: Sampling) -> list[float]:
    """Log-probabilities of a completion by one plain forward, no cache, no padding."""
    logits_LV = plain_logits(model, request, done) / sampling.temperature
    if sampling.top_p < 1.0:
        for row_V in logits_LV:
            probs = row_V.softmax(-1)
            order = probs.argsort(descending=True)
            kept = int((probs[order].cumsum(0) < sampling.top_p).sum()) + 1
            row_V[order[kept:]] = -torch.inf
    return logits_LV.log_softmax(-1).gather(1, torch.tensor(done.completion_ids)[:, None])[:, 0].tolist()


def plain_logits(model: Any, request: Request, done: Completion) -> torch.Tensor:
    """Logits that predict a completion's tokens, by one plain forward: (tokens, vocabulary)."""
    ids = torch.tensor([request.prompt_ids + done.completion_ids])
    with torch.no_grad():
        logits_LV: torch.Tensor = model(ids).logits[0, len(request.prompt_ids) - 1 : -1].float()
    return logits_LV


def num_certain(model: Any, request: Request, done: Completion) -> int:
    """How many of a greedy completion's tokens come before the first choice that rounding could change."""
    best_L2 = plain_logits(model, request, done).topk(2).values
    close = (best_L2[:, 0] - best_L2[:, 1] < 1e-3).nonzero()
    return int(close[0]) if len(close) else len(done.completion_ids)


def largest_gap(model: Any, requests: list[Request], done: list[Completion], sampling: Sampling) -> float:
    return max(
        abs(ours - plain)
        for request, completion in zip(requests, done, strict=True)
        for ours, plain in zip(
            completion.logprobs, plain_logprobs(model, request, completion, sampling), strict=True
        )
    )


def gone(pid: int) -> bool:
    """No such process, or one that is dead and only waits to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True
