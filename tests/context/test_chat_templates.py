"""What the published chat templates write around a user's message, and that short templates of the same shape do too.

The goldens are the rendered strings as published for Qwen3, Olmo 3, Llama 3 and SmolLM2; SmolLM2's comes out of its
own files, the others out of ``context_models``, and Qwen3's and Llama's out of the published templates too, which TRL
carries.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import context_models
import pytest
from opsd_rs.context.chat import chat_template
from opsd_rs.errors import BadInput

OLMO_CLOSE = "<|im_end|>\n<|im_start|>user\nHi {x}!\n<|im_end|>\n<|im_start|>assistant\n"
GOLDENS = {
    ("qwen3", True): "<|im_start|>user\nHi {x}!\n<|im_end|>\n<|im_start|>assistant\n",
    ("qwen3", False): "<|im_start|>user\nHi {x}!\n<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
    ("olmo3", False): "<|im_start|>system\nYou are a helpful function-calling AI assistant. "
    "You do not currently have access to any functions. <functions></functions>" + OLMO_CLOSE,
    ("olmo3_think", True): "<|im_start|>system\nYou are a helpful AI assistant." + OLMO_CLOSE + "<think>",
    (
        "olmo31_think",
        True,
    ): "<|im_start|>system\nYou are Olmo, a helpful AI assistant built by Ai2. Your date cutoff "
    "is December 2024, and your model weights are available at https://huggingface.co/allenai."
    + OLMO_CLOSE
    + "<think>",
    ("llama3", False): "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n"
    "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nHi {x}!<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n",
    ("llama30", False): "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi {x}!<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n",
    (
        "smollm2",
        False,
    ): "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
    "<|im_end|>\n<|im_start|>user\nHi {x}!\n<|im_end|>\n<|im_start|>assistant\n",
}
"""Family and ``enable_thinking``; Llama's trims the message, and 3.0 had no system turn of its own."""


def shape(family: str) -> context_models.Shape:
    """The family's shape, its other system prompts and headers included."""
    olmo = context_models.SHAPES["olmo3"]
    think = "assistant\n<think>' -}}"
    system = context_models.OLMO_SYSTEM
    variants = {
        "olmo3_think": olmo.template.replace(system, "You are a helpful AI assistant."),
        "olmo31_think": olmo.template.replace(
            system,
            "You are Olmo, a helpful AI assistant built by Ai2. Your date cutoff is December 2024, and your model "
            "weights are available at https://huggingface.co/allenai.",
        ),
    }
    if family in variants:
        return olmo._replace(template=variants[family].replace("assistant\n' -}}", think))
    if family == "llama30":
        llama = context_models.SHAPES["llama3"]
        before, _, after = llama.template.partition(context_models.LLAMA_SYSTEM)
        return llama._replace(template=before + after)
    return context_models.SHAPES[family]


PUBLISHED = {"qwen3": "qwen3", "llama3": "llama3_2", "llama30": "llama3"}
"""The files of TRL's ``chat_templates`` that hold a family's template as published."""


def published(name: str) -> str:
    """The text of one of TRL's templates; TRL itself is not loaded."""
    found = importlib.util.find_spec("trl")
    assert found is not None
    assert found.origin is not None
    return (Path(found.origin).parent / "chat_templates" / f"{name}.jinja").read_text(encoding="utf-8")


@pytest.mark.parametrize(("family", "thinking"), [key for key in GOLDENS if key[0] in PUBLISHED])
def test_the_published_template_is_followed(family: str, thinking: bool, tmp_path: Path) -> None:
    path = context_models.save(tmp_path, shape(family), template=published(PUBLISHED[family]))
    chat = chat_template(str(path), thinking)
    message = "Hi {x}!\n"
    assert chat.encoder.render(message) == GOLDENS[family, thinking]
    assert chat.encoder.encode("p", message) == chat.slow_encode(message)


@pytest.mark.parametrize(("family", "thinking"), GOLDENS)
def test_a_chat_is_rendered_as_published(
    family: str, thinking: bool, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    golden = GOLDENS[family, thinking]
    if family == "smollm2":
        path: Path = request.getfixturevalue("smollm2")
    else:
        path = context_models.save(tmp_path, shape(family))
    chat = chat_template(str(path), thinking)
    message = "Hi {x}!\n"
    theirs = chat.tokenizer.apply_chat_template(
        [{"role": "user", "content": message}],
        add_generation_prompt=True,
        tokenize=False,
        enable_thinking=thinking,
        date_string="26 Jul 2024",
    )
    assert theirs == golden
    assert chat.encoder.render(message) == golden
    assert chat.encoder.encode("p", message) == chat.slow_encode(message)
    assert chat.tokenizer.decode(chat.encoder.tail_ids) == chat.tail


DATED = (
    "{{ strftime_now('%d %B %Y') }}|{% for m in messages %}<|im_start|>user {{ m['content'] }}<|im_end|>{% endfor %}"
    "<|im_start|>assistant "
)


def test_a_template_that_prints_today_prints_the_runs_day(tmp_path: Path) -> None:
    path = context_models.save(tmp_path, shape("qwen3"), template=DATED)
    chat = chat_template(str(path), False, "2026-01-31")
    assert chat.prints_date
    assert chat.head == "31 January 2026|<|im_start|>user "
    assert chat.encoder.encode("p", "hi") == chat.slow_encode("hi")
    assert chat_template(str(path), False).head == "26 July 2024|<|im_start|>user ", (
        "a fixed day where none is given"
    )
    plain = context_models.save(tmp_path / "plain", shape("qwen3"), template=DATED.partition("|")[2])
    assert not chat_template(str(plain), False).prints_date


def test_of_several_templates_the_default_is_followed(tmp_path: Path) -> None:
    path = context_models.save(tmp_path, shape("qwen3"))
    for file in path.glob("*.jinja"):
        file.unlink()
    settings = json.loads((path / "tokenizer_config.json").read_text())
    named = {"default": DATED.partition("|")[2], "tool_use": "{{ none.fails }}"}

    def write(names: list[str]) -> str:
        templates = [{"name": name, "template": named[name]} for name in names]
        (path / "tokenizer_config.json").write_text(json.dumps(settings | {"chat_template": templates}))
        return str(path)

    chat = chat_template(write(["default", "tool_use"]), False)
    assert chat.encoder.render("hi") == "<|im_start|>user hi<|im_end|><|im_start|>assistant "
    chat_template.cache_clear()
    with pytest.raises(BadInput, match=r"its chat template fails: .*tool_use"):
        chat_template(write(["tool_use"]), False)
    chat_template.cache_clear()
