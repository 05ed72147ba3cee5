"""The first module in a zygote: turns off `os.register_at_fork` for the modules that it imports.

A zygote has one thread, a child never forks, and each test seeds `random` again: handlers that modules register to
run after a fork would only copy pages, half as many as a small program itself. `serve` in the harness restores the
function.
"""

import os

register_at_fork, os.register_at_fork = os.register_at_fork, lambda **_: None
