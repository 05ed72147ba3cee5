"""A grid of runs as processes on the GPUs at hand: started, resumed, repeated, listed and packed."""

from typing import TYPE_CHECKING

from opsd_rs._lazy import lazy_exports

if TYPE_CHECKING:
    # isort: off
    from opsd_rs.sweep.grid import Grid, grid_path, load_grid
    from opsd_rs.sweep.pack import pack_sweep, size_in_words
    from opsd_rs.sweep.run import run_sweep
    from opsd_rs.sweep.status import sweep_cells, sweep_status

__all__ = ["Grid", "grid_path", "load_grid", "pack_sweep", "run_sweep", "size_in_words", "sweep_cells",
    "sweep_status"]  # fmt: skip
__getattr__, __dir__ = lazy_exports(__name__, {
    "grid": "Grid grid_path load_grid", "pack": "pack_sweep size_in_words", "run": "run_sweep",
    "status": "sweep_cells sweep_status"})  # fmt: skip
