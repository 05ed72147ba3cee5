"""Tokenizers of our own with the shapes of the supported families, for the assembler's tests.

Each has the family's splitting expression, its normalizer, its kind of added tokens and a short chat template that
puts the same marks around a user's message; the vocabulary is trained here on a few lines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

CORPUS = (
    "Write a Python function that adds two numbers and returns the sum of both.",
    "def add(a, b):\n    return a + b\n\n\nfor i in range(10):\n        print(i, i * i)\n",
    "Correct solution:\n\nclass Solution:\n    def run(self, nums: list[int]) -> int:\n        return max(nums)\n",
    "The following is feedback from your unsuccessful earlier attempt:\n\nTest Case 1: Wrong Answer\n\nInput\n12",
    "Correctly solve the original question.\n---\nassistant user system {prompt} <think> im_end",
)

DIGITS_BY_THREE = "|".join(
    (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)",
        r"[^\r\n\p{L}\p{N}]?\p{L}+",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    )
)
DIGITS_ALONE = DIGITS_BY_THREE.replace("{1,3}", "")


class Shape(NamedTuple):
    """What distinguishes a family's tokenizer and chat."""

    template: str
    split: str
    nfc: bool = False
    bos: str | None = None
    """Written by the template; a post-processor would write it a second time."""
    special: tuple[str, ...] = ()
    plain: tuple[str, ...] = ()
    """Added tokens that are not declared special."""
    eos: str = "<|im_end|>"
    ignore_merges: bool = False


_CHATML = "{%- for m in messages -%}{{- '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' -}}{%- endfor -%}"

OLMO_SYSTEM = (
    "You are a helpful function-calling AI assistant. You do not currently have access to any functions. "
    "<functions></functions>"
)
"""What Olmo 3 Instruct is told where nobody gives a system message."""

LLAMA_SYSTEM = (
    "{{- '<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\nToday Date: ' -}}"
    "{{- date_string -}}{{- '\n\n<|eot_id|>' -}}"
)
"""The turn that Llama 3.1 and later put first."""

SHAPES = {
    "qwen3": Shape(
        template=_CHATML
        + "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}"
        + "{%- if enable_thinking is defined and enable_thinking is false -%}"
        + "{{- '<think>\n\n</think>\n\n' -}}{%- endif -%}{%- endif -%}",
        split=DIGITS_ALONE,
        nfc=True,
        special=("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
        plain=("<think>", "</think>", "<tool_call>", "</tool_call>"),
    ),
    "olmo3": Shape(
        template="{{- '<|im_start|>system\n"
        + OLMO_SYSTEM
        + "<|im_end|>\n' -}}"
        + _CHATML
        + "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%}",
        split=DIGITS_BY_THREE,
        special=("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
        plain=("|||PHONE|||", "  ", "    ", "<functions>", "</functions>"),
        eos="<|endoftext|>",
    ),
    "llama3": Shape(
        template="{{- bos_token -}}"
        + LLAMA_SYSTEM
        + "{%- for m in messages -%}"
        + "{{- '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' + (m.content | trim) + '<|eot_id|>' -}}"
        + "{%- endfor -%}{%- if add_generation_prompt -%}"
        + "{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' -}}{%- endif -%}",
        split=DIGITS_BY_THREE,
        bos="<|begin_of_text|>",
        special=(
            "<|begin_of_text|>",
            "<|end_of_text|>",
            "<|start_header_id|>",
            "<|end_header_id|>",
            "<|eot_id|>",
        ),
        eos="<|end_of_text|>",
        ignore_merges=True,
    ),
    "deepseek": Shape(
        template="{%- for m in messages -%}{%- if m.role == 'user' -%}{{- '<|User|>' + m.content -}}{%- else -%}"
        + "{{- '<|Assistant|>' + m.content + '<|end|>' -}}{%- endif -%}{%- endfor -%}"
        + "{%- if add_generation_prompt -%}{{- '<|Assistant|>' -}}{%- endif -%}",
        split=DIGITS_BY_THREE,
        special=("<|end|>",),
        plain=("<|User|>", "<|Assistant|>"),
        eos="<|end|>",
    ),
}


def save(directory: Path, shape: Shape, **changes: Any) -> Path:
    """Train, write and return the model directory (tokenizer only); ``changes`` replace fields of ``shape``."""
    from tokenizers import (
        AddedToken,
        Regex,
        Tokenizer,
        decoders,
        models,
        normalizers,
        pre_tokenizers,
        processors,
    )
    from tokenizers.trainers import BpeTrainer
    from transformers import PreTrainedTokenizerFast

    shape = shape._replace(**changes)
    bpe = Tokenizer(models.BPE(ignore_merges=shape.ignore_merges))
    if shape.nfc:
        bpe.normalizer = normalizers.NFC()
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(shape.split), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=600, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    bpe.train_from_iterator(CORPUS, trainer)
    bpe.add_special_tokens([AddedToken(token, normalized=False) for token in shape.special])
    bpe.add_tokens([AddedToken(token, normalized=False) for token in shape.plain])
    if shape.bos:
        first = (shape.bos, bpe.token_to_id(shape.bos))
        bpe.post_processor = processors.TemplateProcessing(single=f"{shape.bos} $A", special_tokens=[first])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token=shape.bos, eos_token=shape.eos)
    tokenizer.chat_template = shape.template
    tokenizer.save_pretrained(directory)
    return directory
