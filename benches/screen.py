"""Best of 23 contexts: flat sampling and its winner's curse, beside ``opsd-rs screen`` with as many answers.

    python benches/screen.py                 # 2,000 worlds a cell, about 20 minutes of one core
    python benches/screen.py --worlds 100    # a look

Errors in percentage points; see docs/screen.md.
"""

from __future__ import annotations

import argparse

from opsd_rs.measure.simulate import World, simulate_screen

CELLS = (
    # problems, accuracy, E[p (1 - p)], groups of flat sampling
    (40, 0.46, 0.21, 3),
    (40, 0.46, 0.21, 5),
    (120, 0.46, 0.21, 4),
    (131, 0.28, 0.064, 4),
)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--worlds", type=int, default=2000)
    worlds = parser.parse_args().worlds
    print(
        "problems accuracy groups sd losers way: bias rmse regret best-is-best best-not-excluded", flush=True
    )
    for num, accuracy, spread, groups in CELLS:
        for sd in (0.05, 0.01):
            for losers in (0, 8):
                found = simulate_screen(
                    World(num, accuracy, spread),
                    num_worlds=worlds,
                    flat_groups=groups,
                    gap_sd=sd,
                    gap_mean=0.1 if spread > 0.1 else 0.06,
                    losers=losers,
                    loser_gap=-0.2 if spread > 0.1 else -0.1,
                    chunk=50,
                )
                for way, row in found.items():
                    inside = "" if row.in_set is None else f" {row.in_set:.2f}"
                    print(
                        f"{num} {accuracy} {groups} {100 * sd:.0f} {losers} {way:14}: {100 * row.bias:+.2f}"
                        f" {100 * row.rmse:.2f} {100 * row.regret:.2f} {row.right:.2f}{inside}",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
