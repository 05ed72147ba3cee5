"""Lines through many drawn data sets at once: what the noise ceiling, the bootstrap and the simulation studies share.

In: arrays of x and y, one row per draw. Out: the figures of each row's line. The tests compare each figure with
``regression.fit_line`` row by row.
"""

# Shapes: W draws, n points of a line.

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Lines:
    """Least squares in every row; all (W,) but the residuals (W, n). Rows whose x are all equal hold nan."""

    n: int
    slope: Floats
    intercept: Floats
    x_mean: Floats
    sxx: Floats
    variance: Floats
    """SSE / (n - 2)."""
    residuals: Floats
    r2: Floats
    loo_rmse: Floats
    loo_q2: Floats

    @property
    def slope_se(self) -> Floats:
        """(W,)"""
        return np.sqrt(self.variance / self.sxx)

    def leverage(self, x_W: Floats | float) -> Floats:
        """1/n + (x - mean)^2 / Sxx, (W,)."""
        return 1 / self.n + (x_W - self.x_mean) ** 2 / self.sxx


def fit_lines(x_Wn: Floats, y_Wn: Floats) -> Lines:
    """The line of each row.

    >>> fit_lines(np.array([[0.0, 1, 2, 3]]), np.array([[1.0, 3, 5, 8]])).slope.round(12)
    array([2.3])
    """
    x, y = np.broadcast_arrays(np.asarray(x_Wn, np.float64), np.asarray(y_Wn, np.float64))
    n = x.shape[1]
    x_mean, y_mean = x.mean(axis=1), y.mean(axis=1)
    dx, dy = x - x_mean[:, None], y - y_mean[:, None]
    sxx, sst = (dx**2).sum(axis=1), (dy**2).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = (dx * dy).sum(axis=1) / sxx
        residuals = dy - slope[:, None] * dx
        sse = (residuals**2).sum(axis=1)
        press = ((residuals / (1 - 1 / n - dx**2 / sxx[:, None])) ** 2).sum(axis=1)
        return Lines(
            n=n,
            slope=slope,
            intercept=y_mean - slope * x_mean,
            x_mean=x_mean,
            sxx=sxx,
            variance=sse / (n - 2),
            residuals=residuals,
            r2=1 - sse / sst,
            loo_rmse=np.sqrt(press / n),
            loo_q2=1 - press / (sst * (n / (n - 1)) ** 2),
        )


def generator(*key: int) -> np.random.Generator:
    """A counter-based generator: equal keys give equal draws, on any number of threads and in any order."""
    seed, *stream = key
    return np.random.Generator(np.random.Philox(key=seed, counter=[0, *([0, 0, 0, *stream])[-3:]]))
