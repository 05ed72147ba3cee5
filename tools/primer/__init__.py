"""The sources of the built-in problem set ``primer``, and its builder.

Each problem is a statement, its inputs and a reference solution in plain Python; ``python -m tools.primer``
runs the solutions to make the expected outputs and writes ``python/opsd_rs/data/primer.jsonl``.
"""
