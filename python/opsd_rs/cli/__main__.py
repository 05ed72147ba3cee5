"""``python -m opsd_rs.cli``, for launchers that start a module."""

from opsd_rs.cli.app import main

main(prog_name="opsd-rs")
