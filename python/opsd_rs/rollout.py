"""The sampler: prompt ids in, completion ids with their log-probabilities out, behind one interface.

Two engines stand behind it and are never swapped for one another: vLLM in a process of its own
(``opsd_rs.vllm_engine``) and the plain one here, a sampling loop over a Hugging Face model, its slow twin.
Both see requests in a fixed order with a seed each, so that a resumed run samples what the first one did.

Letters: B rows of a batch, S prompt positions (left-padded), V vocabulary.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from opsd_rs.config import Config
from opsd_rs.errors import BadInput
from opsd_rs.weight_sync import PROBE_TOP, ProbeScore, probe_prompt, verify_names


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
        """The most probable next tokens; ``weight_sync.verify_against`` compares them with the trainer's."""
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
    """Raise BadInput naming the keys where a prompt is empty or leaves no room for a completion."""
    for index, request in enumerate(requests):
        num_tokens = len(request.prompt_ids)
        if not 0 < num_tokens < max_model_len:
            raise BadInput(
                f"prompt {index} of {len(requests)} has {num_tokens} tokens, the sampler takes 1 to "
                f"{max_model_len - 1}: lower teacher.max_context_tokens, or raise rollout.max_prompt_tokens if the "
                "model has room"
            )


def make_engine(
    config: Config, model_dir: str, *, device_index: int | None, log_path: Path | None = None
) -> Engine:
    """Start the engine that ``rollout.engine`` names, with the weights in ``model_dir``.

    ``device_index``: the GPU, counted as torch counts; None: CPU. ``log_path``: where vLLM's output goes; by
    default a temporary file, kept only after a failure.

    Raises BadInput where the model cannot be read, or vLLM cannot be imported or refuses the settings.
    """
    from transformers import AutoConfig

    try:
        text = AutoConfig.from_pretrained(model_dir).get_text_config()
    except (OSError, ValueError) as error:
        raise BadInput(f"model.path: {model_dir} is no readable model directory: {error}") from error
    rollout = config.rollout
    # Teacher prompts are sampled from too, when the gap is measured.
    prompt_tokens = max(rollout.max_prompt_tokens, config.teacher.max_context_tokens)
    max_model_len = min(prompt_tokens + rollout.max_tokens, int(text.max_position_embeddings))
    if rollout.engine == "hf":
        return HFEngine(
            Path(model_dir),
            dtype=config.model.dtype,
            device=torch.device("cpu") if device_index is None else torch.device("cuda", device_index),
            max_model_len=max_model_len,
            max_num_seqs=rollout.max_num_seqs,
        )
    from opsd_rs.vllm_engine import VllmEngine

    return VllmEngine(
        Path(model_dir),
        rollout,
        dtype=config.model.dtype,
        vocab_size=int(text.vocab_size),
        tied=bool(text.tie_word_embeddings),
        max_model_len=max_model_len,
        device_index=device_index,
        log_path=log_path,
    )


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
            logits_BV = self._model(
                input_ids=ids_BS,
                attention_mask=mask_BS,
                position_ids=positions_BS,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            ).logits[:, -1]
            # Every row draws at every position, dead ones too, so no row's stream depends on another's end.
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
