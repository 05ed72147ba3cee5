"""Each estimator beside the line against a published answer, and against scipy, statsmodels and odrpack."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from odrpack import odr_fit
from opsd_rs.law.ancova import compare_lines, holm, slope_pairs
from opsd_rs.law.errors_in_variables import deming, york
from opsd_rs.law.influence import curvature, influences, slope_one
from opsd_rs.law.noise import noise_ceiling, scatter_beyond_noise
from opsd_rs.law.ranks import rank_correlations, theil_sen
from opsd_rs.law.recovered import fieller
from opsd_rs.law.regression import fit_line
from opsd_rs.law.worlds import fit_lines
from scipy import optimize, stats
from textbook import (
    ANSCOMBE,
    PEARSON_X,
    PEARSON_Y,
    PONTIUS_X,
    PONTIUS_Y,
    YORK_X_WEIGHTS,
    YORK_Y_WEIGHTS,
    X,
)


def random_points(seed: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    x = draw.uniform(-0.3, 0.4, n)
    return x, 0.8 * x + draw.normal(0, 0.05, n)


# --- influence and shape -----------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [4, 6, 15])
def test_influence_is_that_of_statsmodels_and_of_refitting(n) -> None:
    x, y = random_points(n, n)
    theirs = sm.OLS(y, sm.add_constant(x)).fit().get_influence()
    ours = influences(fit_line(x, y), x)
    assert [point.cook for point in ours] == pytest.approx(theirs.cooks_distance[0], rel=1e-9)
    assert [p.studentised for p in ours] == pytest.approx(theirs.resid_studentized_external, rel=1e-7)
    for place, point in enumerate(ours):
        keep = np.arange(n) != place
        refit = np.polyfit(x[keep], y[keep], 1)[0]
        assert point.loo_slope == pytest.approx(refit, rel=1e-8)
        expected = min(1.0, n * 2 * stats.t.sf(abs(point.studentised), n - 3))
        assert point.outlier_p == pytest.approx(expected, rel=1e-7)


def test_anscombe_iii_has_its_outlier_and_iv_no_influence() -> None:
    points = influences(fit_line(*ANSCOMBE["III"]), X)
    assert points[2].cook == pytest.approx(1.392849, abs=1e-6)
    assert points[2].studentised == pytest.approx(1203.539, abs=1e-2)
    assert points[2].loo_slope == pytest.approx(0.345390, abs=1e-6)
    assert influences(fit_line(*ANSCOMBE["IV"]), ANSCOMBE["IV"][0])[7].loo_slope is None


def test_curvature_is_certified_by_pontius_and_fires_on_anscombe_ii() -> None:
    bend = curvature(PONTIUS_X, PONTIUS_Y)
    assert bend["coefficient"] == pytest.approx(-0.316081871345029e-14, rel=1e-9)
    assert bend["f"] == pytest.approx((0.316081871345029e-14 / 0.486652849992036e-16) ** 2, rel=1e-9)
    assert (bend["df"], bend["shape"]) == (37, "saturating")
    fired = {name: curvature(*ANSCOMBE[name]) for name in ANSCOMBE}
    assert fired["II"]["p"] < 1e-20
    assert min(fired["I"]["p"], fired["III"]["p"]) > 0.4
    assert fired["IV"] is None
    assert curvature([0, 1, 2], [0, 1, 4]) is None


def test_curvature_is_the_f_test_of_nested_fits() -> None:
    x, y = random_points(3, 9)
    small = sm.OLS(y, sm.add_constant(x)).fit()
    large = sm.OLS(y, np.column_stack([np.ones(9), x, x**2])).fit()
    f, p, _ = large.compare_f_test(small)
    bend = curvature(x, y)
    assert (bend["f"], bend["p"]) == pytest.approx((f, p), rel=1e-8)


def test_slope_one_of_the_published_fits() -> None:
    """Slope 1.492 with R2 0.949 from six points differs from 1 with p 0.047."""
    x, y = random_points(1, 6)
    line = fit_line(x, y)
    theirs = sm.OLS(y, sm.add_constant(x)).fit().t_test(([[0, 1]], [1]))
    assert slope_one(line)["p"] == pytest.approx(float(theirs.pvalue), rel=1e-9)
    assert slope_one(fit_line([0, 1, 2], [0, 2, 4])) is None


# --- ranks ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_ranks_are_those_of_scipy(seed) -> None:
    x, y = random_points(seed, 6)
    y[1] = y[2]  # a tie
    found = rank_correlations(x, y)
    assert found["spearman"] == pytest.approx(stats.spearmanr(x, y).statistic)
    assert found["kendall"] == pytest.approx(stats.kendalltau(x, y).statistic)

    def spearman(a):
        return stats.spearmanr(a, y).statistic

    exact = stats.permutation_test((x,), spearman, permutation_type="pairings", n_resamples=np.inf)
    assert found["exact"]
    assert found["spearman_p"] == pytest.approx(exact.pvalue, abs=1 / 720 + 1e-9)
    theirs = theil_sen(x, y)
    scipys = stats.theilslopes(y, x)
    assert (theirs["slope"], theirs["intercept"]) == pytest.approx((scipys.slope, scipys.intercept))


def test_kendall_without_ties_has_scipy_s_exact_p() -> None:
    x, y = random_points(8, 7)
    expected = stats.kendalltau(x, y, method="exact").pvalue
    assert rank_correlations(x, y)["kendall_p"] == pytest.approx(expected)


def test_many_points_draw_the_same_orders_each_time() -> None:
    x, y = random_points(2, 12)
    found = rank_correlations(x, y)
    assert not found["exact"]
    assert found == rank_correlations(x, y)
    assert found["spearman_p"] == pytest.approx(stats.spearmanr(x, y).pvalue, abs=0.01)
    assert rank_correlations([1, 1, 1], [1, 2, 3])["spearman"] is None


@pytest.mark.parametrize("n", [12, 60, 61, 300])
def test_ranks_of_many_points_are_scipy_s(n) -> None:
    x, y = random_points(n, n)
    y = 0.1 * x + y - 0.8 * x
    method = "exact" if n <= 60 else "asymptotic"
    assert rank_correlations(x, y)["kendall_p"] == pytest.approx(
        stats.kendalltau(x, y, method=method).pvalue, rel=1e-6
    )
    y[:3] = y[3]
    assert rank_correlations(x, y)["kendall_p"] == pytest.approx(
        stats.kendalltau(x, y, method="asymptotic").pvalue, rel=1e-6
    )
    ours, theirs = theil_sen(x, y)["slope_ci95"], stats.theilslopes(y, x)
    assert ours == pytest.approx([theirs.low_slope, theirs.high_slope], abs=0.05 if n == 12 else 0.005)


def test_theil_sen_of_anscombe_iii_passes_the_outlier() -> None:
    found = theil_sen(*ANSCOMBE["III"])
    assert found["slope"] == pytest.approx(0.3456, abs=5e-5)
    low, high = found["slope_ci95"]
    assert low <= found["slope"] <= high < 0.36
    assert theil_sen([0, 1, 2, 3], [0, 1, 2, 3])["slope_ci95"] is None


# --- errors on both axes -------------------------------------------------------------------------------------


def test_york_and_deming_of_pearson_s_points() -> None:
    x_se, y_se = np.array(YORK_X_WEIGHTS) ** -0.5, np.array(YORK_Y_WEIGHTS) ** -0.5
    line = york(PEARSON_X, PEARSON_Y, x_se, y_se)
    assert line.slope == pytest.approx(-0.480533407446, abs=1e-11)
    assert line.intercept == pytest.approx(5.479910224033, abs=1e-11)
    assert (line.slope_se, line.intercept_se) == pytest.approx((0.0579850, 0.2949707), abs=5e-8)
    assert line.chi2 == pytest.approx(11.8663532, abs=5e-8)
    plain = deming(PEARSON_X, PEARSON_Y)
    assert (plain.slope, plain.intercept) == pytest.approx((-0.545561197521, 5.784043774530), abs=1e-11)


@pytest.mark.parametrize("seed", range(3))
def test_york_is_odrpack_s_line_and_deming_its_special_case(seed) -> None:
    x, y = random_points(seed, 7)
    x_se, y_se = np.full(7, 0.03), np.full(7, 0.06)

    def line(at, beta):
        return beta[0] * at + beta[1]

    theirs = odr_fit(
        line, x, y, np.array([1.0, 0.0]), weight_x=x_se**-2, weight_y=y_se**-2, task="explicit-ODR"
    )
    ours = york(x, y, x_se, y_se)
    # odrpack stops at changes of 1e-5.
    assert (ours.slope, ours.intercept) == pytest.approx(tuple(theirs.beta), rel=1e-4, abs=1e-6)
    assert deming(x, y, ratio=4.0).slope == pytest.approx(ours.slope, rel=1e-9)


def test_york_with_correlated_errors_minimises_its_own_squares() -> None:
    x, y = random_points(4, 8)
    x_se, y_se, r = np.full(8, 0.03), np.linspace(0.02, 0.07, 8), np.linspace(-0.5, 0.8, 8)

    def squares(beta):
        variance = y_se**2 + beta[0] ** 2 * x_se**2 - 2 * beta[0] * r * x_se * y_se
        return float(((y - beta[1] - beta[0] * x) ** 2 / variance).sum())

    best = optimize.minimize(
        squares, [1.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12}
    )
    ours = york(x, y, x_se, y_se, r)
    assert (ours.slope, ours.intercept) == pytest.approx(tuple(best.x), abs=1e-5)
    assert ours.chi2 == pytest.approx(best.fun, rel=1e-8)


def test_york_without_x_errors_is_the_weighted_line() -> None:
    x, y = random_points(5, 6)
    y_se = np.linspace(0.02, 0.05, 6)
    theirs = sm.WLS(y, sm.add_constant(x), weights=y_se**-2).fit()
    ours = york(x, y, [0] * 6, y_se)
    assert (ours.intercept, ours.slope) == pytest.approx(tuple(theirs.params), rel=1e-9)
    with pytest.raises(ValueError, match="an error on one axis"):
        york(x, y, [0] * 6, [0] * 6)


# --- groups --------------------------------------------------------------------------------------------------


def test_ancova_of_anscombe_and_pearson() -> None:
    found = compare_lines({"anscombe": ANSCOMBE["I"], "pearson": (PEARSON_X, PEARSON_Y)})
    known = {"slopes": (47.04084799719767, 1, 17), "coincidence": (38.793774392859625, 2, 17),
             "intercepts": (8.585779723239273, 1, 18)}  # fmt: skip
    for name, (f, df1, df2) in known.items():
        assert found[name]["f"] == pytest.approx(f, rel=1e-12)
        assert (found[name]["df1"], found[name]["df2"]) == (df1, df2)
        assert found[name]["p"] == pytest.approx(stats.f.sf(f, df1, df2), rel=1e-9)
    assert compare_lines({"one": ANSCOMBE["I"]}) is None


def test_pairs_of_slopes_are_corrected_for_their_number() -> None:
    from statsmodels.stats.multitest import multipletests

    p = [0.04, 0.001, 0.03, 0.2]
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1].tolist())
    published = {"slope": 1.492, "slope_se": 0.173, "df": 4, "synthetic": False}
    other = {"slope": 0.663, "slope_se": 0.0210, "df": 4, "synthetic": False}
    entries = {"a": published, "b": other, "c": other, "invented": published | {"synthetic": True}}
    pairs = slope_pairs(entries)
    assert [pair["pair"] for pair in pairs] == [["a", "b"], ["a", "c"], ["b", "c"]]
    assert pairs[0]["p"] == pytest.approx(0.0083, abs=1e-4)
    assert pairs[0]["p_holm"] == pytest.approx(3 * pairs[0]["p"])


# --- noise ---------------------------------------------------------------------------------------------------


def test_tau_solves_its_equation_and_is_0_where_noise_explains_all() -> None:
    x, y = random_points(7, 8)
    x_variance, y_variance = np.full(8, 0.01**2), np.linspace(0.01, 0.03, 8) ** 2
    tau = scatter_beyond_noise(x, y, x_variance, y_variance)
    assert tau > 0
    slope = fit_line(x, y).slope
    for _ in range(50):
        weights = 1 / (y_variance + slope**2 * x_variance + tau**2)
        fitted = sm.WLS(y, sm.add_constant(x), weights=weights).fit()
        slope = fitted.params[1]
    assert float(weights @ fitted.resid**2) == pytest.approx(6, rel=1e-6)
    assert scatter_beyond_noise(x, y, x_variance, y_variance + 1) == 0


def test_noise_ceiling_is_the_product_of_the_reliabilities() -> None:
    x = np.linspace(0, 0.14, 6)
    found = noise_ceiling(x, 1.5 * x, np.full(6, 0.011**2), np.full(6, 0.01**2), slope=1.5)
    reliable = 1 - 0.011**2 / x.var(ddof=1), 1 - 0.01**2 / (1.5 * x).var(ddof=1)
    assert found["r2"] == pytest.approx(reliable[0] * reliable[1])
    low, high = found["r2_band95"]
    assert low < found["r2"] < high < 1
    assert found["loo_rmse_band95"][0] < 0.022 < found["loo_rmse_band95"][1]
    assert noise_ceiling(x, 1.5 * x, np.full(6, 1.0), np.full(6, 0.01**2), slope=1.5) is None


def test_lines_of_many_draws_are_each_row_s_line() -> None:
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(2, 5, 7))
    many = fit_lines(x, y)
    for row in range(5):
        line = fit_line(x[row], y[row])
        for name in ("slope", "intercept", "r2", "loo_rmse", "loo_q2", "sxx", "x_mean", "slope_se"):
            assert getattr(many, name)[row] == pytest.approx(getattr(line, name), rel=1e-10)
        assert many.variance[row] == pytest.approx(line.residual_sd**2)
        assert many.residuals[row] == pytest.approx(line.residuals)


# --- the recovered share -------------------------------------------------------------------------------------


def test_fieller_inverts_its_test_and_is_undefined_near_0() -> None:
    low, high = fieller(0.1, 0.12, 0.01, 0.02, df=8)
    t = stats.t.ppf(0.975, 8)
    for bound in (low, high):
        assert abs(0.1 - bound * 0.12) / np.hypot(0.01, bound * 0.02) == pytest.approx(t, rel=1e-9)
    assert fieller(0.1, 0.02, 0.01, 0.02) is None
    covaried = fieller(0.1, 0.12, 0.01, 0.02, covariance=1e-4)
    assert covaried[1] - covaried[0] < high - low
