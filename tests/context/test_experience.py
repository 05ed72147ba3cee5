"""Experience: who writes it from what, who reads it, how the model merges it, and what a run keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from context_cases import GRADES, PROBLEMS, ROLLOUTS, make_assembler, read
from opsd_rs.config import load_context
from opsd_rs.context import Memory, NoteCache
from opsd_rs.context.templates import compile_context
from opsd_rs.errors import BadInput, OpsdError

if TYPE_CHECKING:
    from pathlib import Path

    from opsd_rs import Assembler


def test_experience_is_read_beside_other_problems_and_grows(qwen: Path) -> None:
    assembler, memory = make_assembler(qwen, "opcd_experience"), Memory({"old": "An old lesson."})
    found = read(assembler, lambda r: f"Lesson of {r.problem_id}.", memory)
    assert [status for status, _ in found] == ["experience"] * 6 + ["bare"]  # a fault of ours teaches nothing
    for (_, text), mine in zip(found[:6], ["add"] * 3 + ["sub"] * 2 + ["mul"], strict=True):
        assert f"Lesson of {mine}." not in text
        assert "An old lesson." in text
        assert text.index("An old lesson.") < text.index(PROBLEMS[mine].prompt)
    assert list(memory.items) == ["old", "add", "sub", "mul"]
    memory.add({"old": "A new lesson."})
    assert memory.others("mul", 2) == "Lesson of sub.\n\nA new lesson."


def test_who_writes_experience_sees_what_its_rows_would_read(qwen: Path) -> None:
    assembler = make_assembler(qwen, "oel")
    asked = assembler.note_requests(ROLLOUTS, GRADES, PROBLEMS)
    assert {(r.problem_id, r.sample) for r in asked} == {("add", 0), ("sub", 0), ("mul", 0)}
    assert all("before:\n\nNothing yet.\n\n" in assembler.chat.text_of(r.prompt_ids) for r in asked)
    memory = Memory({"add": "Of add.", "old": "Of old."})
    texts = [
        assembler.chat.text_of(r.prompt_ids)
        for r in assembler.note_requests(ROLLOUTS, GRADES, PROBLEMS, memory)
    ]
    assert "before:\n\nOf old.\n\n" in texts[0]  # its own lesson is written again
    assert "before:\n\nOf add.\n\nOf old.\n\n" in texts[1]


def merge_all(assembler: Assembler, memory: Memory, lesson: str, merge: Any) -> tuple[list[str], list[str]]:
    """What the merges were asked, and what each row reads: lessons ``lesson`` of each problem, merges by ``merge``."""
    requests = assembler.note_requests(ROLLOUTS, GRADES, PROBLEMS, memory)
    texts = [lesson.format(r.problem_id) for r in requests]
    notes = assembler.notes_from(requests, texts, ROLLOUTS, GRADES, PROBLEMS, memory)
    assert notes is not None
    merges = assembler.merge_requests(notes)
    notes = assembler.merged_from(
        notes, merges, [merge(m.problem_id) for m in merges], ROLLOUTS, GRADES, PROBLEMS
    )
    contexts = assembler.teacher_contexts(ROLLOUTS, GRADES, PROBLEMS, notes)
    read = [assembler.chat.text_of(c.prompt_ids) for c in contexts]
    return [assembler.chat.text_of(m.prompt_ids) for m in merges], read


def test_experience_is_merged_into_one_text_and_no_row_reads_its_own_lesson(qwen: Path) -> None:
    assembler, memory = make_assembler(qwen, "oel_merged"), Memory()
    asked, read = merge_all(assembler, memory, "Lesson of {}.", lambda name: f"Merged for {name or 'all'}.")
    assert len(asked) == 4  # the memory, and one for each problem that taught something
    assert "so far:\n\nNothing yet.\n\n" in asked[0]
    assert "Lesson of add.\n\nLesson of sub.\n\nLesson of mul." in asked[0]
    for name, text, row in zip(("add", "sub", "mul"), asked[1:], (read[0], read[3], read[5]), strict=True):
        assert f"Lesson of {name}." not in text
        assert text.count("Lesson of") == 2
        assert f"wrong):\n\nMerged for {name}.\n\n---" in row
    assert memory.items == {"": "Merged for all."}

    (asked, read) = merge_all(assembler, memory, "More of {}.", lambda name: f"Again for {name or 'all'}.")
    assert all("so far:\n\nMerged for all.\n\n" in text for text in asked)
    assert memory.items == {"": "Again for all."}
    # Nothing was learned: the memory stays and is read.
    (asked, read) = merge_all(assembler, memory, " ", lambda name: "never asked")
    assert (asked, memory.items) == ([], {"": "Again for all."})
    assert all("wrong):\n\nAgain for all.\n\n---" in text for text in read[:6])


def test_a_merge_that_comes_to_nothing_loses_nothing(qwen: Path) -> None:
    memory = Memory({"": "Old."})
    _, read = merge_all(
        make_assembler(qwen, "oel_merged"), memory, "Of {}.", lambda name: "```python\nprint(1)\n```"
    )
    assert memory.items == {"": "Old.\n\nOf add.\n\nOf sub.\n\nOf mul."}
    assert "wrong):\n\nOld.\n\nOf sub.\n\nOf mul.\n\n---" in read[0]


def test_merged_experience_gives_no_solution_of_its_step_away(qwen: Path) -> None:
    assembler, memory = make_assembler(qwen, "oel_merged"), Memory()
    told = "Mind signs.\nreturn a * b\nThen write `return a - b` down."
    _, read = merge_all(assembler, memory, "Of {}.", lambda name: told)
    assert memory.items == {"": "Mind signs.\nThen write `return a - b` down."}
    assert all("return a * b" not in text for text in read)
    requests = assembler.note_requests(ROLLOUTS, GRADES, PROBLEMS)
    notes = assembler.notes_from(requests, ["A."] * 3, ROLLOUTS, GRADES, PROBLEMS)
    assert notes is not None
    with pytest.raises(OpsdError, match="waits to be merged"):
        assembler.teacher_contexts(ROLLOUTS, GRADES, PROBLEMS, notes)
    merges = assembler.merge_requests(notes)
    notes = assembler.merged_from(notes, merges, [told] * 4, ROLLOUTS, GRADES, PROBLEMS)
    contexts = assembler.teacher_contexts(ROLLOUTS, GRADES, PROBLEMS, notes)
    assert [c.flags for c in contexts] == [("leak:notes",)] * 6 + [()]


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"merge_prompt": "Merge {notes}."}, "lacks the slot {experience}"),
        ({"merge_prompt": "{experience} {notes} {lessons}"}, "context.notes.merge_prompt: unknown slot {lessons}"),
        ({"merge_prompt": "{experience} {notes} {problem}"}, "no slot {problem}"),
        ({"generator": "file", "file": "x.jsonl"}, "no model writes"),
        ({"kind": "hints"}, 'context.notes.kind = "hints"'),
    ],
)  # fmt: skip
def test_a_merge_that_cannot_be_is_refused_by_its_key(changes: dict[str, str], word: str) -> None:
    context = load_context("oel_merged")
    with pytest.raises(BadInput, match=r"context\.notes\.merge_prompt") as caught:
        compile_context(context.model_copy(update={"notes": context.notes.model_copy(update=changes)}))
    assert word in str(caught.value)


def test_experience_survives_a_resume_and_an_interrupted_step_is_forgotten(tmp_path: Path) -> None:
    cache = NoteCache(tmp_path)
    cache.remember("oel", 0, {"add": "first"})
    cache.remember("oel", 1, {"sub": "second", "add": "third"})
    assert cache.remembered("oel", 0) == {}
    assert cache.remembered("oel", 1) == {"add": "first"}
    assert list(cache.remembered("oel", 2).items()) == [("sub", "second"), ("add", "third")]
    cache.remember("oel", 1, {"mul": "again"})
    assert cache.remembered("oel", 2) == {"add": "first", "mul": "again"}
    cache.add("oel", 1, [{"key": "k", "text": "raw"}])
    cache.add("oel", 1, [{"key": "l", "text": "raw too"}])
    assert cache.texts("oel", 1) == {"k": "raw", "l": "raw too"}
    assert cache.texts("oel", 2) == {}
