"""The process behind ``checks``: reads configurations, writes for each what would end its run at the start.

``python -m opsd_rs.sweep.check_configs QUESTIONS.json ANSWERS.jsonl``
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from opsd_rs.base import append_line
from opsd_rs.config import load_config
from opsd_rs.errors import OpsdError
from opsd_rs.training import plan_run


def main(questions: str, answers: str) -> None:
    """Check each configuration of ``questions``; a line in ``answers`` for each, with its first fault or null."""
    for asked in json.loads(Path(questions).read_bytes()):
        fault = None
        try:
            plan_run(load_config([asked["toml"]], asked["words"]))
        except OpsdError as error:
            fault = " ".join(str(error).split())
        append_line(Path(answers), {"name": asked["name"], "fault": fault})


if __name__ == "__main__":
    main(*sys.argv[1:])
