"""The page in a real browser, from the disk: it draws, filters and copies, asks nobody for anything, and runs no text
of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from opsd_rs.base import read_table
from opsd_rs.law import synthetic_table
from opsd_rs.report import write_report
from report_runs import Seen, changed, opened, started

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.samples_model, pytest.mark.slow]
HOSTILE = "</script><script>window.ran=1</script><img src=x onerror='window.ran=2'>{{7*7}}"


@pytest.fixture(scope="module")
def written(reported_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report([reported_runs, synthetic_table()], tmp_path_factory.mktemp("page") / "report.html")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with started() as found:
        yield found


@pytest.fixture(scope="module")
def seen(browser: Any, written: Path) -> Iterator[Seen]:
    with opened(browser, written, viewport={"width": 1200, "height": 900}) as found:
        found.page.wait_for_selector("#rollout pre")
        yield found


def test_it_renders_without_a_word_of_complaint_and_asks_nobody(seen: Seen, written: Path) -> None:
    assert seen.page.title() == "runs and 1 more – opsd-rs report"
    assert seen.page.locator("figure svg").count() == 8
    assert seen.page.locator("#figure-1 svg").bounding_box()["width"] > 300
    seen.page.wait_for_timeout(300)
    assert seen.complaints == []
    assert seen.requests == [written.as_uri()]


def test_rows_are_filtered_by_verdict_problem_and_step(seen: Seen, reported_runs: Path) -> None:
    rows = [
        {**row, "run": place}
        for place, name in enumerate(("feedback", "preamble"))
        for file in sorted((reported_runs / name).glob("rollouts/*.parquet"))
        for row in read_table(file)
    ]
    page = seen.page
    shown = lambda: page.locator("#count").text_content()  # noqa: E731
    assert shown() == f"{len(rows)} of {len(rows)}"
    verdict, problem = rows[0]["verdict"], rows[0]["problem_id"]
    chosen = page.locator("select[name=verdict] option", has_text=verdict).first.get_attribute("value")
    page.select_option("select[name=verdict]", chosen)
    assert shown() == f"{sum(row['verdict'] == verdict for row in rows)} of {len(rows)}"
    page.fill("input[name=problem]", problem)
    page.select_option("select[name=step]", "1")
    left = [r for r in rows if (r["verdict"], r["problem_id"], r["step"]) == (verdict, problem, 1)]
    assert shown() == f"{len(left)} of {len(rows)}"
    for name in ("verdict", "step"):
        page.select_option(f"select[name={name}]", "")
    page.fill("input[name=problem]", "no such problem")
    assert (shown(), page.locator(".row").count()) == (f"0 of {len(rows)}", 0)
    page.fill("input[name=problem]", "")


def test_a_rollout_shows_its_completion_with_heat_and_what_the_teacher_read(
    seen: Seen, reported_runs: Path
) -> None:
    rows = read_table(reported_runs / "feedback/rollouts/step-000000.parquet")
    pieces = {row["token_id"]: row["bytes"] for row in read_table(reported_runs / "feedback/tokens.parquet")}
    place = next(i for i, row in enumerate(rows) if row["has_context"])
    row, page = rows[place], seen.page
    page.locator(f".row[data-i='{place}']").click()
    page.wait_for_function(
        f"document.querySelector('#rollout h3').textContent.includes({row['problem_id']!r})"
    )
    text = lambda ids: b"".join(pieces[i] for i in ids).decode(errors="replace")  # noqa: E731
    completion, feedback, teacher, prompt = (page.locator("#rollout pre").nth(i) for i in range(4))
    assert plain(completion.text_content()) == plain(text(row["completion_ids"]))
    assert feedback.text_content() == row["feedback"]
    assert plain(prompt.text_content()) == plain(text(row["prompt_ids"]))
    (span,) = [s for s in row["teacher_spans"] if s["section"] == "feedback"]
    marked = teacher.locator("mark.feedback")
    assert marked.locator(".tag").text_content() == "feedback"
    shown = marked.text_content().removeprefix("feedback")
    assert plain(shown) == plain(text(row["teacher_prompt_ids"][span["start"] : span["end"]]))
    assert plain(row["feedback"])[:40] in plain(shown)
    tokens = completion.locator("span")
    assert tokens.count() == len(row["completion_ids"])
    hottest = max(range(tokens.count()), key=lambda i: row["token_kl"][i])
    said = float(tokens.nth(hottest).get_attribute("title").split()[0].replace("<", "0"))
    assert said == pytest.approx(row["token_kl"][hottest], rel=0.06, abs=1e-3)


def plain(text: str) -> str:
    """The tokens of a character whose bytes are in several show as one, in the last."""
    return text.replace("\ufffd", "")


def test_a_table_is_copied_as_markdown(browser: Any, written: Path) -> None:
    with opened(browser, written) as found:
        found.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        found.page.locator("#table-lines .copy").click()
        found.page.wait_for_function("document.querySelector('#table-lines .copy').textContent === 'Copied'")
        copied = found.page.evaluate("navigator.clipboard.readText()").splitlines()
    assert copied[0].startswith("| family | n | runs | slope |")
    assert copied[1].startswith("| --- | ---: | ---: |")
    assert copied[2].startswith("| synthetic (SYNTHETIC) | 5 | 15 | 1.53 |")


def test_a_figure_is_saved_on_its_own(seen: Seen) -> None:
    with seen.page.expect_download() as download:
        seen.page.locator("#figure-1 .save").click()
    text = download.value.path().read_text()
    assert download.value.suggested_filename == "figure-1.svg"
    assert "var(--" not in text
    assert "#d55e00" in text


def test_texts_of_a_run_are_shown_and_do_not_run(browser: Any, copied_runs: Path) -> None:
    """In every place that a model, a problem file or a user's context can reach."""

    def poisoned(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        texts = {"problem_id": HOSTILE, "text": HOSTILE, "feedback": HOSTILE, "verdict": HOSTILE}
        return [{**row, **texts, "context_flags": [HOSTILE], "context_status": HOSTILE} for row in rows]

    for file in (copied_runs / "feedback").glob("rollouts/*.parquet"):
        changed(file, poisoned)
    tokens = copied_runs / "feedback" / "tokens.parquet"
    changed(tokens, lambda rows: [{**row, "bytes": HOSTILE.encode()} for row in rows])
    for file in ("gap.parquet", "runs.parquet"):
        changed(
            copied_runs / "feedback" / file,
            lambda rows: [
                {**row, "context": HOSTILE, "family": HOSTILE, "base_model": HOSTILE} for row in rows
            ],
        )
    (copied_runs / "feedback").rename(copied_runs / "<script>window.ran=3<script>")
    with opened(
        browser, write_report([copied_runs], copied_runs.parent / "page.html", title=HOSTILE)
    ) as found:
        found.page.wait_for_selector("#rollout pre")
        found.page.wait_for_timeout(300)
        assert found.page.evaluate("window.ran") is None
        assert HOSTILE in found.page.locator("#rollout pre").first.text_content()
        assert found.page.locator("h1").text_content() == HOSTILE
        assert found.page.locator("#rollout img, #list img, figure img").count() == 0
        assert found.complaints == []
        assert len(found.requests) == 1


def test_rows_beyond_the_sight_do_not_exist(browser: Any, copied_runs: Path) -> None:
    file = copied_runs / "feedback/rollouts/step-000000.parquet"
    changed(file, lambda rows: [{**rows[i % 4], "sample": i} for i in range(3000)])
    with opened(browser, write_report([copied_runs / "feedback"], copied_runs.parent / "page.html")) as found:
        found.page.wait_for_selector(".row")
        assert 5 < found.page.locator(".row").count() < 60
        assert "sample 0" in found.page.locator(".row").first.text_content()
        found.page.evaluate("document.getElementById('list').scrollTop = 44 * 2500")
        found.page.wait_for_selector(".row[data-i='2500']")
        assert "sample 2500" in found.page.locator(".row[data-i='2500']").text_content()
        assert found.page.locator(".row").count() < 60
        found.page.locator("#list").press("ArrowDown")
        assert found.complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_follow_the_reader_and_a_narrow_page_stays_within_its_width(
    scheme: str, browser: Any, written: Path
) -> None:
    with opened(browser, written, color_scheme=scheme, viewport={"width": 390, "height": 800}) as found:
        style = "getComputedStyle(document.querySelector('#figure-1 text')).fill"
        ground = "getComputedStyle(document.body).backgroundColor"
        expected = {
            "light": ("rgb(28, 33, 38)", "rgb(255, 255, 255)"),
            "dark": ("rgb(230, 233, 236)", "rgb(20, 24, 28)"),
        }
        assert (found.page.evaluate(style), found.page.evaluate(ground)) == expected[scheme]
        assert found.page.evaluate("document.documentElement.scrollWidth") == 390


def test_a_run_without_heat_and_tokens_says_so(browser: Any, copied_runs: Path) -> None:
    """As a run of an earlier version left it."""
    for file in (copied_runs / "feedback").glob("rollouts/*.parquet"):
        changed(
            file,
            lambda rows: [
                {key: value for key, value in row.items() if key not in ("token_kl", "teacher_spans")}
                for row in rows
            ],
        )
    (copied_runs / "feedback" / "tokens.parquet").unlink()
    with opened(browser, write_report([copied_runs / "feedback"], copied_runs.parent / "page.html")) as found:
        found.page.wait_for_selector("#rollout pre")
        assert "no tokens.parquet" in found.page.locator("#rollout").text_content()
        assert "no tokens.parquet" in found.page.locator("#absent").text_content()
        assert found.complaints == []
