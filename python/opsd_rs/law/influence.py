"""How far a line hangs on single points, and whether a line is the right shape.

In: a fitted line and its points. Out: Cook's distance, studentised residuals and the slope without each point; tests
of slope = 1 and of curvature. The closed forms are those of statsmodels' ``get_influence``, which the tests compare.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from opsd_rs.base import t_two_sided

if TYPE_CHECKING:
    from opsd_rs.law.regression import Line


@dataclass(frozen=True, slots=True)
class Influence:
    """What one point does to a line; None where the point alone determines the slope, or too few are left.

    >>> Influence(cook=0.2, studentised=-1.1, outlier_p=0.8, loo_slope=1.4).loo_slope
    1.4
    """

    cook: float | None
    studentised: float | None
    """Residual over its error by the line through the others (externally studentised)."""
    outlier_p: float | None
    """Two-sided, t on n - 3, times n (Bonferroni), at most 1."""
    loo_slope: float | None
    """The slope of the line through the others."""


def influences(line: Line, x_n: ArrayLike) -> list[Influence]:
    """The influence of each point of ``line``, in the points' order."""
    n, sse = line.n, line.residual_sd**2 * line.df
    found = []
    for x, leverage, residual in zip(
        np.asarray(x_n, dtype=float).tolist(), line.leverages, line.residuals, strict=True
    ):
        if line.loo_residuals is None:
            found.append(Influence(None, None, None, None))
            continue
        left = 1 - leverage
        cook = residual**2 * leverage / (2 * line.residual_sd**2 * left**2) if sse > 0 else 0.0
        studentised = p = None
        rest = sse - residual**2 / left
        if n > 3 and rest > 1e-12 * sse:
            studentised = residual / math.sqrt(rest / (n - 3) * left)
            p = min(1.0, n * t_two_sided(studentised, n - 3))
        loo_slope = line.slope - (x - line.x_mean) * residual / (line.sxx * left)
        found.append(Influence(cook, studentised, p, loo_slope))
    return found


def slope_one(line: Line) -> dict[str, Any] | None:
    """Test of slope = 1, the student reaching its teacher: t and two-sided p; None for a line without error."""
    if line.slope_se <= 0:
        return None
    t = (line.slope - 1) / line.slope_se
    return {"t": t, "df": line.df, "p": t_two_sided(t, line.df)}


def curvature(x_n: ArrayLike, y_n: ArrayLike) -> dict[str, Any] | None:
    """F test of a quadratic term beside the line, 1 and n - 3 degrees of freedom.

    A negative coefficient is saturation: larger gaps gain less. None below four points or three different x.

    >>> curvature([0, 1, 2, 3, 4], [0, 1.1, 3.9, 9.2, 15.8])["p"] < 0.01
    True
    """
    x, y = np.asarray(x_n, dtype=np.float64), np.asarray(y_n, dtype=np.float64)
    n = len(x)
    if n < 4 or len(np.unique(x)) < 3:
        return None
    scale = float(np.abs(x - x.mean()).max())
    u = (x - x.mean()) / scale
    # The part of u^2 that a line does not explain; the coefficient of x^2 is the same as in the full fit.
    design = np.column_stack([np.ones(n), u])
    square = u**2 - design @ np.linalg.lstsq(design, u**2, rcond=None)[0]
    residuals = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
    weight = float(square @ square)
    if weight <= 1e-20:
        return None
    coefficient = float(square @ residuals) / weight
    explained = coefficient**2 * weight
    # Of the residuals, not of their difference of squares: that loses all digits of a near-perfect fit.
    left = residuals - coefficient * square
    sse = float(left @ left)
    if sse <= 0:
        return None
    f = explained / (sse / (n - 3))
    return {
        "f": f,
        "df": n - 3,
        "p": t_two_sided(math.sqrt(f), n - 3),
        "coefficient": coefficient / scale**2,
        "shape": "saturating" if coefficient < 0 else "accelerating",
    }
