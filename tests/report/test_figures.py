"""Figures by name: what each needs and says, the same bytes every time, and one look per context."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from law_tables import rows, write
from opsd_rs.base import write_table
from opsd_rs.cli import main
from opsd_rs.drawing import LOOKS, context_label, context_looks, svg_element
from opsd_rs.drawing.looks import SPARE
from opsd_rs.errors import BadInput
from opsd_rs.law import fit_tables, save
from opsd_rs.report import write_report
from opsd_rs.report.figures import FIGURES, draw, write_figure
from opsd_rs.report.missing import Missing
from opsd_rs.report.page import DARK, GROUND, SERIES
from opsd_rs.report.sources import Sources, read_sources
from report_folders import folder_of_runs

pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Sources:
    return read_sources([folder_of_runs(tmp_path_factory.mktemp("sweep"))])


SAYS = {
    "1": (
        "m n = 5 from 10 runs",
        "Vertical bars: ±1 SD over seeds",
        "Hollow, and left out of the fit: the control",
    ),
    "2": ("mean over n runs", "±1 SD over seeds", "No run holds a forecast"),
    "loo": ("m n = 5", "±1 SD over seeds"),
    "forest": ("n = 1", "95 % t interval"),
    "gap": ("n = 12 measured gaps", "±1 conditional standard error"),
    "power": ("n = 12 gaps", "m n = 5"),
    "curves": ("n = 12", "no bars"),
    "timeline": ("n = 24 steps of 6 runs", "wall seconds", "Left out of this figure: 6 runs"),
}
"""What a caption must say of bars and numbers."""


@pytest.mark.parametrize("name", SAYS)
def test_each_figure_says_its_bars_and_its_n_and_is_the_same_twice(
    name: str, sources: Sources, tmp_path: Path
) -> None:
    caption = draw(name, sources).caption
    assert [said for said in SAYS[name] if said not in caption] == []
    written = [write_figure(name, sources.inputs, tmp_path / f"{turn}") for turn in "ab"]
    assert [path.suffix for path in written[0]] == [".svg", ".png"]
    for one, other in zip(*written, strict=True):
        assert one.read_bytes() == other.read_bytes()
    alone = write_figure(name, sources.inputs, tmp_path / "alone.svg", caption=False)
    assert len(alone[0].read_text()) < len(written[0][0].read_text())


def test_a_predicted_end_is_drawn_where_the_run_holds_one(tmp_path: Path) -> None:
    folder = folder_of_runs(tmp_path / "s", ["feedback"])
    forecast = {"forecast_final": 0.5, "pi80": [0.4, 0.6], "pi95": [0.3, 1.2], "acc_val0": 0.2}
    (folder / "run-0-0" / "forecast.json").write_text(json.dumps(forecast))
    drawing = draw("2", read_sources([folder]))
    assert "80 % (thick) and 95 % interval" in drawing.caption
    (panel,) = drawing.figure.axes
    ends = [line.get_ydata().tolist() for line in panel.lines if set(line.get_xdata()) == {4 * 1.03}]
    assert ends == [[30.0, 100.0], [40.0, 60.0], [50.0]]


def test_sizes_need_two_models_and_get_a_line_from_three(tmp_path: Path) -> None:
    with pytest.raises(Missing, match=r"two model sizes or more under one context; here is 0\.135 B"):
        draw("3", read_sources([folder_of_runs(tmp_path / "one")]))
    for place, size in enumerate((0.6, 1.7, 4.0)):
        gap = {"gap": 0.05 * (place + 1), "improvement": 0.07 * (place + 1), "size_b": size}
        ids = {"run_id": f"r{size}", "family": f"m{size}", "config_id": f"m{size}"}
        write_table(tmp_path / f"runs-{size}.parquet", [{"context": "feedback", **ids, **gap}])
    drawing = draw("3", read_sources(sorted(tmp_path.glob("runs-*.parquet"))))
    assert "n = 3 sizes, 3 runs" in drawing.caption
    assert "slope 1.40" in drawing.caption


def test_a_law_alone_is_enough_for_its_own_figures(tmp_path: Path) -> None:
    save(fit_tables([write(tmp_path / "t.csv", rows("$a_<b>&"))]), tmp_path / "law.json")
    found = read_sources([tmp_path / "law.json"])
    for name in ("1", "loo", "forest", "power"):
        svg = svg_element(draw(name, found), f"f{name}", GROUND)
        assert "<b>" not in svg
    for name in ("2", "gap", "curves", "timeline"):
        with pytest.raises(Missing):
            draw(name, found)


def test_a_page_s_figure_has_the_page_s_colours_and_ids_of_its_own(sources: Sources) -> None:
    names = GROUND | {colour: f"--s-{colour[1:]}" for colour in SERIES}
    svg = svg_element(draw("1", sources), "f1", names)
    assert "#" not in "".join(part.split('"')[0] for part in svg.split('style="')[1:]).replace("url(#f1-", "")
    assert 'id="f1-' in svg
    assert 'id="figure_1"' not in svg
    assert "var(--s-d55e00)" in svg
    assert set(DARK) <= {*SERIES}


def test_every_context_has_one_look_and_no_two_share_one() -> None:
    looks = context_looks([*LOOKS, *(f"own-{i}" for i in range(20))])
    assert len(set(looks.values())) == len(looks)
    assert looks["none"].hollow
    assert sum(look.hollow for look in looks.values()) == 1
    assert context_looks(["feedback"])["feedback"] == looks["feedback"]
    assert not set(SPARE) & set(LOOKS.values())
    assert context_label("x" * 99).endswith("…")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nine", "SWEEP", "-o", "f.svg"], "nine: no figure of that name; there are 1, 2, 3, loo"),
        (["1", "SWEEP", "-o", "f.gif"], "f.gif: a figure is .svg, .png, .pdf"),
        (["1", "nowhere", "-o", "f.svg"], "nowhere: no such file or folder"),
        (["3", "SWEEP", "-o", "f.svg"], "two model sizes or more"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(
    words: list[str], said: str, sources: Sources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [str(sources.inputs[0]) if word == "SWEEP" else word for word in words]
    done = CliRunner().invoke(main, ["figure", *words])
    assert done.exit_code == 2
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_the_command_writes_what_the_suffix_says(sources: Sources, tmp_path: Path) -> None:
    for suffix, head in ((".svg", b"<?xml"), (".png", b"\x89PNG"), (".pdf", b"%PDF")):
        done = CliRunner().invoke(
            main, ["figure", "gap", str(sources.inputs[0]), "-o", str(tmp_path / f"f{suffix}")]
        )
        assert done.exit_code == 0, done.stderr
        assert (tmp_path / f"f{suffix}").read_bytes().startswith(head)
    assert set(FIGURES) == {*SAYS, "3"}
    said = " ".join(CliRunner().invoke(main, ["figure", "--help"]).output.split())
    assert ", ".join(FIGURES) in said


def test_laws_stand_side_by_side_also_without_their_points(tmp_path: Path) -> None:
    """As entries that others published: a slope with its interval and no more."""
    for name in "ab":
        save(fit_tables([write(tmp_path / "t.csv", rows())]), tmp_path / f"{name}.json")
    law = json.loads((tmp_path / "b.json").read_text())
    kept = ("slope", "slope_se", "slope_ci95", "r2", "n", "df", "num_runs", "synthetic", "notes")
    entry = {name: value if name in kept else None for name, value in law["families"]["m"].items()}
    (tmp_path / "b.json").write_text(json.dumps({"families": {"m": entry | {"configs": []}}}))
    found = read_sources([tmp_path / "a.json", tmp_path / "b.json"])
    assert found.law is not None
    assert list(found.law["families"]) == ["m", "m (b)"]
    assert "n = 2;" in draw("forest", found).caption
    assert "m n = 6 from 6 runs" in draw("1", found).caption
    alone = read_sources([tmp_path / "b.json"])
    for name in ("1", "loo"):
        with pytest.raises(Missing):
            draw(name, alone)
    page = write_report([tmp_path / "b.json"], tmp_path / "page.html").read_text()
    assert "Not drawn: figure 1: the law does not hold its points." in page


def test_a_file_that_is_no_law_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(BadInput, match=r"a\.json: is no law"):
        read_sources([tmp_path / "a.json"])
