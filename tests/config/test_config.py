"""The configuration: every shipped file loads, merging keeps its rules, errors name the line and the fix."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from opsd_rs.config import (
    Config,
    config_names,
    key_reference,
    load_config,
    load_context,
    resolve,
    resolved_json,
    split_arguments,
    to_toml,
)
from opsd_rs.config.faults import ConfigFaults
from opsd_rs.config.files import CONFIGS
from opsd_rs.config.keys import keys
from opsd_rs.config.text import dotted_values, explain_key
from opsd_rs.errors import BadInput

ROOT = Path(__file__).parents[2]
CONTROL = "control.mask=one"  # the default context is the control; this keeps its warning out of the way


def write(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def faults(sources: list[str], *overrides: str) -> list[str]:
    with pytest.raises(ConfigFaults) as caught:
        resolve(sources, overrides)
    return list(caught.value.faults)


# ---- what is shipped ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", config_names())
def test_every_shipped_file_loads(name: str) -> None:
    config = resolve([name]).config
    if name.startswith("contexts/"):
        assert config.context.name == name.removeprefix("contexts/")


@pytest.mark.parametrize("name", [name for name in config_names() if not name.startswith("contexts/")])
def test_shipped_runs_have_no_warnings(name: str) -> None:
    assert resolve([name]).warnings == ()


def test_the_names_that_scripts_rely_on_exist() -> None:
    paper = {f"paper/{model}" for model in ("qwen3-0.6b", "qwen3-1.7b", "qwen3-4b", "qwen3-8b", "olmo3-7b")}
    contexts = {
        f"contexts/{name}"
        for name in (
            "none",
            "expert_preamble",
            "feedback",
            "llm_peer_hints",
            "own_solution_feedback",
            "peer_solution_feedback",
        )
    }
    assert paper | contexts | {"demo", "smoke", "reference"} <= set(config_names())


TABLE_2: dict[str, Any] = {
    "train.prompts_per_step": 32,
    "train.mini_batch_prompts": 1,
    "optim.lr": 1e-6,
    "optim.betas": [0.9, 0.999],
    "optim.weight_decay": 0.01,
    "optim.clip": 1.0,
    "rollout.n": 8,
    "rollout.temperature": 1.0,
    "rollout.top_p": 1.0,
    "rollout.max_prompt_tokens": 2048,
    "rollout.max_tokens": 32768,
    "model.enable_thinking": False,
    "eval.n": 4,
    "eval.temperature": 0.6,
    "eval.top_p": 0.95,
    "loss.kind": "reverse_kl",
    "loss.topk": 20,
    "teacher.kind": "ema",
    "teacher.rate": 0.01,
    "train.num_steps": 50,
    "problems.date_from": "2025-02-01",
    "problems.date_to": "2025-05-01",
    "problems.split": "sdpo",
}


@pytest.mark.parametrize("name", config_names("paper"))
def test_paper_files_hold_table_2_themselves(name: str) -> None:
    resolved = resolve([name])
    found = dotted_values(resolved.config)
    assert {key: found[key] for key in TABLE_2} == TABLE_2
    # Written in the file, not inherited from a default that may change.
    assert [key for key in TABLE_2 if not resolved.origins.get(key, "").startswith("configs/paper/")] == []


def test_paper_files_differ_only_in_model_and_memory() -> None:
    trees = [dotted_values(resolve([name]).config) for name in config_names("paper")]
    differing = {key for key in trees[0] if len({json.dumps(tree[key]) for tree in trees}) > 1}
    assert differing <= {"run.dir", "model.path", "deepspeed.stage"}
    assert len({tree["model.path"] for tree in trees}) == 5


# ---- merging --------------------------------------------------------------------------------------


def test_files_merge_left_to_right_and_overrides_come_last(tmp_path: Path) -> None:
    first = write(tmp_path, "a.toml", "seed = 1\n[rollout]\nn = 2\ntemperature = 0.5\n")
    second = write(tmp_path, "b.toml", "[rollout]\nn = 3\n[optim]\nlr = 1e-3\n")
    resolved = resolve([first, second], ["optim.lr=2e-6", CONTROL])
    config = resolved.config
    assert (config.seed, config.rollout.n, config.rollout.temperature, config.optim.lr) == (1, 3, 0.5, 2e-6)
    assert resolved.origins["rollout.n"] == f"{second}:2"
    assert resolved.origins["rollout.temperature"] == f"{first}:4"
    assert resolved.origins["optim.lr"] == "argument optim.lr=2e-6"
    assert "eval.n" not in resolved.origins


def test_words_with_an_equals_sign_are_overrides() -> None:
    assert split_arguments(["demo", "seed=3", "a/b.toml"]) == (["demo", "a/b.toml"], ["seed=3"])


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("rollout.n=3", "rollout.n", 3),
        ("optim.lr=1e-5", "optim.lr", 1e-5),
        ("optim.lr=1", "optim.lr", 1.0),
        ("rollout.engine=hf", "rollout.engine", "hf"),
        ('rollout.engine="hf"', "rollout.engine", "hf"),
        ("rollout.enforce_eager=true", "rollout.enforce_eager", True),
        ("optim.betas=[0.9, 0.95]", "optim.betas", [0.9, 0.95]),
        ("model.path=7", "model.path", "7"),
        ("model.path=/m/a b", "model.path", "/m/a b"),
        ("problems.date_from=2025-02-01", "problems.date_from", "2025-02-01"),
        ("gap.contexts=none,feedback", "gap.contexts", ["none", "feedback"]),
        ("gap.contexts=feedback", "gap.contexts", ["feedback"]),
        ("run.dir=runs/2025", "run.dir", "runs/2025"),
        ("loss.topk=none", "loss.topk", None),
        ("run.config_id=none", "run.config_id", None),
        ("rollout={n = 5}", "rollout.n", 5),
    ],
)
def test_overrides_are_toml_or_text(override: str, key: str, value: Any) -> None:
    assert dotted_values(resolve([], [override, CONTROL]).config)[key] == value


def test_none_unsets_only_what_may_be_unset(tmp_path: Path) -> None:
    path = write(tmp_path, "a.toml", '[loss]\ntopk = "none"\nis_clip = "none"\n')
    config = load_config([path], [CONTROL])
    assert (config.loss.topk, config.loss.is_clip, config.loss.rollout_is_clip) == (None, None, 2.0)
    (fault,) = faults([], "rollout.n=none")
    assert "rollout.n" in fault


def test_dates_in_files_may_be_toml_dates(tmp_path: Path) -> None:
    path = write(tmp_path, "a.toml", "[problems]\ndate_from = 2025-02-01\n")
    assert load_config([path], [CONTROL]).problems.date_from == "2025-02-01"


# ---- contexts -------------------------------------------------------------------------------------


def test_a_context_name_stands_for_its_table(tmp_path: Path) -> None:
    path = write(tmp_path, "a.toml", 'context = "feedback"\n')
    assert load_config([path]).context == load_context("feedback")
    assert load_config([], ["context=feedback"]).context == load_context("feedback")
    assert load_config(["contexts/feedback"]).context == load_context("feedback")


def test_a_later_context_replaces_and_never_mixes(tmp_path: Path) -> None:
    write(tmp_path, "one.toml", '[context]\nname = "one"\nstatic = true\npreamble = "Think."\n')
    write(tmp_path, "two.toml", '[context]\nname = "two"\nsolution = "peer"\n')
    path = write(tmp_path, "a.toml", 'context = "one.toml"\n')  # relative to a.toml
    assert load_config([path]).context.preamble == "Think."
    for later in ([path, str(tmp_path / "two.toml")], [path]):
        overrides = [] if len(later) == 2 else [f"context={tmp_path / 'two.toml'}"]
        context = load_config(later, overrides).context
        assert (context.name, context.solution, context.static, context.preamble) == (
            "two",
            "peer",
            False,
            "",
        )


def test_a_nameless_context_table_amends(tmp_path: Path) -> None:
    path = write(tmp_path, "a.toml", "[context]\nstrip_think = false\n")
    config = load_config(["contexts/feedback", path])
    assert config.context == load_context("feedback").model_copy(update={"strip_think": False})
    assert load_config(["contexts/feedback"], ["context.strip_think=false"]).context == config.context


def test_a_missing_context_names_who_asked_and_near_names(tmp_path: Path) -> None:
    path = write(tmp_path, "a.toml", 'seed = 1\ncontext = "fedback"\n')
    with pytest.raises(BadInput, match=r"a\.toml:2: .*did you mean contexts/feedback"):
        load_config([path])


def test_a_context_file_with_other_tables_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "c.toml", '[context]\nname = "c"\n[optim]\nlr = 1.0\n')
    with pytest.raises(BadInput, match=r"c\.toml: a context file holds one \[context\] table"):
        load_config([], [f"context={path}"])


# ---- faults ---------------------------------------------------------------------------------------


def test_all_faults_at_once_with_file_line_and_mend(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "a.toml",
        'seed = 0\n\n[rollout] # the sampler\ntempurature = 0.7\nn = "8"\n[optim]\nbetas = [0.9]\n'
        "[evla]\nn = 1\n",
    )
    found = faults([path], "lr=3", "train.num_steps=-1", "eval=4")
    assert len(found) == 7
    assert f"{path}:4: rollout.tempurature is not a key; did you mean rollout.temperature" in "\n".join(found)
    assert any(
        line.startswith(f"{path}:5: rollout.n must be a valid integer") and '"8"' in line for line in found
    )
    assert any(line.startswith(f"{path}:7: optim.betas") for line in found)
    assert any(line.startswith(f"{path}:9: evla is not a key; did you mean eval") for line in found)
    assert "argument lr=3: lr is not a key; did you mean optim.lr?" in found
    assert any(line.startswith("argument train.num_steps=-1: train.num_steps must be") for line in found)
    assert "argument eval=4: eval is a table; write [eval] or eval.key = value" in found


def test_strict_types(tmp_path: Path) -> None:
    for text in ('lr = "1e-6"', "lr = true"):
        (fault,) = faults([write(tmp_path, "a.toml", f"[optim]\n{text}\n")])
        assert "a.toml:2: optim.lr" in fault


def test_not_toml_names_file_and_line(tmp_path: Path) -> None:
    path = write(tmp_path, "a.toml", "seed = 1\nrollout.n = = 2\n")
    with pytest.raises(BadInput, match=r"a\.toml: not TOML: .*line 2"):
        load_config([path])


@pytest.mark.parametrize(
    ("source", "near"),
    [("paper/qwen-8b", "paper/qwen3-8b"), ("refrence", "reference"), ("configs/demo.tml", "built-in names")],
)
def test_missing_names_suggest_near_ones(source: str, near: str) -> None:
    with pytest.raises(BadInput, match=near):
        load_config([source])


def test_missing_paths_suggest_their_neighbours(tmp_path: Path) -> None:
    write(tmp_path, "mine.toml", "")
    with pytest.raises(BadInput, match=r"no such file; did you mean .*mine\.toml"):
        load_config([str(tmp_path / "mien.toml")])
    with pytest.raises(BadInput, match="did you mean the built-in demo"):
        load_config([str(tmp_path / "elsewhere/demo.toml")])


@pytest.mark.parametrize(
    ("overrides", "key", "fix"),
    [
        (["train.prompts_per_step=8", "train.mini_batch_prompts=3"], "train.mini_batch_prompts", "divide"),
        (["train.prompts_per_step=2", "train.mini_batch_prompts=4"], "train.mini_batch_prompts", "more than"),
        (["deepspeed.stage=0"], "deepspeed.stage", "fp32 partitions"),
        (["deepspeed.stage=4"], "deepspeed.stage", "use 1, 2 or 3"),
        (["rollout.top_p=0.9"], "rollout.top_p", "loss.rollout_is_clip"),
        (["loss.old=sampler"], "loss.old", 'loss.rollout_is_clip = "none"'),
        (["rollout.top_p=0.9", "loss.old=sampler", "loss.rollout_is_clip=none"], "rollout.top_p", "loss.old"),
        (["model.compile=true", "deepspeed.stage=3"], "model.compile", "use stage 1 or 2"),
        (["model.keep_attention=true"], "model.keep_attention", "model.gradient_checkpointing"),
        (["loss.kind=jsd", "loss.jsd_alpha=1.0"], "loss.jsd_alpha", "reverse_kl"),
        (["teacher.max_context_tokens=100"], "teacher.max_context_tokens", "never cut"),
        (["problems.date_from=2025-2-1"], "problems.date_from", "ISO"),
        (["problems.date_from=2025-05-01", "problems.date_to=2025-02-01"], "problems.date_to", "after"),
        (["eval.problems=held_out"], "eval.problems", "problems.held_out"),
        (["optim.betas=[0.9, 1.0]"], "optim.betas", "[0, 1)"),
        (["rollout.n=8", "gap.n=12"], "gap.n", "not a multiple of rollout.n = 8"),
        (["rollout.n=8", "gap.n=4"], "gap.n", "take 16"),
        (["gap.from=nowhere/gap.parquet"], "gap.from", "no such file; `opsd-rs gap` writes one"),
        (["eval.from=nowhere/eval.parquet"], "eval.from", "no such file; `opsd-rs train` writes one"),
    ],
)
def test_rules_between_keys(overrides: list[str], key: str, fix: str) -> None:
    (fault,) = faults([], CONTROL, *overrides)
    assert f": {key} = " in fault
    assert fix in fault


def test_a_key_of_an_earlier_version_names_its_successor(tmp_path: Path) -> None:
    (fault,) = faults([], CONTROL, "train.micro_batch_rows=4")
    assert "train.micro_batch_rows is no longer a key: train.micro_batch_tokens replaces it" in fault
    of_a_run = tmp_path / "config.json"
    of_a_run.write_text('{"train": {"micro_batch_rows": 4, "num_steps": 3}}')
    assert load_config([str(of_a_run)], [CONTROL]).train.num_steps == 3


def test_a_cut_distribution_is_allowed_without_the_ratio() -> None:
    assert load_config([], ["rollout.top_p=0.9", "loss.rollout_is_clip=none", CONTROL]).rollout.top_p == 0.9


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        (["teacher.rate=0.99", CONTROL], "teacher.rate"),
        (["context=peer_solution_feedback", "rollout.n=1"], "rollout.n"),
        (["context=none"], "control.mask"),
        (["eval.temperature=0", CONTROL], "eval.n"),
    ],
)
def test_unlikely_values_are_warned_of(
    overrides: list[str], key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (warning,) = resolve([], overrides).warnings
    assert f"{key} = " in warning
    load_config([], overrides)
    assert capsys.readouterr().err == f"warning: {warning}\n"


# ---- texts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", config_names())
def test_json_and_toml_bring_the_same_tree_back(name: str, tmp_path: Path) -> None:
    resolved = resolve([name], ["loss.topk=none"])
    written = write(tmp_path, "config.json", resolved_json(resolved.config))
    assert resolve([written]).config == resolved.config
    shown = write(tmp_path, "shown.toml", to_toml(resolved))
    assert resolve([shown]).config == resolved.config


def test_json_uses_the_words_of_the_files(tmp_path: Path) -> None:
    table = write(tmp_path, "x.parquet", "")
    text = resolved_json(load_config([], [f"gap.from={table}", CONTROL]))
    assert json.loads(text)["gap"]["from"] == table
    wrong = write(tmp_path, "config.json", text.replace('"from": "', '"form": "'))
    with pytest.raises(BadInput, match=r"config\.json: gap\.form is not a key"):
        load_config([wrong])


def test_a_run_folder_of_an_earlier_version_still_loads(tmp_path: Path) -> None:
    """It began before the rules of today: another gap.n, tables that may be gone, the seed moving the split."""
    tree = json.loads(resolved_json(load_config(["demo"], ["seed=3"])))
    del tree["problems"]["split_seed"]
    tree["gap"] |= {"n": 6, "from": "gone/gap.parquet"}
    tree["eval"]["from"] = "gone/eval.parquet"
    path = write(tmp_path, "config.json", json.dumps(tree))
    config = load_config([path])
    assert (config.problems.split_seed, config.gap.n, config.num_gap_groups) == (3, 6, 2)
    (fault,) = faults([path], "gap.from=nowhere.parquet")
    assert "argument gap.from" in fault
    assert load_config([write(tmp_path, "new.json", resolved_json(config))]).problems.split_seed == 3
    assert load_config(["demo"], ["seed=3"]).problems.split_seed == 0


def test_the_gap_has_two_groups_unless_told_otherwise() -> None:
    counts = {n: load_config([], [*n, CONTROL]).num_gap_groups for n in [(), ("gap.n=8",), ("gap.n=32",)]}
    assert counts == {(): 2, ("gap.n=8",): 1, ("gap.n=32",): 4}
    assert load_config([], ["rollout.n=3", "gap.n=none", CONTROL]).num_gap_groups == 2


def test_why_says_who_set_a_key() -> None:
    resolved = resolve(["paper/qwen3-8b"], ["optim.lr=2e-6"])
    assert explain_key(resolved, "optim.lr") == "optim.lr = 2e-06 # argument optim.lr=2e-6"
    (bound,) = [
        line for line in explain_key(resolved, "teacher").splitlines() if "max_context_tokens" in line
    ]
    path, line = bound.partition(" # ")[2].split(":")
    assert (
        "max_context_tokens = 10240" in (ROOT / path).read_text(encoding="utf-8").splitlines()[int(line) - 1]
    )
    assert explain_key(resolved, "rollout.kv_cache_gib") == "rollout.kv_cache_gib = 1 # default"
    with pytest.raises(BadInput, match=r"did you mean optim\.lr"):
        explain_key(resolved, "optim.lrr")


def test_the_page_of_keys_is_what_the_tree_says() -> None:
    page = (ROOT / "docs/config.md").read_text(encoding="utf-8")
    assert page == key_reference(), "write it again: opsd-rs config keys --format markdown > docs/config.md"


def test_keys_cover_the_tree() -> None:
    assert list(keys()) == sorted(keys(), key=list(dotted_values(Config())).index)


def test_configs_in_the_checkout_are_those_of_the_package() -> None:
    assert (ROOT / "configs").resolve() == CONFIGS.resolve()
