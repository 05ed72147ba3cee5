"""Tiny random-weight models of the supported families, for tests that need an architecture and not a skill.

Two layers, hidden size 64, head size 32 (vLLM's CPU build refuses 16), ChatML with a generation header.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from perturbed import perturb

if TYPE_CHECKING:
    from pathlib import Path

Family = Literal["qwen3", "olmo3", "llama"]
FAMILIES: tuple[Family, ...] = ("qwen3", "olmo3", "llama")

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] "
    "+ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is defined and enable_thinking is false %}"
    "{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{% endif %}"
)
"""As Qwen3's: thinking switched off puts an empty block into the generation header."""

CORPUS = (
    "Write a Python function that adds two numbers.",
    "def add(a, b):\n    return a + b\n",
    "for i in range(10):\n    print(i, i * i)\n",
    "Test Case 1: Wrong Answer\nExpected: 12\nGot: 13\n",
)


def tiny(directory: Path, family: Family, *, tokenizer: Path | None = None, seed: int = 0) -> Path:
    """Write a tiny model of ``family`` into ``directory`` (float32 weights) and return it.

    OPSD_RS_PERTURB_WEIGHTS changes the weights: see ``perturbed``.

    :param tokenizer: a model directory whose tokenizer is taken; else SmolLM2's if it was fetched, else a
        byte-level BPE trained here on a few lines
    """
    import torch
    from transformers import AutoModelForCausalLM

    source = tokenizer or _fetched()
    words = _load_tokenizer(source) if source else _train_tokenizer()
    words.chat_template = CHAT_TEMPLATE
    words.save_pretrained(directory)
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(_config(family, words), dtype=torch.float32)
    save_perturbed(model, directory)
    return directory


def save_perturbed(model: Any, directory: Path) -> str:
    """Write ``model`` with its weights as OPSD_RS_PERTURB_WEIGHTS changes them; returns the folder's name."""
    import torch

    with torch.no_grad():
        weights = perturb({name: parameter.detach() for name, parameter in model.named_parameters()})
        for name, parameter in model.named_parameters():
            parameter.copy_(weights[name])
    model.save_pretrained(directory)
    return str(directory)


def _config(family: Family, words: Any) -> Any:
    from transformers import LlamaConfig, Olmo3Config, Qwen3Config

    shape: dict[str, Any] = {
        "vocab_size": len(words),
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 1024,
        "bos_token_id": words.bos_token_id,
        "eos_token_id": words.eos_token_id,
        "pad_token_id": words.pad_token_id,
    }
    if family == "qwen3":
        return Qwen3Config(**shape, head_dim=32, tie_word_embeddings=True)
    if family == "olmo3":
        kinds = ["sliding_attention", "full_attention"]
        return Olmo3Config(**shape, layer_types=kinds, sliding_window=64, tie_word_embeddings=False)
    return LlamaConfig(**shape, head_dim=32, tie_word_embeddings=False)


def _fetched() -> Path | None:
    from opsd_rs.model.cache import fetched

    return fetched("smollm2-135m")


def _load_tokenizer(source: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(source)


def _train_tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(CORPUS, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        unk_token="<|endoftext|>",
        model_max_length=1024,
    )


def sharpened(model_dir: Path) -> Path:
    """The model with larger weights: what it answers depends on what it reads, so that there is a divergence."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" not in name:
                parameter.mul_(6.0)
    model.save_pretrained(model_dir)
    return model_dir
