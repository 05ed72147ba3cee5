"""How often the gap's 95 % interval holds the true gap, in worlds where a group's teachers share one text.

    python benches/law_coverage_gap.py                  # 4,000 worlds a cell, about 5 minutes of one core
    python benches/law_coverage_gap.py --worlds 300     # a look

Prints a row per cell, the worst cell last; see docs/law.md.
"""

from __future__ import annotations

import argparse
import itertools

from opsd_rs.measure.simulate import World, simulate_gap

KINDS = {"primer": (0.46, 0.21), "LiveCodeBench": (0.28, 0.064), "hard": (0.06, 0.042)}
"""Accuracy and E[p (1 - p)]: SmolLM2 on the primer's first problems, a model on LiveCodeBench, SmolLM2 on MBPP."""


def main() -> None:
    """Print the grid."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--worlds", type=int, default=4000)
    worlds = parser.parse_args().worlds
    print("problems kind N groups strength pooled: coverage control claimed/true refused rmse", flush=True)
    found = []
    grid = [(*cell, 2, True) for cell in itertools.product(KINDS, (16, 40, 131), (0.6, -0.5))]
    grid += [(kind, 40, 0.6, groups, pooled) for kind in KINDS for groups, pooled in ((4, True), (2, False))]
    for kind, num, strength, groups, pooled in grid:
        accuracy, spread = KINDS[kind]
        cell = simulate_gap(
            World(num, accuracy, spread),
            num_worlds=worlds,
            groups=groups,
            strength=strength,
            with_none=pooled,
            seed=num + groups,
        )
        row = (
            f"{kind:13} {num:4} {groups} {strength:+.1f} {'A+B+T' if pooled else 'B':5}: {cell.gap:.3f}"
            f" {cell.control:.3f} {cell.se_ratio:.2f} {cell.refused:.4f} {100 * cell.rmse:.2f}"
        )
        found.append((abs(cell.gap - 0.95), row))
        print(row, flush=True)
    print(f"worst: {max(found)[1]}")


if __name__ == "__main__":
    main()
