"""Notes in a run: asked of a real engine once, kept, written by the weights that were named, remembered over steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny_models
import torch
from opsd_rs.base import Clock, Progress, Ranks, read_lines
from opsd_rs.config import Config, load_context
from opsd_rs.context import Assembler
from opsd_rs.problems import ProblemSet
from opsd_rs.records import Grade, Problem, Rollout
from opsd_rs.rollout import HFEngine, Sampler
from opsd_rs.training import Session
from opsd_rs.training.notes import write_notes

pytestmark = pytest.mark.samples_model

PROBLEMS = {name: Problem(name, f"Write {name}.", (), solution=f"{name} = 1") for name in ("add", "sub")}
ROLLOUTS = [Rollout(name, 0, (1,), (5, 2), (0.0, 0.0), f"try {name}", False, 0) for name in PROBLEMS]
GRADES = [Grade(name, 0, False, "wrong_answer", (), f"said of {name}") for name in PROBLEMS]


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.tiny(tmp_path_factory.mktemp("tiny"), "llama")


def make_session(model_dir: Path, run_dir: Path, name: str, **notes: Any) -> Session:
    """A session with a real sampler; nothing here trains or grades."""
    context = load_context(name)
    context = context.model_copy(
        update={"notes": context.notes.model_copy(update={"max_tokens": 8, **notes})}
    )
    config = Config.model_validate({"model": {"path": str(model_dir), "dtype": "float32"}})
    cpu = torch.device("cpu")
    engine = HFEngine(model_dir, dtype="float32", device=cpu, max_model_len=1024, max_num_seqs=8)
    assembler = Assembler(model_dir, context, max_context_tokens=900)
    clock = Clock()
    return Session(
        config=config, run_dir=run_dir, model_dir=str(model_dir), device=cpu, ranks=Ranks(), clock=clock,
        progress=Progress(run_dir, clock, speak=False), environment=None,  # type: ignore[arg-type]
        problem_set=ProblemSet(list(PROBLEMS.values()), list(PROBLEMS.values()), [], len(PROBLEMS), {}), left_out={},
        assembler=assembler, sampler=Sampler(engine, assembler.decode, run_seed=0, ranks=Ranks()),
    )  # fmt: skip


def texts(session: Session, step: int, **options: Any) -> dict[tuple[str, int], str]:
    notes = write_notes(session, session.assembler, ROLLOUTS, GRADES, PROBLEMS, step, **options)
    assert notes is not None
    return {row: note.text for row, note in notes.by_row.items()}


def test_a_note_is_asked_for_once(model_dir: Path, tmp_path: Path) -> None:
    session = make_session(model_dir, tmp_path, "erl")
    first = texts(session, 0)
    assert list(first) == [("add", 0), ("sub", 0)]
    lines = read_lines(tmp_path / "notes" / "erl-000000.jsonl")
    assert [(line["problem_id"], line["kind"]) for line in lines] == [
        ("add", "reflection"),
        ("sub", "reflection"),
    ]
    session.sampler = None  # type: ignore[assignment]  # whoever asks it again fails
    assert texts(session, 0) == first
    with pytest.raises(AttributeError):
        texts(session, 1)  # other weights may write otherwise


def test_the_named_weights_write(model_dir: Path, tmp_path: Path) -> None:
    at_first = texts(make_session(model_dir, tmp_path / "a", "erl"), 0)
    torch.manual_seed(1)
    for generator in ("initial", "current"):
        session = make_session(model_dir, tmp_path / generator, "erl", generator=generator)
        engine = session.sampler.engine
        model = engine._model  # type: ignore[attr-defined]
        engine.load([(n, torch.randn_like(p)) for n, p in model.named_parameters()], 1)
        assert (texts(session, 3) == at_first) == (generator == "initial")
        assert engine.version == (2 if generator == "initial" else 1)


def test_notes_are_as_long_and_as_random_as_asked(model_dir: Path, tmp_path: Path) -> None:
    def written(name: str, context: str = "erl", **notes: Any) -> list[dict[str, Any]]:
        texts(make_session(model_dir, tmp_path / name, context, **notes), 0)
        return read_lines(tmp_path / name / "notes" / f"{context}-000000.jsonl")

    def tokens(lines: list[dict[str, Any]], kind: str) -> int:
        words = make_session(model_dir, tmp_path / "w", "erl").assembler.chat.tokenizer
        return max(
            len(words.encode(line["text"], add_special_tokens=False))
            for line in lines
            if line["kind"] == kind
        )

    short, long = written("short", max_tokens=3), written("long", max_tokens=12)
    assert tokens(short, "reflection") < tokens(long, "reflection")
    cold, again, warm = (
        [line["text"] for line in written(name, temperature=heat)]
        for name, heat in (("cold", 0.0), ("again", 0.0), ("warm", 5.0))
    )
    assert cold == again != warm
    merged = {size: written(f"merge-{size}", "oel_merged", merge_tokens=size) for size in (3, 14)}
    assert tokens(merged[3], "merge") < tokens(merged[14], "merge")


def test_experience_is_remembered_in_training_and_not_by_the_gap(model_dir: Path, tmp_path: Path) -> None:
    session = make_session(model_dir, tmp_path, "oel")
    path = tmp_path / "notes" / "oel-memory.jsonl"
    texts(session, 0, remember=False)
    assert not path.exists()
    for step in (0, 1, 1):  # step 1 is done again after a kill
        session.contexts(session.assembler, ROLLOUTS, GRADES, PROBLEMS, step)
    assert [(line["step"], line["problem_id"]) for line in read_lines(path)] == [
        (0, "add"), (0, "sub"), (1, "add"), (1, "sub"),
    ]  # fmt: skip


def test_the_small_model_merges_its_experience_over_the_steps_of_a_run(smollm2: Path, tmp_path: Path) -> None:
    session = make_session(smollm2, tmp_path, "oel_merged", max_tokens=8, merge_tokens=12)

    def step(number: int) -> tuple[list[str], list[tuple[str, str]]]:
        """What the rows read, and the (kind, problem) of every text that was kept."""
        contexts = session.contexts(session.assembler, ROLLOUTS, GRADES, PROBLEMS, number)
        lines = read_lines(tmp_path / "notes" / f"oel_merged-{number:06d}.jsonl")
        read = [session.assembler.chat.text_of(c.prompt_ids) for c in contexts]
        return read, [(line["kind"], line["problem_id"]) for line in lines]

    lessons = [("experience", "add"), ("experience", "sub")]
    _, written = step(0)
    assert written == [*lessons, ("merge", "")]  # one text about another problem needs no merging
    read, written = step(1)
    assert written == [*lessons, ("merge", ""), ("merge", "add"), ("merge", "sub")]
    memory = read_lines(tmp_path / "notes" / "oel_merged-memory.jsonl")
    assert [(line["step"], line["problem_id"]) for line in memory] == [(0, ""), (1, "")]
    texts = {
        line["problem_id"]: line["text"] for line in read_lines(tmp_path / "notes/oel_merged-000001.jsonl")
    }
    for text, name in zip(read, PROBLEMS, strict=True):
        assert f"wrong):\n\n{texts[name].strip()}\n\n---\nWrite {name}." in text
    assert memory[1]["text"] == texts[""].strip()
    session.sampler = None  # type: ignore[assignment]  # whoever asks it again fails
    assert step(1) == (read, written)
    assert read_lines(tmp_path / "notes" / "oel_merged-memory.jsonl") == memory
