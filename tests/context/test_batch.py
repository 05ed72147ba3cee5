"""Batches on tokenizers of real models: every id the tokenizer's own, every budget kept, every completion verbatim."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import context_models
import numpy as np
import pytest
import real_tokenizers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opsd_rs import _core
from opsd_rs.context import Assembler, Batch, Context
from opsd_rs.context.batch import pack_rows, student_batch
from opsd_rs.context.chat import ChatTemplate, chat_template
from opsd_rs.errors import BadInput, OpsdError
from opsd_rs.records import Case, Grade, Problem, Rollout

SECTIONS = ("solution", "feedback")
TEMPLATE = _core.ContextTemplate(
    template="{preamble}\n---\n{prompt}{solution}{feedback}\n\nCorrectly solve the original question.",
    sections=[
        ("solution", "\nCorrect solution:\n\n{solution}"),
        ("feedback", "\nThe following is feedback from your unsuccessful earlier attempt:\n\n{feedback}"),
    ],
    bare_template="{prompt}",
    preamble="Read all of it first",
    is_static=False,
)
REAL = ["smollm2", "qwen", "tekken"]
SHAPES = ["llama3", "olmo3"]


@pytest.fixture(scope="module", params=[*REAL, *SHAPES])
def chat(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ChatTemplate:
    """The chat template of a real model, or of one with a splitting expression or chat of another kind."""
    name = request.param
    if name == "smollm2":
        path: Path = request.getfixturevalue("smollm2")
    elif name in REAL:
        path = real_tokenizers.directory(name)
    else:
        path = context_models.save(tmp_path_factory.mktemp(name), context_models.SHAPES[name])
    return chat_template(str(path), False)


WORDS = [
    "def f(x):\n    return x + 12\n", " the", "word ", "a b", "ab\n", " \n", "  ", "\n\n", "\t", "'s ", "don't", "I'LL",
    "12 ", "3.14", "１２", "é ", "e\u0301", "\u0301", "x\u0301 y", "漢字 ", "가", "\u1100\u1161\u11a8", "🙂 ", "\u00a0",
    "\u2028", "\x1c", "\x00", "- ", "))\n", "//\n", "{", "}", "<|", "|>", "<think>", "</think>", "<|im_end|>", "[INST]",
    "<tool_call>", "Å", "ﬁ ", "\u0344", "\u0f73", "AbC dE", "K\u0327 ", "٣ ",
]  # fmt: skip
TEXT = st.one_of(st.text(max_size=60), st.lists(st.sampled_from(WORDS), max_size=14).map("".join))
ROW = st.tuples(TEXT, st.none() | TEXT, st.none() | TEXT)


def reference(chat: ChatTemplate, message: str) -> list[int]:
    """The library's ids of the whole chat, special spellings inside the turn taken as text."""
    backend = chat.tokenizer.backend_tokenizer
    markers = [t.content for t in chat.tokenizer.added_tokens_decoder.values() if t.content.strip()]
    start = max(chat.head.rfind(marker) + len(marker) for marker in markers if marker in chat.head)
    end = min(chat.tail.find(marker) for marker in markers if marker in chat.tail)
    inside = chat.head[start:] + (message.strip() if chat.trims else message) + chat.tail[:end]
    backend.encode_special_tokens = True
    try:
        middle = backend.encode(inside, add_special_tokens=False).ids
    finally:
        backend.encode_special_tokens = False
    parse = [
        backend.encode(text, add_special_tokens=False).ids for text in (chat.head[:start], chat.tail[end:])
    ]
    return [*parse[0], *middle, *parse[1]]


def pack(chat: ChatTemplate, rows: list[tuple[str, str | None, str | None]], **options: Any) -> Batch:
    defaults: dict[str, Any] = {
        "section_names": SECTIONS,
        "max_tokens": 100_000,
        "has_context": [True] * len(rows),
    }
    completions = options.pop("completions", [[]] * len(rows))
    packed = [(f"p{i}", prompt, texts) for i, (prompt, *texts) in enumerate(rows)]
    return pack_rows(chat.encoder, TEMPLATE, packed, completions, **{**defaults, **options})


def message(row: tuple[str, str | None, str | None]) -> str:
    return TEMPLATE.fill(row[0], list(row[1:]))


MORE = 15 if os.environ.get("OPSD_RS_LONG_TESTS") else 1
SLOW = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@settings(max_examples=120 * MORE, deadline=None, suppress_health_check=SLOW)
@given(rows=st.lists(ROW, min_size=1, max_size=6))
def test_ids_are_the_tokenizers_own(
    chat: ChatTemplate, rows: list[tuple[str, str | None, str | None]]
) -> None:
    batch = pack(chat, rows)
    for i, row in enumerate(rows):
        ids = batch.prompt(i).tolist()
        assert ids == reference(chat, message(row))
        if not batch.flags[i]:
            assert tuple(ids) == chat.slow_encode(message(row))


@settings(max_examples=60 * MORE, deadline=None, suppress_health_check=SLOW)
@given(text=TEXT)
def test_flags_say_which_slot_spells_a_special_token(chat: ChatTemplate, text: str) -> None:
    special = [t.content for t in chat.tokenizer.added_tokens_decoder.values() if t.special]
    spelled = any(word in text for word in special)
    batch = pack(chat, [("Add.", text, "b"), ("Add.", "a", text), (text, None, None)])
    assert batch.flags == tuple(
        (f"special:{name}",) if spelled else () for name in ("solution", "feedback", "prompt")
    )


@settings(max_examples=50 * MORE, deadline=None, suppress_health_check=SLOW)
@given(
    row=st.tuples(
        TEXT, st.none() | st.text(max_size=500), st.none() | st.lists(st.sampled_from(WORDS)).map("".join)
    ),
    stretch=st.integers(1, 12),
    total=st.integers(300, 900),
    own=st.integers(40, 200),
)
def test_no_budget_is_exceeded(
    chat: ChatTemplate, row: tuple[str, str | None, str | None], stretch: int, total: int, own: int
) -> None:
    prompt, solution, feedback = row
    solution = solution and solution * stretch
    try:
        batch = pack(chat, [(prompt, solution, feedback)], max_tokens=total, section_tokens={"solution": own})
    except BadInput:
        # Only the statement and the fixed text are beyond cutting.
        assert len(reference(chat, message((prompt, solution and "", feedback and "")))) > total - 80
        return
    header = chat.encoder.tail_ids
    assert len(batch.prompt(0)) <= total
    assert tuple(batch.prompt(0)[-len(header) :].tolist()) == header
    assert batch.sections is not None
    start, end = batch.sections["solution"][0].tolist()
    assert end - start <= own
    whole = reference(chat, message((prompt, solution, feedback)))
    if len(whole) <= total and not any("cut" in flag for flag in batch.flags[0]):
        assert batch.prompt(0).tolist() == whole


def test_a_cut_section_keeps_its_ends_and_names_what_is_gone(chat: ChatTemplate) -> None:
    solution = "import sys\n" + "x = 1\n" * 400 + "print(x)"
    batch = pack(chat, [("Add.", solution, "short")], section_tokens={"solution": 60})
    assert batch.sections is not None
    start, end = batch.sections["solution"][0]
    assert 50 <= end - start <= 60
    shown = chat.tokenizer.decode(batch.input_ids[start:end])
    assert "import sys" in shown
    assert "characters cut ...]" in shown
    assert "print(x)" in shown
    assert batch.flags == (("cut:solution",),)
    assert "short" in chat.tokenizer.decode(batch.input_ids)
    with pytest.raises(
        BadInput, match=r'problem p0: section "solution" takes \d+ .* context\.section_tokens\.solution = 2;'
    ):
        pack(chat, [("Add.", solution, None)], section_tokens={"solution": 2})


def test_sections_are_where_they_say(chat: ChatTemplate) -> None:
    rows: list[tuple[str, str | None, str | None]] = [
        ("Add two integers, then stop.", "def add(a, b): return a + b", "Wrong answer on test two"),
        ("Add two integers, then stop.", None, None),
    ]
    batch = pack(chat, rows)
    assert batch.sections is not None
    for name, text in zip(("prompt", *SECTIONS), rows[0], strict=True):
        start, end = batch.sections[name][0]
        shown = chat.tokenizer.decode(batch.input_ids[start:end]).strip()
        assert text is not None
        # A word across the edge may be the neighbour's: the first or last mark, never a letter more.
        assert shown.strip(" .\n") in text
        assert len(shown) >= len(text) - 2
    for name in SECTIONS:
        assert batch.sections[name][1][0] == batch.sections[name][1][1]


@settings(max_examples=30 * MORE, deadline=None, suppress_health_check=SLOW)
@given(rows=st.lists(st.tuples(ROW, st.lists(st.integers(0, 40_000), max_size=20)), min_size=1, max_size=5))
def test_completions_are_verbatim_in_every_layout(
    chat: ChatTemplate, rows: list[tuple[tuple[str, str | None, str | None], list[int]]]
) -> None:
    texts, completions = [row for row, _ in rows], [ids for _, ids in rows]
    batch = pack(chat, texts, completions=completions)
    prompts = pack(chat, texts)
    padded = batch.padded(7)
    assert batch.cu_seqlens.dtype == np.int32
    assert batch.input_ids.flags.writeable
    for i, ids in enumerate(completions):
        assert batch.completion(i).tolist() == ids
        assert batch.prompt(i).tolist() == prompts.prompt(i).tolist()
        whole = [*batch.prompt(i).tolist(), *ids]
        assert padded.input_ids[i][padded.attention_mask[i] == 1].tolist() == whole
        assert set(padded.input_ids[i][padded.attention_mask[i] == 0].tolist()) <= {7}
        assert padded.input_ids[i][padded.completion_mask[i]].tolist() == ids
        assert padded.attention_mask[i][0] == 1
    flat = padded.input_ids.reshape(-1)
    assert batch.completion_ids.tolist() == [i for ids in completions for i in ids]
    assert flat[padded.predictors + 1].tolist() == batch.completion_ids.tolist()


def test_shared_beginnings_are_reported(chat: ChatTemplate) -> None:
    rows: list[tuple[str, str | None, str | None]] = [
        ("Add two integers and print them.", "one two three", None),
        ("Sort a list of words.", None, None),
        ("Add two integers and print them.", "one two three", "failed"),
        ("Add two integers and print them.", "one two three", None),
    ]
    batch = pack(chat, rows)
    assert batch.shared_prefixes is not None
    shared = batch.shared_prefixes.tolist()
    assert shared[0] == [0, 0]
    assert shared[3] == [0, len(batch.prompt(0))]
    assert shared[1][0] == 0
    other, length = shared[2]
    assert other == 0
    assert (batch.prompt(0)[:length] == batch.prompt(2)[:length]).all()
    assert batch.prompt(0)[length] != batch.prompt(2)[length]
    assert length > 10


def test_a_batch_again_is_the_same(chat: ChatTemplate) -> None:
    """What is remembered of the first batch gives the second the same ids."""
    rows: list[tuple[str, str | None, str | None]] = [
        (f"Problem {i % 3}: add\u0301 it ", f"s{i} x\n", None) for i in range(9)
    ]
    first, again, backwards = pack(chat, rows), pack(chat, rows), pack(chat, rows[::-1])
    assert first.input_ids.tolist() == again.input_ids.tolist()
    for i in range(9):
        assert first.prompt(i).tolist() == backwards.prompt(8 - i).tolist()


def test_the_students_rows_are_as_sampled() -> None:
    def sampled(sample: int, prompt: tuple[int, ...], completion: tuple[int, ...]) -> Rollout:
        return Rollout("p", sample, prompt, completion, (0.0,) * len(completion), "", False, 0)

    batch = student_batch([sampled(0, (1, 2), (5, 6)), sampled(1, (1, 2), ()), sampled(2, (9,), (7,))])
    assert batch.input_ids.tolist() == [1, 2, 5, 6, 1, 2, 9, 7]
    assert batch.cu_seqlens.tolist() == [0, 4, 6, 8]
    assert batch.completion_spans.tolist() == [[2, 4], [6, 6], [7, 8]]
    assert batch.shared_prefixes is not None
    assert batch.shared_prefixes.tolist() == [[0, 0], [0, 2], [2, 0]]
    assert len(student_batch([])) == 0


def test_one_class_has_three_names() -> None:
    import opsd_rs
    from opsd_rs.base import Batch as record

    assert opsd_rs.Batch is Batch is record


def test_a_slice_of_rows_is_those_rows(chat: ChatTemplate) -> None:
    rows: list[tuple[str, str | None, str | None]] = [
        ("Add two integers.", "one two three", "failed " * 80),
        ("Sort.", None, None),
        ("Add two integers and print.", None, "failed"),
    ]
    batch = pack(
        chat,
        rows,
        completions=[[5, 6, 2], [], [7]],
        has_context=[True, False, True],
        statuses=["a", "b", "c"],
        section_tokens={"feedback": 40},
    )
    assert batch.sections is not None
    assert len(batch.rows([])) == 0
    for which in ([2, 0], [1], [0, 1, 2], [1, 1]):
        part = batch.rows(which)
        assert len(part) == len(which)
        assert part.has_context.tolist() == batch.has_context[which].tolist()
        assert part.shared_prefixes is None  # their rows may be elsewhere
        assert part.sections is not None
        for place, row in enumerate(which):
            assert part.prompt(place).tolist() == batch.prompt(row).tolist()
            assert part.completion(place).tolist() == batch.completion(row).tolist()
            assert (part.statuses[place], part.flags[place]) == (batch.statuses[row], batch.flags[row])
            for name, spans in batch.sections.items():
                mine, theirs = part.sections[name][place], spans[row]
                assert (
                    part.input_ids[mine[0] : mine[1]].tolist()
                    == batch.input_ids[theirs[0] : theirs[1]].tolist()
                )
        assert part.completion_lengths.tolist() == batch.completion_lengths[which].tolist()
    assert batch.flags[0] == ("cut:feedback",)


def test_log_probabilities_are_sliced_with_their_rows() -> None:
    def sampled(sample: int, *logprobs: float, num: int | None = None) -> Rollout:
        completion = tuple(range(len(logprobs) if num is None else num))
        return Rollout("p", sample, (1, 2), completion, logprobs, "", False, 0)

    batch = student_batch([sampled(0, -1.0, -2.0), sampled(1), sampled(2, -3.0)])
    assert batch.logprobs is not None
    assert batch.logprobs.dtype == np.float32
    part = batch.rows([2, 1, 0]).logprobs
    assert part is not None
    assert part.tolist() == [-3.0, -1.0, -2.0]
    assert student_batch([sampled(0, num=2)]).logprobs is None  # a loop of one's own need not keep them
    with pytest.raises(OpsdError, match="problem p, sample 0: 1 log-probabilities of 2 completion tokens"):
        student_batch([sampled(0, -1.0, num=2)])
    with pytest.raises(
        OpsdError, match="2 log-probabilities of 3 completion tokens: some rollouts have none"
    ):
        student_batch([sampled(0, -1.0, -2.0), sampled(1, num=1)])


@pytest.mark.parametrize("name", ["peer_solution_feedback", "feedback", "none", "expert_preamble", "sdft"])
def test_a_teacher_batch_is_its_contexts_and_completions(name: str, tmp_path: Path) -> None:
    path = context_models.save(tmp_path, context_models.SHAPES["qwen3"])
    assembler = Assembler(path, Context.load(name), max_context_tokens=4000, section_tokens={"feedback": 50})
    problem = Problem("add", "Add two integers.", (Case("1 2", "3"),), solution="print(3)")
    rollouts = [
        Rollout("add", i, assembler.student_prompt(problem), (5, i, 2), (0.0,) * 3, f"answer {i}", False, 0)
        for i in range(4)
    ]
    grades = [
        Grade(
            "add",
            i,
            i > 1,
            "accepted" if i > 1 else "wrong_answer",
            (),
            "" if i > 1 else "no <|im_end|> " * 60,
        )
        for i in range(4)
    ]
    batch = assembler.teacher_batch(rollouts, grades, {"add": problem})
    contexts = assembler.teacher_contexts(rollouts, grades, {"add": problem})
    for i, context in enumerate(contexts):
        assert tuple(batch.prompt(i).tolist()) == context.prompt_ids
        assert context.batch is not None
        assert np.shares_memory(context.batch.prompt(context.row), context.batch.input_ids)
        assert tuple(batch.completion(i).tolist()) == rollouts[i].completion_ids
        assert (batch.statuses[i], batch.flags[i]) == (context.status, context.flags)
    assert batch.has_context.tolist() == [context.has_context for context in contexts]
    assert (batch.input_ids[batch.completion_mask].reshape(4, 3)[:, 1] == range(4)).all()
    if name == "feedback":
        assert contexts[0].flags == ("special:feedback", "cut:feedback")
    students = assembler.student_batch(rollouts)
    assert students.completion(2).tolist() == [5, 2, 2]
    assert tuple(students.prompt(3).tolist()) == assembler.student_prompt(problem)
    with pytest.raises(BadInput, match="section_tokens: no section 'hint'; there are solution"):
        Assembler(path, Context.load(name), section_tokens={"hint": 9})


def test_rows_and_completions_must_agree(tmp_path: Path) -> None:
    path = context_models.save(tmp_path, context_models.SHAPES["qwen3"])
    chat = chat_template(str(path), False)
    with pytest.raises(OpsdError, match="1 rows, 2 completions, 1 masks"):
        pack(chat, [("a", None, None)], completions=[[], []])


def test_half_a_surrogate_pair_is_refused_by_name(tmp_path: Path) -> None:
    path = context_models.save(tmp_path, context_models.SHAPES["qwen3"])
    assembler = Assembler(path, Context.load("erl"))
    problem, whole = Problem("add", "Add.", ()), Rollout("add", 0, (1,), (5,), (0.0,), "x", False, 0)
    half = Rollout("add", 0, (1,), (5,), (0.0,), "ab\ud800", False, 0)
    grades = [Grade("add", 0, False, "wrong_answer", (), "no")]
    message = r"^problem add: half a surrogate pair at character 2 of 'ab.ud800'$"
    with pytest.raises(BadInput, match=message):
        assembler.note_requests([half], grades, {"add": problem})
    requests = assembler.note_requests([whole], grades, {"add": problem})
    notes = assembler.notes_from(requests, ["ab\ud800"], [whole], grades, {"add": problem})
    with pytest.raises(BadInput, match=message):
        assembler.teacher_contexts([whole], grades, {"add": problem}, notes)
    with pytest.raises(BadInput, match=r"^problem add: half a surrogate pair at character 0 of "):
        assembler.student_prompt(Problem("add", "\udc00", ()))
