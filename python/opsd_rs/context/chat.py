"""A model's chat template, rendered once and compiled: what it writes around one user message, and how turns end.

In: a model directory (or hub name). Out: a ``ChatTemplate`` whose Rust half encodes any message to the ids that
``apply_chat_template`` gives. transformers is loaded only here, with the first template.
What it does not do: run the Jinja per row (a few probes show that the template treats the message as a block).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

from opsd_rs import _core
from opsd_rs.errors import BadInput

SENTINEL = "XopsdXmessageX"
"""Stands for the message while rendering; letters only, so that no template splits or escapes it."""
PROBES = (
    f"{SENTINEL} {{braces}} <b>&amp;</b> \"quotes\" 'and' \\back\\slashes\n\n\ttabs\r\n<think>a</think> 漢字 🙂",
    f"<tool_response>{SENTINEL}</tool_response>",
)
"""Messages that a template might change, if it looks at content."""
DATE = "2024-07-26"
"""The date that templates print where nobody names one: theirs would be today's, and a run resumed tomorrow must see
the same prompts. It is the date that Llama's older templates fall back to."""

Render = Callable[..., str]


@dataclass(frozen=True)
class ChatTemplate:
    """The text around one user message, the ids that end an answer, and the compiled encoder.

    ``head`` and ``tail`` stand before and after the message; ``tail`` ends with the generation header.
    """

    path: str
    """The model it came from, for messages."""
    head: str
    tail: str
    trims: bool
    """The template strips white space around the message."""
    other_tail: str
    """``tail`` with thinking switched the other way."""
    eos_ids: tuple[int, ...]
    pad_id: int
    encoder: _core.Chat
    tokenizer: Any
    """The transformers tokenizer: the slow reference, and the one that decodes."""
    enable_thinking: bool
    date: str
    """The day that the template is told, ISO."""
    prints_date: bool
    """Whether it writes that day into the prompt."""

    def slow_encode(self, message: str) -> tuple[int, ...]:
        """Ids of the chat by ``apply_chat_template``; the plain reference for ``encoder.encode``."""
        encoded = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": message}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            enable_thinking=self.enable_thinking,
            **_day(self.date),
        )
        return tuple(encoded["input_ids"])

    def text_of(self, ids: Sequence[int]) -> str:
        """Text of prompt ids, special tokens written out."""
        text: str = self.tokenizer.decode(list(ids), clean_up_tokenization_spaces=False)
        return text

    def count(self, text: str) -> int:
        """How many tokens ``text`` is when it stands alone."""
        return len(self.tokenizer.encode(text, add_special_tokens=False))

    def decode(self, ids: Sequence[int]) -> str:
        """Text of completion ids, special tokens left out, nothing tidied up."""
        text: str = self.tokenizer.decode(
            list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text


@lru_cache(maxsize=8)
def chat_template(path: str, enable_thinking: bool, chat_date: str = DATE) -> ChatTemplate:
    """Render and compile the chat template of the model at ``path``.

    :param chat_date: the day, ISO, that a template which prints today's date prints
    :raises BadInput: no tokenizer or no chat template there, or one that cannot be compiled exactly
    """
    tokenizer = _load_tokenizer(path)
    head, tail, trims = split(_renderer(tokenizer, path, enable_thinking, chat_date), path)
    _, other_tail, _ = split(_renderer(tokenizer, path, not enable_thinking, chat_date), path)
    another_day = split(_renderer(tokenizer, path, enable_thinking, "1999-12-31"), path)
    try:
        encoder = _core.Chat(
            tokenizer_json=tokenizer.backend_tokenizer.to_str(), head=head, tail=tail, trims=trims
        )
    except BadInput as error:
        raise BadInput(f"model.path = {path}: {error}") from None
    eos_ids = _eos_ids(tokenizer, path, _renderer(tokenizer, path, enable_thinking, chat_date))
    return ChatTemplate(
        path=path,
        head=head,
        tail=tail,
        trims=trims,
        other_tail=other_tail,
        eos_ids=eos_ids,
        pad_id=eos_ids[0] if tokenizer.pad_token_id is None else int(tokenizer.pad_token_id),
        encoder=encoder,
        tokenizer=tokenizer,
        enable_thinking=enable_thinking,
        date=chat_date,
        prints_date=another_day != (head, tail, trims),
    )


def split(render: Render, path: str) -> tuple[str, str, bool]:
    """``(head, tail, trims)`` of a template that writes the user's message as a block.

    >>> split(lambda messages, **_: f"<u>{messages[0]['content'].strip()}</u><a>", "demo")
    ('<u>', '</u><a>', True)
    """

    def chat(message: str) -> str:
        return render([{"role": "user", "content": message}], add_generation_prompt=True)

    parts = chat(SENTINEL).split(SENTINEL)
    if len(parts) != 2:
        raise BadInput(
            f"model.path = {path}: the chat template writes the user's message {len(parts) - 1} times, not once; "
            "use a model with a plain chat template"
        )
    head, tail = parts
    padded = f" \n\t{SENTINEL}\n \n"
    trims = chat(padded) == head + SENTINEL + tail
    for message in (padded, *PROBES):
        if chat(message) != head + (message.strip() if trims else message) + tail:
            raise BadInput(
                f"model.path = {path}: the chat template changes the user's message {message!r}; "
                "only templates that write it as it stands (or stripped) can be followed to the token"
            )
    return head, tail, trims


def _day(chat_date: str) -> dict[str, Any]:
    """What templates ask for today's date: Llama 3's variable, and the function that transformers lends to others."""
    day = date.fromisoformat(chat_date)
    return {"date_string": day.strftime("%d %b %Y"), "strftime_now": day.strftime}


def _renderer(tokenizer: Any, path: str, enable_thinking: bool, chat_date: str) -> Render:
    from jinja2.exceptions import TemplateError

    def render(messages: list[dict[str, str]], *, add_generation_prompt: bool) -> str:
        try:
            text: str = tokenizer.apply_chat_template(
                messages,
                add_generation_prompt=add_generation_prompt,
                tokenize=False,
                enable_thinking=enable_thinking,
                **_day(chat_date),
            )
        except (TemplateError, ValueError) as error:
            raise BadInput(f"model.path = {path}: its chat template fails: {error}") from None
        return text

    return render


def _load_tokenizer(path: str) -> Any:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(path)
    except (OSError, ValueError) as error:
        raise BadInput(f"model.path = {path}: no tokenizer could be loaded from it: {error}") from None
    if getattr(tokenizer, "backend_tokenizer", None) is None:
        raise BadInput(
            f"model.path = {path}: its tokenizer has no fast form (tokenizer.json); convert it first"
        )
    if tokenizer.chat_template is None:
        raise BadInput(
            f"model.path = {path}: the tokenizer has no chat template; use the instruction-tuned model"
        )
    return tokenizer


def _eos_ids(tokenizer: Any, path: str, render: Render) -> tuple[int, ...]:
    """Where sampling stops: what the model's own files say, and the marker that closes an assistant turn."""
    ids: list[int] = []
    turn = render(
        [{"role": "user", "content": "?"}, {"role": "assistant", "content": SENTINEL}],
        add_generation_prompt=False,
    )
    closing = turn.rpartition(SENTINEL)[2]
    markers = [
        (closing.index(token.content), -len(token.content), token_id)
        for token_id, token in tokenizer.added_tokens_decoder.items()
        if token.content.strip() and token.content in closing
    ]
    if markers:
        ids.append(min(markers)[2])
    for source in ("generation_config.json", "config.json"):
        ids += _ids_in(path, source)
    if tokenizer.eos_token_id is not None:
        ids.append(int(tokenizer.eos_token_id))
    if not ids:
        raise BadInput(
            f"model.path = {path}: neither its files nor its chat template name an end-of-turn token"
        )
    return tuple(dict.fromkeys(ids))


def _ids_in(path: str, name: str) -> list[int]:
    from transformers.utils.hub import cached_file

    found = cached_file(path, name, _raise_exceptions_for_missing_entries=False)
    if found is None:
        return []
    value = json.loads(Path(found).read_text(encoding="utf-8")).get("eos_token_id")
    return [int(item) for item in (value if isinstance(value, list) else [value]) if item is not None]
