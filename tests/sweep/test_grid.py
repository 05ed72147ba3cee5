"""A grid's file: what is refused, in which words, and which runs in which order a grid stands for."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner
from opsd_rs.cli import main
from opsd_rs.config import load_config
from opsd_rs.errors import BadInput
from opsd_rs.sweep import load_grid, sweep_cells
from opsd_rs.sweep.cells import cells_of
from opsd_rs.sweep.shared import measurements_of

ROOT = Path(__file__).parents[2]
GRID = 'out = "sw"\nbase = ["smoke"]\ncontexts = ["none", "feedback"]\n'


def written(folder: Path, text: str) -> Path:
    path = folder / "grid.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (GRID + "seedz = [1]\n", "4: seedz is not a key; did you mean seeds?"),
        (
            GRID + "[shared]\nbase_line = true\n",
            "5: shared.base_line is not a key; did you mean shared.baseline?",
        ),
        ('out = "sw"\n', "1: contexts is missing"),
        (GRID + 'seeds = ["one"]\n', "4: seeds must be a valid integer"),
        (GRID + "seeds = [1, 2, 1]\n", "4: seeds: 1 is named 2 times"),
        (GRID + "seeds = []\n", "4: seeds: there is none"),
        (GRID + "per_gpu = 0\n", "4: per_gpu must be greater than or equal to 1"),
        (GRID + 'models = ["a/m", "b/m"]\n', "4: models: 2 are called m, by which runs are told apart"),
        (GRID + "models = 3\n", "4: models must be a list of names, or a table"),
        (GRID + '[recipes]\n"a b" = []\n', '5: recipes: "a b" names folders'),
        (GRID + '[recipes]\na = ["optim.lr"]\n', '5: recipes.a: "optim.lr" is not key=value'),
        (GRID + '[recipes]\na = ["seed=3"]\n', '5: recipes.a: "seed=3": seeds = [...] of the grid sets it'),
        (GRID + 'set = ["run.dir=x"]\n', '4: set: "run.dir=x": runs live below the grid\'s out'),
        (GRID + '[blocks]\nA = ["none"]\n', "4: blocks: feedback is in 0 blocks; every context is in one"),
        (GRID + '[blocks]\nA = ["none", "fedback"]\nB = ["feedback"]\n', "did you mean feedback?"),
        (GRID + 'keep = "some"\n', "4: keep must be 'all', 'model' or 'rows'"),
        ("out = \n", "not TOML"),
        (GRID + 'skip_by_law = "nowhere/law.json"\n', "nowhere/law.json: no such file"),
    ],
)
def test_what_is_wrong_is_one_line_with_its_place(tmp_path: Path, text: str, fault: str) -> None:
    path = written(tmp_path, text)
    done = CliRunner().invoke(main, ["sweep", str(path), "--dry-run"])
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {path}:")
    assert fault in line


def test_all_faults_come_at_once(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as raised:
        load_grid(written(tmp_path, GRID + 'seedz = [1]\nkeep = "x"\n'))
    assert len(str(raised.value).splitlines()) == 2
    with pytest.raises(BadInput, match=r"no such file; docs/sweep\.md shows a grid"):
        load_grid(tmp_path / "nowhere.toml")


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (
            'set = ["optim.lrr=1"]',
            "run model.base.none.s0: argument optim.lrr=1: optim.lrr is not a key; did you mean",
        ),
        (
            'models = ["m"]\n[recipes]\nodd = ["gap.n=3"]',
            "run m.odd.none.s0: argument gap.n=3: gap.n = 3 is not a",
        ),
        ('contexts = ["nun"]', "run model.base.nun.s0: argument context=nun: contexts/nun: no built-in"),
        ('base = ["mine.toml"]', "run model.base.none.s0: "),
    ],
)
def test_a_configuration_that_cannot_be_is_named_with_its_run(tmp_path: Path, words: str, fault: str) -> None:
    (tmp_path / "mine.toml").write_text('[run]\nconfig_id = "one"\n')
    kept = [line for line in GRID.splitlines() if line.split()[0] not in words]
    with pytest.raises(BadInput) as raised:
        sweep_cells(written(tmp_path, "\n".join([*kept, words, ""])))
    assert str(raised.value).startswith(fault)


def test_lists_and_tables_of_names_and_the_order_of_the_runs(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "mine.toml").write_text(
        '[context]\nname = "other"\nstatic = true\ntemplate = "{prompt}!"\n'
    )
    text = """
out = "sw"
base = ["smoke"]
contexts = ["none", "own/mine.toml", "feedback"]
seeds = [3, 1]
[models]
small = ["model.path=here/m1", "problems.limit=2"]
"m2" = []
[recipes]
base = []
fast = ["optim.lr=0.5"]
[blocks]
B = ["feedback"]
A = ["none", "mine"]
"""
    rows = sweep_cells(written(tmp_path, text))
    assert [row["run"] for row in rows[:4]] == [
        "small.base.feedback.s3", "small.fast.feedback.s3", "m2.base.feedback.s3", "m2.fast.feedback.s3"
    ]  # fmt: skip
    assert [row["run"] for row in rows[4:12]] == [
        *(f"{m}.{r}.feedback.s1" for m in ("small", "m2") for r in ("base", "fast")),
        "small.base.none.s3", "small.base.mine.s3", "small.fast.none.s3", "small.fast.mine.s3",
    ]  # fmt: skip
    assert len(rows) == 3 * 2 * 2 * 2
    assert {row["model"] for row in rows} == {"here/m1", "m2"}
    assert {row["context"] for row in rows} == {"none", "other", "feedback"}
    cells, _ = cells_of(load_grid(tmp_path / "grid.toml"), tmp_path / "grid.toml")
    assert {(cell.model, cell.config.problems.limit) for cell in cells} == {("small", 2), ("m2", 4)}
    assert {(cell.recipe, cell.config.optim.lr) for cell in cells} == {("base", 2e-5), ("fast", 0.5)}


def test_a_kept_configuration_is_the_run_s(tmp_path: Path) -> None:
    grid = load_grid(written(tmp_path, GRID))
    for cell in cells_of(grid, tmp_path / "grid.toml")[0]:
        path = tmp_path / "kept.toml"
        path.write_text(cell.toml)
        assert load_config([str(path)]) == cell.config


SHARING = (
    GRID
    + """
seeds = [0, 1]
[recipes]
base = []
"""
)


@pytest.mark.parametrize(
    ("recipe", "baselines", "gaps"),
    [
        ("optim.lr=0.5", 1, 1), ("train.num_steps=9", 1, 1), ("control.mask=one", 1, 1), ("teacher.rate=0.5", 1, 1),
        ("loss.kind=forward_kl", 1, 1), ("eval.n=8", 2, 1), ("eval.seed=7", 2, 1), ("gap.n=8", 1, 2),
        ("gap.seed=7", 1, 2), ("rollout.temperature=0.5", 1, 2), ("rollout.max_tokens=64", 2, 2),
        ("problems.limit=3", 2, 2), ("grader.feedback=lcb", 2, 2), ("gap.seed=none", 1, 3),
        ("model.dtype=float32", 2, 2),
    ],
)  # fmt: skip
def test_what_is_measured_once(tmp_path: Path, recipe: str, baselines: int, gaps: int) -> None:
    """One baseline and one gap for two seeds and a recipe, and another where the recipe changes what is measured."""
    path = written(tmp_path, SHARING + f'other = ["{recipe}"]\n')
    grid = load_grid(path)
    found = [measured.kind for measured in measurements_of(grid, cells_of(grid, path)[0])]
    assert (found.count("baseline"), found.count("gap")) == (baselines, gaps)


def test_a_built_in_grid_has_a_name() -> None:
    done = CliRunner().invoke(main, ["sweep", "demo", "--dry-run", "--format", "json"])
    assert done.exit_code == 0
    assert len(json.loads(done.stdout)) == 8
    other = CliRunner().invoke(main, ["sweep", "dmo", "--dry-run"])
    assert (other.exit_code, other.stderr) == (
        2,
        "error: dmo: no built-in grid of this name; did you mean demo?\n",
    )


def test_nothing_is_shared_that_a_grid_does_not_share(tmp_path: Path) -> None:
    path = written(tmp_path, GRID + "[shared]\ngap = false\nseed = 5\n")
    grid = load_grid(path)
    cells, _ = cells_of(grid, path)
    assert [measured.kind for measured in measurements_of(grid, cells)] == ["baseline"]
    assert {(cell.config.gap.seed, cell.config.eval.seed) for cell in cells} == {(None, 5)}


@pytest.mark.parametrize("name", ["configs/sweeps/demo.toml", "benches/sweep_gpu.toml"])
def test_the_grids_that_come_with_it_are_whole(name: str) -> None:
    path = ROOT / ("python/opsd_rs" if name.startswith("configs") else "") / name
    assert len(sweep_cells(path)) >= 4
    page = (ROOT / "docs/sweep.md").read_text()
    if name.startswith("configs"):  # what the other one is for, benches/sweep.py says
        assert path.read_text().strip() in page, "the page shows this grid"


def test_every_key_of_a_grid_is_on_its_page() -> None:
    from opsd_rs.sweep.grid import Grid, SharedConfig

    page = (ROOT / "docs/sweep.md").read_text()
    for name in (
        *(set(Grid.model_fields) - {"shared"}),
        *(f"shared.{key}" for key in SharedConfig.model_fields),
    ):
        assert f"| `{name}` |" in page, name
    assert tomllib.loads(GRID)["out"] == "sw"
