"""The tables of docs/performance.md say what the measurements under benches/results say."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
spec = importlib.util.spec_from_file_location("performance_tables", ROOT / "tools" / "performance_tables.py")
assert spec is not None
assert spec.loader is not None
tables: Any = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tables)

DOCUMENT = tables.DOCUMENT.read_text(encoding="utf-8")


def test_tables_are_those_of_the_measurements() -> None:
    assert tables.written(DOCUMENT, tables.RESULTS) == DOCUMENT, "run python tools/performance_tables.py"
    assert {match[1] for match in tables.MARKED.finditer(DOCUMENT)} == set(tables.TABLES)


def other(value: Any) -> Any:
    """Other figures and another day."""
    if isinstance(value, dict):
        return {key: "1970-01-01" if key == "date" else other(inner) for key, inner in value.items()}
    return value * 1.5 + 1 if isinstance(value, float) else value


@pytest.mark.parametrize("name", tables.TABLES)
def test_a_figure_that_changes_is_noticed(name: str, tmp_path: Path) -> None:
    """In the results: every table shows something of the file that it is made from."""
    file = tables.TABLES[name].file
    for source in tables.RESULTS.iterdir():
        (tmp_path / source.name).write_bytes(source.read_bytes())
    rows = [other(row) for row in tables.read(tables.RESULTS / file)]
    (tmp_path / file).write_text("".join(json.dumps(row) + "\n" for row in rows))
    marked = f"<!-- table {name} -->\n<!-- end -->"
    assert tables.written(marked, tmp_path) != tables.written(marked, tables.RESULTS)


def test_a_table_that_is_edited_is_noticed() -> None:
    assert "x), " in DOCUMENT
    edited = DOCUMENT.replace(" x), ", " x),  ", 1)
    assert tables.written(edited, tables.RESULTS) == DOCUMENT != edited


def test_every_measurement_keeps_its_repeats_and_its_machine() -> None:
    for source in tables.RESULTS.glob("*.jsonl"):
        wanted = {"date", "commit", "command"} | ({"torch"} if source.name != "report.jsonl" else set())
        for row in tables.read(source):
            assert wanted <= set(row.get("about", row)), source.name
            if "all_ms" in row:
                assert min(row["all_ms"]) <= row["ms"] <= max(row["all_ms"])


def test_an_unknown_table_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="table nothing is unknown"):
        tables.written("<!-- table nothing -->\n<!-- end -->", tmp_path)
