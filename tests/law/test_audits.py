"""Audits: each fires on data made to fail it, and is silent or undecided on data that are not."""

from __future__ import annotations

import math

import numpy as np
import pytest
from click.testing import CliRunner
from law_tables import GAINS, GAPS, only, rows, write
from opsd_rs.cli import main
from opsd_rs.errors import BadInput
from opsd_rs.law import fit_tables, format_checks, format_table, synthetic_table
from textbook import ANSCOMBE


def audits(tmp_path, records) -> dict:
    return only(fit_tables([write(tmp_path / "runs.parquet", records)]))["audits"]


def points(name: str, scale: float = 0.02) -> list[dict]:
    x, y = ANSCOMBE[name]
    return rows(gaps=[scale * value for value in x], gains=[scale * value for value in y])


def test_anscombe_s_quartet(tmp_path) -> None:
    found = {name: audits(tmp_path, points(name)) for name in ANSCOMBE}
    assert {name: (a["curvature"]["ok"], a["outlier"]["ok"], a["influence"]["ok"]) for name, a in found.items()} == {
        "I": (True, True, True), "II": (False, True, True), "III": (True, False, True), "IV": (None, None, False),
    }  # fmt: skip
    assert "m/2" in found["III"]["outlier"]["said"]
    assert "m/7 alone determines the slope" in found["IV"]["influence"]["said"]


def test_r2_better_than_noise_allows(tmp_path) -> None:
    exact = rows(gains=[1.5 * gap for gap in GAPS], gap_se=0.011, improvement_se=0.011)
    found = audits(tmp_path, exact)["noise_ceiling"]
    assert found["ok"] is False
    assert "better than noise allows" in found["said"]
    assert audits(tmp_path, rows(gap_se=0.011, improvement_se=0.011))["noise_ceiling"]["ok"] is True
    assert audits(tmp_path, rows())["noise_ceiling"]["ok"] is None


def test_attenuation_is_seen_by_york(tmp_path) -> None:
    draw = np.random.default_rng(1)
    true = np.linspace(0, 0.05, 60)
    noisy = rows(
        gaps=(true + draw.normal(0, 0.012, 60)).tolist(),
        gains=(1.5 * true + draw.normal(0, 0.01, 60)).tolist(),
        gap_se=0.012,
        improvement_se=0.01,
    )
    entry = only(fit_tables([write(tmp_path / "runs.csv", noisy)]))
    assert entry["audits"]["attenuation"]["ok"] is False
    assert entry["slope"] < 1.3 < entry["slope_corrected"]
    assert entry["york"]["slope"] > entry["slope"]
    assert entry["slope_corrected"] == pytest.approx(entry["slope"] / entry["gap_reliability"])


def test_the_control_s_gap(tmp_path) -> None:
    def found(gap: float) -> dict:
        none = {"family": "m", "config_id": "m/none", "context": "none", "gap": gap, "improvement": 0.0}
        return audits(tmp_path, [*rows(gap_se=0.01), none | {"gap_se": 0.01}])["control"]

    assert found(0.02)["ok"] is True
    assert found(-0.04)["ok"] is False
    assert audits(tmp_path, rows(gap_se=0.01))["control"]["ok"] is None


# --- baselines -----------------------------------------------------------------------------------------------


def bases(shared: bool, seed: int = 0, n: int = 8, effect: float = 0.0) -> list[dict]:
    """Sizes whose true gap and gain are ``effect``; each measured its student once (shared) or twice."""
    draw = np.random.default_rng(seed)
    records = []
    for size in range(n):
        level = 0.2 + 0.05 * size
        s, t, v1 = draw.normal([level, level + effect, level + effect], 0.03)
        v0 = s if shared else draw.normal(level, 0.03)
        records.append(
            {"family": "m", "config_id": f"m/{size}B", "base_model": f"m-{size}B", "acc_student_gap": s,
             "acc_teacher": t, "gap": t - s, "gap_se": 0.01, "acc_val0": v0, "acc_val1": v1, "improvement": v1 - v0,
             "size_b": float(size + 1)}
        )  # fmt: skip
    return records


def test_a_student_measured_once_for_both_differences_is_flagged(tmp_path) -> None:
    flagged = audits(tmp_path, bases(shared=True))["reused_baseline"]
    assert flagged["ok"] is False
    assert flagged["value"] == 1.0
    assert "slope of about 0.5" in flagged["said"]
    assert audits(tmp_path, bases(shared=False))["reused_baseline"]["ok"] is True
    assert audits(tmp_path, rows())["reused_baseline"]["ok"] is None


def test_york_takes_the_coupling_of_shared_samples_into_account(tmp_path) -> None:
    """Without an effect least squares finds a slope; with the correlation of the errors York finds about 0."""
    errors = {"gap_se": 0.03 * 2**0.5, "improvement_se": 0.03 * 2**0.5, "acc_student_gap_se": 0.03}
    draw = np.random.default_rng(5)
    records = [
        record | errors | {"acc_teacher": record["acc_teacher"] + shift, "gap": record["gap"] + shift}
        for record, shift in zip(bases(shared=True, n=400), draw.normal(0, 0.05, 400), strict=True)
    ]
    entry = only(fit_tables([write(tmp_path / "coupled.parquet", records)]))
    assert entry["audits"]["reused_baseline"]["ok"] is False
    assert entry["slope"] == pytest.approx(0.03**2 / (2 * 0.03**2 + 0.05**2), abs=0.06)
    assert entry["york"]["slope"] == pytest.approx(0, abs=0.1)


def test_f_by_t_and_s_tells_the_law_from_constants(tmp_path) -> None:
    """Teacher and outcome the same for every size: the differences alone make a line, the accuracies show none."""
    constant = []
    for place, record in enumerate(bases(shared=False, n=8)):
        noise = 0.004 * math.sin(7 * place)
        t, v1 = 0.6 + 0.003 * math.cos(5 * place), 0.62 + noise
        gap, gain = t - record["acc_student_gap"], v1 - record["acc_val0"]
        constant.append(record | {"acc_teacher": t, "acc_val1": v1, "gap": gap, "improvement": gain})
    entry = only(fit_tables([write(tmp_path / "constant.parquet", constant)]))
    assert entry["r2"] > 0.8
    assert entry["audits"]["teacher_and_student"]["ok"] is False
    law = []
    for place, record in enumerate(bases(shared=False, n=8)):
        gap = 0.02 * (place % 4) + 0.01
        s = 0.2 + 0.05 * place
        law.append(
            record | {"acc_student_gap": s, "acc_teacher": s + gap, "gap": gap, "acc_val0": s,
                      "improvement": 1.5 * gap + 0.002 * math.sin(9 * place),
                      "acc_val1": s + 1.5 * gap + 0.002 * math.sin(9 * place)}
        )  # fmt: skip
    found = audits(tmp_path, law)["teacher_and_student"]
    assert found["ok"] is True
    assert found["value"]["beta_teacher"] == pytest.approx(1.5, abs=0.2)
    assert found["value"]["sum"] == pytest.approx(1, abs=0.02)
    one_base = [record | {"acc_student_gap": 0.3, "acc_teacher": 0.3 + record["gap"]} for record in law]
    assert audits(tmp_path, one_base)["teacher_and_student"]["ok"] is None


def seeds_table(shared: bool) -> list[dict]:
    draw = np.random.default_rng(3)
    common = {seed: draw.normal(0.3, 0.01) for seed in range(3)}
    table = []
    for i, (gap, gain) in enumerate(zip(GAPS, GAINS, strict=True)):
        for seed in range(3):
            v0 = common[seed] if shared else draw.normal(0.3, 0.01)
            table.append(
                {"family": "m", "config_id": f"m/{i}", "seed": seed, "gap": gap, "gap_se": 0.01, "acc_val0": v0,
                 "acc_val1": v0 + gain, "improvement": gain + draw.normal(0, 0.01), "improvement_se": 0.014,
                 "acc_student_gap": 0.31 if shared else 0.31 + 0.01 * i, "acc_teacher": 0.31 + gap}
            )  # fmt: skip
    return table


def test_shared_baselines_widen_the_intercept_and_leave_the_slope(tmp_path) -> None:
    shared = only(fit_tables([write(tmp_path / "shared.parquet", seeds_table(True))]))
    split = only(fit_tables([write(tmp_path / "split.parquet", seeds_table(False))]))
    found = shared["shared_baseline"]
    assert (found["improvement"], found["gap"]) == (True, True)
    low, high = shared["intercept_ci95"]
    assert high - low > 2.776445 * 2 * shared["intercept_se"]
    assert found["slope_se2"] == 0
    assert found["intercept_se2"] == pytest.approx(found["offset_se2"]) == pytest.approx(shared["offset_se2"])
    assert shared["audits"]["shared_baseline"]["ok"] is True
    assert "which its interval has" in shared["audits"]["shared_baseline"]["said"]
    assert (split["shared_baseline"]["improvement"], split["shared_baseline"]["gap"]) == (False, False)
    low, high = split["intercept_ci95"]
    assert high - low == pytest.approx(2 * 2.7764451052 * split["intercept_se"])


def test_the_offset_is_the_baselines_error_over_seeds(tmp_path) -> None:
    table = [row | {"acc_val0_se": 0.011, "acc_student_gap_se": 0.008} for row in seeds_table(True)]
    entry = only(fit_tables([write(tmp_path / "known.parquet", table)]))
    expected = 0.011**2 / 3 + entry["slope"] ** 2 * 0.008**2
    assert entry["offset_se2"] == pytest.approx(expected)
    assert entry["shared_baseline"]["gap_se2"] == pytest.approx(0.008**2)
    unknown = [{key: v for key, v in row.items() if not key.endswith("_se")} for row in seeds_table(True)]
    found = only(fit_tables([write(tmp_path / "unknown.parquet", unknown)]))
    assert found["audits"]["shared_baseline"]["ok"] is False
    assert "too narrow" in found["audits"]["shared_baseline"]["said"]


def test_baseline_ids_say_who_shares(tmp_path) -> None:
    own = [row | {"baseline_id": f"{row['config_id']}-{row['seed']}"} for row in seeds_table(True)]
    assert only(fit_tables([write(tmp_path / "own.csv", own)]))["shared_baseline"]["improvement"] is False
    same = [row | {"baseline_id": "one"} for row in seeds_table(False)]
    assert only(fit_tables([write(tmp_path / "same.csv", same)]))["shared_baseline"]["improvement"] is True


# --- rows that stay out, groups, rivals --------------------------------------------------------------------


def test_stopped_runs_are_left_out_and_named(tmp_path) -> None:
    records = [record | {"run_id": f"r{i}", "stopped_at": None} for i, record in enumerate(rows())]
    records[2]["stopped_at"] = 24
    entry = only(fit_tables([write(tmp_path / "runs.parquet", records)]))
    assert entry["n"] == 5
    assert "left out, stopped before their horizon: r2 (at step 24)" in entry["notes"]
    for record in records[:4]:
        record["stopped_at"] = 10
    with pytest.raises(
        BadInput, match=r"2 configuration\(s\).*left out, stopped before their horizon: r0 \(at step 10\)"
    ):
        fit_tables([write(tmp_path / "few.parquet", records)])


def test_grouping_by_size_and_context(tmp_path) -> None:
    records = [
        record | {"config_id": f"{size}/{i}", "size_b": size, "context": f"c{i}", "base_model": f"m{size}"}
        for size in (1.5, 7.0, 8.0)
        for i, record in enumerate(
            rows(gains=[gain * (1 + size / 50) for gain in GAINS], gaps=[g + size / 99 for g in GAPS])
        )
    ]
    table = write(tmp_path / "runs.parquet", records)
    assert list(fit_tables([table], by="size")["families"]) == ["m, 1.5", "m, 7.0", "m, 8.0"]
    by_context = fit_tables([table], by="context")
    assert list(by_context["families"]) == [f"c{i}" for i in range(6)]
    assert by_context["families"]["c3"]["n"] == 3
    whole = fit_tables([table])["families"]["m"]
    assert [row["left_out"] for row in whole["leave_one_size_out"]] == ["1.5B", "7B", "8B"]
    with pytest.raises(BadInput, match="--by recipe: run m/0 has no recipe_id"):
        fit_tables([write(tmp_path / "plain.csv", rows())], by="recipe")


def test_families_are_left_out_whole(tmp_path) -> None:
    one = rows("a")
    two = rows("b", gains=[gain + 0.1 for gain in GAINS])
    fit = fit_tables([write(tmp_path / "two.csv", one + two)])
    (first, second) = fit["leave_one_family_out"]
    assert (first["left_out"], first["n"], first["fitted_on"]) == ("a", 6, 6)
    assert first["bias"] == pytest.approx(-0.1)
    assert second["bias"] == pytest.approx(0.1)
    assert 0 <= first["inside95"] < 0.5
    assert fit["ancova"]["slopes"]["p"] == pytest.approx(1)
    assert fit["ancova"]["coincidence"]["p"] < 0.01
    text = "\n".join(format_table(fit))
    assert "all families: one slope p 1, one line p" in text
    assert "left out a: its 6 points by the line of 6 others: RMSE 10" in text


def test_rivals_stand_beside_the_gap(tmp_path) -> None:
    records = [
        record | {"gap_failed": 0.9 * record["gap"] + (0.01 if i % 2 else -0.01), "token_kl0": 0.1 * i,
                  "acc_teacher": 0.3 + record["gap"], "acc_student_gap": 0.3, "mine": 3.0 - i * i, "note": "x"}
        for i, record in enumerate(rows())
    ]  # fmt: skip
    records[0]["token_kl0"] = None
    table = write(tmp_path / "runs.parquet", records)
    entry = only(fit_tables([table], predictors=["mine"]))
    found = {row["predictor"]: row for row in entry["rivals"]}
    assert list(found) == ["gap", "gap_failed", "token_kl0", "acc_teacher", "p(1-p)", "mine"]
    assert found["gap"]["loo_rmse"] == pytest.approx(entry["loo_rmse"])
    assert found["acc_teacher"]["r2"] == pytest.approx(entry["r2"])
    assert found["gap_failed"]["loo_q2"] < found["gap"]["loo_q2"]
    assert found["token_kl0"]["n"] == 5
    assert found["token_kl0"]["gap_loo_rmse"] != pytest.approx(entry["loo_rmse"])
    assert (found["p(1-p)"]["slope"], found["p(1-p)"]["said"]) == (None, "the same in all configurations")
    assert any(line.split()[0] == "predictor" for line in format_table(fit_tables([table])))
    with pytest.raises(BadInput, match="--predictor absent: no fitted run has a number"):
        fit_tables([table], predictors=["absent"])
    with pytest.raises(BadInput, match="--predictor note: 'x' in m/0 is not a number"):
        fit_tables([table], predictors=["note"])


def test_the_recovered_share_of_each_configuration(tmp_path) -> None:
    entry = only(fit_tables([write(tmp_path / "r.csv", rows(gap_se=0.01, improvement_se=0.01))]))
    shares = [(point["pgr"], point["pgr_ci95"]) for point in entry["configs"]]
    assert shares[0] == (None, None)  # a gap of 0
    assert shares[5][0] == pytest.approx(GAINS[5] / GAPS[5])
    assert shares[5][1][0] < shares[5][0] < shares[5][1][1]


# --- the command -----------------------------------------------------------------------------------------------


def test_strict_exits_with_4_and_names_the_audit(tmp_path) -> None:
    bent = str(write(tmp_path / "bent.csv", points("II")))
    for command in ("fit", "check"):
        plain = CliRunner().invoke(main, ["law", command, bent])
        assert plain.exit_code == 0
        strict = CliRunner().invoke(main, ["law", command, bent, "--strict"])
        assert strict.exit_code == 4
        assert "error: audit failed: m: curvature" in strict.stderr
        assert CliRunner().invoke(main, ["law", command, str(synthetic_table()), "--strict"]).exit_code == 0
        bad = CliRunner().invoke(main, ["law", command, str(tmp_path / "absent.csv"), "--strict"])
        assert bad.exit_code == 2
    assert "FAILED curvature" in plain.stdout
    assert "curvature failed: quadratic term" in CliRunner().invoke(main, ["law", "fit", bent]).stdout


def test_check_prints_a_line_per_audit() -> None:
    fit = fit_tables([synthetic_table()])
    lines = format_checks(fit)
    assert len(lines) == 1 + len(only(fit)["audits"])
    done = CliRunner().invoke(main, ["law", "check", str(synthetic_table()), "--format", "json"])
    assert '"noise_ceiling"' in done.stdout
