"""The plain engine: a sampling loop over a Hugging Face model, the slow reference for vLLM.

Letters: B rows of a batch, S prompt positions (left-padded), V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from opsd_rs.errors import BadInput
from opsd_rs.rollout.engine import Completion, Request, Sampling, check_prompts
from opsd_rs.rollout.weights.parcel import verify_names
from opsd_rs.rollout.weights.probe import PROBE_TOP, ProbeScore, probe_prompt

KERNELS = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
"""Not cuDNN's attention: it makes a plan for every length, and in generation each token is a new one. A plan takes 0.1 s,
and the memory that its kernels take is outside of torch's reach."""


def next_tokens(
    logits_BV: torch.Tensor, sampling: Sampling, generators: Sequence[torch.Generator]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sample one token per row from its own generator; returns ids (B,) and their log-probabilities (B,)."""
    logits_BV = logits_BV.float()
    if sampling.temperature == 0.0:
        ids_B = logits_BV.argmax(dim=-1)
        return ids_B, logits_BV.log_softmax(dim=-1).gather(1, ids_B[:, None])[:, 0]
    logits_BV = logits_BV / sampling.temperature
    if sampling.top_p < 1.0:
        sorted_BV, order_BV = logits_BV.sort(dim=-1, descending=True, stable=True)
        probs_BV = sorted_BV.softmax(dim=-1)
        outside_BV = probs_BV.cumsum(dim=-1) - probs_BV >= sampling.top_p  # the first token always stays
        logits_BV = logits_BV.masked_fill(
            torch.zeros_like(outside_BV).scatter(1, order_BV, outside_BV), -torch.inf
        )
    logprobs_BV = logits_BV.log_softmax(dim=-1)
    ids_B = torch.stack(
        [
            torch.multinomial(row_V.exp(), 1, generator=generator)[0]
            for row_V, generator in zip(logprobs_BV, generators, strict=True)
        ]
    )
    return ids_B, logprobs_BV.gather(1, ids_B[:, None])[:, 0]


class HFEngine:
    """``Engine`` by a plain loop over a Hugging Face model in this process."""

    def __init__(
        self, model_dir: Path, *, dtype: str, device: torch.device, max_model_len: int, max_num_seqs: int
    ) -> None:
        from transformers import AutoModelForCausalLM

        self.version = 0
        self.max_model_len = max_model_len
        self._max_num_seqs = max_num_seqs
        self._device = device
        model: Any = AutoModelForCausalLM.from_pretrained(model_dir, dtype=getattr(torch, dtype))
        self._model = model.to(device).eval().requires_grad_(False)
        self.probe_ids = probe_prompt(model.config.get_text_config().vocab_size, max_model_len)

    def generate(
        self,
        requests: Sequence[Request],
        sampling: Sampling,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[Completion]:
        """See ``Engine.generate``; batches of ``rollout.max_num_seqs`` rows, in order."""
        check_prompts(requests, self.max_model_len)
        completions: list[Completion] = []
        for first in range(0, len(requests), self._max_num_seqs):
            batch = requests[first : first + self._max_num_seqs]
            completions += self._generate_batch(
                batch,
                sampling,
                lambda done, first=first: progress and progress(first + done, len(requests)),  # type: ignore[misc]
            )
        return completions

    @torch.inference_mode()
    def _generate_batch(
        self, requests: Sequence[Request], sampling: Sampling, progress: Callable[[int], Any]
    ) -> list[Completion]:
        from transformers import DynamicCache

        widest = max(len(request.prompt_ids) for request in requests)
        ids_BS = torch.zeros(len(requests), widest, dtype=torch.long)
        mask_BS = torch.zeros_like(ids_BS)
        for row, request in enumerate(requests):
            ids_BS[row, widest - len(request.prompt_ids) :] = torch.tensor(request.prompt_ids)
            mask_BS[row, widest - len(request.prompt_ids) :] = 1
        ids_BS, mask_BS = ids_BS.to(self._device), mask_BS.to(self._device)
        positions_BS = (mask_BS.cumsum(dim=1) - 1).clamp(min=0)
        generators = [torch.Generator(self._device).manual_seed(request.seed) for request in requests]
        limits = [min(sampling.max_tokens, self.max_model_len - len(r.prompt_ids)) for r in requests]
        cache = DynamicCache(config=self._model.config)
        sampled: list[list[int]] = [[] for _ in requests]
        logprobs: list[list[float]] = [[] for _ in requests]
        stopped = [False] * len(requests)
        alive = set(range(len(requests)))
        while alive:
            with sdpa_kernel(KERNELS):
                logits_BV = self._model(
                    input_ids=ids_BS,
                    attention_mask=mask_BS,
                    position_ids=positions_BS,
                    past_key_values=cache,
                    use_cache=True,
                    logits_to_keep=1,
                ).logits[:, -1]
            # Every row draws at every position, finished ones too, so no row's stream depends on where another ends.
            ids_B, logprobs_B = next_tokens(logits_BV, sampling, generators)
            for row, (token, logprob) in enumerate(zip(ids_B.tolist(), logprobs_B.tolist(), strict=True)):
                if row not in alive:
                    continue
                sampled[row].append(token)
                logprobs[row].append(logprob)
                stopped[row] = token in sampling.stop_ids
                if stopped[row] or len(sampled[row]) >= limits[row]:
                    alive.discard(row)
            progress(len(requests) - len(alive))
            ids_BS = ids_B[:, None]
            positions_BS = positions_BS[:, -1:] + 1
            mask_BS = torch.cat([mask_BS, mask_BS.new_ones(len(requests), 1)], dim=1)
        return [
            Completion(tuple(ids), tuple(row_logprobs), truncated=not end)
            for ids, row_logprobs, end in zip(sampled, logprobs, stopped, strict=True)
        ]

    @torch.no_grad()
    def load(self, weights: Iterable[tuple[str, torch.Tensor]], version: int) -> None:
        """See ``Engine.load``: copied into the model's own parameters."""
        # Tied parameters appear here once, under the first of their names.
        parameters = dict(self._model.named_parameters())
        sent: set[str] = set()
        for name, tensor in weights:
            if name in parameters:
                parameters[name].copy_(tensor)
                sent.add(name)
            elif name != "lm_head.weight":
                raise BadInput(f"weight sync {version}: the model has no parameter {name}")
        verify_names(sent, frozenset(parameters), version)
        self.version = version

    @torch.inference_mode()
    def check(self, prompt_ids: Sequence[int]) -> ProbeScore:
        """See ``Engine.check``."""
        ids_1S = torch.tensor([list(prompt_ids)], device=self._device)
        logits_V = self._model(input_ids=ids_1S, logits_to_keep=1).logits[0, -1].float()
        top = logits_V.log_softmax(dim=-1).topk(PROBE_TOP)
        return ProbeScore(tuple(top.indices.tolist()), tuple(top.values.tolist()))

    def close(self) -> None:
        """Drop the model."""
        self._model = None
