"""First of all in a zygote.

It has one thread, a child never forks, and each test seeds `random` anew: what modules ask to be run after a fork would
only copy pages, half as many again as a small program itself. `serve` in the harness puts the function back.
"""

import os

register_at_fork, os.register_at_fork = os.register_at_fork, lambda **_: None
