"""The sampler's interface: prompt ids in, completion ids with their log-probabilities out.

Two engines implement it and neither replaces the other silently: vLLM in a process of its own (``rollout.vllm``) and a
plain sampling loop over a Hugging Face model, the slow reference (``rollout.hf``). Both see requests in a fixed order
with a seed each, so that a resumed run samples what the first one did.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from opsd_rs.errors import BadInput
from opsd_rs.rollout.weights.probe import ProbeScore


@dataclass(frozen=True, slots=True)
class Request:
    """One completion to sample.

    >>> Request(prompt_ids=(1, 2, 3), seed=7).seed
    7
    """

    prompt_ids: tuple[int, ...]
    seed: int
    """63 bits, from ``request_seed``. A CPU generator uses the low 32 of them."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to decode.

    >>> Sampling(temperature=1.0, top_p=1.0, max_tokens=128, stop_ids=(2,)).max_tokens
    128
    """

    temperature: float
    """0: the most probable token."""
    top_p: float
    max_tokens: int
    stop_ids: tuple[int, ...]
    """A completion ends with the first of these; no other token ends it."""


@dataclass(frozen=True, slots=True)
class Completion:
    """What was sampled.

    >>> Completion(completion_ids=(5, 2), logprobs=(-0.1, -0.3), truncated=False).completion_ids
    (5, 2)
    """

    completion_ids: tuple[int, ...]
    """The stop token included where there is one."""
    logprobs: tuple[float, ...]
    """Of each sampled token, in nats, under the distribution sampled from (temperature and top-p applied)."""
    truncated: bool
    """It ended at ``max_tokens`` or at the model's last position."""


class Engine(Protocol):
    """A sampler that holds its own copy of the weights."""

    version: int
    """The version of the last ``load``; 0 for the weights on disk."""
    max_model_len: int
    """Prompt and completion together, in tokens."""
    probe_ids: tuple[int, ...]
    """The prompt on which a load is verified: pass it to ``check`` and to the trainer's forward."""

    def generate(
        self,
        requests: Sequence[Request],
        sampling: Sampling,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[Completion]:
        """One completion per request, in order; the same list again gives the same bits (on CPU).

        ``progress(done, total)`` is called now and then. Raises BadInput where a prompt does not fit, Stopped where
        the engine dies.
        """
        ...

    def load(self, weights: Iterable[tuple[str, torch.Tensor]], version: int) -> None:
        """Take new weights, under Hugging Face names and of any floating type; forget all cached keys and values.

        Every parameter of the model must come; a tied ``lm_head.weight`` may be left out. Nothing is aliased.
        """
        ...

    def check(self, prompt_ids: Sequence[int]) -> ProbeScore:
        """The most probable next tokens; ``verify_against`` compares them with the trainer's."""
        ...

    def close(self) -> None:
        """Free everything; safe to call twice."""
        ...


def request_seed(run_seed: int, purpose: str, step: int, problem_id: str, sample: int) -> int:
    """The seed of one request, 63 bits (torch and vLLM take signed 64): the same for the same five facts.

    >>> request_seed(0, "train", 3, "add", 1) == request_seed(0, "train", 3, "add", 1)
    True
    >>> request_seed(0, "train", 3, "add", 1) == request_seed(0, "train", 3, "add", 2)
    False
    """
    facts = json.dumps([run_seed, purpose, step, problem_id, sample]).encode()
    return int.from_bytes(hashlib.blake2b(facts, digest_size=8).digest(), "little") >> 1


def check_prompts(requests: Sequence[Request], max_model_len: int) -> None:
    """Raise BadInput naming the keys where a prompt is empty or leaves no token for a completion."""
    for index, request in enumerate(requests):
        num_tokens = len(request.prompt_ids)
        if not 0 < num_tokens < max_model_len:
            raise BadInput(
                f"prompt {index} of {len(requests)} has {num_tokens} tokens, the sampler takes 1 to "
                f"{max_model_len - 1}: lower teacher.max_context_tokens, or raise rollout.max_prompt_tokens if the "
                "model allows it"
            )
