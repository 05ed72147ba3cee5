"""The page as a file: the same bytes twice, whole without a network, small, and open about what it lacks."""

from __future__ import annotations

import base64
import json
import math
import random
import re
import sys
import zlib
from pathlib import Path
from typing import Any

import polars
import pytest
from click.testing import CliRunner
from opsd_rs.base import read_table, write_table
from opsd_rs.cli import main
from opsd_rs.errors import BadInput
from opsd_rs.law import synthetic_table
from opsd_rs.report import write_report
from opsd_rs.report.rollouts import HEAT_MOST, HEAT_SCALE, heat, pack, privileged_spans
from opsd_rs.report.sources import read_sources
from opsd_rs.report.tables import tables
from report_folders import folder_of_runs
from report_runs import changed

pytest.importorskip("matplotlib")


def unpacked(text: str) -> Any:
    return json.loads(zlib.decompress(base64.b64decode(text)))


# ---- of a law, without a run ---------------------------------------------------------------------


def test_the_page_of_a_table_is_the_same_twice_and_names_no_other_place(tmp_path: Path) -> None:
    one, other = (
        write_report([synthetic_table()], tmp_path / f"{name}.html", title="T").read_bytes() for name in "ab"
    )
    assert one == other
    text = one.decode()
    assert re.findall(r"(?:src|href)=\"(?!#|data:)[^\"]*", text) == []
    assert re.findall(r"url\((?!#)[^)]*\)|@import|@font-face", text) == []
    assert set(re.findall(r"https?://[^\"'\s<]+", text)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert "default-src 'none'" in text
    assert "SYNTHETIC" in text
    assert 'id="rollouts"' not in text


def test_a_sweep_shows_every_table_and_what_no_run_has(tmp_path: Path) -> None:
    folder = folder_of_runs(tmp_path / "sweep")
    found = read_sources([folder])
    assert (len(found.runs), len(found.rows), len(found.gaps)) == (12, 12, 12)
    shown = tables(found)
    assert [table.name for table in shown.values()] == ["lines", "audits", "rivals", "points", "gaps", "runs"]
    assert len(shown["runs"].rows) == 12
    assert "stopped at" not in shown["runs"].columns
    assert "before (%)" not in shown["runs"].columns
    assert found.notes == (
        "Each of the 12 runs: no forecast.json: it was started without a law, so no predicted end is drawn.",
        "Each of the 12 runs: no rollouts/.",
    )
    stopped = folder_of_runs(tmp_path / "other", ["feedback"], stopped_at=2, gap_failed=0.2, token_kl0=0.1)
    assert "stopped at" in tables(read_sources([stopped]))["runs"].columns


def test_rows_alone_are_a_sweep_too_and_count_once(tmp_path: Path) -> None:
    """What a packed sweep brings home, beside run folders that hold the same rows."""
    folder = folder_of_runs(tmp_path / "sweep")
    rows = [row for file in sorted(folder.glob("*/runs.parquet")) for row in read_table(file)]
    write_table(folder / "runs.parquet", rows)
    assert len(read_sources([folder]).rows) == 12
    (tmp_path / "alone").mkdir()
    write_table(tmp_path / "alone" / "runs.parquet", rows)
    found = read_sources([tmp_path / "alone"])
    assert (len(found.runs), len(found.rows)) == (0, 12)
    assert found.law is not None
    write_report([tmp_path / "alone"], tmp_path / "alone.html")


def test_too_few_runs_of_one_model_leave_another_s_line(tmp_path: Path) -> None:
    found = read_sources([folder_of_runs(tmp_path / "few", ["feedback"]), synthetic_table()])
    assert found.law is not None
    assert list(found.law["families"]) == ["synthetic"]
    assert any("No line" in note and "family m has 1" in note for note in found.notes)


@pytest.mark.parametrize(("module", "extra"), [("jinja2", "report"), ("matplotlib", "report")])
def test_without_its_libraries_the_extra_is_named(
    module: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    done = CliRunner().invoke(main, ["report", str(synthetic_table()), "-o", str(tmp_path / "r.html")])
    assert done.exit_code == 2
    assert f"pip install opsd-rs[{extra}]" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "r.html").exists()


def test_a_folder_that_holds_nothing_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"holds no run \(config\.json\)"):
        write_report([tmp_path], tmp_path / "r.html")
    (tmp_path / "x.txt").write_text("x")
    with pytest.raises(BadInput, match=r"x\.txt: give run folders"):
        write_report([tmp_path / "x.txt"], tmp_path / "r.html")


# ---- heat ----------------------------------------------------------------------------------------


def test_a_byte_of_heat_is_within_two_per_cent() -> None:
    for exponent in range(-20, 14):
        value = 10 ** (exponent / 10)
        (byte,) = heat([value])
        back = HEAT_SCALE * math.expm1(byte / 255 * math.log1p(HEAT_MOST / HEAT_SCALE))
        assert back == pytest.approx(min(value, HEAT_MOST), rel=0.02, abs=1e-3), value


def test_marks_end_where_the_privileged_text_does() -> None:
    """Also where it begins or ends with the very tokens that stand around the student's statement."""
    student = [1, 70, 71, 72, 46, 2]  # head, statement of four tokens, tail
    sections = [{"section": "prompt", "start": 4, "end": 8}, {"section": "notes", "start": 9, "end": 11}]
    teacher = [1, 70, 46, 10, 70, 71, 72, 46, 10, 50, 46, 60, 46, 2]
    assert privileged_spans(student, teacher, sections) == [
        ("template", 1, 4), ("template", 8, 9), ("notes", 9, 11), ("template", 11, 13),
    ]  # fmt: skip
    assert privileged_spans(student, student, [{"section": "prompt", "start": 1, "end": 5}]) == []


# ---- of real runs --------------------------------------------------------------------------------


@pytest.mark.samples_model
@pytest.mark.slow
def test_real_runs_read_back_to_the_token(reported_runs: Path, tmp_path: Path) -> None:
    found = read_sources([reported_runs])
    packed = pack(found.runs)
    pieces = [piece.encode("latin-1") for piece in unpacked(packed.pieces)]
    assert packed.notes == ()
    files = [file for run in found.runs for file in run.rollouts]
    assert len(packed.parts) == len(files) == 4
    for part, file, run in zip(packed.parts, files, (0, 0, 1, 1), strict=True):
        table = {
            row["token_id"]: row["bytes"] for row in read_table(found.runs[run].folder / "tokens.parquet")
        }
        content = unpacked(part)
        for row, shown in zip(read_table(file), content["rows"], strict=True):
            spell = lambda ids, table=table: b"".join(table[i] for i in ids)  # noqa: E731
            for name, ids in (("prompt", row["prompt_ids"]), ("teacher", row["teacher_prompt_ids"])):
                assert b"".join(pieces[i] for i in content["prompts"][shown[name]]) == spell(ids)
            assert b"".join(pieces[i] for i in shown["completion"]) == spell(row["completion_ids"])
            assert (shown["heat"] is None) == (row["token_kl"] is None)
            # Unmarked is what the student read, but for white space that became one token with the template's.
            unmarked, at = [], 0
            for _, start, end in shown["spans"]:
                assert at <= start < end
                unmarked += row["teacher_prompt_ids"][at:start]
                at = end
            unmarked += row["teacher_prompt_ids"][at:]
            assert spell(unmarked).split() == spell(row["prompt_ids"]).split()
    one, other = (write_report([reported_runs], tmp_path / name, title="T").read_bytes() for name in "ab")
    assert one == other


@pytest.mark.samples_model
@pytest.mark.slow
def test_more_rollouts_than_wanted_are_left_out_by_whole_steps_and_said(reported_runs: Path) -> None:
    packed = pack(read_sources([reported_runs]).runs, most=8)
    assert len(packed.parts) == 2
    assert packed.index["run"] == [0] * 4 + [1] * 4
    assert packed.index["step"] == [0] * 4 + [1] * 4
    assert "2 of the 4 steps are left out of the browser" in packed.notes[0]


@pytest.mark.samples_model
@pytest.mark.slow
def test_runs_of_earlier_versions_say_what_they_lack(copied_runs: Path) -> None:
    def older(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{k: v for k, v in row.items() if k not in ("token_kl", "teacher_spans")} for row in rows]

    for file in copied_runs.glob("*/rollouts/*.parquet"):
        changed(file, older)
    config = json.loads((copied_runs / "feedback/config.json").read_text())
    del config["log"]["token_kl"]
    (copied_runs / "feedback/config.json").write_text(json.dumps(config))
    packed = pack(read_sources([copied_runs]).runs)
    assert packed.notes == (
        "feedback: made before log.token_kl, so completions have no heat.",
        "preamble: no token's divergence was kept (log.token_kl off, or nothing trained).",
    )


@pytest.mark.slow
def test_ten_thousand_rollouts_of_300_tokens_fit_into_40_mib(tmp_path: Path) -> None:
    """Of a real vocabulary's words in random order, which pack worse than any text."""
    run, drawn = folder_of_runs(tmp_path / "sweep", ["feedback"]) / "run-0-0", random.Random(0)
    write_table(run / "tokens.parquet", [{"token_id": i, "bytes": f" w{i}".encode()} for i in range(49_152)])
    for step in range(40):
        prompts = [[drawn.randrange(49_152) for _ in range(150)] for _ in range(32)]
        rows = [
            {
                "step": step, "problem_id": f"p{i // 8}", "sample": i % 8, "text": "", "truncated": False,
                "passed": True, "verdict": "accepted", "feedback": "x" * 200, "context_status": "peer",
                "context_flags": [],
                "prompt_ids": prompts[i // 8], "teacher_prompt_ids": prompts[i // 8] + [5] * 300,
                "completion_ids": [min(49_151, int(drawn.expovariate(1 / 3000))) for _ in range(300)],
                "token_kl": [drawn.expovariate(5) for _ in range(300)], "teacher_spans": [],
            }
            for i in range(250)
        ]  # fmt: skip
        (run / "rollouts").mkdir(exist_ok=True)
        polars.DataFrame(rows).write_parquet(run / "rollouts" / f"step-{step:06d}.parquet")
    page = write_report([run], tmp_path / "page.html")
    size = page.stat().st_size / 2**20
    assert '"run":' in page.read_text()
    assert size < 40, size
