"""``python -m tools.primer [OUT]``: write the problem set."""

from __future__ import annotations

import sys
from pathlib import Path

from tools.primer.build import OUT, build

out = Path(sys.argv[1]) if len(sys.argv) > 1 else OUT
out.parent.mkdir(parents=True, exist_ok=True)
lines = build()
out.write_text(lines, encoding="utf-8")
print(f"{out}: {lines.count(chr(10))} problems", file=sys.stderr)
