"""How fast a step's teacher prompts become token ids, against ``apply_chat_template`` over the list of chats.

In: a model directory (SmolLM2-135M from the cache by default) and source files of Python's own library as texts.
Out: one line per case: wall and CPU milliseconds, medians of ``--repeats``, and the ratio. All ids are compared first.

Cases, 256 rows each, about 1,500 tokens of statement and 200 of context:

- ``head``: 32 problems of 8 rollouts; the student's prompts were encoded just before, as in a training step.
- ``cold``: the same, nothing known beforehand.
- ``distinct``: 256 problems, nothing known beforehand.

A cold case gets a new encoder each time; the tokenizer's own caches stay warm, which favours the other side.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from opsd_rs import _core
from opsd_rs.context import Batch
from opsd_rs.context.batch import BatchRow, pack_rows
from opsd_rs.context.chat import ChatTemplate, chat_template

ROWS = 256
NAMES = ("solution", "feedback")
TEMPLATE = _core.ContextTemplate(
    template="{prompt}{solution}{feedback}\n\nCorrectly solve the original question.",
    sections=[
        ("solution", "\nCorrect solution:\n\n{solution}"),
        ("feedback", "\nThe following is feedback from your unsuccessful earlier attempt:\n\n{feedback}"),
    ],
    bare_template="{prompt}",
    preamble="",
    is_static=False,
)


class Timing(NamedTuple):
    """Milliseconds of one run."""

    wall: float
    cpu: float


def texts(count: int, characters: int, offset: int) -> list[str]:
    """Return ``count`` different pieces of Python's library sources."""
    root = Path(sysconfig.get_path("stdlib"))
    source = "\n".join(
        path.read_text(encoding="utf-8", errors="replace") for path in sorted(root.glob("*.py"))
    )
    pieces = [source[at : at + characters] for at in range(offset, len(source) - characters, characters)]
    assert len(pieces) >= count, "not enough sources"
    return pieces[:count]


def rows(problems: int) -> list[BatchRow]:
    """Return the rows of a step: siblings share statement and solution, feedback is everybody's own."""
    statements, solutions = texts(problems, 5600, 0), texts(problems, 420, 2_000_000)
    feedbacks = texts(ROWS, 260, 3_000_000)
    siblings = ROWS // problems
    return [
        (f"p{i // siblings}", statements[i // siblings], [solutions[i // siblings], feedbacks[i]])
        for i in range(ROWS)
    ]


def timed(work: Callable[[], Any]) -> tuple[Timing, Any]:
    """Run ``work`` once."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return Timing(1e3 * (time.perf_counter() - wall), 1e3 * (time.process_time() - cpu)), result


def fresh(chat: ChatTemplate) -> _core.Chat:
    """Return an encoder that remembers nothing."""
    described = chat.tokenizer.backend_tokenizer.to_str()
    return _core.Chat(tokenizer_json=described, head=chat.head, tail=chat.tail, trims=chat.trims)


def ours(encoder: _core.Chat, step: list[BatchRow]) -> Batch:
    """Assemble the step."""
    return pack_rows(
        encoder,
        TEMPLATE,
        step,
        [()] * len(step),
        section_names=NAMES,
        max_tokens=1 << 30,
        has_context=[True] * len(step),
    )


def theirs(chat: ChatTemplate, messages: list[str]) -> list[list[int]]:
    """Encode the rendered chats the usual way."""
    chats = [[{"role": "user", "content": message}] for message in messages]
    encoded = chat.tokenizer.apply_chat_template(
        chats, add_generation_prompt=True, return_dict=True, enable_thinking=chat.enable_thinking
    )
    ids: list[list[int]] = encoded["input_ids"]
    return ids


def measure(chat: ChatTemplate, case: str, repeats: int) -> dict[str, Any]:
    """Run one case ``repeats`` times, both sides in turns."""
    step = rows(ROWS if case == "distinct" else 32)
    messages = [TEMPLATE.fill(prompt, list(sections)) for _, prompt, sections in step]
    theirs(chat, messages[:32])
    pairs = []
    for _ in range(repeats):
        encoder = fresh(chat)
        if case == "head":
            for _, prompt, _ in step:
                encoder.encode("p", prompt)
        mine, batch = timed(lambda encoder=encoder: ours(encoder, step))
        other, ids = timed(lambda: theirs(chat, messages))
        assert all(batch.prompt(i).tolist() == ids[i] for i in range(ROWS)), "ids differ"
        pairs.append((mine, other))
    middle = {
        f"{side}_{kind}_ms": statistics.median(getattr(pair[i], kind) for pair in pairs)
        for i, side in enumerate(("ours", "theirs"))
        for kind in ("wall", "cpu")
    }
    return {
        "case": case,
        "rows": ROWS,
        "mean_tokens": round(len(batch.input_ids) / ROWS),
        **{key: round(value, 1) for key, value in middle.items()},
        "wall_ratio": round(statistics.median(b.wall / a.wall for a, b in pairs), 2),
        "cpu_ratio": round(statistics.median(b.cpu / a.cpu for a, b in pairs), 2),
    }


def main() -> None:
    """Print a JSON line per case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="model directory; SmolLM2-135M from the cache by default")
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    if args.model is None:
        from opsd_rs.model import fetch

        args.model = fetch("smollm2-135m", progress=print)
    chat = chat_template(str(args.model), False)
    for case in ("head", "cold", "distinct"):
        print(json.dumps({"cores": os.cpu_count(), **measure(chat, case, args.repeats)}), flush=True)


if __name__ == "__main__":
    main()
